"""Text -> Rule -> text: the text of a rule reads as the same rule, and printing that gives the same text."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import rules

from evoptim.dsl import Node, Rule, check, const, load, name, parse, rule_names
from evoptim.dsl.printer import docstring, expression

SIGN = "def r(w, g):\n{}    return w\n"


def assert_round_trip(rule: Rule) -> None:
    text = rule.text
    read = parse(text)
    assert read.text == text
    assert read == rule


@given(rules())
def test_random_rules_are_well_typed(rule: Rule) -> None:
    assert check(rule) == []


@given(rules())
def test_random_rules(rule: Rule) -> None:
    assert_round_trip(rule)


@pytest.mark.parametrize("identifier", rule_names())
def test_library_rules(identifier: str) -> None:
    rule = load(identifier)
    assert_round_trip(rule)
    assert pickle.loads(pickle.dumps(rule)) == rule


# --- docstrings ------------------------------------------------------------------------------------------

DOCS = [
    'ends in a quote"',
    'ends in two""',
    'four""""',
    'many"""""""',
    'inside """ three',
    'a backslash before a quote \\"',
    "ends in a backslash\\",
    "ends in two\\\\",
    "a tab\tand a nul \x00 and a bell \x07",
    "\u4e2d\u6587 \u00e9 \U0001f600 \u200b \u202e \ufeff",
    "half \ud800 a character",
    "line\u2028separator \x85 \x0c \x1c",
    "carriage\rreturn",
    "title\n\nbody\n    indented\n\nend",
    "title\n  all\n  indented",
    "trailing blanks   \nhere  ",
    "(((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((((",
    "# no comment (((",
    "'''",
    "\\N{BULLET} \\x41 \\u0041 {braces} %s",
]


@pytest.mark.parametrize("doc", DOCS)
def test_docstrings(doc: str) -> None:
    rule = parse(SIGN.format("")).replace(doc=doc)
    read = parse(rule.text)
    assert read.doc == docstring(doc)
    assert_round_trip(read)


@given(st.text(st.characters(codec=None), max_size=60))
def test_any_docstring(doc: str) -> None:
    clean = docstring(doc)
    assert docstring(clean) == clean
    rule = parse(SIGN.format("")).replace(doc=doc)
    assert parse(rule.text).doc == clean
    assert_round_trip(parse(rule.text))


@pytest.mark.parametrize(
    "source",
    [
        '    """\n      first\n    second"""\n',
        '    """a\n  \n"""\n',
        '    """a\n\n      \n      b"""\n',
        '    """\\t tab"""\n',
        "    r'''raw \\d'''\n",
        '    "plain \\d"\n',
        '    """"""\n',
        '    """   """\n',
    ],
)
def test_odd_docstrings_in_a_text(source: str) -> None:
    assert_round_trip(parse(SIGN.format(source)))


# --- expressions -----------------------------------------------------------------------------------------

X, Y, Z = name("w"), name("g"), name("m")


def op(kind: str, *args: Node) -> Node:
    return Node(kind, args)


EXPRESSIONS = {
    "w - (g - m)": op("sub", X, op("sub", Y, Z)),
    "w - g - m": op("sub", op("sub", X, Y), Z),
    "w / (g * m)": op("div", X, op("mul", Y, Z)),
    "w**g**m": op("power", X, op("power", Y, Z)),
    "(w**g)**m": op("power", op("power", X, Y), Z),
    "-w**2": op("neg", op("power", X, const(2))),
    "(-w)**2": op("power", op("neg", X), const(2)),
    "(-2)**w": op("power", const(-2), X),
    "w**-2": op("power", X, const(-2)),
    "w**-g": op("power", X, op("neg", Y)),
    "-(-w)": op("neg", op("neg", X)),
    "-(-2)": op("neg", const(-2)),
    "-(w * g)": op("neg", op("mul", X, Y)),
    "-w * g": op("mul", op("neg", X), Y),
    "w * -g": op("mul", X, op("neg", Y)),
    "w - -2": op("sub", X, const(-2)),
    "-(w + g)": op("neg", op("add", X, Y)),
    "where(w + g < m, -w, w)": op("where", op("less", op("add", X, Y), Z), op("neg", X), X),
    "w * 5e-324": op("mul", X, const(5e-324)),
    "w * -0.0": op("mul", X, const(-0.0)),
    "w * 1.7976931348623157e308": op("mul", X, const(1.7976931348623157e308)),
    "w * 0.1": op("mul", X, const(0.1)),
    "w * 1000": op("mul", X, const(1e3)),
    "w * 123456789012345680": op("mul", X, const(123456789012345678.0)),
}


@pytest.mark.parametrize(("text", "node"), EXPRESSIONS.items(), ids=EXPRESSIONS)
def test_expressions_have_the_parentheses_they_need(text: str, node: Node) -> None:
    assert expression(node) == text
    assert parse(f"def r(w, g, m):\n    return {text}, m\n").returns[0] is node


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_constant(value: float) -> None:
    text = expression(op("mul", X, const(value)))
    assert parse(f"def r(w, g):\n    return {text}\n").returns[0] is op("mul", X, const(value))


# --- whole texts -----------------------------------------------------------------------------------------

TEXTS = {
    "step first": "def r(w, g, t, m):\n    m = m * t\n    return w - m, m\n",
    "step between": "def r(w, g, m, t, v):\n    return w - m * t, m, v\n",
    "empty then": "def r(w, g):\n    if matrix:\n        pass\n    else:\n        w = w - g\n    return w\n",
    "no else": "def r(w, g):\n    if matrix:\n        w = w - g\n    return w\n",
    "every kind": (
        "def r(w, g, a: row, b: col, c: scalar, d: global_, e: init(g), f: init(w), h):\n"
        "    if matrix:\n        a = row_mean(g)\n        b = col_mean(g)\n"
        "    return w, a, b, mean(g), global_norm(g), e, f, h\n"
    ),
    "every domain": (
        "def r(\n    w, g, *,\n    lr: log(1e-5, 0.1) = 1e-3, beta: one_minus_log(0.5, 0.9999) = 0.9, "
        "gain: uniform(-1, 1) = 0,\n    steps: choice(1, 2.5, -3) = 1,\n):\n    return w - lr * beta * gain * steps\n"
    ),
    "many buffers": f"def r(\n    w, g, {', '.join(f'buffer{i}' for i in range(30))},\n):\n    return w, "
    + ", ".join(f"buffer{i}" for i in range(30))
    + "\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_canonical_texts(text: str) -> None:
    assert parse(text).text == text
    assert_round_trip(parse(text))


@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_line_endings_and_byte_order_mark(ending: str) -> None:
    text = load("adamw").text
    assert parse("\ufeff" + text.replace("\n", ending)).text == text


def test_depth_survives_printing() -> None:
    deep = "-" * 60 + "w"
    assert_round_trip(parse(f"def r(w, g):\n    return {deep}\n"))
