"""The same on Ray: actors die, and nobody notices but Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import unruly
from fakes import FakeEvaluator

from evoptim.dsl import Rule, UserError, parse
from evoptim.search import Trial
from evoptim.search.workers import PoisonList, RayActors, WorkerEvaluator, Workforce, rays

SETTINGS, SEEDS = [{"lr": 0.01}, {"lr": 0.1}], [0, 1]


def scaled(factor: str) -> Rule:
    return parse(f"def r(w, g, *, lr=0.1):\n    return w - lr * ({factor})\n")


GOOD = [scaled(f"{k}.0 * g") for k in range(2, 7)]


def rows(results: Sequence[Sequence[Trial]]) -> list[list[tuple[Any, ...]]]:
    return [[(dict(t.setting), t.seed, t.status, t.loss, t.reason) for t in group] for group in results]


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_actors_that_die_change_nothing_but_the_fate_of_the_guilty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the actors' processes import unruly.py
    with Workforce(RayActors(unruly.make, "local", 2, cpus=0.5), 15.0, 0, PoisonList()) as force:
        evaluator = WorkerEvaluator(force, "a job", "fake-1")
        assert rows(evaluator.evaluate(GOOD, SETTINGS, SEEDS)) == rows(FakeEvaluator().evaluate(GOOD, SETTINGS, SEEDS))
        bad = [scaled(unruly.CRASH), scaled(unruly.EXIT)]
        found = rows(evaluator.evaluate([bad[0], *GOOD, bad[1]], SETTINGS, SEEDS))
    assert found[1:-1] == rows(FakeEvaluator().evaluate(GOOD, SETTINGS, SEEDS))
    assert {row[2] for row in (*found[0], *found[-1])} == {"error"}
    assert "ActorDied" in found[0][0][4]


def test_without_ray_one_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(rays, "import_module", absent)
    with pytest.raises(UserError, match="Ray is not installed"):
        RayActors(unruly.make, "local")
