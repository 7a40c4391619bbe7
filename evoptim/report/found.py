"""Chapters on what was found: the winner in all its forms, and how it came about."""

from __future__ import annotations

import io
import keyword
import tokenize

from evoptim.codegen import plan, source
from evoptim.dsl import latex

from . import charts
from .differences import difference
from .facts import Facts, Finalist, Step
from .markup import Html, code, escaped, folded, joined, number, signed, table, tag
from .mathml import mathml
from .plot import figure

OPEN = 40
"""Steps of a lineage up to which all of it is shown at once."""


def winner(facts: Facts) -> Html:
    """The winner: its text, its mathematics, its plan and its code."""
    rule = facts.rule
    assert rule is not None
    plans = "\n\n".join(plan(rule, matrix).text for matrix in rule.classes)
    forms = [
        folded("the plan: how a step runs, what it reads and writes", code(plans)),
        folded("the optimizer: one file that needs torch alone", highlighted(source(rule))),
        folded("the mathematics as LaTeX", code(latex(rule))),
        folded("the start rule", highlighted(facts.start.text)),
    ]
    return joined([highlighted(rule.text), tag("div", mathml(rule), class_="equations"), *forms, _selection(facts)])


def _selection(facts: Facts) -> Html:
    """How the finalists did on fresh seeds."""
    if not facts.finalists:
        return Html("")
    ranked = sorted(facts.finalists, key=lambda f: f.fresh.loss)
    seeds = len(facts.config.selection.seeds)
    rows = [(_named(facts, f.program), number(f.loss), number(f.fresh.loss), _stopped(f, seeds)) for f in ranked]
    note = f"The finalists and the start rule, trained again on {seeds} seeds that the search did not see."
    heads = ["program", "loss in the search", "loss on fresh seeds", "status"]
    return joined([tag("h3", "On fresh seeds"), tag("p", note), table(heads, rows, (0, 3))])


def _stopped(finalist: Finalist, seeds: int) -> str:
    return finalist.fresh.status if finalist.seeds >= seeds else f"stopped after {finalist.seeds} seeds"


def _named(facts: Facts, program: int) -> str:
    notes = {0: " (start rule)", facts.winner: " (winner)"}
    return f"#{program}{notes.get(program, '')}"


def highlighted(text: str) -> Html:
    """Program text with keywords, comments and literals marked; plain where Python cannot read it."""
    out, at = list[Html](), (1, 0)
    lines = text.splitlines(keepends=True)
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError):
        return code(text)
    for token in tokens:
        kind = _kind(token)
        if kind:
            out += [escaped(_between(lines, at, token.start)), tag("span", token.string, class_=kind)]
            at = token.end
    out.append(escaped(_between(lines, at, (len(lines) + 1, 0)).rstrip("\n")))
    return tag("pre", tag("code", *out))


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return "keyword"
    kinds = {tokenize.COMMENT: "comment", tokenize.STRING: "comment", tokenize.NUMBER: "literal"}
    return kinds.get(token.type, "")


def _between(lines: list[str], begin: tuple[int, int], end: tuple[int, int]) -> str:
    """The text from one place (line from 1, column from 0) up to another."""
    (first, left), (last, right) = begin, end
    if first == last:
        return lines[first - 1][left:right]
    whole = "".join(lines[first : last - 1])
    rest = lines[last - 1][:right] if last <= len(lines) else ""
    return (lines[first - 1][left:] if first <= len(lines) else "") + whole + rest


def lineage(facts: Facts, first: int) -> Html:
    """How the winner came about, step by step."""
    steps = facts.lineage
    effects = len(steps) - 1
    intro = tag(
        "p",
        f"{facts.mutations} mutations lead from the start rule to the winner, {effects} of them with an effect. "
        "Steps that made it better than all its ancestors are marked.",
    )
    caption = "Loss of the winner's ancestors in the search, start rule first; blue where it was a new least."
    items: list[Html] = []
    best = float("inf")
    for k, step in enumerate(steps):
        better = step.loss is not None and step.loss < best
        best = min(best, step.loss) if step.loss is not None else best
        items.append(_step(step, steps[k - 1] if k else None, better))
    listed = tag("ol", *items, class_="lineage")
    if effects > OPEN:
        listed = folded(f"all {effects} steps", listed)
    return joined([intro, figure(first, charts.lineage(facts), caption) if effects else Html(""), listed])


def _step(step: Step, before: Step | None, better: bool) -> Html:
    change = Html("")
    if before is not None and step.loss is not None and before.loss is not None:
        kind = "better" if step.loss < before.loss else "worse" if step.loss > before.loss else "same"
        change = tag("span", f" ({signed(step.loss - before.loss)})", class_=kind)
    score = tag("span", f"loss {number(step.loss)}", change)
    head = tag("div", tag("span", tag("b", f"#{step.program}"), f" {step.mutation}"), score, class_="step")
    body = folded("the program", highlighted(step.text)) if before is None else difference(before.text, step.text)
    return tag("li", head, body, class_="better" if better else "other")
