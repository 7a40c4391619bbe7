"""The funnel: only what beats a baseline tuned like itself, on fresh seeds, at every stage, is called a winner."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fakes import chance, fate, small
from laboratories import FakeLaboratory, any_skill, contents, laboratory, resume, search, stopping
from scipy.stats import wilcoxon

from evoptim.dsl import UserError, canonical_hash, load
from evoptim.search import Archive, Bench, Limits, SearchConfig, make_config, start_search, to_toml
from evoptim.search.judging.contest import Tuned, better_p, relative
from evoptim.search.records.journal import FUNNEL
from evoptim.search.stages.funnel import funnel_summary
from evoptim.wiring import make_evaluator, make_laboratory

HERE = Path(__file__).parents[1]
FIRST = {"steps": 200, "tuning_seeds": [20, 21], "seeds": [30, 31, 32, 33, 34, 35], "candidates": 6}
SECOND = {"steps": 2000, "tuning_seeds": [40], "seeds": [50, 51, 52, 53, 54], "tasks": ["rosenbrock", "deep_linear"]}
ADAMW = canonical_hash(load("adamw"))


def config(*stages: dict[str, Any], **changes: Any) -> SearchConfig:
    return small(
        selection={"finalists": 6, "seeds": [10, 11]},
        evaluation={"weight_decays": [0.01]},
        funnel=[*(stages or (FIRST, SECOND))],
        **changes,
    )


def better_than_adamw(digest: str, bench: Bench) -> float:
    """Nearly half of all programs are better than AdamW at 200 steps, and as many others at 2000."""
    if digest == ADAMW or fate(digest) != "ok":
        return 0.5 if digest == ADAMW else math.inf
    return 0.5 * (0.55 + chance(digest, bench.steps))


def verdicts(run: Path) -> list[dict[str, Any]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.journal(FUNNEL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FakeLaboratory, Any]:
    """A run whose funnel somebody passed; not to be changed."""
    run, c = tmp_path_factory.mktemp("runs") / "run", config()
    lab = laboratory(c, better_than_adamw)
    return run, lab, search(run, lab, c)


def test_the_winner_is_the_best_that_passed_the_last_stage(finished: tuple[Path, FakeLaboratory, Any]) -> None:
    run, _, result = finished
    found = verdicts(run)
    assert {v["stage"] for v in found} == {1, 2}
    first, second = ([v for v in found if v["stage"] == k] for k in (1, 2))
    assert len(first) == 6
    assert 0 < len(second) < 6
    passed = sorted((v for v in first if v["passed"]), key=lambda v: v["loss"])
    assert [v["program"] for v in second] == [v["program"] for v in passed]
    last = min((v for v in second if v["passed"]), key=lambda v: v["loss"])
    assert result.winner.index == last["program"]
    assert result.winner.passed is True
    assert all((v["reason"] == "") == v["passed"] for v in found)
    assert {v["reason"].split(":")[0] for v in found if not v["passed"]} == {
        "not better than adamw with a confidence of 0.95"
    }


def test_a_verdict_is_what_the_archive_s_trainings_say(finished: tuple[Path, FakeLaboratory, Any]) -> None:
    run, _, _ = finished
    with Archive(run / "archive.sqlite", create=False) as archive:
        for v in verdicts(run):
            pairs: list[tuple[float, float]] = []
            for k, task in enumerate(v["tasks"]):
                evaluator, stage = f"fake/{task}/{v['steps']}", f"funnel {v['stage']}"
                settings = FIRST if v["stage"] == 1 else SECOND
                own, theirs = (archive.trials(h, stage, evaluator) for h in (v["hash"], ADAMW))
                for trials, prefix in ((own, ""), (theirs, "baseline_")):
                    tuning = [t for t in trials if t.seed in settings["tuning_seeds"]]
                    means = mean_losses(tuning)
                    chosen = v[f"{prefix}settings"][k]
                    assert means[tuple(chosen.values())] == min(means.values())
                    fresh = [t.loss for t in trials if t.seed in settings["seeds"] and t.setting == chosen]
                    assert v[f"{prefix}losses"][k] == fresh
                    assert len(fresh) == len(settings["seeds"])
                assert {t.seed for t in own} == {*settings["tuning_seeds"], *settings["seeds"]}
                pairs += zip(v["losses"][k], v["baseline_losses"][k], strict=True)
            wanted = wilcoxon([math.log(b / a) for a, b in pairs], alternative="greater", method="exact").pvalue
            assert v["p"] == pytest.approx(wanted)
            assert v["passed"] == (v["p"] <= 0.05 + 1e-9)
            own_means = [sum(x) / len(x) for x in v["losses"]]
            ratios = [m / (sum(y) / len(y)) for m, y in zip(own_means, v["baseline_losses"], strict=True)]
            loss = own_means[0] if len(ratios) == 1 else math.prod(ratios) ** (1 / len(ratios))
            assert v["loss"] == pytest.approx(loss)


def mean_losses(trials: list[Any]) -> dict[tuple[float, ...], float]:
    by_setting: dict[tuple[float, ...], list[float]] = {}
    for t in trials:
        by_setting.setdefault(tuple(t.setting.values()), []).append(t.loss)
    return {setting: sum(x) / len(x) for setting, x in by_setting.items()}


def test_the_baseline_is_tuned_once_with_the_candidates_grid(
    finished: tuple[Path, FakeLaboratory, Any],
) -> None:
    run, lab, _ = finished
    with Archive(run / "archive.sqlite", create=False) as archive:
        made = {h: archive.trials(h, "funnel 1") for h in (ADAMW, *(v["hash"] for v in verdicts(run)[:6]))}
    grid = {(lr, d) for lr in (0.01, 0.1) for d in (0.0, 0.01)}
    for trials in made.values():
        settings = {(t.setting["lr"], t.setting["weight_decay"]) for t in trials}
        assert grid <= settings
        assert len(settings) <= 4 + 3 * 2  # three rounds, on two axes
    assert lab.trained["noisy_quadratic", 200] == sum(map(len, made.values()))


def test_where_none_passes_the_best_of_the_selection_is_shown_as_such(tmp_path: Path) -> None:
    hard = config(FIRST)
    result = search(tmp_path / "hard", laboratory(hard, lambda d, b: 0.1 if d == ADAMW else any_skill(d, b)), hard)
    plain = small(selection={"finalists": 6, "seeds": [10, 11]}, evaluation={"weight_decays": [0.01]})
    wanted = search(tmp_path / "plain", laboratory(plain), plain)
    assert result.winner is not None
    assert wanted.winner is not None
    assert result.winner.index == wanted.winner.index
    assert (result.winner.passed, wanted.winner.passed) == (False, None)
    assert len(verdicts(tmp_path / "hard")) == 5  # the start rule is the sixth finalist, and no candidate
    again = resume(tmp_path / "hard", laboratory(hard))
    assert again.winner == result.winner


def fails_later(digest: str, bench: Bench) -> float:
    return math.inf if bench.steps == 200 and digest != ADAMW else any_skill(digest, bench)


def test_a_program_that_fails_in_the_funnel_does_not_pass(tmp_path: Path) -> None:
    c = config(FIRST)
    result = search(
        tmp_path, laboratory(c, lambda d, b: math.inf if b.steps == 200 and d != ADAMW else any_skill(d, b)), c
    )
    assert result.winner is not None
    assert result.winner.passed is False
    for v in verdicts(tmp_path):
        assert (v["loss"], v["losses"], v["settings"], v["p"]) == (None, [[]], [{}], 1.0)
        assert v["reason"] == "diverged with every setting"


def test_a_baseline_that_fails_proves_nothing(tmp_path: Path) -> None:
    c = config(FIRST)
    lab = FakeLaboratory(laboratory(c).safe - {ADAMW}, lambda d, b: math.inf if d == ADAMW else any_skill(d, b))
    result = search(tmp_path, lab, c)
    assert result.winner is not None
    assert result.winner.passed is False
    assert {v["reason"] for v in verdicts(tmp_path)} == {
        "the baseline failed, so nothing is shown: diverged with every setting"
    }


# --- the test -------------------------------------------------------------------------------------------


def tuned(*losses: float) -> Tuned:
    return Tuned({"lr": 0.1}, losses)


def test_differences_are_paired_by_task_and_seed_on_a_logarithmic_scale() -> None:
    mine, theirs = [tuned(1.0, 2.0), tuned(100.0, 200.0)], [tuned(1.1, 2.2), tuned(101.0, 201.0)]
    assert better_p(mine, theirs) == 2**-4
    assert better_p(theirs, mine) == 1.0
    assert better_p([tuned(1.0, math.inf)], [tuned(2.0, 2.0)]) == 1.0
    assert better_p([tuned(1.0, 1.0)], [tuned(2.0, math.inf)]) == 2**-2  # what diverges there is worse
    assert better_p([tuned(1.0, 1.0)], [Tuned({}, (), "broken")]) == 1.0
    assert relative(mine, theirs) == pytest.approx(math.sqrt(3.0 / 3.3 * 300 / 302))
    assert relative([tuned(math.inf)], [tuned(1.0)]) == math.inf


# --- going on -------------------------------------------------------------------------------------------


def test_a_funnel_stopped_at_any_checkpoint_goes_on_without_repeating(
    finished: tuple[Path, FakeLaboratory, Any], tmp_path: Path
) -> None:
    run, lab, whole = finished
    count = 0

    def never() -> bool:
        nonlocal count
        count += 1
        return False

    search(tmp_path / "counted", laboratory(config(), better_than_adamw), config(), never)
    assert count > 20
    for after in range(11, count + 1, 4):  # from the selection on
        again = laboratory(config(), better_than_adamw)
        assert search(tmp_path / str(after), again, config(), stopping(after)).winner is None
        assert resume(tmp_path / str(after), again).winner == whole.winner
        assert contents(tmp_path / str(after)) == contents(run)
        assert again.trained == lab.trained


class Deadly(FakeLaboratory):
    """A laboratory in which the process dies at one of the trainings."""

    left = 0

    def loss(self, digest: str, bench: Bench, setting: Mapping[str, float], seed: int) -> float:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().loss(digest, bench, setting, seed)


@pytest.mark.parametrize("before_the_end", [0, 5, 30, 80, 150, 250])
def test_a_killed_funnel_ends_as_an_undisturbed_one(
    before_the_end: int, finished: tuple[Path, FakeLaboratory, Any], tmp_path: Path
) -> None:
    run, lab, whole = finished
    deadly = Deadly(lab.safe, lab.skill)
    deadly.left = lab.trained.total() - before_the_end
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "run", deadly, config())
    assert resume(tmp_path / "run", FakeLaboratory(lab.safe, lab.skill)).winner == whole.winner
    assert contents(tmp_path / "run") == contents(run)


def test_resuming_what_has_ended_trains_nothing(finished: tuple[Path, FakeLaboratory, Any]) -> None:
    run, lab, whole = finished
    before, fresh = contents(run), FakeLaboratory(lab.safe, lab.skill)
    assert resume(run, fresh).winner == whole.winner
    assert contents(run) == before
    assert not fresh.trained


def test_a_larger_budget_sends_the_new_finalists_through_the_funnel(tmp_path: Path) -> None:
    c = config()
    lab = laboratory(c, better_than_adamw)
    search(tmp_path, lab, c)
    first = verdicts(tmp_path)
    result = resume(tmp_path, lab, limits=Limits(evaluations=60))
    assert verdicts(tmp_path)[: len(first)] == first
    later = verdicts(tmp_path)[len(first) :]
    assert {v["round"] for v in first} == {0}
    assert {v["round"] for v in later} == {1}
    assert result.winner is not None
    assert result.winner.passed is (any(v["passed"] and v["stage"] == 2 for v in later))


# --- what it says, and at the door ----------------------------------------------------------------------


def test_the_summary(finished: tuple[Path, FakeLaboratory, Any]) -> None:
    run, _, _ = finished
    with Archive(run / "archive.sqlite", create=False) as archive:
        stages = funnel_summary(archive, config())
    assert [s["stage"] for s in stages] == [1, 2]
    assert [s["tasks"] for s in stages] == [["noisy_quadratic"], ["rosenbrock", "deep_linear"]]
    assert stages[0]["entered"] == 6
    assert stages[1]["entered"] == stages[0]["passed"]
    assert [v for s in stages for v in s["verdicts"]] == verdicts(run)


WRONG = [
    ({"tuning_seeds": [0, 20]}, "tuning_seeds of stage 1 must not share seed 0 with evaluation.seeds"),
    ({"seeds": [10, 31, 32, 33, 34]}, "seeds of stage 1 must not share seed 10 with selection.seeds"),
    ({"seeds": [20, 31, 32, 33, 34]}, "seeds of stage 1 must not share seed 20 with tuning_seeds of stage 1"),
    ({"seeds": [30, 31, 32, 33]}, "a confidence of 0.95 needs 5 seeds of stage 1 or more"),
    ({"confidence": 0.99}, "a confidence of 0.99 needs 7 seeds of stage 1 or more"),
    ({"confidence": 1.0}, "funnel.0.confidence"),
    ({"candidates": 0}, "funnel.0.candidates"),
    ({"steps": 0}, "funnel.0.steps"),
    ({"stepz": 3}, "unknown key 'funnel.0.stepz'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_contradictory_stages(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        config(FIRST | change)
    assert message in caught.value.message


def test_stages_do_not_share_seeds() -> None:
    with pytest.raises(UserError, match="seeds of stage 2 must not share seed 30 with seeds of stage 1"):
        config(FIRST, SECOND | {"seeds": [30, 1001, 1002, 1003, 1004]})
    config(FIRST, SECOND | {"seeds": [50, 51, 52]})  # six pairs on two tasks
    assert make_config({"funnel": []}) == make_config({})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ["digits_mpl"]}, "there is no task named 'digits_mpl'"),
        ({"tasks": ["mnist_vit"]}, "mnist_vit is a sealed target"),
        ({"baseline": "adamv"}, "there is no rule named 'adamv'"),
    ],
)
def test_what_the_funnel_will_need_is_looked_for_at_the_door(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    c = config(FIRST | change)
    with pytest.raises(UserError, match=message):
        start_search(c, make_evaluator(c), tmp_path / "run", laboratory=make_laboratory(c))
    with pytest.raises(UserError, match="needs a laboratory"):
        start_search(c, make_evaluator(c), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_real_funnel(tmp_path: Path) -> None:
    stage = {"steps": 20, "widen": 1, "tuning_seeds": [20], "seeds": [30, 31, 32, 33, 34], "candidates": 2}
    c = small(budget={"evaluations": 8}, evaluation={"steps": 5}, funnel=[stage | {"batch_size": 16}])
    result = start_search(c, make_evaluator(c), tmp_path, laboratory=make_laboratory(c))
    assert result.winner is not None
    found = verdicts(tmp_path)
    assert 1 <= len(found) <= 2
    assert result.winner.passed is any(v["passed"] for v in found)
    assert all(v["baseline_loss"] > 0 for v in found)


KILLED_IN = ("look", "evaluate", "record_trainings", "_judge", "_verdict", "append", "contest", "winner")


@pytest.mark.nightly
def test_killed_processes_leave_what_goes_on(tmp_path: Path) -> None:
    """SIGKILL in meta-validation, selection and funnel, again and again: the archive ends as the undisturbed one."""
    stage = {"steps": 20, "widen": 1, "tuning_seeds": [20], "seeds": [30, 31, 32, 33, 34], "batch_size": 16}
    monitor = {"every": 6, "tasks": ["matrix_factorization"], "steps": 5, "batch_size": 8}
    c = small(budget={"evaluations": 20}, evaluation={"steps": 5}, funnel=[stage], monitor=monitor)
    toml, random, died = tmp_path / "search.toml", Random(0), 0
    toml.write_text(to_toml(c))

    def process(run: Path, *where: str) -> int:
        command = [sys.executable, str(HERE / "searcher.py"), str(toml), str(run), *where]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
        return subprocess.run(command, env=environment, timeout=300).returncode

    assert process(tmp_path / "undisturbed") == 0
    for _ in range(24):
        where = random.choice(KILLED_IN), str(random.randint(1, 3)), str(random.randint(1, 3000))
        died += process(tmp_path / "run", *where) == -signal.SIGKILL
    assert process(tmp_path / "run") == 0
    assert died >= 8
    assert contents(tmp_path / "run") == contents(tmp_path / "undisturbed")
