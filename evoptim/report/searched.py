"""Chapters on the search itself: what was searched, how it went, what was spared, the front."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoptim.search import to_toml

from . import charts
from .facts import Facts
from .markup import NONE, Html, code, definitions, duration, folded, joined, number, share, table, tag
from .plot import figure, legend


def question(facts: Facts) -> Html:
    """What was searched, on what, and with what budget."""
    config = facts.config
    evaluation, budget = config.evaluation, config.budget
    limits = [f"{budget.evaluations:,} distinct programs trained"]
    limits += [f"{budget.programs:,} programs generated"] if budget.programs else []
    limits += [f"{budget.minutes:g} minutes"] if budget.minutes else []
    tasks = ", ".join(dict.fromkeys((evaluation.task, *evaluation.tasks)))
    frame = "the update u, in the frame" if config.start.frame == "update" else "the whole rule"
    rows: list[tuple[str, str | Html]] = [
        ("start rule", f"{config.start.rule}, {config.start.buffers} state buffers or more"),
        ("mutated", f"{frame}; programs of at most {config.mutation.max_statements} statements"),
        ("population", f"{config.population.kind.replace('_', ' ')}, {_population(config.population)}"),
        ("tasks", tasks),
        (
            "a training",
            f"{evaluation.steps:,} updates of {evaluation.batch_size} examples, {evaluation.schedule} schedule",
        ),
        ("a score", _scored(facts)),
        ("budget", " or ".join(limits)),
        ("spent", _spent(facts)),
    ]
    return joined([definitions(rows), folded("the whole configuration", code(to_toml(config)))])


def _population(population: Any) -> str:
    islands = f" on each of {population.islands} islands" if population.islands > 1 else ""
    return f"{population.size:,} individuals{islands}, tournaments of {population.tournament}"


def _scored(facts: Facts) -> str:
    evaluation = facts.config.evaluation
    rates, seeds = len(evaluation.learning_rates), len(evaluation.seeds)
    wider = f", continued at an edge by up to {evaluation.widen} more" if evaluation.widen else ""
    several = "; of several tasks the geometric mean over the start rule's" if evaluation.tasks else ""
    return f"the mean validation loss over {seeds} seeds at the best of {rates} learning rates{wider}{several}"


def _spent(facts: Facts) -> str:
    propose, train = facts.seconds
    counts = facts.counts
    return (
        f"{counts['evaluated']:,} programs trained in {facts.trainings:,} trainings, {duration(train)}; "
        f"{counts['generated']:,} generated, {duration(propose)}"
    )


def course(facts: Facts, first: int) -> Html:
    """How the best loss fell."""
    shown = "all" if facts.complete else f"{len(facts.losses):,} of the"
    caption = (
        f"The least {facts.measure} so far (line) and the losses of {shown} programs that trained (dots), over the "
        "programs evaluated. Losses are those of the search: means over its own seeds, which the best of many "
        "programs fits by chance too."
    )
    key = legend([("best", "best so far"), ("all", "programs"), ("baseline", "start rule")])
    rows = [(f"{place:,}", number(loss, 5)) for place, loss in facts.improvements]
    improvements = folded(f"{len(rows)} improvements", table(["evaluated", "best loss"], rows, ()))
    return joined([figure(first, charts.progress(facts), caption, key), improvements])


ECONOMIES: Mapping[str, tuple[str, str]] = {
    "hash": ("same canonical form", "known by their hash, given the result of the first"),
    "strip": ("dead statements", "kept as stepping stones, left out of trainings"),
    "fingerprint": ("same behaviour", "alike on synthetic gradients, given the result of the first"),
    "vetoes": ("static vetoes", "refused untrained"),
    "hurdle": ("hurdle", "stopped after the first seed"),
    "race": ("race", "stopped when a paired test told them worse than the best"),
    "failure": ("early failures", "not trained on after a training that failed"),
    "widen": ("wider grids", "best beyond the first grid; these cost trainings"),
}


def economy(facts: Facts, first: int) -> Html:
    """What was not trained, and what that saved."""
    counts = facts.counts
    parts = [
        ("trained to the end", counts["evaluated"] - counts["stopped"] - counts["failed"] - counts["diverged"], "c0"),
        ("diverged or failed", counts["diverged"] + counts["failed"], "c1"),
        ("stopped early", counts["stopped"], "c2"),
        ("same canonical form", counts["duplicates"], "c5"),
        ("same behaviour", counts["fingerprints"], "c3"),
        ("vetoed", counts["vetoed"], "c4"),
    ]
    parts = [part for part in parts if part[1]]
    total = counts["generated"]
    words = [(kind, f"{name} {count:,} ({share(count, total)})") for name, count, kind in parts]
    caption = f"What became of the {total:,} programs generated; {counts['invalid']:,} draws were no valid program."
    rows = [_economy(facts, row) for row in facts.savings]
    saved = table(["economy", "what it does", "programs", "trainings spared"], rows, (0, 1))
    return joined([figure(first, charts.shares(parts), caption, legend(words)), saved])


def _economy(facts: Facts, row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    name, meaning = ECONOMIES[row["economy"]]
    if not row["on"]:
        return name, "off", NONE, NONE
    if row["economy"] == "strip":
        return name, meaning, f"{100 * facts.dead:.0f} % of statements", NONE
    return name, meaning, _count(row["programs"]), _count(row["trainings"])


def _count(value: int | None) -> str:
    return NONE if value is None else f"{value:,}".replace("-", "\N{MINUS SIGN}")


def front(facts: Facts, first: int) -> Html:
    """What is best at each size."""
    rows = [
        (
            f"#{m.program}{' (winner)' if m.program == facts.winner else ''}",
            number(m.loss),
            str(m.statements),
            str(m.state),
        )
        for m in facts.front
    ]
    caption = (
        "The programs that no other beats in loss, live statements and bytes of state per parameter at once. A "
        "statement is one operation. "
        "Losses are those of the search."
    )
    key = legend([(kind, f"{state} bytes of state") for state, kind in charts.state_kinds(facts)])
    name = facts.name
    note = tag("p", "Any of them is at hand as ", tag("code", f"{name}#{facts.front[0].program}"), ".", class_="note")
    heads = ["program", "loss", "statements", "state bytes"]
    return joined([figure(first, charts.pareto(facts), caption, key), table(heads, rows), note])
