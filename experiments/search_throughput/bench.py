"""Candidates per second of a search, end to end, against an eager loop with torch.optim in the same run.

A candidate is 5 learning rates x 2 seeds x 100 steps of digits_mlp at batch 64. The search proposes, checks, hashes,
trains and archives; the eager loop only trains, with ``torch.optim.AdamW`` at its default (multi-tensor) settings, and
sets the learning rate by hand, so that nothing but forward, backward and update costs it time. It runs with the number
of torch threads that suits it best, one or all, found out at the start. Rounds alternate, and medians are quoted.
Writes ``result.json`` beside this file.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

from evoptim.runtime import PopulationEvaluator, get_task
from evoptim.search import make_config, start_search

LRS, SEEDS, STEPS, BATCH = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (0, 1), 100, 64
ROUNDS, EVALUATIONS, EAGER_CANDIDATES = 5, 160, 4


def searched_per_second(round_number: int) -> float:
    """Distinct programs evaluated per second of wall clock, start-up of the process left out."""
    config = make_config(
        {
            "seed": round_number,
            "population": {"size": 50},
            "evaluation": {"steps": STEPS, "batch_size": BATCH, "learning_rates": LRS, "seeds": SEEDS},
            "budget": {"evaluations": EVALUATIONS},
            "selection": {"finalists": 1, "seeds": [100]},
        }
    )
    evaluator = PopulationEvaluator("digits_mlp", STEPS, BATCH)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = start_search(config, evaluator, Path(folder) / "run")
        return result.progress.evaluated / (time.perf_counter() - began)


def eager_per_second() -> float:
    """The same trainings one after another: an nn.Module, torch.optim.AdamW, lr decaying linearly to zero."""
    task = get_task("digits_mlp")
    began = time.perf_counter()
    for _ in range(EAGER_CANDIDATES):
        for lr in LRS:
            for seed in SEEDS:
                module = task.module(seed)
                optimizer = torch.optim.AdamW(module.parameters(), lr=lr)
                group = optimizer.param_groups[0]
                for k, draw in enumerate(task.order(seed, STEPS, BATCH)):
                    group["lr"] = lr * (1 - k / STEPS)
                    optimizer.zero_grad()
                    task.objective(module, task.batch(draw)).backward()
                    optimizer.step()
                with torch.no_grad():
                    task.objective(module, task.validation()).item()
    return EAGER_CANDIDATES / (time.perf_counter() - began)


def fastest_threads() -> int:
    """The number of torch threads with which the eager loop is fastest on this machine, now."""
    speeds: dict[int, float] = {}
    for threads in (1, os.cpu_count() or 1):
        torch.set_num_threads(threads)
        speeds[threads] = eager_per_second()
        print(f"eager with {threads} threads: {speeds[threads]:.2f} candidates/s", flush=True)
    return max(speeds, key=lambda n: speeds[n])


def main() -> None:
    """Alternate both, print each round and the medians."""
    searched_per_second(99)  # warm-up
    torch.set_num_threads(fastest_threads())
    rows = []
    for i in range(ROUNDS):
        rows.append((searched_per_second(i), eager_per_second()))
        print(f"round {i}: search {rows[-1][0]:6.2f}, eager {rows[-1][1]:6.2f} candidates/s", flush=True)
    search = statistics.median(s for s, _ in rows)
    eager = statistics.median(e for _, e in rows)
    ratio = statistics.median(s / e for s, e in rows)
    print(f"median:  search {search:6.2f}, eager {eager:6.2f} candidates/s; median ratio of pairs {ratio:.2f}")
    result = {
        "date": date.today().isoformat(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "eager_threads": torch.get_num_threads(),
        "search_threads": 1,
        "rounds": [{"search": s, "eager": e} for s, e in rows],
        "search": search,
        "eager": eager,
        "ratio": ratio,
    }
    Path(__file__).with_name("result.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
