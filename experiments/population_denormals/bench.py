"""What denormal numbers cost: the same work where every number is ordinary, and where every one is denormal.

Measured are AdamW's update alone and a whole population's training on digits_mlp: 64 rules that divide and take square
roots, and keep parameters and states at a given size, with which activations and gradients come to that size, too.
Ordinary and denormal take turns. Quoted are ratios of the least times of all rounds, which other work on the machine
changes least. Once as it is, and once with denormals flushed to zero by the processor, which evoptim does not do.
Writes ``result.json`` beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from evoptim.dsl import Rule, load, parse
from evoptim.runtime import train_population
from evoptim.runtime.machines import Machines
from evoptim.runtime.schedules import constant

ORDINARY, DENORMAL = 1e-2, 1e-41
LAYOUT, SIZE = ((32, 64), (32,), (10, 32)), 2400
REPLICAS, RULES, STEPS, ROUNDS = 192, 64, 10, 30
SETTINGS, SEEDS = [{"lr": 1e-3}, {"lr": 1e-2}], (0, 1, 2)
CPU = torch.device("cpu")


def updates(scale: float) -> Callable[[], Any]:
    """A step of AdamW for a population whose parameters, gradients and states have about this size."""
    machines = Machines(
        [load("adamw")], LAYOUT, [{}] * REPLICAS, 10_000, constant, device=CPU, dtype=torch.float32, threads=1
    )
    generator = torch.Generator().manual_seed(0)
    start, g = (scale * torch.randn(REPLICAS, SIZE, generator=generator) for _ in range(2))
    w, t = start.clone(), [0]

    def run() -> None:
        t[0] += 1
        machines.step(w.copy_(start), g, t[0])

    return run


def rule(scale: float, k: int) -> Rule:
    """Keeps its numbers at about this size."""
    return parse(
        f"def small(w, g, m, v, *, lr=1e-3):\n"
        f"    m = ema(m, {scale} * sign(g), 0.9)\n"
        f"    v = ema(v, {scale} * sign(g) * sign(g), 0.99)\n"
        f"    u = m / (sqrt(v) + 1e-8) + 0.5 * m\n"
        f"    w = {scale} * sign(w) + {scale} * clip(u, -1, 1) + {k} * lr * m\n"
        f"    return w, m, v"
    )


def trainings(scale: float) -> Callable[[], Any]:
    """Some steps of all rules on digits_mlp."""
    rules = [rule(scale, k) for k in range(RULES)]
    return lambda: train_population(rules, "digits_mlp", SETTINGS, SEEDS, STEPS)


def slowdown(make: Callable[[float], Callable[[], Any]]) -> float:
    """How many times as long it takes where everything is denormal."""
    best = dict.fromkeys((ORDINARY, DENORMAL), float("inf"))
    runs = {scale: make(scale) for scale in best}
    for _ in range(ROUNDS):
        for scale, run in runs.items():
            began = time.perf_counter()
            run()
            best[scale] = min(best[scale], time.perf_counter() - began)
    return best[DENORMAL] / best[ORDINARY]


def main() -> None:
    """Measure, print and write the result."""
    torch.set_num_threads(1)
    slowdowns: dict[str, dict[str, float]] = {}
    for name, flush in (("kept", False), ("flushed", True)):
        torch.set_flush_denormal(flush)
        found = {"update alone": slowdown(updates), "whole training": slowdown(trainings)}
        slowdowns[name] = {what: round(ratio, 3) for what, ratio in found.items()}
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
        "times_as_long_with_denormals": slowdowns,
    }
    print(json.dumps(result, indent=2))
    Path(__file__).with_name("result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
