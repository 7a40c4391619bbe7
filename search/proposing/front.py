"""The Pareto front of a search: programs that no other beats in loss, state and length at once."""

from __future__ import annotations

from .population import Individual


class Front:
    """Individuals of which none is at least as good as another in everything; of equals the first."""

    def __init__(self) -> None:
        self.members: list[Individual] = []
        self.changes = 0
        """How often the front has changed."""

    def add(self, individual: Individual) -> None:
        """Take an individual in where nothing on the front is as good, and what it beats out."""
        new = _values(individual)
        if any(_covers(_values(m), new) for m in self.members):
            return
        self.members = [m for m in self.members if not _covers(new, _values(m))]
        self.members.append(individual)
        self.members.sort(key=_values)
        self.changes += 1

    def csv(self) -> str:
        """One line per program from the least loss on; state in bytes per parameter, statements that are live."""
        lines = [f"{m.index},{m.loss!r},{m.state},{m.statements},{m.hash}" for m in self.members]
        return "\n".join(["program,loss,state_bytes,statements,hash", *lines, ""])


def _values(m: Individual) -> tuple[float, int, int]:
    return m.loss, m.state, m.statements


def _covers(a: tuple[float, int, int], b: tuple[float, int, int]) -> bool:
    """Whether a is at least as good in everything."""
    return all(x <= y for x, y in zip(a, b, strict=True))
