"""Training programs to compare them by pairs: the same seeds for all, and for each the learning rate that suits it.

A program is trained on the first seeds with a whole grid of learning rates, which goes on where the best one lies on
its edge, and is made finer around the best one; on the other seeds with the best rate and its neighbours. Nothing is
trained twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from evoptim.dsl import Rule, canonical_hash

from ..evaluator import Evaluator, Trial
from .paired import signed_rank_p

SCREEN = 2
"""Seeds on which the whole grid is tried."""
WIDEN = 8
"""How often a grid may be continued beyond an edge."""
_LEAST, _MOST = 1e-30, 1e30
"""No learning rate lies beyond."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A program with the learning rate that suits it: its losses on the seeds, infinite where a training failed."""

    lr: float
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """Mean over the seeds."""
        return sum(self.losses) / len(self.losses)


def worse_p(losses: Sequence[float], reference: Sequence[float]) -> float:
    """The p-value of "not worse", by Wilcoxon's signed ranks of the paired differences: small where it is worse."""
    return signed_rank_p([x - r for x, r in zip(losses, reference, strict=True)])


def not_inferior_p(losses: Sequence[float], reference: Sequence[float], margin: float) -> float:
    """The p-value of "worse by the margin or more": small where the losses are shown to rise by less.

    Args:
        losses: One per seed, infinite where a training failed.
        reference: Those of another program on the same seeds, finite.
        margin: As a share of the reference's mean size.
    """
    allowed = margin * abs(sum(reference)) / len(reference)
    return signed_rank_p([r + allowed - x for x, r in zip(losses, reference, strict=True)])


class PairedTrainer:
    """Trains programs on the same seeds.

    Args:
        evaluator: What trains them.
        rates: The grid of learning rates, two or more; a continued grid goes on by the ratio at its edge.
        seeds: All seeds, those of the screen first.
    """

    def __init__(self, evaluator: Evaluator, rates: Iterable[float], seeds: Sequence[int]) -> None:
        self.evaluator, self.rates = evaluator, sorted(rates)
        self.screen, self.rest = tuple(seeds[:SCREEN]), tuple(seeds[SCREEN:])
        self._trials: dict[str, list[Trial]] = {}
        self._new: dict[str, list[Trial]] = {}

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds."""
        return (*self.screen, *self.rest)

    @property
    def programs(self) -> int:
        """How many programs have been trained."""
        return len(self._trials)

    def take_new(self) -> dict[str, list[Trial]]:
        """The trainings since the last call, by canonical hash."""
        new, self._new = self._new, {}
        return new

    def screened(self, rules: Sequence[Rule]) -> list[Trained]:
        """Each program with its best learning rate on the first seeds."""
        fresh = [r for r in rules if canonical_hash(r) not in self._trials]
        self._train(fresh, self.rates, self.screen)
        for _ in range(WIDEN):
            self._train_more(fresh, self._beyond)
        self._train_more(fresh, self._between)
        return [self._best(r, self.screen) for r in rules]

    def trained(self, rules: Sequence[Rule]) -> list[Trained]:
        """Each program with its best learning rate on all seeds; those screened before are trained on."""
        self.screened(rules)
        groups: dict[tuple[float, ...], list[Rule]] = {}
        for rule in rules:
            if self.rest and not any(t.seed == self.rest[-1] for t in self._trials[canonical_hash(rule)]):
                groups.setdefault(self._around(rule), []).append(rule)
        for rates, group in sorted(groups.items()):
            self._train(group, rates, self.rest)
        return [self._best(r, self.seeds) for r in rules]

    def _train(self, rules: Sequence[Rule], rates: Sequence[float], seeds: Sequence[int]) -> None:
        distinct = {canonical_hash(r): r for r in rules}
        if not distinct:
            return
        results = self.evaluator.evaluate([*distinct.values()], [{"lr": rate} for rate in rates], seeds)
        for digest, trials in zip(distinct, results, strict=True):
            self._trials.setdefault(digest, []).extend(trials)
            self._new.setdefault(digest, []).extend(trials)

    def _train_more(self, rules: Sequence[Rule], more: Callable[[Rule], tuple[float, ...]]) -> None:
        """Try further learning rates on the first seeds, each with all the programs that want it."""
        wanted: dict[float, list[Rule]] = {}
        for rule in rules:
            for rate in more(rule):
                wanted.setdefault(float(f"{rate:.6g}"), []).append(rule)
        for rate, group in sorted(wanted.items()):
            self._train(group, [rate], self.screen)

    def _means(self, rule: Rule, seeds: Sequence[int]) -> dict[float, Trained]:
        """What each learning rate came to that was tried on all of some seeds."""
        losses: dict[float, dict[int, float]] = {}
        for t in self._trials[canonical_hash(rule)]:
            losses.setdefault(t.setting["lr"], {})[t.seed] = t.loss if t.status == "ok" else math.inf
        return {lr: Trained(lr, tuple(of[s] for s in seeds)) for lr, of in losses.items() if of.keys() >= set(seeds)}

    def _best(self, rule: Rule, seeds: Sequence[int]) -> Trained:
        return min(self._means(rule, seeds).values(), key=lambda t: (t.loss, t.lr))

    def _around(self, rule: Rule) -> tuple[float, ...]:
        """The best learning rate of the screen and its neighbours."""
        rates = sorted(self._means(rule, self.screen))
        i = rates.index(self._best(rule, self.screen).lr)
        return tuple(rates[max(0, i - 1) : i + 2])

    def _beyond(self, rule: Rule) -> tuple[float, ...]:
        """The learning rate beyond the edge of the grid on which the best one lies; none where it lies within.

        Where all diverge, the next one is smaller.
        """
        rates = sorted(self._means(rule, self.screen))
        best = self._best(rule, self.screen)
        if best.lr == rates[0] or math.isinf(best.loss):
            rate = rates[0] ** 2 / rates[1]
        elif best.lr == rates[-1]:
            rate = rates[-1] ** 2 / rates[-2]
        else:
            return ()
        return (rate,) if _LEAST < rate < _MOST else ()

    def _between(self, rule: Rule) -> tuple[float, ...]:
        """The middles of the gaps beside the best learning rate."""
        lr, around = self._best(rule, self.screen).lr, self._around(rule)
        gaps = [pair for pair in pairwise(around) if lr in pair]
        return tuple(math.sqrt(a * b) for a, b in gaps)
