"""The winner of a search: the best are trained again on fresh seeds, sent through the funnel, and one is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evoptim.dsl import Hyper, Rule, canonical_hash, parse, zero_gradient_problem

from .config import SearchConfig
from .evaluator import Evaluator, Score, combined, score
from .judging.benches import settings
from .judging.judge import Judge
from .proposing.frame import tidy
from .records.archive import Archive
from .records.recorded import Recorder
from .sections import Economy
from .stages.funnel import Candidate, Funnel, standing


@dataclass(frozen=True, slots=True)
class Winner:
    """What a finished search chose: the program, its number, and its loss on the seeds of the selection.

    ``passed`` says whether it passed the funnel's last stage: where it is False none did, and this is the best of the
    selection all the same. Without a funnel it is None.
    """

    rule: Rule
    index: int
    loss: float
    start_loss: float
    passed: bool | None = None


class Selection:
    """Chooses the winner of a run.

    Args:
        config: The run's configuration.
        start: Its start program.
        recorder: How its trainings are recorded, and where its programs are.
        evaluators: What trains on each task of rung 0.
    """

    def __init__(self, config: SearchConfig, start: Rule, recorder: Recorder, evaluators: Sequence[Evaluator]) -> None:
        self.config, self.start, self.archive = config, start, recorder.archive
        self.evaluators = [recorder.over("selection", e) for e in evaluators]

    def winner(self, funnel: Funnel) -> Winner:
        """The winner that is recorded, or a new one that has passed the funnel, if there is one, and then is."""
        stored = self.archive.meta("winner")
        if stored is None:
            candidates = self._candidates()
            scores = self._train(candidates)
            fit = [c for c in candidates if c.index != 0 or not zero_gradient_problem(self.start)] or candidates[-1:]
            ranked = sorted(fit, key=lambda c: (scores[c.index].loss, c.index))
            passed = funnel.run([c for c in ranked if c.index != 0 and scores[c.index].status == "ok"])
            index = passed[0] if passed else ranked[0].index
            self.archive.set_meta({"winner": str(index)})
        else:
            index = int(stored)
        won, start = (selection_score(self.archive, self.config, self.archive.program(i)[1]) for i in (index, 0))
        rule = winner_rule(self.archive, self.config, index)
        return Winner(rule, index, won.loss, start.loss, standing(self.archive, self.config, index))

    def _candidates(self) -> list[Candidate]:
        """The finalists, and the start rule."""
        found = self._finalists()
        if all(c.index != 0 for c in found):
            found.append(Candidate(0, canonical_hash(self.start), self.start))
        return found

    def _finalists(self) -> list[Candidate]:
        """The best programs that may be exported: those that a zero gradient with lr 0 leaves alone."""
        wanted = self.config.selection.finalists
        out: list[Candidate] = []
        for index, digest, text, _ in self.archive.best():
            rule = parse(text)
            if not zero_gradient_problem(rule):
                out.append(Candidate(index, digest, rule))
            if len(out) == wanted:
                break
        return out

    def _train(self, candidates: Sequence[Candidate]) -> dict[int, Score]:
        """The scores on the seeds of the selection, by number of the program."""
        selection, first, others = self.config.selection, self.evaluators[0], self.evaluators[1:]
        judge = Judge(
            first,
            settings(self.config, self.start),
            selection.seeds,
            Economy(race=selection.race),
            self.config.evaluation.widen,
            others,
        )
        judge.par = par(self.archive)
        start = [i for i, c in enumerate(candidates) if c.index == 0]
        verdicts = judge.contest([c.rule for c in candidates], start)
        return {c.index: v.score for c, v in zip(candidates, verdicts, strict=True)}


def par(archive: Archive) -> list[float]:
    """The losses that count as 1 where there are several tasks: the start rule's in the search, task by task."""
    start = archive.program(0)[1]
    return [score(archive.trials(start, "search", version)).loss for version in versions(archive)]


def selection_score(archive: Archive, config: SearchConfig, digest: str) -> Score:
    """What a program's trainings on the seeds of the selection came to.

    "stopped" where a race has ended them, "diverged" where there are none.
    """
    by_task = [archive.trials(digest, "selection", version) for version in versions(archive)]
    made = [trials for trials in by_task if trials]
    whole = combined(made, par(archive)[: len(made)]) if made else score([])
    seeds = {len({t.seed for t in trials}) for trials in by_task}
    if whole.status == "ok" and seeds != {len(config.selection.seeds)}:
        return Score("stopped", math.inf, {}, "worse than the best finalist")
    return whole


def winner_rule(archive: Archive, config: SearchConfig, index: int) -> Rule:
    """A program of the archive for people: tidied, documented, its defaults those with which it did best.

    Where there are several tasks these are the best on the first one.
    """
    text, digest, _, _, _ = archive.program(index)
    rule = tidy(parse(text))
    evaluation = config.evaluation
    first = versions(archive)[0] if evaluation.tasks else None
    best = score(archive.trials(digest, "selection", first) or archive.trials(digest, "search", first))
    tasks = ", ".join((evaluation.task, *evaluation.tasks))
    doc = (
        f"Found by evolutionary search from {config.start.rule} on {tasks}.\n\n"
        f"Program {index} of the search {config.name!r} (seed {config.seed}); the default lr is the best of its grid\n"
        f"for {evaluation.steps} steps at batch size {evaluation.batch_size}, with a {evaluation.schedule} schedule."
    )
    hypers = tuple(_tuned(h, best.setting.get(h.name, h.default)) for h in rule.hypers)
    return rule.replace(name="found", doc=doc, hypers=hypers)


def _tuned(hyper: Hyper, value: float) -> Hyper:
    """A hyperparameter with another default; its declared domain goes where the default lies outside it."""
    keep = hyper.declared is not None and value in hyper.declared
    return Hyper(hyper.name, value, hyper.declared if keep else None)


BETWEEN = " | "


def versions(archive: Archive) -> list[str]:
    """The evaluators of rung 0 that a run began with, task by task."""
    return (archive.meta("evaluator") or "").split(BETWEEN)
