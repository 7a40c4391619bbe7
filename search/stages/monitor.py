"""Meta-validation: whether what is better on rung 0 is better on tasks that the search never sees.

Every so many evaluations the best program so far is trained on the tasks of [monitor], as is the start rule once. With
losses relative to the start rule's, the search *overfits* at a look where

1. the loss on rung 0 is less than it was ``patience`` looks before, and
2. the least loss on the tasks of meta-validation (the last one, of equal ones) is ``patience`` looks old or older:
   all that came after it is worse there.

The point that is marked is that least loss: what the search has found since is better on rung 0 alone.

The journal has an entry of kind `META` for every look:

    evaluated            programs trained by then
    program, hash        the best one so far
    loss                 its loss on rung 0 over the start rule's
    meta_loss            its loss on the tasks of meta-validation over the start rule's, geometric mean over the tasks;
                         null where it fails there
    overfitting          whether the search overfits, as above
    since                where it does, ``evaluated`` of the point that is marked, else null
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evoptim.dsl import Rule

from ..config import SearchConfig
from ..evaluator import Laboratory
from ..judging.benches import evaluators, later, settings
from ..judging.judge import Judge
from ..proposing.identity import strip
from ..proposing.program import flatten
from ..records.archive import Archive
from ..records.journal import META
from ..records.recorded import Recorder
from ..sections import Economy
from .funnel import finite


@dataclass(frozen=True, slots=True)
class Look:
    """The best program at one moment: losses over the start rule's, on rung 0 and in meta-validation."""

    evaluated: int
    loss: float
    meta_loss: float


def overfitting(looks: Sequence[Look], patience: int) -> Look | None:
    """The look that is marked where the search overfits at the last one, else None."""
    if len(looks) <= patience:
        return None
    least = min(look.meta_loss for look in looks)
    best = max(i for i, look in enumerate(looks) if look.meta_loss == least)
    goes_on = looks[-1].loss < looks[-1 - patience].loss
    return looks[best] if goes_on and best < len(looks) - patience else None


class Monitor:
    """The meta-validation of a run.

    Args:
        config: The run's configuration, with ``monitor.every`` above 0.
        start: Its start program.
        recorder: How its trainings are recorded, and where looks are.
        laboratory: What makes evaluators.

    Raises:
        UserError: A task does not exist.
    """

    def __init__(self, config: SearchConfig, start: Rule, recorder: Recorder, laboratory: Laboratory | None) -> None:
        self.every, self.patience, self.archive = config.monitor.every, config.monitor.patience, recorder.archive
        first, *others = (recorder.over(META, e) for e in evaluators(later(config, config.monitor), laboratory))
        grid = settings(config, start)
        self.judge = Judge(first, grid, config.monitor.seeds, Economy(), config.monitor.widen, others)
        self.start = strip(flatten(start))
        self.looks = [_look(e) for e in self.archive.journal(META)]

    @property
    def marked(self) -> Look | None:
        """The look since which the search overfits, if it does."""
        return overfitting(self.looks, self.patience)

    def due(self, evaluated: int) -> bool:
        """Whether it is time for a look: at the start, and whenever a multiple of ``every`` is reached or passed."""
        return not self.looks or evaluated // self.every > self.looks[-1].evaluated // self.every

    def look(self, evaluated: int, program: int, digest: str, rule: Rule, loss: float) -> None:
        """Train the best program and record how it does.

        Args:
            evaluated: Programs trained by now.
            program: The program's number.
            digest: Its canonical hash.
            rule: The program.
            loss: Its loss on rung 0 over the start rule's.
        """
        start = self.judge.judge([self.start])[0].score
        own = self.judge.judge([strip(rule)])[0].score
        ratio = own.loss / start.loss if start.status == own.status == "ok" and start.loss else math.inf
        self.looks.append(Look(evaluated, loss, ratio))
        since = self.marked
        entry = {
            "evaluated": evaluated,
            "program": program,
            "hash": digest,
            "loss": loss,
            "meta_loss": finite(ratio),
            "overfitting": since is not None,
            "since": None if since is None else since.evaluated,
        }
        self.archive.append((META, entry))


def _look(entry: dict[str, Any]) -> Look:
    meta = entry["meta_loss"]
    return Look(entry["evaluated"], entry["loss"], math.inf if meta is None else meta)


def monitor_summary(archive: Archive, config: SearchConfig) -> dict[str, Any] | None:
    """The curve for a report: tasks, patience, all looks (see the entries above) and where the search overfits.

    ``overfitting`` is the first look that says so, or None. None altogether where there is no monitor.
    """
    looks = archive.journal(META)
    if not config.monitor.every:
        return None
    return {
        "every": config.monitor.every,
        "tasks": [*config.monitor.tasks],
        "patience": config.monitor.patience,
        "looks": looks,
        "overfitting": next((e for e in looks if e["overfitting"]), None),
    }
