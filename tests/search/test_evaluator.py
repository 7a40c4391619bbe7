"""What a program is worth, and what becomes of one that breaks the trainer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from evoptim.dsl import Rule, load, parse
from evoptim.runtime import PopulationEvaluator
from evoptim.runtime import evaluator as runtime_evaluator
from evoptim.search import Score, score
from evoptim.search.records.archive import StoredTrial

INF, NAN = math.inf, math.nan


def trials(*rows: tuple[float, int, str, float]) -> list[StoredTrial]:
    return [StoredTrial({"lr": lr}, seed, status, loss, "why" * (status == "error")) for lr, seed, status, loss in rows]


FAILED = Score("diverged", INF, {})
SCORES: dict[str, tuple[list[StoredTrial], Score]] = {
    "the best mean": (
        trials((0.01, 0, "ok", 3.0), (0.01, 1, "ok", 5.0), (0.1, 0, "ok", 1.0), (0.1, 1, "ok", 6.0)),
        Score("ok", 3.5, {"lr": 0.1}),
    ),
    "in any order": (
        trials((0.1, 1, "ok", 6.0), (0.01, 0, "ok", 3.0), (0.1, 0, "ok", 1.0), (0.01, 1, "ok", 5.0)),
        Score("ok", 3.5, {"lr": 0.1}),
    ),
    "a failing seed disqualifies": (
        trials((0.01, 0, "ok", 3.0), (0.01, 1, "ok", 5.0), (0.1, 0, "ok", 1.0), (0.1, 1, "diverged", INF)),
        Score("ok", 4.0, {"lr": 0.01}),
    ),
    "whatever loss it claims": (
        trials((0.01, 0, "ok", 3.0), (0.1, 0, "timeout", 1.0)),
        Score("ok", 3.0, {"lr": 0.01}),
    ),
    "the first of equals": (trials((0.1, 0, "ok", 3.0), (0.01, 0, "ok", 3.0)), Score("ok", 3.0, {"lr": 0.1})),
    "all diverged": (trials((0.1, 0, "diverged", INF), (0.01, 0, "diverged", INF)), FAILED),
    "error before diverged": (
        trials((0.1, 0, "diverged", INF), (0.01, 0, "error", INF)),
        Score("error", INF, {}, "why"),
    ),
    "no number": (trials((0.1, 0, "ok", NAN)), FAILED),
    "one seed no number": (
        trials((0.1, 0, "ok", 1.0), (0.1, 1, "ok", NAN), (0.2, 0, "ok", 9.0)),
        Score("ok", 9.0, {"lr": 0.2}),
    ),
    "infinite": (trials((0.1, 0, "ok", INF)), FAILED),
    "nothing": ([], FAILED),
}


@pytest.mark.parametrize("case", SCORES)
def test_score(case: str) -> None:
    given, wanted = SCORES[case]
    assert score(given) == wanted


def test_settings_are_told_apart_by_all_their_values() -> None:
    two = [StoredTrial({"lr": 0.1, "weight_decay": d}, 0, "ok", 1 + d) for d in (0.5, 0.0)]
    assert score(two) == Score("ok", 1.0, {"lr": 0.1, "weight_decay": 0.0})


# --- a candidate that breaks the trainer ----------------------------------------------------------------

BAD = parse("def bad(w, g, *, lr=0.1):\n    return w - lr * tanh(g)\n")
SETTINGS = [{"lr": 0.01}, {"lr": 0.1}]


def quadratic() -> PopulationEvaluator:
    return PopulationEvaluator("noisy_quadratic", 12, 8)


def results(rules: Sequence[Rule]) -> list[list[tuple[Any, ...]]]:
    found = quadratic().evaluate(rules, SETTINGS, [0, 1])
    return [[(tuple(t.setting.items()), t.seed, t.status, t.loss, t.reason) for t in group] for group in found]


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes the trainer raise for BAD; how many rules each of its calls was given."""
    calls: list[int] = []
    train = runtime_evaluator.train_population

    def raising(rules: Sequence[Rule], *args: Any, **kwargs: Any) -> Any:
        calls.append(len(rules))
        if BAD in rules:
            raise FloatingPointError("no such luck")
        return train(rules, *args, **kwargs)

    monkeypatch.setattr(runtime_evaluator, "train_population", raising)
    return calls


def test_results_come_in_order() -> None:
    rules = [load("lion"), load("sgd")]
    found = results(rules)
    assert [[row[:2] for row in group] for group in found] == [
        [((("lr", lr),), seed) for lr in (0.01, 0.1) for seed in (0, 1)] for _ in rules
    ]
    assert {row[2] for group in found for row in group} == {"ok"}
    assert found[0] != found[1]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_rule_that_raises_is_an_error_and_leaves_the_others_alone(place: int, breaking: list[int]) -> None:
    good = [load("lion"), load("adamw")]
    without = results(good)
    found = results([*good[:place], BAD, *good[place:]])
    broken = found.pop(place)
    assert found == without
    assert [row[2:] for row in broken] == [("error", INF, "FloatingPointError: no such luck")] * 4
    assert [row[:2] for row in broken] == [row[:2] for row in without[0]]
    assert breaking == [2, 3, 1, 2, *([1, 1] if place else [])]  # halved until the one stands alone


def test_alone(breaking: list[int]) -> None:
    assert {row[2] for row in results([BAD])[0]} == {"error"}
    assert breaking == [1]


def test_long_reasons_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("x" * 10_000)

    monkeypatch.setattr(runtime_evaluator, "train_population", raising)
    assert {len(row[4]) for row in results([BAD])[0]} == {500}


def test_an_interrupt_is_no_error_of_a_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    def raising(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(runtime_evaluator, "train_population", raising)
    with pytest.raises(KeyboardInterrupt):
        results([BAD, load("lion")])


def test_a_rule_without_the_hyperparameter_is_an_error() -> None:
    found = quadratic().evaluate([load("lion"), load("sgd")], [{"lr": 0.1, "beta1": 0.5}], [0])
    assert [group[0].status for group in found] == ["ok", "error"]
    assert "'beta1'" in found[1][0].reason


def test_version_names_what_results_depend_on() -> None:
    versions = {
        PopulationEvaluator(*args).version
        for args in (
            ("noisy_quadratic", 12, 8),
            ("noisy_quadratic", 13, 8),
            ("noisy_quadratic", 12, 9),
            ("noisy_quadratic", 12, 8, "cosine"),
            ("digits_mlp", 12, 8),
        )
    }
    assert len(versions) == 5
    assert quadratic().version in versions
