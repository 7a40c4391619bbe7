"""Measuring a task: every baseline at the task's own length, and AdamW at shorter and longer ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from evoptim.dsl import UserError

from ..task import Task
from .record import Calibration, Provenance
from .tuning import BASELINES, Baseline, Tuned, tune

HORIZONS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Lengths of the envelope's trainings, in the task's own."""


Job: TypeAlias = tuple[Baseline, int, int]
"""A baseline, the steps of its trainings, and how many weight decays tuning adds to the first ones."""
Run: TypeAlias = Callable[[Sequence[Job]], Iterable[tuple[Tuned, float]]]
"""Does jobs, in any order: what came out, and the seconds that it took."""


def calibrate(
    task: Task,
    *,
    horizons: Sequence[float] = HORIZONS,
    command: str,
    known: Calibration | None = None,
    run: Run | None = None,
) -> Iterator[Calibration]:
    """Tune and train the baselines on a task, the shortest trainings first.

    Args:
        task: The task, in float32.
        horizons: Lengths of AdamW's trainings in multiples of the task's own, which is always among them.
        command: What was typed, to be kept with the result.
        known: What an earlier run has measured, to be gone on from with the budget that it had.
        run: What does the work; by default one job after another.

    Yields:
        The calibration so far, after each result; nothing where all of them are known.

    Raises:
        UserError: What is known was measured on other data, seeds or versions.
    """
    fresh = Provenance.here(task, command, 0.0)
    so_far = known or _empty(task, fresh)
    if so_far.sha256 != task.sha256 or so_far.provenance.conditions != fresh.conditions:
        raise UserError(f"{task.name} was measured under other conditions than today's", "measure all of it anew")
    rounds = so_far.provenance.decay_rounds
    measured = {(r.rule, r.steps) for r in so_far.results}
    jobs = [(b, steps, rounds) for b, steps in _plan(task, horizons) if (b.rule, steps) not in measured]
    for tuned, took in (run or partial(map, partial(timed_tuning, task)))(jobs):
        results = tuple(sorted((*so_far.results, tuned), key=_place))
        seconds = so_far.provenance.seconds + took
        so_far = replace(so_far, results=results, provenance=Provenance.here(task, command, seconds, rounds))
        yield so_far


def timed_tuning(task: Task, job: Job) -> tuple[Tuned, float]:
    """Do a job: what came out, and the seconds that it took."""
    baseline, steps, rounds = job
    start = time.perf_counter()
    tuned = tune(baseline, task, steps, decay_rounds=rounds)
    return tuned, time.perf_counter() - start


def _place(row: Tuned) -> tuple[int, int]:
    """Where a result stands: the shortest trainings first."""
    return row.steps, [b.rule for b in BASELINES].index(row.rule)


def _empty(task: Task, provenance: Provenance) -> Calibration:
    return Calibration(
        task=task.name,
        sha256=task.sha256,
        steps=task.steps,
        batch_size=task.batch_size,
        results=(),
        provenance=provenance,
    )


def _plan(task: Task, horizons: Sequence[float]) -> list[tuple[Baseline, int]]:
    """What is measured for how many steps."""
    adamw, *others = BASELINES
    lengths = {task.steps, *(max(1, round(task.steps * h)) for h in horizons)}
    plan = [(adamw, steps) for steps in lengths] + [(other, task.steps) for other in others]
    return sorted(plan, key=lambda entry: entry[1])
