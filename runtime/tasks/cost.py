"""What a training costs on this machine."""

from __future__ import annotations

import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..task import Task

FEWEST, MOST = 3, 30
ENOUGH = 0.25
"""Seconds after which no more steps are timed."""


def step_flops(task: Task) -> int:
    """Floating-point operations in the matrix products of a forward and a backward pass, as torch counts them.

    Args:
        task: A task; on the device ``"meta"`` nothing is computed.
    """
    module = task.module(0)
    (draw,) = task.order(0, 1, task.batch_size)
    with FlopCounterMode(display=False) as counter:
        task.objective(module, task.batch(draw)).backward()
    return counter.get_total_flops()


def step_seconds(task: Task) -> float:
    """Median time of a step with ``torch.optim.AdamW`` the ordinary way, on one thread, after one that is not timed.

    Args:
        task: A task on the CPU.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the population trainer: small operations gain nothing from more
    module = task.module(0)
    optimizer = torch.optim.AdamW(module.parameters())
    times: list[float] = []
    for draw in task.order(0, MOST + 1, task.batch_size):
        start = time.perf_counter()
        optimizer.zero_grad()
        task.objective(module, task.batch(draw)).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
        if len(times) > FEWEST and sum(times) > ENOUGH:
            break
    torch.set_num_threads(threads)
    return statistics.median(times[1:])
