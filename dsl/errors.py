"""What a user's mistake looks like: got, expected, remedy, and a caret under the place."""

from __future__ import annotations

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
    """A stretch of one source line; lines count from 1, columns from 0 (as ``ast`` has them)."""

    line: int
    column: int
    end: int


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


_WIDTH = 96


def _excerpt(line: str, span: Span) -> list[str]:
    """The source line with a caret under the span, cut to a window when the line is long."""
    end = max(span.end, span.column + 1)
    start = max(0, span.column - _WIDTH // 2) if len(line) > _WIDTH else 0
    window = line[start : start + _WIDTH].replace("\t", " ")
    carets = "^" * max(1, min(end - start, len(window)) - (span.column - start))
    return [f"    {window}", "    " + " " * (span.column - start) + carets]


class RuleError(UserError):
    """Everything wrong with one rule, all at once."""

    def __init__(self, problems: Iterable[Problem], text: str = "", filename: str = "<rule>") -> None:
        place = lambda p: (p.span.line, p.span.column) if p.span else (0, 0)  # noqa: E731 - a sort key
        self.problems = tuple(sorted(problems, key=place))
        self.filename = filename
        lines = text.split("\n")
        super().__init__("\n".join(p.render(lines, filename) for p in self.problems))

    def __reduce__(self) -> tuple[type[RuleError], tuple[tuple[Problem, ...], str, str]]:
        return RuleError, (self.problems, "", self.filename)
