"""Where a search trains: the benches of rung 0, of the funnel's stages, of meta-validation and of the sealed tasks."""

from __future__ import annotations

from collections.abc import Sequence

from evoptim.dsl import Rule, UserError

from ..config import SearchConfig
from ..evaluator import Bench, Evaluator, Laboratory
from ..tiers import Monitor, Sealed, Stage
from .grid import grid


def rung_0(config: SearchConfig) -> list[Bench]:
    """The benches that every candidate is trained on, the first one first."""
    e = config.evaluation
    return [
        Bench(task=task, steps=e.steps, batch_size=e.batch_size, schedule=e.schedule) for task in (e.task, *e.tasks)
    ]


def later(config: SearchConfig, tier: Stage | Monitor | Sealed) -> list[Bench]:
    """The benches of a section on what follows rung 0."""
    e = config.evaluation
    return [
        Bench(
            task=task,
            steps=tier.steps,
            batch_size=tier.batch_size,
            schedule=e.schedule,
            unseal=isinstance(tier, Sealed),
        )
        for task in tier.tasks or (e.task, *e.tasks)
    ]


def settings(config: SearchConfig, start: Rule, rates: Sequence[float] | None = None) -> list[dict[str, float]]:
    """The grid of a search, or that of other learning rates.

    Raises:
        UserError: Several weight decays are to be tried on a rule that has none.
    """
    e = config.evaluation
    decays = (e.weight_decay, *e.weight_decays)
    if "weight_decay" not in start.defaults:
        if e.weight_decays:
            raise UserError(
                f"rule {config.start.rule!r} has no weight_decay, evaluation.weight_decays has {len(e.weight_decays)}",
                "take weight_decays out, or choose another start rule or frame",
            )
        decays = ()
    return grid(e.learning_rates if rates is None else rates, decays)


def evaluators(benches: Sequence[Bench], laboratory: Laboratory | None) -> list[Evaluator]:
    """The evaluators of benches.

    Raises:
        UserError: There is nothing that makes them, or no such task.
    """
    if laboratory is None and benches:
        raise UserError(
            f"training on {benches[0].task} needs a laboratory: this search was given one evaluator alone",
            "pass laboratory=..., such as evoptim.wiring.make_laboratory(config)",
        )
    return [laboratory(bench) for bench in benches] if laboratory else []
