"""How candidates are trained: all at once, or seed by seed with those stopped that have no prospect.

Three economies, each off by default: a *hurdle* stops what is worse on its first seed than most recent programs were
there; a *race* stops what a paired test finds worse than the best program so far; a grid of learning rates is
*widened* where the best lies on its edge, for the start rule as for every other.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evoptim.dsl import Rule

from .evaluator import Evaluator, Score, Trial, score
from .paired import signed_rank_p
from .sections import Economy

LEAST_HURDLE = 4
"""Losses that must be known before there is a hurdle."""


@dataclass(slots=True)
class Hurdle:
    """A quantile of recent losses on the first seed.

    Args:
        quantile: Which one; 0 for none.
        window: Of how many losses; diverged programs count as infinite ones.
    """

    quantile: float
    window: int
    losses: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self.losses = deque(maxlen=self.window)

    @property
    def height(self) -> float:
        """The loss above which a program is stopped; infinite while too few are known."""
        if not self.quantile or len(self.losses) < LEAST_HURDLE:
            return math.inf
        rank = math.ceil(self.quantile * len(self.losses)) - 1
        return sorted(self.losses)[rank]

    def observe(self, trials: Sequence[Trial], seed: int) -> None:
        """Take in the loss of a program on its first seed."""
        self.losses.append(score([t for t in trials if t.seed == seed]).loss)


def worse(candidate: Sequence[Trial], best: Sequence[Trial], level: float) -> bool:
    """Whether a program is worse than another by Wilcoxon's signed-rank test, paired by seed.

    Each takes part with the setting that is best on the seeds of the candidate. One that fails with every setting is
    not judged here: its score is that of a failure.
    """
    seeds = sorted({t.seed for t in candidate})
    mine, theirs = _paired(candidate, seeds), _paired(best, seeds)
    if mine is None or theirs is None:
        return False
    return signed_rank_p([a - b for a, b in zip(mine, theirs, strict=True)]) <= level


def _paired(trials: Sequence[Trial], seeds: Sequence[int]) -> list[float] | None:
    """The losses on some seeds with the setting that is best there."""
    there = [t for t in trials if t.seed in seeds]
    chosen = score(there)
    if chosen.status != "ok":
        return None
    by_seed = {t.seed: t.loss for t in there if t.setting == chosen.setting}
    return [by_seed[s] for s in seeds] if by_seed.keys() == set(seeds) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a candidate's trainings came to."""

    trials: tuple[Trial, ...]
    score: Score


class Judge:
    """Trains candidates and gives each a score.

    Args:
        evaluator: What trains them.
        settings: The grid.
        seeds: The seeds, in the order in which they are trained where that is one after the other.
        economy: Hurdle and race.
        widen: How often a grid is continued beyond an edge.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        economy: Economy,
        widen: int,
    ) -> None:
        self.evaluator, self.settings, self.seeds, self.economy = evaluator, settings, seeds, economy
        self.widen = widen
        self.hurdle = Hurdle(economy.hurdle, economy.hurdle_window)

    def judge(self, rules: Sequence[Rule], best: Sequence[Trial] = ()) -> list[Verdict]:
        """Train the rules; ``best`` are the trainings of the best program so far, to race against."""
        trials: list[list[Trial]] = [[] for _ in rules]
        stopped = dict[int, str]()
        for block in self._blocks():
            active = [i for i in range(len(rules)) if i not in stopped]
            self._train(rules, active, self.settings, block, trials)
            height = self.hurdle.height
            if block[0] == self.seeds[0]:
                for mine in trials:
                    self.hurdle.observe(mine, block[0])
            for i in active:
                reason = self._stop(trials[i], best, height)
                if reason and block[-1] != self.seeds[-1]:
                    stopped[i] = reason
        self._widened(rules, [i for i in range(len(rules)) if i not in stopped], trials)
        return [Verdict(tuple(t), _score(t, stopped.get(i, ""))) for i, t in enumerate(trials)]

    def remember(self, trials: Sequence[Trial]) -> None:
        """Take over a program trained before, so that a resumed search has the same hurdle."""
        self.hurdle.observe([t for t in trials if t.setting in self.settings], self.seeds[0])

    def _blocks(self) -> list[Sequence[int]]:
        """The seeds that are trained together."""
        first, rest = self.seeds[:1], self.seeds[1:]
        if self.economy.race:
            return [[s] for s in self.seeds]
        return [first, rest] if self.economy.hurdle and rest else [self.seeds]

    def _train(
        self,
        rules: Sequence[Rule],
        which: Sequence[int],
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        trials: list[list[Trial]],
    ) -> None:
        if which:
            results = self.evaluator.evaluate([rules[i] for i in which], settings, seeds)
            for i, result in zip(which, results, strict=True):
                trials[i] += result

    def _stop(self, trials: Sequence[Trial], best: Sequence[Trial], height: float) -> str:
        """Why a program is not trained on, or the empty string."""
        if len({t.seed for t in trials}) == 1 and score(trials).loss > height:
            return f"beyond the hurdle of {height:.6g} on the first seed"
        if self.economy.race and best and worse(trials, best, self.economy.race):
            return f"worse than the best after {len({t.seed for t in trials})} seeds"
        return ""

    def _widened(self, rules: Sequence[Rule], which: Sequence[int], trials: list[list[Trial]]) -> None:
        """Continue the grid of those whose best learning rate lies on its edge, by the ratio of the rates there."""
        for _ in range(self.widen):
            by_rate: dict[float, list[int]] = {}
            for i in which:
                if (rate := beyond_edge(trials[i])) is not None:
                    by_rate.setdefault(rate, []).append(i)
            for rate, group in sorted(by_rate.items()):
                setting = dict(self.settings[0]) | {"lr": rate}
                self._train(rules, group, [setting], self.seeds, trials)


def beyond_edge(trials: Sequence[Trial]) -> float | None:
    """The next learning rate beyond the edge of a grid on which the best one lies; None where it lies within."""
    best = score(trials)
    rates = sorted({t.setting["lr"] for t in trials})
    if best.status != "ok" or len(rates) < 2:
        return None
    lr = best.setting["lr"]
    if lr == rates[0]:
        rate = rates[0] * (rates[0] / rates[1])
    elif lr == rates[-1]:
        rate = rates[-1] * (rates[-1] / rates[-2])
    else:
        return None
    rounded = float(f"{rate:.6g}")
    return rounded if 0 < rounded < math.inf else None


def _score(trials: Sequence[Trial], stopped: str) -> Score:
    """The score of a program's trainings; one that was stopped early has none, and diverged comes first."""
    whole = score(trials)
    return Score("stopped", math.inf, {}, stopped) if stopped and whole.status == "ok" else whole
