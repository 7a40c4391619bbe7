"""Rules tuned alike on some seeds, then trained with what was chosen on others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evoptim.dsl import Rule

from ..evaluator import Evaluator, Trial, log_ratio, setting_key
from ..sections import Economy
from .judge import Judge
from .paired import signed_rank_p


@dataclass(frozen=True, slots=True)
class Tuned:
    """A rule on one task.

    Attributes:
        setting: What tuning has chosen; empty where every setting failed.
        losses: Validation loss on every fresh seed, infinite where a training failed; empty where tuning failed.
        reason: Why it failed, or the empty string.
    """

    setting: Mapping[str, float]
    losses: tuple[float, ...]
    reason: str = ""

    @property
    def loss(self) -> float:
        """Mean over the fresh seeds; infinite where a training failed."""
        return math.fsum(self.losses) / len(self.losses) if self.losses else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is the same for all rules of a contest.

    Attributes:
        settings: The first grid.
        widen: How often it is continued where the best lies on its edge.
        tuning_seeds: Seeds on which settings are chosen.
        seeds: Seeds that the losses are of.
    """

    settings: Sequence[Mapping[str, float]]
    widen: int
    tuning_seeds: Sequence[int]
    seeds: Sequence[int]


def contest(rules: Sequence[Rule], evaluator: Evaluator, terms: Terms) -> list[Tuned]:
    """Tune every rule, with the same grid and the same widening, and train it on the fresh seeds."""
    judge = Judge(evaluator, terms.settings, terms.tuning_seeds, Economy(), terms.widen)
    scores = [v.score for v in judge.judge(rules)]
    together: dict[tuple[tuple[str, float], ...], list[int]] = {}
    for i, s in enumerate(scores):
        if s.status == "ok":
            together.setdefault(setting_key(s.setting), []).append(i)
    out = [Tuned({}, (), s.reason or f"{s.status} with every setting") for s in scores]
    for setting, group in sorted(together.items()):
        results = evaluator.evaluate([rules[i] for i in group], [dict(setting)], terms.seeds)
        for i, trials in zip(group, results, strict=True):
            out[i] = _tuned(dict(setting), trials)
    return out


def _tuned(setting: Mapping[str, float], trials: Sequence[Trial]) -> Tuned:
    failed = next((t for t in trials if t.status != "ok"), None)
    reason = "" if failed is None else failed.reason or f"{failed.status} on fresh seed {failed.seed}"
    return Tuned(setting, tuple(t.loss if t.status == "ok" else math.inf for t in trials), reason)


def better_p(mine: Sequence[Tuned], theirs: Sequence[Tuned]) -> float:
    """The p-value of one rule being better than another, paired by task and fresh seed.

    Wilcoxon's signed-rank test, one-sided, of the differences of the logarithms of the losses; 1 where a training of
    the first rule failed, or all of the other's on a task did.
    """
    differences: list[float] = []
    for a, b in zip(mine, theirs, strict=True):
        if not b.losses or not math.isfinite(a.loss):
            return 1.0
        differences += [log_ratio(y, x) for x, y in zip(a.losses, b.losses, strict=True)]
    return signed_rank_p(differences)


def relative(mine: Sequence[Tuned], theirs: Sequence[Tuned]) -> float:
    """The geometric mean over tasks of one rule's mean loss over another's; infinite where one of them failed."""
    if not all(math.isfinite(t.loss) for t in (*mine, *theirs)):
        return math.inf
    ratios = [log_ratio(a.loss, b.loss) for a, b in zip(mine, theirs, strict=True)]
    return math.exp(math.fsum(ratios) / len(ratios))
