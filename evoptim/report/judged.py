"""Chapters on what came after rung 0: funnel, meta-validation and sealed tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import charts
from .markup import Html, joined, number, table, tag
from .plot import figure, legend

Entry = Mapping[str, Any]


def funnel(stages: Sequence[Entry]) -> Html:
    """Who passed which stage, against which baseline."""
    intro = (
        "At every stage a candidate must beat a baseline that is tuned with the same grid, on seeds that neither was "
        "tuned on. The confidence is that of each verdict, not of all of them together."
    )
    rows = [
        (str(s["stage"]), ", ".join(s["tasks"]), f"{s['steps']:,}", s["baseline"], str(s["entered"]), str(s["passed"]))
        for s in stages
    ]
    narrowing = table(["stage", "tasks", "updates", "baseline", "entered", "passed"], rows, (0, 1, 3))
    return joined([tag("p", intro), narrowing, *(_stage(s) for s in stages if s["verdicts"])])


def _stage(stage: Entry) -> Html:
    rows = [
        (
            f"#{v['program']}",
            number(v["loss"]),
            number(v["baseline_loss"]),
            number(v["p"], 2),
            "passed" if v["passed"] else v["reason"],
        )
        for v in stage["verdicts"]
    ]
    asked = f"On {stage['seeds']} fresh seeds; asked for: p at most {1 - stage['confidence']:.3g}."
    verdicts = table(["program", "loss", "baseline's", "p", "verdict"], rows, (0, 4))
    return joined([tag("h3", f"Stage {stage['stage']}"), verdicts, tag("p", asked, class_="note")])


def monitor(summary: Entry, first: int) -> Html:
    """Whether what is better on rung 0 is better elsewhere."""
    looks, found = summary["looks"], summary["overfitting"]
    tasks = ", ".join(summary["tasks"])
    if len(looks) < 2:
        return tag("p", f"Watched on {tasks}: too few looks so far for a curve.", class_="note")
    since = None if found is None else float(found["since"])
    points = [(float(e["evaluated"]), e["loss"], e["meta_loss"]) for e in looks]
    caption = (
        f"The best program so far on the tasks of the search and on tasks that it never sees ({tasks}), both over the "
        "start rule's loss there. Where the lines part, the search fits its own tasks."
    )
    verdict = (
        f"The search overfits since {since:,.0f} evaluations: later progress on its tasks is worse on the others."
        if since is not None
        else "No overfitting was found by this measure."
    )
    key = legend([("best", "rung 0"), ("c2", "meta-validation")])
    picture = figure(first, charts.monitor(points, since), caption, key)
    return joined([picture, tag("p", verdict, class_="note" if since is None else "warn")])


def sealed(summary: Entry) -> Html:
    """What came out on the tasks that were kept away."""
    when = str(summary["opened"]).partition("T")[0]
    intro = (
        f"Opened on {when} for program {summary['program']}. These tasks are kept away from every choice above, and "
        f"are opened once in a run; losses are means over {summary['seeds']} fresh seeds, settings tuned on others."
    )
    if not summary["finished"]:
        return joined([tag("p", intro), tag("p", "The trainings have not ended.", class_="warn")])
    rows = [(r["task"], r["rule"], r["reason"] or number(r["loss"])) for r in summary["results"]]
    ratios = [(a["baseline"], number(a["ratio"]), number(a["p"], 2)) for a in summary["against"]]
    results = table(["task", "rule", "loss"], rows, (0, 1))
    return joined([tag("p", intro), results, table(["against", "ratio of losses", "p of being better"], ratios)])
