"""A search remembers in its archive which programs no worker survives."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from crews import Deed, FakeCrew
from fakes import chance, small

from evoptim.dsl import canonical_hash, load, parse
from evoptim.search import Archive, SearchConfig, resume_search, start_search
from evoptim.search.loop import start_program
from evoptim.search.records.journal import POISON
from evoptim.search.workers import PoisonList, WorkerEvaluator, Workforce

CONFIG = small(budget={"evaluations": 60})
START = canonical_hash(start_program(CONFIG))


def deadly(text: str) -> bool:
    """One program in eight, whatever else is written in it, but never the first."""
    digest = canonical_hash(parse(text))
    return digest != START and chance("deadly", digest) < 0.125


def fate(worker: int, texts: Sequence[str]) -> Deed:
    return "crash" if any(map(deadly, texts)) else "answer"


def run(directory: Path, size: int, stop_after: int = 10**6) -> FakeCrew:
    """A search, or the rest of one, on a crew whose workers die of some programs."""
    poison, batches = PoisonList(), 0
    crew = FakeCrew(size, fate, START)

    def stop() -> bool:
        nonlocal batches
        batches += 1
        return batches == stop_after

    with Workforce(crew, 10.0, 1, poison, crew.clock) as force:
        evaluator = WorkerEvaluator(force, "a job", "fake-1")

        def made(_: SearchConfig) -> WorkerEvaluator:
            return evaluator

        if (directory / "archive.sqlite").exists():
            resume_search(directory, made, should_stop=stop, poison=poison)
        else:
            start_search(CONFIG, evaluator, directory, should_stop=stop, poison=poison)
    return crew


def contents(run: Path) -> list[object]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return [*archive.contents()]


def test_poison_is_recorded_and_the_archive_does_not_tell_how_many_workers_there_were(tmp_path: Path) -> None:
    for size in (1, 2, 5):
        run(tmp_path / str(size), size)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "5")
    with Archive(tmp_path / "2" / "archive.sqlite", create=False) as archive:
        entries = archive.journal(POISON)
        errors = {row[3] for row in archive.contents() if len(row) == 12 and row[7] == "error" and "workers" in row[11]}
    assert {e["hash"] for e in entries} == errors
    assert len(entries) >= 3
    reason = "2 workers in a row failed with it alone, the last one was killed by signal 11"
    assert {(e["evaluator"], e["reason"]) for e in entries} == {("fake-1", reason)}


def test_a_resumed_search_knows_the_poison_of_before(tmp_path: Path) -> None:
    run(tmp_path / "whole", 2)
    run(tmp_path / "halved", 2, stop_after=8)
    with Archive(tmp_path / "halved" / "archive.sqlite", create=False) as archive:
        known = {e["hash"] for e in archive.journal(POISON)}
    assert known
    crew = run(tmp_path / "halved", 2)
    told = {canonical_hash(parse(text)) for _, texts in crew.told for text in texts}
    assert not told & known
    assert contents(tmp_path / "halved") == contents(tmp_path / "whole")


def test_entries_are_json() -> None:
    poison = PoisonList()
    poison.add(canonical_hash(load("lion")), "fake-1", "why")
    ((kind, entry),) = poison.fresh()
    again = PoisonList()
    again.learn([json.loads(json.dumps(entry))])
    assert kind == POISON
    assert again.reason(canonical_hash(load("lion")), "fake-1") == "why"
    assert again.fresh() == []
