"""A candidate's score on a task: how many times fewer steps it takes than tuned AdamW."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import UserError

from .envelope import Envelope, steps_to_reach

Bound: TypeAlias = Literal["exact", "at least", "at most"]

RESAMPLES = 2000
COVERAGE = (0.025, 0.975)


@dataclass(frozen=True, slots=True)
class Speedup:
    """Steps of the envelope for a loss, over the steps that were taken for it: above 1 is faster.

    Attributes:
        value: The ratio, or the nearest one that the envelope can tell.
        low: Lower end of the 95 % interval; 0 where the envelope cannot tell.
        high: Upper end; infinite where the envelope cannot tell.
        bound: Whether ``value`` is the ratio or only a bound of it, the loss lying beyond the envelope.
    """

    value: float
    low: float
    high: float
    bound: Bound

    def __str__(self) -> str:
        sign = {"exact": "", "at least": ">=", "at most": "<="}[self.bound]
        return f"{sign}{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def speedup(
    losses: Sequence[float] | NDArray[np.float64], steps: int, envelope: Envelope, *, resamples: int = RESAMPLES
) -> Speedup:
    """The steps that the envelope needs for a candidate's mean loss, over the steps that the candidate used.

    The normaliser of google/learned_optimization (Metz et al. 2022, arXiv:2211.09760), with an interval: percentiles of
    a bootstrap over the seeds of both sides. The envelope's seeds are drawn jointly for all its lengths, those of the
    candidate independently of them, so seeds in common make the interval too wide rather than too narrow. With few
    seeds a bootstrap's interval is too narrow by itself: give at least five.

    Args:
        losses: The candidate's final validation losses, one per seed, positive, infinite where it diverged. Its
            settings must have been tuned on other seeds.
        steps: Updates that each of these trainings took.
        envelope: What tuned AdamW reaches on the same task with the same batch size.
        resamples: Bootstrap samples; the same ones at every call.

    Returns:
        The score. A loss better than all of the envelope scores "at least" the longest of its lengths, one worse than
        all of it "at most" the shortest; the interval's ends beyond them are infinity and 0.

    Raises:
        UserError: There are no losses, one is not above 0, or a count is below 1.
    """
    own = np.asarray(losses, dtype=np.float64)
    if own.ndim != 1 or not own.size or not (own > 0).all():
        raise UserError(f"losses {own.tolist()} cannot be scored", "give at least one, each above 0 or infinite")
    if steps < 1 or resamples < 1:
        raise UserError(f"steps={steps}, resamples={resamples}", "both must be 1 or more")
    least, most = steps_to_reach(own.mean(keepdims=True), envelope.steps, envelope.mean()[None])
    fewest, largest = _resampled(own, envelope, resamples)
    low = np.quantile(fewest, COVERAGE[0], method="inverted_cdf")
    high = np.quantile(largest, COVERAGE[1], method="inverted_cdf")
    bound = _bound(float(least[0]), float(most[0]))
    value = float(most[0] if bound == "at most" else least[0])
    return Speedup(value / steps, float(low) / steps, float(high) / steps, bound)


def _bound(least: float, most: float) -> Bound:
    if least == most:
        return "exact"
    return "at most" if least == 0 else "at least"


def _resampled(
    own: NDArray[np.float64], envelope: Envelope, resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fewest and most steps for the mean loss of resampled seeds, by the envelope of resampled seeds."""
    random = np.random.Generator(np.random.PCG64(0))
    mine = own[random.integers(own.size, size=(resamples, own.size))].mean(axis=1)
    seeds = envelope.losses.shape[1]
    drawn = random.integers(seeds, size=(resamples, seeds))
    theirs = envelope.losses[:, drawn].mean(axis=2).T
    return steps_to_reach(mine, envelope.steps, theirs)
