"""Losses and gradients of stacked replicas, a chunk of them at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeAlias

import torch
from torch import Tensor
from torch.func import grad_and_value, vmap

from .task import Batch, Params, Stacked, Task

Map: TypeAlias = Callable[[Callable[[slice], Tensor], Iterable[slice]], Iterable[Tensor]]
"""What works chunks off: the built-in ``map``, that of a pool of threads, or `Streams`."""

CPU = torch.device("cpu")
FEWEST = 2
"""Replicas in a call: of a single one torch makes vectors of matrices, and rounds otherwise."""


class Functions:
    """Stacked losses of a task, with gradients and, on one batch for all, without.

    Args:
        task: The task; a thread has its own.
    """

    def __init__(self, task: Task) -> None:
        self.differentiate: Stacked = task.stacked() or vmap(grad_and_value(task.loss))
        self.evaluate = vmap(task.loss, in_dims=(0, None))


class Gradients:
    """What a task's replicas have for losses and gradients.

    What is computed for a replica depends on no other one: every task's operations keep replicas apart, and no chunk
    has fewer than `FEWEST`. `train_population` says where this holds to the bit.

    Args:
        task: The task.
        chunk: Replicas differentiated in one call, at least `FEWEST`.
        validation_chunk: The same where only losses are computed, on the validation set.
        work: What works the chunks off.
        threads: With how many threads; streams are given their work by one.
        whole: Whether the last chunk is filled up: kernels of GPUs round by how many replicas are in a call.
    """

    def __init__(
        self,
        task: Task,
        chunk: int,
        validation_chunk: int,
        work: Map = map,
        threads: int = 1,
        whole: bool = False,
    ) -> None:
        self.shapes = task.shapes
        self.chunk, self.validation_chunk, self.work = chunk, validation_chunk, work
        self.fewest, self.validation_fewest = (chunk, validation_chunk) if whole else (FEWEST, FEWEST)
        self.idle: SimpleQueue[Functions] = SimpleQueue()
        for _ in range(threads):
            self.idle.put(Functions(task.duplicate()))

    def __call__(self, w: Tensor, batch: Batch, seed_of: Tensor, out: Tensor) -> Tensor:
        """Gradients into ``out`` [R, D]; returns the losses [R].

        Args:
            w: Parameters ``[R, D]``.
            batch: A batch for each seed, stacked.
            seed_of: Which of these is each replica's, ``[R]``.
            out: Where the gradients go.
        """

        def differentiate(rows: slice) -> Tensor:
            count = len(w[rows])
            batches = tuple(b.index_select(0, _padded(seed_of[rows], self.fewest)) for b in batch)
            params = unflatten(_padded(w[rows], self.fewest), self.shapes)
            with self._functions() as functions:
                gradients, losses = functions.differentiate(params, batches)
            torch.cat([gradients[n][:count].flatten(1) for n in self.shapes], dim=1, out=out[rows])
            return losses[:count]

        return torch.cat([*self.work(differentiate, _chunks(len(w), self.chunk))])

    def validate(self, w: Tensor, batch: Batch) -> Tensor:
        """The losses ``[R]`` of parameters ``w`` [R, D] on one batch for all."""

        def evaluate(rows: slice) -> Tensor:
            params = unflatten(_padded(w[rows], self.validation_fewest), self.shapes)
            with torch.no_grad(), self._functions() as functions:
                return functions.evaluate(params, batch)[: len(w[rows])]

        return torch.cat([*self.work(evaluate, _chunks(len(w), self.validation_chunk))])

    @contextmanager
    def _functions(self) -> Generator[Functions]:
        """Those that no other thread uses meanwhile."""
        functions = self.idle.get()
        try:
            yield functions
        finally:
            self.idle.put(functions)


def _chunks(total: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, total)) for first in range(0, total, size)]


def _padded(x: Tensor, fewest: int) -> Tensor:
    """The rows again and again until there are so many, if there are fewer."""
    return x.repeat(-(-fewest // len(x)), *(1,) * (x.ndim - 1))[:fewest] if len(x) < fewest else x


def flatten(params: Mapping[str, Tensor]) -> Tensor:
    """One vector of all parameters, in their order."""
    return torch.cat([p.flatten() for p in params.values()])


def unflatten(w: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Params:
    """Views of ``w`` [replica, D] by parameter name, each ``[replica, *shape]``."""
    sizes = [math.prod(shape) for shape in shapes.values()]
    parts = zip(shapes.items(), w.split(sizes, dim=1), strict=True)
    return {name: part.view(len(w), *shape) for (name, shape), part in parts}


class Streams:
    """Works chunks off side by side on a GPU; in a captured step they become branches of its graph.

    Kernels of one chunk are small and wait for one another, so that alone they leave most of a GPU idle.

    Args:
        device: The GPU.
        count: How many chunks there are side by side at the most.
    """

    def __init__(self, device: torch.device, count: int) -> None:
        self.device = device
        self.streams = [torch.cuda.Stream(device) for _ in range(count)]

    def __call__(self, function: Callable[[slice], Tensor], chunks: Iterable[slice]) -> list[Tensor]:
        """What the function gives for each chunk; the current stream goes on when all of them are done."""
        given, main = [*chunks], torch.cuda.current_stream(self.device)
        if len(given) == 1:
            return [function(given[0])]
        used, results = self.streams[: len(given)], list[Tensor]()
        for stream in used:
            stream.wait_stream(main)
        for i, chunk in enumerate(given):
            with torch.cuda.stream(used[i % len(used)]):
                results.append(function(chunk))
        for stream in used:
            main.wait_stream(stream)
        return results


@contextmanager
def working(threads: int, device: torch.device = CPU) -> Generator[Map]:
    """What works chunks off on so many threads of the CPU, or streams of a GPU.

    Within a chunk torch has one thread: its operations are small, and threads that share one wait for each other, which
    on a machine with other work costs more than it brings. Chunks wait for nobody.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if threads == 1:
            yield map
        elif device.type == "cuda":
            yield Streams(device, threads)
        else:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield pool.map
    finally:
        torch.set_num_threads(before)
