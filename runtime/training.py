"""One batch of replicas, trained from start to end."""

from __future__ import annotations

import time
from collections import deque
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
        self.regime, self.start, self.gradients = regime, start, gradients
        task, steps = regime.task, regime.steps
        self.total = len(rules) * len(trials)
        layout, settings = tuple(task.shapes.values()), [setting for setting, _ in trials]
        self.machines = Machines(  # one thread: others would spin between steps, on the cores that chunks need
            rules, layout, settings, steps, regime.schedule, device=task.device, dtype=task.dtype, threads=1
        )
        self.index = np.arange(self.total)  # which replica of the outcome each row of w is
        self.seed_of = torch.tensor([seed for _, seed in trials] * len(rules), device=task.device)
        self.w = start.w[self.seed_of].contiguous()
        self.past: deque[Tensor] = deque(maxlen=task.delay + 1)  # parameters of the latest steps, oldest first
        self.done = np.zeros(self.total, dtype=np.int64)  # steps by replica of the outcome

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
        g = torch.empty_like(self.w)
        window: list[Tensor] = []
        for k in range(steps):
            if len(self.w) == 0 or self._late():
                break
            window.append(self._losses(k, g))
            if k == 0:
                self.ceiling = self.regime.hopeless * np.maximum(np.abs(_on_host(window[0])), 1)
            self.machines.step(self.w, g, k + 1)
            self.done[self.index] = k + 1
            if (k + 1) % every == 0 or k + 1 == steps:
                losses = _on_host(torch.stack(window)).mean(0)  # torch would round by how many replicas there are
                window = []
                curve[self.index, k // every] = losses
                if not (alive := np.isfinite(losses) & (losses <= self.ceiling[self.index])).all():
                    self._keep(alive)
                    g = torch.empty_like(self.w)
        return curve

    def _losses(self, k: int, g: Tensor) -> Tensor:
        """The losses ``[replica]`` of step ``k``, whose gradients go into ``g`` [replica, D]."""
        batch = self.regime.task.batch(self.start.orders[k])
        return self.gradients(self._where(), batch, self.seed_of, g)

    def _where(self) -> Tensor:
        """The parameters at which this step's gradients are taken: the present ones but for tasks with a delay."""
        if not self.regime.task.delay:
            return self.w
        self.past.append(self.w.clone())
        return self.past[0]

    def _keep(self, alive: NDArray[np.bool_]) -> None:
        """Take the other replicas out and close the gaps."""
        self.machines.keep(alive)
        rows = torch.from_numpy(np.flatnonzero(alive)).to(self.w.device)
        self.index = self.index[alive]
        self.w, self.seed_of = self.w[rows], self.seed_of[rows]
        self.past = deque((w[rows] for w in self.past), maxlen=self.past.maxlen)

    def _validate(self) -> NDArray[np.float64]:
        """Validation loss per replica, infinite for those that diverged."""
        out = np.full(self.total, np.inf)
        if len(self.w):
            values = _on_host(self.gradients.validate(self.w, self.regime.task.validation()))
            out[self.index] = np.where(np.isfinite(values), values, np.inf)
        return out


def _on_host(losses: Tensor) -> NDArray[np.float64]:
    return losses.double().cpu().numpy()
