"""Text -> Rule. The text is read with ``ast`` and never executed.

Reading is bounded: texts above `MAX_BYTES`, brackets deeper than `MAX_NESTING` and expressions deeper than
`MAX_DEPTH` are refused before they can cost anything.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from .check import check
from .domains import SCALES, Domain
from .errors import Problem, RuleError, Span, UserError
from .kinds import STATE_KINDS, Kind
from .node import Node, const, name
from .ops import OPS
from .rule import Assign, Buffer, Hyper, If, Path, Rule, Statement

if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 65_536
MAX_NESTING = 64
MAX_DEPTH = 100
ERROR = Node("error")
"""Stands for an expression that could not be read; the checker passes over it."""

_SHAPE = "def my_rule(w, g, m, *, lr=1e-3): ...; return w, m"
_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "power",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
}
_PREAMBLE = {"__future__", "evoptim", "evoptim.dsl"}


def parse(text: str, filename: str = "<rule>") -> Rule:
    """Read one rule.

    Args:
        text: A restricted Python function; imports of evoptim and a ``@rule`` decorator around it are allowed.
        filename: The name used in messages.

    Returns:
        The checked rule.

    Raises:
        RuleError: With every problem of the text: what was got, where, what was expected and the remedy.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    function = _function(_tree(text, filename), text, filename)
    reader = _Reader()
    rule = reader.rule(function, text, filename)
    problems = [*reader.problems, *check(rule)]
    if problems:
        raise RuleError(problems, text, filename)
    return rule


def parse_file(path: str | FilePath) -> Rule:
    """Read a rule from a file of at most `MAX_BYTES` bytes.

    Raises:
        UserError: The file cannot be read or is not UTF-8 text.
        RuleError: What it holds is not a rule.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", "check the path") from error
    if len(data) > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES} bytes", "a rule file holds one function of a few lines")
    try:
        return parse(data.decode(), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})", "save the rule as UTF-8") from error


def rule(function: Callable[..., Any]) -> Rule:
    """Decorator: read the rule from a function's source; the function itself is never called.

    Buffers annotated with ``init(g)`` or ``row`` need ``from __future__ import annotations`` above (not
    from Python 3.14 on).
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        raise UserError(
            f"the source of {getattr(function, '__name__', function)!r} is not available",
            "write the rule in a file, or pass its text to evoptim.parse",
        ) from error
    return parse(source, inspect.getsourcefile(function) or "<rule>")


# --- text -> ast, within bounds -------------------------------------------------------------------------


def _refuse(filename: str, message: str, expected: str, remedy: str, span: Span | None = None, text: str = "") -> None:
    raise RuleError([Problem(message, expected, remedy, span)], text, filename)


def _tree(text: str, filename: str) -> ast.Module:
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        _refuse(filename, f"the text has {size} bytes", f"at most {MAX_BYTES}", "a rule is one function of a few lines")
    _bound_nesting(text, filename)
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line, column = error.lineno or 1, max(0, (error.offset or 1) - 1)
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == line else column + 1
        _refuse(
            filename,
            f"not valid Python: {error.msg}",
            "one function in Python syntax",
            f"write it as {_SHAPE}",
            Span(line, column, end),
            text,
        )
    except (RecursionError, MemoryError, ValueError):
        _refuse(
            filename,
            "the text is nested too deeply to read",
            f"expressions at most {MAX_DEPTH} deep",
            "name intermediate results in statements of their own",
        )
    raise AssertionError("unreachable")


def _bound_nesting(text: str, filename: str) -> None:
    """Refuse deep brackets before Python's own parser sees them."""
    depth = 0
    for number, line in enumerate(text.split("\n"), start=1):
        for column, c in enumerate(line):
            if c in "([{":
                depth += 1
                if depth > MAX_NESTING:
                    _refuse(
                        filename,
                        f"brackets are nested more than {MAX_NESTING} deep",
                        f"at most {MAX_NESTING} levels",
                        "name intermediate results in statements of their own",
                        Span(number, column, column + 1),
                        text,
                    )
            elif c in ")]}":
                depth = max(0, depth - 1)


def _function(module: ast.Module, text: str, filename: str) -> ast.FunctionDef:
    """The one function of the text; anything else beside it but evoptim's imports is refused."""
    functions: list[ast.FunctionDef] = []
    problems: list[Problem] = []
    for index, statement in enumerate(module.body):
        match statement:
            case ast.FunctionDef():
                functions.append(statement)
                problems += _decorators(statement)
            case ast.Expr(ast.Constant(str())) if index == 0:
                pass
            case ast.ImportFrom(module=source) if source in _PREAMBLE:
                pass
            case ast.Import(names=[ast.alias(name="evoptim")]):
                pass
            case _:
                problems.append(
                    Problem(
                        f"a rule file holds one function, not {_describe(statement)}",
                        _SHAPE,
                        "remove this statement; nothing in a rule file is ever executed",
                        _span(statement),
                    )
                )
    if len(functions) != 1 and not problems:
        span = _span(functions[1]) if functions else None
        got = f"{len(functions)} functions" if functions else "no function"
        problems.append(Problem(f"found {got}", f"exactly one: {_SHAPE}", "put each rule in a text of its own", span))
    if problems:
        raise RuleError(problems, text, filename)
    return functions[0]


def _decorators(function: ast.FunctionDef) -> Iterable[Problem]:
    for decorator in function.decorator_list:
        if ast.unparse(decorator) not in ("rule", "evoptim.rule"):
            yield Problem(
                f"decorator {ast.unparse(decorator)[:40]!r}",
                "no decorator, or @evoptim.rule",
                "remove it",
                _span(decorator),
            )


def _span(node: ast.AST) -> Span:
    """Where a node begins; its end only as far as its first line goes. Columns in characters, not bytes."""
    line: int = getattr(node, "lineno", 1)
    column: int = getattr(node, "col_offset", 0)
    end: int = getattr(node, "end_col_offset", None) or column + 1
    same_line = getattr(node, "end_lineno", line) == line
    return Span(line, column, end if same_line else column + 1)


_NAMED = {
    "FunctionDef": "a nested function",
    "AsyncFunctionDef": "an async function",
    "ClassDef": "a class",
    "Import": "an import",
    "ImportFrom": "an import",
    "For": "a loop",
    "While": "a loop",
    "With": "a with block",
    "Try": "a try block",
    "Delete": "a del statement",
    "Global": "a global statement",
    "Nonlocal": "a nonlocal statement",
    "Assert": "an assert statement",
    "Raise": "a raise statement",
    "AugAssign": "an augmented assignment",
    "AnnAssign": "an annotated assignment",
    "Match": "a match statement",
    "Expr": "an expression without effect",
    "Pass": "pass",
    "Attribute": "an attribute",
    "Subscript": "a subscript",
    "Lambda": "a lambda",
    "IfExp": "a conditional expression",
    "ListComp": "a comprehension",
    "SetComp": "a comprehension",
    "DictComp": "a comprehension",
    "GeneratorExp": "a comprehension",
    "List": "a list",
    "Tuple": "a tuple",
    "Set": "a set",
    "Dict": "a dict",
    "JoinedStr": "an f-string",
    "NamedExpr": "an assignment expression",
    "Await": "await",
    "Yield": "yield",
    "YieldFrom": "yield",
    "BoolOp": "and/or",
    "Starred": "a starred expression",
}
_REMEDIES = {
    "AugAssign": "write x = x + y instead of x += y",
    "AnnAssign": "write the assignment without an annotation",
    "IfExp": "write where(condition, x, y)",
    "BoolOp": "combine conditions with nested where()",
    "For": "a rule is straight-line code; it runs once a step",
    "While": "a rule is straight-line code; it runs once a step",
    "Tuple": "assign one name per statement",
    "Attribute": "call operations by their plain names, such as sqrt(x); `evoptim ops` lists them",
    "Lambda": "write the expression out",
}


def _describe(node: ast.AST) -> str:
    return _NAMED.get(type(node).__name__, f"a {type(node).__name__} construct")


def _close(word: str, candidates: Iterable[str]) -> str:
    """A "did you mean" remedy, or the empty string."""
    match = difflib.get_close_matches(word, list(candidates), n=1)
    return f"did you mean {match[0]!r}?" if match else ""


# --- ast -> Rule ---------------------------------------------------------------------------------------


class _Reader:
    """Turns one function into a rule and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def problem(self, message: str, expected: str, remedy: str, node: ast.AST) -> None:
        self.problems.append(Problem(message, expected, remedy, _span(node)))

    def rule(self, function: ast.FunctionDef, text: str, filename: str) -> Rule:
        buffers, uses_t, order = self._positional(function)
        hypers = self._hypers(function)
        doc, body = self._split_docstring(function)
        statements, returned = self._body(body, function)
        returns: list[Node] = []
        spans: list[dict[Path, Span]] = []
        for value in _elements(returned.value) if returned else []:
            where: dict[Path, Span] = {}
            returns.append(self.expression(value, where))
            spans.append(where)
        return Rule(
            name=function.name,
            doc=doc,
            buffers=tuple(buffers),
            hypers=tuple(hypers),
            body=tuple(statements),
            returns=tuple(returns),
            uses_t=uses_t,
            order=order,
            return_spans=tuple(spans),
            return_span=_span(returned) if returned else _span(function),
            source=text,
            filename=filename,
        )

    # signature

    def _positional(self, function: ast.FunctionDef) -> tuple[list[Buffer], bool, tuple[str, ...]]:
        arguments = function.args
        given = [*arguments.posonlyargs, *arguments.args]
        self._signature_extras(function, given)
        buffers: list[Buffer] = []
        for argument in given[2:]:
            if argument.arg != "t":
                buffers.append(self._buffer(argument))
            elif argument.annotation is not None:
                self.problem("an annotation on the step t", "plain t", "remove the annotation", argument)
        order = tuple(a.arg for a in given[2:])
        natural = (*(b.name for b in buffers), *(("t",) if "t" in order else ()))
        return buffers, "t" in order, () if order == natural else order

    def _signature_extras(self, function: ast.FunctionDef, given: list[ast.arg]) -> None:
        arguments = function.args
        if [a.arg for a in given[:2]] != ["w", "g"]:
            got = ", ".join(a.arg for a in given[:2]) or "nothing"
            self.problem(
                f"the first arguments are {got}",
                "w, the parameter, and g, its gradient",
                f"begin the signature with def {function.name}(w, g, ...)",
                given[0] if given else function,
            )
        for argument in given[:2]:
            if argument.annotation is not None:
                self.problem(f"an annotation on {argument.arg}", "none", "remove it", argument.annotation)
        if arguments.vararg or arguments.kwarg:
            self.problem(
                "a starred argument",
                "named buffers and keyword-only hyperparameters",
                "name each one",
                arguments.vararg or arguments.kwarg or function,
            )
        for default in arguments.defaults:
            self.problem(
                "a positional argument with a default",
                "buffers without defaults; hyperparameters after *",
                "put hyperparameters behind a bare *: def rule(w, g, m, *, lr=1e-3)",
                default,
            )
        if function.returns is not None:
            self.problem("a return annotation", "none", "remove it", function.returns)
        self._identifier(function.name, function)

    def _identifier(self, identifier: str, node: ast.AST) -> None:
        if not identifier.isascii() or identifier.startswith("_") or len(identifier) > 64:
            self.problem(
                f"the name {identifier[:40]!r}",
                "an ASCII name of at most 64 characters that does not begin with an underscore",
                "rename it, such as beta1 for \N{GREEK SMALL LETTER BETA}\N{SUBSCRIPT ONE}",
                node,
            )

    def _buffer(self, argument: ast.arg) -> Buffer:
        self._identifier(argument.arg, argument)
        match argument.annotation:
            case None:
                return Buffer(argument.arg)
            case ast.Name(id=kind) if kind in STATE_KINDS:
                return Buffer(argument.arg, STATE_KINDS[kind])
            case ast.Call(func=ast.Name(id="init"), args=[ast.Name(id=start)], keywords=[]) if start in ("g", "w"):
                return Buffer(argument.arg, Kind.TENSOR, start)
            case other:
                self.problem(
                    f"annotation {ast.unparse(other)[:40]!r} on buffer {argument.arg!r}",
                    "init(g), init(w), " + ", ".join(STATE_KINDS),
                    _close(ast.unparse(other)[:40], [*STATE_KINDS, "init(g)", "init(w)"])
                    or "leave it out for a buffer of the parameter's shape that starts at zero",
                    other,
                )
                return Buffer(argument.arg)

    def _hypers(self, function: ast.FunctionDef) -> list[Hyper]:
        out: list[Hyper] = []
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            self._identifier(argument.arg, argument)
            declared = self._domain(argument) if argument.annotation is not None else None
            value = self._number(default) if default is not None else None
            if value is None or not math.isfinite(value):
                self.problem(
                    f"hyperparameter {argument.arg!r} has no number as its default",
                    "a finite number",
                    f"give it one: {argument.arg}=0.9",
                    default or argument,
                )
                value = 0.0
            elif declared is not None and value not in declared:
                self.problem(
                    f"the default {value:g} of {argument.arg!r} lies outside its domain",
                    f"a value in {ast.unparse(argument.annotation)}" if argument.annotation else "",
                    "widen the domain or change the default",
                    default or argument,
                )
            out.append(Hyper(argument.arg, value, declared))
        return out

    def _domain(self, argument: ast.arg) -> Domain | None:
        annotation = argument.annotation
        if isinstance(annotation, ast.Call) and isinstance(annotation.func, ast.Name) and not annotation.keywords:
            scale = annotation.func.id
            values = [self._number(a) for a in annotation.args]
            numbers = tuple(v for v in values if v is not None)
            if scale in SCALES and len(numbers) == len(values):
                trouble = Domain.problem(scale, numbers)
                if not trouble:
                    return Domain(scale, numbers)
                self.problem(
                    f"the domain of {argument.arg!r}: {trouble}", "such as log(1e-5, 1e-1)", "correct it", annotation
                )
                return None
        assert annotation is not None
        self.problem(
            f"annotation {ast.unparse(annotation)[:40]!r} on hyperparameter {argument.arg!r}",
            "a tuning domain: " + ", ".join(f"{s}(low, high)" for s in SCALES[:3]) + " or choice(a, b, ...)",
            "write for instance lr: log(1e-5, 1e-1) = 1e-3",
            annotation,
        )
        return None

    def _number(self, node: ast.AST | None) -> float | None:
        """The value of a plain or negated number, else None."""
        match node:
            case ast.Constant(value=bool()):
                return None
            case ast.Constant(value=int() | float() as value):
                return _float(value)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant() as operand):
                value = self._number(operand)
                return None if value is None else -value
            case _:
                return None

    # body

    def _split_docstring(self, function: ast.FunctionDef) -> tuple[str, list[ast.stmt]]:
        match function.body:
            case [ast.Expr(ast.Constant(str() as text)), *rest]:
                return inspect.cleandoc(text), rest
            case body:
                return "", body

    def _body(self, body: list[ast.stmt], function: ast.FunctionDef) -> tuple[list[Statement], ast.Return | None]:
        statements: list[Statement] = []
        returned: ast.Return | None = None
        for statement in body:
            if returned is not None:
                self.problem("a statement after return", "return as the last statement", "move it up", statement)
                break
            match statement:
                case ast.Return():
                    returned = statement
                case ast.If():
                    statements += self._if(statement)
                case _:
                    statements += self._assign(statement)
        if returned is None or returned.value is None:
            self.problem(
                f"rule {function.name!r} returns nothing",
                "the new parameter and then every buffer, in the order of the signature",
                f"end it with return {', '.join(self._return_names(function))}",
                returned or function,
            )
            returned = None
        return statements, returned

    def _return_names(self, function: ast.FunctionDef) -> list[str]:
        return ["w", *(a.arg for a in function.args.args[2:] if a.arg != "t")]

    def _if(self, statement: ast.If) -> list[Statement]:
        match statement.test:
            case ast.Name(id="matrix"):
                pass
            case _:
                self.problem(
                    f"a branch on {ast.unparse(statement.test)[:60]!r}",
                    "if matrix: (static: the parameter has two or more dimensions)",
                    "choose values element by element with where(condition, x, y)",
                    statement.test,
                )
        then = [a for s in statement.body for a in self._assign(s)]
        other = [a for s in statement.orelse for a in self._assign(s)]
        return [If(tuple(then), tuple(other))]

    def _assign(self, statement: ast.stmt) -> list[Assign]:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target) as place]):
                self._identifier(target, place)
                where: dict[Path, Span] = {}
                value = self.expression(statement.value, where)
                return [Assign(target, value, where, _span(place))]
            case ast.Pass():
                return []
            case ast.If():
                self.problem("a branch within a branch", "one level of if matrix:", "flatten it", statement)
            case ast.Return():
                self.problem("a return within a branch", "one return at the end", "assign names instead", statement)
            case ast.Assign():
                self.problem(
                    f"assignment to {ast.unparse(statement.targets[0])[:40]!r}",
                    "one plain name",
                    "write one statement per name: x = ...",
                    statement.targets[0],
                )
            case _:
                kind = type(statement).__name__
                self.problem(
                    f"{_describe(statement)} in a rule",
                    "assignments, if matrix:, and one return",
                    _REMEDIES.get(kind, "remove it; a rule only computes"),
                    statement,
                )
        return []

    # expressions

    def expression(self, node: ast.expr, where: dict[Path, Span], path: Path = ()) -> Node:
        """The expression, with the span of every part of it put into ``where``."""
        where[path] = _span(node)
        if len(path) > MAX_DEPTH:
            self.problem(
                f"an expression more than {MAX_DEPTH} levels deep",
                f"at most {MAX_DEPTH}",
                "name intermediate results in statements of their own",
                node,
            )
            return ERROR
        match node:
            case ast.Name(id=identifier):
                return name(identifier)
            case ast.Constant() | ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
                return self._constant(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Node("neg", (self.expression(operand, where, (*path, 0)),))
            case ast.BinOp(op=operator) if type(operator) in _BINARY:
                return self._apply(_BINARY[type(operator)], [node.left, node.right], where, path)
            case ast.Compare(ops=[operator], comparators=[right]) if type(operator) in _COMPARE:
                return self._apply(_COMPARE[type(operator)], [node.left, right], where, path)
            case ast.Call():
                return self._call(node, where, path)
            case _:
                return self._outside(node)

    def _outside(self, node: ast.expr) -> Node:
        message = f"{_describe(node)} in an expression"
        remedy = _REMEDIES.get(type(node).__name__, "write it with the operations of the language")
        match node:
            case ast.Compare(ops=[_, _, *_]):
                message, remedy = "a chained comparison", "compare two values at a time, nested in where()"
            case ast.BinOp(op=operator):
                message = f"operator {type(operator).__name__}"
                remedy = "matmul(x, y)" if isinstance(operator, ast.MatMult) else "use + - * / **"
            case ast.UnaryOp(op=ast.UAdd()):
                message, remedy = "a unary plus", "remove it"
            case _:
                pass
        self.problem(message, "names, numbers, + - * / **, comparisons and calls of operations", remedy, node)
        return ERROR

    def _apply(self, op: str, arguments: Sequence[ast.expr], where: dict[Path, Span], path: Path) -> Node:
        return Node(op, tuple(self.expression(a, where, (*path, i)) for i, a in enumerate(arguments)))

    def _constant(self, node: ast.expr) -> Node:
        value = self._number(node)
        if value is None or not math.isfinite(value):
            self.problem(
                f"the constant {ast.unparse(node)[:40]}",
                "a finite number",
                "write it as a decimal, such as 1e-8",
                node,
            )
            return ERROR
        return const(value)

    def _call(self, node: ast.Call, where: dict[Path, Span], path: Path) -> Node:
        if not isinstance(node.func, ast.Name):
            return self._outside(node.func)
        op = OPS.get(node.func.id)
        if op is None or op.symbol:
            callable_names = [o.name for o in OPS if not o.symbol]
            self.problem(
                f"unknown operation {node.func.id[:40]!r}",
                "an operation of the language",
                _close(node.func.id, callable_names) or "`evoptim ops` lists all operations",
                node.func,
            )
            for i, argument in enumerate(node.args):  # what is wrong inside is told at once too
                self.expression(argument, where, (*path, i))
            return ERROR
        starred = [a for a in node.args if isinstance(a, ast.Starred)]
        if node.keywords or starred or len(node.args) != op.arity:
            got = "keyword or starred arguments" if node.keywords or starred else f"{len(node.args)} arguments"
            self.problem(f"{op.name} with {got}", op.signature, f"it is {op.doc}", node)
            return ERROR
        return self._apply(op.name, node.args, where, path)


def _elements(value: ast.expr | None) -> list[ast.expr]:
    if value is None:
        return []
    return value.elts if isinstance(value, ast.Tuple) else [value]


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
