"""Rules over their replicas: hyperparameters, host scalars of the present steps, states, and where each replica is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bytecode import Bytecode, Domain
from ..hosts import Environment, Schedule, environment, evaluated
from .tables import UNIT, Shape, Tables

BLOCK = 256
"""Steps whose host scalars are computed at once."""

SHARED = 64
"""Settings whose host scalars are kept for other rules: most rules of a search have many of them in common."""

Known: TypeAlias = dict[tuple[tuple[str, ...], bytes, Shape, Schedule, int], Environment]
"""Host scalars of some steps by what they depend on: hyperparameters, their values, shape, schedule and horizon."""

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


class Member:
    """The replicas of one rule: their hyperparameters, host scalars of the present steps, and state.

    Args:
        bytecode: The rule.
        layout: Shapes of the parameters, which follow one another in the flat vector of a replica.
        settings: One mapping of hyperparameters per replica; the rest are the rule's defaults.
        steps: The horizon of the schedule.
        schedule: The factor on lr by step.
        unit: Entries, about, of a unit.
    """

    def __init__(
        self,
        bytecode: Bytecode,
        layout: Sequence[Shape],
        settings: Sequence[Mapping[str, float]],
        steps: int,
        schedule: Schedule,
        unit: int = UNIT,
    ) -> None:
        self.tables = Tables(bytecode, layout, unit)
        self.hypers = bytecode.rule.defaults
        self.settings = np.array([[s.get(n, d) for n, d in self.hypers.items()] for s in settings], dtype=np.float64)
        self.steps, self.schedule = steps, schedule
        self.state: Tensor | None = None  # [replica, ...]
        self.numbers = torch.empty(0, len(settings), 0)  # [step of the block, replica, number], on the CPU

    def __len__(self) -> int:
        return len(self.settings)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Go on with these replicas only."""
        if len(index) == len(self):
            return
        at = torch.from_numpy(index)
        self.settings = self.settings[index]
        self.state = None if self.state is None else self.state[at.to(self.state.device)]
        self.numbers = self.numbers.index_select(1, at.to(self.numbers.device))

    def start(self, w: Tensor, g: Tensor) -> None:
        """Fresh states for parameters ``w`` and gradients ``g``, both ``[R, D]``."""
        self.state = w.new_zeros(len(w), self.tables.state)
        for buffer, extent, begin in self.tables.buffers:
            if buffer.init:
                source = {"w": w, "g": g}[buffer.init]
                size = extent.lengths[Domain.TENSOR]
                self.state[:, begin : begin + size] = source[:, extent.begin : extent.begin + size]

    def load(self, steps: range, dtype: torch.dtype, device: torch.device, known: Known) -> None:
        """Compute the constants and host scalars of some steps, per setting and whatever others there are."""
        rows = [row.tobytes() for row in self.settings]  # -0.0 is another number than 0.0
        distinct = {row: k for k, row in enumerate(dict.fromkeys(rows))}
        if not distinct:
            return
        out = np.empty((len(steps), len(distinct), len(self.tables.numbers)), _NUMPY[dtype])
        with np.errstate(all="ignore"):
            for row, k in distinct.items():
                for (node, shape), place in self.tables.numbers.items():
                    out[:, k, place : place + 1] = evaluated(node, self._environment(row, shape, steps, known))
        chosen = np.array([distinct[row] for row in rows])
        self.numbers = _sent(out, device).index_select(1, _sent(chosen, device))

    def _environment(self, row: bytes, shape: Shape, steps: range, known: Known) -> Environment:
        """What is known of the steps for one setting, given as its bytes."""
        key = (tuple(self.hypers), row, shape, self.schedule, self.steps)
        if key not in known:
            values = dict(zip(self.hypers, np.frombuffer(row)[:, None], strict=True))
            known[key] = environment(values, shape, steps, [self.schedule(t - 1, self.steps) for t in steps])
        return known[key]


class Standing:
    """Where the replicas of many rules are, and up to which step their numbers are there.

    Args:
        members: The rules.
        places: For each rule, the rows of its replicas in the population.
        dtype: The parameters' type: float32 or float64.
        device: Where the numbers go.
    """

    def __init__(
        self,
        members: Sequence[Member],
        places: Sequence[NDArray[np.int64]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.members, self.dtype, self.device = members, dtype, device
        self.steps = min(m.steps for m in members)
        self.first = 0  # the first step of the block whose numbers are there
        self.place(places)

    def __len__(self) -> int:
        return sum(map(len, self.members))

    def place(self, places: Sequence[NDArray[np.int64]]) -> None:
        """The replicas stand in these rows from now on."""
        self.places = [torch.from_numpy(p) for p in places]
        counts = [len(p) for p in places]
        self.columns = (
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([np.arange(n) for n in counts]),
            np.concatenate(places),
        )

    def keep(self, indices: Sequence[NDArray[np.int64]], places: Sequence[NDArray[np.int64]]) -> None:
        """Go on with these replicas of each rule, which stand in these rows from now on."""
        for member, index in zip(self.members, indices, strict=True):
            member.keep(index)
        self.place(places)

    def load(self, t: int) -> bool:
        """See to it that the numbers of a step (1, 2, ...) are there; whether they were not."""
        assert 1 <= t <= self.steps
        first = (t - 1) // BLOCK * BLOCK + 1
        if first == self.first:
            return False
        known: Known = {}
        for member in self.members:
            member.load(range(first, min(first + BLOCK, member.steps + 1)), self.dtype, self.device, known)
            if len(known) > SHARED:
                known.clear()
        self.first = first
        return True

    @property
    def started(self) -> bool:
        """Whether there are states."""
        return all(m.state is not None for m in self.members)

    def start(self, w: Tensor, g: Tensor) -> None:
        """Fresh states where there are none, for the population's ``w`` and ``g`` [R, D]."""
        for member, places in zip(self.members, self.places, strict=True):
            if member.state is None:
                at = places.to(w.device)
                member.start(w[at], g[at])


def _sent(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device; nothing waits for it to arrive."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def checked(w: Tensor, g: Tensor, dtype: torch.dtype) -> None:
    """Assert that parameters and gradients are as the interpreters take them."""
    assert w.is_contiguous()
    assert g.is_contiguous()
    assert w.dtype == g.dtype == dtype
