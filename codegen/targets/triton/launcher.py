"""Runs Triton kernels on tables of tensors. Generated optimizers carry the text of what stands below."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import linecache
import types
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..rows import Row, same

# --- carried by generated files from here on

GPU_TYPES = ("cuda",)
"""Types of devices that Triton's kernels run on: torch calls AMD's GPUs cuda, too."""

WARPS = 4

CHUNK, BLOCK = 2048, 1024 if torch.version.hip else 512
"""Elements of a vector that one program takes, and how many at a time.

Four of a thread: with more, Triton moves bfloat16 and float32 in different layouts and converts in shared memory.
"""

STRIP, NARROW, WIDE = 128, (16, 128), (8, 128)
"""Rows of a matrix that one program takes, and rows and columns at a time, of up to 128 columns and of more."""

LINES, PARTS, MANY = 256, 8, 1024
"""Rows or columns whose parts one program brings together, parts at a time, and values per line at a time."""


@functools.cache
def load_triton(source: str) -> Any:
    """The module of Triton kernels; None, with one warning, where there is no Triton."""
    if importlib.util.find_spec("triton") is None:
        warnings.warn(
            "Triton is not installed, so the optimizer runs in eager torch on the GPU: pip install triton", stacklevel=2
        )
        return None
    name = f"triton_kernels_{hashlib.sha256(source.encode()).hexdigest()[:16]}"
    module, file = types.ModuleType(name), f"<{name}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)  # Triton reads it there
    exec(compile(source, file, "exec"), module.__dict__)
    return module


class Gathered(NamedTuple):
    """A reduction of a stage: how parts come together, which kernel leaves them and where, and what of it is wanted.

    ``entries`` says what a mean is taken of: ``numel``, ``rows``, ``cols``, ``planes``, ``tensors`` or ``""``.
    Lines are found at column ``part`` of the pointers and go to column ``place``; single values are the ``part``-th of
    a chunk (``tile``) or of a plane (``lines``), and go to a place among what a tensor, or all of them, know.
    """

    how: str
    source: str
    part: int
    entries: str
    place: int
    over_all: bool = False


class GpuStage(NamedTuple):
    """The launches of a stage: over elements, over lines, and what they leave to be brought together."""

    tile: bool
    lines: bool
    rows: tuple[Gathered, ...]
    cols: tuple[Gathered, ...]
    singles: tuple[Gathered, ...]


class GpuShape(NamedTuple):
    """How a plan is laid out: what a tensor brings and needs, the widths of the tables, and the stages."""

    label: str
    flat: bool
    buffers: tuple[str, ...]
    scratch: tuple[str, ...]
    hosts: int
    known: int
    shared: int
    lines: bool
    scalars: bool
    globals: bool
    stages: tuple[GpuStage, ...]


class GpuLaunch:
    """The tensors of one kind on one device: tables on the device with a row per tensor, kept while nothing moves.

    ``wide`` says that matrices have more than 128 columns, ``aligned`` that tensors and rows begin at 16 bytes.
    """

    def __init__(self, kernels: Any, shape: GpuShape, p: Tensor, wide: bool, rounding: str, aligned: bool) -> None:
        tl = kernels.tl
        types_ = {torch.float32: tl.float32, torch.float64: tl.float64}
        types_ |= {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
        self.kernels, self.shape, self.device = kernels, shape, p.device
        self.dtype = torch.promote_types(p.dtype, torch.float32)
        self.types = {"P": types_[p.dtype], "A": types_[self.dtype]}
        self.align = {"ALIGN": 16 if aligned else p.element_size()}
        self.rounding = {"ROUND": rounding}
        self.aligned = aligned
        self.tile = {"CHUNK": CHUNK, "BLOCK": BLOCK}
        if not shape.flat:
            down, across = WIDE if wide else NARROW
            self.tile = {"LANES": 16 if aligned else 1, "STRIP": STRIP, "DOWN": down, "ACROSS": across}
        self.warps = WARPS
        self.rows: list[Row] = []
        self.pointers: list[list[int]] = []
        self.spans: list[tuple[int, int, int]] = []  # planes, rows, columns
        self.facts: list[tuple[float, ...]] = []
        self.memory: list[list[Tensor]] = []  # what each tensor needs beside its buffers
        self.multiply: tuple[int, Any] | None = None  # the stage before which torch multiplies matrices, and how
        self.pinned: list[Tensor] = []  # what a captured graph reads again
        self.numbers: list[list[float]] = []

    def add(self, row: Row) -> None:
        """A row for one parameter."""
        shape = row.target.shape
        rows, cols = shape[-2:] if len(shape) >= 2 else (1, row.size)
        planes = row.size // (rows * cols)
        across, down = self._cuts(rows, cols)
        sizes = {"elements": row.size, "rows": planes * rows, "cols": planes * cols, "planes": planes}
        sizes |= {"row parts": across * planes * rows, "col parts": down * planes * cols}
        memory = [row.target.new_empty(sizes[name], dtype=self.dtype) for name in self.shape.scratch]
        self.memory.append(memory)
        self.rows.append(row)
        addresses = row.addresses()
        more = (row.also(name) for name in ("_rest", "_seed"))
        self.pointers.append([*addresses, *(x.data_ptr() for x in (*memory, row.step)), *more])
        self.spans.append((planes, rows, cols))
        self.facts.append((float(row.target.dim()), float(row.size), float(rows), float(cols)))

    def _cuts(self, rows: int, cols: int) -> tuple[int, int]:
        """Into how many pieces a matrix is cut, across and down."""
        if self.shape.flat:
            return 1, 1
        return -(-cols // self.tile["ACROSS"]), -(-rows // self.tile["STRIP"])

    def upload(self, values: Any, dtype: torch.dtype) -> Tensor:
        """A table on the device, without waiting for it."""
        return self._pinned(values, dtype).to(self.device, non_blocking=True)

    def _pinned(self, values: Any, dtype: torch.dtype) -> Tensor:
        table = torch.as_tensor(values, dtype=dtype)
        return table.pin_memory() if self.device.type == "cuda" else table

    def prepare(self, states: dict[Any, Any]) -> None:
        """Make the tables; nothing is added from here on."""
        self.states = [*states.values()]
        shape, integers, count = self.shape, torch.int64, len(self.rows)
        groups = {id(row.group): row.group for row in self.rows}
        self.groups = list(groups.values())
        self.group_table = self.upload([list(groups).index(id(row.group)) for row in self.rows], integers)
        self.pointer_table = self.upload(self.pointers, integers)
        self.spare = [self._pinned(torch.empty(count, dtype=integers), integers) for _ in range(2)]
        flat = [planes * rows * cols for planes, rows, cols in self.spans]
        self.size_table = self.upload(flat if shape.flat else self.spans, integers)
        self.fact_table = self.upload(self.facts, torch.float64)
        if shape.flat:
            pieces = [-(-n // self.tile["CHUNK"]) for n in flat]
        else:
            pieces = [planes * a * d for (planes, r, c) in self.spans for a, d in [self._cuts(r, c)]]
        planes = [1 if shape.flat else span[0] for span in self.spans]
        self.pieces, self.planes = pieces, planes
        self.chunk_table, self.plane_table = self._listed(pieces), self._listed(planes)
        self.hosts = self._zeros(count, shape.hosts + 1)
        self.known = self._zeros(count, max(shape.known, 1))
        self.shared = self._zeros(max(shape.shared, 1))
        self.one, self.zero = self._zeros(1) + 1, self._zeros(1)
        self.found: list[dict[str, Tensor]] = []
        for stage in shape.stages:
            each = {s: sum(f.source == s for f in stage.singles) for s in ("tile", "lines")}
            lengths = {"tile": sum(pieces), "lines": sum(planes)}
            self.found.append({s: self._zeros(lengths[s], max(each[s], 1)) for s in each})

    def _zeros(self, *size: int) -> Tensor:
        return torch.zeros(size, dtype=self.dtype, device=self.device)

    def _listed(self, counts: list[int]) -> Tensor:
        """A table with a row (tensor, piece) for every piece of every tensor."""
        of = torch.tensor(counts)
        tensor = torch.repeat_interleave(of)
        first = torch.cumsum(of, 0) - of
        return self.upload(torch.stack([tensor, torch.arange(len(tensor)) - first[tensor]], 1), torch.int64)

    def fits(self, states: dict[Any, Any]) -> bool:
        """Whether the tables still hold; gradients may have new addresses, which are noted."""
        changed = False
        if not same(states, self.states):
            return False
        for row in self.rows:
            address = row.gradient()
            if address < 0 or (self.aligned and address % 16):
                return False
            changed |= address != row.grad
            row.grad = address
        if changed:
            self._move_gradients()
        return True

    def _move_gradients(self) -> None:
        """Write the gradients' addresses into the table."""
        grads = torch.tensor([row.grad for row in self.rows])
        if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            if not self.spare:
                raise RuntimeError(
                    "gradients moved in a third capture of this step: step once outside of a graph first"
                )
            self.pinned.append(self.spare.pop().copy_(grads))  # replays copy it again, so it stays as it is
            grads = self.pinned[-1]
        else:
            grads = self._pinned(grads, torch.int64)
        self.pointer_table[:, 1].copy_(grads, non_blocking=True)

    def begin(self, values: list[list[Any]], grad_scale: Any, found_inf: Any) -> None:
        """Take the hyperparameters of each group, and let the device count steps and compute host scalars.

        A tensor among them that lives on a GPU is read there.
        """
        there = [(g, i, v) for g, row in enumerate(values) for i, v in enumerate(row) if _on_gpu(v)]
        numbers = [[0.0 if _on_gpu(v) else float(v) for v in row] for row in values]
        if not self.numbers:
            self.value_table = self.upload(numbers, torch.float64)
        elif numbers != self.numbers:
            self.value_table.copy_(self._pinned(numbers, torch.float64), non_blocking=True)
        self.numbers = numbers
        for g, i, v in there:
            self.value_table[g, i].copy_(v.reshape(()))
        self.scale = self.one if grad_scale is None else torch.as_tensor(grad_scale, device=self.device)
        self.skip = self.zero if found_inf is None else torch.as_tensor(found_inf, device=self.device)
        tables = self.pointer_table, self.group_table, self.value_table, self.fact_table, self.hosts
        self._run(f"{self.shape.label}_hosts", len(self.rows), *tables, self.scale, self.skip, A=self.types["A"])

    def host(self, i: int, column: int) -> Tensor:
        """A host scalar of a tensor."""
        return self.hosts[i, column]

    def single(self, i: int, column: int) -> Tensor:
        """A reduced value of a tensor."""
        return self.known[i, column]

    def _run(self, kernel: str, programs: int, *tables: Tensor, **constants: Any) -> None:
        launch = getattr(self.kernels, kernel)[(programs,)]
        launch(*tables, **constants, num_warps=self.warps, enable_fp_fusion=False)

    def _pass(self, kernel: str, programs: int, first: tuple[Tensor, ...], partial: Tensor, **constants: Any) -> None:
        tables = self.pointer_table, self.size_table, self.hosts, self.known, self.shared, partial, self.skip
        name = f"{self.shape.label}_{kernel}"
        self._run(name, programs, *first, *tables, **self.types, **self.align, **constants)

    def stage(self, k: int) -> None:
        """One pass over the elements, and what it reduces for each tensor."""
        stage, found = self.shape.stages[k], self.found[k]
        if self.multiply and self.multiply[0] == k:
            for i in range(len(self.rows)):
                self.multiply[1](self, i)
        if stage.tile:
            tiles = self.tile | self.rounding
            self._pass(f"stage_{k}", len(self.chunk_table), (self.chunk_table,), found["tile"], **tiles)
        if stage.lines:
            tables = (self.plane_table,)
            self._pass(f"stage_{k}_lines", len(self.plane_table), tables, found["lines"], LINES=MANY)
        for how, lines, jobs in self.jobs[k]:
            self.combine(how, "combine_lines" if lines else "combine_all", jobs)

    def combine(self, how: str, kernel: str, jobs: Tensor) -> None:
        """Bring partial results together."""
        start = {"sum": 0.0, "amax": -float("inf"), "amin": float("inf")}[how]
        tile = {"LINES": LINES, "PARTS": PARTS} if kernel == "combine_lines" else {"LINES": MANY}
        self._run(kernel, len(jobs), jobs, self.skip, HOW=how, START=start, A=self.types["A"], **tile)

    def finish(self) -> None:
        """The states with less than one value per element."""
        if self.shape.lines:
            self._pass("lines", len(self.plane_table), (self.plane_table,), self.known, LINES=MANY)
        if self.shape.scalars:
            self._pass("scalars", len(self.rows), (), self.known)

    def write_globals(self) -> None:
        """The states of which all tensors have one."""
        if self.shape.globals:
            self._pass("globals", 1, (), self.known)

    def plan_jobs(self) -> None:
        """List what is to be brought together after each stage, for each tensor."""
        self.jobs: list[list[tuple[str, bool, Tensor]]] = []
        for k, stage in enumerate(self.shape.stages):
            lists: dict[tuple[str, bool], list[tuple[int, ...]]] = {}
            for axis, found in (*(("rows", f) for f in stage.rows), *(("cols", f) for f in stage.cols)):
                lists.setdefault((_way(found.how), True), []).extend(self._line_jobs(axis, found))
            for found in stage.singles:
                if not found.over_all:
                    lists.setdefault((_way(found.how), False), []).extend(self._single_jobs(k, found))
            self.jobs.append([(how, lines, self.upload(jobs, torch.int64)) for (how, lines), jobs in lists.items()])

    def _line_jobs(self, axis: str, found: Gathered) -> list[tuple[int, ...]]:
        out: list[tuple[int, ...]] = []
        for pointers, (planes, rows, cols) in zip(self.pointers, self.spans, strict=True):
            across, down = self._cuts(rows, cols)
            results, parts = (planes * rows, across) if axis == "rows" else (planes * cols, down)
            entries = {"rows": rows, "cols": cols}.get(found.entries, 1)
            ends = pointers[found.part], pointers[found.place], results, parts
            out += [(*ends, first, entries) for first in range(0, results, LINES)]
        return out

    def _single_jobs(self, k: int, found: Gathered) -> list[tuple[int, ...]]:
        table, first = self.found[k][found.source], 0
        out: list[tuple[int, ...]] = []
        counts = self.pieces if found.source == "tile" else self.planes
        for i, (count, span) in enumerate(zip(counts, self.spans, strict=True)):
            source, result = table[first, found.part], self.known[i, found.place]
            planes, rows, cols = span
            numbers = {"numel": planes * rows * cols, "rows": planes * rows, "cols": planes * cols, "planes": planes}
            ends = source.data_ptr(), result.data_ptr(), table.shape[1], count
            out.append((*ends, 0, numbers.get(found.entries, 1)))
            first += count
        return out


class GpuStep:
    """All launches of an optimizer on one device, which exchange what is reduced over all parameters."""

    def __init__(self, launches: list[GpuLaunch], states: dict[Any, Any]) -> None:
        self.launches = launches
        first = launches[0]
        for launch in launches:
            launch.prepare(states)
            launch.shared = first.shared
            launch.plan_jobs()
        self.jobs: list[list[tuple[str, Tensor]]] = []
        self.between: list[Tensor] = []
        for k in range(max(len(x.shape.stages) for x in launches)):
            self.jobs.append([job for f in self._singles(k) if f.over_all for job in self._shared_jobs(k, f)])

    def _singles(self, k: int) -> tuple[Gathered, ...]:
        stages = self.launches[0].shape.stages
        return stages[k].singles if k < len(stages) else ()

    def _shared_jobs(self, k: int, found: Gathered) -> list[tuple[str, Tensor]]:
        """First the parts of each launch, then of all launches."""
        first, way = self.launches[0], _way(found.how)
        between = first.upload([0.0] * len(self.launches), first.dtype)
        self.between.append(between)
        parts: list[tuple[int, ...]] = []
        for x, launch in enumerate(self.launches):
            table = launch.found[k][found.source]
            ends = table[0, found.part], between[x]
            parts.append((*(e.data_ptr() for e in ends), table.shape[1], len(table), 0, 1))
        rows = [row for launch in self.launches for row in launch.rows]
        numbers = {"numel": sum(row.size for row in rows), "tensors": len(rows)}
        result = first.shared[found.place].data_ptr()
        last = (between.data_ptr(), result, 1, len(self.launches), 0, numbers.get(found.entries, 1))
        return [(way, first.upload(jobs, torch.int64)) for jobs in (parts, [last])]

    def run(self, grad_scale: Any, found_inf: Any, values: Any) -> None:
        """One step of all parameters; ``values`` gives the hyperparameters of a group."""
        device = self.launches[0].device
        with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
            for launch in self.launches:
                launch.begin([values(group) for group in launch.groups], grad_scale, found_inf)
            for k, jobs in enumerate(self.jobs):
                for launch in self.launches:
                    if k < len(launch.shape.stages):
                        launch.stage(k)
                for how, table in jobs:
                    self.launches[0].combine(how, "combine_all", table)
            for launch in self.launches:
                launch.finish()
            self.launches[0].write_globals()
        changed = [x for launch in self.launches for row in launch.rows for x in (row.target, row.step)]
        torch.autograd.graph.increment_version(changed)


def _way(how: str) -> str:
    """How parts of a reduction come together; a mean is divided at the end."""
    return "sum" if how == "mean" else how


def _on_gpu(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu"
