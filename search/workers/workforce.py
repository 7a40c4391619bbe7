"""The driver's side: leases programs to workers, and gets every result in the end, whatever becomes of the workers.

A lease is lost when its worker goes, does not answer in time or answers garbage. The worker is started anew, and what
was leased is leased again, in halves, so that a program that no worker survives is found: it is put on the poison list
and its trials are errors. Losses do not depend on any of this, for those of one program do not depend on its batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evoptim.dsl import Rule, UserError, canonical_hash

from ..evaluator import StoredTrial, Trial
from .leases import Chunk, Chunks
from .messages import READY, Garbage, Job, read_answer, request
from .poison import PoisonList

START_SECONDS = 300.0
"""What a worker may take to be ready: it imports its libraries, from a slow disk maybe."""

FALSE_STARTS = 3
"""Times in a row that a worker may fail before it is ready; then it is given up."""


@dataclass(frozen=True, slots=True)
class Said:
    """A worker has said a line."""

    worker: int
    line: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A worker has gone, and how."""

    worker: int
    reason: str


class Crew(Protocol):
    """Workers of one kind, numbered from 0. One says `READY` when it is started, and then a line for every line."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def start(self, worker: int) -> None:
        """Start a worker, in place of one that was there and is never heard again."""
        ...

    def stop(self, worker: int) -> None:
        """End a worker, if it is there."""
        ...

    def send(self, worker: int, line: str) -> None:
        """Say a line to a worker that has been started; returns at once."""
        ...

    def wait(self, seconds: float) -> Sequence[Said | Gone]:
        """What has happened, as soon as something has or the time is over. Who has gone is not started again."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...


@dataclass(frozen=True, slots=True)
class _Lease:
    number: int
    chunk: Chunk


@dataclass(slots=True)
class _Worker:
    """What is known of a worker. ``deadline`` is when it must be ready, or have answered."""

    started: bool = False
    ready: bool = False
    lease: _Lease | None = None
    deadline: float = math.inf
    false_starts: int = 0

    @property
    def given_up(self) -> bool:
        return self.false_starts >= FALSE_STARTS


@dataclass(slots=True)
class _Round:
    """One batch on its way."""

    job: Job
    rules: Sequence[Rule]
    chunks: Chunks
    results: dict[int, Sequence[Trial]] = field(default_factory=dict[int, Sequence[Trial]])


class Workforce:
    """Trains batches on a crew; a context manager that ends the workers.

    Args:
        crew: The workers; they are started when they are first needed.
        lease_seconds: What a worker may take for its part of a batch.
        retries: How often a program that lost a lease alone is leased again.
        poison: The list of programs that are never leased.
        clock: Seconds that only ever grow.
    """

    def __init__(
        self,
        crew: Crew,
        lease_seconds: float,
        retries: int,
        poison: PoisonList,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.crew, self.lease_seconds, self.retries = crew, lease_seconds, retries
        self.poison, self.clock = poison, clock
        self._workers = [_Worker() for _ in range(crew.size)]
        self._leases = 0

    def __enter__(self) -> Workforce:
        return self

    def __exit__(self, *_: object) -> None:
        self.crew.close()

    def evaluate(self, job: Job, rules: Sequence[Rule]) -> list[Sequence[Trial]]:
        """All trials of every rule, setting by setting and seed by seed.

        Raises:
            UserError: No worker can be started, or they would not train as the driver does.
        """
        results: dict[int, Sequence[Trial]] = {}
        if self.poison:
            for i, rule in enumerate(rules):
                if (why := self.poison.reason(canonical_hash(rule), job.version)) is not None:
                    results[i] = _errors(job, why)
        sound = [i for i in range(len(rules)) if i not in results]
        running = _Round(job, rules, Chunks(sound, self.crew.size, self.retries), results)
        self._begin()
        while len(results) < len(rules):
            self._hand_out(running)
            for event in self.crew.wait(self._patience()):
                self._heed(event, running)
            self._expire(running)
        return [results[i] for i in range(len(rules))]

    def _begin(self) -> None:
        """Start who is not at work, and who still trains for a batch that was broken off."""
        self._refuse_nobody("could not be started")
        for number, worker in enumerate(self._workers):
            if not worker.given_up and (not worker.started or worker.lease is not None):
                self._start(number)

    def _start(self, number: int) -> None:
        worker = self._workers[number]
        self.crew.start(number)
        worker.started, worker.ready, worker.lease = True, False, None
        worker.deadline = self.clock() + START_SECONDS

    def _hand_out(self, running: _Round) -> None:
        """A lease to everybody who waits for one."""
        working = {i for i, w in enumerate(self._workers) if not w.given_up}
        for number, worker in enumerate(self._workers):
            if not worker.ready or worker.lease is not None:
                continue
            chunk = running.chunks.take(number, working)
            if chunk is None:
                continue
            self._leases += 1
            worker.lease = _Lease(self._leases, chunk)
            worker.deadline = self.clock() + self.lease_seconds
            self.crew.send(number, request(self._leases, running.job, [running.rules[i] for i in chunk.programs]))

    def _patience(self) -> float:
        """Seconds until the next deadline."""
        return max(0.0, min(w.deadline for w in self._workers) - self.clock())

    def _heed(self, event: Said | Gone, running: _Round) -> None:
        worker = self._workers[event.worker]
        if isinstance(event, Gone):
            self._fail(event.worker, event.reason, running)
        elif not worker.ready:
            if event.line == READY:
                worker.ready, worker.deadline = True, math.inf
            else:
                self._fail(event.worker, f"said {event.line!r:.60} and not that it is ready", running)
        elif worker.lease is not None:
            self._take(event.worker, worker.lease, event.line, running)
        # else it speaks unasked: an answer too many, which nobody needs

    def _take(self, number: int, lease: _Lease, line: str, running: _Round) -> None:
        """The answer to a lease."""
        try:
            rules = [running.rules[i] for i in lease.chunk.programs]
            trials = read_answer(line, lease.number, running.job, rules)
        except Garbage as error:
            self._fail(number, f"gave {error}", running)
            return
        running.results |= dict(zip(lease.chunk.programs, trials, strict=True))
        worker = self._workers[number]
        worker.lease, worker.deadline, worker.false_starts = None, math.inf, 0

    def _expire(self, running: _Round) -> None:
        """Give up those who are late."""
        now = self.clock()
        for number, worker in enumerate(self._workers):
            if now >= worker.deadline:
                limit = self.lease_seconds if worker.ready else START_SECONDS
                self._fail(number, f"gave no answer within {limit:g} s", running)

    def _fail(self, number: int, reason: str, running: _Round) -> None:
        """A worker has failed: start it anew, and queue what it had."""
        worker = self._workers[number]
        lease, worker.lease = worker.lease, None
        if not worker.ready:
            worker.false_starts += 1
        if lease is not None:
            self._lost(number, lease.chunk, reason, running)
        if not worker.given_up:
            self._start(number)
            return
        self.crew.stop(number)
        worker.started, worker.deadline = False, math.inf
        self._refuse_nobody(reason)

    def _refuse_nobody(self, reason: str) -> None:
        if all(w.given_up for w in self._workers):
            raise UserError(f"no worker can be started: the last one {reason}", "mend that, or search without workers")

    def _lost(self, number: int, chunk: Chunk, reason: str, running: _Round) -> None:
        guilty = running.chunks.lost(chunk, number)
        if guilty is None:
            return
        job, rule = running.job, running.rules[guilty]
        why = f"{self.retries + 1} workers in a row failed with it alone, the last one {reason}"
        self.poison.add(canonical_hash(rule), job.version, why)
        running.results[guilty] = _errors(job, why)


def _errors(job: Job, reason: str) -> list[StoredTrial]:
    return [StoredTrial(dict(s), seed, "error", math.inf, reason) for s in job.settings for seed in job.seeds]


@dataclass(frozen=True, slots=True)
class WorkerEvaluator:
    """An `Evaluator` whose trainings are done by a workforce.

    Args:
        force: The workforce.
        what: What the workers make their evaluator from.
        version: The version of that evaluator, which theirs must have.
    """

    force: Workforce
    what: str
    version: str

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[Sequence[Trial]]:
        """All trials of every rule, setting by setting and seed by seed.

        Raises:
            UserError: No worker can be started, or they would not train as the driver does.
        """
        return self.force.evaluate(Job(self.what, self.version, settings, seeds), rules)
