"""A fair comparison of rules: equal tuning budgets, fresh seeds, paired differences, intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Rule, UserError
from evoptim.runtime import get_task, train_population

STEP = math.sqrt(10)
"""Ratio of neighbouring learning rates in the first grid."""
TUNING_SEEDS = (1000, 1001, 1002)
FRESH_SEED = 2000
RESAMPLES = 10_000


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
    that the best learning rate was still at the edge of what the budget allowed to try.
    """

    rule: Rule
    lr: float
    at_edge: bool
    losses: tuple[float, ...]
    loss: Interval
    difference: Interval

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
    rules: Sequence[Rule], *, task: str, trials: int, seeds: int, steps: int, batch_size: int | None
) -> Comparison:
    """Tune every rule's lr with ``trials`` trainings per tuning seed, then train all on ``seeds`` fresh seeds.

    Raises:
        UserError: Too few rules, trials or seeds, or a rule without lr.
    """
    if not rules or trials < 3 or seeds < 2:
        raise UserError("nothing to compare", "give at least one rule, 3 trials and 2 seeds")
    problem = get_task(task)

    def train(rule: Rule, lrs: Sequence[float], on: Sequence[int]) -> NDArray[np.float64]:
        settings = [{"lr": lr} for lr in lrs]
        return train_population([rule], problem, settings, on, steps, batch_size=batch_size).val_loss[0]

    tuned = [_tune(rule, trials, train) for rule in rules]
    fresh = tuple(range(FRESH_SEED, FRESH_SEED + seeds))
    losses = [train(t.rule, [t.best], fresh)[0] for t in tuned]
    entries = [
        Entry(t.rule, t.best, t.at_edge, tuple(map(float, x)), _interval(x), _interval(x - losses[0]))
        for t, x in zip(tuned, losses, strict=True)
    ]
    return Comparison(task, steps, trials, TUNING_SEEDS, fresh, tuple(entries))


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


def _interval(values: NDArray[np.float64]) -> Interval:
    """The mean over seeds with its percentile bootstrap interval; infinite where a training diverged."""
    mean = float(np.mean(values))
    if not np.isfinite(values).all():
        return Interval(mean, -math.inf if math.isnan(mean) else mean, math.inf)
    random = np.random.Generator(np.random.PCG64(0))
    means = values[random.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(mean, float(low), float(high))
