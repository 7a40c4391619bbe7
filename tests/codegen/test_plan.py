"""Plans: the bytes that published rules must move, stages cut at reductions, and nothing stored that is read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from strategies import rules

from evoptim.codegen.plan import Plan, plan
from evoptim.dsl import (
    Rule,
    derive,
    load,
    parse,
    rule_names,
    with_caution,
    with_clipping,
    with_layer_adaptation,
    with_lookahead,
)

FLOORS = {
    "adamw": (28, 22, 8),
    "adax": (28, 22, 8),
    "lion": (20, 14, 4),
    "adan": (44, 38, 16),
    "sgd": (20, 14, 4),
    "gradient_descent": (12, 6, 0),
}
"""Bytes moved per element in float32, and with bfloat16 parameters and gradients; bytes of state."""


@pytest.mark.parametrize("name", FLOORS)
def test_elementwise_rules_move_each_buffer_once(name: str) -> None:
    p = plan(load(name))
    assert (p.element_bytes(), p.element_bytes(2), p.state_bytes) == FLOORS[name]
    assert p.element_bytes() == p.least_bytes()
    assert len(p.stages) == 1


def test_adafactor_streams_the_gradient_three_times() -> None:
    p = plan(load("adafactor"), True)
    assert p.element_bytes() == 24
    assert p.element_bytes(2) == 12
    assert p.state_bytes == 0
    assert len(p.stages) == 4


def test_lamb_writes_its_states_as_soon_as_it_has_them() -> None:
    first, last = plan(load("lamb")).stages
    assert set(first.writes) == {"m", "v"}
    assert {str(n) for n in last.loads} == {"w", "m", "v"}
    assert plan(load("lamb")).element_bytes() == 40  # 44 if the step were computed again from the old states


def test_clipping_by_the_global_norm_costs_one_more_read_of_the_gradient() -> None:
    assert plan(with_clipping(load("adamw"))).element_bytes() == 28 + 4


def test_a_temporary_is_kept_where_that_moves_less() -> None:
    p = plan(with_layer_adaptation(load("adan")))
    assert len(p.workspaces) == 1
    assert p.element_bytes() < 44 + 24  # what the second pass would read and write again


def test_lookahead_and_caution_compose_into_few_passes() -> None:
    assert len(plan(with_lookahead(load("lion"))).stages) == 1
    assert len(plan(with_lookahead(with_caution(load("lion")))).stages) == 2
    assert len(plan(derive(with_lookahead(load("adamw")), "accumulation:n=4")).stages) == 1


def test_matrix_products_stand_between_two_stages() -> None:
    """Muon's 15 products read one tensor that a stage has kept, and the last stage reads the two they end in."""
    p = plan(load("muon"), True)
    assert p.products is not None
    assert (p.products_at, len(p.stages)) == (3, 4)
    assert len(p.products.inputs) == 1
    assert set(p.products.exports) <= set(p.stages[3].loads)
    assert p.stages[2].keeps == p.products.inputs
    assert "torch: 15 matrix products of x" in p.text


def test_a_plan_says_what_it_does() -> None:
    text = plan(load("lamb")).text
    for part in ("2 launches", "40 moved in float32", "each buffer once: 28", "1 - beta1**t", "writes m, v", "reduces"):
        assert part in text


def _consistent(p: Plan) -> None:
    """Every slot is written once at most, after whatever reads its old value."""
    written: dict[str, int] = {}
    for k, stage in enumerate(p.stages):
        for w in stage.writes:
            assert w not in written
            written[w] = k
    assert "w" not in written or written["w"] == len(p.stages) - 1
    new = dict(zip((b.name for b in p.slots), p.outputs, strict=True))
    for slot, k in written.items():
        for later in p.stages[k + 1 :]:
            old = [n for n in later.computes if any(a.op == "name" and a.value == slot for a in n.args)]
            stops = {new[s] for s, at in written.items() if at <= k}
            assert not [n for n in old if n not in stops]


@pytest.mark.parametrize("matrix", [False, True])
@pytest.mark.parametrize("name", rule_names())
def test_plans_of_the_zoo(name: str, matrix: bool) -> None:
    p = plan(load(name), matrix)
    _consistent(p)
    assert p.least_bytes() <= p.element_bytes()
    assert p.text


@given(rules(tame=True))
def test_plans_of_random_rules(rule: Rule) -> None:
    for matrix in (False, True):
        _consistent(plan(rule, matrix))


def test_dead_buffers_cost_nothing() -> None:
    rule = parse("def r(w, g, m, v, *, lr=1):\n    v = v + g\n    return w - lr * g, m, v")
    assert plan(rule).element_bytes() == 12
    assert plan(rule).state_bytes == 0
