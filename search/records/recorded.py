"""An evaluator that trains nothing twice: what the archive has is taken from there, the rest is put there at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evoptim.dsl import Rule, canonical_hash

from ..evaluator import Evaluator, Trial, setting_key
from .archive import Archive

AT_ONCE = 96
"""Trainings made before they are recorded, but those of a program at least: what a kill may cost. More are hardly
faster together."""


@dataclass(frozen=True, slots=True)
class Recorder:
    """How trainings outside the search proper are recorded.

    Args:
        archive: Where they are kept.
        checkpoint: Called with the stage each time that some have been recorded; what it raises ends the evaluation.
        entries: Entries of the journal that go with them.
    """

    archive: Archive
    checkpoint: Callable[[str], None] = lambda stage: None
    entries: Callable[[], Sequence[tuple[str, Mapping[str, Any]]]] = tuple

    def over(self, stage: str, evaluator: Evaluator) -> Recorded:
        """An evaluator whose trainings are recorded as those of a stage."""
        return Recorded(self, stage, evaluator)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An evaluator over an archive.

    Args:
        recorder: How trainings are recorded.
        stage: What these are for.
        evaluator: What makes those that are missing.
    """

    recorder: Recorder
    stage: str
    evaluator: Evaluator

    @property
    def version(self) -> str:
        """That of the evaluator."""
        return self.evaluator.version

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        """All trials of every rule, setting by setting and seed by seed."""
        digests = [canonical_hash(rule) for rule in rules]
        found = {digest: self._known(digest, settings, seeds) for digest in digests}
        missing = {d: rule for d, rule in zip(digests, rules, strict=True) if found[d] is None}
        size = max(1, AT_ONCE // max(1, len(settings) * len(seeds)))
        for first in range(0, len(missing), size):
            part = [*missing][first : first + size]
            results = self.evaluator.evaluate([missing[d] for d in part], settings, seeds)
            made = dict(zip(part, results, strict=True))
            self.recorder.archive.record_trainings(self.stage, made, self.version, self.recorder.entries())
            found |= {d: [*group] for d, group in made.items()}
            self.recorder.checkpoint(self.stage)
        return [found[d] or [] for d in digests]

    def _known(self, digest: str, settings: Sequence[Mapping[str, float]], seeds: Sequence[int]) -> list[Trial] | None:
        """The trials of a program, where the archive has all of them."""
        known = {(setting_key(t.setting), t.seed): t for t in self.recorder.archive.known(digest, self.version)}
        wanted = [(setting_key(setting), seed) for setting in settings for seed in seeds]
        return [known[w] for w in wanted] if all(w in known for w in wanted) else None
