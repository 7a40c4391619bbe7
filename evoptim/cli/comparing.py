"""``evoptim compare``: the tables, and the files that are saved."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evoptim.dsl import UserError

from ..studies.comparing import comparison_json, fair_json
from ..studies.comparison import finite
from ..studies.comparison_fair import TAUS, FairComparison, Summary
from .plotting import plot_profiles
from .tables import comparison_table

SHOWN = (1.01, 1.05, 1.1)
"""Where the table gives the profiles."""


def present(result: FairComparison, folder: Path | None, as_json: bool, console: Console) -> None:
    """Save the files that are wanted, then print.

    Raises:
        UserError: The folder or a file cannot be written.
    """
    if folder is not None:
        save(result, folder)
    if as_json:
        whole = fair_json(result)
        if len(result.comparisons) == 1:  # a task's own keys stand at the top, too
            whole |= comparison_json(result.comparisons[0])
        print(json.dumps(whole, indent=2, allow_nan=False))
        return
    for comparison in result.comparisons:
        console.print(comparison_table(comparison))
    console.print(summary_table(result))
    if folder is not None:
        console.print(f"saved in {folder}", markup=False, soft_wrap=True)


def summary_table(result: FairComparison) -> Table:
    """What each rule comes to over all tasks, and what a step of it costs."""
    count = len(result.comparisons)
    baseline = result.summaries[0].rule.name
    origins = "; ".join(f"{c.task} {origin}" for c, origin in zip(result.comparisons, result.origins, strict=True))
    tuned = "lr" if result.tuner == "lr" else "all hyperparameters, by Optuna,"
    table = Table(
        title=f"over {count} task{'s' if count > 1 else ''}; {tuned} tuned with equal budgets",
        title_justify="left",
        caption=f"loss: geometric mean of the ratios of mean losses [95 % bootstrap interval, paired by seed]; within: "
        f"share of the tasks on which the loss is within 1, 5, 10 % of the best; speed-up: in steps, over tuned AdamW "
        f"({origins}), where the loss lies within what it reaches; state: bytes per parameter in float32; step: of 4 "
        f"matrices of 256 x 256 on this CPU",
        caption_justify="left",
    )
    for column in ("rule", f"loss / {baseline}", "worst task", "within", "speed-up", "state", "ms a step"):
        table.add_column(column)
    for s in result.summaries:
        table.add_row(s.rule.name, *_cells(s))
    return table


def _cells(s: Summary) -> tuple[str, ...]:
    within = ", ".join(f"{s.profile[TAUS.index(tau)]:.0%}" for tau in SHOWN)
    time = "-" if s.step_seconds is None else f"{1e3 * s.step_seconds:.2f}"
    return str(s.ratio), f"{s.worst_task} {s.worst_ratio:.3g}", within, _speed(s), str(s.state_bytes), time


def _speed(s: Summary) -> str:
    """The speed-up on one task with its interval, or the mean over those of several on which it is known exactly."""
    if len(s.speedups) == 1:
        return "-" if s.speedups[0] is None else str(s.speedups[0])
    exact = sum(x is not None and x.bound == "exact" for x in s.speedups)
    return "beyond" if s.speedup is None else f"{s.speedup:.2f} ({exact} of {len(s.speedups)})"


def save(result: FairComparison, folder: Path) -> None:
    """Write ``losses.csv``, ``summary.csv``, ``profile.csv`` and ``comparison.json``; ``profile.png`` with matplotlib.

    Raises:
        UserError: The folder or a file cannot be written.
    """
    names = [s.rule.name for s in result.summaries]
    losses = [
        (c.task, i, e.rule.name, seed, finite(loss))
        for c in result.comparisons
        for i, e in enumerate(c.entries)
        for seed, loss in zip(c.seeds, e.losses, strict=True)
    ]
    rows = [
        (
            s.rule.name,
            *map(finite, (s.ratio.mean, s.ratio.low, s.ratio.high)),
            s.worst_task,
            finite(s.worst_ratio),
            *(s.speedup, s.state_bytes, s.step_seconds),
        )
        for s in result.summaries
    ]
    profiles = [(tau, *(s.profile[k] for s in result.summaries)) for k, tau in enumerate(TAUS)]
    heads = "rule ratio ratio_low ratio_high worst_task worst_ratio speedup state_bytes step_seconds"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _csv(folder / "losses.csv", ("task", "number", "rule", "seed", "loss"), losses)
        _csv(folder / "summary.csv", heads.split(), rows)
        _csv(folder / "profile.csv", ("tau", *names), profiles)
        (folder / "comparison.json").write_text(json.dumps(fair_json(result), indent=2, allow_nan=False) + "\n")
        if find_spec("matplotlib") is not None:
            plot_profiles(folder / "profile.png", result)
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}", "choose another folder") from error


def _csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)
