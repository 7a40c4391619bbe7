"""How candidates are trained: all at once, or by task and seed with those stopped that have no prospect.

Three economies, each off by default: a *hurdle* stops what is worse on its first seed than most recent programs were
there; a *race* stops what a paired test finds worse than the best program so far; a grid of settings is *widened*
where the best lies on its edge, for the start rule as for every other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evoptim.dsl import Rule

from ..evaluator import Evaluator, Score, Trial, combined, log_ratio, score, setting_key
from ..sections import Economy
from .grid import beyond
from .hurdle import Hurdle
from .paired import signed_rank_p

ByTask: TypeAlias = Sequence[Sequence[Trial]]
"""A program's trainings on each task, in the order of the tasks."""

BEYOND, WORSE = "beyond the hurdle of", "worse than the best after"
"""How the reasons begin for which a program is stopped: by the hurdle, by a race."""


def worse(candidate: Sequence[Trial], best: Sequence[Trial], level: float) -> bool:
    """Whether a program is worse than another by Wilcoxon's signed-rank test, paired by seed.

    Each takes part with the setting that is best on the seeds of the candidate. One that fails with every setting is
    not judged here: its score is that of a failure.
    """
    return worse_by_task([candidate], [best], level)


def worse_by_task(candidate: ByTask, best: ByTask, level: float) -> bool:
    """The same over several tasks, paired by task and seed, where logarithms of losses are compared.

    Tasks on which the candidate has not been trained are left out.
    """
    difference = float.__sub__ if len(candidate) == 1 else log_ratio
    differences: list[float] = []
    for mine, theirs in zip(candidate, best, strict=True):
        seeds = sorted({t.seed for t in mine})
        a, b = _paired(mine, seeds), _paired(theirs, seeds)
        if a is None or b is None:
            return False
        differences += map(difference, a, b)
    return signed_rank_p(differences) <= level


def _paired(trials: Sequence[Trial], seeds: Sequence[int]) -> list[float] | None:
    """The losses on some seeds with the setting that is best there."""
    if not seeds:
        return []
    there = [t for t in trials if t.seed in seeds]
    chosen = score(there)
    if chosen.status != "ok":
        return None
    by_seed = {t.seed: t.loss for t in there if t.setting == chosen.setting}
    return [by_seed[s] for s in seeds] if by_seed.keys() == set(seeds) else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a candidate's trainings came to."""

    by_task: tuple[tuple[Trial, ...], ...]
    score: Score

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trainings on all tasks."""
        return tuple(t for trials in self.by_task for t in trials)


@dataclass(frozen=True, slots=True)
class _Block:
    """What is trained together: some seeds on one task."""

    task: int
    seeds: Sequence[int]


class Judge:
    """Trains candidates and gives each a score.

    Args:
        evaluator: What trains them.
        settings: The grid.
        seeds: The seeds, in the order in which they are trained where that is one after the other.
        economy: Hurdle and race.
        widen: How often a grid is continued beyond an edge.
        others: The same for further tasks; losses then are relative ones.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        settings: Sequence[Mapping[str, float]],
        seeds: Sequence[int],
        economy: Economy,
        widen: int,
        others: Sequence[Evaluator] = (),
    ) -> None:
        self.evaluator, self.settings, self.seeds, self.economy = evaluator, settings, seeds, economy
        self.evaluators = (evaluator, *others)
        self.widen = widen
        self.hurdle = Hurdle(economy.hurdle, economy.hurdle_window)
        self.par: Sequence[float] | None = None
        """The losses by task that count as 1; those of the first rule judged, unless they are set before."""

    def judge(self, rules: Sequence[Rule], best: ByTask = ()) -> list[Verdict]:
        """Train the rules; ``best`` are the trainings of the best program so far, to race against."""
        return self._judge(rules, lambda trials, active: best, ())

    def contest(self, rules: Sequence[Rule], spared: Collection[int]) -> list[Verdict]:
        """Train the rules, racing each against the best of them so far; the spared ones are never stopped."""
        return self._judge(rules, _leader, spared)

    def remember(self, trials: Sequence[Trial]) -> None:
        """Take over a program's trainings on the first task, so that a resumed search has the same hurdle."""
        self.hurdle.observe([t for t in trials if t.setting in self.settings], self.seeds[0])

    def _judge(
        self,
        rules: Sequence[Rule],
        rival: Callable[[Sequence[ByTask], Sequence[int]], ByTask],
        spared: Collection[int],
    ) -> list[Verdict]:
        trials: list[list[list[Trial]]] = [[[] for _ in self.evaluators] for _ in rules]
        active, stopped = [*range(len(rules))], dict[int, str]()
        blocks = self._blocks()
        for block in blocks:
            self._train(rules, active, self.settings, block, trials)
            height = self.hurdle.height
            if block is blocks[0]:
                for mine in trials:
                    self.hurdle.observe(mine[0], block.seeds[0])
            if block is not blocks[-1]:
                best = rival(trials, active)
                reasons = {i: self._stop(trials[i], best, height) for i in active if i not in spared}
                stopped |= {i: reason for i, reason in reasons.items() if reason}
                active = [i for i in active if i not in stopped and not self._lost(trials[i], block)]
        self._widen(rules, active, trials)
        if self.par is None and rules:
            self.par = [score(group).loss for group in trials[0]]
        return [self._verdict(t, stopped.get(i, "")) for i, t in enumerate(trials)]

    def _blocks(self) -> list[_Block]:
        """What is trained together: by itself where something may be stopped after it."""
        first, rest = self.seeds[:1], self.seeds[1:]
        tasks = range(len(self.evaluators))
        if self.economy.race:
            return [_Block(task, [s]) for s in self.seeds for task in tasks]  # pairs of all tasks, the first ones first
        if self.economy.hurdle and rest:
            return [_Block(0, first), _Block(0, rest), *(_Block(task, self.seeds) for task in tasks[1:])]
        return [_Block(task, self.seeds) for task in tasks]

    def _train(
        self,
        rules: Sequence[Rule],
        which: Sequence[int],
        settings: Sequence[Mapping[str, float]],
        block: _Block,
        trials: list[list[list[Trial]]],
    ) -> None:
        if which:
            results = self.evaluators[block.task].evaluate([rules[i] for i in which], settings, block.seeds)
            for i, result in zip(which, results, strict=True):
                trials[i][block.task] += result

    def _stop(self, trials: ByTask, best: ByTask, height: float) -> str:
        """Why a program is not trained on, or the empty string."""
        cells = sum(len({t.seed for t in group}) for group in trials)
        if cells == 1 and score(trials[0]).loss > height:
            return f"{BEYOND} {height:.6g} on the first seed"
        if self.economy.race and best and worse_by_task(trials, best, self.economy.race):
            return f"{WORSE} {cells} seeds"
        return ""

    def _lost(self, trials: ByTask, block: _Block) -> bool:
        """Whether a program has failed on one of several tasks: there is no sense in the others."""
        return len(self.evaluators) > 1 and score(trials[block.task]).status != "ok"

    def _widen(self, rules: Sequence[Rule], which: Sequence[int], trials: list[list[list[Trial]]]) -> None:
        """Continue the grids of those whose best setting lies on an edge, on each task by itself."""
        for task in range(len(self.evaluators)):
            for _ in range(self.widen):
                wanted: dict[tuple[tuple[str, float], ...], list[int]] = {}
                for i in which:
                    for setting in beyond(trials[i][task]):
                        wanted.setdefault(setting_key(setting), []).append(i)
                for setting, group in sorted(wanted.items()):
                    self._train(rules, group, [dict(setting)], _Block(task, self.seeds), trials)

    def _verdict(self, trials: ByTask, stopped: str) -> Verdict:
        """A program's score; one that was stopped early has none, and a failure comes first."""
        made = [group for group in trials if group] if stopped else trials
        whole = combined(made, (self.par or ())[: len(made)])
        if stopped and whole.status == "ok":
            whole = Score("stopped", math.inf, {}, stopped)
        return Verdict(tuple(map(tuple, trials)), whole)


def _leader(trials: Sequence[ByTask], active: Sequence[int]) -> ByTask:
    """The trainings of the rule that is best so far, among those that have been trained alike."""

    def loss(i: int) -> float:
        made = [group for group in trials[i] if group]
        return combined(made, [1.0] * len(made)).loss

    return trials[min(active, key=lambda i: (loss(i), i))] if active else ()
