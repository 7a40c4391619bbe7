"""A worker process that trains nothing and does to itself what a program's first constant says."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fakes import FakeEvaluator

from evoptim.dsl import Rule
from evoptim.search import Trial
from evoptim.search.workers import serve

CRASH, HANG, EXIT, CHATTER, FLOOD, STOP = (f"{k}.5 * g" for k in range(11, 17))


class Unruly(FakeEvaluator):
    """Does what its programs want."""

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        text = "".join(r.text for r in rules)
        print("programs may print, and it is no answer")
        if CRASH in text:
            os.kill(os.getpid(), signal.SIGSEGV)
        if HANG in text:
            time.sleep(1000)
        if STOP in text:
            os.kill(os.getpid(), signal.SIGSTOP)
        if EXIT in text:
            sys.exit("no more")
        if CHATTER in text:
            write("what?\n")
        if FLOOD in text:
            while True:
                write("x" * (1 << 20))
        return super().evaluate(rules, settings, seeds)


def write(text: str) -> None:
    """Say something to the driver, past everything that would keep one from it."""
    for descriptor in range(3, 20):
        if os.path.realpath(f"/proc/self/fd/{descriptor}").rpartition("/")[2].startswith("pipe:"):
            os.write(descriptor, text.encode())
            return


def make(job: str) -> Unruly:
    return Unruly()


if __name__ == "__main__":
    serve(make)
