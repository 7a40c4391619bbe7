"""A fair comparison of rules: equal tuning budgets, fresh seeds, paired differences, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Rule, UserError
from evoptim.runtime import PopulationEvaluator, Task, get_task, train_population
from evoptim.search.refining.tuning import TuningConfig
from evoptim.search.refining.tuning import tune as tune_all

STEP = math.sqrt(10)
"""Ratio of neighbouring learning rates in the first grid."""
TUNING_SEEDS = (1000, 1001, 1002)
FRESH_SEED = 2000
RESAMPLES = 10_000

Tuner: TypeAlias = Literal["lr", "optuna"]
"""What is tuned: the learning rate alone, on a grid that is refined, or all hyperparameters, by Optuna's TPE."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule's result.

    ``difference`` is its loss less the first rule's, paired by seed: below zero it is better. ``at_edge`` says
    that the best learning rate was still at the edge of what the budget allowed to try. ``setting`` is all that
    tuning chose, the lr among it.
    """

    rule: Rule
    lr: float
    at_edge: bool
    losses: tuple[float, ...]
    loss: Interval
    difference: Interval
    setting: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def verdict(self) -> str:
        """What the paired interval allows to say."""
        if self.difference.high < 0:
            return "better"
        if self.difference.low > 0:
            return "worse"
        return "same" if self.difference.low == self.difference.high == 0 else "no clear difference"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Rules compared on one task; the first is the baseline."""

    task: str
    steps: int
    trials: int
    tuning_seeds: tuple[int, ...]
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]


@dataclass(slots=True)
class _Tuning:
    """The learning rates one rule has tried."""

    rule: Rule
    losses: dict[float, float] = field(default_factory=dict[float, float])

    @property
    def best(self) -> float:
        return min(self.losses, key=lambda lr: (self.losses[lr], lr))

    @property
    def at_edge(self) -> bool:
        return self.best in (min(self.losses), max(self.losses))

    def next(self) -> float:
        """Beyond the edge if the best lies there, else the middle of the wider gap beside it."""
        tried = sorted(self.losses)
        i = tried.index(self.best)
        if i == 0:
            return tried[0] / STEP
        if i == len(tried) - 1:
            return tried[-1] * STEP
        below, above = tried[i] / tried[i - 1], tried[i + 1] / tried[i]
        return math.sqrt(tried[i] * (tried[i - 1] if below > above else tried[i + 1]))


def compare_rules(
    rules: Sequence[Rule],
    *,
    task: str | Task,
    trials: int,
    seeds: int,
    steps: int,
    batch_size: int | None,
    tuner: Tuner = "lr",
) -> Comparison:
    """Tune every rule with ``trials`` trainings per tuning seed, then train all on ``seeds`` fresh seeds.

    Raises:
        UserError: Too few rules, trials or seeds, or a rule without lr.
    """
    if not rules or trials < 3 or seeds < 2:
        raise UserError("nothing to compare", "give at least one rule, 3 trials and 2 seeds")
    problem = get_task(task) if isinstance(task, str) else task

    def train(rule: Rule, settings: Sequence[Mapping[str, float]], on: Sequence[int]) -> NDArray[np.float64]:
        return train_population([rule], problem, settings, on, steps, batch_size=batch_size).val_loss[0]

    if tuner == "lr":
        tuned = [_by_grid(rule, trials, train) for rule in rules]
    else:
        evaluator = PopulationEvaluator(problem, steps, batch_size or problem.batch_size)
        tuned = [_by_optuna(rule, trials, evaluator) for rule in rules]
    fresh = tuple(range(FRESH_SEED, FRESH_SEED + seeds))
    losses = [train(rule, [t.setting], fresh)[0] for rule, t in zip(rules, tuned, strict=True)]
    entries = [
        Entry(rule, t.setting["lr"], t.at_edge, tuple(map(float, x)), interval(x), interval(x - losses[0]), t.setting)
        for rule, t, x in zip(rules, tuned, losses, strict=True)
    ]
    return Comparison(problem.name, steps, trials, TUNING_SEEDS, fresh, tuple(entries))


@dataclass(frozen=True, slots=True)
class _Choice:
    """What tuning chose."""

    setting: Mapping[str, float]
    at_edge: bool


def _by_grid(
    rule: Rule,
    trials: int,
    train: Callable[[Rule, Sequence[Mapping[str, float]], Sequence[int]], NDArray[np.float64]],
) -> _Choice:
    tuning = _tune(rule, trials, lambda r, lrs, on: train(r, [{"lr": lr} for lr in lrs], on))
    return _Choice({"lr": tuning.best}, tuning.at_edge)


def _by_optuna(rule: Rule, trials: int, evaluator: PopulationEvaluator) -> _Choice:
    found = tune_all(
        rule, evaluator, TuningConfig(trials=trials, batch=min(8, max(1, trials // 4)), seeds=TUNING_SEEDS)
    )
    return _Choice(found.best.setting, "lr" in found.at_edge)


Train: TypeAlias = Callable[[Rule, Sequence[float], Sequence[int]], NDArray[np.float64]]
"""Trains a rule with several learning rates on several seeds: losses ``[lr, seed]``."""


def _tune(rule: Rule, trials: int, train: Train) -> _Tuning:
    default = rule.defaults.get("lr")
    if not default:
        raise UserError(f"rule {rule.name!r} has no lr above 0 to tune", "give it a default such as lr=1e-3")
    tuning = _Tuning(rule)
    first = min(5, trials)
    grid = [default * STEP ** (i - first // 2) for i in range(first)]
    for lr, losses in zip(grid, train(rule, grid, TUNING_SEEDS), strict=True):
        tuning.losses[lr] = float(losses.mean())
    while len(tuning.losses) < trials:
        lr = tuning.next()
        tuning.losses[lr] = float(train(rule, [lr], TUNING_SEEDS).mean())
    return tuning


def interval(values: NDArray[np.float64]) -> Interval:
    """The mean over seeds with its percentile bootstrap interval; infinite where a training diverged."""
    mean = float(np.mean(values))
    if not np.isfinite(values).all():
        return Interval(mean, -math.inf if math.isnan(mean) else mean, math.inf)
    random = np.random.Generator(np.random.PCG64(0))
    means = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
