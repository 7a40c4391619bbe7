"""The funnel: stages of longer trainings, at each of which a candidate must beat a baseline tuned like itself.

At a stage every candidate and the baseline get the same grid of settings, continued equally often beyond its edges,
on the stage's tuning seeds; each is then trained with its best setting of each task on the stage's fresh seeds. It
passes where Wilcoxon's signed-rank test, one-sided and paired by task and seed, finds its losses less than the
baseline's with the stage's confidence. That is the confidence of each verdict, not of all of them together. The ones
that pass go on to the next stage, the best first.

The journal has an entry of kind `FUNNEL` for every verdict, those of a stage together:

    round                how often the run's budget had been extended by then: verdicts before the last extension are
                         history
    stage, stages        number of the stage from 1 on, and how many there are
    tasks, steps         what was trained
    program, hash        the candidate
    settings             its best settings, task by task; {} where tuning failed
    losses               its losses on the fresh seeds [task][seed], null where a training failed
    loss                 mean loss on one task; on more the geometric mean of ratios to the baseline's; null: it failed
    baseline             name of the baseline, and in the same way baseline_settings, baseline_losses, baseline_loss
    p, confidence        p-value of the test, and what was asked for: it passes where p <= 1 - confidence
    passed, reason       the verdict, and why it is not passed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evoptim.dsl import Rule, load

from ..config import SearchConfig
from ..evaluator import Laboratory
from ..judging.benches import evaluators, later, settings
from ..judging.contest import Terms, Tuned, better_p, contest, relative
from ..records.archive import Archive
from ..records.journal import EXTENSION, FUNNEL
from ..records.recorded import Recorder
from ..tiers import Stage

ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program of the archive."""

    index: int
    hash: str
    rule: Rule


class Funnel:
    """The funnel of a run.

    Args:
        config: The run's configuration.
        start: Its start program.
        recorder: How its trainings are recorded, and where verdicts are.
        laboratory: What makes evaluators; None will do where there are no stages.

    Raises:
        UserError: A task or a baseline does not exist.
    """

    def __init__(self, config: SearchConfig, start: Rule, recorder: Recorder, laboratory: Laboratory | None) -> None:
        self.config, self.start, self.recorder, self.archive = config, start, recorder, recorder.archive
        self.evaluators = [evaluators(later(config, stage), laboratory) for stage in config.funnel]
        self.baselines = [load(stage.baseline) for stage in config.funnel]

    def run(self, candidates: Sequence[Candidate]) -> list[int]:
        """Send candidates, the best first, through all stages.

        Returns:
            The numbers of the programs that passed the last stage, the best first.
        """
        left = {c.index: c for c in candidates}
        for number, stage in enumerate(self.config.funnel, 1):
            verdicts = current(self.archive, number) or self._judge(number, [*left.values()][: stage.candidates])
            left = {i: left[i] for i in _passed(verdicts)}
            if not left:
                break
        return [*left] if self.config.funnel else []

    def _judge(self, number: int, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
        """The verdicts of a stage, which are recorded together."""
        stage, baseline = self.config.funnel[number - 1], self.baselines[number - 1]
        terms = Terms(
            settings=settings(self.config, self.start, stage.learning_rates),
            widen=stage.widen,
            tuning_seeds=stage.tuning_seeds,
            seeds=stage.seeds,
        )
        rules = [baseline, *(c.rule for c in candidates)]
        by_task = [
            contest(rules, self.recorder.over(f"{FUNNEL} {number}", evaluator), terms)
            for evaluator in self.evaluators[number - 1]
        ]
        theirs, *all_mine = ([tuned[i] for tuned in by_task] for i in range(len(rules)))
        common = {
            "round": _round(self.archive),
            "stage": number,
            "stages": len(self.config.funnel),
            "tasks": [bench.task for bench in later(self.config, stage)],
            "steps": stage.steps,
        }
        verdicts = [
            common | {"program": c.index, "hash": c.hash} | _verdict(mine, theirs, stage)
            for c, mine in zip(candidates, all_mine, strict=True)
        ]
        self.archive.append(*((FUNNEL, v) for v in verdicts))
        return verdicts


def _verdict(mine: Sequence[Tuned], theirs: Sequence[Tuned], stage: Stage) -> dict[str, Any]:
    """What the test says of a candidate."""
    p = better_p(mine, theirs)
    passed = p <= 1 - stage.confidence + ROUNDING
    failed = next((t.reason for t in mine if t.reason), "")
    nothing_to_beat = next((t.reason for t in theirs if not t.losses), "")
    if passed:
        reason = ""
    elif failed:
        reason = failed
    elif nothing_to_beat:
        reason = f"the baseline failed, so nothing is shown: {nothing_to_beat}"
    else:
        reason = f"not better than {stage.baseline} with a confidence of {stage.confidence:g}: p = {p:.3g}"
    alone = len(mine) == 1
    return {
        **_told("", mine, mine[0].loss if alone else relative(mine, theirs)),
        "baseline": stage.baseline,
        **_told("baseline_", theirs, theirs[0].loss if alone else relative(theirs, theirs)),
        "p": p,
        "confidence": stage.confidence,
        "passed": passed,
        "reason": reason,
    }


def _told(prefix: str, by_task: Sequence[Tuned], loss: float) -> dict[str, Any]:
    return {
        f"{prefix}settings": [dict(t.setting) for t in by_task],
        f"{prefix}losses": [[finite(x) for x in t.losses] for t in by_task],
        f"{prefix}loss": finite(loss),
    }


def finite(loss: float) -> float | None:
    """A loss for JSON: None where it is not finite."""
    return loss if math.isfinite(loss) else None


def _passed(verdicts: Sequence[dict[str, Any]]) -> list[int]:
    """The programs that passed, the best first."""
    return [v["program"] for v in sorted(verdicts, key=lambda v: (v["loss"] or 0.0, v["program"])) if v["passed"]]


def _round(archive: Archive) -> int:
    return len(archive.journal(EXTENSION))


def current(archive: Archive, number: int) -> list[dict[str, Any]]:
    """The verdicts of a stage since the run's budget was extended last."""
    now = _round(archive)
    return [v for v in archive.journal(FUNNEL) if v["stage"] == number and v["round"] == now]


def standing(archive: Archive, config: SearchConfig, index: int) -> bool | None:
    """Whether a program has passed the funnel's last stage; None where there is no funnel."""
    if not config.funnel:
        return None
    return index in _passed(current(archive, len(config.funnel)))


def funnel_summary(archive: Archive, config: SearchConfig) -> list[dict[str, Any]]:
    """The stages for a report: number, tasks, steps, baseline, how many entered and passed, and the verdicts.

    A stage that nobody has entered has no verdicts. ``seeds`` are the fresh ones.
    """
    out: list[dict[str, Any]] = []
    for number, stage in enumerate(config.funnel, 1):
        verdicts = current(archive, number)
        out.append(
            {
                "stage": number,
                "tasks": [bench.task for bench in later(config, stage)],
                "steps": stage.steps,
                "seeds": len(stage.seeds),
                "baseline": stage.baseline,
                "confidence": stage.confidence,
                "entered": len(verdicts),
                "passed": sum(v["passed"] for v in verdicts),
                "verdicts": verdicts,
            }
        )
    return out
