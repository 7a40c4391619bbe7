"""Is a rule well formed? Names, kinds, branches and returns; every problem at once.

The checker works on the IR, so the same code judges rules from text and rules that the search made.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from .derived import definition, expand
from .errors import Problem, Span
from .kinds import FACTS, MATRIX_FACTS, Kind, Type
from .node import Node
from .ops import MATRIX_REDUCTIONS, OPS, Op, Reduce, reducible, result_kind
from .rule import Assign, Buffer, Hyper, If, Path, Rule, Spans

RESERVED = frozenset(
    "w g t matrix step torch math params betas maximize foreach capturable rounding differentiable fused self group "
    "state init output row col scalar tensor global_ log uniform one_minus_log choice ndim numel rows cols".split()
)
"""Names with a meaning of their own in rules or in generated code."""


SUGGESTIONS = 20
"""How many problems are told with a "did you mean": the search for similar names is not cheap."""


def check(rule: Rule, places: Mapping[str, Span] | None = None) -> list[Problem]:
    """Every problem of a rule; an empty list means that it is valid.

    Args:
        rule: Any rule, from a text or made by a program.
        places: Where the arguments of the rule stand in its text.
    """
    problems = _Checker(rule, places).run()
    if problems or not rule.branches:
        return problems
    # after a branch a name has one kind; what it stands for in one class of parameters may have less axes
    return [*_class_problems(rule, True), *_class_problems(rule, False)]


def _class_problems(rule: Rule, matrix: bool) -> list[Problem]:
    """What is wrong with a rule as one class of parameters sees it."""
    straight = dataclasses.replace(rule, body=tuple(rule.straight(matrix)))
    where = "for matrices" if matrix else "for parameters that are no matrices"
    return [dataclasses.replace(p, message=f"{p.message} {where}") for p in _Checker(straight, matrix=matrix).run()]


def is_valid(rule: Rule) -> bool:
    """Whether `check` finds nothing; for rules without branches found out faster, for it is remembered by statement."""
    if rule.branches:
        return not check(rule)
    version, slots = OPS.version, (Buffer("w"), *rule.buffers)
    leaves = _leaves(rule.positional, rule.buffers, rule.hypers, rule.uses_t, version)
    if leaves is None or len(rule.returns) != len(slots):
        return False
    env = _FACT_CODES | leaves
    for statement in rule.body:
        assert isinstance(statement, Assign)
        result, leaf = _code(statement.value, env, version), leaves.get(statement.target)
        if result is None or leaf == _HOST or (leaf is None and _is_taken(statement.target, version)):
            return False
        env[statement.target] = result
    return all(_may_return(node, slot.kind, env, version) for node, slot in zip(rule.returns, slots, strict=True))


def _encoded(type_: Type) -> int:
    """A type as a number: its kind's bits, and the last bit for a condition."""
    return int(type_.kind) << 1 | type_.boolean


_HOST = _encoded(Type(Kind.HOST))


@lru_cache(maxsize=1024)
def _leaves(
    positional: tuple[str, ...], buffers: tuple[Buffer, ...], hypers: tuple[Hyper, ...], uses_t: bool, version: int
) -> dict[str, int] | None:
    """The codes of all names that a signature gives, or None where it is wrong; not to be changed."""
    checker = _Checker(Rule("", "", buffers, hypers, (), (), uses_t=uses_t, order=positional))
    checker.check_signature()
    return None if checker.problems else {n: _encoded(t) for n, t in checker.env.items() if n not in _FACTS}


def _code(value: Node, env: Mapping[str, int], version: int) -> int | None:
    """The code of an expression outside branches, or None where something is wrong in it."""
    try:
        return _code_of(value, tuple([env[n] for n in value.names]), version)
    except KeyError:
        return None


@lru_cache(maxsize=1 << 16)
def _code_of(value: Node, codes: tuple[int, ...], version: int) -> int | None:
    """The same by the codes of its names; ``version`` is that of the op table."""
    checker = _Checker(Rule("", "", (), (), (), ()))
    checker.env |= {n: Type(Kind(code >> 1), bool(code & 1)) for n, code in zip(value.names, codes, strict=True)}
    result = checker.infer(value)
    return None if result is None else _encoded(result)


@lru_cache(maxsize=1 << 16)
def _is_taken(name: str, version: int) -> bool:
    """Whether no variable can have a name; ``version`` is that of the op table."""
    return name in OPS or (name in RESERVED and name not in ("w", "g"))


def _may_return(node: Node, kind: Kind, env: Mapping[str, int], version: int) -> bool:
    # a row buffer is handed on by name: it only exists for matrices
    by_name = node.op == "name" and kind in (Kind.ROW, Kind.COL)
    code = env.get(str(node.value)) if by_name else _code(node, env, version)
    bits = int(kind)
    return code is not None and not code & 1 and code >> 1 | bits == bits  # `Kind.fits`


def types(rule: Rule) -> dict[str, Type]:
    """The type of every name at the end of a valid rule, buffers as declared."""
    checker = _Checker(rule)
    checker.run()
    return checker.env


_MATRIX, _OTHERS = "if matrix:", "else:"
"""The branches, as messages name them."""

_FACTS = {n: Type(Kind.STATIC) for n in FACTS}
_FACT_CODES = {n: _encoded(t) for n, t in _FACTS.items()}


class _Checker:
    def __init__(self, rule: Rule, places: Mapping[str, Span] | None = None, matrix: bool = False) -> None:
        self.rule = rule
        self.places = places or {}
        self.env: dict[str, Type] = _FACTS | rule.leaves
        self.partial: dict[str, str] = {}  # names that only one branch defines
        self.assigned: set[str] = set()
        self.problems: list[Problem] = []
        self.in_matrix = matrix
        self.in_branch = False
        self.spans: Spans | None = None
        self.context: Assign | None = None
        self.memo: dict[Node, Type | None] = {}
        self.branches = rule.branches

    def run(self) -> list[Problem]:
        self.check_signature()
        for statement in self.rule.body:
            if isinstance(statement, If):
                self._if(statement)
            else:
                self._assign(statement)
        self._returns()
        return self.problems

    # signature

    def check_signature(self) -> None:
        """Report what is wrong with the arguments."""
        seen: set[str] = set()
        for name in (*self.rule.positional, *(h.name for h in self.rule.hypers)):
            if name in seen:
                span = self.places.get(name)
                self._report(f"the name {name!r} is declared twice", "distinct names", "rename one", span)
            seen.add(name)
        buffers = [(b.name, "buffer") for b in self.rule.buffers]
        if [n for n in self.rule.positional if n != "t"] != [n for n, _ in buffers]:
            self._report("an order of arguments unlike that of the buffers", "the same", "sort the buffers", None)
        for name, what in (*buffers, *((h.name, "hyperparameter") for h in self.rule.hypers)):
            self._reserved(name, what, self.places.get(name))

    def _reserved(self, name: str, what: str, span: Span | None) -> None:
        taken_op = name in OPS
        if taken_op or (name in RESERVED and not (what == "variable" and name in ("w", "g"))):
            meaning = "an operation" if taken_op else "reserved"
            self._report(f"{what} {name!r} is {meaning} in the language", "a name of its own", "rename it", span)

    # statements

    def _assign(self, statement: Assign) -> None:
        self.context, self.spans = statement, statement.spans
        result = self.infer(statement.value)
        target = statement.target
        leaf = self.rule.leaves.get(target)
        if leaf is not None and leaf.kind == Kind.HOST:
            self._report(
                f"assignment to {'the step t' if target == 't' else f'hyperparameter {target!r}'}",
                "a variable or a buffer",
                "choose another name",
                statement.target_span,
            )
            return
        if leaf is None:
            self._reserved(target, "variable", statement.target_span)
        self.partial.pop(target, None)
        self.assigned.add(target)
        self.env[target] = result or Type(Kind.HOST)
        if result is None:
            self.partial[target] = ""  # known to be broken: say nothing more about it
        self.memo = {}

    def _if(self, statement: If) -> None:
        before, before_partial = dict(self.env), dict(self.partial)
        self.in_branch, self.in_matrix = True, True
        for assign in statement.then:
            self._assign(assign)
        then, then_partial = self.env, self.partial
        self.env, self.partial, self.in_matrix, self.memo = before, before_partial, False, {}
        for assign in statement.other:
            self._assign(assign)
        self.in_branch = False
        self._merge(then, then_partial, statement)
        self.memo = {}

    def _last_place(self, statement: If, name: str) -> Span | None:
        """Where a branch assigns a name last."""
        return next(a.target_span for a in reversed((*statement.other, *statement.then)) if a.target == name)

    def _merge(self, then: dict[str, Type], then_partial: dict[str, str], statement: If) -> None:
        """Join what the branches define; a name that only one of them defines is not usable after them.

        What is assigned in a branch differs between parameters, so it is a scalar at least.
        """
        assigned = {a.target for a in (*statement.then, *statement.other)}
        other, other_partial = self.env, self.partial
        self.env, self.partial = {}, {}
        for name in then | other:
            a, b = then.get(name) or other[name], other.get(name) or then[name]
            least = Kind.SCALAR if name in assigned else Kind.HOST
            joined = a.kind | b.kind | least
            if not joined.valid:
                message = f"{name!r} is a {a.kind.label} for matrices and a {b.kind.label} for the others"
                expected, remedy = "one kind after the branch", "give what differs names of their own"
                self._report(message, expected, remedy, self._last_place(statement, name))
                other_partial[name] = ""
                joined = Kind.TENSOR
            self.env[name] = Type(joined, a.boolean or b.boolean)
            for_matrices = name in then and then_partial.get(name, _MATRIX) == _MATRIX
            for_others = name in other and other_partial.get(name, _OTHERS) == _OTHERS
            if "" in (then_partial.get(name), other_partial.get(name)):
                self.partial[name] = ""
            elif not (for_matrices and for_others):
                self.partial[name] = _MATRIX if for_matrices else _OTHERS

    def _returns(self) -> None:
        expected = ["w", *(b.name for b in self.rule.buffers)]
        got = self.rule.returns
        self.context, self.spans = None, None
        if not got:
            if self.rule.return_spans is None:
                self._report("no return", ", ".join(expected), "return them", None)
            return  # the reader has said so
        if len(got) != len(expected):
            self._report(
                f"return of {len(got)} values",
                f"{len(expected)}: the new parameter and then every buffer, {', '.join(expected)}",
                f"write return {', '.join(expected)}",
                self.rule.return_span,
            )
        slots = [Buffer("w"), *self.rule.buffers]
        for index, (node, slot) in enumerate(zip(got, slots, strict=False)):
            self.spans = self.rule.return_spans[index] if self.rule.return_spans else None
            self._return(node, slot)

    def _return(self, node: Node, slot: Buffer) -> None:
        # a row buffer is handed on by name: it only exists for matrices
        by_name = node.op == "name" and slot.kind in (Kind.ROW, Kind.COL) and node.value not in self.partial
        result = self.env.get(str(node.value)) if by_name else None
        result = result or self.infer(node)
        what = "parameter" if slot.name == "w" else f"{slot.kind.label} buffer"
        if result is None:
            return
        if result.boolean:
            self._report(
                f"a condition returned for {what} {slot.name!r}", "numbers", "use where(c, 1, 0)", self._at(())
            )
        elif not result.kind.fits(slot.kind):
            self._report(
                f"a {result} returned for {what} {slot.name!r}",
                f"a {slot.kind.label} or what broadcasts to it",
                _reduction_remedy(result.kind, slot.kind, slot.name),
                self._at(()),
            )

    # expressions

    def infer(self, node: Node, path: Path = ()) -> Type | None:
        """The type of an expression, or None after a problem in it."""
        if node in self.memo:
            return self.memo[node]
        result = self._infer(node, path)
        self.memo[node] = result
        return result

    def _infer(self, node: Node, path: Path) -> Type | None:
        if node.op == "const":
            return self._const(node, path)
        if node.op == "name":
            return self._name(str(node.value), path)
        arguments = [self.infer(a, (*path, i)) for i, a in enumerate(node.args)]
        op = OPS.get(node.op)
        if op is None:
            if node.op != "error":
                self._report(f"unknown operation {node.op!r}", "a row of the op table", "register it", self._at(path))
            return None
        known = [a for a in arguments if a is not None]
        if len(known) != len(arguments):
            return None
        if len(known) != op.arity:
            self._report(f"{op.name} with {len(known)} arguments", op.signature, op.doc, self._at(path))
            return None
        return self._result(op, known, path)

    def _const(self, node: Node, path: Path) -> Type | None:
        if isinstance(node.value, float) and math.isfinite(node.value):
            return Type(Kind.HOST)
        self._report(f"the constant {node.value}", "a finite number", "choose another number", self._at(path))
        return None

    def _name(self, identifier: str, path: Path) -> Type | None:
        here = (_MATRIX if self.in_matrix else _OTHERS) if self.in_branch else None
        if self.partial.get(identifier, here) != here:
            branch = self.partial[identifier]
            if branch:
                self._report(
                    f"{identifier!r} is defined only under {branch!r}",
                    "a name that both branches define",
                    "define it in the other branch too, or use it under the same branch only",
                    self._at(path),
                )
            return None
        known = self.env.get(identifier)
        if known is None:
            self._report(*_unknown(identifier, self.env, len(self.problems) < SUGGESTIONS), self._at(path))
            return None
        # what a branch has assigned may be a row for matrices only: the rule is read once more for each class
        later = self.branches and identifier in self.assigned
        if (known.kind.needs_matrix or identifier in MATRIX_FACTS) and not self.in_matrix and not later:
            what = repr(identifier) if identifier in MATRIX_FACTS else f"{identifier!r} (a {known.kind.label})"
            self._needs_matrix(what, path)
            return None
        return known

    def _needs_matrix(self, what: str, path: Path) -> None:
        self._report(
            f"{what} used where the parameter may not be a matrix",
            "rows and columns only under if matrix:",
            "put it into the branch if matrix:, and say in else: what vectors do",
            self._at(path),
        )

    def _result(self, op: Op, arguments: list[Type], path: Path) -> Type | None:
        for i, argument in enumerate(arguments):
            wanted = op.condition and i == 0
            if argument.boolean != wanted:
                got = "a condition" if argument.boolean else "a number"
                expected = "a condition such as x > 0" if wanted else "a number"
                self._report(
                    f"{got} as {op.args[i]} of {op.name}",
                    expected,
                    "turn a condition into numbers with where(c, 1, 0)" if argument.boolean else "compare it: x > 0",
                    self._at((*path, i)),
                )
                return None
        kinds = [a.kind for a in arguments]
        if op.reduce is not None and not self._reduction(op, kinds, path):
            return None
        if op.derived and reduction_of(op) is not None:
            return self._derived_reduction(op, kinds, path)
        if op.kind is not None and not self.in_matrix:
            self._needs_matrix(op.name, path)
            return None
        result = result_kind(op, kinds)
        if result is None:
            self._shapes(op, kinds, path)
            return None
        return Type(result, op.comparison)

    def _shapes(self, op: Op, kinds: list[Kind], path: Path) -> None:
        """Say that the shapes of the arguments do not go together."""
        got = " and ".join(f"a {k.label}" for k in kinds)
        if op.kind is not None and op.arity > 1 and not all(k.has_rows or k.has_cols for k in kinds):
            expected, remedy = "two matrices", "multiply by a number with x * y"
        elif op.kind is None:
            expected, remedy = "axes that run over the same things", "transpose one of them with transpose(x)"
        elif op.arity == 1:
            expected, remedy = "something with rows or columns", "use the value as it is"
        else:
            expected = "as many columns in the first as there are rows in the second"
            remedy = "transpose one of them, as in matmul(x, transpose(x))"
        self._report(f"{op.symbol or op.name} of {got}", expected, remedy, self._at(path))

    def _derived_reduction(self, op: Op, kinds: list[Kind], path: Path) -> Type | None:
        """The type of a derived op that reduces: every reduction in it must have entries to reduce."""
        for row, arguments in _parts(op, tuple(kinds)):
            if row.reduce is not None and not self._reduction(row, arguments, path, op.name):
                return None
        result = derived_kind(op, tuple(kinds))
        if result is None:
            self._shapes(op, kinds, path)
            return None
        return Type(result)

    def _reduction(self, op: Op, kinds: list[Kind], path: Path, shown: str = "") -> bool:
        shown = shown or op.name
        if op.reduce in MATRIX_REDUCTIONS and not self.in_matrix:
            self._needs_matrix(shown, path)
            return False
        if op.reduce is Reduce.GLOBAL and self.in_branch:
            self._report(
                f"{shown} inside a branch",
                "values over all parameters outside if matrix:",
                "compute its argument in the branches and reduce after them",
                self._at(path),
            )
            return False
        if not reducible(op, kinds[0]):
            self._report(
                f"{shown} of a {kinds[0].label}",
                "something with entries to reduce",
                "use the value as it is",
                self._at(path),
            )
            return False
        return True

    # reporting

    def _at(self, path: Path) -> Span | None:
        return self.spans.get(path) if self.spans is not None else None

    def _report(self, message: str, expected: str, remedy: str, span: Span | None) -> None:
        from .printer import assignment

        context = assignment(self.context) if span is None and self.context is not None else ""
        self.problems.append(Problem(message, expected, remedy, span, context))


def reduction_of(op: Op) -> Reduce | None:
    """What a derived op reduces over, by its definition; None when it is elementwise."""
    key = (op.name, op.derived, OPS.version)
    if key not in _reductions:
        axes = {OPS[n.op].reduce for n in _expanded(op).walk() if n.op in OPS} - {None}
        _reductions[key] = next(iter(axes), None)
    return _reductions[key]


def derived_kind(op: Op, kinds: tuple[Kind, ...]) -> Kind | None:
    """The kind of a derived op's result, by its definition; None where the arguments do not go together."""
    row, arguments = _parts(op, kinds)[-1]
    return result_kind(row, arguments)


def _parts(op: Op, kinds: tuple[Kind, ...]) -> list[tuple[Op, list[Kind]]]:
    """The operations of a derived op's definition with the kinds of their arguments, up to one that has no kind."""
    return _parts_at(op, kinds, OPS.version)


@lru_cache(maxsize=4096)
def _parts_at(op: Op, kinds: tuple[Kind, ...], version: int) -> list[tuple[Op, list[Kind]]]:
    """The same; ``version`` is that of the op table."""
    found: dict[Node, Kind] = {}
    parts: list[tuple[Op, list[Kind]]] = []
    given = dict(zip(op.args, kinds, strict=True))
    for n in _expanded(op).walk():
        if n.op in ("const", "name"):
            found[n] = given.get(str(n.value), Kind.HOST)
            continue
        row, arguments = OPS[n.op], [found[a] for a in n.args]
        parts.append((row, arguments))
        result = result_kind(row, arguments)
        if result is None:
            break
        found[n] = result
    return parts


def _expanded(op: Op) -> Node:
    """The definition of a derived op in ops that have a meaning of their own."""
    key = (op.name, op.derived, OPS.version)
    if key not in _expansions:
        _expansions[key] = expand(definition(op))
    return _expansions[key]


_reductions: dict[tuple[str, str, int], Reduce | None] = {}
_expansions: dict[tuple[str, str, int], Node] = {}


def _unknown(identifier: str, env: Iterable[str], suggest: bool) -> tuple[str, str, str]:
    if identifier == "matrix":
        return ("'matrix' as a value", "it only stands in if matrix:", "use a branch")
    if identifier in OPS:
        op = OPS[identifier]
        return (f"operation {identifier!r} as a value", op.signature, "call it with its arguments")
    known = sorted(env)
    match = difflib.get_close_matches(identifier[:64], known, n=1) if suggest else []
    remedy = f"did you mean {match[0]!r}?" if match else "define it first, or add it to the signature"
    if identifier == "t":
        remedy = "add t to the positional arguments"
    own = [n for n in known if n not in FACTS]
    listed = ", ".join(own if len(own) <= 40 else [*own[:40], "..."])
    return (f"unknown name {identifier[:40]!r}", f"one of {listed}", remedy)


def _reduction_remedy(got: Kind, wanted: Kind, buffer: str) -> str:
    if wanted == Kind.ROW:
        return "reduce it with row_mean(x)" if got == Kind.TENSOR else f"declare {buffer} with another kind"
    if wanted == Kind.COL:
        return "reduce it with col_mean(x)" if got == Kind.TENSOR else f"declare {buffer} with another kind"
    if wanted == Kind.SCALAR:
        return f"reduce it with mean(x) or norm(x), or declare {buffer}: {got.annotation}"
    return f"reduce it with global_mean(x) or global_norm(x), or declare {buffer}: {got.annotation}"
