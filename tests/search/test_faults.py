"""Disks that fail and clocks that jump: a search says what is wrong, loses nothing, and goes on when it is mended."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import FakeEvaluator, small

from evoptim.dsl import UserError, canonical_hash
from evoptim.search import Archive, SearchConfig, resume_search, start_search
from evoptim.search import loop as search_loop
from evoptim.search.loop import start_program

HERE = Path(__file__).parent
SEARCH = """
import sys
from pathlib import Path
from evoptim.dsl import UserError
from evoptim.search import start_search
from fakes import small
from test_faults import evaluator
try:
    start_search(small(), evaluator(small()), Path(sys.argv[1]))
except UserError as error:
    print(error)
"""


def evaluator(config: SearchConfig) -> FakeEvaluator:
    return FakeEvaluator(start=canonical_hash(start_program(config)))


def contents(run: Path) -> list[tuple[Any, ...]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    start_search(small(), evaluator(small()), run)
    return run


# --- disks ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the system's writes fail."""
    if shutil.which("g++") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs g++ on Linux")
    library = tmp_path_factory.mktemp("shim") / "faulty_disk.so"
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-O1", str(HERE / "faulty_disk.cpp"), "-o", str(library), "-ldl"], check=True
    )
    return library


def search_on_a_bad_disk(run: Path, shim: Path, error: int, path: str, after: int) -> str:
    """What a search in a process of its own says, whose writes to some files fail from some call on."""
    environment = os.environ | {
        "LD_PRELOAD": str(shim),
        "FAULT_AFTER": str(after),
        "FAULT_PATH": path,
        "FAULT_ERRNO": str(error),
        "PYTHONPATH": str(HERE),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-W", "error", "-c", SEARCH, str(run)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


FAULTS = [
    (error, path, Random(f"{error} {path} {i}").randrange(first, last))
    for error in (errno.EIO, errno.ENOSPC)
    for path, first, last in (("archive.sqlite", 45, 110), ("progress.jsonl", 2, 9), ("best.rule", 2, 3))
    for i in range(2 if path == "archive.sqlite" else 1)
]


@pytest.mark.parametrize(("error", "path", "after"), FAULTS)
def test_a_disk_that_fails(tmp_path: Path, whole: Path, shim: Path, error: int, path: str, after: int) -> None:
    run = tmp_path / "run"
    told = search_on_a_bad_disk(run, shim, error, path, after)
    assert path in told
    assert "then --resume" in told
    with Archive(run / "archive.sqlite", create=False) as archive:
        assert archive.meta("winner") is None
    resume_search(run, evaluator)
    assert contents(run) == contents(whole)


@pytest.mark.nightly
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_at_any_write(tmp_path: Path, whole: Path, shim: Path, error: int) -> None:
    """The search stops and goes on, or had not begun and says so; it never ends as something else."""
    for after in range(1, 160, 3):
        run = tmp_path / str(after)
        told = search_on_a_bad_disk(run, shim, error, "archive.sqlite", after)
        if "then --resume" in told:
            try:
                resume_search(run, evaluator)
            except UserError as refusal:
                assert "before it began" in refusal.message  # noqa: PT017 - one of two fair ends
                continue
        assert contents(run) == contents(whole)


# --- clocks ---------------------------------------------------------------------------------------------


def jumping(seed: int) -> Iterator[float]:
    """Times that go back and forth by years."""
    random = Random(seed)
    return (random.uniform(-1e8, 1e8) for _ in count())


@pytest.mark.parametrize("seed", range(3))
def test_clocks_that_jump_lose_nothing(tmp_path: Path, whole: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times = jumping(seed)
    monkeypatch.setattr(search_loop, "time", SimpleNamespace(monotonic=lambda: next(times)))
    clock = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(abs(next(times)), UTC))
    monkeypatch.setattr(search_loop, "datetime", clock)
    seen = [0]
    start_search(
        small(), evaluator(small()), tmp_path / "run", should_stop=lambda: bool(seen.append(0)) or len(seen) == 5
    )
    result = resume_search(tmp_path / "run", evaluator)
    assert result.winner is not None
    assert contents(tmp_path / "run") == contents(whole)
    monkeypatch.undo()
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        assert all(seconds >= 0 for seconds in archive.seconds())


def test_a_clock_that_jumps_ahead_ends_a_timed_search_early_and_nothing_else(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0] * 40 + [1e9] * 1000)
    monkeypatch.setattr(search_loop, "time", SimpleNamespace(monotonic=lambda: next(times)))
    config = small(budget={"minutes": 60.0})
    result = start_search(config, evaluator(config), tmp_path / "run")
    assert result.winner is not None
    kept = [row for row in contents(tmp_path / "run") if len(row) == 12]
    assert 0 < len(kept) < len(contents(whole))
    assert kept == [row for row in contents(whole) if len(row) == 12][: len(kept)]
