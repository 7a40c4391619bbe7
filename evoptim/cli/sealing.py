"""``evoptim sealed``: the last examination of a run on the sealed tasks, once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evoptim.dsl import UserError
from evoptim.search import Archive, stored_run
from evoptim.search.records.journal import SEALED
from evoptim.search.records.recorded import Recorder
from evoptim.search.rundir import ARCHIVE, locked
from evoptim.search.stages.sealed import examination, open_sealed, results, sealed_summary
from evoptim.search.workers import PoisonList

from ..workers import Staff, working


def describe(directory: Path) -> dict[str, Any]:
    """What an opening would do, or what the one that was has found; nothing is changed.

    Raises:
        UserError: It is no run directory, or the search has not ended.
    """
    with Archive(directory / ARCHIVE, create=False) as archive:
        config, _, _ = stored_run(archive)
        summary = sealed_summary(archive)
        return {"directory": str(directory), "plan": examination(archive, config), "examination": summary}


def examine(directory: Path, console: Console) -> dict[str, Any]:
    """Open the sealed tasks of a run, or finish an opening that was interrupted.

    Raises:
        UserError: The tasks have been opened before, and all results are there: the results are shown first. Or it is
            no run directory, the search has not ended, another process uses it, or a task cannot be used.
    """
    with Archive(directory / ARCHIVE, create=False) as archive:
        config, start, _ = stored_run(archive)
        if results(archive):
            render(describe(directory), console)
    poison = PoisonList()
    with (
        locked(directory),
        Archive(directory / ARCHIVE, create=False) as archive,
        working(config, poison, Staff()) as laboratory,
    ):
        least = examination(archive, config)["trainings"]

        def told(stage: str) -> None:
            print(f"{archive.trainings(SEALED)} trainings made, {least} at least", file=sys.stderr, flush=True)

        open_sealed(archive, config, start, laboratory, Recorder(archive, told, poison.fresh))
    return describe(directory)


def render(document: dict[str, Any], console: Console) -> None:
    """The plan or the results for a person."""
    plan, found = document["plan"], document["examination"]
    if found is None:
        console.print(_intention(document["directory"], plan), soft_wrap=True, markup=False)
        return
    state = "" if found["finished"] else "; it was interrupted, and `--open` finishes it"
    console.print(
        f"the sealed tasks were opened on {found['opened']} for program {found['program']}{state}", soft_wrap=True
    )
    if found["finished"]:
        console.print(_table(found))
    for row in found["against"]:
        ratio = "failed" if row["ratio"] is None else f"{row['ratio']:.4f}"
        console.print(
            f"losses of program {found['program']} over those of {escape(row['baseline'])}: {ratio} "
            f"(geometric mean over tasks); p = {row['p']:.3g} of being better",
            soft_wrap=True,
        )


def _intention(directory: str, plan: dict[str, Any]) -> str:
    rules = ", ".join((f"program {plan['program']}", *plan["baselines"]))
    return (
        f"`evoptim sealed {directory} --open` would tune and train {rules} on {', '.join(plan['tasks'])}: "
        f"{plan['trainings']} trainings, and more where a grid is continued.\n"
        "That is done once per run: it is recorded before it begins, and whatever is changed after it is no longer "
        "measured by it. Nothing has been opened."
    )


def _table(found: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("task", "rule", "lr", "loss"):
        table.add_column(column, justify="right" if column in ("lr", "loss") else "left")
    for row in found["results"]:
        lr = row["setting"].get("lr")
        loss = row["reason"] if row["loss"] is None else f"{row['loss']:.4f}"
        table.add_row(row["task"], escape(row["rule"]), "-" if lr is None else f"{lr:.3g}", escape(loss))
    return table


def run_sealed(directory: Path, opens: bool, as_json: bool, console: Console) -> dict[str, Any] | None:
    """The whole command; returns what is to be printed as JSON.

    Raises:
        UserError: As `describe` and `examine` say.
    """
    if not directory.is_dir():
        raise UserError(f"there is no run directory {directory}", "give the directory that `evoptim search` printed")
    document = examine(directory, console) if opens else describe(directory)
    if as_json:
        return document
    render(document, console)
    return None
