"""Tuned baselines and loss envelopes of proxy tasks, as files for ``runtime/calibration/data``.

``python experiments/calibration/calibrate.py [TASK ...] [--horizons 0.125 ... 4]`` measures the named tasks, else all
of level 0 with the cheapest first, in one thread. A task's file is written after each result and holds what was
measured so far: a run that was stopped goes on from there, and more horizons are added to those that are known.

``--jobs N`` tunes so many baselines at a time, of all named tasks, each in a process of its own; ``--device cuda``
trains on a GPU, ``--data FILE`` reads the data that ``experiments/gpu/carried.py`` has written, ``--into`` writes
elsewhere and ``--again`` measures anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from functools import cache, partial
from pathlib import Path

from evoptim.runtime import TASKS, Task, get_task
from evoptim.runtime.calibration import HORIZONS, Calibration, Job, Tuned, calibrate, load_calibration, timed_tuning
from evoptim.runtime.tasks.cost import step_seconds

DATA = Path(__file__).parents[2] / "runtime" / "calibration" / "data"


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="tasks to measure; all of level 0 by default")
    parser.add_argument("--horizons", nargs="+", type=float, default=HORIZONS, help="lengths, in the task's own")
    parser.add_argument("--again", action="store_true", help="measure anew what has a file")
    parser.add_argument("--jobs", type=int, default=1, help="processes that tune side by side")
    parser.add_argument("--device", default="cpu", help="where to train")
    parser.add_argument("--data", type=Path, help="the file with the tasks' data, where their packages are missing")
    parser.add_argument("--into", type=Path, default=DATA, help="the folder of the files")
    options = parser.parse_args()
    prepare(options.data)
    names = options.tasks or cheapest_first(name for name, kind in TASKS.items() if kind.level == 0)
    if options.jobs == 1:
        for name in names:
            measure(name, options, None)
        return
    spawn = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(options.jobs, spawn, prepare, (options.data,)) as processes,
        ThreadPoolExecutor(len(names)) as threads,
    ):
        for done in [threads.submit(measure, name, options, processes) for name in names]:
            done.result()


def prepare(data: Path | None) -> None:
    """Let the tasks read their data from a file."""
    if data:
        sys.path.insert(0, str(Path(__file__).parents[1] / "gpu"))
        from carried import use

        use(data)


def cheapest_first(names: Iterable[str]) -> list[str]:
    """Tasks by what a training takes."""
    seconds = {name: step_seconds(get_task(name)) * TASKS[name].steps for name in names}
    return sorted(seconds, key=lambda name: seconds[name])


def measure(name: str, options: argparse.Namespace, processes: Executor | None) -> None:
    """Calibrate one task, saving after each result."""
    task, file = get_task(name, options.device, unseal=True), options.into / f"{name}.json"
    known = load_calibration(task, options.into) if file.exists() and not options.again else None
    run = partial(side_by_side, processes, name, options.device) if processes else None
    for calibration in calibrate(task, horizons=options.horizons, command=command(), known=known, run=run):
        new = set(calibration.results) - set(known.results if known else ())
        save(calibration, file)
        print(name, *map(line, new), f"after {calibration.provenance.seconds:.0f} s", flush=True)
        known = calibration


def side_by_side(processes: Executor, name: str, device: str, jobs: Sequence[Job]) -> Iterator[tuple[Tuned, float]]:
    """Do jobs in other processes, the longest first; what comes out as it comes."""
    longest_first = sorted(jobs, key=lambda job: -job[1])
    for done in as_completed([processes.submit(elsewhere, name, device, job) for job in longest_first]):
        yield done.result()


def elsewhere(name: str, device: str, job: Job) -> tuple[Tuned, float]:
    """What a process does."""
    return timed_tuning(known_task(name, device), job)


@cache
def known_task(name: str, device: str) -> Task:
    """A task, built once a process."""
    return get_task(name, device, unseal=True)


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
    """What was typed, without the machine's paths and the folder that was written to."""
    typed = sys.argv[1:]
    if "--into" in typed:
        at = typed.index("--into")
        del typed[at : at + 2]
    return shlex.join(["python", "experiments/calibration/calibrate.py", *typed])


if __name__ == "__main__":
    main()
