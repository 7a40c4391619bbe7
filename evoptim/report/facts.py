"""What a page tells of a run, read from its archive once."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evoptim.dsl import Rule, UserError, parse
from evoptim.search import Archive, Score, SearchConfig, score, stored_run, strip, tidy, winner_rule
from evoptim.search.evaluator import combined
from evoptim.search.records import journal as kinds
from evoptim.search.rundir import ARCHIVE, FRONT
from evoptim.search.savings import savings_summary
from evoptim.search.stages.funnel import funnel_summary
from evoptim.search.stages.monitor import monitor_summary
from evoptim.search.stages.sealed import sealed_summary
from evoptim.search.winner import versions

SAMPLE = 300
"""Programs, evenly spaced, whose dead statements are counted."""
DOTS = 3000
"""Evaluated programs, evenly spaced, that a figure shows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A program of the winner's lineage that differs from the one before it."""

    program: int
    mutation: str
    loss: float | None
    text: str


@dataclass(frozen=True, slots=True)
class Finalist:
    """A program trained again on fresh seeds; on fewer of them where a race has stopped it."""

    program: int
    loss: float
    fresh: Score
    seeds: int


@dataclass(frozen=True, slots=True)
class Member:
    """A program of the Pareto front: loss, bytes of state per parameter, live statements."""

    program: int
    loss: float
    state: int
    statements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A run, as far as it has come.

    Attributes:
        winner: The chosen program, or the best so far where ``finished`` is False; None where nothing has trained.
        losses: Evaluated programs by their position, with their loss, a sample of those that trained.
        improvements: Position and loss of every program that was the best so far.
        mutations: How many mutations lie between the start and the winner, those without effect among them.
        dead: Share of dead statements in all programs.
        funnel, monitor, sealed: What `funnel_summary`, `monitor_summary` and `sealed_summary` say.
        journal: Entries of other kinds by kind.
    """

    directory: Path
    config: SearchConfig
    evaluator: str
    start: Rule
    start_loss: float | None
    finished: bool
    winner: int | None
    rule: Rule | None
    counts: Mapping[str, int]
    trainings: int
    seconds: tuple[float, float]
    span: tuple[str, str]
    losses: Sequence[tuple[int, float]]
    improvements: Sequence[tuple[int, float]]
    lineage: Sequence[Step]
    mutations: int
    finalists: Sequence[Finalist]
    front: Sequence[Member]
    savings: Sequence[Mapping[str, Any]]
    dead: float
    funnel: Sequence[Mapping[str, Any]]
    monitor: Mapping[str, Any] | None
    sealed: Mapping[str, Any] | None
    journal: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def name(self) -> str:
        """The name of the run directory."""
        return self.directory.resolve().name

    @property
    def measure(self) -> str:
        """What a loss is: of one task as it is, of several their mean over the start rule's."""
        return "relative loss" if self.config.evaluation.tasks else "validation loss"

    @property
    def complete(self) -> bool:
        """Whether ``losses`` has all programs that trained."""
        failed = sum(self.counts[key] for key in ("stopped", "diverged", "failed"))
        return len(self.losses) == self.counts["evaluated"] - failed

    @property
    def fresh_loss(self) -> float | None:
        """The winner's loss on fresh seeds."""
        return next((f.fresh.loss for f in self.finalists if f.program == self.winner), None)

    @property
    def fresh_start_loss(self) -> float | None:
        """The start rule's loss on fresh seeds."""
        return next((f.fresh.loss for f in self.finalists if f.program == 0), None)

    @property
    def loss(self) -> float | None:
        """The winner's loss in the search."""
        return self.lineage[-1].loss if self.lineage else None


def collect(directory: Path) -> Facts:
    """Read a run; it may be going on.

    Raises:
        UserError: It is no run directory, or of another version.
    """
    with Archive(directory / ARCHIVE, create=False) as archive:
        config, start, version = stored_run(archive)
        chosen = archive.meta("winner")
        winner = int(chosen) if chosen is not None else next((row[0] for row in archive.best()), None)
        losses, times = list(archive.losses()), archive.timings()
        lineage = [] if winner is None else archive.lineage(winner)
        return Facts(
            directory=directory,
            config=config,
            evaluator=version,
            start=tidy(start),
            start_loss=losses[0][1] if losses else None,
            finished=chosen is not None,
            winner=winner,
            rule=None if winner is None else winner_rule(archive, config, winner),
            counts=archive.counts(),
            trainings=archive.trainings(),
            seconds=archive.seconds(),
            span=(times[0][1], times[-1][1]) if times else ("", ""),
            losses=_sample(losses),
            improvements=list(archive.progress()),
            lineage=_steps(archive, lineage),
            mutations=max(0, len(lineage) - 1),
            finalists=_finalists(archive),
            front=_front(archive, directory / FRONT),
            savings=savings_summary(archive, config, start),
            dead=_dead(archive),
            funnel=funnel_summary(archive, config),
            monitor=monitor_summary(archive, config),
            sealed=sealed_summary(archive),
            journal={kind: archive.journal(kind) for kind in _KINDS},
        )


_KINDS = (kinds.SIMPLIFY, kinds.TUNING, kinds.COMPARISON, kinds.EXTENSION, kinds.POISON)


def _sample(losses: Sequence[tuple[int, float | None]]) -> list[tuple[int, float]]:
    """Position among the evaluated programs and loss, for some of those that trained."""
    trained = [(place, loss) for place, (_, loss) in enumerate(losses, 1) if loss is not None]
    return trained[:: max(1, -(-len(trained) // DOTS))]


def _steps(archive: Archive, lineage: Sequence[tuple[int, str, float | None, str]]) -> list[Step]:
    hashes = [archive.program(i)[1] for i, *_ in lineage]
    return [
        Step(i, mutation, loss, tidy(parse(text)).text)
        for k, (i, mutation, loss, text) in enumerate(lineage)
        if k == 0 or hashes[k] != hashes[k - 1]
    ]


def _finalists(archive: Archive) -> list[Finalist]:
    tasks, start = versions(archive), archive.program(0)[1]
    par = [score(archive.trials(start, "search", version)).loss for version in tasks]

    def fresh(digest: str) -> Score:
        return combined([archive.trials(digest, "selection", version) for version in tasks], par)

    def seeds(digest: str) -> int:
        return min(len({t.seed for t in archive.trials(digest, "selection", version)}) for version in tasks)

    return [Finalist(i, loss, fresh(digest), seeds(digest)) for i, digest, loss in archive.finalists()]


def _front(archive: Archive, path: Path) -> list[Member]:
    """The front that the search keeps; a line that is not about a program of the archive is left out."""
    if not path.is_file():
        return []
    known = {i: digest for i, digest, *_ in archive.best()}
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        members = {m: row["hash"] for row in rows for m in [_member(row)]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not as the search wrote it", "delete it; --resume writes it again") from error
    return [m for m, digest in members.items() if known.get(m.program) == digest]


def _member(row: Mapping[str, str]) -> Member:
    return Member(int(row["program"]), float(row["loss"]), int(row["state_bytes"]), int(row["statements"]))


def _dead(archive: Archive) -> float:
    rules = [parse(text) for text in archive.sample(SAMPLE)]
    statements = sum(sum(1 for _ in r.assigns()) for r in rules)
    live = sum(sum(1 for _ in strip(r).assigns()) for r in rules)
    return 1 - live / max(1, statements)
