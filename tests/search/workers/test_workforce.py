"""Whatever workers do, every program gets the trials that it would have got from the evaluator itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

import pytest
from crews import Deed, FakeCrew, Fate
from fakes import FakeEvaluator

from evoptim.dsl import Rule, UserError, canonical_hash, parse
from evoptim.search import Trial
from evoptim.search.workers import Job, PoisonList, WorkerEvaluator, Workforce

SETTINGS, SEEDS = [{"lr": 0.01}, {"lr": 0.1}], [0, 1]
RULES = [parse(f"def r{k}(w, g, *, lr=0.1):\n    return w - lr * {k + 2}.0 * g\n") for k in range(11)]
LEASE = 10.0
DEEDS: tuple[Deed, ...] = ("crash", "hang", "garble", "late")


def rows(results: Sequence[Sequence[Trial]]) -> list[list[tuple[object, ...]]]:
    return [[(dict(t.setting), t.seed, t.status, t.loss, t.reason) for t in group] for group in results]


WANTED = rows(FakeEvaluator().evaluate(RULES, SETTINGS, SEEDS))


def force(crew: FakeCrew, retries: int = 2, poison: PoisonList | None = None) -> Workforce:
    return Workforce(crew, LEASE, retries, PoisonList() if poison is None else poison, crew.clock)


def evaluate(force: Workforce, rules: Sequence[Rule] = RULES) -> list[list[tuple[object, ...]]]:
    return rows(WorkerEvaluator(force, "a job", "fake-1").evaluate(rules, SETTINGS, SEEDS))


@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_results_come_in_order_from_any_number_of_workers(size: int) -> None:
    crew = FakeCrew(size)
    assert evaluate(force(crew)) == WANTED
    leased = [text for _, texts in crew.told for text in texts]
    assert sorted(leased) == sorted(r.text for r in RULES)
    assert len({worker for worker, _ in crew.told}) == min(size, len(RULES))
    assert crew.starts == size


def sometimes(share: float, deeds: Sequence[Deed], seed: int) -> Fate:
    """A fate that no program decides."""
    random = Random(seed)
    return lambda worker, texts: random.choice(deeds) if texts and random.random() < share else "answer"


@pytest.mark.parametrize("deed", DEEDS)
def test_workers_that_fail_now_and_then_change_nothing(deed: Deed) -> None:
    for seed in range(20):
        crew = FakeCrew(3, sometimes(0.3, [deed], seed))
        assert evaluate(force(crew, retries=50)) == WANTED


def test_one_bad_worker_poisons_nothing() -> None:
    for deed in DEEDS:
        poison = PoisonList()
        crew = FakeCrew(2, lambda worker, texts, deed=deed: deed if texts and worker == 0 else "answer")
        assert evaluate(force(crew, 0, poison)) == WANTED
        assert not poison


def test_a_batch_of_none_and_a_second_batch() -> None:
    crew = FakeCrew(2)
    workers = force(crew)
    assert evaluate(workers, []) == []
    assert [evaluate(workers) for _ in range(3)] == [WANTED] * 3
    assert crew.starts == 2


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("deed", ["crash", "hang", "garble"])
@pytest.mark.parametrize("size", [1, 3])
def test_the_guilty_program_is_found_and_never_leased_again(deed: Deed, size: int, retries: int) -> None:
    guilty, poison = RULES[4], PoisonList()
    crew = FakeCrew(size, lambda worker, texts: deed if guilty.text in texts else "answer")
    workers = force(crew, retries, poison)
    found = evaluate(workers)
    assert found[:4] + found[5:] == WANTED[:4] + WANTED[5:]
    assert [row[:4] for row in found[4]] == [(s, seed, "error", float("inf")) for s in SETTINGS for seed in SEEDS]
    alone = Counter(texts for _, texts in crew.told)[guilty.text,]
    assert alone == retries + 1
    (entry,) = poison.fresh()
    assert entry == (
        "poison",
        {"hash": canonical_hash(guilty), "evaluator": "fake-1", "reason": str(found[4][0][4])},
    )
    crew.told.clear()
    assert evaluate(workers) == found
    assert all(guilty.text not in texts for _, texts in crew.told)
    assert poison.fresh() == []


def test_what_another_run_found_poisonous_is_not_leased() -> None:
    poison, crew = PoisonList(), FakeCrew(1)
    poison.learn([{"hash": canonical_hash(RULES[0]), "evaluator": "fake-1", "reason": "why"}])
    found = evaluate(force(crew, poison=poison))
    assert {row[2:] for row in [tuple(r) for r in found[0]]} == {("error", float("inf"), "why")}
    assert found[1:] == WANTED[1:]
    assert poison.fresh() == []


def test_poison_is_poison_for_one_evaluator() -> None:
    poison = PoisonList()
    poison.learn([{"hash": canonical_hash(RULES[0]), "evaluator": "another", "reason": "why"}])
    assert evaluate(force(FakeCrew(1), poison=poison)) == WANTED


def test_an_answer_too_many_is_harmless() -> None:
    assert evaluate(force(FakeCrew(2, lambda worker, texts: "twice"))) == WANTED


def test_workers_may_fail_to_start_but_not_all_of_them() -> None:
    some = FakeCrew(3, lambda worker, texts: "answer" if worker == 1 else "false start")
    assert evaluate(force(some)) == WANTED
    assert some.starts == 1 + 2 * 3
    none = force(FakeCrew(2, lambda worker, texts: "false start"))
    for reason in ("fell over", "could not be started"):
        with pytest.raises(UserError, match=f"no worker can be started: the last one {reason}"):
            evaluate(none)


def test_a_worker_that_never_gets_ready_is_given_up() -> None:
    class Mute(FakeCrew):
        def start(self, worker: int) -> None:
            self.starts += 1

    with pytest.raises(UserError, match="gave no answer within 300 s"):
        evaluate(force(Mute(1)))


def test_a_batch_that_was_broken_off_leaves_nothing_behind() -> None:
    crew = FakeCrew(2)
    workers = force(crew)
    wait = crew.wait

    def interrupted(seconds: float) -> list[object]:
        if crew.told:
            raise KeyboardInterrupt
        return wait(seconds)

    crew.wait = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        evaluate(workers)
    crew.wait = wait  # type: ignore[method-assign]
    assert evaluate(workers, RULES[::-1]) == WANTED[::-1]


def test_other_versions_are_refused() -> None:
    workers = force(FakeCrew(1))
    with pytest.raises(UserError, match="evaluates with fake-1, the driver with fake-2"):
        workers.evaluate(Job("a job", "fake-2", SETTINGS, SEEDS), RULES)


def test_the_end_closes_the_crew() -> None:
    crew = FakeCrew(1)
    with force(crew):
        assert not crew.closed
    assert crew.closed
