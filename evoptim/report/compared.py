"""The chapter on comparisons: rules tuned with equal budgets, on fresh seeds, task by task and in sum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import charts
from .markup import NONE, Html, joined, number, table, tag
from .plot import figure, legend

Entry = Mapping[str, Any]


def comparison(entries: Sequence[Entry], figures: Iterator[int]) -> Html:
    """Every comparison of the journal.

    Args:
        entries: The documents, as `evoptim.compare` writes them.
        figures: Numbers of the next figures.
    """
    intro = (
        "Every rule was tuned with the same number of trials; losses are those on fresh seeds, with 95 % bootstrap "
        "intervals over the seeds. Differences and ratios are paired by seed and against the first rule."
    )
    return joined([tag("p", intro), *(_one(entry, figures) for entry in entries)])


def _one(entry: Entry, figures: Iterator[int]) -> Html:
    tasks, rules = entry["tasks"], entry["summary"]
    parts = [tag("h3", f"{', '.join(entry['sources'])} on {len(tasks)} task{'s' if len(tasks) > 1 else ''}")]
    parts.append(_in_sum(rules))
    if len(tasks) > 1:
        parts.append(_profile(entry, next(figures)))
    return joined([*parts, *(_task(task) for task in tasks)])


def _in_sum(rules: Sequence[Entry]) -> Html:
    rows = [
        (
            r["name"],
            _interval(r["ratio"]),
            f"{number(r['worst_ratio'], 3)} ({r['worst_task']})",
            NONE if r["speedup"] is None else f"{number(r['speedup'], 3)} \N{MULTIPLICATION SIGN}",
            str(r["state_bytes"]),
            NONE if r["step_seconds"] is None else f"{1e3 * r['step_seconds']:.2f}",
        )
        for r in rules
    ]
    heads = ["rule", "ratio of losses", "worst task", "speed-up", "state bytes", "ms a step"]
    note = (
        "Speed-up: how many times fewer steps than tuned AdamW it takes to the same loss. State: bytes per parameter. "
        "Steps are timed on the CPU."
    )
    return joined([table(heads, rows), tag("p", note, class_="note")])


def _profile(entry: Entry, first: int) -> Html:
    names = [r["name"] for r in entry["summary"]]
    key = legend([(charts.colour(i), name) for i, name in enumerate(names)])
    caption = "Performance profiles: the share of the tasks on which a loss is at most so many times the best rule's."
    profiles = [r["profile"] for r in entry["summary"]]
    return figure(first, charts.profiles(entry["taus"], profiles), caption, key)


def _task(task: Entry) -> Html:
    rows = [
        (
            r["name"],
            ", ".join(f"{name} {number(value, 3)}" for name, value in (r["setting"] or {"lr": r["lr"]}).items()),
            _interval(r["loss"]),
            _interval(r["difference"]) if i else NONE,
            r["verdict"] if i else "baseline",
        )
        for i, r in enumerate(task["rules"])
    ]
    budget = (
        f"{task['task']}, {task['steps']:,} updates; {task['trials']} trials on {len(task['tuning_seeds'])} seeds, "
        f"results on {len(task['seeds'])} others."
    )
    heads = ["rule", "tuned", "loss", "difference", "verdict"]
    return joined([tag("p", budget), table(heads, rows, (0, 1, 4))])


def _interval(value: Entry) -> str:
    if value["mean"] is None:
        return "diverged"
    return f"{number(value['mean'])} [{number(value['low'], 3)}, {number(value['high'], 3)}]"
