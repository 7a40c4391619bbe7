"""Steps of many rules at once on a GPU: everything lies in its memory, and a launch takes nothing from the host."""

from __future__ import annotations

import enum
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bytecode import Domain, Section
from . import structures as c
from .packing import packed_members, packed_programs
from .replicas import BLOCK, Member, Standing, checked
from .source import DESK
from .tables import Tables

SHARED = 46 << 10
"""Bytes of memory that a block's threads share at the most: every GPU gives 48 KiB without being asked."""

LARGEST = 2**31
"""Entries of a parameter, less one: on the device entries are counted in 32 bits."""

MOST_VALUES = 1024
"""Of a rule, so that its operands take no more than a third of the shared memory."""

_BLOCKS = 8
"""Blocks for each of a GPU's processors that several blocks a replica are to make, where replicas are few."""

_TURNS = 8
"""Numbers for each of its threads that one block deals with while others wait: with more of them, all are launched."""


class Job(enum.IntEnum):
    """What a stage does, one after the other. Blocks that share a replica deal one of these out among them."""

    SMALL = 0
    """What has one value or few, and rows and columns that are reduced: for one block."""
    LINES = 1
    """Other rows and columns."""
    ENTRIES = 2
    RESULTS = 3
    """What all of these have reduced."""
    TOTALS = 4
    """What is reduced over all parameters: for one block."""


@dataclass(frozen=True, slots=True, order=True)
class Launch:
    """A run of jobs, counted on from stage to stage: from the first, which the blocks deal out, to before the last.

    The last block to be done with the first job does the others.
    """

    first: int
    end: int

    @property
    def jobs(self) -> int:
        """As the kernel takes it."""
        return self.first | self.end << 16


class Kernel(Protocol):
    """The interpreter, compiled for a device and a type."""

    threads: int
    """Of a block."""
    each: int
    """Entries that a thread has at a time."""
    processors: int
    """How many the device has."""

    def launch(self, call: c.Call, jobs: int, blocks: int, shared: int, /) -> None:
        """Run on the current stream, in so many blocks with so many bytes of shared memory each."""
        ...


def fits_device(tables: Tables) -> bool:
    """Whether a rule over its parameters is not too large for the interpreter."""
    entries = max(max(e.lengths) for e in tables.extents)
    return entries < LARGEST and max(len(code.values) for code in tables.codes) <= MOST_VALUES


@dataclass(frozen=True, slots=True)
class _Arrangement:
    """Memory that a call points to, the call, and how to launch it. Holds until replicas are taken out."""

    memory: tuple[Tensor, ...]
    numbers: tuple[Tensor, ...]
    call: c.Call
    launches: tuple[Launch, ...]
    blocks: int
    shared: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """Of a block: operands, registers that its threads share, numbers in the others, bytes that they share in all.

    Of a replica: numbers of scratch memory, and partial results.
    """

    values: int
    shared_registers: int
    own_registers: int
    shared: int
    scratch: int
    partials: int


class DeviceInterpreter:
    """Many rules, each over its replicas, with one launch a step, or some where replicas are few and large.

    The device counts the steps, so that a captured step can be replayed: `clock` is how many have been taken. Whoever
    replays steps advances it, and calls `prepare` before each of them.

    Args:
        members: The rules.
        places: For each rule, the rows of its replicas in the population.
        dtype: The parameters' type: float32 or float64.
        kernel: The compiled interpreter for that type.
        device: Where everything is.
    """

    def __init__(
        self,
        members: Sequence[Member],
        places: Sequence[NDArray[np.int64]],
        dtype: torch.dtype,
        kernel: Kernel,
        device: torch.device,
    ) -> None:
        self.standing, self.kernel, self.device = Standing(members, places, dtype, device), kernel, device
        self.clock = torch.zeros(1, dtype=torch.int64, device=device)
        self.programs, self.addresses = packed_programs((m.tables for m in members), device)
        self.arrangement: _Arrangement | None = None

    @property
    def launches(self) -> int:
        """How many launches a step takes."""
        return len(self._launches())

    def keep(self, indices: Sequence[NDArray[np.int64]], places: Sequence[NDArray[np.int64]]) -> None:
        """Go on with these replicas of each rule, which stand in these rows from now on."""
        self.standing.keep(indices, places)
        self.arrangement = None

    def step(self, w: Tensor, g: Tensor, t: int) -> None:
        """Update ``w`` [R, D] in place from gradients ``g`` [R, D], both contiguous, at step ``t`` (1, 2, ...)."""
        self.prepare(t)
        self.clock.fill_(t - 1)
        self.launch(w, g)

    def prepare(self, t: int) -> None:
        """See to it that the device has what step ``t`` needs: a copy every 256 steps, and after `keep`."""
        if self.standing.load(t) and self.arrangement:
            self._copy_numbers(self.arrangement.numbers)
        if self.arrangement is None and self.standing.started:
            self.arrangement = self._arranged()

    def launch(self, w: Tensor, g: Tensor) -> None:
        """Update ``w`` from ``g`` at the step after as many as the clock says; its numbers are there."""
        checked(w, g, self.standing.dtype)
        if not len(self.standing):
            return
        if self.arrangement is None:
            self.standing.start(w, g)
            self.arrangement = self._arranged()
        a = self.arrangement
        a.call.w, a.call.g = w.data_ptr(), g.data_ptr()
        for launch in a.launches:
            self.kernel.launch(a.call, launch.jobs, a.blocks, a.shared)
        torch.autograd.graph.increment_version([w])

    def _parts(self) -> int:
        """How many blocks share a replica."""
        present = [m.tables.units for m in self.standing.members if len(m)]
        wanted = _BLOCKS * self.kernel.processors // max(1, len(self.standing))
        return max(1, min(wanted, max(present, default=1)))

    def _launches(self) -> tuple[Launch, ...]:
        """One for all jobs, or one for each that is enough for several blocks."""
        members = self.standing.members
        end = len(Job) * max(m.tables.stages for m in members)
        if self._parts() == 1:
            return (Launch(0, end),)
        starts = sorted({job for m in members for job in _dealt(m.tables, self.kernel.threads)})
        return tuple(itertools.starmap(Launch, itertools.pairwise([*starts, end])))

    def _copy_numbers(self, to: Sequence[Tensor]) -> None:
        for buffer, member in zip(to, self.standing.members, strict=True):
            buffer[: len(member.numbers)].copy_(member.numbers)

    def _arranged(self) -> _Arrangement:
        """Memory, tables and the call for the replicas that there are."""
        members, parts, replicas, sizes = self.standing.members, self._parts(), len(self.standing), self._sizes()
        numbers = tuple(self._empty(min(BLOCK, m.steps), len(m), len(m.tables.numbers)) for m in members)
        self._copy_numbers(numbers)
        rows = (_row(m, n) for m, n in zip(members, numbers, strict=True))
        memory = {
            "members": packed_members(zip(rows, self.addresses, strict=True), self.device),
            **dict(zip(("member_of", "row_of", "place_of"), map(self._on_device, self.standing.columns), strict=True)),
            "arrived": torch.zeros(replicas, dtype=torch.int32, device=self.device),
            "scratch": self._empty(replicas, sizes.scratch),
            "registers": self._empty(replicas, parts, sizes.own_registers),
            "partials": torch.empty(replicas, sizes.partials, dtype=torch.float64, device=self.device),
        }
        call = c.Call(
            **{name: tensor.data_ptr() for name, tensor in memory.items()},
            clock=self.clock.data_ptr(),
            block=BLOCK,
            width=members[0].tables.width,
            scratch_stride=sizes.scratch,
            register_stride=sizes.own_registers,
            partial_stride=sizes.partials,
            most_values=sizes.values,
            shared_registers=sizes.shared_registers,
            unit=members[0].tables.unit,
            parts=parts,
        )
        return _Arrangement(tuple(memory.values()), numbers, call, self._launches(), replicas * parts, sizes.shared)

    def _sizes(self) -> _Sizes:
        """What the largest of the rules needs."""
        tables = [m.tables for m in self.standing.members]
        codes = [code for table in tables for code in table.codes]
        values, registers = max(len(code.values) for code in codes), max(code.registers for code in codes)
        tile = self.kernel.threads * self.kernel.each
        size = tile * self.standing.dtype.itemsize
        desk = DESK + 8 * self.kernel.threads + 16 * values
        shared_registers = min(registers, (SHARED - desk) // size)
        return _Sizes(
            values=values,
            shared_registers=shared_registers,
            own_registers=(registers - shared_registers) * tile,
            shared=desk + shared_registers * size,
            scratch=max(t.scratch for t in tables),
            partials=max(t.partials for t in tables),
        )

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.standing.dtype, device=self.device)

    def _on_device(self, column: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(column).to(self.device)


def _dealt(tables: Tables, threads: int) -> Iterator[int]:
    """The jobs of a rule that blocks deal out: all entries, what comes before them, and lines and results if long."""
    lines, results = Counter[int](), Counter[int]()
    for extent, parameter in zip(tables.extents, tables.parameters, strict=True):
        for k, stage in enumerate(parameter.code.code.stages):
            for section in stage:
                job = _job(section)
                if job is Job.ENTRIES or k == 0:
                    yield len(Job) * k + job
                elif job is Job.LINES:
                    lines[k] += extent.lengths[section.domain]
                for r in section.reductions:
                    if r.to.domain is not Domain.SCALAR:
                        results[k] += extent.found(section.domain, r.to.domain, tables.unit)
    for job, counts in ((Job.LINES, lines), (Job.RESULTS, results)):
        yield from (len(Job) * k + job for k, n in counts.items() if n > _TURNS * threads)


def _job(section: Section) -> Job:
    """Which job a section is part of, as interpreter.cu has it."""
    if section.domain is Domain.TENSOR:
        return Job.ENTRIES
    return Job.LINES if section.domain >= Domain.ROW and not section.reductions else Job.SMALL


def _row(member: Member, numbers: Tensor) -> c.Member:
    assert member.state is not None
    return c.Member(
        None,
        member.state.data_ptr(),
        numbers.data_ptr(),
        state_stride=member.tables.state,
        number_stride=numbers.shape[2],
        replicas=len(member),
    )
