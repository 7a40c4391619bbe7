"""Expressions and statements of a rule as eager torch code.

Two layouts share the printer. In the *single* layout a value of kind tensor is one tensor of the parameter's
shape and host scalars are Python floats, or, where step and learning rate stay on the device, tensors. In the
*replica* layout every tensor has a leading replica axis that reductions leave alone, and host scalars come in by name,
computed beforehand.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from functools import cache

from evoptim.dsl import OPS, Assign, If, Kind, Node, Op, Reduce, Rule, UserError, kind_of
from evoptim.dsl.derived import definition, substitute
from evoptim.dsl.infer import facts_read
from evoptim.dsl.kinds import FACTS
from evoptim.dsl.node import name
from evoptim.dsl.printer import ATOM, expression, infix, number

from ...intervals import STEPS, Interval, hyper_interval, interval, is_safe
from ...signature import python_number

Text = tuple[str, int]
"""Printed text and how tightly its outermost operator binds."""

_TORCH_NAMES = {"div": "torch.div", "power": "torch.pow"}
_CALL = re.compile(r"[\w.]+\(\{0\}(, \{\d\})*\)")
"""A template that passes each argument once, with nothing around it."""
_FACTS = {
    "ndim": "float(w.dim())",
    "numel": "float(w.numel())",
    "rows": "float(w.shape[-2]) if matrix else 1.0",
    "cols": "float(w.shape[-1]) if matrix else 1.0",
}
_SIMPLE = re.compile(r"-?[\w.]+")
_LENGTHS = (90, 70, 50, 35, 20)  # of a rule's text for an expression, tried until torch's text fits
_WIDTH = 108
_NAME = 6  # characters of a temporary and its equals sign
_LONGEST_INTEGER = 15  # digits: longer ones may not fit the 64 bits that torch has for Python's integers


@dataclass(slots=True)
class Hosts:
    """Host scalars of the replica layout: a name for every maximal host expression.

    ``varying`` names the hyperparameters that differ between replicas: what depends on them is a tensor.
    """

    varying: frozenset[str]
    nodes: dict[Node, str] = field(default_factory=dict)

    def name(self, node: Node) -> str:
        """The name of a host expression, given on first use; no name of a rule begins with an underscore."""
        return self.nodes.setdefault(node, f"_h{len(self.nodes)}")

    def varies(self, node: Node) -> bool:
        """Whether its value differs between replicas."""
        return any(n.op == "name" and n.value in self.varying for n in node.walk())


class Printer:
    """Prints the statements of one rule; keeps the kinds of the names as it goes.

    ``on_device`` names host scalars that are tensors without dimensions: what follows from them is one, too.
    """

    def __init__(self, rule: Rule, hosts: Hosts | None = None, on_device: Set[str] = frozenset()) -> None:
        self.rule = rule
        self.hosts = hosts
        self.kinds: dict[str, Kind] = {n: t.kind for n, t in rule.leaves.items()}
        self.kinds |= {n: Kind.SCALAR for n in on_device if n in self.kinds}
        self.bounds: dict[str, Interval] = {h.name: hyper_interval(h.name) for h in rule.hypers} | {"t": STEPS}
        self.bounds |= {"ndim": (0.0, 64.0)} | dict.fromkeys(("numel", "rows", "cols"), STEPS)
        self.lines: list[str] = []
        self.temporaries = 0
        self.uses_float64 = False
        self.host_values: dict[str, Node] = {}  # replica layout: variables of kind host, by definition
        self.conditions: set[str] = set()  # variables that hold conditions
        self.only: dict[str, bool] = {}  # variables of one class of parameters: whether of matrices

    # statements

    def body(self, matrix: bool | None = None) -> list[str]:
        """The statements as lines; ``if matrix:`` stays a branch unless the class is given."""
        if self.hosts is None:
            read = facts_read(self.rule)
            self.lines += [f"{n} = {_FACTS[n]}" for n in FACTS if n in read]
        if matrix is None:
            for statement in self.rule.body:
                if isinstance(statement, If):
                    self._if(statement)
                else:
                    self._assign(statement)
                    self.only.pop(statement.target, None)
        else:
            for statement in self.rule.straight(matrix):
                self._assign(statement)
        return self.lines

    def assign(self, target: str, value: Node) -> None:
        """Print an assignment."""
        self._assign(Assign(target, value))

    def _assign(self, statement: Assign, lifted: Set[str] = frozenset()) -> None:
        """Print an assignment; what is among ``lifted`` becomes a tensor even if it is a Python number."""
        value = self.short(self._with_host_values(statement.value), len(statement.target) + 3)
        kind = kind_of(value, self.kinds)
        if kind.number and self.hosts is not None:
            self.host_values[statement.target] = value
        else:
            self.host_values.pop(statement.target, None)
            text = _float(value) if value.op == "const" else self.expression(value)
            if kind.number and (statement.target == "w" or statement.target in lifted):
                text, kind = self._lifted(text, self._is_condition(value)), Kind.SCALAR
            self.lines.append(f"{statement.target} = {text}")
        if kind.number:
            self.bounds[statement.target] = interval(value, self.bounds)
        self.kinds[statement.target] = kind
        if self._is_condition(value):
            self.conditions.add(statement.target)
        else:
            self.conditions.discard(statement.target)

    def short(self, node: Node, spent: int) -> Node:
        """The node, with parts of it named where a line of its text, ``spent`` characters less, would be too long."""
        if self.hosts is not None:
            return node
        for limit in _LENGTHS:
            if max(map(len, self._trial(node))) + spent <= _WIDTH:
                break
            node = self._split(node, limit)
        return node

    def _trial(self, node: Node) -> list[str]:
        """The lines that a node's text needs, without consequences."""
        before = self.temporaries, dict(self.kinds), dict(self.bounds), set(self.conditions), self.uses_float64
        outer, self.lines = self.lines, []
        text = self.expression(node)
        lines, self.lines = [*self.lines, text], outer
        self.temporaries, self.kinds, self.bounds, self.conditions, self.uses_float64 = before
        return lines

    def _split(self, node: Node, limit: int) -> Node:
        """The node with parts named so that the rule's own text of it has about ``limit`` characters."""
        if not node.args or len(expression(node)) <= limit:
            return node
        args = [self._split(a, limit) for a in node.args]
        node = Node(node.op, tuple(args))
        while len(expression(node)) > limit:
            longest = max(range(len(args)), key=lambda i: len(expression(args[i])) if args[i].args else 0)
            if not args[longest].args:
                break
            args[longest] = self._named(args[longest])
            node = Node(node.op, tuple(args))
        return node

    def _lifted(self, text: str, condition: bool = False) -> str:
        """A Python number, or truth value, as a tensor without dimensions, or with that of the replicas."""
        if self.hosts is not None and not condition:
            return f"w.new_full((len(w), *(1 for _ in _dims)), {text})"
        return f"w.new_tensor({text}, dtype=torch.bool)" if condition else f"w.new_tensor({text})"

    def _is_condition(self, node: Node) -> bool:
        return node.value in self.conditions if node.op == "name" else node.op in OPS and OPS[node.op].comparison

    def _with_host_values(self, node: Node) -> Node:
        return substitute(node, self.host_values) if self.host_values else node

    def _if(self, statement: If) -> None:
        outer, before = self.lines, (dict(self.kinds), dict(self.bounds), set(self.conditions))
        lifted = self._lifted_after(statement)
        defined = self._kinds_after(statement.then, True, lifted), self._kinds_after(statement.other, False, lifted)
        then_lines, then, conditions = self._block(statement.then, lifted), self.kinds, self.conditions
        self.kinds, self.bounds, self.conditions = before
        other_lines = self._block(statement.other, lifted)
        outer += ["if matrix:", *(then_lines or ["    pass"])]
        outer += ["else:", *other_lines] if other_lines else []
        self.lines = outer
        assigned = {a.target for a in (*statement.then, *statement.other)}
        self.kinds = {n: then.get(n, Kind.HOST) | self.kinds.get(n, Kind.HOST) for n in then | self.kinds}
        self.bounds = {n: b for n, b in self.bounds.items() if n not in assigned}
        self.conditions |= conditions
        self.only = {n: n in defined[0] for n in defined[0].keys() ^ defined[1].keys()}

    def _lifted_after(self, statement: If) -> set[str]:
        """Names that one branch leaves as a Python number and the other one as a tensor: it has to be a tensor."""
        lifted: set[str] = set()
        while True:
            then = self._kinds_after(statement.then, True, lifted)
            other = self._kinds_after(statement.other, False, lifted)
            mixed = {n for n in then.keys() & other.keys() if then[n].number != other[n].number}
            if not mixed:
                return lifted
            lifted |= mixed

    def _kinds_after(self, assigns: tuple[Assign, ...], matrix: bool, lifted: set[str]) -> dict[str, Kind]:
        """The kinds of the names that one class of parameters has after its branch."""
        kinds = {n: k for n, k in self.kinds.items() if self.only.get(n, matrix) == matrix}
        for assign in assigns:
            least = Kind.SCALAR if assign.target in {"w", *lifted} else Kind.HOST
            kinds[assign.target] = _tensor_kind(kind_of(assign.value, kinds), least)
        return kinds | {n: _tensor_kind(kinds[n], Kind.SCALAR) for n in lifted if n in kinds}

    def _block(self, assigns: tuple[Assign, ...], lifted: set[str]) -> list[str]:
        self.lines = []
        for assign in assigns:
            self._assign(assign, lifted)
        for left in sorted(n for n in lifted if self.kinds[n].number):
            self._assign(Assign(left, name(left)), lifted)
        return [f"    {line}" for line in self.lines]

    def result(self, node: Node, copy: bool, optional: bool = False) -> str:
        """A returned value: always a tensor, and never the old value of another buffer itself.

        An ``optional`` one may be None: a buffer that only one class of parameters has.
        """
        node = self._with_host_values(node)
        text, binding = self._text(node)
        if self.is_number(node):
            return self._lifted(text)
        if not copy or self.kind(node).number:
            return text
        copied = f"{_tight((text, binding))}.clone()"
        return f"None if {text} is None else {copied}" if optional and node.op == "name" else copied

    # expressions

    def expression(self, node: Node) -> str:
        """An expression; statements it needs first are appended to ``lines``."""
        return self._text(node)[0]

    def kind(self, node: Node) -> Kind:
        """The kind of an expression at this point of the rule."""
        return kind_of(node, self.kinds)

    def is_number(self, node: Node) -> bool:
        """Whether a value is a Python number when the code runs, not a tensor."""
        if not self.kind(node).number:
            return False
        return self.hosts is None or not self.hosts.varies(node)

    def _text(self, node: Node) -> Text:
        if node.op == "const":
            assert isinstance(node.value, float)
            text = number(node.value)
            return (_float(node) if len(text) > _LONGEST_INTEGER else text), 6 if text.startswith("-") else ATOM
        if self.hosts is not None and self.kind(node).number:
            return self.hosts.name(node), ATOM
        if node.op == "name":
            return str(node.value), ATOM
        op = OPS[node.op]
        if not op.torch and not op.derived:
            raise UserError(
                f"op {op.name!r} cannot be compiled: it has no torch template", "register it with torch=..."
            )
        if self.is_number(node):
            return self._host(op, node)
        if op.derived and not op.torch:
            return self._text(self._expanded(op, node.args))
        if op.reduce is not None:
            return self._reduction(op, node.args[0])
        return self._tensor(op, node)

    def _expanded(self, op: Op, args: tuple[Node, ...]) -> Node:
        """The definition of a derived op; arguments that it uses twice are given a name first."""
        body = definition(op)
        reads = [str(n.value) for n in _tree(body) if n.op == "name"]
        values = {a: self._named(v) if reads.count(a) > 1 else v for a, v in zip(op.args, args, strict=True)}
        return substitute(body, values)

    def _named(self, node: Node) -> Node:
        """The node, as a name if it is not one already."""
        if not node.args or (self.hosts is not None and self.kind(node).number):
            return node
        node = self.short(node, _NAME)
        kind, bounds = self.kind(node), interval(node, self.bounds)
        text = self.expression(node)
        temporary = self._fresh()
        self.lines.append(f"{temporary} = {text}")
        self.kinds[temporary] = kind
        self.bounds[temporary] = bounds
        if self._is_condition(node):
            self.conditions.add(temporary)
        return name(temporary)

    def _fresh(self) -> str:
        while True:
            self.temporaries += 1
            candidate = f"y{self.temporaries}"
            if candidate not in self.kinds:
                return candidate

    def _tensor(self, op: Op, node: Node) -> Text:
        if op.name in ("max", "min"):
            return self._extremum(op, node.args)
        if op.name == "where":
            return self._where(node.args)
        parts = [self._text(a) for a in node.args]
        if op.symbol and op.arity == 2:
            return _infix(op, parts), op.precedence
        if op.symbol:
            return f"-{parts[0][0] if parts[0][1] >= op.precedence else f'({parts[0][0]})'}", op.precedence
        return _filled(op.torch, parts), ATOM

    def _extremum(self, op: Op, args: tuple[Node, ...]) -> Text:
        for x, bound in (args, args[::-1]):
            if self.is_number(bound):
                side = "min" if op.name == "max" else "max"  # the larger of the two is a clamp from below
                return f"torch.clamp({self._text(x)[0]}, {side}={self._text(bound)[0]})", ATOM
        return op.torch.format(*(self._text(a)[0] for a in args)), ATOM

    def _where(self, args: tuple[Node, ...]) -> Text:
        alike = self.kind(args[1]) == self.kind(args[2]) and not self.rule.branches
        if self.is_number(args[0]) and alike:
            return _conditional([self._text(a) for a in args])
        condition, x, y = (self._text(a)[0] for a in args)
        if self.is_number(args[0]):
            condition = self._lifted(condition, condition=True)
        if self.is_number(args[1]) and self.is_number(args[2]):
            x = self._lifted(x)
        return f"torch.where({condition}, {x}, {y})", ATOM

    def _reduction(self, op: Op, argument: Node) -> Text:
        text = self._text(argument)
        if self.is_number(argument):  # what the shapes say, over all parameters
            text = self._lifted(text[0]), ATOM
        match op.reduce:
            case Reduce.GLOBAL:
                temporary = self._fresh()
                self.lines.append(f'{temporary} = yield "{op.torch}", {text[0]}')
                self.kinds[temporary] = Kind.GLOBAL
                return temporary, ATOM
            case Reduce.ROW:
                return f"{_tight(text)}.{op.torch}(dim=-1, keepdim=True)", ATOM
            case Reduce.COL:
                return f"{_tight(text)}.{op.torch}(dim=-2, keepdim=True)", ATOM
            case _ if self.hosts is not None:
                return f"{_tight(text)}.{op.torch}(dim=_dims, keepdim=True)", ATOM
            case _:
                return f"{_tight(text)}.{op.torch}()", ATOM

    def _host(self, op: Op, node: Node) -> Text:
        """Plain Python arithmetic where it cannot raise, else torch's on float64 scalars."""
        if op.derived:
            return self._text(self._expanded(op, node.args))
        parts = self._operands(op, node.args)
        if op.name == "where":
            return _conditional(parts)
        if is_safe(op.name, [interval(a, self.bounds) for a in node.args]):
            if op.symbol and op.arity == 2:
                return _infix(op, parts), op.precedence
            if op.symbol:
                return f"-{_tight(parts[0])}", op.precedence
            return _filled(op.host, parts), ATOM
        self.uses_float64 = True
        return f"_float64({_function(op)}, {', '.join(text for text, _ in parts)})", ATOM

    def _operands(self, op: Op, args: tuple[Node, ...]) -> list[Text]:
        """Printed arguments of a host operation; no operation but the quotient has integers alone."""
        floats = op.name == "where" or (op.name != "div" and all(map(_is_integer, args)))
        parts = [self._text(a) for a in args]
        return [(_float(a), b) if floats and a.op == "const" else (s, b) for a, (s, b) in zip(args, parts, strict=True)]


def _infix(op: Op, parts: list[Text]) -> str:
    """Two operands and their operator, with blanks as formatters set them: around ** only beside what is not simple."""
    text = infix(op.name, op.symbol, op.precedence, parts[0], parts[1])
    simple = all(_SIMPLE.fullmatch(p) for p, _ in parts)
    if op.name != "power" or simple:
        return text
    return infix("", "**", op.precedence, *((p, b if b > op.precedence else 0) for p, b in parts))


def _tensor_kind(kind: Kind, least: Kind) -> Kind:
    """The kind of a value that is to be a tensor, if ``least`` says that it is."""
    return kind | least if kind.number else kind


def _is_integer(node: Node) -> bool:
    return isinstance(node.value, float) and node.value.is_integer()


def _float(node: Node) -> str:
    """A constant as a Python float: integers of Python compute otherwise, and torch takes no long ones."""
    assert isinstance(node.value, float)
    return python_number(node.value)


def _conditional(parts: list[Text]) -> Text:
    """``x if condition else y``, which binds less than everything else."""
    condition, x, y = (text if binding else f"({text})" for text, binding in parts)
    return f"{x} if {condition} else {y}", 0


def _function(op: Op) -> str:
    """The torch function of an elementwise op."""
    if op.name in _TORCH_NAMES:
        return _TORCH_NAMES[op.name]
    if _CALL.fullmatch(op.torch):
        return op.torch.partition("(")[0]
    return f"lambda {', '.join(op.args)}: {op.torch.format(*op.args)}"


def _filled(template: str, parts: list[Text]) -> str:
    """A template with its arguments, each and the whole in parentheses where something else could bind tighter."""
    text = template.format(*map(_bare if _CALL.fullmatch(template) else _tight, parts))
    return text if _is_tight(template) else f"({text})"


@cache
def _is_tight(template: str) -> bool:
    """Whether a template is a call, an attribute or has parentheses around it."""
    whole = ast.parse(template.format("x", "y", "z"), mode="eval").body
    return isinstance(whole, ast.Call | ast.Attribute | ast.Name) or whole.col_offset > 0


def _bare(text: Text) -> str:
    return text[0]


def _tight(text: Text) -> str:
    return text[0] if text[1] >= ATOM else f"({text[0]})"


def _tree(node: Node) -> Iterator[Node]:
    """Every occurrence, shared nodes as often as they stand in the text."""
    yield node
    for argument in node.args:
        yield from _tree(argument)
