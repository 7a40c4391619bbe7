"""Trains rules x settings x seeds as one population of stacked replicas."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad_and_value, vmap

from evoptim.dsl import Rule, UserError

from .machines import Machines
from .schedules import get_schedule
from .task import Batch, Task
from .tasks import get_task

CHUNK = 96
"""Replicas differentiated in one call: their activations stay in cache."""

OK, DIVERGED = "ok", "diverged"


@dataclass(frozen=True, slots=True)
class PopulationResult:
    """What a population reached; arrays are indexed ``[rule, setting, seed]``.

    ``val_loss`` is infinite where a replica diverged. ``curve`` has one more axis: the mean training loss of each
    interval between checks (NaN after divergence). ``status`` is ``"ok"`` or ``"diverged"``.
    """

    val_loss: NDArray[np.float64]
    curve: NDArray[np.float64]
    status: NDArray[np.str_]
    seconds: float
    steps: int


def train_population(
    rules: Sequence[Rule],
    task: str | Task,
    settings: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    steps: int,
    *,
    batch_size: int | None = None,
    schedule: str = "linear",
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    check_every: int = 10,
    threads: int = 1,
) -> PopulationResult:
    """Train every rule with every setting on every seed, side by side.

    All replicas of one seed start from the same parameters and see the same batches, so differences between
    rules are paired. A replica whose loss is no longer finite is taken out at the next check; it cannot
    influence its neighbours.

    Args:
        rules: Valid rules.
        task: A task or its name.
        settings: Hyperparameters to try, each a mapping such as ``{"lr": 1e-3}``; missing ones are the rule's
            defaults, and a name that a rule does not have is an error unless it is ``weight_decay``.
        seeds: Seeds of initialisation and data order.
        steps: Updates per replica.
        batch_size: Examples per update; the task's own by default.
        schedule: ``"linear"`` or ``"cosine"`` (lr decays to zero over the run) or ``"constant"``.
        device: Where to train.
        dtype: The parameters' type: float32 or float64.
        check_every: Steps between checks for divergence, and points of the curve.
        threads: Threads on the CPU, of torch and of the updates. One by default: torch's operations are small, and two
            threads that wait for each other lose far more on a machine with other work than they gain on an idle one.

    Returns:
        Validation losses, training curves and statuses by ``[rule, setting, seed]``.

    Raises:
        UserError: An argument is empty, out of range or unknown.
    """
    problem = get_task(task, device, dtype) if isinstance(task, str) else task
    _validate(rules, settings, seeds, steps, check_every)
    start = time.perf_counter()
    with _torch_threads(threads):
        run = _Run(problem, rules, settings, seeds, steps, batch_size or problem.batch_size, schedule, threads)
        curve = run.train(check_every)
        val_loss = run.validate()
    shape = (len(rules), len(settings), len(seeds))
    status = np.where(np.isfinite(val_loss), OK, DIVERGED)
    return PopulationResult(
        val_loss=val_loss.reshape(shape),
        curve=curve.reshape(*shape, -1),
        status=status.reshape(shape),
        seconds=time.perf_counter() - start,
        steps=steps,
    )


@contextmanager
def _torch_threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _validate(
    rules: Sequence[Rule],
    settings: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    steps: int,
    check_every: int,
) -> None:
    for what, value in (("rules", rules), ("settings", settings), ("seeds", seeds)):
        if len(value) == 0:
            raise UserError(f"no {what} to train", f"give at least one of {what}")
    if steps < 1 or check_every < 1:
        raise UserError(f"steps={steps}, check_every={check_every}", "both must be 1 or more")
    for rule in rules:
        known = set(rule.defaults)
        if "lr" not in known:
            raise UserError(f"rule {rule.name!r} has no lr", "add lr to its hyperparameters")
        for setting in settings:
            unknown = set(setting) - known - {"weight_decay"}
            if unknown:
                raise UserError(
                    f"rule {rule.name!r} has no hyperparameter {sorted(unknown)[0]!r}",
                    f"its hyperparameters are {', '.join(sorted(known))}",
                )


class _Run:
    """One population in training. Replicas are ordered rule by rule, then setting, then seed."""

    def __init__(
        self,
        task: Task,
        rules: Sequence[Rule],
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        steps: int,
        batch_size: int,
        schedule: str,
        threads: int,
    ) -> None:
        self.task, self.steps = task, steps
        self.shapes = task.shapes
        factor = get_schedule(schedule)
        per_rule = [setting for setting in settings for _ in seeds]
        self.total = len(rules) * len(per_rule)
        layout = tuple(self.shapes.values())
        self.machines = Machines(
            rules, layout, per_rule, steps, factor, device=task.device, dtype=task.dtype, threads=threads
        )
        self.index = np.arange(self.total)  # which replica of the result each row of w is
        self.seed_of = torch.arange(self.total, device=task.device) % len(seeds)
        initial = torch.stack([_flatten(task.init(s)) for s in seeds])
        self.w = initial[self.seed_of].contiguous()
        self.past: deque[Tensor] = deque(maxlen=task.delay + 1)  # parameters of the latest steps, oldest first
        self.orders = torch.stack([task.order(s, steps, batch_size) for s in seeds], dim=1)  # [steps, seed, ...]
        self.gradient = vmap(grad_and_value(task.loss))
        self.evaluate = vmap(task.loss, in_dims=(0, None))

    def train(self, check_every: int) -> NDArray[np.float64]:
        """Run all steps; returns the training curve ``[replica, check]``."""
        checks = -(-self.steps // check_every)
        curve = np.full((self.total, checks), np.nan)
        g = torch.empty_like(self.w)
        window: list[Tensor] = []
        for k in range(self.steps):
            if len(self.w) == 0:
                break
            window.append(self._gradients(k, g))
            self.machines.step(self.w, g, k + 1)
            if (k + 1) % check_every == 0 or k + 1 == self.steps:
                losses = torch.stack(window).mean(0).double().cpu().numpy()
                curve[self.index, k // check_every] = losses
                window = []
                if not np.isfinite(losses).all():
                    self._drop(np.isfinite(losses))
                    g = torch.empty_like(self.w)
        return curve

    def _gradients(self, k: int, out: Tensor) -> Tensor:
        """Gradients of step ``k`` into ``out`` [replica, D]; returns the losses [replica]."""
        losses: list[Tensor] = []
        w = self._where()
        for first in range(0, len(self.w), CHUNK):
            rows = slice(first, first + CHUNK)
            batch = self.task.batch(self.orders[k][self.seed_of[rows]])
            grads, loss = self.gradient(_unflatten(w[rows], self.shapes), batch)
            torch.cat([grads[n].flatten(1) for n in self.shapes], dim=1, out=out[rows])
            losses.append(loss)
        return torch.cat(losses)

    def _where(self) -> Tensor:
        """The parameters at which this step's gradients are taken: the present ones but for tasks with a delay."""
        if not self.task.delay:
            return self.w
        self.past.append(self.w.clone())
        return self.past[0]

    def _drop(self, alive: NDArray[np.bool_]) -> None:
        """Take diverged replicas out and close the gaps."""
        self.machines.keep(alive)
        rows = torch.from_numpy(np.flatnonzero(alive)).to(self.w.device)
        self.index = self.index[alive]
        self.w, self.seed_of = self.w[rows], self.seed_of[rows]
        self.past = deque((w[rows] for w in self.past), maxlen=self.past.maxlen)

    def validate(self) -> NDArray[np.float64]:
        """Validation loss per replica, infinite for those that diverged."""
        out = np.full(self.total, np.inf)
        batch: Batch = self.task.validation()
        losses = [
            self.evaluate(_unflatten(self.w[first : first + CHUNK], self.shapes), batch)
            for first in range(0, len(self.w), CHUNK)
        ]
        if losses:
            values = torch.cat(losses).double().cpu().numpy()
            out[self.index] = np.where(np.isfinite(values), values, np.inf)
        return out


def _flatten(params: Mapping[str, Tensor]) -> Tensor:
    return torch.cat([p.flatten() for p in params.values()])


def _unflatten(w: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """Views of ``w`` [replica, D] by parameter name, each ``[replica, *shape]``."""
    out: dict[str, Tensor] = {}
    offset = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        out[name] = w[:, offset : offset + size].view(len(w), *shape)
        offset += size
    return out
