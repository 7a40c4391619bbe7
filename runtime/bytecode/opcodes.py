"""The instructions of the population machine: every elementwise operation in each of its operand forms.

An instruction works on tiles. An operand is a *vector* (one value per entry) or a *scalar* (one value for all): the
form ``vs`` takes a vector, then a scalar. What an instruction computes is taken from the op table; a
*superinstruction* is an expression of several operations that appears often in optimizers, evaluated entry by entry
without tiles in between, each operation rounded by itself.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

from evoptim.dsl import OPS, Node, Op
from evoptim.dsl.derived import expand, read_expression

VECTOR, SCALAR = "v", "s"
COPY, EXPAND = "copy", "expand"
"""Not in the op table: a value written to where it belongs, and a row, column or plane spread over the entries."""
REDUCTIONS = ("sum", "amax", "amin")
SUMMED = {"mean": "sum"}
"""Reductions that are another one, divided by a count at the end."""

_SUPERINSTRUCTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # moving averages and the frame
    ("a * x + b * (y * y)", ("svsv",)),
    ("a * x + b * y", ("svsv",)),
    ("x - a * (y / z + b * x)", ("vsvss", "vssvs")),
    ("x - a * (y + b * x)", ("vsvs",)),
    ("x + s * (y - x)", ("vsv", "vvv")),
    # quotients
    ("x / (abs(y) + 1e-8) * where(y < 0, -1, 1)", ("vv", "sv", "vs")),
    ("x / a / (sqrt(y / b) + c)", ("vsvss",)),
    ("x / (sqrt(y / b) + c)", ("vvss",)),
    ("x / (sqrt(y) + a)", ("vvs",)),
    ("sqrt(y / b) + c", ("vss",)),
    ("sqrt(abs(x))", ("v",)),
    ("sqrt(x) + a", ("vs",)),
    ("x / sqrt(y)", ("vv", "sv")),
    ("x / (y / a + b)", ("vvss",)),
    ("x / (y + z)", ("vvv", "vvs")),
    ("x / (y - z)", ("vvv", "vvs", "vsv")),
    ("x / a / b", ("vss",)),
    ("log(abs(x) + 1e-8)", ("v",)),
    # products and sums
    ("x * x * x", ("v",)),
    ("a * (x * x)", ("sv",)),
    ("x - y * z", ("vvv", "vsv")),
    ("x * y - z", ("vvv", "svv", "vvs", "svs")),
    ("x * y + z", ("vvv", "svv", "vvs", "svs")),
    ("(x + y) * z", ("vvv", "vsv", "vvs", "vss")),
    ("(x - y) * z", ("vvv", "vsv", "svv", "vvs", "vss", "svs")),
    ("x * y * z", ("vvv", "vvs", "vsv", "vss")),
    ("x + y + z", ("vvv", "vvs", "vsv")),
    ("x - y - z", ("vvv", "vvs", "vsv", "svv")),
)


_ONLY = {"power": ("vv", "sv")}
"""Forms of an operation where not every one is a loop that compilers vectorise."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A superinstruction: its expression, and in which forms of its arguments it exists."""

    name: str
    tree: Node
    arguments: tuple[str, ...]
    forms: frozenset[str]


@dataclass(frozen=True, slots=True)
class Opcode:
    """An operation in one form: its C++ text for entry ``i`` in terms of ``x0``, ``x1`` and so on."""

    name: str
    form: str
    text: str


@lru_cache(maxsize=1)
def _patterns(version: int) -> tuple[Pattern, ...]:
    out = []
    for text, forms in _SUPERINSTRUCTIONS:
        tree = expand(read_expression(text))
        names = dict.fromkeys(str(n.value) for n in _leaves(tree) if n.op == "name")
        out.append(Pattern(text, tree, tuple(names), frozenset(forms)))
    return tuple(out)


def _leaves(node: Node) -> list[Node]:
    """The leaves from left to right."""
    return [leaf for a in node.args for leaf in _leaves(a)] if node.args else [node]


def patterns() -> tuple[Pattern, ...]:
    """The superinstructions, those that save most first."""
    return _patterns(OPS.version)


def printable(op: Op) -> bool:
    """Whether an operation works entry by entry and has a C++ form."""
    return bool(op.cpp) and op.reduce is None and op.kind is None and not op.derived


class InstructionSet:
    """All opcodes, numbered: the operations as the op table has them, then the reductions, then `EXPAND`."""

    def __init__(self) -> None:
        self.opcodes: tuple[Opcode, ...] = (*_primitives(), *_superinstructions())
        names = [(o.name, o.form) for o in self.opcodes] + [(n, VECTOR) for n in (*REDUCTIONS, EXPAND)]
        self._numbers = {name: k for k, name in enumerate(names)}

    def __contains__(self, opcode: tuple[str, str]) -> bool:
        return opcode in self._numbers

    def number(self, name: str, form: str) -> int:
        """The number of an operation in a form.

        Raises:
            KeyError: It does not exist in that form.
        """
        return self._numbers[name, form]


@lru_cache(maxsize=1)
def _instruction_set(version: int) -> InstructionSet:
    return InstructionSet()


def instruction_set() -> InstructionSet:
    """The instructions for the op table as it stands."""
    return _instruction_set(OPS.version)


def _primitives() -> list[Opcode]:
    out = [Opcode(COPY, VECTOR, "x0"), Opcode(COPY, SCALAR, "x0")]
    for op in filter(printable, OPS):
        arguments = [f"x{k}" for k in range(op.arity)]
        if op.condition:
            arguments[0] = "(x0 != A(0))"
        text = op.cpp.format(*arguments)
        forms = map("".join, itertools.product(VECTOR + SCALAR, repeat=op.arity))
        some = (f for f in forms if VECTOR in f and f in _ONLY.get(op.name, (f,)))
        out += [Opcode(op.name, form, f"A({text})" if op.comparison else text) for form in some]
    return out


def _superinstructions() -> list[Opcode]:
    out = []
    for pattern in patterns():
        names = {n: f"x{k}" for k, n in enumerate(pattern.arguments)}
        text = _printed(pattern.tree, names)
        out += [Opcode(pattern.name, form, text) for form in sorted(pattern.forms)]
    return out


def _printed(node: Node, names: dict[str, str]) -> str:
    if node.op == "name":
        return names[str(node.value)]
    if node.op == "const":
        return f"A({node.value!r})"
    return f"({OPS[node.op].cpp.format(*(_printed(a, names) for a in node.args))})"
