"""Meta-validation: looks at the right moments, kept and resumed, and a warning by a rule that is stated exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakes import small
from laboratories import FakeLaboratory, any_skill, contents, laboratory, resume, search, stopping

from evoptim.dsl import UserError, canonical_hash
from evoptim.runtime import TASKS
from evoptim.search import Archive, Bench, Progress, SearchConfig, make_config, score, start_search
from evoptim.search.records.journal import META
from evoptim.search.stages.monitor import Look, monitor_summary, overfitting
from evoptim.search.starting import start_program
from evoptim.wiring import make_evaluator, make_laboratory

TASKS_OF_META = ["rosenbrock", "deep_linear"]


def config(every: int = 8, patience: int = 2, **changes: Any) -> SearchConfig:
    monitor = {"every": every, "tasks": TASKS_OF_META, "steps": 200, "seeds": [60, 61], "patience": patience}
    return small(budget={"evaluations": 60}, monitor=monitor, **changes)


def opposite(digest: str, bench: Bench) -> float:
    """What is better on rung 0 is worse elsewhere, where that is better than the start is out of reach."""
    loss = any_skill(digest, bench)
    return loss if bench.steps == 20 else 1 / loss if math.isfinite(loss) else math.inf


# --- the rule -------------------------------------------------------------------------------------------


def curve(loss: Sequence[float], meta: Sequence[float]) -> list[Look]:
    return [Look(10 * i, x, y) for i, (x, y) in enumerate(zip(loss, meta, strict=True))]


FALLING = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
CURVES: dict[str, tuple[list[float], list[float], int | None]] = {
    "both fall": (FALLING, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5], None),
    "meta turns after the second": (FALLING, [1.0, 0.8, 0.9, 0.85, 0.9, 0.95], 10),
    "meta has turned three looks ago": (FALLING, [1.0, 0.9, 0.8, 0.85, 0.9, 0.95], 20),
    "meta has turned two looks ago": (FALLING, [1.0, 0.9, 0.8, 0.7, 0.9, 0.95], None),
    "meta only rises": (FALLING, [1.0, 1.1, 1.2, 1.3, 1.4, 1.5], 0),
    "meta is equal to its best again": (FALLING, [1.0, 0.8, 0.9, 0.9, 0.8, 0.9], None),
    "rung 0 stands still": ([1.0, 0.9, 0.8, 0.8, 0.8, 0.8], [1.0, 0.8, 0.9, 0.9, 0.9, 0.9], None),
    "it fails elsewhere": (FALLING, [1.0, 0.9, *[math.inf] * 4], 10),
    "noise about a falling line": (FALLING, [1.0, 0.92, 0.95, 0.84, 0.87, 0.76], None),
    "a lucky start": (FALLING, [0.5, 0.9, 0.8, 0.7, 0.6, 0.55], 0),
}


@pytest.mark.parametrize("case", CURVES)
def test_the_rule_on_curves(case: str) -> None:
    loss, meta, wanted = CURVES[case]
    marked = overfitting(curve(loss, meta), patience=3)
    assert (None if marked is None else marked.evaluated) == wanted


def test_too_few_looks_say_nothing() -> None:
    rising = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert [overfitting(curve(FALLING[:n], rising[:n]), 3) is None for n in range(7)] == [True] * 4 + [False] * 3


# --- whole searches -------------------------------------------------------------------------------------


def watched(
    run: Path, lab: FakeLaboratory, c: SearchConfig, **more: Any
) -> tuple[list[dict[str, Any]], list[Progress]]:
    told: list[Progress] = []
    search(run, lab, c, report=told.append, **more)
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.journal(META), told


def test_looks_are_made_at_the_start_and_at_every_multiple(tmp_path: Path) -> None:
    c = config()
    lab = laboratory(c)
    looks, told = watched(tmp_path, lab, c)
    evaluated = sorted({p.evaluated for p in told})
    due = [1] + [next(n for n in evaluated if n >= k) for k in range(8, 61, 8)]
    assert [look["evaluated"] for look in looks] == due
    assert {"search", "selection", "meta"} == {p.stage for p in told}
    assert {(t, s) for t, s in lab.trained} == {("noisy_quadratic", 20), ("rosenbrock", 200), ("deep_linear", 200)}


def test_a_look_has_the_losses_over_the_start_rule_s(tmp_path: Path) -> None:
    c = config()
    looks, _ = watched(tmp_path, laboratory(c), c)
    start = canonical_hash(start_program(c))
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        first = archive.program(0)[4]
        assert first is not None
        for look in looks:
            _, digest, _, _, loss = archive.program(look["program"])
            assert (look["hash"], look["loss"]) == (digest, loss / first if loss else None)
            if look["meta_loss"] is not None:
                versions = [f"fake/{t}/200" for t in TASKS_OF_META]
                ratios = [score(archive.known(digest, v)).loss / score(archive.known(start, v)).loss for v in versions]
                assert look["meta_loss"] == pytest.approx(math.prod(ratios) ** 0.5)
        assert monitor_summary(archive, c) == {
            "every": 8,
            "tasks": TASKS_OF_META,
            "patience": 2,
            "looks": looks,
            "overfitting": None,
        }
        assert monitor_summary(archive, small()) is None
    assert looks[0] | {"hash": ""} == {
        "evaluated": 1,
        "program": 0,
        "hash": "",
        "loss": 1.0,
        "meta_loss": 1.0,
        "overfitting": False,
        "since": None,
    }


def test_overfitting_is_warned_of_and_marked(tmp_path: Path) -> None:
    c = config(every=4)
    looks, told = watched(tmp_path, laboratory(c, opposite), c)
    first = next(look for look in looks if look["overfitting"])
    assert first["since"] in {look["evaluated"] for look in looks if look["evaluated"] < first["evaluated"]}
    assert {p.overfitting for p in told} >= {None, first["since"]}
    assert next(p for p in told if p.overfitting is not None).evaluated >= first["evaluated"]
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        summary = monitor_summary(archive, c)
    assert summary is not None
    assert summary["overfitting"] == first


@pytest.mark.parametrize("after", [1, 2, 3, 7, 8, 9, 15, 22])
def test_a_stopped_search_goes_on_looking_as_if_it_had_not(after: int, tmp_path: Path) -> None:
    c = config()
    whole, again = laboratory(c, opposite), laboratory(c, opposite)
    search(tmp_path / "whole", whole, c)
    assert search(tmp_path / "half", again, c, stopping(after)).winner is None
    resume(tmp_path / "half", again)
    assert contents(tmp_path / "half") == contents(tmp_path / "whole")
    assert again.trained == whole.trained


def test_the_search_is_none_the_wiser(tmp_path: Path) -> None:
    """What the monitor sees changes nothing in what is found."""
    c, plain = config(), small(budget={"evaluations": 60})
    watched(tmp_path / "with", laboratory(c), c)
    search(tmp_path / "without", laboratory(plain), plain)
    with_, without = ({row[4] for row in contents(tmp_path / x) if len(row) == 12} for x in ("with", "without"))
    assert with_ == without


# --- at the door ----------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"every": 5, "seeds": [0]}, "monitor: seeds must not share seed 0 with evaluation.seeds"),
    ({"every": 5, "tasks": []}, "monitor: tasks needs at least one name"),
    ({"every": 5, "tasks": ["digits_mlp"]}, "monitor: the search itself sees digits_mlp: choose other tasks"),
    ({"every": -1}, "monitor.every"),
    ({"patience": 0}, "monitor.patience"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_contradictory_monitors(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_config({"monitor": data})
    assert message in caught.value.message


def test_a_monitor_that_is_off_needs_nothing(tmp_path: Path) -> None:
    c = make_config({"monitor": {"seeds": [0], "tasks": ["nothing"]}})
    plain = small(monitor=c.monitor.model_dump(), budget={"evaluations": 2}, evaluation={"steps": 5})
    assert start_search(plain, make_evaluator(plain), tmp_path / "run").winner is not None


def test_its_tasks_are_looked_for_at_the_door(tmp_path: Path) -> None:
    c = small(monitor={"every": 5, "tasks": ["nothing"]})
    with pytest.raises(UserError, match="there is no task named 'nothing'"):
        start_search(c, make_evaluator(c), tmp_path / "run", laboratory=make_laboratory(c))
    assert not (tmp_path / "run").exists()


def test_the_default_tasks_are_of_level_1() -> None:
    assert {TASKS[t].level for t in make_config({}).monitor.tasks} == {1}


def test_a_real_monitor(tmp_path: Path) -> None:
    monitor = {"every": 4, "tasks": ["matrix_factorization"], "steps": 5, "batch_size": 8}
    c = small(budget={"evaluations": 8}, evaluation={"steps": 5}, monitor=monitor)
    start_search(c, make_evaluator(c), tmp_path, laboratory=make_laboratory(c))
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        looks = archive.journal(META)
    assert looks[0]["meta_loss"] == 1.0
    assert len(looks) == 3
