"""Programs read again from texts that were printed from valid ones, such as those of an archive.

Programs of a search have one operation a statement and differ from their parents in few of them. So a line that has
been met is not parsed again, and nothing is checked a second time: reading is several times as fast as `parse`.
"""

from __future__ import annotations

from evoptim.dsl import Assign, Node, Rule, parse, parse_assignment

MEMORY = 1 << 16
"""Lines remembered before all are forgotten."""

_INDENT, _RETURN = "    ", "    return "


class Reader:
    """Reads texts that `Rule.text` gave."""

    def __init__(self) -> None:
        self._heads: dict[str, Rule] = {}
        self._lines: dict[str, Assign] = {}
        self._returns: dict[str, tuple[Node, ...]] = {}

    def read(self, text: str) -> Rule:
        """The rule of a text.

        Raises:
            RuleError: It is none.
        """
        head, body = _parted(text)
        if not body:
            return parse(text)
        self._trim()
        template = self._heads.get(head)
        if template is None:
            rule = self._heads[head] = parse(text)
            self._returns[head + body[-1]] = rule.returns
            return rule
        returns = self._returns.get(head + body[-1])
        if returns is None:
            returns = self._returns[head + body[-1]] = parse(text).returns
        return template.replace(body=tuple([self._line(line) for line in body[:-1]]), returns=returns)

    def _line(self, line: str) -> Assign:
        found = self._lines.get(line)
        if found is None:
            found = self._lines[line] = parse_assignment(line[len(_INDENT) :])
        return found

    def _trim(self) -> None:
        """Forget all where there is too much of it."""
        if len(self._heads) + len(self._lines) + len(self._returns) > MEMORY:
            for known in (self._heads, self._lines, self._returns):
                known.clear()


def _parted(text: str) -> tuple[str, list[str]]:
    """The signature, and the lines of the body; no lines where there is a docstring or a branch."""
    lines = text.splitlines()
    end = next(i for i, line in enumerate(lines, start=1) if line.endswith(":"))
    body = lines[end:]
    plain = body and body[-1].startswith(_RETURN) and '"' not in text and "\\" not in text
    if not plain or any(line.endswith(":") for line in body):
        return text, []
    return "\n".join(lines[:end]), body
