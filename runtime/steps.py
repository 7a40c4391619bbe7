"""The steps of a population: a batch for each seed, gradients, updates, and the losses until somebody asks for them."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .gradients import Gradients
from .interpreter import DeviceInterpreter
from .machines import Machines
from .replay import Replay
from .task import Task


class Steps(Protocol):
    """Takes the steps of replicas; ``w`` [R, D] are their parameters."""

    w: Tensor
    patience: float
    """Which part of the replicas may have diverged before it pays to take them out."""

    def take(self, k: int) -> None:
        """Take step ``k`` (0, 1, ...)."""
        ...

    def losses(self) -> NDArray[np.float64]:
        """The losses ``[step, R]`` of the steps since the last call."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows, whose machines have been told."""
        ...


class PlainSteps:
    """Steps one by one, each with memory of its own.

    Args:
        task: The task.
        orders: The data order of all seeds, ``[steps, seed, ...]``.
        machines: What updates the parameters.
        gradients: What differentiates.
        w: Parameters ``[R, D]``; they are changed.
        seed_of: The number of each replica's seed, ``[R]``.
    """

    patience = 0.0

    def __init__(
        self, task: Task, orders: Tensor, machines: Machines, gradients: Gradients, w: Tensor, seed_of: Tensor
    ) -> None:
        self.task, self.orders, self.machines, self.gradients = task, orders, machines, gradients
        self.w, self.seed_of, self.g = w, seed_of, torch.empty_like(w)
        self.past: deque[Tensor] = deque(maxlen=task.delay + 1)  # parameters of the latest steps, oldest first
        self.window: list[Tensor] = []

    def take(self, k: int) -> None:
        """Take step ``k`` (0, 1, ...)."""
        batch = self.task.batch(self.orders[k])
        self.window.append(self.gradients(self._where(), batch, self.seed_of, self.g))
        self.machines.step(self.w, self.g, k + 1)

    def losses(self) -> NDArray[np.float64]:
        """The losses ``[step, R]`` of the steps since the last call."""
        window, self.window = torch.stack(self.window), []
        return window.double().cpu().numpy()

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows, whose machines have been told."""
        self.w, self.seed_of = self.w[rows], self.seed_of[rows]
        self.past = deque((w[rows] for w in self.past), maxlen=self.past.maxlen)
        self.g = torch.empty_like(self.w)

    def _where(self) -> Tensor:
        """The parameters at which this step's gradients are taken: the present ones but for tasks with a delay."""
        if not self.task.delay:
            return self.w
        self.past.append(self.w.clone())
        return self.past[0]


class ReplayedSteps:
    """Steps over memory that stays where it is: on CUDA one graph, captured once and replayed.

    What changes from step to step follows from how many have been taken, which the device counts. Taking replicas out
    means capturing anew, so it waits until there are enough of them.

    Args:
        task: The task.
        orders: The data order of all seeds, ``[steps, seed, ...]``.
        interpreter: What updates the parameters.
        gradients: What differentiates.
        w: Parameters ``[R, D]``; they are changed.
        seed_of: The number of each replica's seed, ``[R]``.
        most: How many steps there are between two calls of `losses` at most.
    """

    patience = 0.25

    def __init__(
        self,
        task: Task,
        orders: Tensor,
        interpreter: DeviceInterpreter,
        gradients: Gradients,
        w: Tensor,
        seed_of: Tensor,
        most: int,
    ) -> None:
        self.task, self.orders, self.interpreter, self.gradients = task, orders, interpreter, gradients
        self.w, self.seed_of, self.g = w, seed_of, torch.empty_like(w)
        self.clock = interpreter.clock.zero_()
        self.window = w.new_zeros(most, len(w))
        self.past = w.new_zeros(task.delay + 1, *w.shape) if task.delay else None  # by step, round and round
        self.taken = 0
        self.replay = Replay(w.device)

    def take(self, k: int) -> None:
        """Take step ``k`` (0, 1, ...)."""
        self.interpreter.prepare(k + 1)
        self.replay(self._step)
        self.taken += 1

    def losses(self) -> NDArray[np.float64]:
        """The losses ``[step, R]`` of the steps since the last call."""
        count, self.taken = self.taken, 0
        return torch.roll(self.window, count - int(self.clock), 0)[:count].double().cpu().numpy()

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows, whose interpreter has been told."""
        self.w, self.seed_of = self.w[rows], self.seed_of[rows]
        self.g, self.window = torch.empty_like(self.w), self.window[:, rows]
        self.past = None if self.past is None else self.past[:, rows]
        self.replay = Replay(self.w.device, warm=True)

    def _step(self) -> None:
        batch = self.task.batch(self.orders.index_select(0, self.clock).squeeze(0))
        losses = self.gradients(self._where(), batch, self.seed_of, self.g)
        self.window.index_copy_(0, self.clock % len(self.window), losses[None])
        self.interpreter.launch(self.w, self.g)
        self.clock.add_(1)

    def _where(self) -> Tensor:
        """The parameters at which this step's gradients are taken: the present ones but for tasks with a delay."""
        if self.past is None:
            return self.w
        self.past.index_copy_(0, self.clock % len(self.past), self.w[None])
        oldest = (self.clock - self.task.delay).clamp_min(0) % len(self.past)
        return self.past.index_select(0, oldest).squeeze(0)
