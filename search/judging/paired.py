"""Wilcoxon's signed-rank test for paired differences, exact also where ranks are tied."""

from __future__ import annotations

from collections.abc import Sequence


def signed_rank_p(differences: Sequence[float]) -> float:
    """The probability of ranks as large as these for the positive differences if signs were drawn by a coin.

    Small means that differences above zero prevail (Wilcoxon 1945; differences of zero are left out, ties share the
    mean of their ranks). The smallest value for n differences is 2**-n.
    """
    values = sorted((d for d in differences if d), key=abs)
    ranks = [_twice_rank(values, abs(d)) for d in values]
    observed = sum(r for r, d in zip(ranks, values, strict=True) if d > 0)
    ways = [1] + [0] * sum(ranks)  # of reaching every sum of doubled ranks
    for rank in ranks:
        for total in range(len(ways) - 1, rank - 1, -1):
            ways[total] += ways[total - rank]
    return float(sum(ways[observed:])) / 2.0 ** len(ranks)


def _twice_rank(ordered: Sequence[float], size: float) -> int:
    """Twice the mean rank of the differences of one size: a whole number."""
    first = sum(abs(x) < size for x in ordered)
    return 2 * first + sum(abs(x) == size for x in ordered) + 1
