"""An evaluator without training, small configurations, and two rules compared by running them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoptim.dsl import Reference, Rule, canonical_hash
from evoptim.search import Score, SearchConfig, Trial, make_config
from evoptim.search.records.archive import StoredTrial

SHAPES = ((), (3,), (2, 3), (2, 3, 2))


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on the parts alone."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def fate(digest: str) -> str:
    """How a program ends: one in five diverges, one in twenty breaks."""
    x = chance("fate", digest)
    return "diverged" if x < 0.2 else "error" if x < 0.25 else "ok"


@dataclass
class FakeEvaluator:
    """Losses drawn from (canonical hash, setting, seed); the programs it was asked for are counted."""

    start: str = ""  # hash of a program that never fails
    version: str = "fake-1"
    asked: int = 0

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        self.asked += len(rules)
        return [[self.trial(canonical_hash(r), s, seed) for s in settings for seed in seeds] for r in rules]

    def trial(self, digest: str, setting: Mapping[str, float], seed: int) -> Trial:
        status = "ok" if digest == self.start else fate(digest)
        if status != "ok":
            return StoredTrial(dict(setting), seed, status, math.inf, "broken" if status == "error" else "")
        return StoredTrial(dict(setting), seed, "ok", chance(digest, setting["lr"], seed))


def fake_score(digest: str) -> Score:
    """The same for a program as a whole."""
    status = fate(digest)
    return Score(status, chance(digest) if status == "ok" else math.inf, {"lr": 0.1} if status == "ok" else {})


def small(**changes: Any) -> SearchConfig:
    """A configuration with sections merged into small defaults."""
    data: dict[str, Any] = {
        "batch": 4,
        "start": {"rule": "lion", "buffers": 1},
        "population": {"size": 10},
        "evaluation": {
            "task": "noisy_quadratic",
            "steps": 20,
            "batch_size": 8,
            "learning_rates": [0.01, 0.1],
            "seeds": [0, 1],
        },
        "budget": {"evaluations": 40},
        "selection": {"finalists": 3, "seeds": [10, 11]},
    }
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return make_config(data)


def trajectory(rule: Rule, steps: int = 10, **hypers: float) -> list[np.ndarray]:
    """All parameters after every step of the reference executor, on the same random gradients for every rule."""
    random = np.random.Generator(np.random.PCG64(7))
    run = Reference(rule, [random.standard_normal(s) for s in SHAPES], **hypers)
    out: list[np.ndarray] = []
    for _ in range(steps):
        run.step([random.standard_normal(s) for s in SHAPES])
        out += run.params
    return out


def same(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Equal bit for bit, the sign and payload of NaN aside."""
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def close(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Equal but for rounding."""
    return all(np.allclose(x, y, rtol=1e-11, atol=1e-13) for x, y in zip(a, b, strict=True))
