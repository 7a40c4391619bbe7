"""What is not trained, or not to the end: each economy by itself, in whole searches, and across a resumption."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeEvaluator, chance, small
from scipy.stats import wilcoxon

from evoptim.dsl import Rule, canonical_hash, load, parse, zero_gradient_problem
from evoptim.search import Archive, Evolution, SearchConfig, SearchResult, Trial, resume_search, start_search
from evoptim.search.judging.grid import beyond
from evoptim.search.judging.hurdle import Hurdle
from evoptim.search.judging.judge import Judge, worse
from evoptim.search.judging.paired import signed_rank_p
from evoptim.search.loop import start_program
from evoptim.search.proposing.fingerprint import Fingerprints, fingerprint
from evoptim.search.proposing.vetoes import first_step_problem, veto
from evoptim.search.records.archive import StoredTrial
from evoptim.search.sections import Economy

ARCHIVES = Path(__file__).parent / "archives"
EVERYTHING: dict[str, Any] = {
    "mutation": {"swap": 1, "splice": 1, "transform": 1, "promote": 1, "demote": 1},
    "evaluation": {"seeds": [0, 1, 2, 3, 4, 5], "widen": 2},
    "economy": {"fingerprint": True, "forget": 25, "vetoes": True, "hurdle": 0.6, "hurdle_window": 12, "race": 0.1},
    "restarts": {"plateau": 80},
    "population": {"islands": 2, "migrate_every": 20},
}


class Ordered(FakeEvaluator):
    """Losses in which a program and a learning rate matter more than the seed, so that there is something to see."""

    def trial(self, digest: str, setting: Mapping[str, float], seed: int) -> Trial:
        trial = super().trial(digest, setting, seed)
        if trial.status != "ok":
            return trial
        lr = abs(math.log10(setting["lr"]) + 2 * chance("lr", digest))
        loss = chance(digest) + lr / 10 + trial.loss / 20
        return StoredTrial(dict(setting), seed, "ok", loss)


def evaluator(config: SearchConfig) -> Ordered:
    return Ordered(start=canonical_hash(start_program(config)))


def searched(directory: Path, stop_after: int = 0, **changes: Any) -> tuple[SearchConfig, SearchResult]:
    config = small(budget={"evaluations": 60}, **changes)
    batches = iter(range(1, 10**6))
    result = start_search(
        config, evaluator(config), directory, should_stop=lambda: next(batches) == stop_after if stop_after else False
    )
    return config, result


def contents(run: Path) -> list[tuple[Any, ...]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


def rule(body: str, signature: str = "w, g, m") -> Rule:
    return parse(f"def r({signature}, *, lr=0.1):\n{body}")


# --- fingerprints ---------------------------------------------------------------------------------------

SAME = {
    "rounding": ("    return w - lr * (g + g + g), m", "    return w - lr * (g * 3.0000001), m"),
    "algebra": ("    return w - lr * (g * m + g), g", "    return w - lr * (g * (m + 1)), g"),
    "a path never taken": ("    return w - lr * max(g, -1e6), m", "    return w - lr * g, m"),
}
DIFFERENT = {
    "a constant": ("    return w - lr * g * 1.001, m", "    return w - lr * g, m"),
    "what shows at the second step": ("    return w - lr * (g + m), g", "    return w - lr * (g + m), 0.9 * g"),
    "an epsilon": ("    return w - lr * g / (abs(g) + 1e-8), m", "    return w - lr * g / (abs(g) + 1e-5), m"),
    "norms": ("    return w - lr * g / norm(g), m", "    return w - lr * g / global_norm(g), m"),
}


@pytest.mark.parametrize("case", SAME)
def test_fingerprints_of_the_same(case: str) -> None:
    a, b = map(rule, SAME[case])
    assert canonical_hash(a) != canonical_hash(b)
    assert fingerprint(a) == fingerprint(b)


@pytest.mark.parametrize("case", DIFFERENT)
def test_fingerprints_of_the_different(case: str) -> None:
    a, b = map(rule, DIFFERENT[case])
    assert fingerprint(a) != fingerprint(b)


def test_fingerprints_of_what_is_not_finite() -> None:
    a, b = (rule(f"    return w - lr * log({x} - 1e9), m") for x in ("g", "m"))
    assert fingerprint(a) == fingerprint(b) != fingerprint(rule("    return w - lr * g / 0, m"))


def test_fingerprints_are_forgotten() -> None:
    prints = Fingerprints(lifetime=10)
    prints.keep("f", "a", 5)
    assert [prints.owner("f", n) for n in (5, 14, 15)] == ["a", "a", None]
    prints.keep("f", "b", 20)
    assert prints.owner("f", 29) == "b"
    assert prints.owner("g", 0) is None


def test_programs_with_one_fingerprint_share_a_result(tmp_path: Path) -> None:
    economy = {"fingerprint": True, "forget": 10_000}
    _, result = searched(tmp_path, economy=economy, mutation={"promote": 2, "demote": 1})
    assert result.progress.fingerprint_hits > 10
    assert result.progress.evaluated == 60
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        rows = [(p, new) for batch, new in archive.batches() for p in batch.proposals]
        trained = {fingerprint(p.rule): new[p.hash] for p, new in rows if p.hash in new}
        assert len(trained) == 60
        shared = [p for p, _ in rows if p.known == "fingerprint"]
        assert all(p.score == trained[fingerprint(p.rule)] for p in shared)
        assert archive.counts()["fingerprints"] == len(shared) == result.progress.fingerprint_hits
        assert all(not archive.trials(p.hash, "search") for p in shared)


# --- vetoes ---------------------------------------------------------------------------------------------


def test_first_steps() -> None:
    assert "goes up" in first_step_problem(rule("    return w + lr * g, m"))
    assert "not finite" in first_step_problem(rule("    return w - lr * g / 0, m"))
    assert first_step_problem(rule("    return w - lr * (g - m), g", "w, g, m: init(g)")) == ""  # waits
    for name in ("adamw", "lion", "adan", "sgd", "adafactor"):
        assert veto(load(name)) == ""


def test_the_gate_of_exported_rules_is_a_veto() -> None:
    unsafe = rule("    return w - lr * g / norm(g), m")
    assert veto(unsafe) == zero_gradient_problem(unsafe) != ""


def test_what_is_vetoed_is_recorded_and_no_parent(tmp_path: Path) -> None:
    _, result = searched(tmp_path, economy={"vetoes": True})
    assert result.progress.vetoed > 5
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        proposals = [p for batch, _ in archive.batches() for p in batch.proposals]
        vetoed = [p for p in proposals if p.known == "veto"]
        assert archive.counts()["vetoed"] == len(vetoed) == result.progress.vetoed
        for p in vetoed:
            assert p.score is not None
            assert p.score.status == "vetoed"
            assert p.score.reason == veto(p.rule)
            assert not archive.trials(p.hash, "search")
        assert len({p.hash for p in vetoed}) == len(vetoed)  # a second time it is known by its hash
        assert not {p.index for p in vetoed} & {p.parent for p in proposals}
        trained = [p for p in proposals if not p.known and p.index]
        assert all(not veto(p.rule) for p in trained)


# --- the paired test ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 5, 8, 15])
def test_the_test_is_wilcoxons(n: int) -> None:
    random = np.random.Generator(np.random.PCG64(n))
    for _ in range(20):
        differences = random.standard_normal(n) + 0.3
        wanted = wilcoxon(differences, alternative="greater", method="exact").pvalue
        assert signed_rank_p([*differences]) == pytest.approx(wanted, rel=1e-12)


def test_ties_and_zeros() -> None:
    assert signed_rank_p([]) == signed_rank_p([0.0, 0.0]) == 1.0
    assert signed_rank_p([1.0] * 5) == 2**-5
    assert signed_rank_p([-1.0] * 5) == 1.0
    assert signed_rank_p([1.0, 1.0, -1.0]) == 4 / 8  # two or three of three equal ranks
    assert signed_rank_p([2.0, 0.0, -1.0]) == signed_rank_p([2.0, -1.0])


def beyond_edge(trials: Sequence[StoredTrial]) -> float | None:
    """The next learning rate beyond the edge of a grid on which the best one lies; None where it lies within."""
    return next((s["lr"] for s in beyond(trials)), None)


def rows(losses: Sequence[float], lr: float = 0.1) -> list[StoredTrial]:
    return [StoredTrial({"lr": lr}, seed, "ok", loss) for seed, loss in enumerate(losses)]


def test_worse_is_paired_by_seed() -> None:
    best = rows([1.0, 5.0, 9.0, 2.0, 7.0, 3.0])
    slightly = rows([1.01, 5.01, 9.01, 2.01, 7.01, 3.01])
    assert worse(slightly, best, 0.05)
    assert not worse(slightly[:4], best, 0.05)  # four seeds cannot tell
    assert not worse(best, slightly, 0.05)
    assert not worse(best, best, 0.05)
    assert not worse([*slightly, *rows([0.9, 4.9, 8.9, 1.9, 6.9, 2.9], 0.2)], best, 0.05)  # with its best setting
    assert not worse([StoredTrial({"lr": 0.1}, 0, "diverged", math.inf)], best, 0.5)


# --- hurdles, races, grids ------------------------------------------------------------------------------


def test_the_hurdle_is_a_quantile_of_the_last_losses() -> None:
    hurdle = Hurdle(0.5, 4)
    heights = []
    for loss in (4.0, 1.0, 3.0, 2.0, 9.0, 9.0):
        heights.append(hurdle.height)
        hurdle.observe(rows([loss, 100.0]), seed=0)
    assert heights == [math.inf] * 4 + [2.0, 2.0]
    assert hurdle.height == 3.0
    assert Hurdle(0.0, 4).height == math.inf


RULES = [load(n) for n in ("adamw", "lion", "sgd", "adan", "rmsprop", "adagrad", "adamax", "nadam")]
GRID = [{"lr": 0.01}, {"lr": 0.1}]


def judged(economy: Economy, seeds: Sequence[int], widen: int = 0, times: int = 1, best: Any = ()) -> tuple[Any, Judge]:
    judge = Judge(Ordered(start=canonical_hash(RULES[0])), GRID, seeds, economy, widen)
    verdicts = [v for _ in range(times) for v in judge.judge(RULES, best)]
    return verdicts, judge


def test_without_economies_everything_is_trained_at_once() -> None:
    verdicts, judge = judged(Economy(), [0, 1, 2])
    whole = judge.evaluator.evaluate(RULES, GRID, [0, 1, 2])
    assert [[*v.trials] for v in verdicts] == whole
    assert judge.evaluator.asked == 2 * len(RULES)  # type: ignore[attr-defined]


def test_beyond_the_hurdle_no_other_seed_is_trained() -> None:
    verdicts, judge = judged(Economy(hurdle=0.3, hurdle_window=8), [0, 1, 2], times=2)
    plain, _ = judged(Economy(), [0, 1, 2], times=2)
    assert all(v.score.status != "stopped" for v in verdicts[:8])  # nothing was known yet
    assert [v.score for v in verdicts[:8]] == [v.score for v in plain[:8]]
    stopped = [v for v in verdicts[8:] if v.score.status == "stopped"]
    assert stopped
    height = judge.hurdle.height
    for v, p in zip(verdicts[8:], plain[8:], strict=True):
        first = min((t.loss for t in v.trials if t.seed == 0), default=math.inf)
        assert (len(v.trials) == 2) == (first > height)
        if v.score.status == "stopped":
            assert v.score.reason == f"beyond the hurdle of {height:.6g} on the first seed"
        elif len(v.trials) == 6:
            assert sorted(map(repr, v.trials)) == sorted(map(repr, p.trials))
        else:
            assert v.score.status in ("diverged", "error")


def test_a_race_stops_what_is_worse_than_the_best() -> None:
    plain, _ = judged(Economy(), range(8))
    order = sorted((v for v in plain if v.score.status == "ok"), key=lambda v: v.score.loss)
    verdicts, _ = judged(Economy(race=0.05), range(8), best=order[0].by_task)
    stopped = [v for v in verdicts if v.score.status == "stopped"]
    assert stopped
    assert all(v.score.reason.startswith("worse than the best after ") for v in stopped)
    assert all(10 <= len(v.trials) < 16 for v in stopped)  # five seeds are needed at 0.05
    kept = [v for v in verdicts if v.score.status == "ok"]
    assert order[0].score in [v.score for v in kept]


def test_grids_are_widened_beyond_the_edge() -> None:
    assert beyond_edge([*rows([3.0], 0.01), *rows([2.0], 0.03), *rows([1.0], 0.1)]) == pytest.approx(1 / 3, 1e-5)
    assert beyond_edge([*rows([1.0], 0.01), *rows([2.0], 0.1)]) == 0.001
    assert beyond_edge([*rows([2.0], 0.01), *rows([1.0], 0.1), *rows([3.0], 1.0)]) is None
    assert beyond_edge(rows([1.0])) is None
    assert beyond_edge([StoredTrial({"lr": lr}, 0, "diverged", math.inf) for lr in (0.1, 0.2)]) is None
    verdicts, _ = judged(Economy(), [0, 1], widen=3)
    plain, _ = judged(Economy(), [0, 1])
    for v, p in zip(verdicts, plain, strict=True):
        rates = sorted({t.setting["lr"] for t in v.trials})
        assert {0.01, 0.1} <= set(rates)
        assert len(v.trials) == 2 * len(rates)
        assert v.score.loss <= p.score.loss
        assert len(rates) == 5 or v.score.status != "ok" or v.score.setting["lr"] not in (rates[0], rates[-1])
    assert any(v.score.loss < p.score.loss for v, p in zip(verdicts, plain, strict=True))


# --- whole searches -------------------------------------------------------------------------------------


def test_stopped_programs_are_counted_and_no_parents(tmp_path: Path) -> None:
    economy = {"hurdle": 0.5, "hurdle_window": 20}
    _, result = searched(tmp_path, economy=economy, evaluation={"seeds": [0, 1, 2, 3]})
    p = result.progress
    assert p.stopped > 10
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        counts = archive.counts()
        assert (counts["stopped"], counts["evaluated"], archive.trainings()) == (p.stopped, 60, p.trainings)
        assert 60 * 2 <= p.trainings <= 60 * 8 - p.stopped * 6
        new = {h: s for _, scores in archive.batches() for h, s in scores.items()}
        stopped = {h for h, s in new.items() if s.status == "stopped"}
        assert all({t.seed for t in archive.trials(h, "search")} == {0} for h in stopped)
        proposals = [q for batch, _ in archive.batches() for q in batch.proposals]
        parents = {q.parent for q in proposals}
        assert not parents & {q.index for q in proposals if q.hash in stopped}


def test_dead_statements_are_counted_and_not_trained(tmp_path: Path) -> None:
    lengths: list[int] = []

    class Watching(Ordered):
        def evaluate(self, rules: Sequence[Rule], *args: Any) -> Any:
            lengths.extend(sum(1 for _ in r.assigns()) for r in rules)
            return super().evaluate(rules, *args)

    shares = []
    for strip in (True, False):
        config = small(budget={"evaluations": 60}, economy={"strip": strip})
        watching = Watching(start=canonical_hash(start_program(config)))
        result = start_search(config, watching, tmp_path / str(strip))
        shares.append((sum(lengths), result.progress.dead_statements))
        lengths.clear()
    assert contents(tmp_path / "True")[4:] == contents(tmp_path / "False")[4:]  # all but the configuration
    assert shares[0][0] < shares[1][0]
    assert shares[0][1] == shares[1][1] > 0.05


@pytest.mark.parametrize("kind", ["aging", "mu_plus_lambda", "nsga2"])
def test_with_everything_on_a_stopped_search_goes_on_as_if_it_had_not(kind: str, tmp_path: Path) -> None:
    changes = EVERYTHING | {"population": EVERYTHING["population"] | {"kind": kind}}
    config, result = searched(tmp_path / "whole", **changes)
    p = result.progress
    assert min(p.fingerprint_hits, p.vetoed, p.stopped, p.cache_hits, p.restarts) > 0
    for stop_after in (1, 4, 9):
        half, _ = tmp_path / f"{stop_after}", searched(tmp_path / f"{stop_after}", stop_after, **changes)
        again = resume_search(half, lambda _: evaluator(config))
        assert contents(half) == contents(tmp_path / "whole")
        assert (half / "pareto.csv").read_text() == (tmp_path / "whole" / "pareto.csv").read_text()
        assert again.progress.trainings == p.trainings
        assert again.progress.dead_statements == p.dead_statements


def test_the_archive_tells_the_same_history_with_everything_on(tmp_path: Path) -> None:
    config, _ = searched(tmp_path, **EVERYTHING)
    again = Evolution(config, start_program(config))
    with Archive(tmp_path / "archive.sqlite", create=False) as archive:
        for batch, new in archive.batches():
            asked = again.ask()
            assert [(p.index, p.parent, p.rule, p.hash, p.known) for p in asked.proposals] == [
                (p.index, p.parent, p.rule, p.hash, p.known) for p in batch.proposals
            ]
            again.tell(asked, [new[p.hash] for p in asked.new])


@pytest.mark.parametrize("state", ["half", "whole"])
def test_archives_of_release_0_1_0_open_and_go_on(state: str, tmp_path: Path) -> None:
    """The first half of a search by that release ends as the release itself ended it."""
    shutil.copy(ARCHIVES / f"0.1.0-{state}.sqlite", tmp_path / "archive.sqlite")
    result = resume_search(tmp_path, lambda config: FakeEvaluator(start=canonical_hash(start_program(config))))
    assert result.winner is not None
    shutil.copy(ARCHIVES / "0.1.0-whole.sqlite", tmp_path / "whole.sqlite")
    with Archive(tmp_path / "whole.sqlite", create=False) as whole:
        assert contents(tmp_path) == whole.contents()
        assert whole.counts()["evaluated"] == 24
        assert str(result.winner.index) == whole.meta("winner")
