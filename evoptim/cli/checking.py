"""``evoptim check``: what can be said about a rule without training a model."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from evoptim.codegen import traffic
from evoptim.dsl import Reference, Rule, canonical_hash, elementwise, live_names, zero_gradient_problem
from evoptim.dsl.check import types

STEPS = 50


def examine(rule: Rule) -> dict[str, Any]:
    """Everything that `render` shows, ready for JSON."""
    live = live_names(rule)
    unused = [b.name for b in rule.buffers if b.name not in live] + [h for h in rule.defaults if h not in live]
    memory = {
        "matrix": {"state": traffic(rule, True).state, "moved": traffic(rule, True).moved},
        "vector": {"state": traffic(rule, False).state, "moved": traffic(rule, False).moved},
    }
    return {
        "name": rule.name,
        "hash": canonical_hash(rule),
        "hyperparameters": {h.name: {"default": h.default, "domain": _domain(h.domain)} for h in rule.hypers},
        "kinds": {n: str(t) for n, t in types(rule).items()},
        "elementwise": elementwise(rule),
        "unused": unused,
        "bytes_per_parameter": memory,
        "smoke_run": _smoke_run(rule),
        "zero_gradient": zero_gradient_problem(rule) or "ok",
    }


def _domain(domain: Any) -> str:
    return f"{domain.scale}({', '.join(f'{v:g}' for v in domain.values)})"


def _smoke_run(rule: Rule) -> dict[str, Any]:
    """Minimise |w|^2 / 2 over a matrix and a vector with the default hyperparameters."""
    random = np.random.Generator(np.random.PCG64(0))
    run = Reference(rule, [random.standard_normal((4, 3)), random.standard_normal(5)])
    before = _half_square(run.params)
    for _ in range(STEPS):
        run.step(run.params)
    after = _half_square(run.params)
    state = [v for values in run.state.values() for v in values]
    finite = all(np.isfinite(v).all() for v in (*run.params, *state))
    return {
        "steps": STEPS,
        "before": before,
        "after": after if np.isfinite(after) else None,
        "finite": bool(finite),
    }


def _half_square(params: list[Any]) -> float:
    with np.errstate(all="ignore"):
        return float(sum(np.sum(p * p) for p in params) / 2)


def render(findings: dict[str, Any], console: Console) -> None:
    """The findings for a person."""
    memory, smoke = findings["bytes_per_parameter"], findings["smoke_run"]
    console.print(f"[bold]{findings['name']}[/] is a valid rule; hash {findings['hash']}")
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_column("kind")
    table.add_column("default", justify="right")
    table.add_column("tuning domain")
    for name, kind in findings["kinds"].items():
        hyper = findings["hyperparameters"].get(name)
        table.add_row(name, kind, f"{hyper['default']:g}" if hyper else "", hyper["domain"] if hyper else "")
    console.print(table)
    for what in ("matrix", "vector"):
        numbers = memory[what]
        console.print(
            f"float32 {what}: {numbers['state']} bytes of state and {numbers['moved']} bytes moved per parameter"
        )
    if findings["unused"]:
        console.print(f"[yellow]without influence on w:[/] {', '.join(findings['unused'])}")
    after = "not finite" if smoke["after"] is None else f"{smoke['after']:.4g}"
    console.print(f"smoke run: |w|^2 / 2 from {smoke['before']:.4g} to {after} in {smoke['steps']} steps", end="")
    console.print(", all finite" if smoke["finite"] else ", [red]not all finite[/]")
    gate = findings["zero_gradient"]
    console.print("zero gradient with lr 0: nothing moves" if gate == "ok" else f"[red]not fit for export:[/] {gate}")
