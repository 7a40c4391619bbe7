"""What the search needs of whatever trains its candidates."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from evoptim.dsl import Rule


class Trial(Protocol):
    """One training run: a rule with one setting on one seed."""

    @property
    def setting(self) -> Mapping[str, float]:
        """Hyperparameters that differ from the rule's defaults."""
        ...

    @property
    def seed(self) -> int:
        """Seed of initialisation and data order."""
        ...

    @property
    def status(self) -> str:
        """``ok``, ``diverged``, ``timeout`` or ``error``."""
        ...

    @property
    def loss(self) -> float:
        """Validation loss; infinite unless the status is ``ok``."""
        ...

    @property
    def reason(self) -> str:
        """Why it failed, or the empty string."""
        ...


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A training written down, in the archive or in the answer of a worker."""

    setting: Mapping[str, float]
    seed: int
    status: str
    loss: float
    reason: str = ""


class Evaluator(Protocol):
    """Trains rules. It never raises because of a candidate: what goes wrong is a status."""

    @property
    def version(self) -> str:
        """What results depend on besides rule, setting and seed: task, data hash, steps, code version."""
        ...

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> Sequence[Sequence[Trial]]:
        """All trials of every rule, setting by setting and seed by seed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where and how long rules are trained: what an evaluator is made for.

    Attributes:
        task: Name of the task.
        steps: Updates per training; None for the task's own.
        batch_size: Examples per update; None for the task's own.
        schedule: Learning-rate schedule.
        unseal: Whether the task may be a sealed one.
    """

    task: str
    steps: int | None
    batch_size: int | None
    schedule: str
    unseal: bool = False


Laboratory: TypeAlias = Callable[[Bench], Evaluator]
"""Makes the evaluator of a bench; raises UserError where there is no such task."""


@dataclass(frozen=True, slots=True)
class Score:
    """A rule's worth: the best setting's mean validation loss over the seeds.

    Over several tasks ``loss`` is the geometric mean of the losses relative to another rule's, and ``setting`` is that
    of the first task.
    """

    status: str
    loss: float
    setting: Mapping[str, float]
    reason: str = ""


def setting_key(setting: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """A setting to compare and sort by, whatever the order of its names."""
    return tuple(sorted(setting.items()))


def score(trials: Sequence[Trial]) -> Score:
    """The lowest mean loss over the settings; a setting counts only if no seed failed with it."""
    by_setting: dict[tuple[tuple[str, float], ...], list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(setting_key(trial.setting), []).append(trial)
    best = Score("diverged", math.inf, {})
    for setting, group in by_setting.items():
        mean = sum(t.loss for t in group) / len(group)
        if all(t.status == "ok" for t in group) and mean < best.loss:
            best = Score("ok", mean, dict(setting))
    if best.status == "ok":
        return best
    failed = next((t for t in trials if t.status not in ("ok", "diverged")), None)
    return best if failed is None else Score(failed.status, math.inf, {}, failed.reason)


def combined(by_task: Sequence[Sequence[Trial]], par: Sequence[float]) -> Score:
    """A rule's worth on several tasks, each with the setting that is best there.

    On one task it is `score`. On more the loss is the geometric mean of each task's loss over its par; a rule that
    fails on one task has failed.

    Args:
        by_task: The trainings on each task.
        par: The losses that count as 1, by task; where there is one task they do not matter.
    """
    scores = [score(trials) for trials in by_task]
    failed = next((s for s in scores if s.status != "ok"), None)
    if failed is not None:
        return failed
    if len(scores) == 1:
        return scores[0]
    ratios = [log_ratio(s.loss, p) for s, p in zip(scores, par, strict=True)]
    return Score("ok", math.exp(math.fsum(ratios) / len(ratios)), scores[0].setting)


def log_ratio(loss: float, other: float) -> float:
    """How much more one loss is than another, as a natural logarithm; a loss of 0 counts as the least number above."""
    least = sys.float_info.min
    return math.log(max(loss, least)) - math.log(max(other, least))
