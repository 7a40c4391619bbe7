"""A run that has ended gets a larger budget, and goes on as if it had had that one from the start."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEvaluator, small

from evoptim.dsl import UserError, canonical_hash
from evoptim.search import Archive, Limits, SearchConfig, make_config, resume_search, start_search, stored_run
from evoptim.search.loop import start_program
from evoptim.search.records.journal import EXTENSION, SEALED

LONG = 47


def evaluator(config: SearchConfig) -> FakeEvaluator:
    return FakeEvaluator(start=canonical_hash(start_program(config)))


def searched(run: Path, **changes: Any) -> Path:
    config = small(**changes)
    start_search(config, evaluator(config), run)
    return run


def programs(run: Path) -> list[tuple[Any, ...]]:
    """Every program, in the order of creation, with what came of it."""
    with Archive(run / "archive.sqlite", create=False) as archive:
        return [row for row in archive.contents() if len(row) == 12]


def trace(run: Path) -> list[dict[str, Any]]:
    """The lines of progress.jsonl without the times."""
    lines = map(json.loads, (run / "progress.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("at", "seconds")} for line in lines]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that had the larger budget from the start."""
    return searched(tmp_path_factory.mktemp("whole") / "run", budget={"evaluations": LONG})


@pytest.mark.parametrize("evaluations", [2, 21, 22, 24, 46])
def test_it_ends_as_with_that_budget_from_the_start(tmp_path: Path, whole: Path, evaluations: int) -> None:
    """Wherever the first budget cut its last batch."""
    run = searched(tmp_path / "run", budget={"evaluations": evaluations})
    best = (run / "best.rule").read_text()
    result = resume_search(run, evaluator, limits=Limits(evaluations=LONG))
    assert result.winner is not None
    assert programs(run) == programs(whole)
    assert trace(run) == trace(whole)
    for name in ("best.rule", "pareto.csv", "search.toml"):
        assert (run / name).read_text() == (whole / name).read_text()
    assert tomllib.loads((run / "search.toml").read_text())["budget"]["evaluations"] == LONG
    with Archive(run / "archive.sqlite", create=False) as archive:
        (entry,) = archive.journal(EXTENSION)
        assert entry["from"]["evaluations"] == entry["evaluated"] == evaluations
        assert entry["to"]["evaluations"] == LONG
        assert isinstance(entry["winner"], int)
        assert stored_run(archive)[0].budget.evaluations == LONG
    assert best


def test_a_run_that_was_interrupted_may_be_extended_too(tmp_path: Path, whole: Path) -> None:
    config, batches = small(), iter(range(99))
    start_search(config, evaluator(config), tmp_path / "run", should_stop=lambda: next(batches) == 3)
    resume_search(tmp_path / "run", evaluator, limits=Limits(evaluations=LONG))
    assert programs(tmp_path / "run") == programs(whole)


def test_a_run_that_time_has_ended(tmp_path: Path, whole: Path) -> None:
    run = searched(tmp_path / "run", budget={"evaluations": LONG, "minutes": 1e-6})
    assert len(programs(run)) == 1
    resume_search(run, evaluator, limits=Limits(minutes=60))
    assert programs(run) == programs(whole)


def refused(run: Path, message: str, limits: Limits) -> None:
    before = {p: p.read_bytes() for p in run.iterdir()}
    with pytest.raises(UserError, match=message):
        resume_search(run, evaluator, limits=limits)
    assert {p: p.read_bytes() for p in run.iterdir()} == before


def test_what_is_used_up_is_refused(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    refused(run, r"has used up budget\.evaluations = 30: 40 are spent", Limits(evaluations=30))
    refused(run, r"has used up budget\.evaluations = 40", Limits(minutes=60))
    refused(run, "budget.evaluations: Input should be greater than 0", Limits(evaluations=0))
    with Archive(run / "archive.sqlite", create=False) as archive:
        archive.append((SEALED, {"opened": "2026-01-01"}))
    refused(run, "has opened its sealed tasks", Limits(evaluations=50))


def test_a_limit_of_generated_programs_cannot_be_passed(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", budget={"evaluations": 400, "programs": 12})
    refused(run, r"has used up budget\.programs = 12", Limits(evaluations=500))


def test_the_same_limits_change_nothing(tmp_path: Path) -> None:
    run = searched(tmp_path / "run")
    resume_search(run, evaluator, limits=Limits(evaluations=40))
    with Archive(run / "archive.sqlite", create=False) as archive:
        assert archive.journal(EXTENSION) == []


def test_limits_of_a_new_search() -> None:
    config = Limits(evaluations=7, minutes=2.0).applied(make_config({"budget": {"evaluations": 9}}))
    assert (config.budget.evaluations, config.budget.minutes) == (7, 2.0)
    assert not Limits()
    with pytest.raises(UserError, match=r"budget\.minutes"):
        Limits(minutes=-1.0).applied(config)


# --- progress.jsonl -------------------------------------------------------------------------------------


def test_a_line_per_batch_says_what_the_archive_says(whole: Path) -> None:
    lines = trace(whole)
    assert [line["batch"] for line in lines] == list(range(len(lines)))
    with Archive(whole / "archive.sqlite", create=False) as archive:
        counts, best = archive.counts(), next(archive.best())
        seconds = sum(archive.seconds())
    last = lines[-1]
    assert (last["best_program"], last["best_loss"]) == (best[0], best[3])
    for key, there in (("generated", "generated"), ("evaluated", "evaluated"), ("cache_hits", "duplicates")):
        assert last[key] == counts[there]
    times = [json.loads(line)["seconds"] for line in (whole / "progress.jsonl").read_text().splitlines()]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize("damage", [b"", b'{"batch": 0, "at"', b"nonsense\n" * 40])
def test_a_torn_file_is_written_again(tmp_path: Path, damage: bytes) -> None:
    run = searched(tmp_path / "run")
    kept = (run / "progress.jsonl").read_bytes()
    (run / "progress.jsonl").write_bytes(damage)
    resume_search(run, evaluator)
    assert (run / "progress.jsonl").read_bytes() == kept
