"""``evoptim tasks``: the proxy tasks, whether their data are here, and what a training costs on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evoptim.dsl import UserError
from evoptim.runtime import get_task
from evoptim.runtime.datasets import DATASETS
from evoptim.runtime.tasks import task_type
from evoptim.runtime.tasks.cost import step_flops, step_seconds

LEVELS = ("seconds", "ten times that", "a hundred times that", "sealed targets")


def describe(names: Iterable[str], measure: bool) -> list[dict[str, Any]]:
    """Everything that `render` shows, ready for JSON; data are read and their hashes checked.

    Args:
        names: Tasks or variants of tasks.
        measure: Time a few steps of every task; ``seconds`` is then what a whole training takes, on one core.

    Raises:
        UserError: There is no task of a name.
    """
    return [_row(name, measure) for name in names]


def _row(name: str, measure: bool) -> dict[str, Any]:
    kind = task_type(name)
    row: dict[str, Any] = {
        "name": name,
        "level": kind.level,
        "summary": kind.summary,
        "steps": kind.steps,
        "batch_size": kind.batch_size,
        "metric": kind.metric.name,
        "data": kind.dataset.name if kind.dataset else "generated",
    }
    try:
        task = get_task(name, unseal=True)  # to be described, not to be searched on
    except UserError as error:
        return row | {"available": False, "reason": str(error)}
    row |= {
        "available": True,
        "summary": task.summary,
        "parameters": task.parameters,
        "flops": step_flops(get_task(name, "meta", unseal=True)),
        "source": task.source,
        "licence": task.licence,
        "sha256": task.sha256,
    }
    return row | {"seconds": step_seconds(task) * task.steps} if measure else row


def render(rows: list[dict[str, Any]], console: Console) -> None:
    """Print the tasks level by level, and then the data."""
    console.print(_task_table(rows))
    console.print()
    console.print(_data_table({row["data"]: row.get("reason", "") for row in rows}))


def _task_table(rows: list[dict[str, Any]]) -> Table:
    measured = any("seconds" in row for row in rows)
    table = Table(box=None, pad_edge=False)
    table.add_column("task", no_wrap=True)
    table.add_column("what it is")
    for column in ("parameters", "steps", "batch", *(["a training"] if measured else [])):
        table.add_column(column, no_wrap=True, justify="right")
    table.add_column("data", no_wrap=True)
    for level in sorted({row["level"] for row in rows}):
        table.add_row(f"[bold]level {level}[/bold]", f"[bold]{LEVELS[level]}[/bold]")
        for row in (r for r in rows if r["level"] == level):
            parameters = f"{row['parameters']:,}" if row["available"] else "not here"
            seconds = [_duration(row.get("seconds"))] if measured else []
            numbers = (parameters, str(row["steps"]), str(row["batch_size"]), *seconds)
            table.add_row(f"  {row['name']}", escape(row["summary"]), *numbers, row["data"])
    return table


def _data_table(problems: dict[str, str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("data", "what they are", "licence"):
        table.add_column(column, no_wrap=column == "data")
    for name, dataset in DATASETS.items():
        if name in problems:
            table.add_row(name, escape(problems[name] or dataset.source), escape(dataset.licence))
    return table


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.2g} min"
