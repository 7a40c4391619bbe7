"""The fair table over several tasks: ratios, profiles, speed-ups, costs, and where they are kept."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import evoptim
from evoptim.runtime import TASKS, get_task
from evoptim.search import Archive
from evoptim.search.records.journal import COMPARISON
from evoptim.studies.comparing import compare_sources, fair_json, tasks_of_level, tuner_of
from evoptim.studies.comparison_fair import TAUS, FairComparison, _geometric, _ratios, profile

EVOPTIM = str(Path(sys.executable).with_name("evoptim"))
QUICK: dict[str, Any] = {"trials": 3, "seeds": 3, "steps": 20}
BAD = "def bad(w, g, *, lr=1e30):\n    return w - lr * exp(abs(g) * 1e6) * g"


@pytest.fixture(scope="module")
def table() -> FairComparison:
    rules: list[Any] = ["sgd", "lion", evoptim.parse(BAD)]
    return evoptim.compare(rules, task=["noisy_quadratic", "rosenbrock"], **QUICK)


def test_each_task_is_compared_as_it_is_alone(table: FairComparison) -> None:
    alone = evoptim.compare(["sgd", "lion"], task="rosenbrock", **QUICK)
    assert [e.losses for e in table.comparisons[1].entries[:2]] == [e.losses for e in alone.entries]
    assert [c.task for c in table.comparisons] == ["noisy_quadratic", "rosenbrock"]


def test_the_summary_follows_from_the_losses(table: FairComparison) -> None:
    first, second, bad = table.summaries
    assert (first.ratio.mean, first.ratio.low, first.ratio.high) == (1, 1, 1)
    ratios = [c.entries[1].loss.mean / c.entries[0].loss.mean for c in table.comparisons]
    assert second.ratio.mean == pytest.approx(math.sqrt(ratios[0] * ratios[1]))
    assert second.ratio.low <= second.ratio.mean <= second.ratio.high
    assert second.worst_ratio == pytest.approx(max(ratios))
    assert second.worst_task == table.comparisons[int(np.argmax(ratios))].task
    assert math.isinf(bad.ratio.mean)
    assert bad.profile == (0.0,) * len(TAUS)
    assert first.state_bytes == second.state_bytes == 4
    assert all(s.step_seconds and s.step_seconds > 0 for s in table.summaries)


def test_speedups_are_over_calibrated_adamw(table: FairComparison) -> None:
    assert all(origin.startswith("calibrated 20") for origin in table.origins)
    assert all(len(s.speedups) == 2 for s in table.summaries)
    for s in table.summaries:
        exact = [x.value for x in s.speedups if x is not None and x.bound == "exact"]
        assert (s.speedup is None) == (not exact)
        assert s.speedup is None or s.speedup == pytest.approx(math.prod(exact) ** (1 / len(exact)))


def test_without_a_calibration_adamw_is_measured() -> None:
    problem = get_task("noisy_quadratic")
    found = compare_sources(["adamw"], [problem], **QUICK, batch_size=problem.batch_size * 2)
    assert found.origins == ("measured here, lr tuned with the same trials",)
    [speed] = found.summaries[0].speedups
    assert speed is not None
    assert speed.value == pytest.approx(1)  # its own length is one of those that were measured


def test_it_can_be_printed_and_saved(table: FairComparison) -> None:
    text = json.dumps(fair_json(table), allow_nan=False)
    assert json.loads(text)["summary"][2]["ratio"]["mean"] is None


def test_profiles_are_shares_of_the_tasks_within_a_factor_of_the_best() -> None:
    means = np.array([[1.0, 1.04, 3.0], [2.0, 1.0, math.inf], [1.0, 1.0, 1.0]])
    found = dict(zip(TAUS, profile(means).T, strict=True))
    assert found[1.0].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert found[1.05].tolist() == pytest.approx([2 / 3, 1, 1 / 3])
    assert found[2.0].tolist() == pytest.approx([1, 1, 1 / 3])
    assert found[5.0].tolist() == pytest.approx([1, 1, 2 / 3])
    assert profile(np.array([[math.inf, math.inf]])).tolist() == [[0.0] * len(TAUS)] * 2


def test_ratios_of_what_is_no_positive_number_are_infinite() -> None:
    own, base = np.array([2.0, math.inf, -1.0, 0.0, math.inf]), np.array([1.0, 1.0, 1.0, 0.0, math.inf])
    assert _ratios(own, base).tolist() == [2, math.inf, math.inf, 1, 1]


def test_the_interval_of_the_geometric_mean_is_paired() -> None:
    """Losses that differ by a factor, whatever the seed, leave no doubt."""
    base = np.array([1.0, 5.0, 2.0, 9.0])
    interval = _geometric([np.array([base, base * 2]), np.array([base, base * 8])], 1)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((4, 4, 4))


def test_all_hyperparameters_may_be_tuned() -> None:
    pytest.importorskip("optuna")
    found = evoptim.compare(["adam"], task="noisy_quadratic", trials=6, seeds=2, steps=20, tuner="optuna")
    [entry] = found.entries
    assert entry.setting.keys() == {"lr", "beta1", "beta2", "eps", "weight_decay"}
    assert entry.lr == entry.setting["lr"]


def test_a_runs_journal_gets_the_table(tmp_path: Path) -> None:
    config = {
        "batch": 2,
        "evaluation": {"task": "noisy_quadratic", "steps": 5, "batch_size": 8, "learning_rates": [0.1], "seeds": [0]},
        "budget": {"evaluations": 2},
        "selection": {"finalists": 1, "seeds": [9]},
    }
    evoptim.evolve(config, tmp_path / "run")
    sources: list[Any] = ["sgd", f"{tmp_path / 'run'}#0", f"{tmp_path / 'run'}#best"]
    found = compare_sources(sources, ["noisy_quadratic"], **QUICK)
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        [document] = archive.journal(COMPARISON)
    assert document == {"sources": sources, **json.loads(json.dumps(fair_json(found)))}


def test_levels_name_their_tasks_and_the_sealed_ones_stay_shut() -> None:
    assert "digits_mlp" in tasks_of_level(0)
    assert {n for level in (0, 1, 2) for n in tasks_of_level(level)} == {n for n, t in TASKS.items() if t.level < 3}
    sealed = next(n for n, t in TASKS.items() if t.level == 3)
    with pytest.raises(evoptim.UserError, match="sealed"):
        tasks_of_level(3)
    with pytest.raises(evoptim.UserError, match="no level 7"):
        tasks_of_level(7)
    with pytest.raises(evoptim.UserError, match="sealed target"):
        evoptim.compare(["sgd"], task=[sealed], **QUICK)


def test_mistakes_are_told() -> None:
    with pytest.raises(evoptim.UserError, match="the tasks are none"):
        evoptim.compare(["sgd"], task=[], **QUICK)
    with pytest.raises(evoptim.UserError, match="each once"):
        evoptim.compare(["sgd"], task=["rosenbrock", "rosenbrock"], **QUICK)
    with pytest.raises(evoptim.UserError, match="no tuner 'grid'"):
        tuner_of("grid")


def test_the_command_saves_tables_and_a_plot(tmp_path: Path) -> None:
    small = ("--task", "noisy_quadratic", "--task", "rosenbrock", "--trials", "3", "--seeds", "2", "--steps", "9")
    command = [EVOPTIM, "compare", "sgd", "lion", *small, "--save", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for part in ("noisy_quadratic, 9 steps", "rosenbrock, 9 steps", "over 2 tasks", "loss / sgd", "calibrated"):
        assert part in done.stdout
    with open(tmp_path / "out" / "losses.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2
    assert {r["rule"] for r in rows} == {"sgd", "lion"}
    profile_rows = (tmp_path / "out" / "profile.csv").read_text().splitlines()
    assert profile_rows[0] == "tau,sgd,lion"
    assert len(profile_rows) == 1 + len(TAUS)
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["tuner"] == "lr"
    pytest.importorskip("matplotlib")
    assert (tmp_path / "out" / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_tasks_and_a_level_exclude_each_other() -> None:
    command = [EVOPTIM, "compare", "sgd", "--task", "rosenbrock", "--level", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--task with --level" in done.stderr
