"""Tuned baselines and loss envelopes of proxy tasks, as files for ``runtime/calibration/data``.

``python experiments/calibration/calibrate.py [TASK ...] [--horizons 0.125 ... 4]`` measures the named tasks, else all
of level 0, the cheapest first, in one thread. A task's file is written after each result and holds what was measured
so far: a run that was stopped goes on from there, and more horizons are added to those that are known.
``--again`` measures anew.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from evoptim.runtime import TASKS, Task, get_task
from evoptim.runtime.calibration import HORIZONS, Calibration, Tuned, calibrate, load_calibration
from evoptim.runtime.tasks.cost import step_seconds

DATA = Path(__file__).parents[2] / "runtime" / "calibration" / "data"


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks to measure; all of level 0 by default")
    parser.add_argument("--horizons", nargs="+", type=float, default=HORIZONS, help="lengths, in the task's own")
    parser.add_argument("--again", action="store_true", help="measure anew what has a file")
    options = parser.parse_args()
    names = options.tasks or [name for name, kind in TASKS.items() if kind.level == 0]
    tasks = [get_task(name, unseal=True) for name in names]
    for task in sorted(tasks, key=lambda t: step_seconds(t) * t.steps):
        measure(task, options.horizons, again=options.again)


def measure(task: Task, horizons: Sequence[float], *, again: bool) -> None:
    """Calibrate one task, saving after each result."""
    file = DATA / f"{task.name}.json"
    known = load_calibration(task, DATA) if file.exists() and not again else None
    print(task.name, flush=True)
    for calibration in calibrate(task, horizons=horizons, command=command(), known=known):
        save(calibration, file)
        print(line(calibration.results[-1]), f"after {calibration.provenance.seconds:.0f} s", flush=True)


def save(calibration: Calibration, file: Path) -> None:
    """Write the file at once: a run that is killed leaves the last whole one."""
    unfinished = file.with_suffix(".partial")
    unfinished.write_text(calibration.dump(), encoding="utf-8")
    unfinished.replace(file)


def line(row: Tuned) -> str:
    """A result for people."""
    edge = " (lr at the edge)" * row.at_edge + " (largest decay)" * row.decay_at_edge
    settings = f"lr {row.lr:<8g} weight decay {row.weight_decay:<6g}"
    return f"  {row.rule:10} {row.steps:6} steps  {settings} loss {row.loss:.5g}{edge}"


def command() -> str:
    """What was typed, without the machine's paths."""
    return shlex.join(["python", "experiments/calibration/calibrate.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
