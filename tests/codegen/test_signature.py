"""How a rule looks as a class: arguments in torch's words, limits, class names, numbers, byte counts."""

from __future__ import annotations

import inspect

import pytest

from evoptim.codegen import Traffic, compile_rule, traffic
from evoptim.codegen.signature import arguments, class_name, python_number, requirements
from evoptim.dsl import Rule, load, parse, rule_names


def with_hypers(text: str) -> Rule:
    return parse(f"def r(w, g, *, {text}):\n    return w - lr * g")


@pytest.mark.parametrize(
    ("hypers", "expected"),
    [
        ("lr=1", [("lr", "1.0", "float | Tensor")]),
        ("eps=1e-8, lr=1e-3", [("lr", "1e-3", "float | Tensor"), ("eps", "1e-8", "float")]),
        ("lr=1, beta1=0.9", [("lr", "1.0", "float | Tensor"), ("beta1", "0.9", "float")]),
        ("lr=1, beta2=0.9", [("lr", "1.0", "float | Tensor"), ("beta2", "0.9", "float")]),
        (
            "beta2=0, x=-3, lr=1, beta1=0.9",
            [
                ("lr", "1.0", "float | Tensor"),
                ("x", "-3.0", "float"),
                ("betas", "(0.9, 0.0)", "tuple[float, float]"),
            ],
        ),
        (
            "lr=1, beta1=0.9, beta2=0.5, beta4=0.1",
            [
                ("lr", "1.0", "float | Tensor"),
                ("betas", "(0.9, 0.5)", "tuple[float, float]"),
                ("beta4", "0.1", "float"),
            ],
        ),
    ],
)
def test_arguments(hypers: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(a.name, a.default, a.annotation) for a in arguments(with_hypers(hypers))] == expected


@pytest.mark.parametrize(
    ("hypers", "expected"),
    [
        ("lr=1", ("0.0 <= lr", "learning rate", "lr")),
        ("lr=1, eps=1", ("0.0 <= eps", "epsilon value", "eps")),
        ("lr=1, eps2=1", ("0.0 <= eps2", "eps2 value", "eps2")),
        ("lr=1, weight_decay=1", ("0.0 <= weight_decay", "weight_decay value", "weight_decay")),
        ("lr=1, momentum=1", ("0.0 <= momentum", "momentum value", "momentum")),
        ("lr=1, beta1=0", ("0.0 <= beta1 < 1.0", "beta1 value", "beta1")),
        ("lr=1, beta1=0, beta2=0", ("0.0 <= betas[1] < 1.0", "beta parameter at index 1", "betas[1]")),
        ("lr=1, beta2_decay=0", ("math.isfinite(beta2_decay)", "beta2_decay value", "beta2_decay")),
    ],
)
def test_requirements(hypers: str, expected: tuple[str, str, str]) -> None:
    assert [r for a in arguments(with_hypers(hypers)) for r in requirements(a)][-1] == expected


@pytest.mark.parametrize(
    ("name", "doc", "expected"),
    [
        ("adamw", "AdamW (Loshchilov and Hutter 2019)", "AdamW"),
        ("sgd", "SGD with momentum", "SGD"),
        ("adan_noprox", "Adan (Xie et al. 2022)", "AdanNoprox"),
        ("my_rule2", "", "MyRule2"),
        ("my_rule", "MyRule: a rule", "MyRule"),
        ("rmsprop", "RMSprop, in one form", "RMSprop"),
        ("lion", "lion, in lower case", "Lion"),
        ("a__b_", "A rule", "AB"),
        ("step", "One step", "Step"),
        ("already_Capital", "", "AlreadyCapital"),
    ],
)
def test_class_names(name: str, doc: str, expected: str) -> None:
    assert class_name(with_hypers("lr=1").replace(name=name, doc=doc)) == expected


def test_class_names_of_the_seed_rules_differ() -> None:
    names = [class_name(load(n)) for n in rule_names()]
    assert len(set(names)) == len(names)
    assert {"Adam", "AdamW", "Adan", "AdaX", "Adafactor", "Lion", "RMSprop", "SGD"} <= set(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (-3.0, "-3.0"), (0.5, "0.5"), (1e-8, "1e-8"), (1e300, "1e300")],
)
def test_numbers(value: float, text: str) -> None:
    assert python_number(value) == text


def test_the_constructor_tells_its_types() -> None:
    shown = inspect.signature(compile_rule(load("adamw")))
    assert str(shown).startswith("(params: 'Iterable[Any]', lr: 'float | Tensor' = 0.001, betas: 'tuple[float, float]'")
    assert shown.parameters["maximize"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("name", "matrix", "vector"),
    [
        ("sgd", Traffic(4, 20), Traffic(4, 20)),
        ("lion", Traffic(4, 20), Traffic(4, 20)),
        ("adamw", Traffic(8, 28), Traffic(8, 28)),
        ("adax", Traffic(8, 28), Traffic(8, 28)),
        ("adan", Traffic(16, 44), Traffic(16, 44)),
        ("adafactor", Traffic(0, 12), Traffic(4, 20)),
    ],
)
def test_traffic_is_the_floor(name: str, matrix: Traffic, vector: Traffic) -> None:
    """Bytes per element as derived in FACTS.md, section 3."""
    assert (traffic(load(name), matrix=True), traffic(load(name), matrix=False)) == (matrix, vector)
