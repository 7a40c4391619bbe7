"""Configurations: every mistake is told at the door, all of them at once, and what is right is kept as it is."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEvaluator, small
from hypothesis import given, settings
from hypothesis import strategies as st

from evoptim.dsl import UserError, canonical_hash
from evoptim.search import SearchConfig, load_config, make_config, resume_search, start_search, to_toml
from evoptim.search.loop import start_program
from evoptim.wiring import make_evaluator


def mistake(data: dict[str, Any]) -> UserError:
    with pytest.raises(UserError) as caught:
        make_config(data)
    assert caught.value.message.startswith("configuration: ")
    assert caught.value.remedy
    return caught.value


UNKNOWN_KEYS = [
    ({"populaton": {}}, "unknown key 'populaton'", "did you mean 'population'?"),
    ({"population": {"sise": 3}}, "unknown key 'population.sise'", "did you mean 'size'?"),
    ({"evaluation": {"learningrates": [0.1]}}, "unknown key 'evaluation.learningrates'", "'learning_rates'"),
    ({"budget": {"zzz": 3}}, "unknown key 'budget.zzz'", "the keys there are evaluations, programs, minutes"),
    ({"zzz": 3}, "unknown key 'zzz'", "the keys there are name, seed, batch, start"),
]


@pytest.mark.parametrize(("data", "message", "remedy"), UNKNOWN_KEYS)
def test_unknown_keys(data: dict[str, Any], message: str, remedy: str) -> None:
    error = mistake(data)
    assert message in error.message
    assert remedy in error.remedy


NAN, INF = float("nan"), float("inf")
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"population": {"size": -1}}, "population.size: Input should be greater than 0 (got -1)"),
    ({"population": {"size": 0}}, "population.size"),
    ({"population": {"size": 10**12}}, "population.size: Input should be less than or equal to 1000000"),
    ({"population": {"size": "large"}}, "population.size: Input should be a valid integer (got 'large')"),
    ({"population": {"size": "10"}}, "population.size: Input should be a valid integer (got '10')"),
    ({"population": {"size": 1.5}}, "population.size"),
    ({"population": {"size": True}}, "population.size: Input should be a valid integer (got True)"),
    ({"population": {"tournament": 10**9}}, "population.tournament"),
    ({"population": 5}, "population"),
    ({"population": []}, "population"),
    ({"start": "adamw"}, "start: Input should be a valid dictionary"),
    ({"start": {"rule": 3}}, "start.rule: Input should be a valid string (got 3)"),
    ({"start": {"frame": "fixed"}}, "start.frame: Input should be 'update' or 'free' (got 'fixed')"),
    ({"start": {"buffers": 17}}, "start.buffers"),
    ({"start": {"buffers": -1}}, "start.buffers"),
    ({"batch": 0}, "batch"),
    ({"batch": None}, "batch"),
    ({"seed": -1}, "seed"),
    ({"seed": 2**63}, "seed: Input should be less than 9223372036854775808"),
    ({"seed": 10**5000}, "seed: Input should be less than 9223372036854775808 (got a very long number)"),
    ({"name": "a b"}, "name"),
    ({"name": "../up"}, "name"),
    ({"name": "a\n"}, "name"),
    ({"name": ""}, "name"),
    ({"evaluation": {"learning_rates": []}}, "evaluation.learning_rates: needs at least one value (got [])"),
    ({"evaluation": {"learning_rates": [0.1, 0.2, 0.1]}}, "evaluation.learning_rates: values must differ"),
    ({"evaluation": {"learning_rates": [0.1, NAN]}}, "evaluation.learning_rates.1: Input should be a finite number"),
    ({"evaluation": {"learning_rates": [INF]}}, "evaluation.learning_rates.0: Input should be a finite number"),
    ({"evaluation": {"learning_rates": [0.1, 0]}}, "evaluation.learning_rates.1: Input should be greater than 0"),
    ({"evaluation": {"learning_rates": [-0.1]}}, "evaluation.learning_rates.0"),
    ({"evaluation": {"learning_rates": ["0.1"]}}, "evaluation.learning_rates.0"),
    ({"evaluation": {"learning_rates": 0.1}}, "evaluation.learning_rates"),
    ({"evaluation": {"learning_rates": [10**400]}}, "evaluation.learning_rates.0"),
    ({"evaluation": {"seeds": []}}, "evaluation.seeds: needs at least one value"),
    ({"evaluation": {"seeds": [0, 0]}}, "evaluation.seeds: values must differ"),
    ({"evaluation": {"seeds": [0, -1]}}, "evaluation.seeds.1"),
    ({"evaluation": {"seeds": [2**63]}}, "evaluation.seeds.0"),
    ({"evaluation": {"seeds": [0.5]}}, "evaluation.seeds.0"),
    ({"evaluation": {"seeds": [True]}}, "evaluation.seeds.0"),
    ({"evaluation": {"seeds": [100]}}, "selection: seeds must not share seed 100 with evaluation.seeds"),
    ({"selection": {"seeds": [1]}}, "selection: seeds must not share seed 1 with evaluation.seeds"),
    ({"selection": {"seeds": []}}, "selection.seeds: needs at least one value"),
    ({"selection": {"seeds": [7, 8, 7]}}, "selection.seeds: values must differ"),
    ({"selection": {"finalists": 0}}, "selection.finalists"),
    ({"evaluation": {"weight_decay": -0.1}}, "evaluation.weight_decay"),
    ({"evaluation": {"weight_decay": NAN}}, "evaluation.weight_decay: Input should be a finite number"),
    ({"evaluation": {"steps": 0}}, "evaluation.steps"),
    ({"evaluation": {"schedule": "lineer"}}, "evaluation.schedule"),
    ({"mutation": {"insert": -1}}, "mutation.insert"),
    ({"mutation": {"modify": INF}}, "mutation.modify: Input should be a finite number"),
    ({"mutation": {"insert": 0, "delete": 0, "modify": 0}}, "at least one of the weights insert, delete, modify, swap"),
    ({"mutation": {"swap": -1}}, "mutation.swap"),
    ({"mutation": {"max_buffers": 65}}, "mutation.max_buffers"),
    ({"population": {"kind": "best"}}, "population.kind: Input should be 'aging', 'mu_plus_lambda' or 'nsga2'"),
    ({"population": {"islands": 0}}, "population.islands"),
    ({"evaluation": {"widen": -1}}, "evaluation.widen"),
    ({"economy": {"hurdle": 1.0}}, "economy.hurdle"),
    ({"economy": {"hurdle_window": 3}}, "economy.hurdle_window"),
    ({"economy": {"fingerprint": 1}}, "economy.fingerprint: Input should be a valid boolean (got 1)"),
    ({"economy": {"forget": 0}}, "economy.forget"),
    ({"economy": {"race": 0.05}}, "economy: a race at the level 0.05 needs 6 evaluation.seeds or more"),
    ({"economy": {"hurdle": 0.5}, "evaluation": {"seeds": [0]}}, "economy: a hurdle needs two evaluation.seeds"),
    ({"restarts": {"plateau": -1}}, "restarts.plateau"),
    ({"restarts": {"source": "worst"}}, "restarts.source: Input should be 'start' or 'best'"),
    ({"mutation": {"max_statements": 0}}, "mutation.max_statements"),
    ({"budget": {"evaluations": 0}}, "budget.evaluations"),
    ({"budget": {"minutes": 0}}, "budget.minutes"),
    ({"budget": {"minutes": INF}}, "budget.minutes"),
    ({"budget": {"minutes": NAN}}, "budget.minutes"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_wrong_values(data: dict[str, Any], message: str) -> None:
    assert message in mistake(data).message


@pytest.mark.parametrize("data", [[1], 3, "text", None, {1: 2}])
def test_no_mapping(data: Any) -> None:
    mistake(data)


def test_all_mistakes_at_once() -> None:
    error = mistake(
        {"seed": True, "population": {"size": -1, "sise": 3}, "evaluation": {"seeds": [], "steps": "x"}, "mutaton": {}}
    )
    for part in (
        "seed:",
        "population.size:",
        "'population.sise'",
        "evaluation.seeds:",
        "evaluation.steps:",
        "'mutaton'",
    ):
        assert part in error.message
    assert "did you mean 'size'?" in error.remedy
    assert "did you mean 'mutation'?" in error.remedy
    only_one = mistake({"mutation": {"insert": -1, "delete": 0, "modify": 0}})
    assert only_one.message.count(";") == 0


def test_frozen_and_hashable() -> None:
    config = make_config({})
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]
    assert hash(config) == hash(make_config({}))


# --- files ----------------------------------------------------------------------------------------------

NOT_TOML = {
    "no value": b"batch = ",
    "twice": b"batch = 1\nbatch = 2",
    "not UTF-8": b'name = "\xff"',
    "a NUL": b"batch = 1\0",
    "a number too long": b"seed = " + b"1" * 5000,
    "too deep": b"seed = " + b"[" * 20_000,
    "another format": b"batch: 3",
}


@pytest.mark.parametrize("case", NOT_TOML)
def test_no_toml(case: str, tmp_path: Path) -> None:
    path = tmp_path / "search.toml"
    path.write_bytes(NOT_TOML[case])
    with pytest.raises(UserError, match=r"search\.toml is not valid TOML: "):
        load_config(path)


def test_wrong_values_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "search.toml"
    path.write_text("batch = 0x" + "f" * 5000)
    with pytest.raises(UserError, match=r"search\.toml: batch: .*a very long number"):
        load_config(path)


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "absent.toml", tmp_path, tmp_path / "loop", tmp_path / ("x" * 300)):
        with pytest.raises(UserError, match="cannot read "):
            load_config(path)
    with pytest.raises(UserError):
        load_config("a\0b")


# --- round trip -----------------------------------------------------------------------------------------


def through_toml(config: SearchConfig, path: Path) -> SearchConfig:
    path.write_text(to_toml(config), encoding="utf-8")
    return load_config(path)


ROUND = [
    {},
    {"economy": {"fingerprint": True, "strip": False, "hurdle": 0.5}, "restarts": {"plateau": 9, "source": "best"}},
    {"budget": {"minutes": 1e-9}, "seed": 2**63 - 1, "batch": 2**62},
    {"evaluation": {"learning_rates": [1e-300, 1e-5, 1, 1e16, 1.7976931348623157e308], "seeds": [2**63 - 1]}},
    {"start": {"rule": 'a "quoted" \\ path\n\t\x00\x7f\x1fé中😀.py', "frame": "free"}, "name": "A-b_9"},
]


@pytest.mark.parametrize("data", ROUND)
def test_round_trip(data: dict[str, Any], tmp_path: Path) -> None:
    config = make_config(data)
    assert through_toml(config, tmp_path / "search.toml") == config
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config
    written = tomllib.loads(to_toml(config))
    for key, value in config.model_dump(exclude_none=True).items():  # defaults are spelled out
        assert written[key].keys() == value.keys() if isinstance(value, dict) else key in written


@settings(max_examples=100)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.floats(1e-300, 1e300), st.integers(0, 2**63 - 1)
)
def test_round_trip_of_any_values(text: str, rate: float, seed: int) -> None:
    config = make_config({"seed": seed, "start": {"rule": text}, "evaluation": {"learning_rates": [rate]}})
    assert make_config(tomllib.loads(to_toml(config))) == config


# --- what only shows when the parts meet ----------------------------------------------------------------


def test_unknown_task() -> None:
    with pytest.raises(UserError, match="'digits_mpl'") as caught:
        make_evaluator(small(evaluation={"task": "digits_mpl"}))
    assert "digits_mlp" in str(caught.value)


STARTS = [
    ({"rule": "adamv"}, "there is no rule named 'adamv'", "did you mean"),
    ({"rule": ""}, "there is no rule named ''", "evoptim rules"),
    ({"rule": "absent/rule.py"}, "there is no file absent/rule.py", "check the path"),
    ({"rule": "adafactor"}, "cannot be framed: it treats matrices differently", 'frame = "free"'),
]


@pytest.mark.parametrize(("start", "message", "remedy"), STARTS)
def test_start_rules_that_cannot_be_used(start: dict[str, str], message: str, remedy: str) -> None:
    with pytest.raises(UserError) as caught:
        start_program(small(start=start))
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_start_rules_from_files(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text("def r(w, g):\n    return w - g\n")
    for frame in ("update", "free"):
        with pytest.raises(UserError, match=r"has no lr"):
            start_program(small(start={"rule": str(path), "frame": frame}))
    path.write_text("def r(w, g, *, lr=1):\n    return w - lr * h\n")
    with pytest.raises(UserError, match="unknown name 'h'"):
        start_program(small(start={"rule": str(path)}))


def test_a_start_longer_than_the_longest_program_is_refused() -> None:
    with pytest.raises(UserError, match=r"'adan' has 24 statements, mutation\.max_statements is 23"):
        start_program(small(start={"rule": "adan"}, mutation={"max_statements": 23}))
    start_program(small(start={"rule": "adan"}, mutation={"max_statements": 24}))


def test_a_start_that_fails_is_told(tmp_path: Path) -> None:
    class Failing(FakeEvaluator):
        def evaluate(self, *args: Any) -> Any:
            trials = super().evaluate(*args)
            return [[type(t)(t.setting, t.seed, "error", float("inf"), "no memory") for t in g] for g in trials]

    with pytest.raises(UserError, match="the start rule fails with every learning rate: no memory"):
        start_search(small(), Failing(), tmp_path / "run")
    with pytest.raises(UserError, match="the start rule fails with every learning rate: no memory"):
        resume_search(tmp_path / "run", lambda _: Failing())


def test_huge_numbers_are_errors_of_the_start_rule(tmp_path: Path) -> None:
    config = small(evaluation={"steps": 10**15})
    with pytest.raises(UserError, match="the start rule fails with every learning rate: "):
        start_search(config, make_evaluator(config), tmp_path / "run")


@pytest.mark.parametrize("evaluations", [1, 3])
def test_fewer_evaluations_than_a_batch(evaluations: int, tmp_path: Path) -> None:
    config = small(budget={"evaluations": evaluations}, batch=100)
    fake = FakeEvaluator(start=_hash(config))
    result = start_search(config, fake, tmp_path / "run")
    assert result.progress.evaluated == evaluations
    assert result.winner is not None


def test_a_time_limit_that_is_over_at_once_still_trains_the_start(tmp_path: Path) -> None:
    config = small(budget={"minutes": 1e-9})
    result = start_search(config, FakeEvaluator(start=_hash(config)), tmp_path / "run")
    assert result.progress.evaluated == 1
    assert result.winner is not None
    assert result.winner.index == 0


def _hash(config: SearchConfig) -> str:
    return canonical_hash(start_program(config))
