"""HTML from values: what is not marked as HTML already is escaped, so that nothing a rule says becomes markup."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias


class Html(str):
    """Text that is HTML."""

    __slots__ = ()


NONE = "\N{EN DASH}"
"""Stands where there is no number."""

Content: TypeAlias = str | int | Html


def escaped(content: Content) -> Html:
    """HTML as it is, anything else as text."""
    return content if isinstance(content, Html) else Html(html.escape(str(content)))


def tag(name: str, *children: Content, **attributes: Content) -> Html:
    """An element; ``class_`` stands for ``class``, other underscores for hyphens."""
    written = "".join(f' {k.rstrip("_").replace("_", "-")}="{html.escape(str(v))}"' for k, v in attributes.items())
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[Content]) -> Html:
    """Several contents after one another."""
    return Html("".join(map(escaped, children)))


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]], text_columns: Sequence[int] = (0,)) -> Html:
    """A table whose columns hold numbers, but for those named, which hold text."""

    def cells(name: str, row: Sequence[Content]) -> Html:
        kinds = ("text" if i in text_columns else "number" for i in range(len(row)))
        return tag("tr", *(tag(name, cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))

    body = tag("tbody", *(cells("td", row) for row in rows))
    return tag("div", tag("table", tag("thead", cells("th", heads)), body), class_="wide")


def definitions(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Terms and what they are."""
    return tag("dl", *(joined([tag("dt", term), tag("dd", meaning)]) for term, meaning in pairs))


def folded(title: str, content: Content) -> Html:
    """What is there for who opens it."""
    return tag("details", tag("summary", title), content)


def code(text: str) -> Html:
    """A block of program text."""
    return tag("pre", tag("code", text.rstrip("\n")))


def number(value: float | None, digits: int = 4) -> str:
    """A number to so many significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.{max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))}f}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text


def signed(value: float, digits: int = 3) -> str:
    """A difference, always with its sign."""
    return ("+" if value > 0 else "" if value else "\N{PLUS-MINUS SIGN}") + (number(value, digits) if value else "0")


def share(part: float, whole: float) -> str:
    """A percentage."""
    return f"{100 * part / whole:.1f} %" if whole else NONE


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
