"""The driver: ask, train, record, tell; then the best are trained again on fresh seeds."""

from __future__ import annotations

import math
import time
from collections import ChainMap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evoptim.dsl import Rule, UserError, canonical_hash, load

from .config import SearchConfig, to_toml
from .evaluator import Evaluator, Laboratory
from .extension import Limits, extend
from .judging.benches import evaluators, later, rung_0, settings
from .judging.judge import ByTask, Judge, Verdict
from .proposing.evolution import Batch, Evolution
from .proposing.frame import tidy
from .proposing.identity import strip
from .records.archive import Archive
from .records.journal import POISON
from .records.recorded import Recorder
from .records.trace import line
from .rundir import ARCHIVE, BEST, CONFIG, FRONT, TRACE, append, locked, make_directory, refuse_occupied, write
from .savings import Savings
from .stages.funnel import Funnel
from .stages.monitor import Monitor
from .starting import start_program, stored_run
from .winner import BETWEEN, Selection, Winner, par
from .workers.poison import PoisonList


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands, told after every batch.

    ``dead_statements`` is their share among the statements of all programs generated; ``trainings`` are those made.
    Of the ``stopped`` programs the hurdle stopped ``hurdle_stops`` and a race ``race_stops``; with what failed early
    this spared ``spared_trainings``; ``widened_trainings`` were made beyond the first grid. ``overfitting`` is how many
    programs were evaluated when, by meta-validation, the search began to overfit; None where it does not.
    """

    generated: int
    distinct: int
    evaluated: int
    target: int
    cache_hits: int
    fingerprint_hits: int
    vetoed: int
    stopped: int
    dead_statements: float
    restarts: int
    diverged: int
    failed: int
    invalid: int
    best_loss: float
    best_text: str
    start_loss: float
    trainings: int
    seconds: float
    session_seconds: float
    session_generated: int
    session_trainings: int
    remaining: float | None
    exhausted: bool
    stage: str = "search"
    hurdle_stops: int = 0
    race_stops: int = 0
    spared_trainings: int = 0
    widened_trainings: int = 0
    overfitting: int | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search's end. ``winner`` is None where it was stopped before it had chosen one."""

    directory: Path
    winner: Winner | None
    progress: Progress


Report = Callable[[Progress], None]


def _silent(progress: Progress) -> None:
    """Tell nobody."""


def start_search(
    config: SearchConfig,
    evaluator: Evaluator,
    directory: Path,
    *,
    laboratory: Laboratory | None = None,
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
    poison: PoisonList | None = None,
) -> SearchResult:
    """Run a search in a new directory.

    Args:
        config: The configuration; it is stored with the results, defaults spelled out.
        evaluator: What trains the candidates, on the first task where there are several.
        directory: The run directory; it must not exist or be empty.
        laboratory: What makes the evaluators of further tasks, of a funnel and of a monitor.
        report: Called after every batch, and whenever later trainings have been recorded.
        should_stop: Asked as often; True ends the run so that it can be resumed.
        poison: Where the evaluator's workers put programs that they do not survive.

    Raises:
        UserError: The start rule or a task cannot be used, or the directory holds a run already.
    """
    rule = start_program(config)
    trainers = _trainers(config, rule, evaluator, laboratory)
    make_directory(directory)
    refuse_occupied(directory)
    with locked(directory):
        refuse_occupied(directory)  # again: another process may have been quicker
        with Archive(directory / ARCHIVE, create=True) as archive:
            version = BETWEEN.join(e.version for e in trainers)
            archive.set_meta({"config": config.model_dump_json(), "start": rule.text, "evaluator": version})
            return _Driver(config, trainers, laboratory, directory, archive, rule, report, should_stop, poison).run()


def resume_search(
    directory: Path,
    make_evaluator: Callable[[SearchConfig], Evaluator],
    *,
    make_laboratory: Callable[[SearchConfig], Laboratory] | None = None,
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
    poison: PoisonList | None = None,
    limits: Limits | None = None,
) -> SearchResult:
    """Continue a search where it stopped; with the same machine it ends as if it had never been interrupted.

    With other ``limits`` it ends as if it had had them from the start, but that an earlier winner stays on record.

    Raises:
        UserError: It is no run directory, another process runs it, its results are not comparable with this
            version's, or the limits are used up already.
    """
    if not directory.is_dir():
        raise UserError(f"there is no run directory {directory}", "give the directory that `evoptim search` printed")
    if not (directory / ARCHIVE).is_file():
        raise UserError(
            f"{directory} holds no search: there is no {ARCHIVE} in it",
            "give the directory that `evoptim search` printed; one that was stopped at once is begun anew",
        )
    with locked(directory), Archive(directory / ARCHIVE, create=False) as archive:
        config, rule, version = stored_run(archive)
        laboratory = make_laboratory(config) if make_laboratory else None
        trainers = _trainers(config, rule, make_evaluator(config), laboratory)
        if (found := BETWEEN.join(e.version for e in trainers)) != version:
            raise UserError(
                f"{directory} was evaluated with {version}, this installation has {found}",
                "resume it with the versions that began it: results of both would not be comparable",
            )
        if limits:
            config = extend(directory, archive, config, limits)
        return _Driver(config, trainers, laboratory, directory, archive, rule, report, should_stop, poison).run()


def _trainers(
    config: SearchConfig, start: Rule, evaluator: Evaluator, laboratory: Laboratory | None
) -> list[Evaluator]:
    """The evaluators of rung 0, once everything that will be needed after it has been found to exist.

    Raises:
        UserError: A task, a baseline or a laboratory is missing, or weight decays are to be tried in vain.
    """
    settings(config, start)
    tiers = [*config.funnel, *([config.monitor] if config.monitor.every else [])]
    evaluators([bench for tier in tiers for bench in later(config, tier)], laboratory)
    for baseline in (*(stage.baseline for stage in config.funnel), *config.sealed.baselines):
        load(baseline)
    return [evaluator, *evaluators(rung_0(config)[1:], laboratory)]


class _Stopped(Exception):
    """The search was asked to stop; what has been recorded stays."""


class _Driver:
    """One run, new or resumed."""

    def __init__(
        self,
        config: SearchConfig,
        trainers: Sequence[Evaluator],
        laboratory: Laboratory | None,
        directory: Path,
        archive: Archive,
        start: Rule,
        report: Report,
        should_stop: Callable[[], bool],
        poison: PoisonList | None = None,
    ) -> None:
        self.config, self.trainers, self.directory, self.archive = config, trainers, directory, archive
        self.report, self.should_stop = report, should_stop
        self.poison = PoisonList() if poison is None else poison
        self.poison.learn(archive.journal(POISON))
        self.evolution = Evolution(config, start)
        evaluation, grid = config.evaluation, settings(config, start)
        self.judge = Judge(trainers[0], grid, evaluation.seeds, config.economy, evaluation.widen, trainers[1:])
        recorder = Recorder(archive, self._checkpoint, self.poison.fresh)
        self.funnel = Funnel(config, start, recorder, laboratory)
        self.monitor = Monitor(config, start, recorder, laboratory) if config.monitor.every else None
        self.selection = Selection(config, start, recorder, trainers)
        self.savings = Savings(config, start, archive)
        self.timed, self.lines, timings = 0.0, list[str](), archive.timings()
        for batch, new in archive.batches():
            self._remember(batch)
            self.evolution.replay(batch, new)
            self.lines.append(self._line(*timings[batch.number]))
        if self.evolution.counts.generated:
            self.judge.par = par(archive)
        self.began = time.monotonic()
        self.before = sum(archive.seconds())
        self.generated_before = self.evolution.counts.generated
        self.evaluated_before = self.evolution.counts.evaluated
        self.trainings = self.trainings_before = archive.trainings()
        self.best_written: float | None = None
        self.front_written = -1

    def run(self) -> SearchResult:
        """All batches that the budget allows, then the selection and the funnel."""
        if not (self.directory / CONFIG).is_file():
            write(self.directory / CONFIG, to_toml(self.config))
        write(self.directory / TRACE, "".join(self.lines))
        self._write_best()
        try:
            self._look()
            while not self._done():
                self._batch()
                self._checkpoint("search")
                self._look()
            winner = self.selection.winner(self.funnel)
        except _Stopped:
            return SearchResult(self.directory, None, self.progress())
        return SearchResult(self.directory, winner, self.progress("selection"))

    def _checkpoint(self, stage: str) -> None:
        """Tell how it goes, and end where that is asked for."""
        self.report(self.progress(stage))
        if self.should_stop():
            raise _Stopped

    def _done(self) -> bool:
        counts, budget = self.evolution.counts, self.config.budget
        limit = None if budget.minutes is None else budget.minutes * 60
        if not counts.generated:
            return False  # at least the start rule is trained
        return (
            counts.evaluated >= budget.evaluations
            or (budget.programs is not None and counts.generated >= budget.programs)
            or self.evolution.exhausted
            or (limit is not None and self._seconds() >= limit)
            or self.archive.meta("winner") is not None
        )

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.began

    def _remember(self, batch: Batch) -> None:
        """Take over the trainings of a batch that the archive has, where later ones depend on them."""
        if self.config.economy.hurdle:
            for p in batch.new:
                self.judge.remember(self._trained(p.hash)[0])

    def _trained(self, digest: str) -> ByTask:
        """The trainings of a program on each task."""
        return [self.archive.trials(digest, "search", e.version) for e in self.trainers]

    def _look(self) -> None:
        """Meta-validation, where it is time for it."""
        best, counts = self.evolution.best, self.evolution.counts
        if self.monitor and best and self.archive.meta("winner") is None and self.monitor.due(counts.evaluated):
            start = self._start_loss()
            loss = self.evolution.best_score.loss / start if start else 1.0  # nothing is better than 0
            self.monitor.look(counts.evaluated, best.index, best.hash, best.rule, loss)

    def _start_loss(self) -> float:
        start = self.evolution.scores.get(canonical_hash(self.evolution.start))
        return start.loss if start else math.inf

    def _batch(self) -> None:
        t0 = time.monotonic()
        batch = self.evolution.ask()
        t1 = time.monotonic()
        best = self.evolution.best
        incumbent = self._trained(best.hash) if best and self.config.economy.race else ()
        rules = [strip(p.rule) if self.config.economy.strip else p.rule for p in batch.new]
        verdicts = dict(zip((p.hash for p in batch.new), self.judge.judge(rules, incumbent), strict=True))
        scores = {h: v.score for h, v in verdicts.items()}
        if batch.number == 0 and scores[batch.new[0].hash].status != "ok":
            failure = scores[batch.new[0].hash]
            raise UserError(
                f"the start rule fails with every learning rate: {failure.reason or failure.status}",
                "choose other learning rates, more steps or another rule",
            )
        timing = (max(0.0, t1 - t0), max(0.0, time.monotonic() - t1), datetime.now(UTC).isoformat(timespec="seconds"))
        known = ChainMap(scores, self.evolution.scores)
        made = {e.version: {h: v.by_task[k] for h, v in verdicts.items()} for k, e in enumerate(self.trainers)}
        first = self.trainers[0].version
        self.archive.record(batch, known, made.pop(first), first, timing, made, entries=self.poison.fresh())
        self._count(verdicts.values())
        self.evolution.tell(batch, [scores[p.hash] for p in batch.new])
        append(self.directory / TRACE, self._line(timing[0] + timing[1], timing[2]))
        self._write_best()

    def _count(self, verdicts: Iterable[Verdict]) -> None:
        for v in verdicts:
            self.trainings += len(v.trials)
            self.savings.add(v.score, [t.setting for t in v.trials])

    def _line(self, seconds: float, at: str) -> str:
        """The line of progress.jsonl for the batch told last, which took so many seconds."""
        self.timed += seconds
        return line(self.evolution, self.timed, at)

    def _write_best(self) -> None:
        best, best_score = self.evolution.best, self.evolution.best_score
        if best is not None and best_score.loss != self.best_written:
            write(self.directory / BEST, tidy(best.rule).text)
            self.best_written = best_score.loss
        if self.evolution.front.changes not in (0, self.front_written):
            write(self.directory / FRONT, self.evolution.front.csv())
            self.front_written = self.evolution.front.changes

    def progress(self, stage: str = "search") -> Progress:
        """Where the search stands."""
        counts, evolution, savings = self.evolution.counts, self.evolution, self.savings
        seconds = self._seconds()
        marked = self.monitor.marked if self.monitor else None
        return Progress(
            generated=counts.generated,
            distinct=len(evolution.scores),
            evaluated=counts.evaluated,
            target=self.config.budget.evaluations,
            cache_hits=counts.cache_hits,
            fingerprint_hits=counts.fingerprint_hits,
            vetoed=counts.vetoed,
            stopped=counts.stopped,
            dead_statements=counts.dead_statements / max(1, counts.statements),
            restarts=counts.restarts,
            diverged=counts.diverged,
            failed=counts.failed,
            invalid=counts.invalid,
            best_loss=evolution.best_score.loss,
            best_text=tidy(evolution.best.rule).text if evolution.best else "",
            start_loss=self._start_loss(),
            trainings=self.trainings,
            seconds=seconds,
            session_seconds=time.monotonic() - self.began,
            session_generated=counts.generated - self.generated_before,
            session_trainings=self.trainings - self.trainings_before,
            remaining=self._remaining(),
            exhausted=evolution.exhausted,
            stage=stage,
            hurdle_stops=savings.hurdle,
            race_stops=savings.race,
            spared_trainings=savings.spared,
            widened_trainings=savings.widened,
            overfitting=None if marked is None else marked.evaluated,
        )

    def _remaining(self) -> float | None:
        """Seconds left at the present pace, or by the clock where a limit is set."""
        counts, budget = self.evolution.counts, self.config.budget
        paces = [(budget.evaluations, counts.evaluated, self.evaluated_before)]
        if budget.programs is not None:
            paces.append((budget.programs, counts.generated, self.generated_before))
        elapsed = time.monotonic() - self.began
        known = [elapsed / (now - before) * (target - now) for target, now, before in paces if now > before]
        if budget.minutes is not None:
            known.append(budget.minutes * 60 - self._seconds())
        return max(0.0, min(known)) if known else None
