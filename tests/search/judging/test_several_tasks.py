"""Judging on several tasks: relative losses, settings by task, races over task and seed, and the grid's two axes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from fakes import small
from laboratories import FakeLaboratory, contents, laboratory, resume, search, several, stopping

from evoptim.dsl import UserError, canonical_hash, load
from evoptim.search import Archive, Score, SearchConfig, resume_search, score, start_search, winner_rule
from evoptim.search.evaluator import combined
from evoptim.search.judging.benches import rung_0
from evoptim.search.judging.grid import beyond, grid
from evoptim.search.judging.judge import Judge, worse_by_task
from evoptim.search.records.archive import StoredTrial
from evoptim.search.sections import Economy
from evoptim.search.starting import start_program
from evoptim.search.winner import versions
from evoptim.wiring import make_evaluator, make_laboratory

EVERYTHING: dict[str, Any] = {
    "evaluation": {"seeds": [0, 1, 2]},
    "economy": {"hurdle": 0.6, "hurdle_window": 12, "race": 0.1},
    "selection": {"seeds": [10, 11, 12], "race": 0.1},
}


def rows(losses: list[float], lr: float = 0.1) -> list[StoredTrial]:
    status = ["ok" if math.isfinite(x) else "diverged" for x in losses]
    return [StoredTrial({"lr": lr}, seed, s, x) for seed, (s, x) in enumerate(zip(status, losses, strict=True))]


# --- scores ---------------------------------------------------------------------------------------------


def test_over_several_tasks_a_loss_is_the_geometric_mean_of_ratios() -> None:
    first = [*rows([3.0, 5.0]), *rows([9.0, 9.0], 0.2)]
    second = [*rows([9.0, 9.0]), *rows([0.5, 0.5], 0.2)]  # best with another setting
    got = combined([first, second], [2.0, 4.0])
    assert got.loss == pytest.approx(math.sqrt(4.0 / 2.0 * 0.5 / 4.0))
    assert (got.status, got.setting) == ("ok", {"lr": 0.1})
    assert combined([first, second], [4.0, 0.5]).loss == 1.0
    assert combined([rows([0.0]), rows([1.0])], [1.0, 1.0]).loss == pytest.approx(0.0, abs=1e-100)


def test_on_one_task_the_loss_is_the_task_s() -> None:
    trials = rows([3.0, 5.0])
    assert combined([trials], []) == score(trials) == Score("ok", 4.0, {"lr": 0.1})


def test_a_failure_on_one_task_is_a_failure() -> None:
    assert combined([rows([1.0]), rows([math.inf])], [1.0, 1.0]).status == "diverged"


def test_the_archive_has_every_task_s_trainings_and_their_geometric_mean(tmp_path: Path) -> None:
    config = several()
    result = search(tmp_path / "run", laboratory(config), config)
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        tasks = versions(archive)
        assert tasks == [f"fake/{t}/20" for t in ("noisy_quadratic", "rosenbrock", "deep_linear")]
        scores = {h: s for _, new in archive.batches() for h, s in new.items()}
        digests = [p.hash for batch, _ in archive.batches() for p in batch.proposals]
        start = [score(archive.trials(digests[0], "search", t)).loss for t in tasks]
        assert scores[digests[0]].loss == 1.0
        assert {s.status for s in scores.values()} == {"ok", "diverged"}
        for digest, got in scores.items():
            by_task = [archive.trials(digest, "search", t) for t in tasks]
            if got.status == "ok":
                best = [score(trials) for trials in by_task]
                logs = [math.log(b.loss / s) for b, s in zip(best, start, strict=True)]
                assert got.loss == pytest.approx(math.exp(sum(logs) / 3))
                assert got.setting == best[0].setting
            else:
                assert [bool(trials) for trials in by_task] == [True, False, False]  # there was no sense in more
        ok = [h for h, got in scores.items() if got.status == "ok"]
        chosen = [{score(archive.trials(h, "search", t)).setting["lr"] for t in tasks} for h in ok]
        assert any(len(lrs) > 1 for lrs in chosen)  # each task has its own
        assert result.winner is not None
        assert result.winner.start_loss == pytest.approx(1.0, abs=0.1)  # on other seeds
        assert winner_rule(archive, config, result.winner.index) == result.winner.rule
        assert "noisy_quadratic, rosenbrock, deep_linear" in result.winner.rule.doc
        assert archive.trainings() == result.progress.trainings


def test_one_task_in_a_laboratory_is_as_without(tmp_path: Path) -> None:
    config = small()
    search(tmp_path / "with", laboratory(config), config)
    start_search(config, laboratory(config)(rung_0(config)[0]), tmp_path / "without")
    assert contents(tmp_path / "with") == contents(tmp_path / "without")


# --- stopping and going on ------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 3, 7, 12])
def test_a_stopped_search_on_several_tasks_goes_on_as_if_it_had_not(after: int, tmp_path: Path) -> None:
    config = several(**EVERYTHING)
    whole = search(tmp_path / "whole", laboratory(config), config)
    assert min(whole.progress.hurdle_stops, whole.progress.race_stops, whole.progress.widened_trainings) > 0
    lab = laboratory(config)
    assert search(tmp_path / "half", lab, config, stopping(after)).winner is None
    again = resume(tmp_path / "half", lab)
    assert contents(tmp_path / "half") == contents(tmp_path / "whole")
    assert again.winner == whole.winner
    for key in ("trainings", "hurdle_stops", "race_stops", "spared_trainings", "widened_trainings"):
        assert getattr(again.progress, key) == getattr(whole.progress, key)
    undisturbed = laboratory(config)
    search(tmp_path / "undisturbed", undisturbed, config)
    assert lab.trained == undisturbed.trained  # nothing twice


def test_other_evaluators_are_not_mixed_in(tmp_path: Path) -> None:
    config = several()
    lab = laboratory(config)
    search(tmp_path, lab, config, stopping(2))

    def other(stored: SearchConfig) -> Any:
        return lambda bench: lab(rung_0(several(evaluation={"steps": 21}))[1])

    with pytest.raises(UserError, match=r"was evaluated with fake/noisy_quadratic/20 \| fake/rosenbrock/20 \|"):
        resume_search(tmp_path, lambda c: lab(rung_0(c)[0]), make_laboratory=other)


def test_further_tasks_need_a_laboratory(tmp_path: Path) -> None:
    config = several()
    with pytest.raises(UserError, match="training on rosenbrock needs a laboratory"):
        start_search(config, laboratory(config)(rung_0(config)[0]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- races ----------------------------------------------------------------------------------------------


def test_pairs_of_all_tasks_count_in_a_race() -> None:
    best = [rows([1.0, 2.0, 3.0]), rows([100.0, 200.0, 300.0])]
    slightly = [rows([1.1, 2.1, 3.1]), rows([101.0, 201.0, 301.0])]
    assert worse_by_task(slightly, best, 2**-6)  # six pairs
    assert not worse_by_task(slightly, best, 2**-7)
    assert not worse_by_task([slightly[0], []], best, 2**-6)  # three so far
    assert worse_by_task([slightly[0], []], best, 2**-3)
    mixed = [rows([0.5, 1.0, 1.5]), rows([101.0, 201.0, 301.0])]  # far better here, little worse there
    assert not worse_by_task(mixed, best, 0.5)


def judged(economy: Economy, **more: Any) -> tuple[Judge, FakeLaboratory, list[Any]]:
    config = several(**more)
    lab = laboratory(config)
    first, *others = map(lab, rung_0(config))
    return Judge(first, grid([0.01, 0.1], []), range(8), economy, 0, others), lab, [load(n) for n in NAMES]


NAMES = ("adamw", "lion", "sgd", "adan", "rmsprop", "adagrad", "adamax", "nadam")


def test_a_race_goes_through_all_tasks_seed_by_seed() -> None:
    judge, lab, rules = judged(Economy(race=0.05))
    plain, *_ = judged(Economy())
    ok = sorted((v for v in plain.judge(rules) if v.score.status == "ok"), key=lambda v: v.score.loss)
    lab.trained.clear()
    verdicts = judge.judge(rules, ok[0].by_task)
    stopped = [v for v in verdicts if v.score.status == "stopped"]
    assert stopped
    for v in stopped:
        seeds = [len({t.seed for t in group}) for group in v.by_task]
        assert seeds == sorted(seeds, reverse=True)  # the first tasks first
        assert seeds[0] - seeds[-1] <= 1
        assert v.score.reason == f"worse than the best after {sum(seeds)} seeds"
        assert sum(seeds) >= 5
    assert ok[0].score in [v.score for v in verdicts]


def test_finalists_that_are_worse_than_the_best_of_them_are_stopped() -> None:
    judge, lab, rules = judged(Economy(race=0.05))
    plain, full, _ = judged(Economy())
    wanted, got = plain.judge(rules), judge.contest(rules, [0])
    best = min(range(len(rules)), key=lambda i: wanted[i].score.loss)
    assert got[best].score == wanted[best].score
    assert got[0].score == wanted[0].score  # spared
    assert sum(v.score.status == "stopped" for v in got) >= 2
    assert lab.trained.total() < full.trained.total()


def test_the_selection_races(tmp_path: Path) -> None:
    plain = small(selection={"seeds": [*range(10, 20)], "finalists": 8})
    racing = small(selection={"seeds": [*range(10, 20)], "finalists": 8, "race": 0.05})
    labs = laboratory(plain), laboratory(racing)
    results = [search(tmp_path / str(i), lab, c) for i, (lab, c) in enumerate(zip(labs, (plain, racing), strict=True))]
    assert results[0].winner is not None
    assert results[0].winner == results[1].winner
    assert labs[1].trained.total() < labs[0].trained.total()


# --- the grid -------------------------------------------------------------------------------------------


def at(losses: dict[tuple[float, float], float]) -> list[StoredTrial]:
    return [StoredTrial({"lr": lr, "weight_decay": d}, 0, "ok", x) for (lr, d), x in losses.items()]


def test_grids_have_two_axes() -> None:
    assert grid([0.1, 0.2], [0.0, 0.5]) == [
        {"lr": lr, "weight_decay": d} for lr, d in ((0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5))
    ]
    assert grid([0.1], []) == [{"lr": 0.1}]


def test_both_axes_are_continued_where_the_best_lies_on_their_edges() -> None:
    decays = (0.0, 0.01, 0.1)
    flat = {(lr, d): 2.0 for lr in (0.1, 0.2, 0.4) for d in decays}
    assert beyond(at(flat | {(0.2, 0.01): 1.0})) == []
    assert beyond(at(flat | {(0.2, 0.0): 1.0})) == []  # there is nothing below a weight decay of 0
    assert beyond(at(flat | {(0.2, 0.1): 1.0})) == [{"lr": 0.2, "weight_decay": 1.0}]
    assert beyond(at(flat | {(0.4, 0.1): 1.0})) == [{"lr": 0.8, "weight_decay": 0.1}, {"lr": 0.4, "weight_decay": 1.0}]
    two = {(lr, d): 2.0 for lr in (0.1, 0.2, 0.4) for d in (0.0, 0.02)}
    assert beyond(at(two | {(0.2, 0.02): 1.0})) == [{"lr": 0.2, "weight_decay": 0.2}]  # ten times, for want of a ratio
    one = {(lr, 0.01): lr for lr in (0.1, 0.2)}
    assert beyond(at(one)) == [{"lr": 0.05, "weight_decay": 0.01}]  # a single decay is no axis
    low = {(0.2, d): d for d in (0.01, 0.1)}
    assert beyond(at(low)) == [{"lr": 0.2, "weight_decay": 0.001}]


def test_weight_decays_are_tried_and_chosen(tmp_path: Path) -> None:
    config = small(evaluation={"weight_decay": 0.0, "weight_decays": [0.01, 0.02], "widen": 2})
    result = search(tmp_path, laboratory(config), config)
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        decays = {s["weight_decay"] for s in archive.best_settings()}
        tried = {t.setting["weight_decay"] for t in archive.trials(canonical_hash(start_program(config)), "search")}
    assert len(decays) > 1
    assert {0.0, 0.01, 0.02} <= tried
    assert result.progress.widened_trainings > 0
    assert result.winner is not None
    assert result.winner.rule.defaults["weight_decay"] in decays


def test_weight_decays_need_a_rule_that_has_one(tmp_path: Path) -> None:
    path = tmp_path / "r.py"
    path.write_text("def r(w, g, m, *, lr=0.1):\n    m = ema(m, g, 0.9)\n    return w - lr * m, m\n")
    config = small(start={"rule": str(path), "frame": "free"}, evaluation={"weight_decays": [0.01]})
    with pytest.raises(UserError, match=r"has no weight_decay, evaluation\.weight_decays has 1"):
        search(tmp_path / "run", FakeLaboratory(), config)
    assert not (tmp_path / "run").exists()


# --- for real -------------------------------------------------------------------------------------------


def test_a_real_search_on_two_tasks(tmp_path: Path) -> None:
    config = small(
        budget={"evaluations": 8},
        evaluation={"tasks": ["matrix_factorization"], "steps": 5, "weight_decays": [0.01], "widen": 1},
        selection={"finalists": 2, "seeds": [10]},
    )
    lab = make_laboratory(config)
    result = start_search(config, make_evaluator(config), tmp_path, laboratory=lab)
    assert result.winner is not None
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        assert [v.split("/")[2].split("-")[0] for v in versions(archive)] == ["noisy_quadratic", "matrix_factorization"]
        assert archive.program(0)[4] == 1.0
