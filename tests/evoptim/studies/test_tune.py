"""``evoptim tune``: a rule or a run's program on a task, with its trials in the run's journal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import evoptim
from evoptim.dsl import load
from evoptim.search import Archive
from evoptim.search.records.journal import TUNING
from evoptim.search.refining.tuning import TuningConfig
from evoptim.studies.tuning import tune_source

pytest.importorskip("optuna")
EVOPTIM = str(Path(sys.executable).with_name("evoptim"))
TASK: dict[str, Any] = {"task": "noisy_quadratic", "steps": 15, "batch_size": 8}


def test_the_trials_of_a_runs_program_are_journaled(tmp_path: Path) -> None:
    config = {
        "batch": 4,
        "start": {"rule": "adam"},
        "evaluation": {"task": "noisy_quadratic", "steps": 10, "batch_size": 8, "learning_rates": [0.1], "seeds": [0]},
        "budget": {"evaluations": 6},
        "selection": {"finalists": 2, "seeds": [9]},
    }
    evoptim.evolve(config, tmp_path / "run")
    source = f"{tmp_path / 'run'}#0"
    found = tune_source(source, config=TuningConfig(trials=10, batch=4))
    assert {"lr", "weight_decay", "beta1", "beta2", "eps"} == found.rule.defaults.keys()
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        *trials, last = archive.journal(TUNING)
        rows = [r for r in archive.contents() if len(r) == 8 and r[1] == "tuning"]
    assert [d["number"] for d in trials] == list(range(10))
    assert [d["setting"] for d in trials] == [dict(t.setting) for t in found.trials]
    assert {d["source"] for d in (*trials, last)} == {source}
    assert last["event"] == "ended"
    assert last["rule"] == found.rule.text
    assert len(rows) == 30


def test_a_rule_is_tuned_as_it_is_or_derived() -> None:
    found = tune_source("sgd", derived=["nesterov"], **TASK, config=TuningConfig(trials=6, batch=3))
    assert found.rule.name.startswith("sgd")
    assert found.best.loss <= found.trials[0].loss
    with pytest.raises(evoptim.UserError, match="no task to train on"):
        tune_source("adam")


def test_the_command_writes_nothing_unless_asked_to(tmp_path: Path) -> None:
    small = ("--task", "noisy_quadratic", "--steps", "15", "--trials", "18", "--seeds", "2")
    done = subprocess.run([EVOPTIM, "tune", "adamw", *small], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for part in ("hyperparameter", "one_minus_log(", "18 trials", "def adamw("):
        assert part in done.stdout
    assert not list(tmp_path.iterdir())
    command = [EVOPTIM, "tune", "adamw", *small, "-o", "tuned.py", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True).stdout)
    assert load(str(tmp_path / "tuned.py")).text == found["rule"]
    assert load(str(tmp_path / "tuned.py")).defaults == found["setting"]
    assert found["trials"] == 18
