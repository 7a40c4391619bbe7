"""The update of a population alone: the compiled interpreter next to the torch machine and to compiled AdamW.

64 different programs, mutated from AdamW within the search's frame until 12 to 20 statements matter, each over 12
replicas of 2,400 parameters in three tensors. Beside them AdamW over as many elements, by the generated optimizer's
compiled kernel and by torch's fused one. All take turns in every round, with one thread and with two; medians are
quoted, and medians of the ratios within a round: by the clock, and by the processor's time, which other work on the
machine changes less (with two threads it is that of both). Writes ``result.json`` beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

import evoptim
from evoptim.dsl import Rule, canonical_hash, canonicalize, load
from evoptim.runtime.machine import Machine
from evoptim.runtime.machines import Machines
from evoptim.runtime.schedules import constant
from evoptim.search import flatten, mutate
from evoptim.search.config import Mutation
from evoptim.search.proposing.frame import into_frame

LAYOUT = ((32, 64), (32,), (10, 32))
SIZE = sum(int(np.prod(s)) for s in LAYOUT)
RULES, REPLICAS, HORIZON = 64, 12, 10_000
ROUNDS, WARM, REPEATS = 31, 3, 4
SETTINGS = [{"lr": lr} for lr in (1e-4, 3e-4, 1e-3, 3e-3) for _ in range(3)]
Step = Callable[[], Any]


def evolved(count: int) -> list[Rule]:
    """So many different programs that descend from AdamW and train without diverging at once."""
    random, config = Random(0), Mutation()
    start = flatten(into_frame(load("adamw")).rule)
    found: dict[str, Rule] = {}
    while len(found) < count:
        rule = start
        for _ in range(random.randint(4, 24)):
            rule = mutate(rule, random, config).rule
        live = flatten(canonicalize(rule))
        if 12 <= sum(1 for _ in live.assigns()) <= 20 and "lr" in live.defaults and stays_finite(live):
            found.setdefault(canonical_hash(live), live)
    return [*found.values()]


def data(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Parameters and gradients of a population."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, SIZE, generator=generator), 0.1 * torch.randn(rows, SIZE, generator=generator)


def stays_finite(rule: Rule) -> bool:
    """Whether 30 steps on random gradients leave it finite."""
    machine = Machine(rule, LAYOUT, [{"lr": 1e-3}], 30, constant)
    w, g = data(1)
    for t in range(1, 31):
        machine.step(w, g, t)
    return bool(torch.isfinite(w).all())


def repeated(step: Callable[[int], Any]) -> Step:
    """Several steps, with t counting on."""
    t = [0]

    def run() -> None:
        for _ in range(REPEATS):
            t[0] += 1
            step(t[0])

    return run


def by_torch(rules: list[Rule]) -> Step:
    """Every rule by one torch call an operation."""
    machines = [Machine(rule, LAYOUT, SETTINGS, HORIZON, constant) for rule in rules]
    w, g = data(RULES * REPLICAS)
    parts = [slice(i * REPLICAS, (i + 1) * REPLICAS) for i in range(RULES)]

    def step(t: int) -> None:
        for machine, part in zip(machines, parts, strict=True):
            machine.step(w[part], g[part], t)

    return repeated(step)


def interpreted(rules: list[Rule], threads: int) -> Step:
    """All rules in one call."""
    cpu = torch.device("cpu")
    machines = Machines(rules, LAYOUT, SETTINGS, HORIZON, constant, device=cpu, dtype=torch.float32, threads=threads)
    assert not machines.machines, "every program is interpreted"
    w, g = data(RULES * REPLICAS)
    return repeated(lambda t: machines.step(w, g, t))


def optimizer(make: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]) -> Step:
    """An optimizer over one tensor of as many elements."""
    w, g = data(RULES * REPLICAS)
    parameter = torch.nn.Parameter(w)
    parameter.grad = g
    made = make([parameter])
    return repeated(lambda t: made.step())


def alternated(steps: dict[str, Step]) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the clock and of the processor for every round; the contenders take turns."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for k in range(ROUNDS + WARM):
        for name, step in steps.items():
            clock, processor = time.perf_counter(), time.process_time()
            step()
            if k >= WARM:
                times[name].append((time.perf_counter() - clock, time.process_time() - processor))
    return times


def measured(rules: list[Rule], threads: int) -> dict[str, Any]:
    """Milliseconds of a step and ratios, with so many threads for everyone."""
    torch.set_num_threads(threads)
    times = alternated(
        {
            "interpreter": interpreted(rules, threads),
            "interpreter, AdamW only": interpreted([load("adamw")] * RULES, threads),
            "torch machine": by_torch(rules),
            "compiled AdamW": optimizer(evoptim.compile("adamw")),
            "torch AdamW fused": optimizer(lambda p: torch.optim.AdamW(p, fused=True)),
        }
    )
    ours = times["interpreter"]
    out: dict[str, Any] = {}
    print(f"\n{threads} thread(s): milliseconds a step and times the interpreter's, by the clock and by the processor")
    for name, rounds in times.items():
        row: dict[str, float] = {}
        for i, by in enumerate(("clock", "processor")):
            row[f"{by}_milliseconds"] = round(1e3 / REPEATS * statistics.median(r[i] for r in rounds), 3)
            ratios = (theirs[i] / own[i] for own, theirs in zip(ours, rounds, strict=True))
            row[f"{by}_times_ours"] = round(statistics.median(ratios), 3)
        out[name] = row
        print(f"  {name:26}" + "".join(f"{v:10.3f}" for v in row.values()))
    return out


def apart(threads: int) -> dict[str, Any]:
    """`measured` in a process of its own, with a core for each thread; those that wait sleep, as others may be busy."""
    environment = os.environ | {"OMP_WAIT_POLICY": "passive", "OMP_PROC_BIND": "true"}
    command = [sys.executable, __file__, str(threads)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    *table, result = done.stdout.rstrip().split("\n")
    print("\n".join(table))
    return json.loads(result)


def main() -> None:
    """Measure, print and write the result."""
    rules = evolved(RULES)
    if len(sys.argv) > 1:
        print(json.dumps(measured(rules, int(sys.argv[1]))))
        return
    statements = sorted(sum(1 for _ in rule.assigns()) for rule in rules)
    print(f"{RULES} programs of {statements[0]} to {statements[-1]} statements, median {statements[RULES // 2]}")
    result = {
        "date": date.today().isoformat(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "rounds": ROUNDS,
        "load": os.getloadavg()[0],
        "threads": {threads: apart(threads) for threads in (1, 2)},
        "programs": [rule.text for rule in rules],
    }
    (Path(__file__).parent / "result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
