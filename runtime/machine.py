"""Runs one rule for many replicas at once: parameters, gradients and state have a leading replica axis.

The portable form of the population machine: each operation of the rule is one torch call over all replicas of
the rule. Norms, row and column means run inside a replica.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoptim.codegen.replica import ReplicaUpdate, compile_replicas, state_shape
from evoptim.dsl import Kind, Rule

from .hosts import Schedule, host_values

Shape: TypeAlias = tuple[int, ...]

Layout: TypeAlias = tuple[Shape, ...]
"""The shapes of the parameters that make up one flat vector, in order."""

View: TypeAlias = tuple[Tensor, Tensor, Shape]
"""Parameters and gradients of all replicas as ``[R, *shape]``, and the shape of one."""

Updating: TypeAlias = Generator[tuple[str, Tensor], Tensor, tuple[Tensor, ...]]


class Machine:
    """One rule over R replicas.

    Args:
        rule: A valid rule.
        layout: Shapes of the parameters, which follow one another in the flat buffer ``[R, D]``.
        settings: One mapping of hyperparameters per replica; the rest are the rule's defaults.
        steps: The horizon, known ahead so that host scalars are computed once, in float64.
        schedule: The factor on lr by step.
    """

    def __init__(
        self,
        rule: Rule,
        layout: Layout,
        settings: Sequence[Mapping[str, float]],
        steps: int,
        schedule: Schedule,
    ) -> None:
        self.values = {h.name: np.array([s.get(h.name, h.default) for s in settings]) for h in rule.hypers}
        varying = frozenset(n for n, v in self.values.items() if np.any(v != v[0]))
        self.update: ReplicaUpdate = compile_replicas(rule, varying)
        self.layout = layout
        self.steps = steps
        shapes = dict.fromkeys(layout) if self.update.shaped else {(): None}
        self.hosts = {s: _host_table(self.update, self.values, steps, schedule, s) for s in shapes}
        self.varying: dict[tuple[int, int, Shape], Tensor] = {}  # (host, dimensions, shape) -> [steps, R, 1, ...]
        self.alive = np.arange(len(settings))
        self.state: list[dict[str, Tensor]] = []
        self.shared: dict[str, Tensor] = {}

    def keep(self, index: NDArray[np.int64]) -> None:
        """Go on with these replicas only; ``index`` counts the present ones."""
        at = torch.from_numpy(index)
        self.alive = self.alive[index]
        self.varying = {}
        self.state = [{k: v[at.to(v.device)] for k, v in s.items()} for s in self.state]
        self.shared = {k: v[at.to(v.device)] for k, v in self.shared.items()}

    def step(self, w: Tensor, g: Tensor, t: int) -> None:
        """Update ``w`` [R, D] in place from gradients ``g`` [R, D] at step ``t`` (1, 2, ...)."""
        views = [(w, g, ())] if self.update.flat else list(self._views(w, g))
        if not self.state:
            self.state = [self._start(*view) for view in views]
            globals_ = [b for b in self.update.rule.buffers if b.kind == Kind.GLOBAL]
            self.shared = {b.name: w.new_zeros(len(w)) for b in globals_}
        calls = [self._call(view, state, t) for view, state in zip(views, self.state, strict=True)]
        results = _run_together(calls) if self.update.pauses else calls
        for view, state, result in zip(views, self.state, results, strict=True):
            self._store(view, state, result)

    def _views(self, w: Tensor, g: Tensor) -> Generator[View]:
        offset = 0
        for shape in self.layout:
            size = int(np.prod(shape))
            stacked = (len(w), *(shape or (1,)))
            part = slice(offset, offset + size)
            yield w[:, part].view(stacked), g[:, part].view(stacked), shape
            offset += size

    def _start(self, w: Tensor, g: Tensor, shape: Shape) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for buffer in self.update.buffers(len(shape) >= 2):
            if buffer.kind == Kind.GLOBAL:
                continue
            initial = {"g": g, "w": w}.get(buffer.init)
            fresh = state_shape(buffer, tuple(w.shape))
            out[buffer.name] = initial.clone() if initial is not None else w.new_zeros(fresh)
        return out

    def _call(self, view: View, state: dict[str, Tensor], t: int) -> Any:
        w, g, shape = view
        matrix = len(shape) >= 2
        function = self.update.matrix if matrix else self.update.vector
        buffers = [
            self.shared[b.name].view(len(w), *(1,) * (w.ndim - 1)) if b.kind == Kind.GLOBAL else state[b.name]
            for b in self.update.buffers(matrix)
        ]
        return function(
            w, g, tuple(range(1, w.ndim)), self._host_values(w, t, shape if self.update.shaped else ()), *buffers
        )

    def _host_values(self, w: Tensor, t: int, shape: Shape) -> list[float | Tensor]:
        out: list[float | Tensor] = []
        for i, (column, varies) in enumerate(zip(self.hosts[shape], self.update.varies, strict=True)):
            if not varies:
                out.append(_within(column[t - 1, 0].item(), w.dtype))
                continue
            key = (i, w.ndim, shape)
            if key not in self.varying:
                chosen = torch.as_tensor(column[:, self.alive])
                typed = chosen if chosen.dtype == torch.bool else chosen.to(w.dtype)
                self.varying[key] = typed.to(w.device).view(*chosen.shape, *(1,) * (w.ndim - 1))
            out.append(self.varying[key][t - 1])
        return out

    def _store(self, view: View, state: dict[str, Tensor], result: tuple[Tensor, ...]) -> None:
        w, _, shape = view
        for buffer, value in zip(self.update.buffers(len(shape) >= 2), result[1:], strict=True):
            if buffer.kind == Kind.GLOBAL:
                self.shared[buffer.name] = value.expand(len(w), *(1,) * (w.ndim - 1)).reshape(len(w))
            else:
                state[buffer.name] = value.expand(state_shape(buffer, tuple(w.shape)))
        w.copy_(result[0])


def _within(value: float, dtype: torch.dtype) -> float:
    """A number as torch takes it: infinite where the type has no such number."""
    return math.copysign(math.inf, value) if abs(value) > torch.finfo(dtype).max else value


def _run_together(updates: Sequence[Updating]) -> list[tuple[Tensor, ...]]:
    """Advance the updates of all parameters side by side, exchanging per replica the values they share."""
    results: list[tuple[Tensor, ...]] = []
    values: list[Any] = [None] * len(updates)
    while True:
        paused: list[tuple[str, Tensor]] = []
        for update, value in zip(updates, values, strict=True):
            try:
                paused.append(update.send(value))
            except StopIteration as stop:
                results.append(stop.value)
        if not paused:
            return results
        total = _over_all(paused[0][0], [x.flatten(1) for _, x in paused])
        values = [total.view(-1, *(1,) * (x.ndim - 1)) for _, x in paused]


def _over_all(reduction: str, parts: list[Tensor]) -> Tensor:
    """A reduction over all entries of each replica."""
    joined = torch.cat(parts, dim=1)
    match reduction:
        case "sum":
            return joined.sum(1)
        case "mean":
            return joined.mean(1)
        case "amax":
            return joined.amax(1)
        case "amin":
            return joined.amin(1)
        case _:
            raise AssertionError(f"unknown reduction {reduction!r}")


def _host_table(
    update: ReplicaUpdate, values: Mapping[str, NDArray[np.float64]], steps: int, schedule: Schedule, shape: Shape
) -> list[NDArray[Any]]:
    """Every host expression for every step: ``[steps, 1]``, or ``[steps, R]`` where replicas differ."""
    columns = {n: column if np.any(column != column[0]) else column[:1] for n, column in values.items()}
    factors = [schedule(k, steps) for k in range(steps)]
    out = host_values(update.hosts, columns, shape, range(1, steps + 1), factors)
    widths = [len(values["lr"]) if v else 1 for v in update.varies]
    return [np.broadcast_to(v, (steps, width)) for v, width in zip(out, widths, strict=True)]
