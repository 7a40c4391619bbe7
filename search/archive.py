"""The record of a search: one SQLite file in WAL mode that is never ahead of nor behind what was reported.

Only the driver writes. One transaction holds one batch: its programs, their trainings and its timing, or nothing of
it. Trainings are keyed by (canonical hash, setting, seed, evaluator version), so writing one twice changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from evoptim.dsl import UserError, parse

from .evaluator import Score, Trial
from .evolution import Batch, Proposal

SCHEMA = 1
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE programs (
    id INTEGER PRIMARY KEY,          -- number of the child, in the order of creation
    batch INTEGER NOT NULL,
    parent INTEGER NOT NULL,         -- -1 for the first program
    hash TEXT NOT NULL,              -- of the canonical form
    text TEXT NOT NULL,              -- the genome, redundant statements included
    mutation TEXT NOT NULL,
    redraws INTEGER NOT NULL,        -- invalid children drawn before this one
    status TEXT NOT NULL,            -- ok, diverged, timeout, error
    duplicate INTEGER NOT NULL,      -- whether the hash had been met before
    loss REAL,                       -- NULL unless ok
    setting TEXT NOT NULL,           -- the best one, as JSON
    reason TEXT NOT NULL
);
CREATE INDEX programs_by_hash ON programs (hash);
CREATE TABLE trainings (
    hash TEXT NOT NULL,
    stage TEXT NOT NULL,             -- search, selection
    setting TEXT NOT NULL,
    seed INTEGER NOT NULL,
    evaluator TEXT NOT NULL,
    status TEXT NOT NULL,
    loss REAL,
    reason TEXT NOT NULL,
    PRIMARY KEY (hash, setting, seed, evaluator)
) WITHOUT ROWID;
CREATE TABLE timings (batch INTEGER PRIMARY KEY, propose REAL NOT NULL, train REAL NOT NULL, at TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredTrial:
    """A training as the archive has it."""

    setting: Mapping[str, float]
    seed: int
    status: str
    loss: float
    reason: str = ""


class Archive:
    """An open archive; a context manager that closes it.

    Args:
        path: The file.
        create: Make a new one; it must not exist. Otherwise it must exist and have this version's schema.

    Raises:
        UserError: It exists already, does not exist, is damaged, or was written by another version.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path
        if create and path.exists():
            raise UserError(f"{path} exists already", "resume it with --resume, or choose another run directory")
        if not create and not path.is_file():
            raise UserError(f"there is no archive {path}", "give a run directory that `evoptim search` made")
        with self._explained():
            self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        try:
            self._open(create)
        except BaseException:
            self._db.close()
            raise

    def _open(self, create: bool) -> None:
        with self._explained():
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            if create:
                with self._transaction():
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._db.execute(statement)
                    self._put("schema", str(SCHEMA))
                return
            found = self.meta("schema") if self._has_tables() else None
        if found != str(SCHEMA):
            raise UserError(
                f"{self.path} has schema version {found or 'unknown'}, this evoptim reads version {SCHEMA}",
                "resume it with the version of evoptim that wrote it, or start a new run",
            )

    def _has_tables(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone())

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _explained(self) -> Generator[None]:
        """Turn what SQLite says about the file into a message with a way back."""
        try:
            yield
        except sqlite3.Error as error:
            raise UserError(
                f"{self.path}: {error}",
                "what was reported before is in the archive: free disk space or mend the permissions, then --resume; "
                "a malformed file is recovered with `sqlite3 archive.sqlite .recover`",
            ) from error

    @contextmanager
    def _transaction(self) -> Generator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # meta

    def meta(self, key: str) -> str | None:
        """A value of the run itself: ``config``, ``start``, ``evaluator``, ``winner``."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Store values of the run itself, all or none."""
        with self._explained(), self._transaction():
            for key, value in values.items():
                self._put(key, value)

    def _put(self, key: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # programs and trainings

    def record(
        self,
        batch: Batch,
        scores: Mapping[str, Score],
        trials: Mapping[str, Sequence[Trial]],
        evaluator: str,
        timing: tuple[float, float, str],
    ) -> None:
        """Store a batch: every program in order, the trainings of the new ones, and how long it took."""
        new = {p.index for p in batch.new}
        with self._explained(), self._transaction():
            self._db.executemany(
                "INSERT INTO programs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_program_row(p, batch.number, scores[p.hash], p.index not in new) for p in batch.proposals],
            )
            self._trainings("search", trials, evaluator)
            self._db.execute("INSERT INTO timings VALUES (?, ?, ?, ?)", (batch.number, *timing))

    def record_trainings(self, stage: str, trials: Mapping[str, Sequence[Trial]], evaluator: str) -> None:
        """Store trainings outside the search proper, such as those of the finalists."""
        with self._explained(), self._transaction():
            self._trainings(stage, trials, evaluator)

    def _trainings(self, stage: str, trials: Mapping[str, Sequence[Trial]], evaluator: str) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO trainings VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (digest, stage, _json(t.setting), t.seed, evaluator, t.status, _finite(t), t.reason)
                for digest, group in trials.items()
                for t in group
            ],
        )

    def batches(self) -> Iterator[tuple[Batch, dict[str, Score]]]:
        """Every batch with the scores of its new programs, in order: what a resumed search is told."""
        rows = self._db.execute(
            "SELECT id, batch, parent, hash, text, mutation, redraws, status, duplicate, loss, setting, reason "
            "FROM programs ORDER BY id"
        )
        number, proposals, new = 0, list[Proposal](), dict[str, Score]()
        for (
            index,
            batch,
            parent,
            digest,
            text,
            mutation,
            redraws,
            status,
            duplicate,
            loss,
            setting,
            reason,
        ) in rows:
            if batch != number:
                yield Batch(number, tuple(proposals)), new
                number, proposals, new = batch, [], {}
            score = Score(status, float("inf") if loss is None else loss, json.loads(setting), reason)
            known = score if duplicate and digest not in new else None
            proposals.append(Proposal(index, parent, parse(text), digest, mutation, redraws, known))
            if not duplicate:
                new[digest] = score
        if proposals:
            yield Batch(number, tuple(proposals)), new

    def best(self) -> Iterator[tuple[int, str, str, float]]:
        """The distinct programs from the best on: number, hash, text, loss."""
        query = "SELECT id, hash, text, loss FROM programs WHERE status = 'ok' AND NOT duplicate ORDER BY loss, id"
        yield from self._db.execute(query)

    def lineage(self, index: int) -> list[tuple[int, str, float | None, str]]:
        """The ancestors of a program, the first one first: number, mutation, loss, text."""
        out: list[tuple[int, str, float | None, str]] = []
        while index >= 0:
            text, _, parent, mutation, loss = self.program(index)
            out.append((index, mutation, loss, text))
            index = parent
        return out[::-1]

    def program(self, index: int) -> tuple[str, str, int, str, float | None]:
        """Text, hash, parent, mutation and loss of a program.

        Raises:
            UserError: There is no program of that number.
        """
        row = self._db.execute(
            "SELECT text, hash, parent, mutation, loss FROM programs WHERE id = ?", (index,)
        ).fetchone()
        if row is None:
            raise UserError(f"{self.path} has no program {index}", "programs are numbered from 0 in order of creation")
        return row

    def trials(self, digest: str, stage: str) -> list[StoredTrial]:
        """The trainings of a program in one stage."""
        rows = self._db.execute(
            "SELECT setting, seed, status, loss, reason FROM trainings WHERE hash = ? AND stage = ? "
            "ORDER BY setting, seed",
            (digest, stage),
        )
        return [
            StoredTrial(json.loads(setting), seed, status, float("inf") if loss is None else loss, reason)
            for setting, seed, status, loss, reason in rows
        ]

    def contents(self) -> list[tuple[Any, ...]]:
        """Everything that a repetition of the search must reproduce: all but the timings."""
        queries = (
            "SELECT * FROM meta ORDER BY key",
            "SELECT * FROM programs ORDER BY id",
            "SELECT * FROM trainings ORDER BY hash, setting, seed, evaluator",
        )
        return [row for q in queries for row in self._db.execute(q)]

    def counts(self) -> dict[str, int]:
        """Programs generated, evaluated, met before, diverged and failed, and invalid draws."""
        row = self._db.execute(
            "SELECT COUNT(*), SUM(NOT duplicate), SUM(duplicate), "
            "SUM(NOT duplicate AND status = 'diverged'), SUM(NOT duplicate AND status NOT IN ('ok', 'diverged')), "
            "SUM(redraws) FROM programs"
        ).fetchone()
        names = ("generated", "evaluated", "duplicates", "diverged", "failed", "invalid")
        return {n: int(v or 0) for n, v in zip(names, row, strict=True)}

    def seconds(self) -> tuple[float, float]:
        """Time spent proposing and training so far."""
        row = self._db.execute("SELECT COALESCE(SUM(propose), 0), COALESCE(SUM(train), 0) FROM timings").fetchone()
        return float(row[0]), float(row[1])

    def progress(self) -> Iterable[tuple[int, float]]:
        """The number of distinct programs evaluated and the best loss, whenever it improved."""
        best, seen = float("inf"), 0
        for duplicate, loss in self._db.execute("SELECT duplicate, loss FROM programs ORDER BY id"):
            seen += not duplicate
            if loss is not None and loss < best:
                best = loss
                yield seen, best


def _program_row(p: Proposal, batch: int, score: Score, duplicate: bool) -> tuple[Any, ...]:
    loss = score.loss if score.status == "ok" else None
    setting = _json(score.setting)
    head = (p.index, batch, p.parent, p.hash, p.rule.text, p.mutation, p.redraws)
    return (*head, score.status, int(duplicate), loss, setting, score.reason)


def _json(value: Mapping[str, float]) -> str:
    return json.dumps(dict(value), sort_keys=True)


def _finite(trial: Trial) -> float | None:
    return trial.loss if trial.status == "ok" else None
