"""evoptim: write an optimizer's update rule, search for better ones, use them as torch.optim classes.

Example:
    >>> import evoptim
    >>> Lion = evoptim.compile("lion")
    >>> Lion.__name__
    'Lion'
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from evoptim.dsl import Rule, RuleError, UserError, parse, rule, rule_names

from .sources import resolve as load

if TYPE_CHECKING:
    import torch

    from evoptim.runtime import Task
    from evoptim.search import SearchConfig, SearchResult
    from evoptim.search.refining.tuning import Tuning

    from .studies.ablating import Simplified
    from .studies.comparison import Comparison, Tuner
    from .studies.comparison_fair import FairComparison

__version__ = version("evoptim")

RuleLike: TypeAlias = "Rule | str | PathLike[str]"
"""A rule, the name of one, the path of a rule file, or ``run-directory#best``."""


def _rule(source: RuleLike) -> Rule:
    return source if isinstance(source, Rule) else load(source)


def compile(source: RuleLike, *, target: str = "auto", class_name: str | None = None) -> type[torch.optim.Optimizer]:
    """Turn a rule into a ``torch.optim.Optimizer`` class.

    Args:
        source: A rule, the name of one, the path of a rule file, or ``run-directory#best``.
        target: ``"torch"`` (eager, on any device), ``"cpp"`` (that and compiled C++ on the CPU), or ``"auto"``: all
            that the rule can run in.
        class_name: The class's name; by default as the rule's docstring or name has it.

    Returns:
        The class. Hyperparameters are its constructor arguments; ``beta1, beta2, ...`` appear as ``betas``.

    Raises:
        UserError: The rule or target does not exist, or the rule has no ``lr``.

    Example:
        >>> import torch, evoptim
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = evoptim.compile("adamw")(model.parameters(), lr=1e-3, betas=(0.9, 0.99))
    """
    from evoptim.codegen import compile_rule

    return compile_rule(_rule(source), class_name, target)


def export(source: RuleLike, path: str | PathLike[str], *, target: str = "auto", class_name: str | None = None) -> Path:
    """Write a rule as one readable Python file that imports only torch.

    Args:
        source: A rule, the name of one, the path of a rule file, or ``run-directory#best``.
        path: The file to write; an existing one is replaced.
        target: As in `compile`.
        class_name: The class's name.

    Returns:
        The path written.

    Raises:
        UserError: The rule is not fit for export, or the file cannot be written.
    """
    from evoptim.codegen import export as write

    return write(_rule(source), path, class_name, target)


def export_package(
    source: RuleLike,
    folder: str | PathLike[str],
    *,
    name: str | None = None,
    version: str = "0.1.0",
    target: str = "auto",
    class_name: str | None = None,
) -> Path:
    """Write a rule as a Python package to install: the optimizer, its tests, and a model card.

    The optimizer is run here, in every way that this machine has, and compared with a float64 run of the rule; the card
    says how much they differ. The tests need torch and pytest alone.

    Args:
        source: A rule, the name of one, the path of a rule file, or ``run-directory#best``.
        folder: The folder to make; it appears whole or not at all.
        name: What to install the package by; by default after the rule, as in ``lion-optimizer``.
        version: The package's version.
        target: As in `compile`.
        class_name: The class's name.

    Returns:
        The folder.

    Raises:
        UserError: The rule is not fit for export, a name cannot be used, or the folder is not empty or not writable.
    """
    from evoptim.codegen import export_package as write

    rule = _rule(source)
    return write(rule, folder, name=name, version=version, class_name=class_name, target=target)


def evolve(
    config: SearchConfig | dict[str, Any],
    directory: str | PathLike[str],
    *,
    report: Callable[[Any], None] | None = None,
) -> SearchResult:
    """Run a search: mutate a start rule, train the mutants on a proxy task, keep what trains best.

    Args:
        config: The configuration, or a mapping with the keys of ``search.toml``.
        directory: The run directory to make.
        report: Called with a `evoptim.search.Progress` after every batch.

    Returns:
        The result; ``result.winner.rule`` is the winner.

    Raises:
        UserError: The configuration is wrong, or the directory is not empty.
    """
    from evoptim.search import SearchConfig, make_config, start_search
    from evoptim.search.workers import PoisonList

    from .wiring import search_bench
    from .workers import Staff, working

    checked = config if isinstance(config, SearchConfig) else make_config(config)
    told, poison = report or _tell_nobody, PoisonList()
    with working(checked, poison, Staff()) as laboratory:
        evaluator = laboratory(search_bench(checked))
        return start_search(checked, evaluator, Path(directory), laboratory=laboratory, report=told, poison=poison)


def _tell_nobody(progress: Any) -> None:
    """What is called after every batch where nobody wants to know."""


@overload
def compare(
    sources: list[RuleLike],
    *,
    task: str | Task = "digits_mlp",
    trials: int = 12,
    seeds: int = 8,
    steps: int | None = None,
    batch_size: int | None = None,
    tuner: Tuner = "lr",
) -> Comparison: ...


@overload
def compare(
    sources: list[RuleLike],
    *,
    task: list[str | Task],
    trials: int = 12,
    seeds: int = 8,
    steps: int | None = None,
    batch_size: int | None = None,
    tuner: Tuner = "lr",
) -> FairComparison: ...


def compare(
    sources: list[RuleLike],
    *,
    task: str | Task | list[str | Task] = "digits_mlp",
    trials: int = 12,
    seeds: int = 8,
    steps: int | None = None,
    batch_size: int | None = None,
    tuner: Tuner = "lr",
) -> Comparison | FairComparison:
    """Compare rules fairly: each is tuned with the same budget, then all train on fresh seeds.

    Args:
        sources: Rules; the first one is what the others are compared with.
        task: A task or its name, or a list of them. A sealed task is taken only as ``get_task(name, unseal=True)``.
        trials: Settings each rule may try; a best learning rate at the edge of its grid widens the grid.
        seeds: Fresh seeds for the final trainings, paired between rules.
        steps: Updates per training; by default 200, or each task's own length where a list is given.
        batch_size: Examples per update; each task's own by default.
        tuner: ``"lr"``, or ``"optuna"`` to tune all hyperparameters.

    Returns:
        The comparison, with intervals of the means and of the paired differences. For a list of tasks one of each,
        and a summary: geometric means, worst tasks, speed-ups over tuned AdamW, profiles, and what a step costs; it
        goes into the journal of every run that a rule is from.

    Raises:
        UserError: There is no such rule or task, a number is out of range, or a rule has no lr.
    """
    from .studies.comparing import compare_sources
    from .studies.comparison import compare_rules
    from .studies.comparison_fair import STEPS

    if isinstance(task, list):
        return compare_sources(
            sources, task, trials=trials, seeds=seeds, steps=steps, batch_size=batch_size, tuner=tuner
        )
    rules = [_rule(s) for s in sources]
    length = STEPS if steps is None else steps
    return compare_rules(rules, task=task, trials=trials, seeds=seeds, steps=length, batch_size=batch_size, tuner=tuner)


def simplify(
    source: RuleLike,
    *,
    task: str | Task | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    seeds: int = 16,
    level: float = 0.05,
    margin: float = 0.02,
    strict: bool = False,
    evaluations: int = 2000,
    keep_constants: bool = False,
) -> Simplified:
    """Take out of a rule what it trains as well without: statements, operations, constants, buffers.

    Every shorter rule one edit away is trained on the same seeds, with the learning rate that suits it. A piece goes
    where the mean loss rises by no more than ``margin`` in all and a paired test does not find it worse.

    Args:
        source: A rule, its name, a rule file, or ``run-directory#best``; a run keeps the result as ``#simplified``.
        task: A task or its name; by default the one of the run.
        steps: Updates per training; by default those of the search, or the task's own.
        batch_size: Examples per update, by default in the same way.
        seeds: Seeds of the tests; as many fresh ones show what all of it cost.
        level: Level of the one-sided paired tests.
        margin: By how much the mean loss may rise, as a share of it.
        strict: Whether a test must show that it rises by less.
        evaluations: Rules that may be trained.
        keep_constants: Leave constants as they are instead of making hyperparameters of them.

    Returns:
        The rule, what went, and what that cost.

    Raises:
        UserError: The source, the task or a number is wrong, the rule does not train, or the run is in use.
    """
    from evoptim.search.refining.ablation import AblationConfig

    from .studies.ablating import simplify_by_training

    config = AblationConfig(level=level, margin=margin, strict=strict, evaluations=evaluations)
    return simplify_by_training(
        source,
        task=task,
        steps=steps,
        batch_size=batch_size,
        seeds=seeds,
        config=config,
        keep_constants=keep_constants,
    )


def tune(
    source: RuleLike,
    *,
    task: str | Task | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    trials: int = 32,
    batch: int = 8,
    seeds: int = 3,
    seed: int = 0,
) -> Tuning:
    """Tune all hyperparameters of a rule in their domains, by Optuna's TPE.

    Args:
        source: A rule, its name, a rule file, or ``run-directory#best``, whose constants become hyperparameters first.
        task: A task or its name; by default the one of the run.
        steps: Updates per training; by default those of the search, or the task's own.
        batch_size: Examples per update, by default in the same way.
        trials: Settings tried, the defaults among them.
        batch: Settings trained together.
        seeds: Seeds each setting is trained on.
        seed: Seed of the choices.

    Returns:
        The rule with the best setting for its defaults, and all trials.

    Raises:
        UserError: The source, the task or a number is wrong, optuna is missing, the rule does not train, or the run
            is in use.
    """
    from evoptim.search.refining.tuning import TuningConfig

    from .studies.tuning import tune_source

    config = TuningConfig(trials=trials, batch=batch, seeds=tuple(range(1000, 1000 + seeds)), seed=seed)
    return tune_source(source, task=task, steps=steps, batch_size=batch_size, config=config)


__all__ = [
    "Rule",
    "RuleError",
    "UserError",
    "__version__",
    "compare",
    "compile",
    "evolve",
    "export",
    "export_package",
    "load",
    "parse",
    "rule",
    "rule_names",
    "simplify",
    "tune",
]
