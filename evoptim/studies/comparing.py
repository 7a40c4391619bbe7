"""Comparing what a user names: tasks by name or by level, rules from runs, whose journals then tell of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from os import PathLike, fspath
from typing import Any

from evoptim.dsl import Rule, UserError
from evoptim.runtime import TASKS, Speedup, Task
from evoptim.runtime.tasks import SEALED_LEVEL
from evoptim.search.records.journal import COMPARISON

from ..sources import resolve, run_of
from .comparison import Comparison, Entry, Interval, Tuner, finite
from .comparison_fair import TAUS, FairComparison, Summary, compare_on
from .runs import opened

TUNERS: tuple[Tuner, ...] = ("lr", "optuna")


def tasks_of_level(level: int) -> list[str]:
    """The names of all tasks of a level.

    Raises:
        UserError: There is no such level, or its tasks are sealed.
    """
    if level == SEALED_LEVEL:
        raise UserError("the tasks of level 3 are sealed", "open them once, with evoptim sealed RUN --open")
    names = [name for name, kind in TASKS.items() if kind.level == level]
    if not names:
        raise UserError(f"there is no level {level}", f"the levels are 0 to {SEALED_LEVEL - 1}")
    return names


def tuner_of(text: str) -> Tuner:
    """The tuner of that name.

    Raises:
        UserError: There is none.
    """
    for known in TUNERS:
        if text == known:
            return known
    raise UserError(f"there is no tuner {text!r}", f"the tuners are {', '.join(TUNERS)}")


def compare_sources(
    sources: Sequence[Rule | str | PathLike[str]],
    tasks: Sequence[str | Task],
    *,
    trials: int = 12,
    seeds: int = 8,
    steps: int | None = None,
    batch_size: int | None = None,
    tuner: Tuner = "lr",
    report: Callable[[Comparison], None] = lambda comparison: None,
) -> FairComparison:
    """Compare rules on tasks; each run that one is from gets the table into its journal.

    The arguments are those of `compare_on`, and a source is anything that `evoptim.load` takes, or a rule.

    Raises:
        UserError: As there, or a source does not exist, or a run is in use.
    """
    runs = {d for s in sources if not isinstance(s, Rule) and (d := run_of(s)) is not None}
    with ExitStack() as stack:
        archives = [stack.enter_context(opened(d)) for d in sorted(runs)]
        rules = [s if isinstance(s, Rule) else resolve(s) for s in sources]
        found = compare_on(
            rules,
            tasks,
            trials=trials,
            seeds=seeds,
            steps=steps,
            batch_size=batch_size,
            tuner=tuner,
            report=report,
        )
        labels = [s.name if isinstance(s, Rule) else fspath(s) for s in sources]
        for archive in archives:
            assert archive is not None
            archive.append((COMPARISON, {"sources": labels, **fair_json(found)}))
    return found


def fair_json(result: FairComparison) -> dict[str, Any]:
    """A comparison ready for JSON, and what an entry of kind ``comparison`` holds besides the ``sources``."""
    return {
        "tuner": result.tuner,
        "tasks": [
            comparison_json(c) | {"envelope": origin}
            for c, origin in zip(result.comparisons, result.origins, strict=True)
        ],
        "taus": list(TAUS),
        "summary": [_summary(s) for s in result.summaries],
    }


def comparison_json(result: Comparison) -> dict[str, Any]:
    """A comparison on one task ready for JSON."""
    return {
        "task": result.task,
        "steps": result.steps,
        "trials": result.trials,
        "tuning_seeds": list(result.tuning_seeds),
        "seeds": list(result.seeds),
        "rules": [_entry(e) for e in result.entries],
    }


def _entry(e: Entry) -> dict[str, Any]:
    return {
        "name": e.rule.name,
        "lr": e.lr,
        "lr_at_edge": e.at_edge,
        "setting": dict(e.setting),
        "losses": [finite(x) for x in e.losses],
        "loss": _interval(e.loss),
        "difference": _interval(e.difference),
        "verdict": e.verdict,
    }


def _summary(s: Summary) -> dict[str, Any]:
    return {
        "name": s.rule.name,
        "rule": s.rule.text,
        "ratio": _interval(s.ratio),
        "worst_task": s.worst_task,
        "worst_ratio": finite(s.worst_ratio),
        "speedups": [None if x is None else _speedup(x) for x in s.speedups],
        "speedup": s.speedup,
        "profile": list(s.profile),
        "state_bytes": s.state_bytes,
        "step_seconds": s.step_seconds,
    }


def _speedup(x: Speedup) -> dict[str, Any]:
    return {"value": x.value, "low": finite(x.low), "high": finite(x.high), "bound": x.bound}


def _interval(interval: Interval) -> dict[str, float | None]:
    return {"mean": finite(interval.mean), "low": finite(interval.low), "high": finite(interval.high)}
