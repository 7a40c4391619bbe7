"""The public surface: every exported name is there, documented, and does what its docstring shows."""

from __future__ import annotations

import doctest
import importlib
import inspect
import subprocess
import sys

import pytest
import torch

import evoptim

PACKAGES = ("evoptim", "evoptim.dsl", "evoptim.codegen", "evoptim.runtime", "evoptim.search")
DOCTESTED = ("evoptim", "evoptim.dsl", "evoptim.dsl.reference")


@pytest.mark.parametrize("package", PACKAGES)
def test_all_is_sorted_complete_and_documented(package: str) -> None:
    module = importlib.import_module(package)
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{package}.{name}"


@pytest.mark.parametrize("module", DOCTESTED)
def test_examples_in_docstrings(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0


def test_compile_takes_names_rules_texts_and_functions() -> None:
    @evoptim.rule
    def plain(w, g, *, lr=0.5):  # type: ignore[no-untyped-def]
        """Plain gradient descent."""
        w = w - lr * g
        return w  # noqa: RET504 - a rule returns names

    for source in ("sgd", evoptim.load("sgd"), plain, evoptim.parse(plain.text)):
        cls = evoptim.compile(source)
        assert issubclass(cls, torch.optim.Optimizer)
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    evoptim.compile(plain)([p]).step()
    assert p.tolist() == [0.5, 0.5]
    assert evoptim.compile("lion", class_name="Mine").__name__ == "Mine"


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(evoptim.UserError, match="there is no target 'fpga'"):
        evoptim.compile("lion", target="fpga")


def test_evolve_returns_the_winner(tmp_path) -> None:  # type: ignore[no-untyped-def]
    seen: list[int] = []
    result = evoptim.evolve(
        {
            "batch": 3,
            "evaluation": {"task": "noisy_quadratic", "steps": 5, "learning_rates": [0.1], "seeds": [0]},
            "budget": {"evaluations": 4},
            "selection": {"finalists": 2, "seeds": [9]},
        },
        tmp_path / "run",
        report=lambda p: seen.append(p.evaluated),
    )
    assert seen[-1] == 4
    assert result.winner is not None
    assert evoptim.load(f"{tmp_path / 'run'}#best") == result.winner.rule


def test_a_rule_whose_source_is_not_there_is_told() -> None:
    namespace: dict[str, object] = {}
    exec("def f(w, g, *, lr=1):\n    return w", namespace)
    with pytest.raises(evoptim.UserError, match="source of 'f' is not available"):
        evoptim.rule(namespace["f"])  # type: ignore[arg-type]


def test_rules_show_as_latex_in_notebooks() -> None:
    assert evoptim.load("lion")._repr_latex_().startswith("$$\\begin{aligned}")


def test_the_language_imports_quickly_without_torch() -> None:
    code = (
        "import time, sys; t = time.perf_counter(); import evoptim.dsl; t = time.perf_counter() - t\n"
        "assert 'torch' not in sys.modules\n"
        "print(t)"
    )
    times = [float(subprocess.check_output([sys.executable, "-c", code], cwd="/")) for _ in range(3)]
    assert min(times) < 0.5
