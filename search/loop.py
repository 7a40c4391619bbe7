"""The driver: ask, train, record, tell; then the best are trained again on fresh seeds."""

from __future__ import annotations

import json
import time
from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evoptim.dsl import Hyper, Rule, UserError, canonical_hash, load, parse, zero_gradient_problem

from .archive import Archive
from .config import SearchConfig, make_config, to_toml
from .evaluator import Evaluator, Score, score
from .evolution import Batch, Evolution
from .frame import into_frame, tidy, with_buffers
from .identity import strip
from .judge import Judge
from .program import flatten
from .rundir import ARCHIVE, BEST, CONFIG, FRONT, locked, make_directory, refuse_occupied, write
from .sections import Economy


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a search stands, told after every batch.

    ``dead_statements`` is their share among the statements of all programs generated; ``trainings`` are those made.
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


@dataclass(frozen=True, slots=True)
class Winner:
    """What a finished search chose: the program, its number, and its loss on the seeds of the selection."""

    rule: Rule
    index: int
    loss: float
    start_loss: float


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search's end. ``winner`` is None where it was stopped before its budget was used up."""

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
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Run a search in a new directory.

    Args:
        config: The configuration; it is stored with the results, defaults spelled out.
        evaluator: What trains the candidates.
        directory: The run directory; it must not exist or be empty.
        report: Called after every batch.
        should_stop: Asked after every batch; True ends the run so that it can be resumed.

    Raises:
        UserError: The start rule cannot be used, or the directory holds a run already.
    """
    rule = start_program(config)
    make_directory(directory)
    refuse_occupied(directory)
    with locked(directory):
        refuse_occupied(directory)  # again: another process may have been quicker
        with Archive(directory / ARCHIVE, create=True) as archive:
            archive.set_meta({"config": config.model_dump_json(), "start": rule.text, "evaluator": evaluator.version})
            return _Driver(config, evaluator, directory, archive, rule, report, should_stop).run()


def resume_search(
    directory: Path,
    make_evaluator: Callable[[SearchConfig], Evaluator],
    *,
    report: Report = _silent,
    should_stop: Callable[[], bool] = lambda: False,
) -> SearchResult:
    """Continue a search where it stopped; with the same machine it ends as if it had never been interrupted.

    Raises:
        UserError: It is no run directory, another process runs it, or its results are not comparable with this
            version's.
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
        evaluator = make_evaluator(config)
        if evaluator.version != version:
            raise UserError(
                f"{directory} was evaluated with {version}, this installation has {evaluator.version}",
                "resume it with the versions that began it: results of both would not be comparable",
            )
        return _Driver(config, evaluator, directory, archive, rule, report, should_stop).run()


def stored_run(archive: Archive) -> tuple[SearchConfig, Rule, str]:
    """Configuration, start program and evaluator version of an archive.

    Raises:
        UserError: The run was killed before it had begun.
    """
    config, start, version = archive.meta("config"), archive.meta("start"), archive.meta("evaluator")
    if config is None or start is None or version is None:
        raise UserError(
            f"{archive.path} holds no search: it was stopped before it began", "delete the directory and begin anew"
        )
    return make_config(json.loads(config), str(archive.path)), parse(start), version


def start_program(config: SearchConfig) -> Rule:
    """The first program of a search: the configured rule, framed or flat, with the wanted number of buffers.

    Raises:
        UserError: There is no such rule, it cannot be framed, has no lr, or is too long.
    """
    rule = load(config.start.rule)
    if config.start.frame == "update":
        rule = into_frame(rule, config.evaluation.weight_decay).rule
    elif "lr" not in rule.defaults:
        raise UserError(f"rule {rule.name!r} has no lr", "add lr to its hyperparameters")
    else:
        rule = flatten(rule, free=True)  # a rule that happens to be written like the frame is mutated as a whole
    length, longest = sum(1 for _ in flatten(rule).assigns()), config.mutation.max_statements
    if length > longest:
        raise UserError(
            f"rule {config.start.rule!r} has {length} statements, mutation.max_statements is {longest}",
            f"set mutation.max_statements to {length} or more, better to twice as many",
        )
    return with_buffers(rule.replace(doc=""), config.start.buffers)


class _Driver:
    """One run, new or resumed."""

    def __init__(
        self,
        config: SearchConfig,
        evaluator: Evaluator,
        directory: Path,
        archive: Archive,
        start: Rule,
        report: Report,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.evaluator, self.directory, self.archive = config, evaluator, directory, archive
        self.report, self.should_stop = report, should_stop
        self.evolution = Evolution(config, start)
        self.settings = [{"lr": lr, "weight_decay": config.evaluation.weight_decay} for lr in _rates(config)]
        if not any(h.name == "weight_decay" for h in start.hypers):
            self.settings = [{"lr": lr} for lr in _rates(config)]
        evaluation, economy = config.evaluation, config.economy
        self.judge = Judge(evaluator, self.settings, evaluation.seeds, economy, evaluation.widen)
        for batch, new in archive.batches():
            self._remember(batch)
            self.evolution.replay(batch, new)
        self.began = time.monotonic()
        self.before = sum(archive.seconds())
        self.generated_before = self.evolution.counts.generated
        self.evaluated_before = self.evolution.counts.evaluated
        self.trainings = self.trainings_before = archive.trainings()
        self.best_written: float | None = None
        self.front_written = -1

    def run(self) -> SearchResult:
        """All batches that the budget allows, then the selection."""
        if not (self.directory / CONFIG).is_file():
            write(self.directory / CONFIG, to_toml(self.config))
        self._write_best()
        while not self._done():
            self._batch()
            self.report(self.progress())
            if self.should_stop():
                return SearchResult(self.directory, None, self.progress())
        winner = self._select()
        return SearchResult(self.directory, winner, self.progress("selection"))

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
                self.judge.remember(self.archive.trials(p.hash, "search"))

    def _batch(self) -> None:
        t0 = time.monotonic()
        batch = self.evolution.ask()
        t1 = time.monotonic()
        best = self.evolution.best
        incumbent = self.archive.trials(best.hash, "search") if best and self.config.economy.race else []
        rules = [strip(p.rule) if self.config.economy.strip else p.rule for p in batch.new]
        verdicts = dict(zip((p.hash for p in batch.new), self.judge.judge(rules, incumbent), strict=True))
        scores = {h: v.score for h, v in verdicts.items()}
        if batch.number == 0 and scores[batch.new[0].hash].status != "ok":
            failure = scores[batch.new[0].hash]
            raise UserError(
                f"the start rule fails with every learning rate: {failure.reason or failure.status}",
                "choose other learning rates, more steps or another rule",
            )
        timing = (t1 - t0, time.monotonic() - t1, datetime.now(UTC).isoformat(timespec="seconds"))
        trials = {h: v.trials for h, v in verdicts.items()}
        known = ChainMap(scores, self.evolution.scores)
        self.archive.record(batch, known, trials, self.evaluator.version, timing)
        self.trainings += sum(map(len, trials.values()))
        self.evolution.tell(batch, [scores[p.hash] for p in batch.new])
        self._write_best()

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
        counts, evolution = self.evolution.counts, self.evolution
        seconds = self._seconds()
        start = evolution.scores.get(canonical_hash(evolution.start))
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
            start_loss=start.loss if start else float("inf"),
            trainings=self.trainings,
            seconds=seconds,
            session_seconds=time.monotonic() - self.began,
            session_generated=counts.generated - self.generated_before,
            session_trainings=self.trainings - self.trainings_before,
            remaining=self._remaining(),
            exhausted=evolution.exhausted,
            stage=stage,
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

    def _select(self) -> Winner:
        """Train the best again, and the start rule with them, on seeds that the search did not see."""
        stored = self.archive.meta("winner")
        start = self.evolution.start
        candidates = self._finalists()
        if all(i != 0 for i, _, _ in candidates):
            candidates.append((0, canonical_hash(start), start))
        fit = {i for i, _, _ in candidates if i != 0 or not zero_gradient_problem(start)} or {0}
        if stored is None:
            evaluation, selection = self.config.evaluation, self.config.selection
            judge = Judge(self.evaluator, self.settings, selection.seeds, Economy(), evaluation.widen)
            verdicts = judge.judge([r for _, _, r in candidates])
            trials = {h: v.trials for (_, h, _), v in zip(candidates, verdicts, strict=True)}
            self.archive.record_trainings("selection", trials, self.evaluator.version)
        scores = {i: score(self.archive.trials(h, "selection")) for i, h, _ in candidates}
        index = min(fit, key=lambda i: (scores[i].loss, i))
        if stored is None:
            self.archive.set_meta({"winner": str(index)})
        return Winner(winner_rule(self.archive, self.config, index), index, scores[index].loss, scores[0].loss)

    def _finalists(self) -> list[tuple[int, str, Rule]]:
        """The best programs that may be exported: those that a zero gradient with lr 0 leaves alone."""
        wanted = self.config.selection.finalists
        out: list[tuple[int, str, Rule]] = []
        for index, digest, text, _ in self.archive.best():
            rule = parse(text)
            if not zero_gradient_problem(rule):
                out.append((index, digest, rule))
            if len(out) == wanted:
                break
        return out


def _rates(config: SearchConfig) -> tuple[float, ...]:
    return config.evaluation.learning_rates


def winner_rule(archive: Archive, config: SearchConfig, index: int) -> Rule:
    """A program of the archive for people: tidied, documented, its defaults those with which it did best."""
    text, digest, _, _, _ = archive.program(index)
    rule = tidy(parse(text))
    stage = "selection" if archive.trials(digest, "selection") else "search"
    best: Score = score([*archive.trials(digest, stage)])
    evaluation = config.evaluation
    doc = (
        f"Found by evolutionary search from {config.start.rule} on {evaluation.task}.\n\n"
        f"Program {index} of the search {config.name!r} (seed {config.seed}); the default lr is the best of its grid\n"
        f"for {evaluation.steps} steps at batch size {evaluation.batch_size}, with a {evaluation.schedule} schedule."
    )
    hypers = tuple(_tuned(h, best.setting.get(h.name, h.default)) for h in rule.hypers)
    return rule.replace(name="found", doc=doc, hypers=hypers)


def _tuned(hyper: Hyper, value: float) -> Hyper:
    """A hyperparameter with another default; its declared domain goes where the default lies outside it."""
    keep = hyper.declared is not None and value in hyper.declared
    return Hyper(hyper.name, value, hyper.declared if keep else None)
