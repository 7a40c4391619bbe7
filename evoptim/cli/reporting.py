"""``evoptim report``: a run in words and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from evoptim.search.savings import full_trainings

from ..report import Facts, write_report
from .tables import finite


def summarize(facts: Facts) -> dict[str, Any]:
    """What `render` shows, ready for JSON."""
    propose, train = facts.seconds
    evaluation = facts.config.evaluation
    return {
        "directory": str(facts.directory),
        "finished": facts.finished,
        "task": evaluation.task,
        "start": facts.config.start.rule,
        "evaluator": facts.evaluator,
        "budget": facts.config.budget.evaluations,
        "counts": facts.counts,
        "savings": {
            "dead_statements": round(facts.dead, 4),
            "trainings": facts.trainings,
            "trainings_without_stops": facts.counts["evaluated"] * full_trainings(facts.config, facts.start),
        },
        "economies": facts.savings,
        "seconds": {"propose": round(propose, 3), "train": round(train, 3)},
        "improvements": [{"evaluated": n, "loss": loss} for n, loss in facts.improvements],
        "winner": _winner(facts),
        "start_text": facts.start.text,
        "funnel": facts.funnel,
        "monitor": facts.monitor,
        "sealed": facts.sealed,
    }


def _winner(facts: Facts) -> dict[str, Any] | None:
    if facts.rule is None:
        return None
    return {
        "program": facts.winner,
        "text": facts.rule.text,
        "loss": facts.loss,
        "selection_loss": finite(float("inf") if facts.fresh_loss is None else facts.fresh_loss),
        "generations": facts.mutations,
        "lineage": [
            {"program": s.program, "mutation": s.mutation, "loss": s.loss, "text": s.text} for s in facts.lineage
        ],
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
    _judged(summary, console)


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


def _judged(summary: dict[str, Any], console: Console) -> None:
    """Funnel, meta-validation and sealed tasks, where there are some."""
    for s in summary["funnel"]:
        tasks = escape(", ".join(s["tasks"]))
        passed = f"{s['passed']} of {s['entered']} beat {escape(s['baseline'])}"
        console.print(f"funnel, stage {s['stage']} ({tasks}, {s['steps']} updates): {passed}", soft_wrap=True)
    monitor, sealed = summary["monitor"], summary["sealed"]
    if monitor is not None:
        found = monitor["overfitting"]
        verdict = "no overfitting" if found is None else f"overfitting since {found['since']} evaluations"
        console.print(f"meta-validation: {verdict} in {len(monitor['looks'])} looks")
    if sealed is not None:
        ratios = ", ".join(f"{_shown(a['ratio'])} of {escape(a['baseline'])}'s loss" for a in sealed["against"])
        console.print(f"sealed tasks, opened {sealed['opened']}: {ratios or 'not finished'}", soft_wrap=True)


def _shown(value: float | None) -> str:
    return "failed:" if value is None else f"{value:.3f}"


def write_page(facts: Facts, output: Path | None) -> None:
    """Write the page, and say where it is."""
    print(f"\nwrote {write_report(facts, output)}")
