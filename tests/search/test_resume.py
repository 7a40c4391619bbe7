"""A search may be stopped in any way at any moment, and ends as if it had not been."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Protocol

import pytest
from fakes import small

from evoptim.dsl import UserError
from evoptim.runtime.tasks.noisy_quadratic import NoisyQuadratic
from evoptim.search import Archive, SearchConfig, resume_search, start_search, to_toml
from evoptim.wiring import make_evaluator

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE)}
CONFIG = small(budget={"evaluations": 60})
Contents = list[tuple[Any, ...]]


def contents(run: Path) -> Contents:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


def trace(run: Path) -> list[dict[str, Any]]:
    """The lines of progress.jsonl, each whole and there once, without the times."""
    lines = map(json.loads, (run / "progress.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in ("at", "seconds")} for line in lines]


def python(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def searcher(config: Path, run: Path, *where: str) -> subprocess.Popen[str]:
    return python(str(HERE / "searcher.py"), str(config), str(run), *where)


def finish(process: subprocess.Popen[str], expected: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Exit code and output of a process that must not show a traceback."""
    out, error = process.communicate(timeout=120)
    assert process.returncode in expected, (process.returncode, out, error)
    assert "Traceback" not in error
    return process.returncode, out + error


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "search.toml"
    path.write_text(to_toml(CONFIG))
    return path


@pytest.fixture(scope="module")
def reference(toml: Path) -> Path:
    """The run directory of a search that nothing interrupted; not to be changed."""
    run = toml.parent / "reference"
    finish(searcher(toml, run))
    return run


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A search stopped half way."""
    batches = count(1)
    start_search(CONFIG, make_evaluator(CONFIG), tmp_path / "half", should_stop=lambda: next(batches) == 5)
    return tmp_path / "half"


# --- killed ---------------------------------------------------------------------------------------------

STAGES: dict[str, tuple[tuple[str, ...], int, int]] = {
    "starting": (("locked",), 1, 500),
    "proposing": (("_next", "_child"), 2, 4_000),
    "training": (("evaluate", "train_population"), 2, 1_000),
    "writing": (("record", "_insert", "_write_best"), 2, 150),
    "selecting": (("winner", "record_trainings", "set_meta"), 1, 400),
}
"""Per stage: functions at which to begin to count, at which of their calls at most, and how far at most."""


def bomb(stage: str, random: Random) -> tuple[str, str, str]:
    functions, entry, count = STAGES[stage]
    return random.choice(functions), str(random.randint(1, entry)), str(random.randint(1, count))


class Search(Protocol):
    """Runs searcher.py, killing it after some seconds if they are given: exit code, and what it told."""

    def __call__(self, *arguments: str, delay: float | None = None) -> tuple[int, str]: ...


def in_process(*arguments: str, delay: float | None = None) -> tuple[int, str]:
    process = python(str(HERE / "searcher.py"), *arguments)
    if delay is not None:
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    return finish(process, (0, 2, -signal.SIGKILL))


def kill_again_and_again(config: Path, run: Path, seed: int, stages: list[str], search: Search) -> Counter[str]:
    """Kill a search once per stage named, resume it until it ends; how often it died in each."""
    random, died = Random(seed), Counter[str]()
    for stage in stages:
        if stage == "any moment":
            code, told = search(str(config), str(run), delay=random.uniform(0, 2))
        else:
            code, told = search(str(config), str(run), *bomb(stage, random))
        if code == 2:
            assert "stopped before it began" in told
            shutil.rmtree(run)  # as the message says
        died[stage] += code == -signal.SIGKILL
    assert search(str(config), str(run)) == (0, "")
    return died


@pytest.fixture
def forked() -> Iterator[Search]:
    """Searches as forks of one process, which start at once."""
    server = subprocess.Popen(
        [sys.executable, "-W", "error", str(HERE / "forker.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )

    def search(*arguments: str, delay: float | None = None) -> tuple[int, str]:
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps([arguments, delay]), file=server.stdin, flush=True)
        code, told = json.loads(server.stdout.readline())
        assert code in (0, 2, -signal.SIGKILL), told
        return code, told

    yield search
    server.communicate(timeout=60)
    assert server.returncode == 0


EVERY_STAGE = ["starting"] * 2 + ["proposing", "training", "writing"] * 3 + ["any moment"] + ["selecting"] * 3


def test_killed_searches_end_as_the_uninterrupted_one(toml: Path, reference: Path, tmp_path: Path) -> None:
    died = kill_again_and_again(toml, tmp_path / "run", 2, EVERY_STAGE, in_process)
    print(f"\nkilled while {dict(died)}")
    assert died.total() >= 12
    assert {stage for stage, n in died.items() if n} >= set(STAGES)
    assert contents(tmp_path / "run") == contents(reference)
    for name in ("best.rule", "pareto.csv", "search.toml"):
        assert (tmp_path / "run" / name).read_text() == (reference / name).read_text()
    assert trace(tmp_path / "run") == trace(reference)


@pytest.mark.nightly
def test_two_hundred_kills(toml: Path, reference: Path, tmp_path: Path, forked: Search) -> None:
    """Search after search is killed a dozen times, until 200 kills are told; each ends as if nothing had happened."""
    died = Counter[str]()
    for seed in count(10):
        died += kill_again_and_again(toml, tmp_path / str(seed), seed, EVERY_STAGE, forked)
        assert contents(tmp_path / str(seed)) == contents(reference)
        assert trace(tmp_path / str(seed)) == trace(reference)
        for name in ("best.rule", "pareto.csv", "search.toml"):
            assert (tmp_path / str(seed) / name).read_text() == (reference / name).read_text()
        if died.total() >= 200:
            break
    print(f"\nkilled while {dict(died)}")


@pytest.mark.nightly
def test_killed_at_every_point_of_the_start(toml: Path, tmp_path: Path) -> None:
    """What is left behind resumes, is begun anew, or says that it has to be."""
    ends = Counter[int]()
    for calls in range(1, 500, 25):
        run = tmp_path / str(calls)
        finish(searcher(toml, run, "locked", "1", str(calls)), (-signal.SIGKILL,))
        code, told = finish(searcher(toml, run, "_next", "1", "1"), (-signal.SIGKILL, 2))
        assert code != 2 or ("stopped before it began" in told and "delete" in told)
        ends[code] += 1
    assert len(ends) == 2


def test_a_start_killed_before_its_archive_is_begun_again(toml: Path, tmp_path: Path) -> None:
    finish(searcher(toml, tmp_path / "run", "locked", "1", "1"), (-signal.SIGKILL,))
    assert not (tmp_path / "run" / "archive.sqlite").exists()
    finish(searcher(toml, tmp_path / "run", "_next", "1", "1"), (-signal.SIGKILL,))
    with Archive(tmp_path / "run" / "archive.sqlite", create=False) as archive:
        assert archive.counts()["evaluated"] == 1


# --- interrupted ----------------------------------------------------------------------------------------

CLI = "from evoptim.cli import main; main()"


def test_ctrl_c_finishes_the_batch(toml: Path, reference: Path, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    process = python("-c", CLI, "search", str(toml), "-o", str(run))
    assert process.stdout is not None
    assert "1/60 evaluated" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, told = finish(process)
    assert "finishing the batch; Ctrl-C again stops at once" in told
    assert f"go on with: evoptim search --resume '{run}'" in told
    assert len(contents(run)) < len(contents(reference))
    process = python("-c", CLI, "search", "--resume", str(run), "--json")
    out, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (0, "")
    *_, last = map(json.loads, out.splitlines())
    assert last["winner"]["loss"] <= last["winner"]["start_loss"]
    assert contents(run) == contents(reference)


def test_ctrl_c_twice_stops_at_once(tmp_path: Path) -> None:
    config = small(budget={"evaluations": 5}, evaluation={"steps": 500})
    path, run = tmp_path / "search.toml", tmp_path / "run"
    path.write_text(to_toml(config))
    finish(searcher(path, tmp_path / "uninterrupted"))
    process = python("-c", CLI, "search", str(path), "-o", str(run), "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["evaluated"] == 1
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    finish(process, (130,))
    assert len(contents(run)) == 4 + 1 + 4  # the run, the start and its trainings, and nothing of the batch
    finish(searcher(path, run))
    assert contents(run) == contents(tmp_path / "uninterrupted")


# --- the same and not the same --------------------------------------------------------------------------


def test_same_seed_same_contents_other_seed_others(toml: Path, reference: Path, tmp_path: Path) -> None:
    finish(searcher(toml, tmp_path / "again"))
    assert contents(tmp_path / "again") == contents(reference)
    other = small(budget={"evaluations": 60}, seed=1)
    start_search(other, make_evaluator(other), tmp_path / "other")
    texts = [{row[4] for row in contents(run) if len(row) == 12} for run in (reference, tmp_path / "other")]
    assert len(texts[0] & texts[1]) < 10


def test_resuming_what_has_ended_changes_nothing(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "run")
    first, second = (resume_search(tmp_path / "run", make_evaluator) for _ in range(2))
    assert first.winner == second.winner
    assert first.winner is not None
    assert contents(tmp_path / "run") == contents(reference)


def test_a_lost_best_rule_and_configuration_are_written_again(half: Path) -> None:
    kept = {name: (half / name).read_text() for name in ("best.rule", "search.toml")}
    for name in kept:
        (half / name).unlink()
    resume_search(half, make_evaluator, should_stop=lambda: True)
    assert (half / "search.toml").read_text() == kept["search.toml"]
    assert (half / "best.rule").exists()


# --- refused --------------------------------------------------------------------------------------------


def state(run: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in run.iterdir()}


def test_a_second_process_is_refused(half: Path, toml: Path) -> None:
    before = state(half)
    with open(half / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments, message in (
            (("--resume", str(half)), "is in use by another process"),
            ((str(toml), "-o", str(half)), "is not empty"),
        ):
            _, told = finish(python("-c", CLI, "search", *arguments), (2,))
            assert told.startswith("error: ")
            assert message in told
            assert "remedy: " in told
        with pytest.raises(UserError, match="is in use by another process"):
            resume_search(half, make_evaluator)
    assert state(half) == before


def test_two_starts_at_once(toml: Path, tmp_path: Path) -> None:
    """One of them runs; the other is refused, whoever is first."""
    both = [searcher(toml, tmp_path / "run") for _ in range(2)]
    ends = sorted(finish(p, (0, 2)) for p in both)
    assert ends[0][0] == 0
    assert ends[1][0] == 0 or "in use by another process" in ends[1][1] or "is not empty" in ends[1][1]
    assert len(list((tmp_path / "run").glob("archive.sqlite"))) == 1


def change_steps(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = small(budget={"evaluations": 60}, evaluation={"steps": 21})
    with Archive(run / "archive.sqlite", create=False) as archive:
        archive.set_meta({"config": other.model_dump_json()})


def change_data(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NoisyQuadratic, "data", property(lambda self: b"other"))


def change_code(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoptim.runtime.evaluator.CODE_VERSION", 999)


@pytest.mark.parametrize("change", [change_steps, change_data, change_code])
def test_other_results_are_not_mixed_in(
    half: Path, change: Callable[[Path, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(half, monkeypatch)
    before = contents(half)
    with pytest.raises(
        UserError, match=r"was evaluated with population-.*, this installation has population-"
    ) as caught:
        resume_search(half, make_evaluator)
    assert "results of both would not be comparable" in caught.value.remedy
    assert contents(half) == before


def test_the_evaluator_is_that_of_the_stored_configuration(half: Path) -> None:
    """Whatever search.toml says by now."""
    (half / "search.toml").write_text("steps = nonsense")
    seen: list[SearchConfig] = []

    def wiring(config: SearchConfig) -> Any:
        seen.append(config)
        return make_evaluator(config)

    resume_search(half, wiring, should_stop=lambda: True)
    assert seen == [CONFIG]
