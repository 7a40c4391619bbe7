"""The last examination: the winner and tuned baselines on sealed tasks, once per run.

The opening is recorded before anything is trained, so that it counts however it ends; one that was interrupted is
finished by the next call, with the program and the terms that were recorded. On each task every rule gets the same grid
of settings, continued equally often beyond its edges, on the tuning seeds, and is then trained with its best setting on
the fresh seeds.

The journal has entries of kind `SEALED`. The first one is the opening; its date is that of the entry
(`Archive.journal_times`):

    event                "opened"
    program, hash        the winner
    terms                the section [sealed] of the configuration

The others are made together when all has been trained, one for each rule and task:

    event                "result"
    rule, program        name of a baseline and null, or "found" and the winner's number
    task                 name of the task
    setting              what tuning has chosen; {} where it failed
    losses               on the fresh seeds, null where a training failed
    loss                 their mean, null where one failed
    reason               why it failed, or ""
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evoptim.dsl import Rule, UserError, load, parse

from ..config import SearchConfig
from ..evaluator import Evaluator, Laboratory
from ..judging.benches import evaluators, later, settings
from ..judging.contest import Terms, Tuned, better_p, contest, relative
from ..proposing.identity import strip
from ..records.archive import Archive
from ..records.journal import SEALED
from ..records.recorded import Recorder
from ..tiers import Sealed
from .funnel import finite

FOUND = "found"
"""What the winner is called among the rules."""


def examination(archive: Archive, config: SearchConfig) -> dict[str, Any]:
    """What an opening would do: ``program``, ``baselines``, ``tasks``, and how many ``trainings`` at least.

    Raises:
        UserError: The run has no winner yet.
    """
    winner = archive.meta("winner")
    if winner is None:
        raise UserError(
            f"{archive.path} has no winner yet: its search has not ended", "finish it with evoptim search --resume"
        )
    terms = config.sealed
    rates = terms.learning_rates or config.evaluation.learning_rates
    each = len(rates) * (1 + len(config.evaluation.weight_decays)) * len(terms.tuning_seeds) + len(terms.seeds)
    return {
        "program": int(winner),
        "baselines": [*terms.baselines],
        "tasks": [*terms.tasks],
        "trainings": each * len(terms.tasks) * (1 + len(terms.baselines)),
    }


def open_sealed(
    archive: Archive, config: SearchConfig, start: Rule, laboratory: Laboratory, recorder: Recorder | None = None
) -> None:
    """Open the sealed tasks of a run, or finish an opening that was interrupted.

    Whoever calls holds the run's lock.

    Args:
        archive: The run's archive.
        config: Its configuration.
        start: Its start program.
        laboratory: What makes evaluators, of sealed tasks too.
        recorder: How trainings are recorded; by default in the archive, without a word.

    Raises:
        UserError: The run has no winner yet, a task or baseline cannot be used, or the tasks have been opened before
            and all results are there.
    """
    if results(archive):
        raise UserError(
            f"{archive.path} opened its sealed tasks on {opened(archive)}: that is done once per run",
            "see the results with `evoptim sealed RUN`; for another examination begin another run",
        )
    program = examination(archive, config)["program"]
    baselines = {name: load(name) for name in config.sealed.baselines}
    trained_by = evaluators(later(config, config.sealed), laboratory)  # what is missing is missing before the seal
    if not archive.journal(SEALED):
        terms = config.sealed.model_dump(mode="json")
        digest = archive.program(program)[1]
        archive.append((SEALED, {"event": "opened", "program": program, "hash": digest, "terms": terms}))
    opening = archive.journal(SEALED)[0]
    rules = {FOUND: strip(parse(archive.program(opening["program"])[0]))} | baselines
    numbers = {FOUND: opening["program"]}
    entries = _trained(config, start, rules, trained_by, recorder or Recorder(archive))
    archive.append(*((SEALED, {"event": "result", "program": numbers.get(e["rule"])} | e) for e in entries))


def _trained(
    config: SearchConfig, start: Rule, rules: Mapping[str, Rule], trained_by: Sequence[Evaluator], recorder: Recorder
) -> list[dict[str, Any]]:
    """The results, task by task and rule by rule."""
    sealed = config.sealed
    terms = Terms(
        settings=settings(config, start, sealed.learning_rates),
        widen=sealed.widen,
        tuning_seeds=sealed.tuning_seeds,
        seeds=sealed.seeds,
    )
    out: list[dict[str, Any]] = []
    for task, evaluator in zip(sealed.tasks, trained_by, strict=True):
        tuned = contest([*rules.values()], recorder.over(SEALED, evaluator), terms)
        out += [
            {
                "rule": name,
                "task": task,
                "setting": dict(t.setting),
                "losses": [finite(x) for x in t.losses],
                "loss": finite(t.loss),
                "reason": t.reason,
            }
            for name, t in zip(rules, tuned, strict=True)
        ]
    return out


def results(archive: Archive) -> list[dict[str, Any]]:
    """The results of a finished opening; none before."""
    return [e for e in archive.journal(SEALED) if e["event"] == "result"]


def opened(archive: Archive) -> str | None:
    """When the sealed tasks were opened: ISO 8601, UTC; None where they were not."""
    return next(iter(archive.journal_times(SEALED)), None)


def sealed_summary(archive: Archive) -> dict[str, Any] | None:
    """The examination for a report; None where the tasks were not opened.

    Returns:
        ``opened`` (when), ``finished``, ``program``, ``tasks``, ``seeds`` (how many fresh ones), ``results`` (the
        entries above) and ``against``: for each baseline the ``ratio`` of the winner's losses to its own, geometric
        mean over the tasks, None where one of them failed, and the p-value ``p`` of the winner being better, by
        Wilcoxon's signed-rank test paired by task and seed.
    """
    when = opened(archive)
    if when is None:
        return None
    opening = archive.journal(SEALED)[0]
    terms = Sealed.model_validate(opening["terms"], strict=False)
    found = results(archive)
    by_rule = {name: [_tuned(e) for e in found if e["rule"] == name] for name in (FOUND, *terms.baselines)}
    return {
        "opened": when,
        "finished": bool(found),
        "program": opening["program"],
        "tasks": [*terms.tasks],
        "seeds": len(terms.seeds),
        "results": found,
        "against": [
            {
                "baseline": name,
                "ratio": finite(relative(by_rule[FOUND], by_rule[name])),
                "p": better_p(by_rule[FOUND], by_rule[name]),
            }
            for name in terms.baselines
            if found
        ],
    }


def _tuned(entry: Mapping[str, Any]) -> Tuned:
    losses = tuple(float("inf") if x is None else float(x) for x in entry["losses"])
    return Tuned(entry["setting"], losses, entry["reason"])
