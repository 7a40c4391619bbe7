"""What the economies spare: counted live, and from the archive for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evoptim.dsl import Rule

from .config import SearchConfig
from .evaluator import Score
from .judging.benches import rung_0, settings
from .judging.judge import BEYOND
from .records.archive import Archive, setting_text


def full_trainings(config: SearchConfig, start: Rule) -> int:
    """Trainings of a program that is trained to the end, without wider grids."""
    return len(settings(config, start)) * len(config.evaluation.seeds) * len(rung_0(config))


class Savings:
    """Programs stopped by hurdle and race, trainings that this spared, and trainings that wider grids cost.

    What fails on a seed or a task before its last training is not trained on either: ``spared_by_failure``.

    Args:
        config: The run's configuration.
        start: Its start program.
        archive: What has happened so far.
    """

    def __init__(self, config: SearchConfig, start: Rule, archive: Archive) -> None:
        self.grid = frozenset(map(setting_text, settings(config, start)))
        self.full = full_trainings(config, start)
        self.hurdle = self.race = self.spared_by_hurdle = self.spared_by_race = self.spared_by_failure = 0
        for status, reason, made in archive.unfinished():
            self._unfinished(status, reason, made)
        self.widened = archive.widened(self.grid)

    def add(self, score: Score, made: Sequence[Mapping[str, float]]) -> None:
        """Count a program that has been judged; ``made`` are the settings of its trainings."""
        if score.status != "ok":
            self._unfinished(score.status, score.reason, len(made))
        self.widened += sum(setting_text(setting) not in self.grid for setting in made)

    @property
    def spared(self) -> int:
        """Trainings that were not made of programs that were begun."""
        return self.spared_by_hurdle + self.spared_by_race + self.spared_by_failure

    def _unfinished(self, status: str, reason: str, made: int) -> None:
        if status != "stopped":
            self.spared_by_failure += self.full - made
        elif reason.startswith(BEYOND):
            self.hurdle += 1
            self.spared_by_hurdle += self.full - made
        else:
            self.race += 1
            self.spared_by_race += self.full - made


def savings_summary(archive: Archive, config: SearchConfig, start: Rule) -> list[dict[str, Any]]:
    """Each economy for a report: its key in search.toml, whether it is on, and what it did.

    ``programs`` are those that it spared or stopped or, for wider grids, whose best setting lies beyond the grid;
    ``trainings`` the trainings that it spared, below 0 where it cost some; None where that cannot be counted. Dead
    statements are no programs: the report samples their share. ``failure`` is no key: what fails early is left at that.
    """
    counts, economy, saved = archive.counts(), config.economy, Savings(config, start, archive)

    def row(key: str, on: bool, programs: int | None, trainings: int | None) -> dict[str, Any]:
        return {"economy": key, "on": on, "programs": programs, "trainings": trainings}

    def untrained(key: str, on: bool, programs: int) -> dict[str, Any]:
        return row(key, on, programs, programs * saved.full)

    improved = sum(setting_text(setting) not in saved.grid for setting in archive.best_settings())
    return [
        untrained("hash", economy.hash_cache, counts["duplicates"]),
        row("strip", economy.strip, None, None),
        untrained("fingerprint", economy.fingerprint, counts["fingerprints"]),
        untrained("vetoes", economy.vetoes, counts["vetoed"]),
        row("hurdle", economy.hurdle > 0, saved.hurdle, saved.spared_by_hurdle),
        row("race", economy.race > 0, saved.race, saved.spared_by_race),
        row("failure", True, None, saved.spared_by_failure),
        row("widen", config.evaluation.widen > 0, improved, -saved.widened),
    ]
