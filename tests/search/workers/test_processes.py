"""Real processes that crash, hang, stop, talk nonsense or are killed; and a search that does not notice."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import unruly
from fakes import FakeEvaluator, small

from evoptim.dsl import Rule, load, parse
from evoptim.runtime import PopulationEvaluator
from evoptim.search import Archive, Trial, start_search
from evoptim.search.workers import PoisonList, Processes, WorkerEvaluator, Workforce, processes
from evoptim.wiring import make_evaluator, search_bench
from evoptim.workers import COMMAND, Staff, working

UNRULY = (sys.executable, str(Path(__file__).with_name("unruly.py")))
SETTINGS, SEEDS = [{"lr": 0.01}, {"lr": 0.1}], [0, 1]


def scaled(factor: str) -> Rule:
    return parse(f"def r(w, g, *, lr=0.1):\n    return w - lr * ({factor})\n")


GOOD = [scaled(f"{k}.0 * g") for k in range(2, 7)]


def rows(results: Sequence[Sequence[Trial]]) -> list[list[tuple[Any, ...]]]:
    return [[(dict(t.setting), t.seed, t.status, t.loss, t.reason) for t in group] for group in results]


CASES = {
    "crash": (unruly.CRASH, "was killed by signal 11"),
    "hang": (unruly.HANG, "gave no answer within 2 s"),
    "stop": (unruly.STOP, "gave no answer within 2 s"),
    "exit": (unruly.EXIT, "ended with code 1: no more"),
    "chatter": (unruly.CHATTER, "gave an answer that is no JSON: 'what?'"),
    "flood": (unruly.FLOOD, "went on without answering"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_program_that_no_process_survives_is_an_error(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.5)
    monkeypatch.setattr(processes, "LONGEST_LINE", 4 << 20)
    factor, reason = CASES[case]
    with Workforce(Processes(UNRULY, 2), 2.0, 0, PoisonList()) as force:
        evaluator = WorkerEvaluator(force, "a job", "fake-1")
        found = rows(evaluator.evaluate([*GOOD[:1], scaled(factor), *GOOD[1:]], SETTINGS, SEEDS))
        again = rows(evaluator.evaluate(GOOD, SETTINGS, SEEDS))
    guilty = found.pop(1)
    assert found == again == rows(FakeEvaluator().evaluate(GOOD, SETTINGS, SEEDS))
    assert {(row[2], row[4]) for row in guilty} == {
        ("error", f"1 workers in a row failed with it alone, the last one {reason}")
    }


def test_a_request_longer_than_a_pipe_is_sent_whole() -> None:
    rules = [rule.replace(doc="long " * 200) for rule in GOOD * 50]
    with Workforce(Processes(UNRULY, 1), 60.0, 0, PoisonList()) as force:
        found = WorkerEvaluator(force, "a job", "fake-1").evaluate(rules, SETTINGS, SEEDS)
    assert rows(found) == rows(FakeEvaluator().evaluate(rules, SETTINGS, SEEDS))


def test_a_worker_ends_with_its_driver() -> None:
    process = subprocess.Popen(UNRULY, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert b"ready" in process.stdout.readline()
    process.stdin.write(b"{")  # what a killed driver has not finished
    process.stdin.close()
    with process.stdout:
        assert process.wait(10) in (0, 1)


def workers_of(driver: int) -> list[int]:
    """The worker processes of a process."""
    found = list[int]()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == driver and COMMAND[-1] in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


class Killer(threading.Thread):
    """Kills two workers of this process, one after the other."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended, self.killed = threading.Event(), set[int]()

    def run(self) -> None:
        while len(self.killed) < 2 and not self.ended.wait(0.3):
            for pid in [p for p in workers_of(os.getpid()) if p not in self.killed][:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.killed.add(pid)


def contents(run: Path) -> list[tuple[Any, ...]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return archive.contents()


def test_trainings_are_the_same_to_the_bit_and_so_is_a_search_whose_workers_are_killed(tmp_path: Path) -> None:
    config, poison = small(budget={"evaluations": 60}, workers={"retries": 9}), PoisonList()
    start_search(config, make_evaluator(config), tmp_path / "alone")
    e = config.evaluation
    killer = Killer()
    with working(config, poison, Staff(processes=2)) as laboratory:
        evaluator = laboratory(search_bench(config))
        rules = [load(n) for n in ("lion", "adamw", "sgd")]
        local = PopulationEvaluator(e.task, e.steps, e.batch_size or 0, e.schedule)
        assert evaluator.version == local.version
        assert rows(evaluator.evaluate(rules, SETTINGS, SEEDS)) == rows(local.evaluate(rules, SETTINGS, SEEDS))
        killer.start()
        start_search(config, evaluator, tmp_path / "together")
        killer.ended.set()
    assert contents(tmp_path / "together") == contents(tmp_path / "alone")
    assert killer.killed
    assert not poison
    assert not workers_of(os.getpid())
