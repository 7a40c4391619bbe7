"""Loss as a function of the number of steps, and its inverse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import UserError


@dataclass(frozen=True, slots=True, eq=False)
class Envelope:
    """Validation losses that a tuned optimizer reaches in trainings of several lengths.

    Every length is a training of its own, with its own tuned settings and a whole learning-rate schedule, because a
    loss on the way of a longer training says nothing about what that many steps can do.

    Attributes:
        steps: Lengths of the trainings, rising; int64 ``[horizon]``.
        losses: Final validation losses, positive, infinite where a training diverged; float64 ``[horizon, seed]``.
            A column is one seed, at every length.

    Raises:
        UserError: The shapes do not fit, lengths do not rise, or a loss is not above 0.
    """

    steps: NDArray[np.int64]
    losses: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.losses.ndim != 2 or self.losses.shape[0] != len(self.steps) or self.losses.size == 0:
            raise UserError(
                f"an envelope of {len(self.steps)} lengths has losses of shape {list(self.losses.shape)}",
                "give one row of losses per length and one column per seed",
            )
        if self.steps[0] < 1 or (np.diff(self.steps) <= 0).any():
            raise UserError(f"the lengths {self.steps.tolist()} do not rise", "sort them, each once, from 1 step up")
        if not (self.losses > 0).all():
            raise UserError("an envelope needs losses above 0", "its logarithms are interpolated: shift the loss")

    def mean(self) -> NDArray[np.float64]:
        """Mean loss over the seeds, ``[horizon]``."""
        return self.losses.mean(axis=1)

    def quantile(self, q: float) -> NDArray[np.float64]:
        """Quantile of the loss over the seeds, ``[horizon]``; of the losses themselves, none between two of them."""
        return np.quantile(self.losses, q, axis=1, method="inverted_cdf")


def steps_to_reach(
    loss: NDArray[np.float64], steps: NDArray[Any], reached: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Between how many steps a loss is reached first, by an envelope of mean losses.

    Whoever may train for n steps may train for fewer, so what counts at n is the best of all lengths up to n. Between
    lengths its logarithm is linear in the logarithm of steps.

    Args:
        loss: Losses to reach, positive, ``[case]``.
        steps: Lengths of the trainings, rising, ``[horizon]``.
        reached: Mean losses of each case's envelope, positive, ``[case, horizon]``.

    Returns:
        The fewest and the most steps it can be, each ``[case]``. They are equal within the envelope; a loss above all
        of it takes from 0 steps to the first length, one below all of it from the last length to infinity.
    """
    best = np.minimum.accumulate(reached, axis=1)
    enough = best <= loss[:, None]
    after = enough.argmax(axis=1)
    least, most = np.zeros(len(loss)), np.full(len(loss), float(steps[0]))
    first = np.isfinite(loss) & (loss == best[:, 0])
    least[first] = steps[0]
    unreached = ~enough[:, -1]
    least[unreached], most[unreached] = steps[-1], np.inf
    inside = np.flatnonzero((after > 0) & np.isfinite(loss))
    after = after[inside]
    share = _share(loss[inside], best[inside, after - 1], best[inside, after])
    logs = np.log(steps)
    least[inside] = most[inside] = np.exp((1 - share) * logs[after - 1] + share * logs[after])
    return least, most


def _share(loss: NDArray[np.float64], above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far ``loss`` lies on the way from ``above``, which is larger, down to ``below``, by logarithms."""
    finite = np.isfinite(above)
    start = np.where(finite, above, 2 * loss)
    share = np.log(start / loss) / np.log(start / below)
    return np.where(finite, share, 1.0)  # where the shorter training diverged, only the longer one is known to do
