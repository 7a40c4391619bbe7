"""The archive: round trip, other versions, damaged files, and a disk that is full."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import pytest
from fakes import FakeEvaluator, small

from evoptim.dsl import UserError, canonical_hash, parse
from evoptim.search import Archive, SearchConfig, resume_search, start_search, stored_run, winner_rule
from evoptim.search.loop import start_program
from evoptim.search.records.archive import SCHEMA, StoredTrial

NAME = "archive.sqlite"
T = TypeVar("T")


def evaluator(config: SearchConfig) -> FakeEvaluator:
    return FakeEvaluator(start=canonical_hash(start_program(config)))


def searched(directory: Path, config: SearchConfig | None = None) -> Path:
    config = config or small()
    start_search(config, evaluator(config), directory)
    return directory / NAME


def contents(path: Path) -> list[tuple[Any, ...]]:
    with Archive(path, create=False) as archive:
        return archive.contents()


def everything(path: Path) -> list[object]:
    """The result of every way of reading an archive."""
    with Archive(path, create=False) as archive:
        config, start, version = stored_run(archive)
        winner = archive.meta("winner")
        best = list(archive.best())
        out: list[object] = [config, start.text, version, winner, best, archive.contents(), archive.counts()]
        out += [archive.seconds(), list(archive.progress()), list(archive.batches()), archive.lineage(best[0][0])]
        out += [archive.program(i) for i, *_ in best[:5]]
        out += [archive.trials(digest, stage) for _, digest, *_ in best[:5] for stage in ("search", "selection")]
        return [*out, winner_rule(archive, config, int(winner or 0)).text]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    return searched(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The archive of a copy of it."""
    shutil.copytree(finished.parent, tmp_path / "copy")
    return tmp_path / "copy" / NAME


# --- round trip -----------------------------------------------------------------------------------------


def test_round_trip(finished: Path) -> None:
    config = small()
    with Archive(finished, create=False) as archive:
        assert stored_run(archive) == (config, start_program(config), "fake-1")
        assert archive.meta("nothing") is None
        batches = list(archive.batches())
        proposals = [p for b, _ in batches for p in b.proposals]
        assert [p.index for p in proposals] == list(range(len(proposals)))
        assert all(canonical_hash(p.rule) == p.hash for p in proposals)
        scores = {h: s for _, new in batches for h, s in new.items()}
        counts = archive.counts()
        assert counts["evaluated"] == len(scores) == 40
        assert counts["generated"] == len(proposals) == counts["evaluated"] + counts["duplicates"]
        assert counts["diverged"] == sum(s.status == "diverged" for s in scores.values())
        assert counts["failed"] == sum(s.status == "error" for s in scores.values())
        assert {s.reason for s in scores.values() if s.status == "error"} == {"broken"}
        fake = evaluator(config)
        for digest in scores:
            trials = archive.trials(digest, "search")
            wanted = [fake.trial(digest, {"lr": lr, "weight_decay": 0.0}, s) for lr in (0.01, 0.1) for s in (0, 1)]
            assert trials == wanted
        losses = [loss for *_, loss in archive.best()]
        assert losses == sorted(s.loss for s in scores.values() if s.status == "ok")
        assert list(archive.progress())[-1][1] == losses[0]
        line = archive.lineage(next(archive.best())[0])
        assert line[0][:2] == (0, "start")
        assert all(parse(text) for *_, text in line)


@pytest.mark.parametrize("index", [-1, 10**6, 2**63, 10**30])
def test_a_program_that_is_not_there(finished: Path, index: int) -> None:
    with Archive(finished, create=False) as archive, pytest.raises(UserError, match=f"no program {index}"):
        archive.program(index)


def test_writing_a_training_twice_is_harmless(copy: Path) -> None:
    before = contents(copy)
    with Archive(copy, create=False) as archive:
        digest = next(archive.best())[1]
        for stage in ("search", "selection"):
            archive.record_trainings(stage, {digest: archive.trials(digest, stage)}, "fake-1")
        archive.record_trainings(
            "search", {digest: [StoredTrial({"lr": 0.01, "weight_decay": 0.0}, 0, "ok", 9.0)]}, "fake-1"
        )
    assert contents(copy) == before  # the first result stays
    with Archive(copy, create=False) as archive:
        archive.record_trainings("search", {digest: [StoredTrial({"lr": 0.01}, 0, "ok", -0.0)]}, "fake-1")
        archive.record_trainings("search", {digest: [StoredTrial({"lr": 0.02}, 0, "ok", float("nan"))]}, "fake-1")
        archive.set_meta({"winner": "3"})
    assert len(contents(copy)) == len(before) + 2


def test_nothing_of_a_failed_transaction_remains(copy: Path) -> None:
    before = contents(copy)
    with Archive(copy, create=False) as archive:
        batch, new = list(archive.batches())[-1]
        with pytest.raises(UserError, match="UNIQUE constraint failed"):
            archive.record(batch, new | {p.hash: p.score for p in batch.proposals if p.score}, {}, "x", (0.0, 0.0, ""))
        archive.set_meta({"winner": archive.meta("winner") or ""})  # and it goes on
    assert contents(copy) == before


def test_a_reader_beside_the_writer(copy: Path) -> None:
    with Archive(copy, create=False) as writer, Archive(copy, create=False) as reader:
        before = reader.contents()
        with writer._transaction():
            writer._put("winner", "1")
            assert contents(copy) == before
        assert reader.meta("winner") == "1"
        assert contents(copy) != before


# --- what is not this version's archive -----------------------------------------------------------------


def refusal(path: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        everything(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy
    with pytest.raises(UserError):
        resume_search(path.parent, evaluator)
    return caught.value


def sql(path: Path, *statements: str) -> None:
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


@pytest.mark.parametrize("version", ["0", str(SCHEMA + 1), "banana"])
def test_another_schema_version_is_refused(copy: Path, version: str) -> None:
    sql(copy, f"UPDATE meta SET value = '{version}' WHERE key = 'schema'")  # noqa: S608
    error = refusal(copy)
    assert f"has schema version {version}, this evoptim reads 1 and {SCHEMA}" in error.message
    assert "the version of evoptim that wrote it" in error.remedy


def test_another_database_is_refused(tmp_path: Path) -> None:
    sql(tmp_path / NAME, "CREATE TABLE other (x)")
    assert "schema version unknown" in refusal(tmp_path / NAME).message


@pytest.mark.parametrize("text", [b"this is no database", b"\0" * 5000, b"SQLite format 3\0" + b"x" * 5000])
def test_what_is_no_database_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / NAME).write_bytes(text)
    assert "damaged" in refusal(tmp_path / NAME).message


def test_an_archive_without_a_search_is_explained(tmp_path: Path) -> None:
    """What a kill leaves behind before the first program: an empty file, one without tables, one without a run."""
    (tmp_path / NAME).touch()
    assert "is empty: the search was stopped before it began" in refusal(tmp_path / NAME).message
    sql(tmp_path / NAME, "PRAGMA journal_mode = WAL")
    error = refusal(tmp_path / NAME)
    assert "is empty" in error.message
    assert "delete" in error.remedy
    (tmp_path / NAME).unlink()
    Archive(tmp_path / NAME, create=True).close()
    error = refusal(tmp_path / NAME)
    assert "it was stopped before it began" in error.message
    assert "delete" in error.remedy


def test_missing_archives_and_directories(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no archive"):
        Archive(tmp_path / NAME, create=False)
    with pytest.raises(UserError, match=r"holds no search: there is no archive\.sqlite in it"):
        resume_search(tmp_path, evaluator)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="there is no run directory"):
        resume_search(tmp_path / "absent", evaluator)
    (tmp_path / "file").touch()
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot make"):
            start_search(small(), evaluator(small()), target)
    with pytest.raises(UserError, match="is not empty"):
        start_search(small(), evaluator(small()), tmp_path)


def test_an_archive_is_not_overwritten(finished: Path) -> None:
    before = everything(finished)
    with pytest.raises(UserError, match="exists already"):
        Archive(finished, create=True)
    assert everything(finished) == before


def test_a_value_changed_behind_its_back_is_noticed(finished: Path, tmp_path: Path) -> None:
    changes = (
        "UPDATE programs SET loss = loss * 1.000001 WHERE id = (SELECT max(id) FROM programs WHERE loss > 0)",
        "UPDATE programs SET text = replace(text, 'sign', 'tanh') WHERE id = 0",
        "DELETE FROM programs WHERE id = (SELECT max(id) FROM programs)",
        "DELETE FROM trainings WHERE stage = 'selection'",
        "UPDATE trainings SET seed = seed + 50",
        "UPDATE timings SET train = 1e300 WHERE batch = 1",
        "UPDATE meta SET value = replace(value, '20', '21') WHERE key = 'config'",
        "DELETE FROM meta WHERE key = 'winner'",
        "DELETE FROM meta WHERE key = 'seal'",
    )
    for i, change in enumerate(changes):
        path = tmp_path / str(i) / NAME
        shutil.copytree(finished.parent, path.parent)
        sql(path, change)
        assert "its contents are not what was written" in refusal(path).message


# --- damage ---------------------------------------------------------------------------------------------


def same_or_refused(path: Path, wanted: list[object]) -> bool:
    """Whether the archive still reads as it was; else it must say what is wrong."""
    found = attempt(lambda: everything(path), path)
    assert found in (None, wanted), f"{path} was read as something else"
    return found is not None


def attempt(read: Callable[[], T], path: Path) -> T | None:
    """What can be read; None where it is refused as it should be."""
    caught: UserError | None = None
    try:
        return read()
    except UserError as error:
        caught = error
    assert str(path) in caught.message, caught
    assert caught.remedy
    return None


def damages(data: bytes) -> Iterator[tuple[str, bytes]]:
    random = Random(0)
    bits = [random.randrange(len(data) * 8) for _ in range(110)]
    bits += [byte * 8 + random.randrange(8) for byte in range(0, 120, 2)]  # the file's header and the first page's
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield f"bit {bit}", bytes(changed)
    for length in [0, 1, 99, 100, 4095, 4096, *(random.randrange(len(data)) for _ in range(15)), len(data) - 1]:
        yield f"cut to {length}", data[:length]
    for _ in range(10):
        begin = random.randrange(len(data) - 4096)
        yield f"zeros from {begin}", data[:begin] + bytes(4096) + data[begin + 4096 :]


def test_damage_is_told_or_harmless(finished: Path, tmp_path: Path) -> None:
    wanted, data = everything(finished), finished.read_bytes()
    read = 0
    for i, (what, changed) in enumerate(damages(data)):
        path = tmp_path / f"{i} {what}" / NAME
        path.parent.mkdir()
        path.write_bytes(changed)
        read += same_or_refused(path, wanted)
    assert 0 < read < 80  # most of the file matters


def test_a_damaged_run_does_not_resume_to_something_else(finished: Path, tmp_path: Path) -> None:
    wanted, data = contents(finished), finished.read_bytes()
    for i, (what, changed) in enumerate([*damages(data)][::8]):
        path = tmp_path / f"{i} {what}" / NAME
        path.parent.mkdir()
        path.write_bytes(changed)
        if attempt(lambda run=path.parent: resume_search(run, evaluator), path):
            assert contents(path) == wanted


def test_a_damaged_log_is_told_or_cut_at_a_batch(tmp_path: Path) -> None:
    """The write-ahead log of a killed run: SQLite drops what is damaged, which must leave whole batches."""
    snapshots: list[list[tuple[Any, ...]]] = []
    config = small(budget={"evaluations": 60})
    kept = tmp_path / "kept"

    def report(progress: object) -> None:
        snapshots.append(contents(tmp_path / "run" / NAME))
        if len(snapshots) == 12:
            shutil.copytree(tmp_path / "run", kept)

    start_search(config, evaluator(config), tmp_path / "run", report=report)
    log = (kept / f"{NAME}-wal").read_bytes()
    assert len(log) > 20_000
    random, cut = Random(1), 0
    for i in range(60):
        changed = bytearray(log)
        changed[random.randrange(len(log))] ^= 1 << random.randrange(8)
        path = tmp_path / str(i) / NAME
        shutil.copytree(kept, path.parent)
        (path.parent / f"{NAME}-wal").write_bytes(bytes(changed))
        found = attempt(lambda path=path: contents(path), path)
        assert found is None or found in snapshots or len(found) <= 4  # or nothing but the run itself
        cut += found not in (None, snapshots[11])
    assert cut > 5


# --- a full disk ----------------------------------------------------------------------------------------


def refused_then_resumed(
    directory: Path, config: SearchConfig, make_space: Callable[[], None], reference: Path
) -> None:
    """A search that runs out of space says so, and goes on to the same end when there is some."""
    with pytest.raises(UserError) as caught:
        start_search(config, evaluator(config), directory)
    assert str(directory) in caught.value.message
    assert "free disk space" in caught.value.remedy
    make_space()
    with Archive(directory / NAME, create=False) as archive:
        assert 0 < archive.counts()["evaluated"] < config.budget.evaluations
    resume_search(directory, evaluator)
    assert contents(directory / NAME) == contents(reference)


@pytest.mark.parametrize("less", [1, 4, 8])
def test_a_full_database(tmp_path: Path, finished: Path, less: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, pages = Archive._open, finished.stat().st_size // 4096 - less

    def limited(self: Archive, create: bool) -> None:
        opened(self, create)
        self._db.execute(f"PRAGMA max_page_count = {pages}")

    monkeypatch.setattr(Archive, "_open", limited)
    refused_then_resumed(tmp_path / "run", small(), lambda: monkeypatch.setattr(Archive, "_open", opened), finished)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(tiny_disk: Path, tmp_path: Path) -> None:
    config = small(budget={"evaluations": 300}, batch=16)
    reference = searched(tmp_path / "reference", config)
    grow = ["mount", "-o", "remount,size=64m", str(tiny_disk)]
    refused_then_resumed(tiny_disk / "run", config, lambda: void(subprocess.run(grow, check=True)), reference)


def test_a_disk_full_from_the_start(tiny_disk: Path) -> None:
    (tiny_disk / "ballast").write_bytes(bytes(2**20 - 2 * 4096))
    config = small()
    with pytest.raises(UserError, match=r"full|disk I/O"):
        start_search(config, evaluator(config), tiny_disk / "run")
    (tiny_disk / "ballast").unlink()
    with pytest.raises(UserError, match="stopped before it began"):
        resume_search(tiny_disk / "run", evaluator)


def void(value: object) -> None:
    """Drop a result."""


LIMITED = """
import resource, sys
from pathlib import Path
from evoptim.dsl import UserError
from evoptim.search import start_search
from fakes import small
from test_archive import evaluator
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    start_search(small(), evaluator(small()), Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [60_000, 120_000])
def test_a_limit_on_the_size_of_files(tmp_path: Path, finished: Path, limit: int) -> None:
    place = os.pathsep.join(str(p) for p in Path(__file__).parents[:2])
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "run"), str(limit)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": place},
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "free disk space" in run.stdout
    resume_search(tmp_path / "run", evaluator)
    assert contents(tmp_path / "run" / NAME) == contents(finished)
