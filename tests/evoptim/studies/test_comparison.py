"""The fair comparison: equal budgets, widened edges, paired differences, honest intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import evoptim
from evoptim.dsl import Rule, load, parse
from evoptim.studies.comparison import STEP, Entry, Interval, _tune, _Tuning, interval


def parabola(best: float):  # type: ignore[no-untyped-def]
    """A training whose loss is lowest at one learning rate."""

    def train(rule: Rule, lrs: list[float], seeds: list[int]) -> np.ndarray:
        return np.array([[math.log(lr / best) ** 2] * len(seeds) for lr in lrs])

    return train


@pytest.mark.parametrize("best", [1e-7, 1e-3, 0.02, 50.0])
def test_tuning_finds_an_optimum_beyond_the_first_grid(best: float) -> None:
    tuning = _tune(load("adamw"), 20, parabola(best))
    assert len(tuning.losses) == 20
    assert not tuning.at_edge
    assert math.log(tuning.best / best) == pytest.approx(0, abs=0.2)


def test_an_optimum_out_of_reach_is_marked() -> None:
    assert _tune(load("adamw"), 6, parabola(1e6)).at_edge


def test_refinement_halves_the_wider_gap() -> None:
    tuning = _Tuning(load("adamw"), {0.1: 3.0, 1.0: 1.0, 2.0: 2.0})
    assert tuning.next() == pytest.approx(math.sqrt(0.1))
    assert _Tuning(load("adamw"), {0.1: 0.0, 1.0: 1.0}).next() == pytest.approx(0.1 / STEP)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (Interval(-1, -2, -0.5), "better"),
        (Interval(1, 0.5, 2), "worse"),
        (Interval(0.1, -1, 1), "no clear difference"),
        (Interval(0, 0, 0), "same"),
        (Interval(math.inf, math.inf, math.inf), "worse"),
    ],
)
def test_verdicts_follow_the_interval(difference: Interval, verdict: str) -> None:
    entry = Entry(load("sgd"), 0.1, False, (1.0,), Interval(1, 1, 1), difference)
    assert entry.verdict == verdict


def test_the_bootstrap_interval_covers_the_mean() -> None:
    random = np.random.default_rng(0)
    covered = [(i.low <= 0 <= i.high) for i in (interval(random.standard_normal(16)) for _ in range(200))]
    assert 0.85 < np.mean(covered) <= 1.0


def test_a_diverging_rule_is_worse_and_a_rule_equals_itself() -> None:
    bad = parse("def bad(w, g, *, lr=1e30):\n    return w - lr * exp(abs(g) * 1e6) * g")
    result = evoptim.compare(["sgd", bad, "sgd"], task="noisy_quadratic", trials=3, seeds=3, steps=20)
    first, second, third = result.entries
    assert second.verdict == "worse"
    assert third.verdict == "same"
    assert first.losses == third.losses
    assert not set(result.seeds) & set(result.tuning_seeds)


def test_too_little_to_compare_is_told() -> None:
    with pytest.raises(evoptim.UserError, match="nothing to compare"):
        evoptim.compare([], trials=5)
    with pytest.raises(evoptim.UserError, match="no lr above 0"):
        evoptim.compare([parse("def f(w, g, *, lr=0):\n    return w - lr * g")], trials=3, seeds=2, steps=1)
