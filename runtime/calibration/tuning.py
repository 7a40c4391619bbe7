"""Tuning a rule on a task: the same number of trials for every rule, on seeds that no result is reported on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Rule, load

from ..population import train_population
from ..task import Task

RATIO = math.sqrt(10)
"""Ratio of neighbouring learning rates in the first grid."""
FIRST, ROUNDS = 5, 2
"""Learning rates in the first grid; rounds of two more that follow it."""
DECAY_RATIO = 10.0
"""Ratio of neighbouring weight decays above 0."""
DECAY_ROUNDS = 2
"""Rounds of one more weight decay, with every learning rate, that come last."""
TUNING_SEEDS = tuple(range(1000, 1005))
FRESH_SEEDS = tuple(range(2000, 2020))

Train: TypeAlias = Callable[[Sequence[Mapping[str, float]]], NDArray[np.float64]]
"""Trains with each of several settings: the loss of each, averaged over the tuning seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A rule and where its tuning begins.

    Attributes:
        rule: Name of the rule.
        lr: The middle of the first grid of learning rates.
        weight_decays: What is tried beside every learning rate. With the middle one, a step takes 0, 1e-4 and 1e-3 off
            the parameters, so that all rules search the same range.
    """

    rule: str
    lr: float
    weight_decays: tuple[float, ...]


BASELINES = tuple(
    Baseline(rule=rule, lr=lr, weight_decays=decays)
    for rule, lr, decays in (
        ("adamw", 1e-2, (0.0, 1e-2, 1e-1)),
        ("sgd", 1e-1, (0.0, 1e-4, 1e-3)),  # its momentum multiplies the decay, which is in the gradient, by 10
        ("lion", 1e-3, (0.0, 1e-1, 1.0)),
        ("adan", 1e-2, (0.0, 1e-2, 1e-1)),
        ("adafactor", 1e-1, (0.0, 1e-3, 1e-2)),  # its lr is relative to the size of the parameters
        ("adaxw", 1e-2, (0.0, 1e-2, 1e-1)),
    )
)
"""AdamW, SGD with momentum, Lion, Adan, AdaFactor and AdaX with decoupled decay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A rule trained on fresh seeds with the settings that tuning has chosen.

    Attributes:
        rule: Name of the rule.
        steps: Updates of each training, in tuning too.
        lr: Learning rate, decayed linearly to zero.
        weight_decay: Weight decay.
        at_edge: The chosen learning rate is the least or the largest that was tried: a better one may lie beyond.
        lrs: Learning rates that were tried, rising.
        weight_decays: Weight decays that were tried with each of them.
        tuning_losses: Mean validation loss over the tuning seeds, ``[lr][weight decay]``.
        losses: Validation loss on each fresh seed.
    """

    rule: str
    steps: int
    lr: float
    weight_decay: float
    at_edge: bool
    lrs: tuple[float, ...]
    weight_decays: tuple[float, ...]
    tuning_losses: tuple[tuple[float, ...], ...]
    losses: tuple[float, ...]

    @property
    def decay_at_edge(self) -> bool:
        """The chosen weight decay is the largest that was tried: a larger one may be better."""
        return 0 < self.weight_decay == max(self.weight_decays)

    @property
    def loss(self) -> float:
        """Mean validation loss over the fresh seeds."""
        return float(np.mean(self.losses))


def tune(baseline: Baseline, task: Task, steps: int, *, decay_rounds: int = DECAY_ROUNDS) -> Tuned:
    """Choose a rule's learning rate and weight decay on tuning seeds, then train with them on fresh ones.

    Every rule gets the same budget: nine learning rates with every weight decay, five seeds each. Five half decades
    come first; each of two rounds then adds two learning rates: the next half decades where the best one lies at an
    edge of what was tried, else the middles of the gaps beside it. Each round after them adds a weight decay: the next
    decade where the best one is the least above 0, or 0 itself, or the largest, else the middle of the wider gap beside
    it. Problems that are generated have no validation data that a weight decay could help with, only an optimum that
    may lie where decay leads: they are tuned without.

    Args:
        baseline: The rule and where its tuning begins.
        task: The task, trained with its own batch size.
        steps: Updates of each training, all with a learning rate that decays linearly to zero.
        decay_rounds: Rounds of one more weight decay.
    """
    rule = load(baseline.rule)
    decays = baseline.weight_decays if task.dataset else (0.0,)

    def train(settings: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
        return train_population([rule], task, settings, TUNING_SEEDS, steps).val_loss[0].mean(axis=1)

    explored = explore(train, baseline.lr, decays, decay_rounds)
    lr, decay = explored.best
    return Tuned(
        rule=baseline.rule,
        steps=steps,
        lr=lr,
        weight_decay=decay,
        at_edge=explored.at_edge,
        lrs=tuple(explored.lrs),
        weight_decays=tuple(explored.decays),
        tuning_losses=tuple(tuple(explored.losses[x, d] for d in explored.decays) for x in explored.lrs),
        losses=_train_fresh(rule, task, {"lr": lr, "weight_decay": decay}, steps),
    )


def _train_fresh(rule: Rule, task: Task, setting: Mapping[str, float], steps: int) -> tuple[float, ...]:
    result = train_population([rule], task, [setting], FRESH_SEEDS, steps)
    return tuple(map(float, result.val_loss[0, 0]))


@dataclass(slots=True)
class Explored:
    """What was tried: mean losses by learning rate and weight decay."""

    losses: dict[tuple[float, float], float] = field(default_factory=dict[tuple[float, float], float])

    @property
    def lrs(self) -> list[float]:
        """Learning rates that were tried, rising."""
        return sorted({lr for lr, _ in self.losses})

    @property
    def decays(self) -> list[float]:
        """Weight decays that were tried, rising."""
        return sorted({decay for _, decay in self.losses})

    @property
    def best(self) -> tuple[float, float]:
        """The learning rate and weight decay of the least loss."""
        return min(self.losses, key=lambda setting: (self.losses[setting], setting))

    @property
    def at_edge(self) -> bool:
        """Whether that learning rate is the least or the largest that was tried."""
        return self.best[0] in (self.lrs[0], self.lrs[-1])

    def next_lrs(self) -> tuple[float, float]:
        """Two more learning rates."""
        lrs, lr = self.lrs, self.best[0]
        i = lrs.index(lr)
        if i == 0:
            return lr / RATIO, lr / RATIO**2
        if i == len(lrs) - 1:
            return lr * RATIO, lr * RATIO**2
        return math.sqrt(lrs[i - 1] * lr), math.sqrt(lr * lrs[i + 1])

    def next_decay(self) -> float:
        """One more weight decay."""
        decays, decay = self.decays, self.best[1]
        i = decays.index(decay)
        if i == len(decays) - 1:
            return decay * DECAY_RATIO
        if i <= 1:  # 0, or the least above it
            return decays[1] / DECAY_RATIO
        below, above = decay / decays[i - 1], decays[i + 1] / decay
        return math.sqrt(decay * decays[i + 1]) if above >= below else math.sqrt(decays[i - 1] * decay)


def explore(train: Train, middle: float, decays: Sequence[float], decay_rounds: int) -> Explored:
    """Spend the budget.

    Args:
        train: What gives the losses.
        middle: The middle of the first grid of learning rates.
        decays: The first weight decays, rising from 0; if that is all, none is added.
        decay_rounds: How many are added.
    """
    explored = Explored()
    lrs: Sequence[float] = [middle * RATIO ** (k - FIRST // 2) for k in range(FIRST)]
    for _ in range(ROUNDS + 1):
        _try(train, explored, [_rounded(lr) for lr in lrs], decays)
        lrs = explored.next_lrs()
    for _ in range(decay_rounds if len(decays) > 1 else 0):
        _try(train, explored, explored.lrs, [_rounded(explored.next_decay())])
    return explored


def _try(train: Train, explored: Explored, lrs: Sequence[float], decays: Sequence[float]) -> None:
    """Train with all of these learning rates and weight decays."""
    tried = [(lr, decay) for lr in lrs for decay in decays]
    losses = train([{"lr": lr, "weight_decay": decay} for lr, decay in tried])
    explored.losses.update(zip(tried, map(float, losses), strict=True))


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
