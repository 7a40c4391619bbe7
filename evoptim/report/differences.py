"""What a mutation changed: statements that went and came, with the words in them that differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from .markup import Html, escaped, joined, tag

_WORDS = re.compile(r"\w+(?:\.\w+)?(?:e-\d+)?|\s+|[^\w\s]+")


def difference(before: str, after: str) -> Html:
    """The statements that differ; the same text for one that differs in nothing."""
    old, new = before.splitlines(), after.splitlines()
    rows: list[Html] = []
    for kind, i, j, k, n in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "replace":
            rows += _changed(old[i:j], new[k:n])
        elif kind != "equal":
            rows += [_row("\N{MINUS SIGN}", escaped(line), "gone") for line in old[i:j]]
            rows += [_row("+", escaped(line), "new") for line in new[k:n]]
    if not rows:
        return tag("p", "The same text, tidied: what changed has no effect.", class_="note")
    return tag("pre", joined(rows), class_="difference")


def _changed(old: Sequence[str], new: Sequence[str]) -> list[Html]:
    """Statements that came instead of others: those that are alike next to each other, word by word."""
    rows: list[Html] = []
    i = k = 0
    for a, b in [*_pairs(old, new), (len(old), len(new))]:
        rows += [_row("\N{MINUS SIGN}", escaped(line), "gone") for line in old[i:a]]
        rows += [_row("+", escaped(line), "new") for line in new[k:b]]
        if a < len(old):
            left, right = _words(old[a], new[b])
            rows += [_row("\N{MINUS SIGN}", left, "gone"), _row("+", right, "new")]
        i, k = a + 1, b + 1
    return rows


def _pairs(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Which old statement became which new one: pairs in order, as alike in all as possible."""
    best: list[list[tuple[float, list[tuple[int, int]]]]] = [[(0.0, [])] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i, a in enumerate(old, 1):
        for k, b in enumerate(new, 1):
            alike = _alike(a, b)
            score, pairs = best[i - 1][k - 1]
            paired = (score + alike, [*pairs, (i - 1, k - 1)]) if alike else (score, pairs)
            best[i][k] = max(best[i - 1][k], best[i][k - 1], paired, key=lambda found: found[0])
    return best[-1][-1][1]


def _alike(a: str, b: str) -> float:
    """How much two statements have in common; 0 where it is too little to set them side by side."""
    ratio = SequenceMatcher(None, _WORDS.findall(a), _WORDS.findall(b), autojunk=False).ratio()
    same_target = a.split(" = ")[0] == b.split(" = ")[0]
    return ratio + 0.5 * same_target if ratio > 0.6 else 0.0


def _words(before: str, after: str) -> tuple[Html, Html]:
    """Both lines with the words marked that the other has not."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    left: list[Html] = []
    right: list[Html] = []
    for kind, i, j, k, n in matcher.get_opcodes():
        a, b = "".join(old[i:j]), "".join(new[k:n])
        left.append(escaped(a) if kind == "equal" or not a else tag("del", a))
        right.append(escaped(b) if kind == "equal" or not b else tag("ins", b))
    return joined(left), joined(right)


def _row(sign: str, line: Html, kind: str) -> Html:
    return tag("span", f"{sign} ", line, class_=kind)
