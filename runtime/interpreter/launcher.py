"""Steps of many rules at once: replicas' memory, and the call of the compiled interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_int64

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoptim.codegen.targets.cpp.loader import load_kernels

from ..bytecode import Bytecode, Domain, instruction_set
from ..hosts import Schedule, host_values
from . import structures as c
from .source import interpreter_source
from .tables import TILE, Shape, Tables

_BLOCK = 256
"""Steps whose host scalars are computed at once."""

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""The types that the interpreter is compiled for."""


def load_interpreter(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The interpreter for float32 or float64, compiled on first use; None, with a warning, if it cannot be."""
    return load_kernels(interpreter_source(instruction_set()), SUFFIXES[dtype])


class Member:
    """The replicas of one rule: their hyperparameters, host scalars of the present steps, and state.

    Args:
        bytecode: The rule.
        layout: Shapes of the parameters, which follow one another in the flat vector of a replica.
        settings: One mapping of hyperparameters per replica; the rest are the rule's defaults.
        steps: The horizon of the schedule.
        schedule: The factor on lr by step.
    """

    def __init__(
        self,
        bytecode: Bytecode,
        layout: Sequence[Shape],
        settings: Sequence[Mapping[str, float]],
        steps: int,
        schedule: Schedule,
    ) -> None:
        self.tables = Tables(bytecode, layout)
        self.hypers = bytecode.rule.defaults
        self.settings = np.array([[s.get(n, d) for n, d in self.hypers.items()] for s in settings], dtype=np.float64)
        self.steps, self.schedule = steps, schedule
        self.state: Tensor | None = None  # [replica, ...]
        self.numbers = torch.empty(0, len(settings), 0)  # [step of the block, replica, number]

    def __len__(self) -> int:
        return len(self.settings)

    def keep(self, index: NDArray[np.int64]) -> None:
        """Go on with these replicas only."""
        if len(index) == len(self):
            return
        at = torch.from_numpy(index)
        self.settings = self.settings[index]
        self.state = None if self.state is None else self.state[at]
        self.numbers = self.numbers.index_select(1, at)

    def start(self, w: Tensor, g: Tensor) -> None:
        """Fresh states for parameters ``w`` and gradients ``g``, both ``[R, D]``."""
        self.state = w.new_zeros(len(w), self.tables.state)
        for buffer, extent, begin in self.tables.buffers:
            if buffer.init:
                source = {"w": w, "g": g}[buffer.init]
                size = extent.lengths[Domain.TENSOR]
                self.state[:, begin : begin + size] = source[:, extent.begin : extent.begin + size]

    def load(self, steps: range, dtype: torch.dtype) -> None:
        """Compute the constants and host scalars of some steps, per setting and whatever others there are."""
        factors = [self.schedule(t - 1, self.steps) for t in steps]
        rows = [row.tobytes() for row in self.settings]  # -0.0 is another number than 0.0
        distinct = {row: k for k, row in enumerate(dict.fromkeys(rows))}
        columns = [self._columns(np.frombuffer(row), steps, factors) for row in distinct]
        if columns:
            chosen = np.stack(columns, axis=1)[:, [distinct[row] for row in rows]]
            self.numbers = torch.from_numpy(chosen).to(dtype).contiguous()

    def _columns(self, setting: NDArray[np.float64], steps: range, factors: Sequence[float]) -> NDArray[np.float64]:
        """The numbers of one setting, ``[step, number]``."""
        values = {n: setting[i : i + 1] for i, n in enumerate(self.hypers)}
        out = np.empty((len(steps), len(self.tables.numbers)))
        for shape in dict.fromkeys(shape for _, shape in self.tables.numbers):
            nodes = {node: place for (node, s), place in self.tables.numbers.items() if s == shape}
            found = host_values([*nodes], values, shape, steps, factors)
            for place, value in zip(nodes.values(), found, strict=True):
                out[:, place] = np.broadcast_to(value, (len(steps), 1))[:, 0]
        return out


class Interpreter:
    """Many rules, each over its replicas.

    Args:
        members: The rules.
        places: For each rule, the rows of its replicas in the population.
        dtype: The parameters' type: float32 or float64.
        library: The compiled interpreter for that type.
        threads: Threads of the calls. Results do not depend on it.
    """

    def __init__(
        self,
        members: Sequence[Member],
        places: Sequence[NDArray[np.int64]],
        dtype: torch.dtype,
        library: ctypes.CDLL,
        threads: int,
    ) -> None:
        self.members, self.dtype, self.threads = members, dtype, threads
        self.steps = min(m.steps for m in members)
        self.call = getattr(library, f"run_{SUFFIXES[dtype]}")
        self.first = 0  # the first step of the block whose numbers are there
        self._place(places)

    def keep(self, indices: Sequence[NDArray[np.int64]], places: Sequence[NDArray[np.int64]]) -> None:
        """Go on with these replicas of each rule, which stand in these rows from now on."""
        for member, index in zip(self.members, indices, strict=True):
            member.keep(index)
        self._place(places)

    def _place(self, places: Sequence[NDArray[np.int64]]) -> None:
        self.places = [torch.from_numpy(p) for p in places]
        counts = [len(p) for p in places]
        self.columns = (
            np.repeat(np.arange(len(counts)), counts),
            np.concatenate([np.arange(n) for n in counts]),
            np.concatenate(places),
        )
        self.batch: c.Batch | None = None

    def step(self, w: Tensor, g: Tensor, t: int) -> None:
        """Update ``w`` [R, D] in place from gradients ``g`` [R, D], both contiguous, at step ``t`` (1, 2, ...)."""
        assert w.is_contiguous()
        assert g.is_contiguous()
        assert w.dtype == g.dtype == self.dtype
        assert 1 <= t <= self.steps
        first = (t - 1) // _BLOCK * _BLOCK + 1
        if first != self.first:
            for member in self.members:
                member.load(range(first, min(first + _BLOCK, member.steps + 1)), self.dtype)
            self.first, self.batch = first, None
        if self.batch is None:
            self.batch = self._arranged(w, g)
        self.batch.w, self.batch.g, self.batch.step = w.data_ptr(), g.data_ptr(), t - first
        self.call(ctypes.byref(self.batch))
        torch.autograd.graph.increment_version([w])

    def _arranged(self, w: Tensor, g: Tensor) -> c.Batch:
        """The tables of a call, which hold until replicas are taken out or the next block of steps begins."""
        tables = [m.tables for m in self.members]
        codes = [code for table in tables for code in table.codes]
        registers = max(code.registers for code in codes)
        stride = registers * TILE + max(t.scratch for t in tables)
        partials = max(t.partials for t in tables)
        self.scratch = torch.empty(self.threads * stride, dtype=self.dtype)
        self.partials = torch.empty(self.threads * partials, dtype=torch.float64)
        rows = [self._row(m, at, w, g) for m, at in zip(self.members, self.places, strict=True)]
        self.table = (c.Member * len(rows))(*rows)
        return c.Batch(
            self.table,
            *(column.ctypes.data_as(POINTER(c_int64)) for column in self.columns),
            scratch=self.scratch.data_ptr(),
            partials=self.partials.data_ptr(),
            replicas=sum(map(len, self.members)),
            width=w.shape[1],
            scratch_stride=stride,
            partial_stride=partials,
            most_values=max(len(code.values) for code in codes),
            most_reductions=max(code.most_reductions for code in codes),
            most_registers=registers,
            threads=self.threads,
        )

    @staticmethod
    def _row(member: Member, places: Tensor, w: Tensor, g: Tensor) -> c.Member:
        if member.state is None:
            member.start(w[places], g[places])
        assert member.state is not None
        program = ctypes.pointer(member.tables.program)
        return c.Member(
            program,
            member.state.data_ptr(),
            member.numbers.data_ptr(),
            state_stride=member.tables.state,
            number_stride=member.numbers.shape[2],
            replicas=len(member),
        )
