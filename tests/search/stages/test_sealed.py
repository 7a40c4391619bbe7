"""The sealed tasks: opened once per run, on record before anything is trained, and finished after any kill."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fakes import small
from laboratories import FakeLaboratory, any_skill, contents, laboratory, resume, search, stopping
from rich.console import Console
from scipy.stats import wilcoxon

from evoptim.cli.sealing import run_sealed
from evoptim.dsl import UserError, canonical_hash, load
from evoptim.search import Archive, Bench, Evaluator, SearchConfig, make_config, start_search, stored_run
from evoptim.search.records.journal import SEALED
from evoptim.search.rundir import locked
from evoptim.search.stages.sealed import examination, open_sealed, sealed_summary
from evoptim.wiring import make_evaluator, make_laboratory

TERMS = {
    "tasks": ["rosenbrock", "deep_linear"],
    "steps": 50,
    "tuning_seeds": [900],
    "seeds": [910, 911, 912, 913],
    "baselines": ["adamw", "lion"],
    "widen": 1,
}
CONFIG = small(sealed=TERMS)
ADAMW, LION = (canonical_hash(load(name)) for name in ("adamw", "lion"))


def only_winners(digest: str, bench: Bench) -> float:
    """Baselines are never better than what was found."""
    return {ADAMW: 5.0, LION: 6.0}.get(digest) or any_skill(digest, bench)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search; not to be changed."""
    run = tmp_path_factory.mktemp("sealed") / "run"
    search(run, laboratory(CONFIG, only_winners), CONFIG)
    return run


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "run"))


def examined(run: Path, lab: Any = None) -> FakeLaboratory:
    lab = lab or laboratory(CONFIG, only_winners)
    with Archive(run / "archive.sqlite", create=False) as archive:
        config, start, _ = stored_run(archive)
        open_sealed(archive, config, start, lab)
    return lab


def journal(run: Path) -> list[dict[str, Any]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.journal(SEALED)


def test_winner_and_baselines_are_tuned_alike_and_compared_on_fresh_seeds(run: Path) -> None:
    lab = examined(run)
    assert {b.task for b in lab.benches} == {"rosenbrock", "deep_linear"}
    assert all(b.unseal for b in lab.benches)
    opening, *results = journal(run)
    with Archive(run / "archive.sqlite", create=False) as archive:
        winner = int(archive.meta("winner") or -1)
        digest = archive.program(winner)[1]
        summary = sealed_summary(archive)
        for e in results:
            h = {"found": digest, "adamw": ADAMW, "lion": LION}[e["rule"]]
            trials = archive.trials(h, SEALED, f"fake/{e['task']}/50")
            assert {t.seed for t in trials} <= {900, 910, 911, 912, 913}
            assert e["losses"] == [t.loss for t in trials if t.seed >= 910]
            assert e["loss"] == pytest.approx(sum(e["losses"]) / 4)
            tuning = {t.loss: t.setting for t in trials if t.seed == 900}
            assert e["setting"] == tuning[min(tuning)]
            assert 2 <= len(tuning) <= 3  # one widening
    assert (opening["event"], opening["program"], opening["hash"]) == ("opened", winner, digest)
    assert opening["terms"]["tasks"] == TERMS["tasks"]
    assert [(e["task"], e["rule"], e["program"]) for e in results] == [
        (task, rule, winner if rule == "found" else None)
        for task in ("rosenbrock", "deep_linear")
        for rule in ("found", "adamw", "lion")
    ]
    assert summary is not None
    assert summary["finished"]
    by_rule = {r: [x for e in results if e["rule"] == r for x in e["losses"]] for r in ("found", "adamw")}
    differences = [b / a - 1 for a, b in zip(by_rule["found"], by_rule["adamw"], strict=True)]
    assert summary["against"][0]["baseline"] == "adamw"
    assert summary["against"][0]["p"] == pytest.approx(wilcoxon(differences, alternative="greater").pvalue) == 2**-8
    assert 0 < summary["against"][0]["ratio"] < 1
    assert abs((datetime.now(UTC) - datetime.fromisoformat(summary["opened"])).total_seconds()) < 600


def test_a_second_opening_is_refused_with_the_date_of_the_first(run: Path) -> None:
    examined(run)
    before = contents(run)
    with Archive(run / "archive.sqlite", create=False) as archive:
        (when, *_) = archive.journal_times(SEALED)
    with pytest.raises(UserError, match=rf"opened its sealed tasks on {re.escape(when)}: that is done once per run"):
        examined(run)
    assert contents(run) == before


class Deadly(FakeLaboratory):
    """A laboratory in which the process dies at one of the trainings."""

    left = 1

    def loss(self, digest: str, bench: Bench, setting: Mapping[str, float], seed: int) -> float:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return super().loss(digest, bench, setting, seed)


@pytest.mark.parametrize("after", [1, 5, 12, 20, 30, 36])
def test_an_opening_that_was_killed_counts_and_is_finished(after: int, run: Path, tmp_path: Path) -> None:
    undisturbed = Path(shutil.copytree(run, tmp_path / "undisturbed"))
    examined(undisturbed)
    deadly = Deadly(laboratory(CONFIG).safe, only_winners)
    deadly.left = after
    with pytest.raises(KeyboardInterrupt):
        examined(run, deadly)
    (opening,) = journal(run)
    assert opening["event"] == "opened"
    with Archive(run / "archive.sqlite", create=False) as archive:
        first = archive.journal_times(SEALED)
        summary = sealed_summary(archive)
    assert summary is not None
    assert not summary["finished"]
    assert summary["against"] == summary["results"] == []
    examined(run)
    assert contents(run) == contents(undisturbed)
    with Archive(run / "archive.sqlite", create=False) as archive:
        assert archive.journal_times(SEALED)[:1] == first


def test_what_is_missing_is_missed_before_the_seal_is_broken(run: Path) -> None:
    def nothing(bench: Bench) -> Evaluator:
        raise UserError("the data are missing", "install them")

    before = contents(run)
    with pytest.raises(UserError, match="the data are missing"):
        examined(run, nothing)
    assert contents(run) == before


def test_an_unfinished_search_is_not_examined(tmp_path: Path) -> None:
    lab = laboratory(CONFIG)
    search(tmp_path, lab, CONFIG, stopping(2))
    with pytest.raises(UserError, match="has no winner yet"):
        examined(tmp_path)
    assert journal(tmp_path) == []


def test_an_examined_search_resumes_unchanged(run: Path) -> None:
    examined(run)
    before = contents(run)
    assert resume(run, laboratory(CONFIG)).winner is not None
    assert contents(run) == before


def test_the_plan(run: Path) -> None:
    with Archive(run / "archive.sqlite", create=False) as archive:
        plan = examination(archive, CONFIG)
    assert plan["baselines"] == ["adamw", "lion"]
    lab = examined(run)
    assert plan["trainings"] == 3 * 2 * (2 * 1 + 4) <= lab.trained.total()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"seeds": [0]}, "sealed: seeds must not share seed 0 with evaluation.seeds"),
    ({"tuning_seeds": [100]}, "sealed: tuning_seeds must not share seed 100 with selection.seeds"),
    ({"tuning_seeds": [91_000]}, "sealed: seeds must not share seed 91000 with tuning_seeds"),
    ({"tasks": []}, "sealed: tasks needs at least one name"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_contradictory_terms(data: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_config({"sealed": data})
    assert message in caught.value.message


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Path:
    terms = TERMS | {"tasks": ["matrix_factorization"], "steps": 5, "batch_size": 8, "baselines": ["lion"]}
    config: SearchConfig = small(budget={"evaluations": 4}, evaluation={"steps": 5}, sealed=terms)
    start_search(config, make_evaluator(config), tmp_path / "real")
    return tmp_path / "real"


def command(run: Path, *, opens: bool, capsys: pytest.CaptureFixture[str]) -> str:
    run_sealed(run, opens, False, Console(width=200))
    return capsys.readouterr().out


def test_the_command(real: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(real)
    said = command(real, opens=False, capsys=capsys)
    assert "would tune and train program" in said
    assert "lion on matrix_factorization: 12 trainings" in said
    assert "Nothing has been opened." in said
    assert contents(real) == before
    said = command(real, opens=True, capsys=capsys)
    assert "the sealed tasks were opened on 2" in said
    assert "p = " in said
    after = contents(real)
    assert len(after) > len(before)
    assert command(real, opens=False, capsys=capsys) == said
    with pytest.raises(UserError, match="that is done once per run"):
        run_sealed(real, True, False, Console(width=200))
    assert capsys.readouterr().out == said  # the results are shown all the same
    assert contents(real) == after
    document = run_sealed(real, False, True, Console())
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_its_tasks_and_baselines_are_looked_for_before_the_search(tmp_path: Path) -> None:
    config = small(sealed={"tasks": ["digits_mpl"]})
    with pytest.raises(UserError, match="there is no task named 'digits_mpl'"):
        make_evaluator(config)
    config = small(sealed={"baselines": ["adamv"]})
    with pytest.raises(UserError, match="there is no rule named 'adamv'"):
        search(tmp_path / "run", laboratory(config), config)
    assert not (tmp_path / "run").exists()


def test_the_command_refuses(real: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no run directory"):
        run_sealed(tmp_path / "absent", True, False, Console())
    with locked(real), pytest.raises(UserError, match="is in use by another process"):
        run_sealed(real, True, False, Console())
    assert journal(real) == []


def test_only_an_opening_unseals() -> None:
    lab = make_laboratory(small())
    with pytest.raises(UserError, match="is a sealed target"):
        lab(Bench(task="bytes_lm_large", steps=None, batch_size=None, schedule="linear"))
    sealed = lab(Bench(task="bytes_lm_large", steps=None, batch_size=None, schedule="linear", unseal=True))
    assert sealed.version.endswith("2000x16-linear")
