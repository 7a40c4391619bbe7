"""A crew without processes, whose workers do as they are told, on a clock that only waiting moves."""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fakes import FakeEvaluator

from evoptim.search.workers import Answering, Gone, Said
from evoptim.search.workers.messages import READY

Deed = Literal["answer", "crash", "hang", "garble", "late", "twice", "false start"]
"""What a worker does with a request; ``late`` answers after the lease is over, when it has been given up."""

Fate = Callable[[int, Sequence[str]], Deed]
"""What a worker (by its number) does with the texts of some programs."""


@dataclass
class FakeCrew:
    """Answers with a `FakeEvaluator`.

    ``start_hash`` is of a program that never fails, ``told`` are the programs of every request with the worker that
    got it.
    """

    size: int
    fate: Fate = lambda worker, texts: "answer"
    start_hash: str = ""
    starts: int = 0
    now: float = 0.0
    told: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    said: deque[Said | Gone] = field(default_factory=deque)
    late: list[Said] = field(default_factory=list)
    closed: bool = False

    def clock(self) -> float:
        return self.now

    def start(self, worker: int) -> None:
        self.starts += 1
        self.stop(worker)
        self.said.append(Gone(worker, "fell over") if self.fate(worker, ()) == "false start" else Said(worker, READY))

    def stop(self, worker: int) -> None:
        self.said = deque(e for e in self.said if e.worker != worker)

    def send(self, worker: int, line: str) -> None:
        texts = tuple(json.loads(line)["rules"])
        self.told.append((worker, texts))
        answer = Said(worker, Answering(lambda _: FakeEvaluator(start=self.start_hash)).answer(line))
        match self.fate(worker, texts):
            case "crash":
                self.said.append(Gone(worker, "was killed by signal 11"))
            case "hang":
                pass
            case "garble":
                self.said.append(Said(worker, answer.line[: len(answer.line) // 2]))
            case "late":
                self.late.append(answer)
            case "twice":
                self.said += [answer, answer]
            case _:
                self.said.append(answer)

    def wait(self, seconds: float) -> list[Said | Gone]:
        """One event; where there is none, time passes, and those who were late speak at last."""
        assert math.isfinite(seconds), "waiting for ever"
        if self.said:
            return [self.said.popleft()]
        self.now += seconds
        late, self.late = self.late, []
        return [*late]

    def close(self) -> None:
        self.closed = True
