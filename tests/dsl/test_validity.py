"""`is_valid` says in less time what `check` says."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from strategies import rules

from evoptim.dsl import OPS, Assign, Buffer, Hyper, Kind, Node, Op, Rule, check, const, is_valid, load, name, rule_names

W, G, LR, M = name("w"), name("g"), name("lr"), name("m")
STEP = Assign("w", Node("sub", (W, Node("mul", (LR, G)))))
GOOD = Rule("r", "", (Buffer("m"),), (Hyper("lr", 0.1),), (STEP,), (W, M), order=("m",))


def with_value(value: Node, target: str = "x") -> Rule:
    return GOOD.replace(body=(Assign(target, value), STEP))


RULES: dict[str, tuple[Rule, bool]] = {
    "a rule": (GOOD, True),
    "a fact": (with_value(name("numel")), True),
    "a fact of matrices": (with_value(name("rows")), False),
    "an unknown name": (with_value(name("y")), False),
    "its own name": (with_value(name("x")), False),
    "an unknown operation": (with_value(Node("twirl", (G,))), False),
    "an argument too many": (with_value(Node("norm", (G, G))), False),
    "a condition as a number": (with_value(Node("add", (Node("less", (G, W)), G))), False),
    "a condition": (with_value(Node("where", (Node("less", (G, W)), G, W))), True),
    "a number as a condition": (with_value(Node("where", (G, G, W))), False),
    "a row": (with_value(Node("row_mean", (G,))), False),
    "a norm": (with_value(Node("norm", (G,))), True),
    "a norm of a number": (with_value(Node("norm", (const(2.0),))), False),
    "a hyperparameter as a target": (with_value(G, "lr"), False),
    "an operation as a target": (with_value(G, "sqrt"), False),
    "a reserved target": (with_value(G, "params"), False),
    "the gradient as a target": (with_value(G, "g"), True),
    "a return too few": (GOOD.replace(returns=(W,)), False),
    "an unknown return": (GOOD.replace(returns=(W, name("y"))), False),
    "a condition returned": (GOOD.replace(returns=(W, Node("less", (G, W)))), False),
    "a tensor for a scalar": (GOOD.replace(buffers=(Buffer("m", Kind.SCALAR),), returns=(W, G)), False),
    "a scalar for a scalar": (GOOD.replace(buffers=(Buffer("m", Kind.SCALAR),), returns=(W, Node("norm", (G,)))), True),
    "a row handed on": (GOOD.replace(buffers=(Buffer("m", Kind.ROW),)), True),
    "a row used": (GOOD.replace(buffers=(Buffer("m", Kind.ROW),), returns=(W, Node("add", (M, M)))), False),
    "a name twice": (GOOD.replace(hypers=(Hyper("lr", 0.1), Hyper("m", 0.1))), False),
    "another order": (GOOD.replace(order=("t",)), False),
    "a reserved buffer": (GOOD.replace(buffers=(Buffer("params"),), order=("params",)), False),
}


@pytest.mark.parametrize("case", RULES)
def test_it_agrees_with_check(case: str) -> None:
    rule, valid = RULES[case]
    assert (check(rule) == []) == is_valid(rule) == valid


@given(rules())
def test_valid_rules_are(rule: Rule) -> None:
    assert is_valid(rule)
    undefined = dataclasses.replace(rule, returns=(name("nowhere"), *rule.returns[1:]))
    assert not is_valid(undefined)


@pytest.mark.parametrize("rule", rule_names())
def test_the_zoo_is(rule: str) -> None:
    assert is_valid(load(rule))


def test_it_knows_of_new_operations() -> None:
    rule = with_value(Node("doubled", (G,)))
    assert not is_valid(rule)
    OPS.register(Op(name="doubled", args=("x",), doc="twice x", derived="x + x"))
    try:
        assert is_valid(rule)
        assert not is_valid(with_value(G, "doubled"))
    finally:
        OPS.unregister("doubled")
    assert not is_valid(rule)
    assert is_valid(with_value(G, "doubled"))


def test_equal_rules_have_equal_hashes() -> None:
    again = GOOD.replace(doc="")
    assert again == GOOD
    assert again is not GOOD
    assert hash(again) == hash(GOOD)
    assert hash(GOOD.replace(doc="other")) != hash(GOOD)
