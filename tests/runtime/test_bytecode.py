"""What rules become as bytecode: few instructions, in place, in few registers, nothing read before it is written."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from strategies import rules

from evoptim.dsl import OPS, Rule, load, parse, rule_names
from evoptim.dsl.node import name
from evoptim.runtime.bytecode import Bytecode, Code, Domain, Section, Space, compile_bytecode, instruction_set
from evoptim.runtime.bytecode.fusion import fuse
from evoptim.runtime.bytecode.opcodes import COPY, EXPAND, Pattern, patterns


def compiled(rule: Rule) -> Bytecode:
    """The bytecode of a rule that has some."""
    code = compile_bytecode(rule)
    assert code is not None
    return code


def sections(code: Code) -> list[Section]:
    return [s for stage in code.stages for s in stage]


def operations(text: str) -> list[str]:
    """What a rule that works element by element does."""
    [section] = sections(compiled(parse(text)).vector)
    return [f"{i.op} | {i.form}" for i in section.code]


def check(code: Code) -> None:
    """Every instruction exists; registers and temporaries are read after they are written; gradients are only read."""
    found = set()
    for section in sections(code):
        for i in section.code:
            assert (i.op, i.form) in instruction_set()
            for value in i.arguments:
                assert value in found or value.space not in (Space.REGISTER, Space.SCRATCH)
                assert value.domain in (section.domain, Domain.SCALAR) or i.op == EXPAND
            assert i.to.space not in (Space.GRADIENT, Space.NUMBER)
            found.add(i.to)
        found = {v for v in found if v.space is not Space.REGISTER}


@pytest.mark.parametrize("rule", [load(n) for n in rule_names()], ids=rule_names())
def test_zoo_rules(rule: Rule) -> None:
    code = compile_bytecode(rule)
    if code is None:
        assert "matmul" in rule.text
        return
    check(code.vector)
    check(code.matrix)


@given(rule=rules())
def test_random_rules(rule: Rule) -> None:
    code = compile_bytecode(rule)
    if code is not None:
        check(code.vector)
        check(code.matrix)


def test_adamw_is_four_instructions_in_place_and_one_register() -> None:
    [section] = sections(compiled(load("adamw")).vector)
    assert [(i.op, i.to.space.name, i.to.key) for i in section.code] == [
        ("a * x + b * y", "STATE", "m"),
        ("a * x + b * (y * y)", "STATE", "v"),
        ("x / a / (sqrt(y / b) + c)", "REGISTER", 0),
        ("x - a * (y + b * x)", "PARAMETER", "w"),
    ]


def test_what_is_read_twice_is_computed_once() -> None:
    text = "def f(w, g, *, lr=1):\n    u = g * w\n    return w - lr * (u + 1) * (u + 2)"
    assert sum("mul | vv" in line for line in operations(text)) == 1


def test_states_that_change_places_go_through_registers() -> None:
    [section] = sections(compiled(parse("def f(w, g, a, b, *, lr=1):\n    return w - lr * a - g, b, a")).vector)
    copies = [i for i in section.code if i.op == COPY]
    assert [i.to.space.name for i in copies] == ["REGISTER", "REGISTER", "STATE", "STATE"]


def test_registers_are_used_again() -> None:
    terms = " + ".join(f"tanh({k} * g) * sin(w * {k})" for k in range(3, 40))
    [section] = sections(compiled(parse(f"def f(w, g, *, lr=1):\n    return w - lr * ({terms})")).vector)
    assert len({i.to.key for i in section.code if i.to.space is Space.REGISTER}) <= 4


def test_reductions_cut_stages_and_smaller_values_are_computed_in_their_own_domain() -> None:
    code = compiled(load("adafactor")).matrix
    assert [s.domain.name for s in code.stages[0]] == ["TENSOR"]
    assert {s.domain.name for s in sections(code)} == {"SCALAR", "PLANE", "ROW", "COL", "TENSOR"}


def test_a_rule_may_need_any_number_of_registers() -> None:
    count = 60
    firsts = [f"    x{k} = tanh({k + 2} * g)" for k in range(count)]
    seconds = ["    s = g", *(f"    s = sin(s * x{k})" for k in range(count))]
    thirds = [f"    s = s * x{k}" for k in range(count)]
    text = "\n".join(["def f(w, g, *, lr=1):", *firsts, *seconds, *thirds, "    return w - lr * s"])
    code = compiled(parse(text)).vector
    check(code)
    [section] = sections(code)
    assert len({i.to.key for i in section.code if i.to.space is Space.REGISTER}) >= count


@pytest.mark.parametrize(
    "text",
    [
        "def f(w, g, *, lr=1):\n    if matrix:\n        u = matmul(g, transpose(g))\n        u = matmul(u, g)\n"
        "    else:\n        u = g\n    return w - lr * u",
        "def f(w, g, *, lr=1):\n    if matrix:\n        u = g * 2\n    else:\n        u = g\n"
        "    return w - lr * u / global_norm(u)",
    ],
    ids=["matrix products", "global values beside branches"],
)
def test_what_has_no_bytecode(text: str) -> None:
    assert compile_bytecode(parse(text)) is None


@pytest.mark.parametrize(("pattern", "form"), [(p, f) for p in patterns() for f in sorted(p.forms)])
def test_every_superinstruction_takes_the_place_of_its_expression(pattern: Pattern, form: str) -> None:
    forms = dict(zip(pattern.arguments, form, strict=True))
    nodes = [n for n in pattern.tree.walk() if n.args]
    uses = Counter([pattern.tree, *(a for n in nodes for a in n.args)])
    found = fuse(nodes, uses, lambda arguments: "".join(forms.get(str(a.value), "v") for a in arguments))
    assert found == {pattern.tree: (pattern.name, tuple(map(name, pattern.arguments)))}


def test_what_others_read_does_not_vanish() -> None:
    assert operations("def f(w, g, *, lr=1):\n    u = g * w\n    return w + u + lr * sin(u)")[0] == "mul | vv"


def test_the_op_table_is_what_there_is() -> None:
    named = {o.name for o in instruction_set().opcodes}
    assert {op.name for op in OPS if op.cpp and op.reduce is None} <= named
