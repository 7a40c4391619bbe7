"""Laboratories without training: losses that depend on rule, bench, setting and seed, and a count of what was asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import chance, fate, small

from evoptim.dsl import Rule, canonical_hash, load
from evoptim.search import (
    Archive,
    Bench,
    Evaluator,
    SearchConfig,
    SearchResult,
    Trial,
    resume_search,
    start_search,
)
from evoptim.search.judging.benches import rung_0
from evoptim.search.records.archive import StoredTrial
from evoptim.search.starting import start_program

Skill = Callable[[str, Bench], float]
"""The loss of a program, by its hash, on a bench with the best setting, but for the seed's part."""


def any_skill(digest: str, bench: Bench) -> float:
    """Losses of any size, similar on each task; infinite for what diverges."""
    return math.inf if fate(digest) != "ok" else (0.2 + chance(digest)) * (1 + 0.4 * chance(digest, bench.task))


@dataclass
class FakeLaboratory:
    """Makes evaluators by a skill; ``safe`` programs never fail. ``trained`` counts trainings by task and steps."""

    safe: frozenset[str] = frozenset()
    skill: Skill = any_skill
    trained: Counter[tuple[str, int | None]] = field(default_factory=Counter[tuple[str, int | None]])
    benches: list[Bench] = field(default_factory=list[Bench])

    def __call__(self, bench: Bench) -> Evaluator:
        self.benches.append(bench)
        return _Fake(self, bench)

    def loss(self, digest: str, bench: Bench, setting: Mapping[str, float], seed: int) -> float:
        skill = self.skill(digest, bench)
        if digest in self.safe and not math.isfinite(skill):
            skill = 1.0
        lr = abs(math.log10(setting["lr"]) + 3 * chance("lr", digest, bench.task)) / 10
        decay = abs(setting.get("weight_decay", 0.0) - 0.03 * chance("decay", digest, bench.task))
        noise = 0.1 * chance(bench.task, seed) + 0.02 * chance(digest, bench.task, seed)
        return skill * (1 + lr + decay) * (1 + noise)


@dataclass(frozen=True)
class _Fake:
    laboratory: FakeLaboratory
    bench: Bench

    @property
    def version(self) -> str:
        return f"fake/{self.bench.task}/{self.bench.steps}"

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        self.laboratory.trained[self.bench.task, self.bench.steps] += len(rules) * len(settings) * len(seeds)
        return [[self._trial(canonical_hash(r), s, seed) for s in settings for seed in seeds] for r in rules]

    def _trial(self, digest: str, setting: Mapping[str, float], seed: int) -> Trial:
        loss = self.laboratory.loss(digest, self.bench, setting, seed)
        return StoredTrial(dict(setting), seed, "ok" if math.isfinite(loss) else "diverged", loss)


def laboratory(config: SearchConfig, skill: Skill = any_skill) -> FakeLaboratory:
    """One in which the start rule and AdamW never fail."""
    safe = {canonical_hash(start_program(config)), canonical_hash(load("adamw"))}
    return FakeLaboratory(frozenset(safe), skill)


def search(
    run: Path, lab: FakeLaboratory, config: SearchConfig, stop: Callable[[], bool] = lambda: False, **more: Any
) -> SearchResult:
    """A search in a laboratory."""
    first = lab(rung_0(config)[0])
    return start_search(config, first, run, laboratory=lab, should_stop=stop, **more)


def resume(run: Path, lab: FakeLaboratory, stop: Callable[[], bool] = lambda: False, **more: Any) -> SearchResult:
    """The same, gone on with."""
    return resume_search(run, lambda c: lab(rung_0(c)[0]), make_laboratory=lambda c: lab, should_stop=stop, **more)


def stopping(after: int) -> Callable[[], bool]:
    """Asks to stop at one of the checkpoints."""
    asked = iter(range(1, 10**6))
    return lambda: next(asked) == after


def contents(run: Path) -> list[tuple[Any, ...]]:
    """All that a repetition must reproduce."""
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


def several(**changes: Any) -> SearchConfig:
    """A search on three tasks with two weight decays."""
    evaluation = {"tasks": ["rosenbrock", "deep_linear"], "weight_decay": 0.0, "weight_decays": [0.01], "widen": 1}
    changes["evaluation"] = evaluation | changes.get("evaluation", {})
    return small(budget={"evaluations": 40}, **changes)
