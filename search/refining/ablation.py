"""Taking out of a program what it trains as well without, one piece at a time, until nothing more goes.

In each round every program that is one edit shorter is trained on the same seeds, each with the learning rate that
suits it. A piece may go where the mean loss then rises by no more than a margin and a paired test does not find the
program worse; a strict ablation asks more, that a test shows the rise to be below the margin (non-inferiority), for
which a noisy training takes many seeds. Losses are measured against the program one began with, or a later one that is
shown to be better, so that many small rises do not add up. Of the pieces that may go, the one goes that leaves the
least. What all of it cost is seen on other seeds, by whoever calls.

An entry of kind ``simplify`` in the archive's journal is one of three documents:

- ``{"event": "begun", "source", "program", "rule", "task", "level", "margin", "strict", "evaluations", "seeds"}``
- ``{"event": "round", "round", "tried", "loss", "reference"}``, and if a piece went, ``"removed": {"before", "after",
  "cost", "p", "size", "text"}`` besides, the cost being the loss's change as a share of the reference
- ``{"event": "ended", "rule", "size_before", "size_after", "complete", "seeds", "before", "after", "cost", "low",
  "high"}``, with mean losses on fresh seeds and the interval of the mean paired change; null where a training failed
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evoptim.dsl import Rule, UserError, zero_gradient_problem

from ..judging.paired_training import PairedTrainer, Trained, not_inferior_p, worse_p
from ..proposing.frame import tidy
from .reductions import Reduction, reductions, size

FAR = 10.0
"""A program that is worse by so many margins on each of the first seeds is not trained on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationConfig:
    """How much must be shown before a piece goes.

    Attributes:
        level: Of the one-sided paired tests.
        margin: By how much the mean loss may rise in all, as a share of it.
        strict: Whether it must be shown that it rises by less.
        evaluations: Programs that may be trained.
    """

    level: float = 0.05
    margin: float = 0.02
    strict: bool = False
    evaluations: int = 2000

    def __post_init__(self) -> None:
        if not (0 < self.level < 0.5 and self.margin > 0 and self.evaluations > 0):
            raise UserError(
                f"level={self.level:g}, margin={self.margin:g}, evaluations={self.evaluations}",
                "a level between 0 and 0.5, such as 0.05, a margin and a number above 0",
            )

    def check_seeds(self, count: int) -> None:
        """Refuse a number of seeds on which no test can reach the level.

        Raises:
            UserError: There are too few.
        """
        least = math.ceil(-math.log2(self.level))
        if count < least:
            raise UserError(f"{count} seeds decide nothing at the level {self.level:g}", f"give {least} or more")


@dataclass(frozen=True, slots=True)
class Removal:
    """A piece that went: what stood there, what stands there now (empty: nothing), and what that cost.

    ``cost`` is the change of the mean loss as a share of the reference's, below 0 for a gain; ``p`` is that of the
    test that let it go: of "not worse", or if strict of "worse by the margin or more".
    """

    before: str
    after: str
    cost: float
    p: float
    size: tuple[int, int, int]
    text: str


@dataclass(frozen=True, slots=True)
class Ablation:
    """The shorter program, what went, and both programs' losses on the seeds of the test.

    ``lr`` is the learning rate that suits it; ``complete`` is False where the budget ended the rounds.
    """

    original: Rule
    rule: Rule
    removals: tuple[Removal, ...]
    before: Trained
    after: Trained
    tried: int
    complete: bool

    @property
    def lr(self) -> float:
        """The learning rate that suits the shorter program."""
        return self.after.lr


Record = Callable[[dict[str, Any]], None]
"""Told after each round what it came to."""


def _silent(document: dict[str, Any]) -> None:
    """Tell nobody."""


def ablate(rule: Rule, trainer: PairedTrainer, config: AblationConfig, record: Record = _silent) -> Ablation:
    """Take out pieces of a program until nothing more goes.

    Args:
        rule: A valid program with an lr, framed or free.
        trainer: What trains it and its variants.
        config: Level, margin and budget.
        record: Called with the document of each round.

    Raises:
        UserError: There are too few seeds, or the program itself does not train.
    """
    config.check_seeds(len(trainer.seeds))
    work = _Work(tidy(rule), trainer, config)
    removals: list[Removal] = []
    while True:
        removal = work.round()
        document: dict[str, Any] = {"event": "round", "round": len(removals), "tried": trainer.programs}
        document |= {"loss": work.present.loss, "reference": work.reference.loss}
        record(document if removal is None else document | {"removed": asdict(removal)})
        if removal is None:
            break
        removals.append(removal)
    return Ablation(rule, work.rule, tuple(removals), work.first, work.present, trainer.programs, not work.spent)


class _Work:
    """A program on its way, and the losses that it is measured by."""

    def __init__(self, rule: Rule, trainer: PairedTrainer, config: AblationConfig) -> None:
        self.rule, self.trainer, self.config = rule, trainer, config
        [self.first] = trainer.trained([rule])
        if math.isinf(self.first.loss):
            raise UserError(
                f"rule {rule.name!r} fails with every learning rate that was tried",
                "choose another task, more steps or another default lr",
            )
        self.present = self.reference = self.first
        self.fit = not zero_gradient_problem(rule)
        self.refused: set[str] = set()
        self.spent = False

    def round(self) -> Removal | None:
        """Try every shorter program that is left to try, and take the shortest that is as good."""
        found = [r for r in reductions(self.rule) if r.digest not in self.refused]
        room = self.config.evaluations - self.trainer.programs
        self.spent = len(found) > room
        hopeful = self._hopeful(found[: max(0, room)])
        for reduction, trained in zip(hopeful, self.trainer.trained([r.rule for r in hopeful]), strict=True):
            accepted, p = self._judged(trained)
            if accepted and self._fits(reduction.rule):
                return self._accept(reduction, trained, p)
            self.refused.add(reduction.digest)  # for good: the reference never gets worse
        return None

    def _hopeful(self, found: Sequence[Reduction]) -> list[Reduction]:
        """Those that are not far worse on each of the first seeds."""
        first = self.reference.losses[: len(self.trainer.screen)]
        far = FAR * self.config.margin * abs(self.reference.loss)
        out: list[Reduction] = []
        for reduction, trained in zip(found, self.trainer.screened([r.rule for r in found]), strict=True):
            if all(x > r + far for x, r in zip(trained.losses, first, strict=True)):
                self.refused.add(reduction.digest)
            else:
                out.append(reduction)
        return out

    def _judged(self, trained: Trained) -> tuple[bool, float]:
        """Whether a program is as good as the reference, and the p-value of the test."""
        losses, reference, config = trained.losses, self.reference, self.config
        if config.strict:
            p = not_inferior_p(losses, reference.losses, config.margin)
            return p <= config.level, p
        p = worse_p(losses, reference.losses)
        return trained.loss - reference.loss <= config.margin * abs(reference.loss) and p > config.level, p

    def _fits(self, rule: Rule) -> bool:
        """Whether it may be exported, if that is true of the program one began with."""
        return not (self.fit and zero_gradient_problem(rule))

    def _accept(self, reduction: Reduction, trained: Trained, p: float) -> Removal:
        cost = (trained.loss - self.reference.loss) / abs(self.reference.loss)
        self.rule, self.present = reduction.rule, trained
        if worse_p(self.reference.losses, trained.losses) <= self.config.level:
            self.reference = trained
        return Removal(reduction.before, reduction.after, cost, p, size(self.rule), self.rule.text)
