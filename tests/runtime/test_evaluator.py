"""The evaluator: streams, costs, limits."""

from __future__ import annotations

import math
from typing import Any

import pytest

from evoptim.dsl import Rule, load, parse
from evoptim.runtime import PopulationEvaluator, TrialResult
from evoptim.runtime import evaluator as module

SETTINGS = [{"lr": 0.01}, {"lr": 0.1}]
RULES = [load(n) for n in ("sgd", "lion", "adamw", "adan", "adafactor")]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rules each call of the trainer was given, with eight replicas at once in a stream."""
    calls: list[int] = []
    train = module.train_population

    def counting(rules: list[Rule], *args: Any, **kwargs: Any) -> Any:
        calls.append(len(rules))
        return train(rules, *args, **kwargs)

    monkeypatch.setattr(module, "train_population", counting)
    monkeypatch.setattr(module, "AT_ONCE", 8)
    return calls


def essence(trials: list[TrialResult]) -> list[tuple[Any, ...]]:
    return [(t.setting["lr"], t.seed, t.status, t.loss) for t in trials]


def test_a_stream_gives_what_one_batch_gives_bit_for_bit_and_no_later_than_it_must(batches: list[int]) -> None:
    evaluator = PopulationEvaluator("noisy_quadratic", 12, 8)
    whole = evaluator.evaluate(RULES, SETTINGS, [0, 1])
    assert batches == [5]
    stream = evaluator.stream(RULES, SETTINGS, [0, 1])
    first = next(stream)
    assert batches == [5, 2]
    assert [essence(t) for t in (first, *stream)] == [essence(t) for t in whole]
    assert batches == [5, 2, 2, 1]


def test_a_rule_that_cannot_be_trained_stops_no_stream() -> None:
    found = list(PopulationEvaluator("noisy_quadratic", 5, 8).stream(RULES[:3], [{"lr": 0.1, "beta1": 0.5}], [0]))
    assert [[t.status for t in trials] for trials in found] == [["error"], ["ok"], ["ok"]]


def test_trainings_have_their_cost() -> None:
    (trials,) = PopulationEvaluator("noisy_quadratic", 12, 8).evaluate(RULES[:1], SETTINGS, [0, 1])
    assert all(0 < t.cost < 60 for t in trials)


def test_time_and_memory_are_limited() -> None:
    late = PopulationEvaluator("noisy_quadratic", 50_000, 8, time_limit=0.2)
    ((trial,),) = late.evaluate([parse("def still(w, g, *, lr=1):\n    return w - 0 * lr * g")], [{}], [0])
    assert (trial.status, trial.loss) == ("timeout", math.inf)
    assert "time" in trial.reason
    small = PopulationEvaluator("noisy_quadratic", 5, 8, memory=1000)
    ((trial,),) = small.evaluate(RULES[:1], [{"lr": 0.1}], [0])
    assert (trial.status, trial.loss) == ("error", math.inf)
    assert "the limit is" in trial.reason
