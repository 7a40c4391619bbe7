"""Tables that more than one command shows."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from ..stepping import Benchmark
from ..studies.comparison import Comparison
from ..studies.comparison import finite as finite


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


def bench_table(result: Benchmark) -> Table:
    """Step times, the bytes they move by the plan's count, and how that compares with a copy."""
    table = Table(
        caption=f"a plain copy moves {result.copy_bandwidth / 1e9:.0f} GB/s here; medians, ratios within a round",
        caption_justify="left",
    )
    for column in ("optimizer", "ms a step", "GB/s", "of a copy", "time of the rule above it"):
        table.add_column(column, justify="left" if column == "optimizer" else "right")
    for t in result.times:
        ratio = "" if t.ratio is None else f"{t.ratio:.2f} x"
        share = f"{t.bandwidth / result.copy_bandwidth:.0%}"
        table.add_row(t.name, f"{1e3 * t.seconds:.2f}", f"{t.bandwidth / 1e9:.0f}", share, ratio)
    return table


def bench_json(result: Benchmark) -> dict[str, Any]:
    """The same for programs."""
    times = [{"name": t.name, "seconds": t.seconds, "bytes": t.bytes, "ratio": t.ratio} for t in result.times]
    return {"copy_bytes_per_second": result.copy_bandwidth, "times": times}
