"""How well AdamW learns each proxy task: measured once, kept in task_learning.json, shown in docs/tasks.md.

``python tests/support/task_learning.py [TASK ...]`` measures again: all tasks take about an hour on one core.
The learning rate is the best of a grid of half decades on seed 0, widened while the best one lies on its edge; what is
kept was trained with it on seed 1.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from evoptim.runtime import TASKS, Task, get_task, train_module

FILE = Path(__file__).with_suffix(".json")
GRID = tuple(float(f"{10 ** (k / 2):.0e}") for k in range(-10, 1))
"""1e-5, 3e-5, 1e-4, ... 1."""
FIRST = slice(GRID.index(1e-3), GRID.index(1e-2) + 1)
"""What is tried before the grid is widened."""
TUNING_SEED, FRESH_SEED = 0, 1
UNTUNED = {"bytes_lm_large": (3e-4, 200)}
"""Learning rate (from a few short trials) and updates for tasks whose whole training takes an hour on a core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """One training with tuned AdamW.

    Attributes:
        lr: Learning rate, decayed linearly to zero.
        steps: Updates.
        start: Validation loss before the first of them.
        loss: Validation loss after the last.
        quality: Value of the task's metric then.
        trivial: `Task.trivial_loss`.
        seconds: Time on one core.
    """

    lr: float
    steps: int
    start: float
    loss: float
    quality: float
    trivial: float
    seconds: float


def recorded() -> dict[str, Learned]:
    """What the file holds, by task."""
    return {name: Learned(**row) for name, row in json.loads(FILE.read_text(encoding="utf-8"))["tasks"].items()}


def train(task: Task, lr: float, seed: int, steps: int) -> Learned:
    """Train with AdamW and torch's other defaults on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    result = train_module(lambda p: torch.optim.AdamW(p, lr=lr), task, seed, steps)
    seconds = time.perf_counter() - begin
    with torch.no_grad():
        start = task.loss(task.init(seed), task.validation()).item()
        quality = task.quality(dict(result.module.named_parameters())).item()
    torch.set_num_threads(before)
    return Learned(
        lr=lr,
        steps=steps,
        start=start,
        loss=result.val_loss,
        quality=quality,
        trivial=task.trivial_loss(),
        seconds=seconds,
    )


def tune(task: Task, steps: int) -> float:
    """The learning rate with the lowest validation loss on the tuning seed, and no lower one beside it."""
    losses = {lr: train(task, lr, TUNING_SEED, steps).loss for lr in GRID[FIRST]}
    while True:
        best = min(losses, key=lambda lr: losses[lr] if losses[lr] == losses[lr] else float("inf"))
        at = GRID.index(best)
        missing = [lr for lr in GRID[max(0, at - 1) : at + 2] if lr not in losses]
        if not missing:
            return best
        losses |= {lr: train(task, lr, TUNING_SEED, steps).loss for lr in missing}


def measure(name: str) -> Learned:
    """Tune if that can be afforded, then train on a fresh seed."""
    task = get_task(name, unseal=True)
    lr, steps = UNTUNED[name] if name in UNTUNED else (tune(task, task.steps), task.steps)
    return train(task, lr, FRESH_SEED, steps)


def main(names: list[str]) -> None:
    """Measure tasks, all by default, and write the file anew after each."""
    rows = recorded() if FILE.exists() else {}
    for name in names or list(TASKS):
        rows[name] = measure(name)
        print(name, rows[name], flush=True)
        content = {
            "made by": "tests/support/task_learning.py",
            "machine": f"{platform.machine()}, one core",
            "torch": torch.__version__,
            "python": platform.python_version(),
            "tasks": {n: asdict(rows[n]) for n in TASKS if n in rows},
        }
        FILE.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
