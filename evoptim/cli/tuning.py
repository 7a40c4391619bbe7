"""``evoptim tune``: the best setting found, what it gains over the defaults, and what matters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evoptim.search.refining.tuning import TunedTrial, Tuning, TuningConfig

from ..studies.tuning import summary, tune_source
from .rewriting import write_rule


def run_tuning(
    source: str,
    derived: list[str] | None,
    bench: tuple[str | None, int | None, int | None],
    config: TuningConfig,
    output: Path | None,
    console: Console,
    as_json: bool,
) -> None:
    """The whole command; ``bench`` is task, steps and batch size.

    Raises:
        UserError: The source, the task or the file is wrong, optuna is missing, or the rule does not train.
    """
    task, steps, batch_size = bench
    found = tune_source(
        source,
        derived=derived or (),
        task=task,
        steps=steps,
        batch_size=batch_size,
        config=config,
        report=lambda trial, best: None if as_json else _tell(trial, best, console),
    )
    if output is not None:
        write_rule(found.rule, output)
    if as_json:
        print(json.dumps(summary(found), indent=2, allow_nan=False))
        return
    console.print(_table(found))
    for line in _lines(found, config):
        console.print(line, markup=False, soft_wrap=True)


def _tell(trial: TunedTrial, best: TunedTrial, console: Console) -> None:
    """A line for each trial that is better than all before."""
    if trial is best:
        setting = ", ".join(f"{k}={v:g}" for k, v in trial.setting.items())
        console.print(f"trial {trial.number}: loss {trial.loss:.4f} with {setting}", markup=False, soft_wrap=True)


def _table(found: Tuning) -> Table:
    table = Table(caption="importance: share in what makes a setting good (PED-ANOVA)", caption_justify="left")
    for column in ("hyperparameter", "default", "best", "domain", "importance"):
        table.add_column(column, justify="left" if column in ("hyperparameter", "domain") else "right")
    for name, domain in found.domains.items():
        bounds = ", ".join(f"{v:g}" for v in domain.values)
        share = f"{found.importance[name]:.0%}" if found.importance else "-"
        best = f"{found.best.setting[name]:.6g}" + (" (edge)" if name in found.at_edge else "")
        default = f"{found.trials[0].setting[name]:g}"
        table.add_row(name, default, best, f"{domain.scale}({bounds})", share)
    return table


def _lines(found: Tuning, config: TuningConfig) -> Iterator[str]:
    yield from found.notes
    failed = sum(t.loss == float("inf") for t in found.trials)
    yield (
        f"loss {found.best.loss:.4f}, with the defaults {found.trials[0].loss:.4f}: means over "
        f"{len(config.seeds)} tuning seeds, of {len(found.trials)} trials"
        + (f", {failed} of which failed" if failed else "")
        + "; report on others, such as those of evoptim compare"
    )
    yield f"\n{found.rule.text}"
