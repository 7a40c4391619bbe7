"""Training the ordinary way: an ``nn.Module``, an optimizer and a scheduler, one replica at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LambdaLR

from .schedules import get_schedule
from .task import Batch, Params, Task
from .tasks import get_task


@dataclass(frozen=True, slots=True)
class OrdinaryResult:
    """Training loss of every step, and the validation loss at the end."""

    losses: list[float]
    val_loss: float
    module: torch.nn.Module


def train_module(
    optimizer: Callable[..., torch.optim.Optimizer],
    task: str | Task,
    seed: int,
    steps: int,
    *,
    batch_size: int | None = None,
    schedule: str = "linear",
    dtype: torch.dtype = torch.float32,
) -> OrdinaryResult:
    """Train a task's module with an ordinary optimizer, on the same data order as the population trainer.

    Args:
        optimizer: Makes the optimizer from the parameters, such as ``lambda p: Lion(p, lr=1e-3)``.
        task: A task or its name.
        seed: Seed of initialisation and data order.
        steps: Number of updates.
        batch_size: Examples per update; the task's own by default.
        schedule: As in `train_population`.
        dtype: The parameters' type.
    """
    problem = get_task(task, dtype=dtype) if isinstance(task, str) else task
    module = problem.module(seed)
    opt = optimizer(module.parameters())
    factor = get_schedule(schedule)
    scheduler = LambdaLR(opt, lambda k: factor(min(k, steps), steps))
    losses: list[float] = []
    past: deque[Params] = deque(maxlen=problem.delay + 1)  # parameters of the latest steps, oldest first
    for draw in problem.order(seed, steps, batch_size or problem.batch_size):
        opt.zero_grad()
        if problem.delay:
            past.append({n: p.detach().clone().requires_grad_() for n, p in module.named_parameters()})
            loss = _stale_backward(problem, module, past[0], problem.batch(draw))
        else:
            loss = problem.objective(module, problem.batch(draw))
            loss.backward()
        opt.step()
        scheduler.step()
        losses.append(loss.item())
    with torch.no_grad():
        val_loss = problem.objective(module, problem.validation()).item()
    return OrdinaryResult(losses, val_loss, module)


def _stale_backward(task: Task, module: torch.nn.Module, past: Params, batch: Batch) -> torch.Tensor:
    """Give the module's parameters the gradients at past ones; returns the loss there."""
    loss = task.loss(past, batch)
    gradients = torch.autograd.grad(loss, list(past.values()))
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        parameter.grad = gradient
    return loss
