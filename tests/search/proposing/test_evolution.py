"""Aging evolution by ask and tell: misuse, aging, tournaments, the cache, budgets, and going on from a history."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import pytest
from fakes import FakeEvaluator, chance, fake_score, small

from evoptim.dsl import check, parse, zero_gradient_problem
from evoptim.search import (
    Archive,
    Batch,
    Evolution,
    Score,
    SearchConfig,
    SearchResult,
    Trial,
    resume_search,
    score,
    start_search,
)
from evoptim.search.loop import start_program
from evoptim.search.proposing import evolution as evolving
from evoptim.search.proposing.population import Individual
from evoptim.search.records.archive import StoredTrial

OK = Score("ok", 0.5, {"lr": 0.1})


def begin(config: SearchConfig) -> Evolution:
    return Evolution(config, start_program(config))


def told(evolution: Evolution) -> Iterator[tuple[Batch, list[Score]]]:
    """Ask and tell until the budget is used up."""
    while evolution.counts.evaluated < evolution.config.budget.evaluations and not evolution.exhausted:
        batch = evolution.ask()
        scores = [OK if p.index == 0 else fake_score(p.hash) for p in batch.new]
        evolution.tell(batch, scores)
        yield batch, scores


# --- misuse ---------------------------------------------------------------------------------------------


def test_ask_twice_is_refused() -> None:
    evolution = begin(small())
    evolution.ask()
    with pytest.raises(RuntimeError, match="batch 0 has been asked for and not been told"):
        evolution.ask()


def test_tell_twice_is_refused() -> None:
    evolution = begin(small())
    batch = evolution.ask()
    evolution.tell(batch, [OK])
    with pytest.raises(RuntimeError, match="batch 0 was not asked for, or has been told already"):
        evolution.tell(batch, [OK])


def test_tell_before_ask_and_another_batch_is_refused() -> None:
    evolution, other = begin(small()), begin(small(start={"rule": "adamw"}))
    with pytest.raises(RuntimeError, match="was not asked for"):
        evolution.tell(other.ask(), [OK])
    evolution.ask()
    with pytest.raises(RuntimeError, match="was not asked for"):
        evolution.tell(Batch(0, other.ask().proposals) if other._open is None else other._open, [OK])


@pytest.mark.parametrize("count", [0, 2])
def test_wrong_number_of_scores_is_refused(count: int) -> None:
    evolution = begin(small())
    batch = evolution.ask()
    with pytest.raises(ValueError, match=f"{count} scores for 1 new programs"):
        evolution.tell(batch, [OK] * count)
    evolution.tell(batch, [OK])  # and nothing had been taken over


def test_ask_after_the_budget_or_a_failed_start_is_refused() -> None:
    evolution = begin(small(budget={"evaluations": 1}))
    evolution.tell(evolution.ask(), [OK])
    with pytest.raises(RuntimeError, match="the budget of 1 evaluations is used up"):
        evolution.ask()
    evolution = begin(small())
    evolution.tell(evolution.ask(), [Score("diverged", float("inf"), {})])
    with pytest.raises(RuntimeError, match="the start rule failed"):
        evolution.ask()


# --- the population -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 10, 200])
def test_the_oldest_leave_and_the_size_is_kept(size: int) -> None:
    evolution = begin(small(population={"size": size}, budget={"evaluations": 80}))
    entered: list[int] = []
    for batch, _ in told(evolution):
        for p in batch.proposals:
            copies = size if p.index == 0 else 1
            entered += [p.index] * copies if evolution.scores[p.hash].status == "ok" else []
        assert [m.index for m in evolution.members] == entered[-size:]
    assert len(entered) > size + 20


def test_a_large_tournament_picks_the_best_and_the_younger_of_equals() -> None:
    size = 10
    evolution = begin(small(population={"size": size, "tournament": 300}, budget={"evaluations": 100}))
    members = list(evolution.members)
    for batch, _ in told(evolution):
        best = min((m.loss for m in members), default=0.0)
        youngest = max((m.index for m in members if m.loss == best), default=-1)
        assert {p.parent for p in batch.proposals} == {youngest}
        members = list(evolution.members)


def test_a_tournament_of_two_prefers_the_better() -> None:
    evolution = begin(small(population={"size": 20}))
    evolution.members.extend(Individual(i, evolution.start, i / 20) for i in range(20))
    ranks = [evolution.population.parent(Random(i), i).index for i in range(4000)]
    for place in (0, 10, 19):
        share = ((20 - place) ** 2 - (19 - place) ** 2) / 400  # the smaller of two drawn with replacement
        assert abs(ranks.count(place) - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5


def test_what_failed_is_no_parent_and_no_best() -> None:
    evolution = begin(small(budget={"evaluations": 150}))
    status = dict[int, str]()
    for batch, _ in told(evolution):
        status |= {p.index: evolution.scores[p.hash].status for p in batch.proposals}
        assert all(p.parent == -1 or status[p.parent] == "ok" for p in batch.proposals)
        assert evolution.best is not None
        assert evolution.best_score.loss == min(s.loss for s in evolution.scores.values())
    assert {"diverged", "error"} <= set(status.values())


# --- the cache and the budget ---------------------------------------------------------------------------


def test_no_program_is_new_twice_and_counts_add_up() -> None:
    evolution = begin(small(budget={"evaluations": 200}, batch=16))
    new: list[str] = []
    proposals = []
    for batch, scores in told(evolution):
        new += [p.hash for p in batch.new]
        proposals += batch.proposals
        assert len(scores) == len(batch.new) <= 16
    counts = evolution.counts
    assert len(new) == len(set(new)) == counts.evaluated == len(evolution.scores) == 200
    assert [p.index for p in proposals] == list(range(counts.generated))
    assert counts.cache_hits == counts.generated - counts.evaluated > 20
    assert counts.invalid == sum(p.redraws for p in proposals) > 0
    failed = [evolution.scores[h].status for h in new]
    assert (counts.diverged, counts.failed) == (failed.count("diverged"), failed.count("error"))
    assert counts.diverged > 10
    assert counts.failed > 2


@pytest.mark.parametrize(("evaluations", "batch"), [(1, 4), (2, 4), (4, 4), (5, 4), (30, 7), (3, 100), (25, 1)])
def test_the_budget_is_used_up_exactly(evaluations: int, batch: int) -> None:
    evolution = begin(small(budget={"evaluations": evaluations}, batch=batch))
    sizes = [len(b.new) for b, _ in told(evolution)]
    assert sum(sizes) == evolution.counts.evaluated == evaluations
    assert sizes[0] == 1
    assert all(s == batch for s in sizes[1:-1])


@pytest.mark.parametrize(
    ("mutation", "most"),
    [({"insert": 0, "modify": 0}, 8), ({"delete": 0, "modify": 0, "max_statements": 4}, 1)],
)
def test_where_nothing_new_is_left_the_search_ends(
    mutation: dict[str, float], most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evolving, "DRAWS_PER_BATCH", 600)
    (tmp_path / "r.py").write_text("def r(w, g, *, lr=0.1):\n    u = sign(tanh(arctan(g)))\n    return w - lr * u\n")
    start = {"rule": str(tmp_path / "r.py"), "buffers": 0}
    evolution = begin(small(start=start, mutation=mutation, budget={"evaluations": 10_000}))
    batches = [b for b, _ in told(evolution)]
    assert evolution.exhausted
    assert not batches[-1].new
    assert 1 <= evolution.counts.evaluated <= most
    assert all(sum(1 + p.redraws for p in b.proposals[:-1]) < 600 for b in batches)


# --- going on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes", [{}, {"start": {"rule": "adan"}}, {"start": {"rule": "adafactor", "frame": "free"}, "batch": 1}]
)
def test_a_told_history_gives_the_identical_next_batch(changes: dict[str, object]) -> None:
    """Bit for bit, also with every program read back from its text, as the archive does."""
    config = small(**changes)
    history: list[tuple[Batch, dict[str, Score]]] = []
    evolution = begin(config)
    while evolution.counts.evaluated < 40:
        again = Evolution(config, parse(start_program(config).text))
        for batch, new in history:
            again.replay(batch, new)
        batch = evolution.ask()
        assert again.ask() == batch
        assert again.counts == evolution.counts
        assert again.members == evolution.members
        assert (again.best, again.best_score, again.scores) == (evolution.best, evolution.best_score, evolution.scores)
        scores = [OK if p.index == 0 else fake_score(p.hash) for p in batch.new]
        evolution.tell(batch, scores)
        read = tuple(
            type(p)(p.index, p.parent, parse(p.rule.text), p.hash, p.mutation, p.redraws, p.score)
            for p in batch.proposals
        )
        history.append((Batch(batch.number, read), {p.hash: s for p, s in zip(batch.new, scores, strict=True)}))


def test_the_archive_tells_the_same_history(tmp_path: Path) -> None:
    config = small(budget={"evaluations": 60})
    evaluator = FakeEvaluator(start=begin(config).ask().new[0].hash)
    start_search(config, evaluator, tmp_path)
    again = begin(config)
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        for batch, new in archive.batches():
            assert again.ask() == batch
            again.tell(batch, [new[p.hash] for p in batch.new])
    assert again.counts.evaluated == 60


def test_another_seed_is_another_search() -> None:
    first, second = (begin(small(seed=seed)) for seed in (0, 1))
    a = [p.rule.text for b, _ in told(first) for p in b.proposals]
    b = [p.rule.text for b, _ in told(second) for p in b.proposals]
    assert a != b


# --- whole searches -------------------------------------------------------------------------------------


def whole(directory: Path, **changes: object) -> tuple[SearchConfig, SearchResult]:
    config = small(**changes)
    return config, start_search(config, FakeEvaluator(start=begin(config).ask().new[0].hash), directory)


@pytest.mark.parametrize("rule", ["adamw", "adafactor", "lion", "rmsprop"])
def test_a_free_search_finds_a_rule_with_lr(rule: str, tmp_path: Path) -> None:
    config, result = whole(tmp_path, start={"rule": rule, "frame": "free"}, seed=3)
    assert result.winner is not None
    assert check(result.winner.rule) == []
    assert result.winner.rule.defaults["lr"] in config.evaluation.learning_rates
    assert result.winner.rule.defaults.get("weight_decay", 0.0) == 0.0  # that of the search, not of the start rule
    assert parse((tmp_path / "best.rule").read_text())
    assert result.progress.evaluated == 40
    assert start_program(config).text == parse(start_program(config).text).text


def test_the_winner_is_the_best_of_the_finalists_on_fresh_seeds(tmp_path: Path) -> None:
    _, result = whole(tmp_path, budget={"evaluations": 100}, selection={"finalists": 5})
    assert result.winner is not None
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        fit = [row for row in archive.best() if not zero_gradient_problem(parse(row[2]))][:5]
        fresh = {i: score([*archive.trials(digest, "selection")]).loss for i, digest, *_ in fit}
        start = score([*archive.trials(archive.program(0)[1], "selection")]).loss
        assert archive.meta("winner") == str(result.winner.index)
    assert result.winner.loss == min([*fresh.values(), start])
    assert result.winner.start_loss == start
    assert "Found by evolutionary search from lion on noisy_quadratic." in result.winner.rule.doc


@pytest.mark.parametrize("domain", ["log(1e-5, 1e-3)", "log(1e-5, 1.0)", "choice(1e-4, 0.1)"])
@pytest.mark.parametrize("name", ["r.py", 'a """ b\\ 中.py'])
def test_the_winner_reads_back(domain: str, name: str, tmp_path: Path) -> None:
    """Also where the learning rate that did best lies outside the domain that the start rule declares."""
    (tmp_path / name).write_text(f"def r(w, g, *, lr: {domain} = 1e-4):\n    return w - lr * g\n")
    _, result = whole(tmp_path / "run", start={"rule": str(tmp_path / name)})
    assert result.winner is not None
    rule = result.winner.rule
    assert rule.defaults["lr"] in (0.01, 0.1)
    assert parse(rule.text) == rule
    assert name in rule.doc


def test_a_start_that_cannot_be_exported_does_not_win(tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text("def r(w, g, *, lr=0.1):\n    return w - lr * g / norm(g)\n")
    config = small(start={"rule": str(tmp_path / "r.py")})

    class Unbeaten(FakeEvaluator):
        def trial(self, digest: str, setting: Mapping[str, float], seed: int) -> Trial:
            return StoredTrial(dict(setting), seed, "ok", chance(digest) if digest != self.start else -1.0)

    result = start_search(config, Unbeaten(start=begin(config).ask().new[0].hash), tmp_path / "run")
    assert zero_gradient_problem(start_program(config))
    assert result.winner is not None
    assert result.winner.loss > result.winner.start_loss == -1.0
    assert not zero_gradient_problem(result.winner.rule)


def test_an_exhausted_search_says_so_and_selects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evolving, "DRAWS_PER_BATCH", 600)
    _, result = whole(tmp_path, mutation={"insert": 0, "modify": 0}, budget={"evaluations": 10_000})
    assert result.winner is not None
    assert result.progress.exhausted
    again = resume_search(tmp_path, lambda _: FakeEvaluator())
    assert again.winner == result.winner


def test_a_budget_of_programs_ends_a_search_where_it_says(tmp_path: Path) -> None:
    result = start_search(small(budget={"programs": 37, "evaluations": 1000}), FakeEvaluator(), tmp_path / "run")
    assert result.progress.generated == 37
    assert result.progress.remaining == 0
    assert not result.progress.exhausted
    assert result.winner is not None
