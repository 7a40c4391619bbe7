"""What a reader must know before believing a page: seeds, tiers, the luck of the best of many."""

from __future__ import annotations

from collections.abc import Iterator

from evoptim.search.records.journal import COMPARISON, EXTENSION, POISON

from .facts import Facts
from .markup import Html, number, signed, tag


def caveats(facts: Facts) -> Html:
    """All that applies."""
    return tag("ul", *(tag("li", text) for text in _all(facts)), class_="caveats")


def _all(facts: Facts) -> Iterator[str]:
    yield from _luck(facts)
    yield from _tiers(facts)
    yield from _conduct(facts)


def _luck(facts: Facts) -> Iterator[str]:
    config, count = facts.config, facts.counts["evaluated"]
    seeds = ", ".join(map(str, config.evaluation.seeds))
    yield (
        f"Losses of the search are means over seeds {seeds} alone. The least of {count:,} such losses is lower than "
        "what its program reaches on average: it was chosen for its luck too."
    )
    if facts.fresh_loss is not None and facts.loss is not None:
        yield (
            f"On {len(config.selection.seeds)} fresh seeds the winner's loss is {number(facts.fresh_loss)}, "
            f"{signed(facts.fresh_loss - facts.loss)} against the search; the start rule's is "
            f"{number(facts.fresh_start_loss)}. As the best of {len(facts.finalists)} finalists it is still chosen on "
            "these seeds."
        )
    if not facts.finished:
        yield "The search has not ended: what is shown is its best program so far, which no fresh seed has seen."


def _tiers(facts: Facts) -> Iterator[str]:
    evaluation = facts.config.evaluation
    tasks = ", ".join(dict.fromkeys((evaluation.task, *evaluation.tasks)))
    yield f"The search saw {tasks} at {evaluation.steps:,} updates; other models, data and lengths may differ."
    if not facts.funnel:
        yield "No funnel: no program was held against a tuned baseline on longer trainings."
    elif not facts.funnel[-1]["passed"]:
        yield "No program has passed the last stage of the funnel: the winner beats no tuned baseline there."
    if not facts.monitor:
        yield "No meta-validation: overfitting to the tasks of the search was not watched."
    if facts.sealed:
        yield "The sealed tasks are open: this run cannot be judged on them a second time."
    else:
        yield "The sealed tasks have not been opened."
    if not facts.journal[COMPARISON]:
        yield (
            "No tuned comparison: the start rule had the same learning rates as every program, but its other "
            "hyperparameters were not tuned. evoptim compare does that."
        )


def _conduct(facts: Facts) -> Iterator[str]:
    yield (
        f"Evaluated by {facts.evaluator}. On one machine the search repeats bit for bit for its seed "
        f"({facts.config.seed}), whatever the number of workers; time limits, GPUs and other machines may change its "
        "course."
    )
    for entry in facts.journal[EXTENSION]:
        before = entry["winner"]
        was = "" if before is None else f"; program {before} had been chosen as the winner"
        yield f"The budget was extended after {entry['evaluated']:,} evaluations{was}."
    if poisoned := len(facts.journal[POISON]):
        yield f"{poisoned} programs ended the processes that trained them, and were left out."
