"""What the search needs of whatever trains its candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Score:
    """A rule's worth: the best setting's mean validation loss over the seeds."""

    status: str
    loss: float
    setting: Mapping[str, float]
    reason: str = ""


def score(trials: Sequence[Trial]) -> Score:
    """The lowest mean loss over the settings; a setting counts only if no seed failed with it."""
    by_setting: dict[tuple[tuple[str, float], ...], list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(tuple(sorted(trial.setting.items())), []).append(trial)
    best = Score("diverged", math.inf, {})
    for setting, group in by_setting.items():
        mean = sum(t.loss for t in group) / len(group)
        if all(t.status == "ok" for t in group) and mean < best.loss:
            best = Score("ok", mean, dict(setting))
    if best.status == "ok":
        return best
    failed = next((t for t in trials if t.status not in ("ok", "diverged")), None)
    return best if failed is None else Score(failed.status, math.inf, {}, failed.reason)
