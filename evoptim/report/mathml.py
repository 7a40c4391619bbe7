"""Rules as MathML, which browsers set without any script or font from elsewhere.

Names are set as in the LaTeX of a rule: buffers carry the index t-1 until they are assigned, w is a theta, lr an eta.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from evoptim.dsl import Assign, If, Node, Rule, Statement
from evoptim.dsl.printer import number as constant

from .markup import Html, joined, tag

GREEK = {
    "w": "θ",
    "lr": "η",
    "eps": "ε",
    "weight_decay": "λ",
    "momentum": "μ",
    **dict(zip("alpha beta gamma delta eta mu rho tau".split(), "αβγδημρτ", strict=True)),
}
SUM, PRODUCT, UNARY, POWER, ATOM = 1, 2, 3, 4, 5
"""How tightly what is written binds."""
COMPARISONS = {"less": "<", "less_equal": "≤", "greater": ">", "greater_equal": "≥", "equal": "=", "not_equal": "≠"}

Written: TypeAlias = tuple[Html, int]
_Form: TypeAlias = Callable[..., Written]

_TIMES: dict[str, list[Html]] = {
    "": [],
    "now": [tag("mi", "t")],
    "before": [tag("mi", "t"), tag("mo", "\N{MINUS SIGN}"), tag("mn", 1)],
}
"""The time index of what is carried from step to step: of this step, or of the one before."""


def mathml(rule: Rule) -> Html:
    """The update as a block of equations, one line per statement."""
    writer = _Writer(rule)
    rows = [row for statement in rule.body for row in writer.rows(statement)]
    for slot, node in zip(("w", *(b.name for b in rule.buffers)), rule.returns, strict=True):
        if not (node.op == "name" and node.value == slot):
            rows += writer.rows(Assign(slot, node))
    return tag("math", tag("mtable", *rows, columnalign="right center left", displaystyle="true"), display="block")


class _Writer:
    """Writes statements in their order; knows which names have been assigned."""

    def __init__(self, rule: Rule) -> None:
        carried = {"w", *(b.name for b in rule.buffers)}
        self.index = {n: "before" if n in carried else "now" if n == "g" else "" for n in rule.leaves}

    def rows(self, statement: Statement) -> list[Html]:
        """A line for an assignment, several for a branch."""
        if isinstance(statement, Assign):
            value = self.expression(statement.value)[0]
            self.index[statement.target] = "now"
            cells = (self.name(statement.target), _operator("="), value)
            return [tag("mtr", *(tag("mtd", cell) for cell in cells))]
        return self._branches(statement)

    def _branches(self, statement: If) -> list[Html]:
        before = dict(self.index)
        then = [row for a in statement.then for row in self.rows(a)]
        after, self.index = self.index, before
        other = [row for a in statement.other for row in self.rows(a)]
        self.index = after | self.index
        return [_heading("if the parameter is a matrix"), *then, _heading("else"), *other]

    def name(self, identifier: str) -> Html:
        """An identifier as a symbol with its indices."""
        match = re.fullmatch(r"([a-zA-Z]+?)_?(\d+)", identifier)
        base, digits = (match[1], match[2]) if match else (identifier, "")
        symbol = tag("mi", GREEK.get(base, base.replace("_", " ")))
        indices = ([tag("mn", digits)] if digits else []) + _TIMES[self.index.get(identifier, "")]
        apart = [tag("mo", ",")] if len(indices) > 1 and digits else []
        return tag("msub", symbol, tag("mrow", *indices[:1], *apart, *indices[1:])) if indices else symbol

    def expression(self, node: Node) -> Written:
        """An expression, and how tightly it binds."""
        if node.op == "name":
            return self.name(str(node.value)), ATOM
        if node.op == "const":
            assert isinstance(node.value, float)
            return _constant(node.value)
        if node.op in ("add", "sub"):
            return self._sum(node), SUM
        if node.op in _FORMS:
            return _FORMS[node.op](*(self.expression(a) for a in node.args))
        if node.op in COMPARISONS:
            left, right = (self.expression(a) for a in node.args)
            return joined([_bound(left, SUM), _operator(COMPARISONS[node.op]), _bound(right, SUM)]), SUM - 1
        return self._call(node), ATOM

    def _sum(self, node: Node) -> Html:
        left, right = (self.expression(a) for a in node.args)
        sign = "+" if node.op == "add" else "\N{MINUS SIGN}"
        return joined([_bound(left, SUM), _operator(sign), _after(right, SUM if node.op == "add" else PRODUCT)])

    def _call(self, node: Node) -> Html:
        inner: list[Html] = []
        for i, argument in enumerate(node.args):
            inner += ([_operator(",")] if i else []) + [self.expression(argument)[0]]
        return joined([tag("mi", node.op.replace("_", " "), mathvariant="normal"), _parenthesised(joined(inner))])


def _heading(text: str) -> Html:
    return tag("mtr", tag("mtd", tag("mtext", text), columnspan=3, class_="branch"))


def _operator(text: str) -> Html:
    return tag("mo", text)


def _parenthesised(inner: Html) -> Html:
    return tag("mrow", tag("mo", "("), inner, tag("mo", ")"))


def _bound(written: Written, least: int) -> Html:
    """In parentheses where it binds less tightly than wanted."""
    return tag("mrow", written[0]) if written[1] >= least else _parenthesised(written[0])


def _after(written: Written, least: int) -> Html:
    """The same behind an operator: in parentheses where it begins with a sign, too."""
    signed = re.match(r"(<mrow>)*<mo>\N{MINUS SIGN}</mo>", written[0])
    return _parenthesised(written[0]) if signed else _bound(written, least)


def _constant(value: float) -> Written:
    mantissa, e, exponent = constant(abs(value)).partition("e")
    text = tag("mn", mantissa)
    if e:
        power = tag("msup", tag("mn", 10), tag("mrow", *_signed(int(exponent))))
        text = power if mantissa == "1" else joined([text, _operator("·"), power])
    if str(value).startswith("-"):
        return joined([_operator("\N{MINUS SIGN}"), text]), UNARY
    return text, PRODUCT if e and mantissa != "1" else ATOM


def _signed(value: int) -> list[Html]:
    return ([_operator("\N{MINUS SIGN}")] if value < 0 else []) + [tag("mn", abs(value))]


def _product(left: Written, right: Written) -> Written:
    """Factors side by side, with a dot before a number."""
    sign = "\N{MIDDLE DOT}" if right[0].startswith(("<mn>", "<msup><mn>")) else "\N{INVISIBLE TIMES}"
    space = tag("mspace", width="0.14em")
    return joined([_bound(left, PRODUCT), _operator(sign), space, _after(right, UNARY)]), PRODUCT


def _fraction(over: Written, under: Written) -> Written:
    return tag("mfrac", tag("mrow", over[0]), tag("mrow", under[0])), PRODUCT


def _fenced(left: str, right: str) -> _Form:
    return lambda *of: (tag("mrow", tag("mo", left), of[0][0], tag("mo", right)), ATOM)


def _between(x: Written, y: Written, weight: Written) -> Written:
    """``ema(x, y, b)``: b x + (1 - b) y."""
    rest = joined([tag("mn", 1), _operator("\N{MINUS SIGN}"), _after(weight, PRODUCT)])
    left, right = _product(weight, x), _product((rest, SUM), y)
    return joined([left[0], _operator("+"), _after(right, SUM)]), SUM


def _prefixed(sign: str) -> _Form:
    return lambda *of: (joined([_operator(sign), _after(of[0], PRODUCT)]), UNARY)


def _raised(exponent: Html) -> _Form:
    return lambda *of: (tag("msup", _bound(of[0], ATOM), exponent), POWER)


_FORMS: Mapping[str, _Form] = {
    "mul": lambda *of: _product(*of),
    "div": lambda *of: _fraction(*of),
    "power": lambda *of: (tag("msup", _bound(of[0], ATOM), tag("mrow", of[1][0])), POWER),
    "neg": _prefixed("\N{MINUS SIGN}"),
    "abs": _fenced("|", "|"),
    "floor": _fenced("\N{LEFT FLOOR}", "\N{RIGHT FLOOR}"),
    "norm": _fenced("\N{DOUBLE VERTICAL LINE}", "\N{DOUBLE VERTICAL LINE}"),
    "sqrt": lambda *of: (tag("msqrt", of[0][0]), ATOM),
    "cbrt": lambda *of: (tag("mroot", tag("mrow", of[0][0]), tag("mn", 3)), ATOM),
    "exp": lambda *of: (tag("msup", tag("mi", "e"), tag("mrow", of[0][0])), POWER),
    "square": _raised(tag("mn", 2)),
    "cube": _raised(tag("mn", 3)),
    "reciprocal": lambda *of: _fraction((tag("mn", 1), ATOM), of[0]),
    "transpose": _raised(tag("mo", "\N{DOWN TACK}")),
    "matmul": lambda *of: _product(*of),
    "ema": lambda *of: _between(*of),
    "lerp": lambda *of: _between(of[1], of[0], of[2]),
}
"""Operations that have a form of their own; the others are written as functions."""
