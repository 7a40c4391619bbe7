"""Simplifying a rule by training: what it trains as well without goes, and what is left is written plainly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import (
    Hyper,
    Rule,
    Step,
    UserError,
    absorb_factor,
    canonical_hash,
    derive,
    name_constants,
    simplify_rule,
)
from evoptim.runtime import PopulationEvaluator, Task
from evoptim.search import Archive, Trial, is_framed
from evoptim.search.judging.paired_training import PairedTrainer
from evoptim.search.proposing.frame import core_of
from evoptim.search.records.journal import SIMPLIFY
from evoptim.search.refining.ablation import Ablation, AblationConfig, ablate
from evoptim.search.refining.reductions import size
from evoptim.search.rundir import write

from ..sources import SIMPLIFIED, resolve, run_of
from .comparison import Interval, finite, interval
from .runs import make_bench, opened

SEED, FRESH_SEED = 3000, 4000
"""The first seed of the tests, and of the last trainings: none that a search, a tuning or a comparison sees."""
RATES = 5
RATIO = 10**0.5

Report = Callable[[dict[str, Any]], None]
"""Told of every step, as the journal is."""


@dataclass(frozen=True, slots=True)
class Simplified:
    """A rule that was simplified by training.

    Attributes:
        rule: The result, its constants hyperparameters; the default lr is the one that suits it.
        ablation: What went, and what that cost on the seeds of the tests.
        exact: What went untrained, since it changes nothing: dead parts, and what the canonical form folds.
        task: Name of the task.
        seeds: Seeds of the tests.
        fresh: Seeds of the last trainings, of the original and of the result.
        before: The original's losses on these.
        after: The result's.
        cost: Mean paired change of the loss there, as a share of the original's mean, with its 95 % interval.
    """

    rule: Rule
    ablation: Ablation
    exact: tuple[Step, ...]
    task: str
    seeds: tuple[int, ...]
    fresh: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    cost: Interval


def simplify_by_training(
    source: Rule | str | PathLike[str],
    *,
    derived: Sequence[str] = (),
    task: str | Task | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    seeds: int = 16,
    config: AblationConfig | None = None,
    keep_constants: bool = False,
    report: Report = lambda document: None,
) -> Simplified:
    """Take out of a rule what it trains as well without; what goes is journaled where the rule is a run's.

    Args:
        source: A rule, its name, a rule file, or ``run-directory#best``.
        derived: Transforms that are applied first, such as ``lookahead:k=5``.
        task: A task or its name; by default the one of the run.
        steps: Updates per training; by default those of the search, or the task's own.
        batch_size: Examples per update, by default in the same way.
        seeds: Seeds of the tests; as many fresh ones show what all of it cost.
        config: Level, margin and budget.
        keep_constants: Leave constants as they are instead of making hyperparameters of them.
        report: Told of every step.

    Raises:
        UserError: The source, the task or a number is wrong, the rule does not train, or the run is in use.
    """
    config = config or AblationConfig()
    config.check_seeds(seeds)
    directory = None if isinstance(source, Rule) else run_of(source)
    rule = reduce(derive, derived, source if isinstance(source, Rule) else resolve(source))
    with opened(directory) as archive:
        work = _Work(rule, str(source), make_bench(archive, task, steps, batch_size), archive, report)
        found = work.run(config, seeds, keep_constants)
        if directory is not None:
            write(directory / SIMPLIFIED, found.rule.text)
    return found


class _Work:
    """A simplification under way: what trains, and who is told."""

    def __init__(
        self, rule: Rule, source: str, evaluator: PopulationEvaluator, archive: Archive | None, report: Report
    ) -> None:
        lr = rule.defaults.get("lr")
        if not lr or lr < 0:
            raise UserError(f"rule {rule.name!r} has no lr above 0", "give it a default such as lr=1e-3")
        self.rule, self.source, self.evaluator = rule, source, evaluator
        self.rates = [float(f"{lr * RATIO ** (i - RATES // 2):.6g}") for i in range(RATES)]
        self.archive, self.report = archive, report

    def run(self, config: AblationConfig, seeds: int, keep_constants: bool) -> Simplified:
        """All of it."""
        trainer = PairedTrainer(self.evaluator, self.rates, range(SEED, SEED + seeds))
        begun = {"source": self.source, "rule": self.rule.text, "program": canonical_hash(self.rule)}
        self.tell({"event": "begun", **begun, "task": self.evaluator.task.name, **asdict(config), "seeds": seeds})
        found = ablate(self.rule, trainer, config, lambda d: self.tell(d, trainer.take_new()))
        rule = _dressed(found, self.evaluator.task.name, keep_constants)
        fresh = range(FRESH_SEED, FRESH_SEED + seeds)
        before, after = (
            self._fresh(r, lr, fresh) for r, lr in ((self.rule, found.before.lr), (rule, rule.defaults["lr"]))
        )
        cost = interval((after - before) / abs(before.mean()))
        result = Simplified(
            rule,
            found,
            simplify_rule(core_of(self.rule) if is_framed(self.rule) else self.rule, "exact").steps,
            self.evaluator.task.name,
            trainer.seeds,
            tuple(fresh),
            tuple(map(float, before)),
            tuple(map(float, after)),
            cost,
        )
        self.tell({"event": "ended", **summary(result)})
        return result

    def tell(self, document: dict[str, Any], trials: dict[str, list[Trial]] | None = None) -> None:
        """Put a document, and the trainings it speaks of, into the archive; then report it."""
        if self.archive is not None:
            entry = (SIMPLIFY, document)
            self.archive.record_trainings("simplify", trials or {}, self.evaluator.version, [entry])
        self.report(document)

    def _fresh(self, rule: Rule, lr: float, seeds: Sequence[int]) -> NDArray[np.float64]:
        [trials] = self.evaluator.evaluate([rule], [{"lr": lr}], seeds)
        return np.array([t.loss for t in trials])


def summary(result: Simplified) -> dict[str, Any]:
    """What came out, ready for JSON; an infinite number is None."""
    cost = result.cost
    means = (float(np.mean(x)) for x in (result.before, result.after))
    before, after, mean, low, high = map(finite, (*means, cost.mean, cost.low, cost.high))
    return {
        "rule": result.rule.text,
        "size_before": size(result.ablation.original)[0],
        "size_after": size(result.ablation.rule)[0],
        "complete": result.ablation.complete,
        "seeds": list(result.fresh),
        "before": before,
        "after": after,
        "cost": mean,
        "low": low,
        "high": high,
    }


def _dressed(found: Ablation, task: str, keep_constants: bool) -> Rule:
    """The shorter program with its lr, and with names for its constants."""
    rule = found.rule.replace(hypers=tuple(_with_lr(h, found.lr) for h in found.rule.hypers))
    rule = rule if keep_constants else name_constants(absorb_factor(rule))
    note = f"Simplified by ablation on {task}: {len(found.removals)} pieces were taken out."
    doc = "\n\n".join(filter(None, (found.original.doc, note)))
    return rule.replace(doc=doc)


def _with_lr(hyper: Hyper, lr: float) -> Hyper:
    """The hyperparameter, if it is lr with this default; a declared domain that does not hold it goes."""
    if hyper.name != "lr":
        return hyper
    return Hyper("lr", lr, hyper.declared if hyper.declared is not None and lr in hyper.declared else None)
