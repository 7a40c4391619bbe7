"""Trains rules x settings x seeds as one population of stacked replicas."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evoptim.dsl import Rule, UserError

from .gradients import Gradients, working
from .memory import STREAMS, plan_memory
from .schedules import get_schedule
from .task import Task
from .tasks import get_task
from .training import Outcome, Regime, Start, Training

HOPELESS = 1000.0
"""How many times its first loss (taken as 1 if it is less) a replica's loss may be."""


@dataclass(frozen=True, slots=True)
class PopulationResult:
    """What a population reached; arrays are indexed ``[rule, setting, seed]``.

    ``val_loss`` is infinite unless ``status`` is ``"ok"``; otherwise that is ``"diverged"`` or ``"timeout"``. ``curve``
    has one more axis: the mean training loss of each interval between checks (NaN after a replica's end). ``cost`` is
    each replica's part of ``seconds``, by its steps; ``batches`` are the parts that were trained one after another
    because memory held no more.
    """

    val_loss: NDArray[np.float64]
    curve: NDArray[np.float64]
    status: NDArray[np.str_]
    cost: NDArray[np.float64]
    seconds: float
    steps: int
    batches: int


def train_population(
    rules: Sequence[Rule],
    task: str | Task,
    settings: Sequence[Mapping[str, float]],
    seeds: Sequence[int],
    steps: int,
    *,
    batch_size: int | None = None,
    schedule: str = "linear",
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    check_every: int = 10,
    threads: int = 1,
    memory: int | None = None,
    time_limit: float = math.inf,
    hopeless: float = HOPELESS,
) -> PopulationResult:
    """Train every rule with every setting on every seed, side by side.

    All replicas of one seed start from the same parameters and see the same batches, so differences between
    rules are paired. A replica whose loss is no longer finite, or hopeless, is taken out at the next check.

    On the CPU what comes out for a replica is the same, to the bit, whatever others are trained with it, however memory
    splits them, and with any number of threads. Models other than perceptrons have this with batch sizes that are
    multiples of 16, as those of the tasks are; with others MKL may round by where in memory a replica lies.

    On NVIDIA GPUs the whole step is captured as one CUDA graph and replayed, unless a rule has to run in torch; nothing
    waits for the device between checks, and diverged replicas keep their places until they are a quarter of all.

    Args:
        rules: Valid rules.
        task: A task or its name.
        settings: Hyperparameters to try, each a mapping such as ``{"lr": 1e-3}``; missing ones are the rule's
            defaults, and a name that a rule does not have is an error unless it is ``weight_decay``.
        seeds: Seeds of initialisation and data order.
        steps: Updates per replica.
        batch_size: Examples per update; the task's own by default.
        schedule: ``"linear"`` or ``"cosine"`` (lr decays to zero over the run) or ``"constant"``.
        device: Where to train.
        dtype: The parameters' type: float32 or float64.
        check_every: Steps between checks for divergence, and points of the curve.
        threads: Threads on the CPU that share forward and backward passes. One by default: on a machine with other
            work a second one gains nothing, and on an idle one it takes a fifth of the time away.
        memory: Bytes that the population may take; by default half of what is available on the device. Replicas that
            do not fit together are trained one batch after another.
        time_limit: Seconds of a batch. Replicas that are not at their end by then have the status ``"timeout"``.
        hopeless: A replica has diverged when its mean loss between two checks is more than so many times its first
            loss, which counts as 1 if it is less.

    Returns:
        Validation losses, training curves, statuses and costs by ``[rule, setting, seed]``.

    Raises:
        UserError: An argument is empty, out of range or unknown, or two replicas need more memory than there may be.
    """
    problem = get_task(task, device, dtype) if isinstance(task, str) else task
    _validate(rules, settings, seeds)
    for name, value in {"steps": steps, "check_every": check_every, "threads": threads}.items():
        if value < 1:
            raise UserError(f"{name}={value}", f"{name} must be 1 or more")
    for name, value in {"time_limit": time_limit, "hopeless": hopeless}.items():
        if not value > 0:
            raise UserError(f"{name}={value}", f"{name} must be more than 0")
    regime = Regime(
        task=problem,
        seeds=seeds,
        steps=steps,
        batch_size=batch_size or problem.batch_size,
        schedule=get_schedule(schedule),
        check_every=check_every,
        threads=threads,
        hopeless=hopeless,
        time_limit=time_limit,
    )
    return _Population(regime, rules, settings).train(memory)


def _validate(rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]) -> None:
    for what, value in (("rules", rules), ("settings", settings), ("seeds", seeds)):
        if len(value) == 0:
            raise UserError(f"no {what} to train", f"give at least one of {what}")
    for rule in rules:
        known = set(rule.defaults)
        if "lr" not in known:
            raise UserError(f"rule {rule.name!r} has no lr", "add lr to its hyperparameters")
        for setting in settings:
            unknown = set(setting) - known - {"weight_decay"}
            if unknown:
                raise UserError(
                    f"rule {rule.name!r} has no hyperparameter {sorted(unknown)[0]!r}",
                    f"its hyperparameters are {', '.join(sorted(known))}",
                )


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rules, and some trials (settings x seeds) of each of them."""

    rules: range
    trials: range

    def split(self, most: int) -> list[_Part]:
        """Parts of at most so many replicas: whole rules if one fits, else pieces of each rule."""
        if len(self.trials) <= most:
            return [_Part(rules, self.trials) for rules in _split(self.rules, most // len(self.trials))]
        return [_Part(rules, trials) for rules in _split(self.rules, 1) for trials in _split(self.trials, most)]

    def __len__(self) -> int:
        return len(self.rules) * len(self.trials)


def _split(whole: range, size: int) -> list[range]:
    return [whole[first : first + size] for first in range(0, len(whole), size)]


class _Population:
    """All replicas, trained as many at a time as memory holds."""

    def __init__(self, regime: Regime, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]]) -> None:
        self.began = time.perf_counter()
        self.regime, self.rules = regime, rules
        self.trials = [(setting, seed) for setting in settings for seed in range(len(regime.seeds))]
        self.shape = (len(rules), len(settings), len(regime.seeds))
        points = -(-regime.steps // regime.check_every)
        grid = (len(rules), len(self.trials))
        self.whole = Outcome(
            val_loss=np.full(grid, np.inf),
            curve=np.full((*grid, points), np.nan),
            status=np.full(grid, "", dtype="<U8"),
            cost=np.zeros(grid),
        )

    def train(self, memory: int | None) -> PopulationResult:
        """Train all of them within so many bytes."""
        regime, whole = self.regime, _Part(range(len(self.rules)), range(len(self.trials)))
        device = regime.task.device
        on_cpu = device.type == "cpu"
        threads = regime.threads if on_cpu else STREAMS if device.type == "cuda" else 1
        plan = plan_memory(regime.task, self.rules, len(whole), regime.batch_size, limit=memory, threads=threads)
        start, batches = Start(regime), 0
        pending = deque(whole.split(plan.replicas))
        with working(plan.threads, device) as work:
            callers = plan.threads if on_cpu else 1
            gradients = Gradients(regime.task, plan.chunk, plan.validation_chunk, work, callers, whole=not on_cpu)
            while pending:
                part = pending.popleft()
                try:
                    self._train(part, start, gradients)
                    batches += 1
                except (MemoryError, RuntimeError) as error:
                    if not _out_of_memory(error) or len(part) == 1:
                        raise
                    pending.extendleft(reversed(part.split(-(-len(part) // 2))))  # the plan was wrong
        return self._result(batches)

    def _train(self, part: _Part, start: Start, gradients: Gradients) -> None:
        """Train a part; what comes out goes to its place."""
        rules = [self.rules[i] for i in part.rules]
        trials = [self.trials[i] for i in part.trials]
        outcome = Training(self.regime, start, rules, trials, gradients).run()
        at = (slice(part.rules.start, part.rules.stop), slice(part.trials.start, part.trials.stop))
        size = (len(rules), len(trials))
        self.whole.val_loss[at] = outcome.val_loss.reshape(size)
        self.whole.curve[at] = outcome.curve.reshape(*size, -1)
        self.whole.status[at] = outcome.status.reshape(size)
        self.whole.cost[at] = outcome.cost.reshape(size)

    def _result(self, batches: int) -> PopulationResult:
        return PopulationResult(
            val_loss=self.whole.val_loss.reshape(self.shape),
            curve=self.whole.curve.reshape(*self.shape, -1),
            status=self.whole.status.reshape(self.shape),
            cost=self.whole.cost.reshape(self.shape),
            seconds=time.perf_counter() - self.began,
            steps=self.regime.steps,
            batches=batches,
        )


def _out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: on the CPU torch raises a plain RuntimeError then."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
