"""``evoptim report``: a run in words and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evoptim.dsl import parse
from evoptim.search import Archive, SearchConfig, score, stored_run, strip, tidy, winner_rule

SAMPLE = 1000
"""Programs, evenly spaced, whose dead statements are counted."""


def summarize(directory: Path) -> dict[str, Any]:
    """What `render` shows, ready for JSON.

    Raises:
        UserError: It is no run directory, or of another version.
    """
    with Archive(directory / "archive.sqlite", create=False) as archive:
        config, start, version = stored_run(archive)
        counts = archive.counts()
        propose, train = archive.seconds()
        winner = archive.meta("winner")
        best = next((row[0] for row in archive.best()), None)
        index = int(winner) if winner is not None else best
        return {
            "directory": str(directory),
            "finished": winner is not None,
            "task": config.evaluation.task,
            "start": config.start.rule,
            "evaluator": version,
            "budget": config.budget.evaluations,
            "counts": counts,
            "savings": _savings(archive, config),
            "seconds": {"propose": round(propose, 3), "train": round(train, 3)},
            "improvements": [{"evaluated": n, "loss": loss} for n, loss in archive.progress()],
            "winner": None if index is None else _program(archive, config, index),
            "start_text": tidy(start).text,
        }


def _savings(archive: Archive, config: SearchConfig) -> dict[str, float]:
    """What was not trained: the share of dead statements, and trainings made of those that all programs would need.

    Learning rates beyond the edge of the grid count as made, so the first number may be the larger one.
    """
    evaluation = config.evaluation
    rules = [parse(text) for text in archive.sample(SAMPLE)]
    statements = sum(sum(1 for _ in r.assigns()) for r in rules)
    live = sum(sum(1 for _ in strip(r).assigns()) for r in rules)
    full = archive.counts()["evaluated"] * len(evaluation.learning_rates) * len(evaluation.seeds)
    return {
        "dead_statements": round(1 - live / max(1, statements), 4),
        "trainings": archive.trainings(),
        "trainings_without_stops": full,
    }


def _program(archive: Archive, config: SearchConfig, index: int) -> dict[str, Any]:
    rule = winner_rule(archive, config, index)
    lineage = archive.lineage(index)
    hashes = [archive.program(i)[1] for i, _, _, _ in lineage]
    steps = [
        {"program": i, "mutation": mutation, "loss": loss, "text": tidy(parse(text)).text}
        for k, (i, mutation, loss, text) in enumerate(lineage)
        if k == 0 or hashes[k] != hashes[k - 1]
    ]
    fresh = archive.trials(archive.program(index)[1], "selection")
    selection = score(fresh) if fresh else None
    return {
        "program": index,
        "text": rule.text,
        "loss": archive.program(index)[4],
        "selection_loss": None if selection is None or selection.status != "ok" else selection.loss,
        "generations": len(lineage) - 1,
        "lineage": steps,
    }


def render(summary: dict[str, Any], console: Console) -> None:
    """The summary for a person."""
    counts, seconds, winner = summary["counts"], summary["seconds"], summary["winner"]
    state = "finished" if summary["finished"] else "not finished"
    console.print(
        f"[bold]{escape(summary['directory'])}[/]: {summary['task']} from {escape(summary['start'])}, {state}",
        soft_wrap=True,
    )
    generated, hits = counts["generated"], counts["duplicates"]
    console.print(
        f"{generated} programs generated, {hits} cache hits ({hits / max(1, generated):.0%}), "
        f"{counts['evaluated']} of {summary['budget']} evaluated, {counts['diverged']} diverged, "
        f"{counts['failed']} failed, {counts['invalid']} invalid draws",
        soft_wrap=True,
    )
    console.print(_spared(counts, summary["savings"]), soft_wrap=True)
    console.print(f"{seconds['train']:.1f} s training, {seconds['propose']:.1f} s proposing\n")
    _improvements(summary["improvements"], console)
    if winner is None:
        console.print("no program has trained yet")
        return
    console.print(f"{'winner' if summary['finished'] else 'best so far'}, program {winner['program']}:\n")
    print(winner["text"])
    if winner["selection_loss"] is not None:
        console.print(f"loss in the search {winner['loss']:.4f}, on fresh seeds {winner['selection_loss']:.4f}\n")
    _lineage(winner, console)


def _spared(counts: dict[str, int], savings: dict[str, float]) -> str:
    """What the economies have spared."""
    return (
        f"spared: {savings['dead_statements']:.0%} of all statements (dead), {counts['duplicates']} programs by hash, "
        f"{counts['fingerprints']} by fingerprint, {counts['vetoed']} by veto; {counts['stopped']} stopped early; "
        f"{savings['trainings']} trainings made, {savings['trainings_without_stops']} without stops and wider grids"
    )


def _improvements(rows: list[dict[str, Any]], console: Console) -> None:
    console.print("best so far")
    table = Table(box=None, pad_edge=False)
    table.add_column("evaluated", justify="right")
    table.add_column("loss", justify="right")
    for row in rows:
        table.add_row(str(row["evaluated"]), f"{row['loss']:.4f}")
    console.print(table)
    console.print()


def _lineage(winner: dict[str, Any], console: Console) -> None:
    console.print(f"lineage: {winner['generations']} mutations, {len(winner['lineage']) - 1} of them with effect")
    table = Table(box=None, pad_edge=False)
    for column in ("program", "mutation", "loss"):
        table.add_column(column)
    for step in winner["lineage"]:
        loss = "-" if step["loss"] is None else f"{step['loss']:.4f}"
        table.add_row(str(step["program"]), step["mutation"], loss)
    console.print(table)
