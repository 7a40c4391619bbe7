"""Programs that workers do not survive: known once, never leased again.

An entry of the journal's kind POISON is ``{"hash", "evaluator", "reason"}``: the canonical hash of the program, the
version of the evaluator that it broke, and how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..records.journal import POISON


class PoisonList:
    """The poisonous programs of a run, by canonical hash and evaluator version."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], str] = {}
        self._fresh: list[dict[str, Any]] = []

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def learn(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Take over what a journal has."""
        for entry in entries:
            self._reasons[entry["hash"], entry["evaluator"]] = entry["reason"]

    def reason(self, digest: str, evaluator: str) -> str | None:
        """Why a program is not leased, or None where it may be."""
        return self._reasons.get((digest, evaluator))

    def add(self, digest: str, evaluator: str, reason: str) -> None:
        """Put a program on the list."""
        self._reasons[digest, evaluator] = reason
        self._fresh.append({"hash": digest, "evaluator": evaluator, "reason": reason})

    def fresh(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The entries that no journal has yet, to be written with the trials of the same programs.

        Their order does not tell which worker was the first.
        """
        fresh, self._fresh = sorted(self._fresh, key=lambda e: (e["hash"], e["evaluator"])), []
        return [(POISON, entry) for entry in fresh]
