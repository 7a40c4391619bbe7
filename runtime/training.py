"""One batch of replicas, trained from start to end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoptim.dsl import Rule

from .gradients import Gradients, flatten
from .hosts import Schedule
from .machines import Machines
from .steps import PlainSteps, ReplayedSteps, Steps
from .task import Task

OK, DIVERGED, TIMEOUT = "ok", "diverged", "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    """How replicas are trained: `train_population`'s arguments, in the form that is worked with."""

    task: Task
    seeds: Sequence[int]
    steps: int
    batch_size: int
    schedule: Schedule
    check_every: int
    threads: int
    hopeless: float
    time_limit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch of replicas reached, by replica; `PopulationResult` says what the fields mean."""

    val_loss: NDArray[np.float64]
    curve: NDArray[np.float64]
    status: NDArray[np.str_]
    cost: NDArray[np.float64]


class Start:
    """What all batches of a population have in common: initial parameters and data, seed by seed."""

    def __init__(self, regime: Regime) -> None:
        task, steps, size = regime.task, regime.steps, regime.batch_size
        self.w = torch.stack([flatten(task.init(s)) for s in regime.seeds])  # [seed, D]
        self.orders = torch.stack([task.order(s, steps, size) for s in regime.seeds], dim=1)  # [steps, seed, ...]


class Training:
    """Replicas in training, ordered rule by rule and, within a rule, trial by trial.

    Args:
        regime: How they are trained.
        start: Where they begin, and their data.
        rules: The rules.
        trials: The setting and the number of the seed of each replica of a rule.
        gradients: What differentiates them.
    """

    def __init__(
        self,
        regime: Regime,
        start: Start,
        rules: Sequence[Rule],
        trials: Sequence[tuple[Mapping[str, float], int]],
        gradients: Gradients,
    ) -> None:
        self.began = time.perf_counter()
        self.regime, self.gradients = regime, gradients
        task, steps = regime.task, regime.steps
        self.total = len(rules) * len(trials)
        layout, settings = tuple(task.shapes.values()), [setting for setting, _ in trials]
        self.machines = Machines(  # one thread: others would spin between steps, on the cores that chunks need
            rules, layout, settings, steps, regime.schedule, device=task.device, dtype=task.dtype, threads=1
        )
        self.index = np.arange(self.total)  # which replica of the outcome each row of w is
        self.alive = np.full(self.total, True)  # the rows that have not diverged
        self.done = np.zeros(self.total, dtype=np.int64)  # steps by replica of the outcome
        seed_of = torch.tensor([seed for _, seed in trials] * len(rules), device=task.device)
        self.steps = self._steps(start.orders, start.w[seed_of].contiguous(), seed_of)

    def _steps(self, orders: Tensor, w: Tensor, seed_of: Tensor) -> Steps:
        task, interpreter = self.regime.task, self.machines.counting
        if interpreter is None:
            return PlainSteps(task, orders, self.machines, self.gradients, w, seed_of)
        most = min(self.regime.check_every, self.regime.steps)
        return ReplayedSteps(task, orders, interpreter, self.gradients, w, seed_of, most)

    def run(self) -> Outcome:
        """Train, validate, and say how it went."""
        status = np.full(self.total, DIVERGED, dtype="<U8")
        curve = self._train()
        finished = not self._late() or bool((self.done[self.index] == self.regime.steps).all())
        val_loss = self._validate() if finished else np.full(self.total, np.inf)
        status[self.index] = OK if finished else TIMEOUT
        status[np.isinf(val_loss) & (status == OK)] = DIVERGED
        cost = (time.perf_counter() - self.began) * self.done / max(1, self.done.sum())
        return Outcome(val_loss, curve, status, cost)

    def _late(self) -> bool:
        return time.perf_counter() - self.began > self.regime.time_limit

    def _train(self) -> NDArray[np.float64]:
        """All steps, or those that the time allows; returns the training curve ``[replica, check]``."""
        steps, every = self.regime.steps, self.regime.check_every
        curve = np.full((self.total, -(-steps // every)), np.nan)
        for k in range(steps):
            if not self.alive.any() or self._late():
                break
            self.steps.take(k)
            self.done[self.index[self.alive]] = k + 1
            if (k + 1) % every == 0 or k + 1 == steps:
                self._check(k, curve[:, k // every])
                if (~self.alive).sum() > self.steps.patience * len(self.alive):
                    self._keep()
        self._keep()
        return curve

    def _check(self, k: int, curve: NDArray[np.float64]) -> None:
        """Write the mean losses up to step ``k`` into a column of the curve, and mark replicas that have diverged."""
        window = self.steps.losses()
        if k < self.regime.check_every:
            self.ceiling = self.regime.hopeless * np.maximum(np.abs(window[0]), 1)  # no replica has been taken out yet
        with np.errstate(all="ignore"):  # those that have diverged
            losses = window.mean(0)  # torch would round by how many replicas there are
        curve[self.index[self.alive]] = losses[self.alive]
        self.alive &= np.isfinite(losses) & (losses <= self.ceiling[self.index])

    def _keep(self) -> None:
        """Take the diverged replicas out and close the gaps."""
        if self.alive.all():
            return
        self.machines.keep(self.alive)
        self.steps.keep(torch.from_numpy(np.flatnonzero(self.alive)).to(self.regime.task.device))
        self.index = self.index[self.alive]
        self.alive = np.full(len(self.index), True)

    def _validate(self) -> NDArray[np.float64]:
        """Validation loss per replica, infinite for those that diverged."""
        out = np.full(self.total, np.inf)
        if len(self.index):
            found = self.gradients.validate(self.steps.w, self.regime.task.validation())
            values = found.double().cpu().numpy()
            out[self.index] = np.where(np.isfinite(values), values, np.inf)
        return out
