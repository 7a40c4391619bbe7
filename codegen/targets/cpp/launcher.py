"""Runs compiled kernels on tables of tensors. Generated optimizers carry the text of what stands below."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

from ..rows import Row, same

# --- carried by generated files from here on


class Launch:
    """The tensors of one kind, such as ``matrix_f32``: a row of each table per tensor, kept while nothing moves.

    ``stages`` says for every value that a stage reduces how it comes together over all tensors: ``""`` for one value
    per tensor, else ``sum``, ``amax``, ``amin``, ``mean`` (of all elements) or ``mean_of_tensors``. Tensors whose host
    scalars are the same share a row of them.
    """

    def __init__(self, library: Any, kind: str, stages: tuple[tuple[str, ...], ...], small: bool) -> None:
        self.library, self.kind, self.stages, self.small = library, kind, stages, small
        self.rows: list[Row] = []
        self.pointers: list[int] = []
        self.sizes: list[int] = []
        self.host_keys: dict[Any, int] = {}
        self.host_rows: list[int] = []
        self.heads: list[Row] = []  # the first one of the rows that share host scalars
        self.memory: list[list[Tensor]] = []  # what each tensor needs beside its buffers
        self.multiply: tuple[int, Any] | None = None  # the stage before which torch multiplies matrices, and how
        self.done = 0  # steps since the tables were made
        self.shared: list[list[float]] = []  # what each tensor knows of values over all parameters
        self.alone = len(stages) > 1 and not any(how for stage in stages for how in stage)

    def add(self, row: Row, workspaces: list[Tensor], sizes: tuple[int, ...], key: Any) -> None:
        """A row for one parameter; those with the same key have the same host scalars."""
        row.t = float(row.step)
        self.rows.append(row)
        self.memory.append(workspaces)
        self.dtype = torch.promote_types(row.target.dtype, torch.float32)
        self.pointers += [*row.addresses(), *(x.data_ptr() for x in workspaces)]
        self.sizes += sizes
        if key not in self.host_keys:
            self.host_keys[key] = len(self.heads)
            self.heads.append(row)
        self.host_rows.append(self.host_keys[key])

    def prepare(self, states: dict[Any, Any]) -> None:
        """Turn the tables into C arrays; nothing is added from here on."""
        self.states = [*states.values()]
        self.count, self.columns = len(self.rows), len(self.pointers) // len(self.rows)
        self.pointer_table = (ctypes.c_void_p * len(self.pointers))(*self.pointers)
        self.size_table = (ctypes.c_int64 * len(self.sizes))(*self.sizes)
        self.host_row_table = (ctypes.c_int64 * self.count)(*self.host_rows)
        self.steps = torch.stack([row.step for row in self.rows])  # counted all at once
        for row, step in zip(self.rows, self.steps.unbind(), strict=True):
            row.count_with(step)

    def fits(self, states: dict[Any, Any]) -> bool:
        """Whether the tables still hold: nothing was replaced or moved, but gradients may have new addresses."""
        if not same(states, self.states):
            return False
        for i, row in enumerate(self.rows):
            address = row.gradient()
            if address < 0 or row.step._version != row.version + self.done:
                return False
            if address != row.grad:
                row.grad = self.pointer_table[i * self.columns + 1] = address
        return True

    def advance(self, hosts: list[tuple[float, ...]], shared: list[list[float]]) -> None:
        """Count the step, and take its host scalars and what tensors know of values over all parameters."""
        self.steps += 1.0
        self.done += 1
        self.host_table = (ctypes.c_double * (len(hosts) * len(hosts[0])))(*(v for row in hosts for v in row))
        self.shared = shared
        self.alone &= not shared[0] and self.multiply is None
        self.width = sum(map(len, self.stages)) + len(shared[0])
        self.known = (ctypes.c_double * (self.count * self.width))()
        for column in range(len(shared[0])):
            self.known[self.width - len(shared[0]) + column :: self.width] = [values[column] for values in shared]

    def host(self, i: int, column: int) -> Tensor:
        """A host scalar of a tensor."""
        width = len(self.host_table) // len(self.heads)
        return torch.tensor(self.host_table[self.host_rows[i] * width + column], dtype=self.dtype)

    def single(self, i: int, column: int) -> Tensor:
        """A reduced value of a tensor."""
        return torch.tensor(self.known[i * self.width + column], dtype=self.dtype)

    def call(self, function: str, width: int) -> list[float]:
        """Call a kernel on the tables; returns ``width`` values per tensor."""
        found = self.known if function == "step" else (ctypes.c_double * (self.count * width))()
        label, suffix = self.kind.split("_")
        kernel = getattr(self.library, f"{label}_{function}_{suffix}")
        tables = self.size_table, self.pointer_table, self.host_row_table, self.host_table, self.known, found
        kernel(ctypes.c_int64(self.count), *tables, ctypes.c_int(torch.get_num_threads()))
        return list(found)


def run_launches(launches: list[Launch]) -> None:
    """Run all stages of all launches, exchanging after each one what is reduced over all parameters."""
    for launch in launches:
        if launch.alone:  # tensor by tensor, as far as a cache reaches
            launch.call("step", 0)
    for stage in range(max(len(launch.stages) for launch in launches)):
        present = [x for x in launches if stage < len(x.stages) and not x.alone]
        for launch in present:
            if launch.multiply and launch.multiply[0] == stage:
                for i in range(launch.count):
                    launch.multiply[1](launch, i)
        found = [x.call(f"stage_{stage}", len(x.stages[stage])) for x in present]
        for launch, values in zip(present, found, strict=True):
            hows = launch.stages[stage]
            first = sum(map(len, launch.stages[:stage]))
            for column, how in enumerate(hows):
                own = values[column :: len(hows)]
                if how:  # then all launches run the same stages
                    parts = [v for other in found for v in other[column :: len(hows)]]
                    own = [_over_launches(how, parts, present)] * launch.count
                launch.known[first + column :: launch.width] = own
    for launch in launches:
        if launch.small and not launch.alone:
            width = len(launch.shared[0])
            values = launch.call("small", width)
            launch.shared = [values[i * width : (i + 1) * width] for i in range(launch.count)]
    torch.autograd.graph.increment_version([row.target for launch in launches for row in launch.rows])


def _over_launches(how: str, parts: list[float], launches: list[Launch]) -> float:
    """One value over all tensors from one value per tensor."""
    if any(v != v for v in parts):
        return float("nan")
    if how in ("amax", "amin"):
        return max(parts) if how == "amax" else min(parts)
    total = sum(parts)
    if how == "mean":
        return total / sum(row.size for x in launches for row in x.rows)
    return total / sum(x.count for x in launches) if how == "mean_of_tensors" else total
