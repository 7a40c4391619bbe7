"""Rules compared fairly on several tasks: what each reaches, how fast, at what price, and where it fails."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evoptim.codegen import compile_rule, traffic
from evoptim.dsl import Rule, UserError, load
from evoptim.runtime import Envelope, Speedup, Task, get_task, load_calibration, speedup

from ..stepping import alternate
from .comparison import Comparison, Interval, Tuner, compare_rules

STEPS = 200
"""Updates per training where one task is compared on and none are given."""
HORIZONS = (0.25, 0.5, 1.0, 2.0)
"""Lengths of AdamW's trainings, in those of the rules, where a task has no calibration that fits."""
TAUS = (1.0, 1.01, 1.02, 1.05, 1.1, 1.2, 1.5, 2.0, 5.0)
"""Where performance profiles are given."""
RESAMPLES = 2000
_TENSORS, _SIDE, _ROUNDS = 4, 256, 7
"""Parameters that steps are timed on: square matrices; and how often."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Tuned AdamW at several lengths on a task; none where there can be none, and ``origin`` says why."""

    envelope: Envelope | None
    origin: str


@dataclass(frozen=True, slots=True)
class Summary:
    """One rule over all tasks.

    Attributes:
        rule: The rule.
        ratio: Geometric mean over the tasks of its mean loss over the first rule's, with a 95 % interval by a bootstrap
            over seeds, paired; below 1 it is better.
        worst_task: The task on which that ratio is largest.
        worst_ratio: The ratio there.
        speedups: By task, how many times fewer steps than tuned AdamW it takes; None where that is not known.
        speedup: Their geometric mean over the tasks on which it is known exactly, not as a bound; None if on none.
        profile: Share of the tasks on which its loss is at most so many times the best rule's, for each of `TAUS`
            (Dolan and More 2002).
        state_bytes: Bytes of state per parameter of a matrix, in float32.
        step_seconds: Time of a step of the compiled class on four matrices of 256 x 256 on this CPU, the least of some;
            None where the rule cannot be compiled.
    """

    rule: Rule
    ratio: Interval
    worst_task: str
    worst_ratio: float
    speedups: tuple[Speedup | None, ...]
    speedup: float | None
    profile: tuple[float, ...]
    state_bytes: int
    step_seconds: float | None


@dataclass(frozen=True, slots=True)
class FairComparison:
    """Rules compared on several tasks; the first rule is the baseline.

    ``comparisons`` has the losses task by task, ``origins`` what speed-ups are measured against there.
    """

    comparisons: tuple[Comparison, ...]
    origins: tuple[str, ...]
    summaries: tuple[Summary, ...]
    tuner: Tuner


def compare_on(
    rules: Sequence[Rule],
    tasks: Sequence[str | Task],
    *,
    trials: int,
    seeds: int,
    steps: int | None,
    batch_size: int | None,
    tuner: Tuner = "lr",
    report: Callable[[Comparison], None] = lambda comparison: None,
) -> FairComparison:
    """Compare rules on every task as `compare_rules` does, and sum up.

    Args:
        rules: Valid rules; the first is what the others are compared with.
        tasks: Tasks or their names, each once.
        trials: Trainings per tuning seed, for each rule on each task.
        seeds: Fresh seeds.
        steps: Updates per training; by default `STEPS` for a single task, each task's own for several.
        batch_size: Examples per update; each task's own by default.
        tuner: What is tuned.
        report: Told of each task as soon as it is done.

    Raises:
        UserError: Something is missing, twice or out of range, or a rule has no lr.
    """
    problems = [get_task(t) if isinstance(t, str) else t for t in tasks]
    names = [p.name for p in problems]
    if not names or len(set(names)) < len(names):
        raise UserError(f"the tasks are {', '.join(names) or 'none'}", "give one or more, each once")
    comparisons: list[Comparison] = []
    yardsticks: list[Yardstick] = []
    for problem in problems:
        length = steps or (STEPS if len(problems) == 1 else problem.steps)
        comparison = compare_rules(
            rules, task=problem, trials=trials, seeds=seeds, steps=length, batch_size=batch_size, tuner=tuner
        )
        comparisons.append(comparison)
        yardsticks.append(_yardstick(problem, comparison, batch_size))
        report(comparison)
    return FairComparison(
        tuple(comparisons), tuple(y.origin for y in yardsticks), tuple(_summaries(comparisons, yardsticks)), tuner
    )


def _yardstick(problem: Task, comparison: Comparison, batch_size: int | None) -> Yardstick:
    """The calibration of the task where it fits, else AdamW tuned and trained here at several lengths."""
    if batch_size in (None, problem.batch_size):
        try:
            calibration = load_calibration(problem)
        except UserError:  # it has none, or one of other data: then it is measured
            pass
        else:
            origin = f"calibrated {calibration.provenance.date}"
            return Yardstick(calibration.envelope, f"{origin}; {calibration.caveat}" if calibration.caveat else origin)
    lengths = sorted({max(1, round(comparison.steps * h)) for h in HORIZONS})
    rows: list[tuple[float, ...]] = []
    for length in lengths:
        [entry] = compare_rules(
            [load("adamw")],
            task=problem,
            trials=comparison.trials,
            seeds=len(comparison.seeds),
            steps=length,
            batch_size=batch_size,
        ).entries
        rows.append(entry.losses)
    losses = np.array(rows)
    if not (losses > 0).all():
        return Yardstick(None, "none: a loss is not above 0")
    return Yardstick(Envelope(np.array(lengths), losses), "measured here, lr tuned with the same trials")


def _summaries(comparisons: Sequence[Comparison], yardsticks: Sequence[Yardstick]) -> list[Summary]:
    losses = [np.array([e.losses for e in c.entries]) for c in comparisons]  # task by task [rule, seed]
    means = np.array([x.mean(1) for x in losses])  # [task, rule]
    profiles = profile(means)
    rules = [e.rule for e in comparisons[0].entries]
    times = [_step_seconds(rule) for rule in rules]
    out: list[Summary] = []
    for i, rule in enumerate(rules):
        ratios = _ratios(means[:, i], means[:, 0])
        worst = int(np.argmax(ratios))
        speedups = [_speedup(c, i, y) for c, y in zip(comparisons, yardsticks, strict=True)]
        known = [s.value for s in speedups if s is not None and s.bound == "exact"]
        out.append(
            Summary(
                rule,
                _geometric(losses, i),
                comparisons[worst].task,
                float(ratios[worst]),
                tuple(speedups),
                math.exp(sum(map(math.log, known)) / len(known)) if known else None,
                tuple(map(float, profiles[i])),
                traffic(rule, True).state,
                times[i],
            )
        )
    return out


def _ratios(own: NDArray[np.float64], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses over losses; infinite where either is not a positive number, unless both are the same one."""
    with np.errstate(all="ignore"):
        ratios = own / baseline
    ratios = np.where(np.isfinite(ratios) & (ratios > 0), ratios, np.inf)
    return np.where(own == baseline, 1.0, ratios)


def _geometric(losses: Sequence[NDArray[np.float64]], i: int) -> Interval:
    """The geometric mean over tasks of a rule's mean loss over the first one's, with its bootstrap interval."""
    random = np.random.Generator(np.random.PCG64(0))
    logs, drawn = 0.0, np.zeros(RESAMPLES)
    for x in losses:
        picked = random.integers(x.shape[1], size=(RESAMPLES, x.shape[1]))
        with np.errstate(divide="ignore"):
            logs += float(np.log(_ratios(x[i].mean(keepdims=True), x[0].mean(keepdims=True)))[0])
            drawn += np.log(_ratios(x[i][picked].mean(1), x[0][picked].mean(1)))
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    count = len(losses)
    return Interval(*(float(np.exp(v / count)) for v in (logs, low, high)))


def profile(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Performance profiles (Dolan and More 2002, doi:10.1007/s101070100263) with the mean loss as the cost.

    Args:
        means: Mean losses, infinite where a rule failed, float64 ``[task, rule]``.

    Returns:
        The share of the tasks on which a rule's loss is at most tau times the least one, float64 ``[rule, tau]`` for
        the `TAUS`.
    """
    best = means.min(axis=1, keepdims=True)
    ratios = np.stack([_ratios(column, best[:, 0]) for column in means.T])  # [rule, task]
    ratios[np.isinf(means.T)] = np.inf
    return (ratios[:, :, None] <= np.array(TAUS)).mean(axis=1)


def _speedup(comparison: Comparison, i: int, yardstick: Yardstick) -> Speedup | None:
    losses = comparison.entries[i].losses
    if yardstick.envelope is None or not all(x > 0 for x in losses):
        return None
    return speedup(losses, comparison.steps, yardstick.envelope)


def _step_seconds(rule: Rule) -> float | None:
    """The least time of some compiled steps, which other work disturbs least; None where there is no compiling."""
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(_SIDE, _SIDE, generator=generator)) for _ in range(_TENSORS)]
    for p in params:
        p.grad = torch.randn(_SIDE, _SIDE, generator=generator)
    try:
        make: Any = compile_rule(rule)  # torch declares an optimizer's constructor otherwise than ours
        optimizer = make(params)
    except UserError:
        return None
    [seconds] = alternate({"step": optimizer.step}, _ROUNDS).values()
    return min(seconds)
