"""Trainings per second of a population, next to an eager loop and to vmapped torch, and where the time goes.

A training is 200 steps of digits_mlp at batch 64 with the learning rate decayed to zero, and one validation. The
population is 64 different programs (``programs.py`` says which), each with 4 learning rates on 3 seeds: 768 replicas.
In every round take turns

- eager: one training after another, an ``nn.Module`` with ``torch.optim.AdamW`` as it comes, with as many threads as
  torch takes by default, and with one;
- vmapped: ``vmap(grad_and_value)`` over 96 replicas at a time and the torch machine, an operation at a time;
- population: `train_population`, everything included, with one thread, and with two;
- the forward and backward passes of that population and nothing else: what it would reach if all the rest were free;
- matrix products: a large one, and the first of the perceptron's batched ones.

Medians over the rounds are quoted, and medians of the ratios within a round: by the clock, and by the processor's
time, which other work on the machine changes less (of two threads it is that of both). Where there is other work, the
eager loop's threads wait for one another: then its figure with one thread is the one to compare with. The shares are
medians over runs with one thread whose parts are timed from outside. The limit is what the matrix products of a step
would take at the speeds measured. Writes ``result.json`` beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from programs import BATCH, RULES, SEEDS, SETTINGS, STEPS, programs
from torch.func import grad_and_value, vmap

from evoptim.dsl import Rule
from evoptim.runtime import get_task, train_population
from evoptim.runtime.gradients import Gradients, flatten, unflatten
from evoptim.runtime.machine import Machine
from evoptim.runtime.machines import Machines
from evoptim.runtime.memory import CHUNK
from evoptim.runtime.schedules import linear
from evoptim.runtime.task import Task
from evoptim.runtime.tasks.cost import step_flops

REPLICAS = RULES * len(SETTINGS) * len(SEEDS)
ROUNDS, EAGER_TRAININGS, STEPS_TIMED, PRODUCTS = 5, 2, 8, 20
Contender = Callable[[], float]
"""Does so many trainings, or floating-point operations, and returns how many."""


def eager(task: Task, threads: int) -> float:
    """One training after another."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for i in range(EAGER_TRAININGS):
        seed = SEEDS[i % len(SEEDS)]
        module, lr = task.module(seed), SETTINGS[i % len(SETTINGS)]["lr"]
        optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
        group = optimizer.param_groups[0]
        for k, draw in enumerate(task.order(seed, STEPS, BATCH)):
            group["lr"] = lr * linear(k, STEPS)
            optimizer.zero_grad()
            task.objective(module, task.batch(draw)).backward()
            optimizer.step()
        with torch.no_grad():
            task.objective(module, task.validation()).item()
    torch.set_num_threads(before)
    return EAGER_TRAININGS


class Stacked:
    """The population's parameters and data."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.seed_of = torch.arange(REPLICAS) % len(SEEDS)
        self.w = torch.stack([flatten(task.init(s)) for s in SEEDS])[self.seed_of]
        self.g = torch.empty_like(self.w)
        self.orders = torch.stack([task.order(s, STEPS, BATCH) for s in SEEDS], dim=1)


def vmapped(task: Task, rules: list[Rule]) -> Contender:
    """The first steps of all trainings: later ones cost as much."""
    settings, all_ = [setting for setting in SETTINGS for _ in SEEDS], Stacked(task)
    machines = [Machine(rule, tuple(task.shapes.values()), settings, STEPS, linear) for rule in rules]
    differentiate = vmap(grad_and_value(task.loss))

    def run() -> float:
        for k in range(STEPS_TIMED):
            for first in range(0, REPLICAS, CHUNK):
                rows = slice(first, first + CHUNK)
                batch = task.batch(all_.orders[k][all_.seed_of[rows]])
                gradients, _ = differentiate(unflatten(all_.w[rows], task.shapes), batch)
                torch.cat([gradients[n].flatten(1) for n in task.shapes], dim=1, out=all_.g[rows])
            for i, machine in enumerate(machines):
                rows = slice(i * len(settings), (i + 1) * len(settings))
                machine.step(all_.w[rows], all_.g[rows], k + 1)
        return REPLICAS * STEPS_TIMED / STEPS

    return run


def differentiated(task: Task) -> Contender:
    """Forward and backward passes alone, as the population has them."""
    all_, gradients = Stacked(task), Gradients(task, CHUNK, CHUNK)
    batch = task.batch(all_.orders[0])

    def run() -> float:
        for _ in range(STEPS_TIMED):
            gradients(all_.w, batch, all_.seed_of, all_.g)
        return REPLICAS * STEPS_TIMED / STEPS

    return run


def population(task: Task, rules: list[Rule], threads: int) -> float:
    """All trainings, everything included."""
    result = train_population(rules, task, SETTINGS, SEEDS, STEPS, batch_size=BATCH, threads=threads)
    assert (result.status == "ok").all()
    return result.status.size


def product(*shapes: tuple[int, ...]) -> Contender:
    """The product of two matrices, or stacks of them."""
    a, b = (torch.randn(shape) for shape in shapes)
    operations = 2 * a.numel() * b.shape[-1]

    def run() -> float:
        for _ in range(PRODUCTS):
            a @ b
        return operations * PRODUCTS

    return run


def shares(task: Task, rules: list[Rule]) -> dict[str, float]:
    """What parts of a run with one thread take, of its whole time."""
    owners = {
        "forward and backward": (Gradients, "__call__"),
        "update": (Machines, "step"),
        "data": (type(task), "batch"),
        "validation": (Gradients, "validate"),
    }
    spent = dict.fromkeys(owners, 0.0)
    with ExitStack() as stack:
        for name, (owner, method) in owners.items():
            original = getattr(owner, method)

            def timed(*args: Any, _name: str = name, _original: Callable[..., Any] = original) -> Any:
                began = time.process_time()
                out = _original(*args)
                spent[_name] += time.process_time() - began
                return out

            stack.enter_context(patch.object(owner, method, timed))
        began = time.process_time()
        population(task, rules, 1)
        whole = time.process_time() - began
    spent["set-up, checks, Python"] = whole - sum(spent.values())
    return {name: seconds / whole for name, seconds in spent.items()}


def measured(contenders: dict[str, Contender]) -> dict[str, list[tuple[float, float]]]:
    """What everyone does per second, by the clock and by the processor, round by round; they take turns."""
    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for i in range(ROUNDS):
        for name, run in contenders.items():
            clock, processor = time.perf_counter(), time.process_time()
            done = run()
            speeds[name].append((done / (time.perf_counter() - clock), done / (time.process_time() - processor)))
        print(f"round {i}: " + ", ".join(f"{name} {s[-1][0]:.4g}" for name, s in speeds.items()), flush=True)
    return speeds


def summary(speeds: dict[str, list[tuple[float, float]]], flops: int) -> dict[str, Any]:
    """Medians, ratios and limits, by the clock and by the processor."""
    out: dict[str, Any] = {}
    for i, by in enumerate(("clock", "processor")):
        median = {name: statistics.median(r[i] for r in rows) for name, rows in speeds.items()}
        ratios = {
            name: statistics.median(ours[i] / r[i] for ours, r in zip(speeds["population"], rows, strict=True))
            for name, rows in speeds.items()
            if "product" not in name
        }
        limits = {name: median[name] / (flops * STEPS) for name in median if "product" in name}
        out[by] = {
            "per_second": median,
            "population_over": ratios,
            "limits_trainings_per_second": limits,
            "population_over_limit": {name: median["population"] / limit for name, limit in limits.items()},
        }
    return out


def main() -> None:
    """Measure, print and write the result."""
    task, rules, threads = get_task("digits_mlp"), programs(), torch.get_num_threads()
    train_population(rules[:2], task, SETTINGS, SEEDS, 2, batch_size=BATCH)  # compile and load
    parts = [shares(task, rules) for _ in range(ROUNDS)]
    torch.set_num_threads(1)
    contenders: dict[str, Contender] = {
        "eager": lambda: eager(task, threads),
        "eager, one thread": lambda: eager(task, 1),
        "vmapped": vmapped(task, rules),
        "population": lambda: population(task, rules, 1),
        "population, two threads": lambda: population(task, rules, 2),
        "forward and backward alone": differentiated(task),
        "large product": product((1024, 1024), (1024, 1024)),
        "batched product": product((CHUNK, 32, 64), (CHUNK, 64, 64)),
    }
    flops = step_flops(task)
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
        "eager_threads": threads,
        "replicas": REPLICAS,
        "steps": STEPS,
        "flops_of_products_per_step": flops,
        "shares_of_processor_time": {name: statistics.median(p[name] for p in parts) for name in parts[0]},
        **summary(measured(contenders), flops),
    }
    print(json.dumps(result, indent=2))
    Path(__file__).with_name("result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
