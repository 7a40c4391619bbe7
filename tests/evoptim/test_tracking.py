"""Loggers: what they are told, and that none of them can end a search."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evoptim.dsl import UserError
from evoptim.search import make_config
from evoptim.tracking import NAMES, Trackers, make_trackers

EVOPTIM = str(Path(sys.executable).with_name("evoptim"))


class Kept:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self.steps.append((step, dict(numbers)))

    def finish(self) -> None:
        self.finished += 1


class Broken(Kept):
    """A logger whose server is gone from the second step on."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        super().log(step, numbers)
        if step > 1:
            raise ConnectionError("no route to host")


def test_a_logger_that_raises_is_named_once_and_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    broken, kept = Broken(), Kept()
    trackers = Trackers(
        {"broken": lambda: broken, "absent": lambda: importlib.import_module("absent_"), "kept": lambda: kept}
    )  # type: ignore[dict-item]
    for step in (1, 2, 3):
        trackers.log(step, {"loss": 1.0, "best": float("inf")})
    trackers.finish()
    assert [s for s, _ in broken.steps] == [1, 2]
    assert kept.steps == [(s, {"loss": 1.0}) for s in (1, 2, 3)]
    assert (broken.finished, kept.finished) == (0, 1)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" failed")[0] for line in told] == ["warning: absent", "warning: broken"]
    assert "no route to host" in told[1]


def test_unknown_and_missing_loggers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no logger 'stone'"):
        make_trackers(make_config({}), ["stone"], tmp_path)
    for name in NAMES:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=f"{name} is not installed") as caught:
            make_trackers(make_config({"tracking": {name: True}}), [], tmp_path)
        assert caught.value.remedy == f"pip install {name}"
    assert list(tmp_path.iterdir()) == []


SEARCH = """
batch = 4
[start]
rule = "lion"
[evaluation]
task = "noisy_quadratic"
steps = 5
learning_rates = [0.01]
[budget]
evaluations = 9
"""


def test_tensorboard_reads_what_a_search_wrote(tmp_path: Path) -> None:
    reading: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tmp_path / "s.toml").write_text(SEARCH + "[tracking]\ntensorboard = true\n")
    command = [EVOPTIM, "search", "s.toml", "-o", "run", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    *lines, _, _ = map(json.loads, done.stdout.splitlines())
    events = reading.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    best = events.Scalars("search/best_loss")
    told = {line["evaluated"]: line["best_loss"] for line in lines} | {9: best[-1].value}
    assert {s.step: s.value for s in best} == pytest.approx(told)
    assert "search/best_text" not in events.Tags()["scalars"]


def test_weights_and_biases_gets_a_run_that_stays_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, asked = Kept(), dict[str, Any]()

    def init(**arguments: Any) -> Any:
        asked.update(arguments)
        return SimpleNamespace(log=lambda numbers, step: kept.log(step, numbers), finish=kept.finish)

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    trackers = make_trackers(make_config({}), ["wandb"], tmp_path / "run")
    trackers.log(3, {"loss": 0.5})
    trackers.finish()
    assert (kept.steps, kept.finished) == ([(3, {"loss": 0.5})], 1)
    assert (asked["mode"], asked["id"], asked["resume"]) == ("offline", "evoptim-run", "allow")
    assert asked["dir"] == str(tmp_path / "run")
    assert asked["config"]["budget"]["evaluations"] == 400
    make_trackers(make_config({"tracking": {"wandb": True, "wandb_online": True}}), [], tmp_path).log(1, {})
    assert asked["mode"] == "online"


class FakeMlflow:
    """The part of mlflow.MlflowClient that is used."""

    def __init__(self, tracking_uri: str) -> None:
        self.uri, self.metrics, self.parameters, self.ended = tracking_uri, list[Any](), dict[str, str](), False
        FakeMlflow.last = self

    last: FakeMlflow

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str) -> str:
        return name

    def create_run(self, experiment: str, run_name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=f"{experiment}/{run_name}"))

    def log_param(self, run: str, name: str, value: str) -> None:
        self.parameters[name] = value

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.metrics += metrics

    def set_terminated(self, run: str) -> None:
        self.ended = run == "evoptim/run"


def test_mlflow_gets_parameters_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metric = lambda name, value, at, step: (name, value, step)  # noqa: E731
    fake = SimpleNamespace(MlflowClient=FakeMlflow, entities=SimpleNamespace(Metric=metric))
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    trackers = make_trackers(make_config({}), ["mlflow"], tmp_path / "run")
    trackers.log(3, {"loss": 0.5, "best": 0.25})
    trackers.finish()
    client = FakeMlflow.last
    assert client.uri == f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"
    assert client.metrics == [("loss", 0.5, 3), ("best", 0.25, 3)]
    assert client.parameters["budget.evaluations"] == "400"
    assert client.ended


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_package_itself(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    trackers = make_trackers(make_config({}), [name], tmp_path)
    trackers.log(1, {"loss": 0.5})
    trackers.finish()
    assert list(tmp_path.iterdir())
