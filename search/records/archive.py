"""The record of a search: one SQLite file in WAL mode that is never ahead of nor behind what was reported.

Only the driver writes. One transaction holds one batch: its programs, their trainings and its timing, or nothing of
it. Trainings are keyed by (canonical hash, setting, seed, evaluator version), so writing one twice changes nothing.
With every transaction goes a seal, the sum of a hash of every row: a file that a disk or a copy has damaged is
refused when it is opened, and never read in part.

What is done with the programs besides searching, such as a funnel, ablation or tuning, leaves entries in the journal:
JSON documents, numbered within their kind. Archives of schema 1 have none, and get one with their first entry.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Collection, Container, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from evoptim.dsl import UserError

from ..evaluator import Score, StoredTrial, Trial
from ..proposing.evolution import Batch, Proposal
from .journal import EXTENSION
from .reading import Reader

SCHEMA = 2
_READABLE = ("1", "2")
_JOURNAL = """
CREATE TABLE IF NOT EXISTS journal (
    kind TEXT NOT NULL,              -- one of journal.py
    number INTEGER NOT NULL,         -- within its kind, from 0 on
    value TEXT NOT NULL,             -- JSON
    at TEXT NOT NULL,
    PRIMARY KEY (kind, number)
) WITHOUT ROWID;
"""
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
    status TEXT NOT NULL,            -- ok, diverged, timeout, error, stopped (early), vetoed (untrained)
    duplicate INTEGER NOT NULL,      -- why it was not trained: 0 it was, 1 known hash, 2 fingerprint, 3 veto
    loss REAL,                       -- NULL unless ok
    setting TEXT NOT NULL,           -- the best one, as JSON
    reason TEXT NOT NULL
);
CREATE TABLE trainings (
    hash TEXT NOT NULL,
    stage TEXT NOT NULL,             -- search, selection, or what a journal entry names
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
_INSERT = {
    "meta": "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    "programs": "INSERT INTO programs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "trainings": "INSERT INTO trainings VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (hash, setting, seed, evaluator) DO NOTHING",
    "timings": "INSERT INTO timings VALUES (?, ?, ?, ?)",
    "journal": "INSERT INTO journal VALUES (?, ?, ?, ?)",
}
_SELECT = {
    "meta": "SELECT * FROM meta WHERE key <> 'seal' ORDER BY key",
    "programs": "SELECT * FROM programs ORDER BY id",
    "trainings": "SELECT * FROM trainings ORDER BY hash, setting, seed, evaluator",
    "timings": "SELECT * FROM timings ORDER BY batch",
    "journal": "SELECT * FROM journal ORDER BY kind, number",
}
_LAST = "batch > 0 AND batch = (SELECT MAX(batch) FROM timings)"
_KNOWN = ("", "hash", "fingerprint", "veto")
"""Why a program was not trained, by the number in the column ``duplicate``."""
_DAMAGED = (
    "restore it from a copy if there is one; `sqlite3 archive.sqlite .recover` shows what can still be read, and the "
    "search can be begun anew from search.toml"
)


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
        self._sum = 0  # of the hashes of all rows; the seal is its last 64 bits
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
                    for statement in filter(str.strip, (_TABLES + _JOURNAL).split(";")):
                        self._db.execute(statement)
                    self._put("schema", str(SCHEMA))
                return
            tables = {str(row[0]) for row in self._db.execute("SELECT name FROM sqlite_master")}
        if not tables:
            raise UserError(f"{self.path} is empty: the search was stopped before it began", "delete it and begin anew")
        found = self.meta("schema") if "meta" in tables else None
        if found not in _READABLE:
            raise UserError(
                f"{self.path} has schema version {found or 'unknown'}, this evoptim reads {' and '.join(_READABLE)}",
                "resume it with the version of evoptim that wrote it, or start a new run",
            )
        self._verify()

    def _verify(self) -> None:
        """Compare all rows with the seal, as they were at one moment: a search may be writing."""
        with self._explained():
            self._db.execute("BEGIN")
            sound = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0] == "ok"
            known = _SELECT if self._has_journal else {t: q for t, q in _SELECT.items() if t != "journal"}
            self._sum = sum(_hash(table, row) for table, query in known.items() for row in self._db.execute(query))
            seal = self.meta("seal")
            self._db.execute("COMMIT")
        if not sound or seal != self._seal:
            raise UserError(f"{self.path} is damaged: its contents are not what was written", _DAMAGED)

    @property
    def _has_journal(self) -> bool:
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'journal'").fetchone() is not None

    @property
    def _seal(self) -> str:
        return f"{self._sum % 2**64:016x}"

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
        except sqlite3.OperationalError as error:
            raise UserError(
                f"{self.path}: {error}",
                "what was reported before is in the archive: free disk space or mend the permissions, then --resume",
            ) from error
        except sqlite3.Error as error:
            raise UserError(f"{self.path} is damaged: {error}", _DAMAGED) from error

    @contextmanager
    def _transaction(self) -> Generator[None]:
        before = self._sum
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute(_INSERT["meta"], ("seal", self._seal))
            self._db.execute("COMMIT")
        except BaseException:
            self._sum = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Write rows, and add to the sum those that were not there."""
        for row in rows:
            if self._db.execute(_INSERT[table], row).rowcount:
                self._sum += _hash(table, row)

    def _rows(self, query: str, parameters: tuple[Any, ...] = ()) -> Iterator[Any]:
        with self._explained():
            yield from self._db.execute(query, parameters)

    # meta

    def meta(self, key: str) -> str | None:
        """A value of the run itself: ``config``, ``start``, ``evaluator``, ``winner``."""
        row = next(self._rows("SELECT value FROM meta WHERE key = ?", (key,)), None)
        return None if row is None else str(row[0])

    def set_meta(self, values: Mapping[str, str]) -> None:
        """Store values of the run itself, all or none."""
        with self._explained(), self._transaction():
            for key, value in values.items():
                self._put(key, value)

    def extend(self, config: str, entry: Mapping[str, Any], *, reopen: bool) -> None:
        """Let a run that has ended go on: a new configuration, no winner, and an entry of the journal that says so.

        Args:
            config: The configuration as JSON.
            entry: The journal's document, of kind `EXTENSION`.
            reopen: Take out the last batch, unless it is the first; its trainings stay.
        """
        with self._explained(), self._transaction():
            self._enter([(EXTENSION, entry)])
            self._put("config", config)
            self._delete("meta", "key = 'winner'")
            if reopen:
                self._delete("programs", _LAST)
                self._delete("timings", _LAST)

    def _delete(self, table: str, where: str) -> None:
        """Delete rows, and take them out of the sum."""
        condition = f" WHERE {where}"
        rows = self._db.execute(f"SELECT * FROM {table}{condition}").fetchall()  # noqa: S608 - both are ours
        self._sum -= sum(_hash(table, row) for row in rows)
        self._db.execute(f"DELETE FROM {table}{condition}")  # noqa: S608

    def _put(self, key: str, value: str) -> None:
        old = self.meta(key)
        self._sum -= 0 if old is None else _hash("meta", (key, old))
        self._insert("meta", [(key, value)])

    # programs and trainings

    def record(
        self,
        batch: Batch,
        scores: Mapping[str, Score],
        trials: Mapping[str, Sequence[Trial]],
        evaluator: str,
        timing: tuple[float, float, str],
        others: Mapping[str, Mapping[str, Sequence[Trial]]] = MappingProxyType({}),
        entries: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """Store a batch: every program in order, the trainings of the new ones, and how long it took.

        Where there are more tasks than one, ``others`` has the trainings on the further ones by evaluator. ``entries``
        are kind and value of what the journal says of the batch.
        """
        new = {p.index for p in batch.new}
        with self._explained(), self._transaction():
            rows = (
                _program_row(p, batch.number, p.score or scores[p.twin or p.hash], _why(p, new))
                for p in batch.proposals
            )
            self._insert("programs", rows)
            for version, group in ({evaluator: trials} | dict(others)).items():
                self._trainings("search", group, version)
            self._insert("timings", [(batch.number, *timing)])
            self._enter(entries)

    def record_trainings(
        self,
        stage: str,
        trials: Mapping[str, Sequence[Trial]],
        evaluator: str,
        entries: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """Store trainings outside the search proper, such as those of the finalists, and what the journal says of them.

        Args:
            stage: What they are for.
            trials: The trainings by canonical hash.
            evaluator: The version of the evaluator that made them.
            entries: Kind and value of the journal's new entries; with the trainings they are there, or none of both.
        """
        with self._explained(), self._transaction():
            self._trainings(stage, trials, evaluator)
            self._enter(entries)

    # the journal

    def append(self, *entries: tuple[str, Mapping[str, Any]]) -> None:
        """Add entries, each a kind and a JSON document, to the journal: all of them or none."""
        with self._explained(), self._transaction():
            self._enter(entries)

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """The entries of a kind, in the order in which they were made."""
        with self._explained():
            if not self._has_journal:
                return []
        return [
            json.loads(row[0])
            for row in self._rows("SELECT value FROM journal WHERE kind = ? ORDER BY number", (kind,))
        ]

    def journal_times(self, kind: str) -> list[str]:
        """When the entries of a kind were made: ISO 8601, UTC."""
        with self._explained():
            if not self._has_journal:
                return []
        return [str(row[0]) for row in self._rows("SELECT at FROM journal WHERE kind = ? ORDER BY number", (kind,))]

    def _enter(self, entries: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        if not entries:
            return
        if not self._has_journal:
            self._db.execute(_JOURNAL)
            self._put("schema", str(SCHEMA))
        at = datetime.now(UTC).isoformat(timespec="seconds")
        for kind, value in entries:
            (number,) = self._db.execute("SELECT COUNT(*) FROM journal WHERE kind = ?", (kind,)).fetchone()
            text = json.dumps(value, sort_keys=True, allow_nan=False)
            self._insert("journal", [(kind, number, text, at)])

    def _trainings(self, stage: str, trials: Mapping[str, Sequence[Trial]], evaluator: str) -> None:
        self._insert(
            "trainings",
            (
                (digest, stage, setting_text(t.setting), t.seed, evaluator, t.status, _loss(t), t.reason)
                for digest, group in trials.items()
                for t in group
            ),
        )

    def batches(self) -> Iterator[tuple[Batch, dict[str, Score]]]:
        """Every batch with the scores of its new programs, in order: what a resumed search is told."""
        rows = self._rows(
            "SELECT batch, duplicate, status, loss, setting, reason, id, parent, text, hash, mutation, redraws "
            "FROM programs ORDER BY id"
        )
        number, proposals, new, reader = 0, list[Proposal](), dict[str, Score](), Reader()
        for batch, duplicate, status, loss, setting, reason, index, parent, text, digest, mutation, redraws in rows:
            if batch != number:
                yield Batch(number, tuple(proposals)), new
                number, proposals, new = batch, [], {}
            score = Score(status, float("inf") if loss is None else loss, json.loads(setting), reason)
            why = "" if duplicate == 1 and digest in new else _KNOWN[duplicate]  # the hash is new to the batch
            known = score if why else None
            proposals.append(Proposal(index, parent, reader.read(text), digest, mutation, redraws, known, why))
            if not duplicate:
                new[digest] = score
        if proposals:
            yield Batch(number, tuple(proposals)), new

    def sample(self, count: int) -> Iterator[str]:
        """The texts of at most ``count`` programs, evenly spaced."""
        ((total,),) = self._rows("SELECT COUNT(*) FROM programs")
        step = max(1, -(-int(total) // count))
        yield from (
            str(row[0]) for row in self._rows("SELECT text FROM programs WHERE id % ? = 0 ORDER BY id", (step,))
        )

    def best(self) -> Iterator[tuple[int, str, str, float]]:
        """The distinct programs from the best on: number, hash, text, loss."""
        query = "SELECT id, hash, text, loss FROM programs WHERE status = 'ok' AND NOT duplicate ORDER BY loss, id"
        seen: set[str] = set()  # a search without a cache trains a program again
        for row in self._rows(query):
            if row[1] not in seen:
                seen.add(row[1])
                yield row

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
        query = "SELECT text, hash, parent, mutation, loss FROM programs WHERE id = ?"
        row = next(self._rows(query, (index,)), None) if index < 2**63 else None
        if row is None:
            raise UserError(f"{self.path} has no program {index}", "programs are numbered from 0 in order of creation")
        return row

    def trials(self, digest: str, stage: str, evaluator: str | None = None) -> list[StoredTrial]:
        """The trainings of a program in one stage, by all evaluators or by one."""
        rows = self._rows(
            "SELECT setting, seed, status, loss, reason FROM trainings WHERE hash = ? AND stage = ? "
            "AND evaluator = COALESCE(?, evaluator) ORDER BY setting, seed",
            (digest, stage, evaluator),
        )
        return _stored(rows)

    def known(self, digest: str, evaluator: str) -> list[StoredTrial]:
        """The trainings of a program by one evaluator, whatever they were for."""
        rows = self._rows(
            "SELECT setting, seed, status, loss, reason FROM trainings WHERE hash = ? AND evaluator = ?",
            (digest, evaluator),
        )
        return _stored(rows)

    def contents(self) -> list[tuple[Any, ...]]:
        """Everything that a repetition of the search must reproduce: all but the times."""
        rows = [row for table in ("meta", "programs", "trainings") for row in self._rows(_SELECT[table])]
        if self._has_journal:
            rows += self._rows("SELECT kind, number, value FROM journal ORDER BY kind, number")
        return rows

    def counts(self) -> dict[str, int]:
        """Programs generated and trained; known by hash or fingerprint, vetoed; stopped, diverged, failed; redraws."""
        (row,) = self._rows(
            "SELECT COUNT(*), SUM(NOT duplicate), SUM(duplicate = 1), SUM(duplicate = 2), SUM(duplicate = 3), "
            "SUM(NOT duplicate AND status = 'stopped'), SUM(NOT duplicate AND status = 'diverged'), "
            "SUM(NOT duplicate AND status NOT IN ('ok', 'diverged', 'stopped')), SUM(redraws) FROM programs"
        )
        names = "generated evaluated duplicates fingerprints vetoed stopped diverged failed invalid".split()
        return {n: int(v or 0) for n, v in zip(names, row, strict=True)}

    def unfinished(self) -> list[tuple[str, str, int]]:
        """The programs that were trained without coming to a loss: status, reason, and how many trainings they had."""
        query = (
            "SELECT status, reason, (SELECT COUNT(*) FROM trainings t WHERE t.hash = p.hash AND stage = 'search') "
            "FROM programs p WHERE status <> 'ok' AND NOT duplicate ORDER BY id"
        )
        return [(str(status), str(reason), int(made)) for status, reason, made in self._rows(query)]

    def widened(self, grid: Collection[str]) -> int:
        """Trainings of the search itself with settings, written as JSON with sorted keys, that are not in a grid."""
        query = "SELECT setting, COUNT(*) FROM trainings WHERE stage = 'search' GROUP BY setting"
        return sum(int(count) for setting, count in self._rows(query) if setting not in grid)

    def best_settings(self) -> Iterator[dict[str, float]]:
        """The best setting of every program that was trained to the end."""
        for (setting,) in self._rows("SELECT setting FROM programs WHERE status = 'ok' AND NOT duplicate ORDER BY id"):
            yield json.loads(setting)

    def trainings(self, stage: str = "search") -> int:
        """Trainings of the search itself, those of stopped programs among them, or of another stage."""
        ((count,),) = self._rows("SELECT COUNT(*) FROM trainings WHERE stage = ?", (stage,))
        return int(count)

    def seconds(self) -> tuple[float, float]:
        """Time spent proposing and training so far."""
        ((propose, train),) = self._rows("SELECT COALESCE(SUM(propose), 0), COALESCE(SUM(train), 0) FROM timings")
        return float(propose), float(train)

    def losses(self) -> Iterator[tuple[int, float | None]]:
        """The losses of the programs that were trained, in order, each with its number; None where it failed."""
        yield from self._rows("SELECT id, loss FROM programs WHERE NOT duplicate ORDER BY id")

    def finalists(self) -> list[tuple[int, str, float]]:
        """The programs that the selection trained again, the best of the search first: number, hash, its loss there."""
        query = (
            "SELECT MIN(id), hash, loss FROM programs WHERE NOT duplicate AND hash IN "
            "(SELECT hash FROM trainings WHERE stage = 'selection') GROUP BY hash ORDER BY loss, MIN(id)"
        )
        return list(self._rows(query))

    def timings(self) -> list[tuple[float, str]]:
        """Seconds that every batch took, and when it ended."""
        return [(p + t, at) for p, t, at in self._rows("SELECT propose, train, at FROM timings ORDER BY batch")]

    def progress(self) -> Iterable[tuple[int, float]]:
        """The number of distinct programs evaluated and the best loss, whenever it improved."""
        best, seen = float("inf"), 0
        for duplicate, loss in self._rows("SELECT duplicate, loss FROM programs ORDER BY id"):
            seen += not duplicate
            if loss is not None and loss < best:
                best = loss
                yield seen, best


def _stored(rows: Iterable[tuple[str, int, str, float | None, str]]) -> list[StoredTrial]:
    return [
        StoredTrial(json.loads(setting), seed, status, float("inf") if loss is None else loss, reason)
        for setting, seed, status, loss, reason in rows
    ]


def _why(p: Proposal, new: Container[int]) -> int:
    """The number of why a program was not trained; a second one with a hash that the batch trains has no reason."""
    return _KNOWN.index(p.known) if p.known else int(p.index not in new)


def _program_row(p: Proposal, batch: int, score: Score, duplicate: int) -> tuple[Any, ...]:
    setting = setting_text(score.setting)
    head = (p.index, batch, p.parent, p.hash, p.rule.text, p.mutation, p.redraws)
    return (*head, score.status, duplicate, _loss(score), setting, score.reason)


def setting_text(value: Mapping[str, float]) -> str:
    """A setting as the archive has it."""
    return json.dumps(dict(value), sort_keys=True)


def _loss(result: Trial | Score) -> float | None:
    """The loss as SQLite gives it back: no NaN, and no minus zero."""
    return float(result.loss) + 0.0 if result.status == "ok" and not math.isnan(result.loss) else None


def _hash(table: str, row: tuple[Any, ...]) -> int:
    return int.from_bytes(hashlib.blake2b(repr((table, *row)).encode(), digest_size=8).digest())
