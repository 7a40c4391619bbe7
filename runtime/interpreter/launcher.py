"""Steps of many rules at once on the CPU: the call of the compiled interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, c_int64

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoptim.codegen.targets.cpp.loader import load_kernels

from ..bytecode import instruction_set
from . import structures as c
from .replicas import Member, Standing, checked
from .source import interpreter_source
from .tables import TILE

SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
"""The types that the interpreter is compiled for."""


def load_interpreter(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The interpreter for float32 or float64, compiled on first use; None, with a warning, if it cannot be."""
    return load_kernels(interpreter_source(instruction_set()), SUFFIXES[dtype])


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
        self.standing = Standing(members, places, dtype, torch.device("cpu"))
        self.threads = threads
        self.call = getattr(library, f"run_{SUFFIXES[dtype]}")
        self.batch: c.Batch | None = None

    def keep(self, indices: Sequence[NDArray[np.int64]], places: Sequence[NDArray[np.int64]]) -> None:
        """Go on with these replicas of each rule, which stand in these rows from now on."""
        self.standing.keep(indices, places)
        self.batch = None

    def step(self, w: Tensor, g: Tensor, t: int) -> None:
        """Update ``w`` [R, D] in place from gradients ``g`` [R, D], both contiguous, at step ``t`` (1, 2, ...)."""
        checked(w, g, self.standing.dtype)
        if self.standing.load(t) or self.batch is None:
            self.standing.start(w, g)
            self.batch = self._arranged(w.shape[1])
        self.batch.w, self.batch.g, self.batch.step = w.data_ptr(), g.data_ptr(), t - self.standing.first
        self.call(ctypes.byref(self.batch))
        torch.autograd.graph.increment_version([w])

    def _arranged(self, width: int) -> c.Batch:
        """The tables of a call, which hold until replicas are taken out or the next block of steps begins."""
        members = self.standing.members
        tables = [m.tables for m in members]
        codes = [code for table in tables for code in table.codes]
        registers = max(code.registers for code in codes)
        stride = registers * TILE + max(t.scratch for t in tables)
        partials = max(t.partials for t in tables)
        self.scratch = torch.empty(self.threads * stride, dtype=self.standing.dtype)
        self.partials = torch.empty(self.threads * partials, dtype=torch.float64)
        self.table = (c.Member * len(members))(*map(_row, members))
        return c.Batch(
            self.table,
            *(column.ctypes.data_as(POINTER(c_int64)) for column in self.standing.columns),
            scratch=self.scratch.data_ptr(),
            partials=self.partials.data_ptr(),
            replicas=len(self.standing),
            width=width,
            scratch_stride=stride,
            partial_stride=partials,
            most_values=max(len(code.values) for code in codes),
            most_reductions=max(code.most_reductions for code in codes),
            most_registers=registers,
            threads=self.threads,
        )


def _row(member: Member) -> c.Member:
    assert member.state is not None
    return c.Member(
        ctypes.pointer(member.tables.program),
        member.state.data_ptr(),
        member.numbers.data_ptr(),
        state_stride=member.tables.state,
        number_stride=member.numbers.shape[2],
        replicas=len(member),
    )
