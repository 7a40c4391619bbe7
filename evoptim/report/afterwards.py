"""Chapters on what was done with the winner: simplification and tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evoptim.search.records.journal import SIMPLIFY, TUNING

from .facts import Facts
from .found import highlighted
from .markup import Html, definitions, folded, joined, number, share, signed, table, tag

Entry = Mapping[str, Any]

LONGEST = 500
"""Trials that a page shows."""


def tuning(facts: Facts) -> Html:
    """What every tuning came to, and its trials."""
    documents = facts.journal[TUNING]
    trials = [e for e in documents if e["event"] == "trial"]
    rows = [
        (e["source"], str(e["number"]), _setting(e["setting"]), number(e["loss"]), number(e["best"]))
        for e in trials[:LONGEST]
    ]
    shown = table(["rule", "trial", "setting", "loss", "best so far"], rows, (0, 2))
    ended = [_tuned(e) for e in documents if e["event"] == "ended"]
    return joined([*ended, folded(f"{len(trials):,} trials", shown)])


def _setting(setting: Entry) -> str:
    return ", ".join(f"{name} {number(value, 3)}" for name, value in setting.items())


def _tuned(entry: Entry) -> Html:
    words = (
        f"{entry['trials']} trials took the loss from {number(entry['default_loss'])} with the defaults to "
        f"{number(entry['loss'])}, on the seeds that it was tuned on."
    )
    notes = [tag("p", note, class_="note") for note in entry["notes"]]
    head = tag("h3", f"{entry['source']} on {entry['task']}")
    settings = definitions((name, number(value)) for name, value in entry["setting"].items())
    return joined(
        [head, tag("p", words), settings, *notes, folded("the rule with these defaults", highlighted(entry["rule"]))]
    )


def simplification(facts: Facts) -> Html:
    """What was taken out of which program, and what that cost."""
    parts, taken = list[Html](), list[Entry]()
    for entry in facts.journal[SIMPLIFY]:
        match entry["event"]:
            case "begun":
                parts.append(tag("h3", f"{entry['source']} on {entry['task']}"))
                taken = []
            case "ended":
                parts += [_taken(taken), _result(entry)]
            case _:
                taken += [entry["removed"]] if entry.get("removed") else []
    return joined(parts)


def _taken(removed: Sequence[Entry]) -> Html:
    if not removed:
        return tag("p", "Nothing could be taken out.")
    cells = [(r["before"], r["after"] or "dropped", signed(100 * r["cost"]) + " %", number(r["p"], 2)) for r in removed]
    return table(["taken out", "instead", "cost", "p"], cells, (0, 1))


def _result(entry: Entry) -> Html:
    less = share(entry["size_before"] - entry["size_after"], entry["size_before"])
    words = (
        f"{less} smaller ({entry['size_before']} to {entry['size_after']} nodes); on fresh seeds the loss went from "
        f"{number(entry['before'])} to {number(entry['after'])}."
    )
    return joined([tag("p", words), highlighted(entry["rule"])])
