"""The page: chapters in their order, numbered figures, one style sheet, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from evoptim.search.records.journal import COMPARISON, SIMPLIFY, TUNING
from evoptim.search.rundir import REPORT, write

from . import afterwards, caveats, compared, found, judged, searched
from .facts import Facts
from .markup import Html, duration, joined, number, signed, tag

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What a browser may load for the page: nothing but its own style."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the page under a heading that can be linked to."""

    key: str
    title: str
    content: Html


def write_report(facts: Facts, output: Path | None = None) -> Path:
    """Write the page of a run.

    Args:
        facts: The run, as `collect` reads it.
        output: The file; by default ``report.html`` in the run directory.

    Raises:
        UserError: The file cannot be written.
    """
    path = output or facts.directory / REPORT
    write(path, page(facts))
    return path


def page(facts: Facts) -> str:
    """The page as HTML."""
    chapters = list(_chapters(facts))
    style = files("evoptim.report").joinpath("page.css").read_text(encoding="utf-8")
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
            tag("title", f"{facts.name}: an update rule from {facts.config.start.rule}"),
            tag("style", Html(style)),
        ]
    )
    links = tag("nav", *(joined([tag("a", c.title, href=f"#{c.key}"), " "]) for c in chapters))
    sections = (tag("section", tag("h2", c.title), c.content, id=c.key) for c in chapters)
    body = tag("body", _header(facts), links, tag("main", *sections), _footer(facts))
    return f'<!doctype html>\n<html lang="en">{tag("head", head)}{body}</html>\n'


def _chapters(facts: Facts) -> Iterator[Chapter]:
    """Those that the run has something for, figures numbered in their order."""
    figures = iter(range(1, 100))
    journal = facts.journal
    yield Chapter("question", "What was searched", searched.question(facts))
    if facts.rule is not None:
        yield Chapter("winner", "The winner" if facts.finished else "The best so far", found.winner(facts))
        yield Chapter("course", "The course of the search", searched.course(facts, next(figures)))
        yield Chapter(
            "lineage", "How it came about", found.lineage(facts, next(figures) if len(facts.lineage) > 1 else 0)
        )
    if facts.front:
        yield Chapter("front", "Best at each size", searched.front(facts, next(figures)))
    if facts.counts["generated"]:
        yield Chapter("economy", "What was spared", searched.economy(facts, next(figures)))
    if facts.funnel:
        yield Chapter("funnel", "The funnel", judged.funnel(facts.funnel))
    if facts.monitor:
        yield Chapter("monitor", "Meta-validation", judged.monitor(facts.monitor, next(figures)))
    if facts.sealed:
        yield Chapter("sealed", "The sealed tasks", judged.sealed(facts.sealed))
    if journal[SIMPLIFY]:
        yield Chapter("simplified", "Simplified", afterwards.simplification(facts))
    if journal[TUNING]:
        yield Chapter("tuning", "Tuned", afterwards.tuning(facts))
    if journal[COMPARISON]:
        yield Chapter("comparison", "Compared", compared.comparison(journal[COMPARISON], figures))
    yield Chapter("caveats", "Before you believe it", caveats.caveats(facts))


def _header(facts: Facts) -> Html:
    state = (
        tag("span", "finished", class_="badge") if facts.finished else tag("span", "not finished", class_="badge warn")
    )
    first, last = (day.partition("T")[0] for day in facts.span)
    days = first if first == last else f"{first} to {last}"
    by = tag("p", f"{facts.name}, {days} ", state, class_="by")
    evaluation = facts.config.evaluation
    tasks = " and ".join((evaluation.task, *evaluation.tasks))
    title = f"An update rule evolved from {facts.config.start.rule} on {tasks}"
    return tag("header", tag("h1", title), by, tag("p", _abstract(facts), class_="abstract"))


def _abstract(facts: Facts) -> str:
    counts = facts.counts
    did = (
        f"{counts['generated']:,} programs were generated and {counts['evaluated']:,} distinct ones trained in "
        f"{duration(sum(facts.seconds))}."
    )
    if facts.loss is None or facts.start_loss is None:
        return f"{did} None of them has trained yet."
    best = "The winner" if facts.finished else "The best so far"
    found_ = (
        f" {best}, program {facts.winner}, reaches a {facts.measure} of {number(facts.loss)} in the search, where the "
        f"start rule reaches {number(facts.start_loss)}"
    )
    if facts.fresh_loss is None or facts.fresh_start_loss is None:
        return f"{did}{found_}; no fresh seed has confirmed that."
    change = 100 * (facts.fresh_loss - facts.fresh_start_loss) / abs(facts.fresh_start_loss)
    return (
        f"{did}{found_}; on fresh seeds the two reach {number(facts.fresh_loss)} and "
        f"{number(facts.fresh_start_loss)} ({signed(change)} %).{_verdict(facts)}"
    )


def _verdict(facts: Facts) -> str:
    """What the funnel came to, in a sentence; nothing where there is none or it is not at its end."""
    if not facts.funnel or not facts.finished:
        return ""
    last = facts.funnel[-1]
    if last["passed"]:
        return f" It has passed the funnel's {len(facts.funnel)} stages."
    return f" No program has passed the funnel: in longer trainings none beats a tuned {last['baseline']} for certain."


def _footer(facts: Facts) -> Html:
    use = f"evoptim export {facts.name}#best -o found.py"
    return tag(
        "footer",
        tag(
            "p",
            "Use it: ",
            tag("code", use),
            ". Search on: ",
            tag("code", f"evoptim search --resume {facts.name}"),
            ".",
        ),
        tag("p", f"Written by evoptim {version('evoptim')}. This page loads nothing from elsewhere."),
    )
