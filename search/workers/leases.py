"""Which worker trains what: programs in chunks, and a chunk that is lost in halves until the guilty one is alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Chunk:
    """Programs leased together.

    Args:
        programs: Their places in the batch.
        failures: Leases of it that were lost; counted while it is one program alone.
        where: The workers that lost it: others try first.
    """

    programs: tuple[int, ...]
    failures: int = 0
    where: frozenset[int] = frozenset()


class Chunks:
    """What is still to be leased.

    Args:
        programs: Places in the batch.
        parts: Into how many chunks they are divided at first.
        retries: How often a program that lost a lease alone is leased again.
    """

    def __init__(self, programs: Sequence[int], parts: int, retries: int) -> None:
        self.retries = retries
        size = -(-len(programs) // max(1, parts))
        self._queue = deque(Chunk(tuple(programs[i : i + size])) for i in range(0, len(programs), max(1, size)))

    def take(self, worker: int, working: AbstractSet[int]) -> Chunk | None:
        """A chunk for a worker, or None; what it lost before it gets only where every other one has lost it too.

        Args:
            worker: Who asks.
            working: All workers that are not given up.
        """
        for chunk in self._queue:
            if worker not in chunk.where or chunk.where >= working:
                self._queue.remove(chunk)
                return chunk
        return None

    def lost(self, chunk: Chunk, worker: int) -> int | None:
        """A lease was lost: queue the halves, or the program alone again; else return the program that is poison."""
        where, middle = chunk.where | {worker}, len(chunk.programs) // 2
        if middle:
            self._queue.append(Chunk(chunk.programs[:middle], where=where))
            self._queue.append(Chunk(chunk.programs[middle:], where=where))
            return None
        if chunk.failures < self.retries:
            self._queue.append(replace(chunk, failures=chunk.failures + 1, where=where))
            return None
        return chunk.programs[0]
