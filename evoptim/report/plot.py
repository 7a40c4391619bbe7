"""Charts as SVG that a style sheet colours: scales, axes and marks, nothing that needs a script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .markup import Content, Html, escaped, joined, tag

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 14, 46

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Scale:
    """From values to places.

    Attributes:
        low, high: The least and the greatest value shown.
        begin, end: Where they are, in units of the drawing.
        log: Whether equal ratios have equal lengths.
    """

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Where a value is."""
        low, high, at = (
            (math.log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values, about six of them, as numbers and as text."""
        if self.log:
            return [(v, _tick(v, max(0, -math.floor(math.log10(v))))) for v in self._decades()]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = min((m * unit for m in (1, 2, 5, 10)), key=lambda s: abs(s - rough))
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(i * step, _tick(i * step, decimals)) for i in range(first, last + 1)]

    def _decades(self) -> list[float]:
        """Powers of ten, with what lies between them where there are few."""
        between = (1, 2, 5) if self.high / self.low < 1000 else (1,)
        low, high = (math.floor(math.log10(v)) for v in (self.low, self.high))
        values = [m * 10.0**d for d in range(low, high + 1) for m in between]
        return [v for v in values if self.low * (1 - 1e-9) <= v <= self.high * (1 + 1e-9)]


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """The range of some values with a margin; never empty."""
    known = list(values)
    low, high = min(known), max(known)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


@dataclass(frozen=True, slots=True)
class Frame:
    """Axes, and what stands at them."""

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    whole_x: bool = False
    """Whether x counts something."""

    def axes(self) -> Html:
        """Grid, ticks and labels."""
        bottom, marks = HEIGHT - BOTTOM, list[Html]()
        for value, words in self.y.ticks():
            at = _place(self.y(value))
            marks.append(_line(LEFT, at, WIDTH - RIGHT, at, "grid"))
            marks.append(_text(LEFT - 8, self.y(value) + 4, words, "tick", "end"))
        for value, words in self.x.ticks():
            if self.whole_x and value != int(value):
                continue
            at = _place(self.x(value))
            marks.append(_line(at, bottom, at, bottom + 4, "axis"))
            marks.append(_text(self.x(value), bottom + 18, words, "tick", "middle"))
        marks.append(_line(LEFT, bottom, WIDTH - RIGHT, bottom, "axis"))
        middle = (TOP + bottom) / 2
        label = tag(
            "text",
            self.y_label,
            class_="label",
            text_anchor="middle",
            transform=f"translate(15 {middle:g}) rotate(-90)",
        )
        return joined([*marks, label, _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, self.x_label, "label", "middle")])

    def path(self, points: Sequence[Point], kind: str, *, steps: bool = False) -> Html:
        """A line through points; with ``steps`` it keeps its height until the next one."""
        drawn: list[str] = []
        for i, (x, y) in enumerate(points):
            across = f"H{_place(self.x(x))}" if steps and i else ""
            drawn.append(f"{across}{'L' if i else 'M'}{_place(self.x(x))} {_place(self.y(y))}")
        return tag("path", d="".join(drawn), class_=f"line {kind}")

    def dust(self, points: Iterable[Point], kind: str) -> Html:
        """Very many points as one shape."""
        return tag(
            "path", d="".join(f"M{_place(self.x(x))} {_place(self.y(y))}h0" for x, y in points), class_=f"dust {kind}"
        )

    def dot(self, point: Point, kind: str, title: str, radius: float = 4.5) -> Html:
        """One point, which says what it is when pointed at."""
        x, y = (_place(s) for s in (self.x(point[0]), self.y(point[1])))
        return tag("circle", tag("title", title), cx=x, cy=y, r=f"{radius:g}", class_=f"dot {kind}")

    def level(self, value: float, kind: str, label: str) -> Html:
        """A horizontal line with its name at the right end, above it or below where there is no room."""
        at = self.y(value)
        below = at < TOP + 16
        line = _line(LEFT, _place(at), WIDTH - RIGHT, _place(at), f"line {kind}")
        return joined([line, _text(WIDTH - RIGHT - 4, at + (14 if below else -6), label, f"note {kind}", "end")])

    def label(self, point: Point, text: str, kind: str, dx: float = 8, dy: float = -8) -> Html:
        """Words beside a point, on the side where there is room."""
        x, y = self.x(point[0]), self.y(point[1])
        right = x < WIDTH * 0.75
        anchor = "start" if right else "end"
        return _text(
            x + (dx if right else -dx), min(max(y + dy, TOP + 8), HEIGHT - BOTTOM - 7), text, f"note {kind}", anchor
        )


def drawing(description: str, *marks: Html, height: int = HEIGHT) -> Html:
    """A picture that a screen reader can name."""
    return tag("svg", tag("title", description), *marks, viewBox=f"0 0 {WIDTH} {height}", role="img", class_="chart")


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """Which mark is what: pairs of kind and words."""
    return tag(
        "p", *(joined([tag("span", tag("i", class_=f"key {kind}"), words)]) for kind, words in entries), class_="legend"
    )


def figure(number: int, picture: Html, caption: str, key: Content = "") -> Html:
    """A numbered figure with its caption."""
    words = tag("figcaption", tag("b", f"Figure {number}. "), caption)
    return tag("figure", picture, key, words)


def _place(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float | str, y1: float | str, x2: float | str, y2: float | str, kind: str) -> Html:
    return Html(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>')


def _text(x: float, y: float, words: str, kind: str, anchor: str) -> Html:
    place = f'x="{_place(x)}" y="{_place(y)}"'
    return Html(f'<text {place} class="{kind}" text-anchor="{anchor}">{escaped(words)}</text>')


def _tick(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".replace("-", "\N{MINUS SIGN}")
