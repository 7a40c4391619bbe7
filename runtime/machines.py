"""The updates of a whole population: many rules, each over its replicas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoptim.dsl import Rule

from .bytecode import compile_bytecode
from .hosts import Schedule
from .interpreter import DeviceInterpreter, Interpreter, Member, find_runner
from .machine import Layout, Machine


class Machines:
    """Rules over a population whose rows are ordered rule by rule.

    On the CPU and on NVIDIA GPUs, rules with bytecode run in one call of the compiled interpreter. The others, and all
    of them elsewhere, in other types than float32 and float64, or without a compiler, run in torch, rule by rule.

    Args:
        rules: Valid rules.
        layout: Shapes of the parameters, which follow one another in a row.
        settings: One mapping of hyperparameters per replica of a rule; the rest are the rule's defaults.
        steps: The horizon of the schedule.
        schedule: The factor on lr by step.
        device: Where the population is.
        dtype: Its type.
        threads: Threads of the interpreter.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        layout: Layout,
        settings: Sequence[Mapping[str, float]],
        steps: int,
        schedule: Schedule,
        *,
        device: torch.device,
        dtype: torch.dtype,
        threads: int,
    ) -> None:
        entries = all(map(math.prod, layout))  # no parameter is without any
        codes = [compile_bytecode(rule) if entries else None for rule in rules]
        runner = find_runner(device, dtype, threads) if any(codes) else None
        self.members: dict[int, Member] = {}
        self.machines: dict[int, Machine] = {}
        for i, (rule, code) in enumerate(zip(rules, codes, strict=True)):
            member = (
                Member(code, layout, settings, steps, schedule) if runner is not None and code is not None else None
            )
            if runner is not None and member is not None and runner.fits(member.tables):
                self.members[i] = member
            else:
                self.machines[i] = Machine(rule, layout, settings, steps, schedule)
        self.counts = [len(settings)] * len(rules)
        self.interpreter: Interpreter | DeviceInterpreter | None = None
        if runner is not None and self.members:
            self.interpreter = runner.start([*self.members.values()], self._places())

    @property
    def counting(self) -> DeviceInterpreter | None:
        """The interpreter, if all rules run in one whose steps the device counts, so that they can be replayed."""
        return self.interpreter if isinstance(self.interpreter, DeviceInterpreter) and not self.machines else None

    def step(self, w: Tensor, g: Tensor, t: int) -> None:
        """Update ``w`` [R, D] in place from gradients ``g`` [R, D] at step ``t`` (1, 2, ...)."""
        if self.interpreter is not None:
            self.interpreter.step(w, g, t)
        for i, machine in self.machines.items():
            if self.counts[i]:
                machine.step(w[self._rows(i)], g[self._rows(i)], t)

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Go on with the rows where ``alive``, which close up."""
        indices = [np.flatnonzero(alive[self._rows(i)]) for i in range(len(self.counts))]
        for i, machine in self.machines.items():
            if len(indices[i]) < self.counts[i]:
                machine.keep(indices[i])
        self.counts = [len(index) for index in indices]
        if self.interpreter is not None:
            self.interpreter.keep([indices[i] for i in self.members], self._places())

    def _rows(self, i: int) -> slice:
        """The rows of a rule's replicas."""
        first = sum(self.counts[:i])
        return slice(first, first + self.counts[i])

    def _places(self) -> list[NDArray[np.int64]]:
        """The same for every rule that the interpreter runs."""
        return [np.arange(self._rows(i).start, self._rows(i).stop) for i in self.members]
