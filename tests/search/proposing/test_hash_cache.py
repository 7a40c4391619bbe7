"""A search without the cache of canonical hashes trains every program that it makes, to the same losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes import FakeEvaluator, small

from evoptim.dsl import canonical_hash
from evoptim.search import Archive, SearchResult, resume_search, start_search
from evoptim.search.starting import start_program

CONFIG = small(economy={"hash_cache": False}, budget={"evaluations": 90})


class Evaluator(FakeEvaluator):
    """One whose start rule never fails."""

    def __init__(self) -> None:
        super().__init__(start=canonical_hash(start_program(CONFIG)))


def contents(run: Path) -> list[tuple[Any, ...]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


def test_every_program_is_trained_and_the_finalists_are_distinct(tmp_path: Path) -> None:
    evaluator = Evaluator()
    result: SearchResult = start_search(CONFIG, evaluator, tmp_path / "run")
    p = result.progress
    assert (p.generated, p.evaluated, p.cache_hits) == (90, 90, 0)
    assert p.distinct < 80
    assert evaluator.asked >= 90
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        assert archive.counts()["evaluated"] == 90
        best = [digest for _, digest, *_ in archive.best()]
    assert len(best) == len(set(best)) > 5


def test_it_resumes(tmp_path: Path) -> None:
    batches = 0

    def stop() -> bool:
        nonlocal batches
        batches += 1
        return batches == 9

    start_search(CONFIG, Evaluator(), tmp_path / "whole")
    start_search(CONFIG, Evaluator(), tmp_path / "halved", should_stop=stop)
    assert resume_search(tmp_path / "halved", lambda _: Evaluator()).progress.evaluated == 90
    assert contents(tmp_path / "halved") == contents(tmp_path / "whole")
