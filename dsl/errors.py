"""What a user's mistake looks like: got, expected, remedy, and a caret under the place."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable
from dataclasses import dataclass


class UserError(Exception):
    """A mistake on the user's side: one line and a remedy, never a traceback (exit code 2)."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of one source line; lines count from 1, columns from 0 and in characters."""

    line: int
    column: int
    end: int

    def moved(self, lines: int, columns: int) -> Span:
        """The same stretch in a text that has more before it."""
        return Span(self.line + lines, self.column + columns, self.end + columns)


class Source:
    """A text and its places. ``ast`` counts columns in UTF-8 bytes, messages count them in characters."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self._columns: dict[int, list[int]] = {}

    def column(self, line: int, offset: int) -> int:
        """The column of the character at a byte offset."""
        text = self.lines[line - 1]
        if text.isascii():
            return offset
        if line not in self._columns:
            begins = (byte & 0xC0 != 0x80 for byte in text.encode())
            self._columns[line] = list(itertools.accumulate(begins, initial=0))
        return self._columns[line][offset]

    def span(self, node: ast.AST) -> Span:
        """Where a node begins; its end only as far as its first line goes."""
        line: int = getattr(node, "lineno", 1)
        column = self.column(line, getattr(node, "col_offset", 0))
        if getattr(node, "end_lineno", None) != line:
            return Span(line, column, column + 1)
        return Span(line, column, self.column(line, getattr(node, "end_col_offset", 0)))

    def snippet(self, node: ast.AST, limit: int = 40) -> str:
        """The beginning of a node as it was written."""
        span = self.span(node)
        end = span.end if getattr(node, "end_lineno", None) == span.line else None
        return self.lines[span.line - 1][span.column : end][:limit]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a rule.

    ``message`` says what was got, ``expected`` what should stand there, ``remedy`` what to do.
    ``span`` is None where the rule has no source text, and then ``context`` shows the statement.
    """

    message: str
    expected: str = ""
    remedy: str = ""
    span: Span | None = None
    context: str = ""

    def render(self, lines: list[str], filename: str) -> str:
        """The problem as text: place, source line, caret, expectation and remedy."""
        out = [self._headline(filename)]
        if self.span is not None and self.span.line <= len(lines):
            out += _excerpt(lines[self.span.line - 1], self.span)
        elif self.context:
            out.append(f"    {self.context}")
        if self.expected:
            out.append(f"  expected: {self.expected}")
        if self.remedy:
            out.append(f"  remedy: {self.remedy}")
        return "\n".join(out)

    def _headline(self, filename: str) -> str:
        if self.span is None:
            return f"{filename}: {self.message}"
        return f"{filename}:{self.span.line}:{self.span.column + 1}: {self.message}"


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.span.line, problem.span.column) if problem.span else (0, 0)


_WIDTH = 96
_SHOWN = 50


def _excerpt(line: str, span: Span) -> list[str]:
    """The source line with a caret under the span, cut to a window when the line is long."""
    end = max(span.end, span.column + 1)
    start = max(0, span.column - _WIDTH // 2) if len(line) > _WIDTH else 0
    window = "".join(c if c.isprintable() else " " for c in line[start : start + _WIDTH])
    carets = "^" * max(1, min(end - start, len(window)) - (span.column - start))
    return [f"    {window}", "    " + " " * (span.column - start) + carets]


class RuleError(UserError):
    """Everything wrong with one rule, all at once."""

    def __init__(self, problems: Iterable[Problem], text: str = "", filename: str = "<rule>") -> None:
        self.problems = tuple(sorted(problems, key=_place))
        self.text = text
        self.filename = filename
        lines = text.split("\n")
        shown = [p.render(lines, filename) for p in self.problems[:_SHOWN]]
        more = len(self.problems) - len(shown)
        super().__init__("\n".join([*shown, *([f"{filename}: and {more} more problems"] if more else [])]))

    def __reduce__(self) -> tuple[type[RuleError], tuple[tuple[Problem, ...], str, str]]:
        return RuleError, (self.problems, self.text, self.filename)
