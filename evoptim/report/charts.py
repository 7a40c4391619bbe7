"""The figures of a page."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import Facts
from .markup import Html, joined, number
from .plot import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Frame, Point, Scale, drawing, padded

LONG = 2000
"""Programs evaluated above which the first ones get more room than the last ones."""


def _across(low: float, high: float, *, log: bool = False) -> Scale:
    return Scale(low, high, LEFT, WIDTH - RIGHT, log)


def _upward(low: float, high: float, *, log: bool = False) -> Scale:
    return Scale(low, high, HEIGHT - BOTTOM, TOP, log)


def _losses(values: Sequence[float]) -> Scale:
    """A scale for losses: logarithmic where they span more than a factor of 6."""
    least, most = min(values), max(values)
    if least > 0 and most / least > 6:
        return _upward(least / 1.3, most * 1.3, log=True)
    return _upward(*padded(values, 0.1))


def progress(facts: Facts) -> Html:
    """Best loss so far over programs evaluated, above a sample of all of them, with the start rule."""
    best = list(facts.improvements)
    total = max(facts.counts["evaluated"], 2)
    start = [] if facts.start_loss is None else [facts.start_loss]
    ceiling = max(start + [loss for _, loss in best])
    floor = min(loss for _, loss in best)
    ceiling += 0.35 * (ceiling - floor) or 0.1 * abs(ceiling)
    cloud = [(place, loss) for place, loss in facts.losses if loss <= ceiling]
    frame = Frame(_across(1, total, log=total > LONG), _losses([floor, ceiling]), _AXIS, facts.measure, whole_x=True)
    end = (float(total), best[-1][1])
    marks = [
        frame.axes(),
        frame.dust(cloud, "all"),
        *(frame.level(s, "baseline", f"start rule, {facts.config.start.rule}: {number(s)}") for s in start),
        frame.path([*best, end], "best", steps=True),
        frame.label(end, f"best so far: {number(best[-1][1])}", "best", dy=16),
    ]
    return drawing("Best validation loss so far over programs evaluated", *marks)


_AXIS = "distinct programs evaluated"


def pareto(facts: Facts) -> Html:
    """The front: loss over live statements, one colour for each number of state bytes."""
    front = facts.front
    low, high = padded([float(m.statements) for m in front], 0.12)
    frame = Frame(_across(low, high), _losses([m.loss for m in front]), "live statements", facts.measure, True)
    marks = [frame.axes()]
    for state, kind in state_kinds(facts):
        points = sorted((float(m.statements), m.loss) for m in front if m.state == state)
        marks.append(frame.path(points, f"thin {kind}", steps=True))
    kinds = dict(state_kinds(facts))
    for m in front:
        title = f"program {m.program}: loss {number(m.loss)}, {m.statements} statements, {m.state} bytes of state"
        marks.append(frame.dot((m.statements, m.loss), kinds[m.state], title))
    chosen = next((m for m in front if m.program == facts.winner), None)
    if chosen is not None:
        marks.append(frame.dot((chosen.statements, chosen.loss), "ring", "the winner", 8))
        marks.append(frame.label((chosen.statements, chosen.loss), "winner", "ring", dy=-12))
    return drawing("Programs that no other beats in loss, statements and state", *marks)


def state_kinds(facts: Facts) -> list[tuple[int, str]]:
    """Bytes of state on the front, each with the class of its colour."""
    return [(state, colour(i)) for i, state in enumerate(sorted({m.state for m in facts.front}))]


def lineage(facts: Facts) -> Html:
    """The loss of the winner and of its ancestors, in order."""
    points: list[Point] = [(i, s.loss) for i, s in enumerate(facts.lineage) if s.loss is not None]
    last = len(facts.lineage) - 1
    frame = Frame(
        _across(0, max(1, last)), _losses([y for _, y in points]), "mutations with effect", facts.measure, True
    )
    dots = [
        frame.dot(p, "best" if p[1] == min(y for _, y in points[: i + 1]) else "baseline", _told(facts, int(p[0])))
        for i, p in enumerate(points)
    ]
    return drawing("Validation loss along the winner's lineage", frame.axes(), frame.path(points, "thin best"), *dots)


def _told(facts: Facts, place: int) -> str:
    step = facts.lineage[place]
    return f"program {step.program}, {step.mutation}: loss {number(step.loss)}"


def monitor(looks: Sequence[tuple[float, float, float | None]], marked: float | None) -> Html:
    """Losses relative to the start rule's, on rung 0 and in meta-validation, over programs evaluated."""
    rung = [(x, y) for x, y, _ in looks]
    meta = [(x, y) for x, _, y in looks if y is not None]
    values = [y for _, y in [*rung, *meta]] + [1.0]
    frame = Frame(
        _across(*padded([x for x, _ in rung], 0.04)),
        _upward(*padded(values)),
        _AXIS,
        "loss / loss of the start rule",
        True,
    )
    marks = [frame.axes(), frame.level(1.0, "baseline", "start rule"), frame.path(rung, "best"), frame.path(meta, "c2")]
    marks += [frame.dot(p, "best", f"rung 0: {number(p[1])}") for p in rung]
    marks += [frame.dot(p, "c2", f"meta-validation: {number(p[1])}") for p in meta]
    at = next((p for p in meta if p[0] == marked), None)
    if at is not None:
        marks += [
            frame.dot(at, "ring", "overfitting since", 8),
            frame.label(at, "overfitting from here on", "ring", dy=18),
        ]
    return drawing("Rung 0 against meta-validation", *marks)


def colour(place: int) -> str:
    """The class of the colour of the first, second, ... of several things; from the sixth on they share one."""
    return f"c{min(place, 5)}"


def profiles(taus: Sequence[float], shares_: Sequence[Sequence[float]]) -> Html:
    """Performance profiles (Dolan and More 2002): a line for each rule."""
    frame = Frame(_across(1, max(taus), log=True), _upward(0, 1.04), "times the best loss", "share of the tasks")
    lines = [frame.path(list(zip(taus, s, strict=True)), colour(i), steps=True) for i, s in enumerate(shares_)]
    return drawing("Performance profiles", frame.axes(), *lines)


def shares(parts: Sequence[tuple[str, int, str]]) -> Html:
    """One bar cut into parts: name, count and class of each."""
    total, at, marks = sum(n for _, n, _ in parts), 0.0, list[Html]()
    for name, count, kind in parts:
        width = WIDTH * count / max(1, total)
        title = f"{name}: {count:,}"
        marks.append(
            Html(f'<rect x="{at:.1f}" y="4" width="{max(0.0, width - 1.5):.1f}" height="26" rx="2" class="bar {kind}">')
        )
        marks.append(joined([Html("<title>"), title, Html("</title></rect>")]))
        at += width
    return drawing("What became of the programs generated", *marks, height=34)
