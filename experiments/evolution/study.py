"""Evolution against random search and against tuning AdamW's constants alone, each of these with 4x the evaluations.

As in figure 2 of Chen et al. 2023 (arXiv:2302.06675). All start from AdamW and share the task, the grid of learning
rates, the seeds and the economies; they differ in one thing each:

- *evolution*: Lion's three mutations, the better of two individuals becomes a parent;
- *random search*: the same mutations without selection, any individual becomes a parent;
- *tuning constants*: evolution that changes constants and default hyperparameters only, never the form.

``python experiments/evolution/study.py`` runs five seeds of each, two at a time, in ``runs/`` beside this file (a study
that was stopped goes on from there), and writes ``result.json`` and ``curves.png``. Winners are compared on fresh seeds
that no search has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from evoptim.search import Archive, make_config, resume_search, start_search
from evoptim.studies.comparison import interval
from evoptim.wiring import make_evaluator

HERE = Path(__file__).parent
EVALUATIONS, MORE, SEEDS = 2000, 4, 5
LION = {"insert": 1.0, "delete": 1.0, "modify": 1.0}
METHODS: dict[str, dict[str, Any]] = {
    "evolution": {"mutation": LION, "population": {"size": 100, "tournament": 2}},
    "random search": {"mutation": LION, "population": {"size": 100, "tournament": 1}},
    "tuning constants": {
        "mutation": dict.fromkeys(LION, 0.0) | {"constant": 1.0},
        "population": {"size": 100, "tournament": 2},
    },
}
SHARED: dict[str, Any] = {
    "batch": 32,
    "start": {"rule": "adamw", "buffers": 2},
    "evaluation": {
        "task": "digits_mlp",
        "steps": 100,
        "batch_size": 64,
        "learning_rates": [1e-3, 3e-3, 1e-2, 3e-2],
        "seeds": [0, 1],
    },
    "economy": {"fingerprint": True, "vetoes": True, "hurdle": 0.5, "hurdle_window": 200},
    "selection": {"finalists": 8, "seeds": list(range(100, 116))},
}


def evaluations(method: str, budget: int) -> int:
    """How many distinct programs a method may train."""
    return budget if method == "evolution" else MORE * budget


def run(method: str, seed: int, budget: int, folder: Path) -> dict[str, Any]:
    """One search, begun or gone on with; what came out."""
    directory = folder / f"{method.replace(' ', '_')}-{seed}"
    data = SHARED | METHODS[method] | {"seed": seed, "budget": {"evaluations": evaluations(method, budget)}}
    config = make_config(data)
    if (directory / "archive.sqlite").is_file():
        result = resume_search(directory, make_evaluator)
    else:
        result = start_search(config, make_evaluator(config), directory)
    assert result.winner is not None
    with Archive(directory / "archive.sqlite", create=False) as archive:
        curve, counts = [*archive.progress()], archive.counts()
    return {
        "method": method,
        "seed": seed,
        "curve": curve,
        "counts": counts,
        "winner": result.winner.rule.text,
        "winner_loss": result.winner.loss,
        "start_loss": result.winner.start_loss,
        "seconds": round(result.progress.seconds, 1),
    }


def best_at(curve: Sequence[tuple[int, float]], points: np.ndarray) -> np.ndarray:
    """The best loss after each number of evaluations."""
    seen, losses = np.array([n for n, _ in curve]), np.array([x for _, x in curve])
    return losses[np.searchsorted(seen, points, side="right") - 1]


def draw(runs: list[dict[str, Any]], budget: int, path: Path) -> None:
    """Curves of the best loss so far, mean and range over seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for method, colour in zip(METHODS, ("#0072b2", "#d55e00", "#009e73"), strict=True):
        points = np.unique(np.geomspace(1, evaluations(method, budget), 200).astype(int))
        curves = np.array([best_at(r["curve"], points) for r in runs if r["method"] == method])
        axes.plot(points, curves.mean(0), color=colour, label=f"{method} (mean of {len(curves)} seeds)")
        axes.fill_between(points, curves.min(0), curves.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.axvline(budget, color="#888888", linewidth=0.8, linestyle=":")
    axes.annotate("evolution's budget", (budget, axes.get_ylim()[1]), ha="right", va="top", rotation=90, fontsize=8)
    axes.set(xscale="log", xlabel="distinct programs trained", ylabel="best validation loss so far (digits_mlp)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def summary(runs: list[dict[str, Any]], budget: int) -> dict[str, Any]:
    """The numbers that the curves and the winners come to."""
    methods: dict[str, Any] = {}
    for method in METHODS:
        mine = [r for r in runs if r["method"] == method]
        total = evaluations(method, budget)
        at = {
            str(n): asdict(interval(np.array([best_at(r["curve"], np.array([n]))[0] for r in mine])))
            for n in (budget, total)
        }
        methods[method] = {
            "evaluations": total,
            "best_in_search": at,
            "winner_on_fresh_seeds": asdict(interval(np.array([r["winner_loss"] for r in mine]))),
            "seconds": [r["seconds"] for r in mine],
        }
    return {
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("evoptim", "torch", "numpy")},
        "cores": os.cpu_count(),
        "configuration": SHARED,
        "start_on_fresh_seeds": runs[0]["start_loss"],
        "methods": methods,
        "runs": runs,
    }


def main() -> None:
    """Run what is missing, print a table, write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--evaluations", type=int, default=EVALUATIONS, help="of evolution; the others have 4x")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=HERE / "runs")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    began = time.perf_counter()
    jobs = [(m, s) for s in range(options.seeds) for m in sorted(METHODS, key=lambda m: m == "evolution")]
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        waiting = [pool.submit(run, m, s, options.evaluations, options.folder) for m, s in jobs]
        runs = []
        for (method, seed), job in zip(jobs, waiting, strict=True):
            runs.append(job.result())
            print(f"{method:17} seed {seed}: winner {runs[-1]['winner_loss']:.4f} on fresh seeds", flush=True)
    out = summary(runs, options.evaluations) | {"wall_seconds": round(time.perf_counter() - began, 1)}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "result.json").write_text(json.dumps(out, indent=1) + "\n")
    draw(runs, options.evaluations, options.output / "curves.png")
    print(f"AdamW itself      {out['start_on_fresh_seeds']:.4f} on fresh seeds")
    for method, row in out["methods"].items():
        x = row["winner_on_fresh_seeds"]
        print(f"{method:17} {x['mean']:.4f} [{x['low']:.4f}, {x['high']:.4f}] after {row['evaluations']} evaluations")


if __name__ == "__main__":
    main()
