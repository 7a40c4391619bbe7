"""``evoptim simplify`` by training: on a run, whose archive tells of it, and on a rule file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evoptim
from evoptim.dsl import equal, load, parse
from evoptim.search import Archive, stored_run
from evoptim.search.records.journal import SIMPLIFY
from evoptim.search.refining.ablation import AblationConfig
from evoptim.search.rundir import locked
from evoptim.studies.ablating import FRESH_SEED, SEED, simplify_by_training

EVOPTIM = str(Path(sys.executable).with_name("evoptim"))
RAW_LION = """
def lion_raw(w, g, m, v, *, lr=1):
    g = arcsin(clip(g, -lr, lr))
    m = lerp(g, v, 0.899)
    v = lerp(g, m, 1.109)
    u = safe_div(m, sqrt(m * m)) + w * 0.4602
    m = cosh(u)
    w = w - u * lr * 0.0002
    return w, m, v
"""
QUICK: dict[str, Any] = {"task": "noisy_quadratic", "steps": 20, "batch_size": 8, "seeds": 5}


def test_lions_raw_program_comes_down_to_an_average() -> None:
    """What Lion's authors did by hand, and more: a training as short as this one needs no two decays."""
    found = simplify_by_training(parse(RAW_LION), task="digits_mlp", steps=40, batch_size=64, seeds=6)
    names = {n.op for a in found.rule.assigns() for n in a.value.walk()}
    assert "ema" in names
    assert not names & {"clip", "min", "max", "arcsin", "cosh", "sqrt", "safe_div", "lerp"}
    assert len(found.rule.buffers) == 1
    assert found.cost.mean < 0.05
    assert {s.before for s in found.exact} >= {"buffer m", "m = cosh(u)"}
    assert "beta1" in found.rule.defaults
    assert not {2e-4, 1.109} & set(found.rule.defaults.values())


def test_lion_itself_is_near_what_is_left_before_decays_merge() -> None:
    left = parse(
        "def f(w, g, v, *, lr=1e-4):\n    u = sign(ema(v, g, 0.9))\n    v = ema(v, g, 0.99)\n    return w - lr * u, v"
    )
    assert equal(left, load("lion"), {"weight_decay": 0, "beta1": 0.9, "beta2": 0.99}).status == "proved"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "run"
    config = {
        "batch": 8,
        "start": {"rule": "adam"},
        "evaluation": {
            "task": "noisy_quadratic",
            "steps": 10,
            "batch_size": 8,
            "learning_rates": [0.01, 0.1],
            "seeds": [0],
        },
        "budget": {"evaluations": 20},
        "selection": {"finalists": 2, "seeds": [9]},
    }
    evoptim.evolve(config, directory)
    return directory


def test_a_runs_program_is_simplified_where_it_was_searched(run: Path) -> None:
    told: list[dict[str, Any]] = []
    found = simplify_by_training(f"{run}#best", seeds=5, report=told.append)
    assert found.task == "noisy_quadratic"
    assert evoptim.load(f"{run}#simplified") == found.rule
    assert found.rule.doc.startswith("Found by evolutionary search from adam on noisy_quadratic.")
    assert found.seeds == tuple(range(SEED, SEED + 5))
    assert found.fresh == tuple(range(FRESH_SEED, FRESH_SEED + 5))
    with Archive(run / "archive.sqlite", create=False) as archive:
        assert archive.journal(SIMPLIFY) == json.loads(json.dumps(told))
        rows = [r for r in archive.contents() if len(r) == 8 and r[1] == "simplify"]
        assert stored_run(archive)
    assert told[0]["event"] == "begun"
    assert [d["event"] for d in told[1:-1]] == ["round"] * (len(found.ablation.removals) + 1)
    assert told[-1]["rule"] == found.rule.text
    assert {r[3] for r in rows} == set(found.seeds)


def test_a_run_in_use_is_left_alone(run: Path) -> None:
    with locked(run), pytest.raises(evoptim.UserError, match="in use by another process"):
        simplify_by_training(f"{run}#best", seeds=5)


def test_another_task_may_be_asked_for(run: Path) -> None:
    found = simplify_by_training(f"{run}#0", **QUICK | {"task": "rosenbrock"}, config=AblationConfig(evaluations=10))
    assert found.task == "rosenbrock"
    assert not found.ablation.complete


def test_a_derived_rule_and_constants_as_they_are() -> None:
    found = simplify_by_training(
        "sgd", derived=["nesterov"], **QUICK, config=AblationConfig(evaluations=30), keep_constants=True
    )
    assert not any(n.startswith("c") for n in found.rule.defaults)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("adam", {}, "no task to train on"),
        ("adam", QUICK | {"seeds": 3}, "3 seeds decide nothing"),
        ("adam", QUICK | {"task": "bytes_lm_huge"}, "there is no task"),
        ("nowhere#best", {}, "there is no archive|holds no search"),
        ("nowhere#simplified", {}, "has no simplified program"),
    ],
)
def test_mistakes_are_told(source: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(evoptim.UserError, match=message):
        simplify_by_training(source, **options)


def test_the_command_prints_what_went_and_what_it_cost(run: Path, tmp_path: Path) -> None:
    command = [EVOPTIM, "simplify", f"{run}#0", "--seeds", "5", "--evaluations", "40", "-o", str(tmp_path / "out.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part in ("pieces taken out on noisy_quadratic", "on 5 fresh seeds", "def found(", "#simplified"):
        assert part in done.stdout
    assert load(str(tmp_path / "out.py")) == evoptim.load(f"{run}#simplified")
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert found["size_after"] <= found["size_before"]
    assert {"before", "after", "cost", "p", "size", "text"} == found["removals"][0].keys()


def test_options_of_a_training_need_one() -> None:
    done = subprocess.run([EVOPTIM, "simplify", "adam", "--seeds", "5"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "nothing is trained here" in done.stderr
