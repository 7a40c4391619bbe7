"""Tables that more than one command shows."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from ..comparison import Comparison, Interval


def comparison_table(result: Comparison) -> Table:
    """Rules, their tuned lr, loss on fresh seeds and paired difference to the first one, with intervals."""
    table = Table(
        title=f"{result.task}, {result.steps} steps, {len(result.seeds)} fresh seeds; "
        f"each lr tuned with {result.trials} trials on {len(result.tuning_seeds)} other seeds",
        title_justify="left",
        caption="mean validation loss [95 % bootstrap interval over seeds]; differences are paired by seed",
        caption_justify="left",
    )
    baseline = result.entries[0].rule.name
    for column in ("rule", "lr", "loss", f"less {baseline}", "verdict"):
        table.add_column(column)
    for entry in result.entries:
        lr = f"{entry.lr:.3g}" + (" (edge of grid)" if entry.at_edge else "")
        failed = sum(not math.isfinite(x) for x in entry.losses)
        if entry is result.entries[0]:
            table.add_row(entry.rule.name, lr, str(entry.loss), "", "baseline")
        elif failed:
            table.add_row(entry.rule.name, lr, f"diverged on {failed} of {len(entry.losses)} seeds", "", entry.verdict)
        else:
            table.add_row(entry.rule.name, lr, str(entry.loss), str(entry.difference), entry.verdict)
    return table


def comparison_json(result: Comparison) -> dict[str, Any]:
    """The same for programs."""
    return {
        "task": result.task,
        "steps": result.steps,
        "trials": result.trials,
        "seeds": list(result.seeds),
        "rules": [
            {
                "name": e.rule.name,
                "lr": e.lr,
                "lr_at_edge": e.at_edge,
                "losses": [finite(x) for x in e.losses],
                "loss": _interval(e.loss),
                "difference": _interval(e.difference),
                "verdict": e.verdict,
            }
            for e in result.entries
        ],
    }


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"mean": finite(interval.mean), "low": finite(interval.low), "high": finite(interval.high)}


def finite(value: float) -> float | None:
    """The value, or None where JSON has no number for it."""
    return value if math.isfinite(value) else None
