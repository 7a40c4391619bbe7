"""The journal: what is done with a run's programs besides searching, kept with the same care."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from fakes import FakeEvaluator, small

from evoptim.dsl import UserError
from evoptim.search import Archive, start_search
from evoptim.search.records.archive import StoredTrial
from evoptim.search.records.journal import FUNNEL, SEALED

OLD = Path(__file__).parents[1] / "archives" / "0.1.0-whole.sqlite"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The archive of a finished run."""
    start_search(small(), FakeEvaluator(), tmp_path / "run")
    return tmp_path / "run" / "archive.sqlite"


def test_entries_come_back_in_order_by_kind(run: Path) -> None:
    with Archive(run, create=False) as archive:
        assert archive.journal(FUNNEL) == []
        archive.append((FUNNEL, {"stage": 1, "loss": 0.25}), (SEALED, {"task": "x"}), (FUNNEL, {"stage": 2}))
        archive.append((FUNNEL, {"stage": 3, "names": ["a", "b"], "loss": None}))
    with Archive(run, create=False) as archive:
        assert [e["stage"] for e in archive.journal(FUNNEL)] == [1, 2, 3]
        assert archive.journal(SEALED) == [{"task": "x"}]
        assert [row for row in archive.contents() if row[0] == SEALED] == [(SEALED, 0, '{"task": "x"}')]


def test_entries_and_their_trainings_are_there_or_none_of_both(run: Path) -> None:
    trial = StoredTrial({"lr": 0.1}, 7, "ok", 1.5)
    with Archive(run, create=False) as archive:
        before = archive.contents()
        with pytest.raises(ValueError, match="not JSON compliant"):
            archive.record_trainings("funnel", {"ab": [trial]}, "e", [(FUNNEL, {"loss": float("nan")})])
        assert archive.contents() == before
        archive.record_trainings("funnel", {"ab": [trial]}, "e", [(FUNNEL, {"loss": 1.5})])
        assert archive.trials("ab", "funnel") == [trial]
        assert archive.journal(FUNNEL) == [{"loss": 1.5}]


def test_an_archive_of_schema_1_has_none_until_its_first_entry(tmp_path: Path) -> None:
    path = Path(shutil.copy(OLD, tmp_path / "archive.sqlite"))
    with Archive(path, create=False) as archive:
        assert archive.journal(FUNNEL) == []
        before = archive.contents()
    with Archive(path, create=False) as archive:
        assert archive.meta("schema") == "1"  # reading has changed nothing
        assert archive.contents() == before
        archive.append((FUNNEL, {"stage": 1}))
    with Archive(path, create=False) as archive:
        assert archive.meta("schema") == "2"
        assert archive.journal(FUNNEL) == [{"stage": 1}]


def test_an_entry_changed_behind_its_back_is_noticed(run: Path) -> None:
    with Archive(run, create=False) as archive:
        archive.append((SEALED, {"opened": True}))
    with sqlite3.connect(run) as db:
        db.execute("""UPDATE journal SET value = '{"opened": false}'""")
    db.close()
    with pytest.raises(UserError, match="damaged"):
        Archive(run, create=False)
