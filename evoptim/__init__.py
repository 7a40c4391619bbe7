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
from typing import TYPE_CHECKING, Any, TypeAlias

from evoptim.dsl import Rule, RuleError, UserError, parse, rule, rule_names

from .sources import resolve as load

if TYPE_CHECKING:
    import torch

    from evoptim.search import SearchConfig, SearchResult

    from .comparison import Comparison

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

    from .wiring import make_evaluator

    checked = config if isinstance(config, SearchConfig) else make_config(config)
    return start_search(checked, make_evaluator(checked), Path(directory), report=report or (lambda _: None))


def compare(
    sources: list[RuleLike],
    *,
    task: str = "digits_mlp",
    trials: int = 12,
    seeds: int = 8,
    steps: int = 200,
    batch_size: int | None = None,
) -> Comparison:
    """Compare rules fairly: each tunes its learning rate with the same budget, then all train on fresh seeds.

    Args:
        sources: Rules; the first one is what the others are compared with.
        task: Name of a task.
        trials: Learning rates each rule may try; a best one at the edge of its grid widens the grid.
        seeds: Fresh seeds for the final trainings, paired between rules.
        steps: Updates per training.
        batch_size: Examples per update; the task's own by default.

    Returns:
        The comparison, with intervals of the means and of the paired differences.
    """
    from .comparison import compare_rules

    return compare_rules(
        [_rule(s) for s in sources], task=task, trials=trials, seeds=seeds, steps=steps, batch_size=batch_size
    )


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
]
