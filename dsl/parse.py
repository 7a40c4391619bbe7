"""Text -> Rule. The text is read with ``ast`` and never executed.

Reading is bounded: texts above `MAX_BYTES`, brackets and expressions deeper than `MAX_NESTING`, more than
`MAX_STATEMENTS` statements or `MAX_ARGUMENTS` arguments are refused before they can cost anything.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from .check import SUGGESTIONS, check
from .domains import SCALES, Domain
from .errors import Problem, RuleError, Source, Span, UserError
from .kinds import STATE_KINDS, Kind
from .node import Node, const, name
from .ops import OPS
from .printer import docstring
from .rule import Assign, Buffer, Hyper, If, Path, Rule, Statement

if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 65_536
MAX_NESTING = 64
MAX_STATEMENTS = 1000
MAX_ARGUMENTS = 100
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
    module = _tree(text, filename)
    reader = _Reader(Source(text))
    function = reader.function(module)
    if function is None:
        raise RuleError(reader.problems, text, filename)
    rule = reader.rule(function, text, filename)
    problems = [*reader.problems, *check(rule, reader.places)]
    if problems:
        raise RuleError(problems, text, filename)
    return rule


def parse_assignment(line: str) -> Assign:
    """Read one statement ``name = expression``; whether its names are defined is for its rule to say.

    Raises:
        RuleError: It is no assignment in the language.
    """
    module = _tree(line, "<statement>")
    reader = _Reader(Source(line))
    found = [a for statement in module.body for a in reader.statement(statement)]
    if reader.problems or len(found) != 1:
        problem = Problem(f"{len(found)} statements", "one assignment", "read them one by one", None)
        raise RuleError(reader.problems or [problem], line, "<statement>")
    return Assign(found[0].target, found[0].value)


def parse_file(path: str | FilePath) -> Rule:
    """Read a rule from a file of at most `MAX_BYTES` bytes.

    Raises:
        UserError: The file cannot be read or is not UTF-8 text.
        RuleError: What it holds is not a rule.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {path}: {reason}", "check the path") from error
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
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise UserError(
            f"the source of {getattr(function, '__name__', function)!r} is not available",
            "write the rule in a file, or pass its text to evoptim.parse",
        ) from error
    source = "".join(lines)
    try:
        return parse(textwrap.dedent(source), inspect.getsourcefile(function) or "<rule>")
    except RuleError as error:
        raise _moved(error, source, first) from None


def _moved(error: RuleError, source: str, first: int) -> RuleError:
    """The error of an excerpt that begins on line ``first``, with lines and columns as its file has them."""
    indent = len(source) - len(source.lstrip())
    problems = [dataclasses.replace(p, span=p.span and p.span.moved(first - 1, indent)) for p in error.problems]
    return RuleError(problems, "\n" * (first - 1) + source, error.filename)


# --- text -> ast, within bounds -------------------------------------------------------------------------


def _refuse(filename: str, message: str, expected: str, remedy: str, span: Span | None = None, text: str = "") -> None:
    raise RuleError([Problem(message, expected, remedy, span)], text, filename)


def _tree(text: str, filename: str) -> ast.Module:
    """Python's own reading of the text. Warnings (odd escapes in a docstring) are nobody's concern."""
    _bound_text(text, filename)
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(text)
    except SyntaxError as error:
        line, column = error.lineno or 1, max(0, (error.offset or 1) - 1)
        end = error.end_offset - 1 if error.end_offset and error.end_lineno == line else column + 1
        _refuse(
            filename,
            f"not valid Python: {error.msg}",
            "one function in Python syntax",
            f"write it as {_SHAPE}",
            Span(line, column, max(end, column + 1)),
            text,
        )
    except (RecursionError, MemoryError, ValueError):
        _refuse(
            filename,
            "the text is nested too deeply to read",
            f"expressions at most {MAX_NESTING} deep",
            "name intermediate results in statements of their own",
        )
    raise AssertionError("unreachable")


def _bound_text(text: str, filename: str) -> None:
    """Refuse what Python's own parser should not see: long texts, half characters, deep brackets."""
    size = len(text.encode(errors="replace"))
    if size > MAX_BYTES:
        _refuse(filename, f"the text has {size} bytes", f"at most {MAX_BYTES}", "a rule is one function of a few lines")
    half = re.search("[\ud800-\udfff]", text)
    if half:
        _refuse(
            filename,
            f"the half character {half[0]!r}",
            "Unicode text",
            "remove it",
            _place(text, half.start()),
            text,
        )
    deep = _deep_bracket(text)
    if deep is not None:
        _refuse(
            filename,
            f"brackets are nested more than {MAX_NESTING} deep",
            f"at most {MAX_NESTING} levels",
            "name intermediate results in statements of their own",
            _place(text, deep),
            text,
        )


def _place(text: str, index: int) -> Span:
    column = index - (text.rfind("\n", 0, index) + 1)
    return Span(text.count("\n", 0, index) + 1, column, column + 1)


_BRACKETS = re.compile(
    r"""('{3}|"{3})(?:\\.|[^\\])*?(?:\1|\Z)|(['"])(?:\\.|(?!\2)[^\\\n])*\2?|\#[^\n]*|[][(){}]""", re.DOTALL
)
"""Strings, comments (in which brackets do not count) and brackets."""


def _deep_bracket(text: str) -> int | None:
    """Where brackets nest deeper than `MAX_NESTING`."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[0] in ("(", "[", "{"):
            depth += 1
            if depth > MAX_NESTING:
                return match.start()
        elif match[0] in (")", "]", "}"):
            depth = max(0, depth - 1)
    return None


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
    "AsyncFor": "a loop",
    "AsyncWith": "a with block",
    "TryStar": "a try block",
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


# --- ast -> Rule ---------------------------------------------------------------------------------------


class _Reader:
    """Turns one function into a rule and collects what is wrong with it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.places: dict[str, Span] = {}  # of the arguments
        self.refused: list[str] = []  # arguments that are none of a rule

    def problem(self, message: str, expected: str, remedy: str, node: ast.AST) -> None:
        self.problems.append(Problem(message, expected, remedy, self.source.span(node)))

    def function(self, module: ast.Module) -> ast.FunctionDef | None:
        """The function of the text; anything else beside it but evoptim's imports is refused."""
        functions: list[ast.FunctionDef] = []
        for index, statement in enumerate(module.body):
            match statement:
                case ast.FunctionDef():
                    functions.append(statement)
                case ast.Expr(ast.Constant(str())) if index == 0:
                    pass
                case ast.ImportFrom(module=source) if source in _PREAMBLE:
                    pass
                case ast.Import(names=[ast.alias(name="evoptim")]):
                    pass
                case _:
                    message = f"a rule file holds one function, not {_describe(statement)}"
                    remedy = "remove this statement; nothing in a rule file is ever executed"
                    self.problem(message, _SHAPE, remedy, statement)
        if len(functions) == 1:
            return functions[0] if self._bounded(functions[0]) else None
        if functions or not self.problems:
            got = f"{len(functions)} functions" if functions else "no function"
            span = self.source.span(functions[1]) if functions else None
            self.problems.append(
                Problem(f"found {got}", f"exactly one: {_SHAPE}", "put each rule in a text of its own", span)
            )
        return None

    def _bounded(self, function: ast.FunctionDef) -> bool:
        """Whether a function has a size that is worth reading."""
        arguments = function.args
        for most, what, found in (
            (MAX_ARGUMENTS, "arguments", [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]),
            (MAX_STATEMENTS, "statements", [n for n in ast.walk(function) if isinstance(n, ast.stmt)][1:]),
        ):
            if len(found) > most:
                remedy = "a rule is one function of a few lines"
                self.problem(f"a function of {len(found)} {what}", f"at most {most}", remedy, function)
                return False
        return True

    def _decorators(self, function: ast.FunctionDef) -> None:
        for decorator in function.decorator_list:
            match decorator:
                case ast.Name(id="rule") | ast.Attribute(value=ast.Name(id="evoptim"), attr="rule"):
                    pass
                case _:
                    message = f"decorator {self.source.snippet(decorator)!r}"
                    self.problem(message, "no decorator, or @evoptim.rule", "remove it", decorator)

    def _close(self, word: str, candidates: Iterable[str]) -> str:
        """A "did you mean" remedy, or the empty string: the search for it is not cheap."""
        match = difflib.get_close_matches(word[:64], list(candidates), n=1) if len(self.problems) < SUGGESTIONS else []
        return f"did you mean {match[0]!r}?" if match else ""

    def rule(self, function: ast.FunctionDef, text: str, filename: str) -> Rule:
        self._decorators(function)
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
            body=(*(Assign(n, ERROR, None, self.places[n]) for n in self.refused), *statements),
            returns=tuple(returns),
            uses_t=uses_t,
            order=order,
            return_spans=tuple(spans),
            return_span=self.source.span(returned or function),
            source=text,
            filename=filename,
        )

    # signature

    def _positional(self, function: ast.FunctionDef) -> tuple[list[Buffer], bool, tuple[str, ...]]:
        arguments = function.args
        given = [*arguments.posonlyargs, *arguments.args]
        starred = [a for a in (arguments.vararg, arguments.kwarg) if a is not None]
        self.places = {a.arg: self.source.span(a) for a in (*given, *starred, *arguments.kwonlyargs)}
        self._foreign(function, given, starred)
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

    def _foreign(self, function: ast.FunctionDef, given: list[ast.arg], starred: list[ast.arg]) -> None:
        """Arguments that no rule has."""
        misnamed = [a for a, wanted in zip(given, ("w", "g"), strict=False) if a.arg != wanted]
        self.refused = [a.arg for a in (*misnamed, *starred)]
        if [a.arg for a in given[:2]] != ["w", "g"]:
            got = ", ".join(a.arg for a in given[:2]) or "nothing"
            self.problem(
                f"the first arguments are {got}",
                "w, the parameter, and g, its gradient",
                f"begin the signature with def {function.name}(w, g, ...)",
                given[0] if given else function,
            )
        for argument in starred:
            self.problem(
                "a starred argument", "named buffers and keyword-only hyperparameters", "name each one", argument
            )

    def _signature_extras(self, function: ast.FunctionDef, given: list[ast.arg]) -> None:
        for argument in given[:2]:
            if argument.annotation is not None:
                self.problem(f"an annotation on {argument.arg}", "none", "remove it", argument.annotation)
        for default in function.args.defaults:
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
            case ast.Name(id="output"):
                return Buffer(argument.arg, output=True)
            case ast.Call(
                func=ast.Name(id="init" | "output" as how), args=[ast.Name(id="g" | "w" as start)], keywords=[]
            ):
                return Buffer(argument.arg, Kind.TENSOR, start, output=how == "output")
            case other:
                written = self.source.snippet(other)
                self.problem(
                    f"annotation {written!r} on buffer {argument.arg!r}",
                    "init(g), init(w), output, output(w), " + ", ".join(STATE_KINDS),
                    self._close(written, [*STATE_KINDS, "init(g)", "init(w)", "output", "output(w)"])
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
                    f"a value in {self.source.snippet(argument.annotation)}" if argument.annotation else "",
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
            f"annotation {self.source.snippet(annotation)!r} on hyperparameter {argument.arg!r}",
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
                return docstring(text), rest
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
                    statements += self.statement(statement)
        if returned is None or not _elements(returned.value):
            self.problem(
                f"rule {function.name!r} returns nothing",
                "the new parameter and then every buffer, in the order of the signature",
                f"end it with return {', '.join(self._return_names(function))}",
                returned or function,
            )
            returned = None
        return statements, returned

    def _return_names(self, function: ast.FunctionDef) -> list[str]:
        return ["w", *(a.arg for a in [*function.args.posonlyargs, *function.args.args][2:] if a.arg != "t")]

    def _if(self, statement: ast.If) -> list[Statement]:
        match statement.test:
            case ast.Name(id="matrix"):
                pass
            case _:
                self.problem(
                    f"a branch on {self.source.snippet(statement.test, 60)!r}",
                    "if matrix: (static: the parameter has two or more dimensions)",
                    "choose values element by element with where(condition, x, y)",
                    statement.test,
                )
        then = [a for s in statement.body for a in self.statement(s)]
        other = [a for s in statement.orelse for a in self.statement(s)]
        return [If(tuple(then), tuple(other))]

    def statement(self, statement: ast.stmt) -> list[Assign]:
        """An assignment; ``pass`` is none, and in place of anything else stand the names that it would set."""
        match statement:
            case ast.Assign(targets=[ast.Name(id=target) as place]):
                self._identifier(target, place)
                where: dict[Path, Span] = {}
                value = self.expression(statement.value, where)
                return [Assign(target, value, where, self.source.span(place))]
            case ast.Pass():
                return []
            case ast.If():
                self.problem("a branch within a branch", "one level of if matrix:", "flatten it", statement)
            case ast.Return():
                self.problem("a return within a branch", "one return at the end", "assign names instead", statement)
            case ast.Assign():
                self.problem(
                    f"assignment to {self.source.snippet(statement.targets[0])!r}",
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
        return self._broken(statement)

    def _broken(self, statement: ast.stmt) -> list[Assign]:
        """The names a refused statement would have set, so that their use is no second problem."""
        stored = [n for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
        return [Assign(n.id, ERROR, None, self.source.span(n)) for n in stored]

    # expressions

    def expression(self, node: ast.expr, where: dict[Path, Span], path: Path = ()) -> Node:
        """The expression, with the span of every part of it put into ``where``."""
        where[path] = self.source.span(node)
        if len(path) > MAX_NESTING:
            self.problem(
                f"an expression more than {MAX_NESTING} levels deep",
                f"at most {MAX_NESTING}",
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
                self._outside(node)
                parts = _operands(node)
                return self._apply("error", parts, where, path)

    def _outside(self, node: ast.expr) -> None:
        message = f"{_describe(node)} in an expression"
        remedy = _REMEDIES.get(type(node).__name__, "write it with the operations of the language")
        match node:
            case ast.Compare(ops=[_, _, *_]):
                message, remedy = "a chained comparison", "compare two values at a time, nested in where()"
            case ast.BinOp(op=operator):
                message, remedy = f"operator {type(operator).__name__}", "use + - * / **"
            case ast.Compare():
                message, remedy = "a test with is or in", "use < <= > >= == !="
            case ast.UnaryOp(op=ast.UAdd()):
                message, remedy = "a unary plus", "remove it"
            case ast.UnaryOp(op=ast.Not()):
                message, remedy = "not in an expression", "swap the choices of where()"
            case ast.UnaryOp():
                message, remedy = "operator ~", "use + - * / **"
            case _:
                pass
        self.problem(message, "names, numbers, + - * / **, comparisons and calls of operations", remedy, node)

    def _apply(self, op: str, arguments: Sequence[ast.expr], where: dict[Path, Span], path: Path) -> Node:
        return Node(op, tuple(self.expression(a, where, (*path, i)) for i, a in enumerate(arguments)))

    def _constant(self, node: ast.expr) -> Node:
        value = self._number(node)
        if value is None or not math.isfinite(value):
            self.problem(
                f"the constant {self.source.snippet(node)}",
                "a finite number",
                "write it as a decimal, such as 1e-8",
                node,
            )
            return ERROR
        return const(value)

    def _call(self, node: ast.Call, where: dict[Path, Span], path: Path) -> Node:
        arguments = [a for a in (*node.args, *(k.value for k in node.keywords)) if not isinstance(a, ast.Starred)]
        plain = len(arguments) == len(node.args) and not node.keywords
        op = OPS.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if not isinstance(node.func, ast.Name):
            self._outside(node.func)
        elif op is None or op.symbol:
            callable_names = [o.name for o in OPS if not o.symbol]
            self.problem(
                f"unknown operation {node.func.id[:40]!r}",
                "an operation of the language",
                self._close(node.func.id, callable_names) or "`evoptim ops` lists all operations",
                node.func,
            )
        elif not plain or len(arguments) != op.arity:
            got = f"{len(arguments)} arguments" if plain else "keyword or starred arguments"
            self.problem(f"{op.name} with {got}", op.signature, f"it is {op.doc}", node)
        else:
            return self._apply(op.name, arguments, where, path)
        return self._apply("error", arguments, where, path)  # what is wrong inside is told at once too


def _operands(node: ast.expr) -> list[ast.expr]:
    """The parts of an operator that the language does not have."""
    if not isinstance(node, ast.BinOp | ast.BoolOp | ast.Compare | ast.IfExp | ast.UnaryOp):
        return []
    return [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]


def _elements(value: ast.expr | None) -> list[ast.expr]:
    if value is None:
        return []
    return value.elts if isinstance(value, ast.Tuple) else [value]


def _float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
