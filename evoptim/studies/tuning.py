"""Tuning a rule's hyperparameters on a task; the trials of a run's program go into the run's journal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from os import PathLike, fspath
from typing import Any

from evoptim.dsl import Rule, absorb_factor, canonical_hash, derive, name_constants
from evoptim.runtime import PopulationEvaluator, Task
from evoptim.search import Archive, Trial
from evoptim.search.records.journal import TUNING
from evoptim.search.refining.tuning import TunedTrial, Tuning, TuningConfig, tune

from ..sources import resolve, run_of
from .comparison import finite
from .runs import make_bench, opened

Report = Callable[[TunedTrial, TunedTrial], None]
"""Told of each trial, and of the best one so far."""


def tune_source(
    source: Rule | str | PathLike[str],
    *,
    derived: Sequence[str] = (),
    task: str | Task | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    config: TuningConfig | None = None,
    report: Report = lambda trial, best: None,
) -> Tuning:
    """Tune all hyperparameters of a rule; the constants of a run's program become hyperparameters first.

    Args:
        source: A rule, its name, a rule file, or ``run-directory#best``.
        derived: Transforms that are applied first, such as ``lookahead:k=5``.
        task: A task or its name; by default the one of the run.
        steps: Updates per training; by default those of the search, or the task's own.
        batch_size: Examples per update, by default in the same way.
        config: The budget.
        report: Told of each trial.

    Raises:
        UserError: The source, the task or a number is wrong, optuna is missing, the rule does not train, or the run
            is in use.
    """
    directory = None if isinstance(source, Rule) else run_of(source)
    rule = reduce(derive, derived, source if isinstance(source, Rule) else resolve(source))
    if directory is not None:
        rule = name_constants(absorb_factor(rule))
    with opened(directory) as archive:
        log = _Log(rule, source.name if isinstance(source, Rule) else fspath(source), archive, report)
        log.evaluator = make_bench(archive, task, steps, batch_size)
        found = tune(rule, log.evaluator, config or TuningConfig(), log.add)
        log.end(found)
    return found


class _Log:
    """Writes trials into the journal of a run, if it is one's, and reports them."""

    evaluator: PopulationEvaluator

    def __init__(self, rule: Rule, source: str, archive: Archive | None, report: Report) -> None:
        self.digest, self.source, self.archive, self.report = canonical_hash(rule), source, archive, report
        self.best: TunedTrial | None = None

    def add(self, trials: Sequence[TunedTrial], trainings: Sequence[Trial]) -> None:
        """A batch."""
        documents: list[dict[str, Any]] = []
        for trial in trials:
            if self.best is None or trial.loss < self.best.loss:
                self.best = trial
            documents.append(self._document(trial, [t.seed for t in trainings[: len(trial.losses)]], self.best.loss))
            self.report(trial, self.best)
        if self.archive is not None:
            entries = [(TUNING, d) for d in documents]
            self.archive.record_trainings("tuning", {self.digest: trainings}, self.evaluator.version, entries)

    def _document(self, trial: TunedTrial, seeds: Sequence[int], best: float) -> dict[str, Any]:
        return {
            "event": "trial",
            **self._which(),
            "number": trial.number,
            "setting": dict(trial.setting),
            "seeds": list(seeds),
            "losses": [finite(x) for x in trial.losses],
            "loss": finite(trial.loss),
            "best": finite(best),
        }

    def _which(self) -> dict[str, Any]:
        return {"source": self.source, "program": self.digest, "task": self.evaluator.task.name}

    def end(self, found: Tuning) -> None:
        """The result."""
        if self.archive is not None:
            self.archive.append((TUNING, {"event": "ended", **self._which(), **summary(found)}))


def summary(found: Tuning) -> dict[str, Any]:
    """What was found, ready for JSON."""
    return {
        "trials": len(found.trials),
        "setting": dict(found.best.setting),
        "loss": finite(found.best.loss),
        "default_loss": finite(found.trials[0].loss),
        "at_edge": list(found.at_edge),
        "notes": list(found.notes),
        "importance": dict(found.importance),
        "rule": found.rule.text,
    }
