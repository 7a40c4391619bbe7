"""Tuning: the optimum is found, domains widen where it lies at their edge, budgets are kept, and seeds decide."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from evoptim.dsl import Domain, Rule, UserError, load, parse
from evoptim.search import Trial
from evoptim.search.records.archive import StoredTrial
from evoptim.search.refining.tuning import TuningConfig, tune
from evoptim.search.refining.tuning_space import OFTEN, Space

pytest.importorskip("optuna")


@dataclass
class Bowl:
    """Losses that depend on the setting alone, and a little on the seed."""

    loss: Callable[[Mapping[str, float]], float]
    version: str = "bowl-1"
    batches: list[int] = field(default_factory=list[int])

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        assert len(rules) == 1
        self.batches.append(len(settings))
        return [[self.trial(s, seed) for s in settings for seed in seeds]]

    def trial(self, setting: Mapping[str, float], seed: int) -> Trial:
        loss = self.loss(setting)
        status = "ok" if math.isfinite(loss) else "diverged"
        return StoredTrial(dict(setting), seed, status, loss + seed / 1e6)


def bowl(**best: float) -> Bowl:
    """Lowest at these values, on logarithmic scales."""
    return Bowl(lambda s: 1 + sum(math.log(s[k] / v) ** 2 for k, v in best.items()))


def test_the_optimum_is_found_and_becomes_the_default() -> None:
    found = tune(load("adamw"), bowl(lr=0.02), TuningConfig(trials=60))
    assert found.best.setting["lr"] == pytest.approx(0.02, rel=0.5)
    assert found.rule.defaults["lr"] == found.best.setting["lr"]
    assert found.rule.defaults == dict(found.best.setting)
    assert parse(found.rule.text) == found.rule
    assert not found.at_edge
    assert max(found.importance, key=lambda n: found.importance[n]) == "lr"


def test_defaults_come_first_and_budgets_are_kept() -> None:
    trainer = bowl(lr=1.0)
    found = tune(load("lion"), trainer, TuningConfig(trials=20, batch=8, seeds=(5, 6)))
    assert dict(found.trials[0].setting) == load("lion").defaults
    assert trainer.batches == [1, 8, 8, 3]
    assert [t.number for t in found.trials] == list(range(20))
    assert all(len(t.losses) == 2 for t in found.trials)
    assert found.best.loss == min(t.loss for t in found.trials)


def test_a_domain_is_widened_where_the_best_lies_at_its_edge() -> None:
    found = tune(load("sgd"), bowl(lr=1e4), TuningConfig(trials=60))
    assert found.best.setting["lr"] > 100 * load("sgd").defaults["lr"]
    assert any("the best lr lay at the upper edge" in note for note in found.notes)
    assert found.domains["lr"].values[1] > 100 * load("sgd").defaults["lr"]


def test_an_optimum_out_of_reach_is_told() -> None:
    found = tune(load("sgd"), bowl(lr=1e30), TuningConfig(trials=100))
    assert "lr" in found.at_edge
    assert sum("the best lr" in note for note in found.notes) <= OFTEN


def test_a_seed_makes_it_repeatable() -> None:
    first, again, other = (
        tune(load("adam"), bowl(lr=0.1, beta1=0.8), TuningConfig(trials=24, seed=s)).trials for s in (3, 3, 4)
    )
    assert first == again
    assert first != other


def test_failures_are_no_winners() -> None:
    found = tune(load("adam"), Bowl(lambda s: math.inf if s["lr"] > 1e-3 else 1 / s["lr"]), TuningConfig(trials=40))
    assert found.best.setting["lr"] <= 1e-3
    assert any(math.isinf(t.loss) for t in found.trials)
    with pytest.raises(UserError, match="fails with every setting"):
        tune(load("adam"), Bowl(lambda s: math.inf), TuningConfig(trials=5))


def test_only_what_matters_is_tuned_and_choices_are_kept() -> None:
    rule = parse("def f(w, g, *, lr=1, dead=3, k: choice(1, 2, 4)=2):\n    return w - lr * g ** k")
    found = tune(rule, bowl(lr=1.0, k=4.0), TuningConfig(trials=40))
    assert found.best.setting.keys() == {"lr", "k"}
    assert found.best.setting["k"] == 4
    assert found.rule.defaults["dead"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"trials": 1}, "trials=1"), ({"batch": 0}, "batch=0"), ({"seeds": ()}, "0 seeds"), ({"seed": -1}, "seed=-1")],
)
def test_a_budget_must_make_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TuningConfig(**arguments)


def test_a_rule_without_lr_is_refused() -> None:
    with pytest.raises(UserError, match="no lr above 0"):
        tune(parse("def f(w, g):\n    return w - g"), bowl(), TuningConfig())


@pytest.mark.parametrize(
    ("domain", "value", "edge"),
    [
        (Domain("log", (1e-4, 1.0)), 0.9, "upper"),
        (Domain("log", (1e-4, 1.0)), 1.1e-4, "lower"),
        (Domain("log", (1e-4, 1.0)), 1e-2, ""),
        (Domain("log", (1e-4, 1.0)), 0.0, ""),
        (Domain("uniform", (0.0, 1.0)), 0.99, "upper"),
        (Domain("one_minus_log", (0.5, 0.9999)), 0.99989, "upper"),
        (Domain("one_minus_log", (0.5, 0.9999)), 0.51, "lower"),
        (Domain("one_minus_log", (0.5, 0.9999)), 0.99, ""),
        (Domain("choice", (1.0, 2.0)), 2.0, ""),
    ],
)
def test_edges_are_told_on_the_scale_of_the_domain(domain: Domain, value: float, edge: str) -> None:
    space = Space({"x": domain})
    assert space.edge("x", value) == edge
    space.widen({"x": value})
    assert (space.domains["x"] != domain) == bool(edge) == bool(space.notes)
    if edge:
        low, high = space.domains["x"].values
        assert low <= domain.values[0] <= domain.values[1] <= high
        assert not Domain.problem(domain.scale, (low, high))


def test_decays_stay_below_1_and_what_is_as_good_as_nothing_is_not_widened() -> None:
    space = Space(
        {
            "beta1": Domain("one_minus_log", (0.5, 0.9999)),
            "beta2": Domain("uniform", (0.0, 0.9999)),
            "weight_decay": Domain("log", (1e-6, 1.0)),
            "eps": Domain("log", (1e-12, 1e-3)),
        }
    )
    for _ in range(10):
        space.widen({"beta1": space.domains["beta1"].values[1], "beta2": 0.0, "weight_decay": 1e-6, "eps": 1e-12})
    assert space.domains["beta1"].values[1] < 1
    assert space.domains["beta2"].values == (0.0, 0.9999)
    assert space.domains["weight_decay"].values == (1e-6, 1.0)
    assert space.domains["eps"].values == (1e-12, 1e-3)
    assert len(space.notes) <= OFTEN
