"""A hurdle: what is worse on its first seed than most recent programs were there is not trained on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..evaluator import Trial, score

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
