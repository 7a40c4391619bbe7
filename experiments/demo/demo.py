"""The whole promise on real data: evolve an update rule on handwritten digits, compare it, export it, use it.

Run it with ``make demo``. It leaves ``found.py`` in the current directory and the run under ``runs/``.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from sklearn.datasets import load_digits
from torch import nn

import evoptim
from evoptim.cli.tables import comparison_table
from evoptim.dsl import Rule

HERE = Path(__file__).parent
console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=120)


def heading(text: str) -> None:
    """A line that says what comes next."""
    console.print(f"\n[bold]{text}[/]\n")


def run_directory() -> Path:
    """A directory that no earlier demo has used."""
    candidates = (Path("runs") / ("demo" if i == 1 else f"demo-{i}") for i in range(1, 10_000))
    return next(c for c in candidates if not c.exists())


def evoptim_command(*arguments: str) -> list[str]:
    """The command line of the installed package."""
    return [str(Path(sys.executable).with_name("evoptim")), *arguments]


def parent_of_winner(directory: Path) -> Rule:
    """The last ancestor of the winner that was another program than it."""
    text = subprocess.run(
        evoptim_command("report", str(directory), "--json"), check=True, capture_output=True, text=True
    ).stdout
    lineage = json.loads(text)["winner"]["lineage"]
    ancestor = lineage[-2] if len(lineage) > 1 else lineage[-1]
    return evoptim.load(f"{directory}#{ancestor['program']}").replace(name="parent")


def train_ordinary_module(make_optimizer: Callable[..., torch.optim.Optimizer], seed: int) -> float:
    """Train a plain ``nn.Module`` for five epochs, lr decaying to zero, and return its test accuracy."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(labels)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = make_optimizer(model.parameters())
    train, test = torch.randperm(len(x)).split([1408, len(x) - 1408])
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=5 * 22)
    for _ in range(5):
        for rows in train[torch.randperm(len(train))].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        return (model(x[test]).argmax(1) == y[test]).float().mean().item()


def import_found(path: Path) -> type[torch.optim.Optimizer]:
    """The optimizer class of an exported file, imported as any project would."""
    spec = importlib.util.spec_from_file_location("found", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Found


def main() -> None:
    """All steps, timed."""
    began = time.monotonic()
    heading("1. The rule the search begins with")
    print(evoptim.load("adamw").text)
    heading("2. Search: mutate it, train every mutant on handwritten digits with 5 learning rates x 2 seeds")
    directory = run_directory()
    subprocess.run(evoptim_command("search", str(HERE / "demo.toml"), "--output", str(directory)), check=True)
    heading("3. Winner, parent and AdamW, each with a tuned learning rate, on fresh seeds")
    found = evoptim.load(f"{directory}#best")
    parent = parent_of_winner(directory)
    result = evoptim.compare(["adamw", parent, found], trials=12, seeds=16, steps=100, batch_size=64)
    console.print(comparison_table(result))
    winner = result.entries[-1]
    verdict = {
        "better": "The winner beats AdamW on seeds that neither has seen.",
        "worse": "On fresh seeds the winner is worse than AdamW: the search overfitted its two seeds.",
    }.get(winner.verdict, "On fresh seeds the winner and AdamW cannot be told apart.")
    console.print(verdict)
    heading("4. Export it as one file that needs only torch, and train an ordinary nn.Module with it")
    path = evoptim.export(found, "found.py")
    optimizer = import_found(path)
    rates = {"found": winner.lr, "adamw": result.entries[0].lr}
    accuracies = {
        "found": [train_ordinary_module(lambda p: optimizer(p, lr=rates["found"]), s) for s in range(3)],
        "adamw": [train_ordinary_module(lambda p: torch.optim.AdamW(p, lr=rates["adamw"]), s) for s in range(3)],
    }
    for name, values in accuracies.items():
        shown = ", ".join(f"{v:.3f}" for v in values)
        console.print(f"{name:6} lr {rates[name]:.3g}: test accuracy after 5 epochs {shown} (three seeds)")
    console.print(f"\nwrote {path}; the run is in {directory}; {time.monotonic() - began:.0f} seconds in all")


if __name__ == "__main__":
    main()
