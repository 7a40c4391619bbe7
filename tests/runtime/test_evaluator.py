"""The evaluator: streams, costs, limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from evoptim.dsl import Rule, UserError, load, parse
from evoptim.runtime import PopulationEvaluator, TrialResult
from evoptim.runtime import evaluator as module
from evoptim.search import make_config
from evoptim.wiring import make_evaluator

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


def test_versions_tell_what_results_depend_on() -> None:
    version = PopulationEvaluator("digits_mlp", 100, 64).version
    assert version == f"population-3/torch-{torch.__version__}/digits_mlp-ec7ee277f4ec/100x64-linear"
    assert PopulationEvaluator("digits_mlp", 100, 64, threads=2, memory=1 << 30, time_limit=60.0).version == version
    others = [
        PopulationEvaluator("digits_mlp", 101, 64),
        PopulationEvaluator("digits_mlp", 100, 65),
        PopulationEvaluator("digits_mlp", 100, 64, "cosine"),
        PopulationEvaluator("digits_mlp", 100, 64, device="meta"),
        PopulationEvaluator("digits_mlp+small_batch", 100, 64),
        PopulationEvaluator("digits_mlp+small_batch+small_batch", 100, 64),
    ]
    assert len({version, *(e.version for e in others)}) == 1 + len(others)


def test_a_configuration_reaches_the_evaluator() -> None:
    section = {"task": "noisy_quadratic", "threads": 2, "memory": 512, "time_limit": 30}
    found = make_evaluator(make_config({"evaluation": section}))
    assert isinstance(found, PopulationEvaluator)
    assert (found.threads, found.memory, found.time_limit) == (2, 512 << 20, 30.0)
    plain = make_evaluator(make_config({"evaluation": {"task": "noisy_quadratic"}}))
    assert isinstance(plain, PopulationEvaluator)
    assert (plain.threads, plain.memory, plain.time_limit) == (1, None, math.inf)
    assert plain.version == found.version
    elsewhere = make_evaluator(make_config({"evaluation": {"task": "noisy_quadratic", "device": "meta"}}))
    assert isinstance(elsewhere, PopulationEvaluator)
    assert elsewhere.task.device.type == "meta"


@pytest.mark.parametrize(
    ("key", "value"), [("threads", 0), ("memory", 0), ("memory", 0.5), ("time_limit", 0), ("time_limit", math.inf)]
)
def test_mistakes_in_a_configuration_are_told(key: str, value: float) -> None:
    with pytest.raises(UserError, match=f"evaluation.{key}: "):
        make_config({"evaluation": {key: value}})


def test_an_absent_device_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="torch knows no device 'cuba'"):
        make_evaluator(make_config({"evaluation": {"device": "cuba"}}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"the device 'cuda:1' is not available\n.*cpu"):
        PopulationEvaluator("digits_mlp", 1, 1, device="cuda:1")


def test_time_and_memory_are_limited() -> None:
    late = PopulationEvaluator("noisy_quadratic", 50_000, 8, time_limit=0.2)
    ((trial,),) = late.evaluate([parse("def still(w, g, *, lr=1):\n    return w - 0 * lr * g")], [{}], [0])
    assert (trial.status, trial.loss) == ("timeout", math.inf)
    assert "time" in trial.reason
    small = PopulationEvaluator("noisy_quadratic", 5, 8, memory=1000)
    ((trial,),) = small.evaluate(RULES[:1], [{"lr": 0.1}], [0])
    assert (trial.status, trial.loss) == ("error", math.inf)
    assert "the limit is" in trial.reason
