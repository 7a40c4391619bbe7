"""Rule -> text. The text is the storage form: reading it gives the same rule again."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache

from .domains import Domain
from .kinds import Kind
from .node import Node
from .ops import OPS
from .rule import Assign, Buffer, Hyper, If, Rule

ATOM = 100
_UNARY = 6
_WIDTH = 112


def number(value: float) -> str:
    """The shortest text of a constant: ``1``, ``0.5``, ``1e-3``, ``0.0015``."""
    if math.isnan(value) or math.isinf(value):
        raise ValueError(f"{value} has no text in the rule language")
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    point = len(text) + exponent  # the decimal point stands after this many digits
    if value == 0:
        plain = "0"
    elif exponent >= 0:
        plain = text + "0" * exponent
    elif point > 0:
        plain = f"{text[:point]}.{text[point:]}"
    else:
        plain = "0." + "0" * -point + text
    mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
    scientific = f"{mantissa}e{point - 1}"
    shortest = plain if len(plain) <= max(len(scientific), 4) else scientific
    return ("-" if sign else "") + (f"{shortest}.0" if sign and value == 0 else shortest)


def expression(node: Node) -> str:
    """An expression as text, with no more parentheses than it needs."""
    return _print(node, OPS.version)[0]


@lru_cache(maxsize=1 << 16)
def _print(node: Node, version: int) -> tuple[str, int]:
    """The text of a node and how tightly its outermost operator binds; ``version`` is that of the op table."""
    if node.op == "name":
        return str(node.value), ATOM
    if node.op == "const":
        assert isinstance(node.value, float)
        text = number(node.value)
        return text, _UNARY if text.startswith("-") else ATOM
    op = OPS.get(node.op)
    parts = [_print(a, version) for a in node.args]
    if op is None:  # only in a message about it
        return f"{node.op}({', '.join(text for text, _ in parts)})", ATOM
    if op.symbol and op.arity == 1:
        # -(-x) and -(3) keep their parentheses: "-3" would be read as the constant
        inner, binding = parts[0]
        tight = binding >= op.precedence and node.args[0].op not in ("const", "neg")
        return f"{op.symbol}{inner if tight else f'({inner})'}", op.precedence
    if op.symbol:
        return infix(op.name, op.symbol, op.precedence, parts[0], parts[1]), op.precedence
    return f"{op.name}({', '.join(text for text, _ in parts)})", ATOM


def infix(name: str, symbol: str, precedence: int, left: tuple[str, int], right: tuple[str, int]) -> str:
    """Two printed operands joined by an operator, by Python's precedence and associativity."""
    power = name == "power"
    comparison = precedence == 3
    left_ok = left[1] > precedence if power or comparison else left[1] >= precedence
    # Python reads a ** -b without parentheses
    right_ok = right[1] >= _UNARY if power else right[1] > precedence
    a = left[0] if left_ok else f"({left[0]})"
    b = right[0] if right_ok else f"({right[0]})"
    return f"{a}**{b}" if power else f"{a} {symbol} {b}"


def _buffer(buffer: Buffer) -> str:
    if buffer.output:
        return f"{buffer.name}: output({buffer.init})" if buffer.init else f"{buffer.name}: output"
    if buffer.init:
        return f"{buffer.name}: init({buffer.init})"
    return buffer.name if buffer.kind == Kind.TENSOR else f"{buffer.name}: {buffer.kind.annotation}"


def _domain(domain: Domain) -> str:
    return f"{domain.scale}({', '.join(map(number, domain.values))})"


def _hyper(hyper: Hyper) -> str:
    if hyper.declared is None:
        return f"{hyper.name}={number(hyper.default)}"
    return f"{hyper.name}: {_domain(hyper.declared)} = {number(hyper.default)}"


def signature(rule: Rule) -> str:
    """The ``def`` line."""
    buffers = {b.name: _buffer(b) for b in rule.buffers}
    positional = ["w", "g", *(buffers.get(n, n) for n in rule.positional)]
    hypers = [*map(_hyper, rule.hypers)]
    line = f"def {rule.name}({', '.join([*positional, *(['*'] if hypers else []), *hypers])}):"
    if len(line) <= _WIDTH:
        return line
    star = ", *" if hypers else ""
    rows = [", ".join(positional) + star, *_rows(hypers)]
    return f"def {rule.name}(\n" + "".join(f"    {row},\n" for row in rows) + "):"


def _rows(parts: list[str]) -> Iterator[str]:
    """Comma-separated parts, broken into rows of limited width."""
    row = ""
    for part in parts:
        if row and len(row) + len(part) > _WIDTH - 8:
            yield row
            row = ""
        row = f"{row}, {part}" if row else part
    if row:
        yield row


def statements(rule: Rule) -> Iterator[str]:
    """The body line by line, the return statement last, without the outer indentation."""
    for statement in rule.body:
        if isinstance(statement, If):
            yield "if matrix:"
            yield from _block(statement.then) if statement.then else ["    pass"]
            if statement.other:
                yield "else:"
                yield from _block(statement.other)
        else:
            yield assignment(statement)
    yield "return " + ", ".join(map(expression, rule.returns))


def assignment(statement: Assign) -> str:
    """One assignment as text."""
    return f"{statement.target} = {expression(statement.value)}"


def _block(assigns: tuple[Assign, ...]) -> Iterator[str]:
    for statement in assigns:
        yield f"    {assignment(statement)}"


def print_rule(rule: Rule) -> str:
    """The canonical text of a rule, ending in a newline."""
    lines = [signature(rule), *_docstring(rule.doc), *(f"    {line}" for line in statements(rule))]
    return "\n".join(lines) + "\n"


def docstring(doc: str) -> str:
    """The docstring as a rule holds it: without indentation, trailing blanks and blank lines around it."""
    trimmed = "\n".join(line.rstrip() for line in doc.split("\n"))
    # the first pass may bring an indented line to the front
    return inspect.cleandoc(inspect.cleandoc(trimmed))


def _docstring(doc: str) -> list[str]:
    if not doc:
        return []
    first, *rest = _escape(docstring(doc)).split("\n")
    if not rest:
        return [f'    """{first}"""']
    return [f'    """{first}', *(f"    {line}" if line else "" for line in rest), '    """']


def _escape(doc: str) -> str:
    """The text of a docstring as it stands between triple quotes, none of which it may form or join."""
    out = "".join(map(_escaped_character, doc))
    return re.sub(r'"{3,}|"+\Z', lambda quotes: '\\"' * len(quotes[0]), out)


def _escaped_character(c: str) -> str:
    if c == "\\":
        return "\\\\"
    return c if c == "\n" or c.isprintable() else f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"
