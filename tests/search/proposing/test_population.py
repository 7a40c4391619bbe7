"""Who stays and who becomes a parent, in every kind of population; restarts, islands, and the Pareto front."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from fakes import FakeEvaluator, fake_score, small

from evoptim.dsl import canonical_hash
from evoptim.search import Evolution, Score, start_search
from evoptim.search.loop import start_program
from evoptim.search.proposing.front import Front
from evoptim.search.proposing.population import (
    Aging,
    Individual,
    Islands,
    MuPlusLambda,
    Nsga2,
    crowding_distances,
    make_population,
    nondominated_ranks,
)
from evoptim.search.sections import Population

RULE = start_program(small())


def individual(index: int, loss: float, state: int = 0, statements: int = 0, digest: str = "") -> Individual:
    return Individual(index, RULE, loss, state, statements, digest or str(index))


def evolved(**changes: Any) -> Evolution:
    """A search told made-up scores until its budget is used up."""
    config = small(budget={"evaluations": 120}, **changes)
    evolution = Evolution(config, start_program(config))
    while evolution.counts.evaluated < 120:
        batch = evolution.ask()
        evolution.tell(batch, [Score("ok", 0.5, {}) if p.index == 0 else fake_score(p.hash) for p in batch.new])
    return evolution


def test_the_best_stay_and_no_program_twice() -> None:
    population = MuPlusLambda(3, 2)
    population.fill(individual(0, 0.5))
    for i, loss in enumerate((0.9, 0.1, 0.3, 0.3, 0.7), start=1):
        population.enter(individual(i, loss))
    population.enter(individual(6, 0.1, digest="2"))
    population.settle(7)
    assert [m.index for m in population.members] == [2, 3, 4]
    assert {population.parent(Random(i), i).index for i in range(50)} == {2, 3, 4}


def test_mu_plus_lambda_keeps_the_best_of_a_search() -> None:
    evolution = evolved(population={"kind": "mu_plus_lambda", "size": 10})
    losses = sorted(s.loss for s in evolution.scores.values() if s.status == "ok")
    assert [m.loss for m in evolution.members] == losses[:10]


def dominates(a: Any, b: Any) -> bool:
    return bool((a <= b).all() and (a < b).any())


def test_ranks_are_those_of_the_definition() -> None:
    values = np.random.Generator(np.random.PCG64(0)).integers(0, 6, (60, 3)).astype(float)
    ranks = nondominated_ranks(values)
    for i, row in enumerate(values):
        above = [ranks[j] for j, other in enumerate(values) if dominates(other, row)]
        assert ranks[i] == max(above, default=-1) + 1
    assert nondominated_ranks(np.zeros((0, 3))).shape == (0,)


def test_crowding_is_the_sum_of_relative_gaps() -> None:
    values = np.array([[0.0, 3.0, 1.0], [1.0, 1.0, 1.0], [3.0, 0.5, 1.0], [4.0, 0.0, 1.0]])
    assert crowding_distances(values) == pytest.approx([np.inf, 3 / 4 + 2.5 / 3, 3 / 4 + 1 / 3, np.inf])
    assert crowding_distances(np.ones((1, 3)))[0] == np.inf


def test_nsga2_keeps_small_programs_beside_good_ones() -> None:
    population = Nsga2(3, 2)
    population.fill(individual(0, 0.5, 8, 9))
    for i, (loss, state, length) in enumerate([(0.1, 8, 20), (0.6, 0, 2), (0.7, 8, 9), (0.2, 8, 20)], start=1):
        population.enter(individual(i, loss, state, length))
    population.settle(5)
    assert {m.index for m in population.members} == {0, 1, 2}
    assert population.parent(Random(0), 5) in population.members
    front = evolved(population={"kind": "nsga2", "size": 12}).members
    assert len(front) == 12
    assert min(m.state for m in front) < max(m.state for m in front)


@pytest.mark.parametrize("kind", ["aging", "mu_plus_lambda", "nsga2"])
def test_islands_keep_apart_and_send_their_best(kind: Any) -> None:
    population = make_population(Population(kind=kind, size=4, islands=3, migrate_every=100))
    assert isinstance(population, Islands)
    population.fill(individual(0, 0.5))
    for i in range(1, 60):
        population.enter(individual(i, 1 / i))
        population.settle(i + 1)
    for k, island in enumerate(population.islands):
        assert {m.index % 3 for m in island.members if m.index} == {k}
        assert {population.parent(Random(i), 3 * i + k).index for i in range(40)} <= {m.index for m in island.members}
    population.settle(100)
    assert [max(m.index for m in island.members) for island in population.islands] == [59, 58, 59]
    before = [*population.members]
    population.settle(150)  # not again before the next hundred
    assert [*population.members] == before


def test_a_plateau_restarts_from_the_start_or_the_best() -> None:
    for source in ("start", "best"):
        evolution = evolved(restarts={"plateau": 60, "source": source}, population={"size": 6})
        assert evolution.counts.restarts >= 2
        assert evolution.best is not None
        assert evolution.best_score.loss == min(s.loss for s in evolution.scores.values())
    assert evolved().counts.restarts == 0


def test_a_restart_fills_the_population(monkeypatch: pytest.MonkeyPatch) -> None:
    filled: list[int] = []
    original = Aging.fill

    def fill(self: Aging, individual: Individual) -> None:
        filled.append(individual.index)
        original(self, individual)
        assert {m.index for m in self.members} == {individual.index}

    monkeypatch.setattr(Aging, "fill", fill)
    evolved(restarts={"plateau": 60})
    assert len(filled) >= 3
    assert set(filled) == {0}
    filled.clear()
    evolved(restarts={"plateau": 60, "source": "best"})
    assert filled[0] == 0
    assert max(filled) > 0


# --- the front ------------------------------------------------------------------------------------------


def test_nothing_on_the_front_beats_another() -> None:
    front, random = Front(), Random(0)
    everybody = [individual(i, random.randrange(9), random.randrange(3), random.randrange(9)) for i in range(200)]
    for m in everybody:
        front.add(m)
    values = {(m.loss, m.state, m.statements) for m in everybody}
    best = {v for v in values if not any(dominates(np.array(o), np.array(v)) for o in values)}
    assert [(m.loss, m.state, m.statements) for m in front.members] == sorted(best)
    changes = front.changes
    front.add(everybody[0])
    assert front.changes == changes


def test_the_front_lies_in_the_run_directory(tmp_path: Path) -> None:
    config = small(budget={"evaluations": 60})
    start_search(config, FakeEvaluator(start=canonical_hash(start_program(config))), tmp_path)
    head, *rows = (tmp_path / "pareto.csv").read_text().splitlines()
    assert head == "program,loss,state_bytes,statements,hash"
    losses = [float(row.split(",")[1]) for row in rows]
    assert losses == sorted(losses)
    assert rows
