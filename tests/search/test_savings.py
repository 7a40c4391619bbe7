"""What the economies spare is counted live and from the archive, and both agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes import small
from laboratories import laboratory, resume, search, several, stopping

from evoptim.search import Archive, SearchConfig, SearchResult
from evoptim.search.judging.benches import rung_0
from evoptim.search.savings import savings_summary
from evoptim.search.starting import start_program

EVERYTHING: dict[str, Any] = {
    "mutation": {"promote": 1, "demote": 1},
    "evaluation": {"seeds": [0, 1, 2, 3, 4, 5], "widen": 2},
    "economy": {"fingerprint": True, "vetoes": True, "hurdle": 0.6, "hurdle_window": 12, "race": 0.1},
}


def summary(run: Path, config: SearchConfig) -> dict[str, dict[str, Any]]:
    with Archive(run / "archive.sqlite", create=False) as archive:
        return {row["economy"]: row for row in savings_summary(archive, config, start_program(config))}


def check(run: Path, config: SearchConfig, result: SearchResult) -> dict[str, dict[str, Any]]:
    """What holds for every search; its savings."""
    p, saved = result.progress, summary(run, config)
    assert saved["hash"]["programs"] == p.cache_hits
    assert saved["fingerprint"]["programs"] == p.fingerprint_hits
    assert saved["vetoes"]["programs"] == p.vetoed
    assert (saved["hurdle"]["programs"], saved["race"]["programs"]) == (p.hurdle_stops, p.race_stops)
    assert p.hurdle_stops + p.race_stops == p.stopped
    assert sum(saved[key]["trainings"] for key in ("hurdle", "race", "failure")) == p.spared_trainings
    assert saved["widen"]["trainings"] == -p.widened_trainings
    full = 2 * len(config.evaluation.seeds) * (1 + len(config.evaluation.weight_decays)) * len(rung_0(config))
    assert saved["hash"]["trainings"] == full * p.cache_hits
    return saved | {"full": {"trainings": full}}


def test_trainings_made_are_those_of_all_programs_but_for_the_savings(tmp_path: Path) -> None:
    config = small(budget={"evaluations": 60}, **EVERYTHING)
    result = search(tmp_path, laboratory(config), config)
    saved, p = check(tmp_path, config, result), result.progress
    assert all(saved[key]["on"] for key in ("hash", "strip", "fingerprint", "vetoes", "hurdle", "race", "widen"))
    assert min(p.cache_hits, p.fingerprint_hits, p.vetoed, p.hurdle_stops, p.race_stops, p.widened_trainings) > 0
    full = saved["full"]["trainings"]
    assert p.trainings == full * p.evaluated - p.spared_trainings + p.widened_trainings
    assert 0 < saved["widen"]["programs"] < p.evaluated


def test_what_is_off_has_spared_nothing(tmp_path: Path) -> None:
    config = small(economy={"strip": False})
    saved = check(tmp_path, config, search(tmp_path, laboratory(config), config))
    assert [key for key, row in saved.items() if row.get("on")] == ["hash", "failure"]
    assert [row["trainings"] for row in saved.values()][1:-1] == [None, 0, 0, 0, 0, 0, 0]


def test_a_resumed_search_counts_on(tmp_path: Path) -> None:
    changes = EVERYTHING | {"evaluation": {"seeds": [0, 1, 2], "widen": 2}}
    config = several(**changes)
    lab = laboratory(config)
    search(tmp_path, lab, config, stopping(5))
    check(tmp_path, config, resume(tmp_path, lab))
