"""How much memory a population takes, planned ahead."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from evoptim.codegen.replica import state_shape
from evoptim.dsl import Kind, Rule, UserError

from .gradients import FEWEST, Functions
from .task import Batch, Params, Task

SHARE = 0.5
"""Of the memory that is available, what a population may take unless told."""

CHUNK = 96
"""Replicas differentiated in one call at the most: more of them gain nothing."""

CHUNK_BYTES = 64 << 20
"""What their activations take at the most, as long as `FEWEST` fit: what leaves the cache gains nothing either."""

DEVICE_CHUNKS = ((256, 64 << 20), (128, 1 << 30))
"""The same on GPUs, where calls are filled up to whole chunks: so many replicas, if they take at most so many bytes.

Their number does not depend on what is trained. Of tiny models 256 cost as much as 128: they do not fill a GPU.
"""

STREAMS = 16
"""Chunks that a GPU works off side by side."""

SLACK = 1.25
"""What kernels allocate for themselves is not seen; it stays within this factor."""

NUMBERS = 64 << 10
"""Bytes of constants and host scalars of a replica: 256 steps of 32 numbers in float64."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a population is split. Results do not depend on it.

    ``replicas`` are in memory at once, ``chunk`` of them are differentiated and ``validation_chunk`` validated in one
    call, ``threads`` calls at the same time; all of this takes about ``bytes``.
    """

    replicas: int
    chunk: int
    validation_chunk: int
    threads: int
    bytes: int


def plan_memory(
    task: Task, rules: Sequence[Rule], total: int, batch_size: int, *, limit: int | None = None, threads: int = 1
) -> MemoryPlan:
    """As many replicas at once as a limit allows.

    Args:
        task: The task.
        rules: What is trained.
        total: How many replicas there are.
        batch_size: Examples per update.
        limit: In bytes; by default half of what is available on the task's device.
        threads: Chunks that are worked off at the same time; on a GPU fewer, where not even the fewest replicas fit.

    Raises:
        UserError: Not even `FEWEST` replicas fit.
    """
    limit = int(SHARE * available_memory(task.device)) if limit is None else limit
    (training, validation), each = activation_bytes(task, batch_size), replica_bytes(task, rules)
    fewest, on_cpu = FEWEST * max(training, validation), task.device.type == "cpu"
    while not on_cpu and threads > 1 and threads * fewest + FEWEST * each > limit:
        threads //= 2
    size = _chunk if on_cpu else _device_chunk
    chunk, validation_chunk = (size(n, total, limit // (2 * threads)) for n in (training, validation))
    working = threads * max(chunk * training, validation_chunk * validation)
    fit = (limit - working) // each
    if fit < min(FEWEST, total):
        needed = threads * fewest + FEWEST * each
        raise UserError(
            f"the fewest replicas of {task.name} take {_mebibytes(needed)}, the limit is {_mebibytes(limit)}",
            "allow more memory, or train with a smaller batch_size or fewer threads",
        )
    replicas = min(fit, total)
    return MemoryPlan(replicas, chunk, validation_chunk, threads, working + replicas * each)


def _chunk(each: int, total: int, limit: int) -> int:
    """Replicas in a call, of so many bytes each."""
    return max(FEWEST, min(CHUNK, total, min(CHUNK_BYTES, limit) // each))


def _device_chunk(each: int, total: int, limit: int) -> int:
    """The same on a GPU: a power of two, and as long as memory allows the same for whatever is trained."""
    fit = max(min(count, min(most, limit) // each) for count, most in DEVICE_CHUNKS)
    return max(FEWEST, 1 << max(0, fit.bit_length() - 1))


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def available_memory(device: torch.device) -> int:
    """Bytes that can be allocated on a device now, or all there are where the system does not say."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for itself
        return torch.cuda.mem_get_info(device)[0] + kept
    table = Path("/proc/meminfo")
    if not table.exists():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rows = dict(line.split(":", 1) for line in table.read_text().splitlines())
    return int(rows["MemAvailable"].split()[0]) << 10


def replica_bytes(task: Task, rules: Sequence[Rule]) -> int:
    """Bytes of a replica from step to step: parameters, gradients, the largest rule's states, past parameters.

    Where replicas are taken out, parameters and states are there twice for a moment.
    """
    item = torch.finfo(task.dtype).bits // 8
    held = 2 * max(state_size(rule, list(task.shapes.values())) for rule in rules)
    return item * (task.parameters * (4 + task.delay) + held) + NUMBERS


def state_size(rule: Rule, layout: Sequence[tuple[int, ...]]) -> int:
    """How many numbers the states of a rule have."""
    own = [b for b in rule.buffers if b.kind != Kind.GLOBAL]
    return sum(math.prod(state_shape(b, (1, *shape))[1:]) for b in own for shape in layout)


def activation_bytes(task: Task, batch_size: int) -> tuple[int, int]:
    """The most bytes of a replica during a step's differentiation, and during validation; both at least 1."""
    (draw,) = task.order(0, 1, batch_size)
    batch = task.batch(torch.stack([draw] * FEWEST))
    params = {n: torch.stack([p] * FEWEST) for n, p in task.init(0).items()}
    functions, validation = Functions(task), task.validation()
    batch_bytes = sum(b.nbytes for b in batch)
    with torch.no_grad():
        training = batch_bytes + peak_bytes(functions.differentiate, params, batch)
        validating = peak_bytes(functions.evaluate, params, validation)
    return max(1, math.ceil(SLACK * training / FEWEST)), max(1, math.ceil(SLACK * validating / FEWEST))


def peak_bytes(function: Callable[[Params, Batch], Any], params: Params, batch: Batch) -> int:
    """The most memory that tensors made by a call take at a time."""
    known = [t.untyped_storage() for t in (*params.values(), *batch)]
    with _Storages(known) as storages:
        function(params, batch)
    return storages.most


class _Storages(TorchDispatchMode):
    """Follows the memory of the tensors that operations return, but for some that exist already."""

    def __init__(self, known: Sequence[torch.UntypedStorage]) -> None:
        super().__init__()
        self.live = self.most = 0
        self.known = weakref.WeakSet(known)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage in self.known:
            return
        self.known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._remove, size)

    def _remove(self, size: int) -> None:
        self.live -= size
