"""How fast the driver of a search is by itself: what a search of 300,000 programs costs besides its trainings.

A search from AdamW with a population of 1000 (Lion's) whose trainings cost nothing: the losses are drawn from the
canonical hashes. Measured on one core, in CPU time of the process, so that other work on the machine disturbs little:
programs proposed, checked, hashed and looked up; results (trainings) written to the archive, one transaction a batch;
programs replayed when a search is resumed, and read back when a report is written; fingerprints and vetoes of programs
that are new. Writes ``driver.json`` beside this file.

    python experiments/search_throughput/driver.py [PROGRAMS]
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import ChainMap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from evoptim.search import Archive, Evolution, Score, SearchConfig, make_config, strip
from evoptim.search.proposing.fingerprint import fingerprint
from evoptim.search.proposing.vetoes import veto
from evoptim.search.records.archive import StoredTrial
from evoptim.search.starting import start_program

PROGRAMS, EXAMINED = 30_000, 1000
LRS, SEEDS, BATCH = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (0, 1), 64


def configuration() -> SearchConfig:
    """Lion's population on this project's grid."""
    return make_config(
        {
            "batch": BATCH,
            "population": {"size": 1000},
            "evaluation": {"learning_rates": LRS, "seeds": SEEDS},
            "budget": {"evaluations": 10**9},
        }
    )


def loss(digest: str) -> float:
    """A number in [0, 1) that depends on the hash alone."""
    return int.from_bytes(hashlib.sha256(digest.encode()).digest()[:6]) / 2**48


def trials(digest: str) -> list[StoredTrial]:
    """A training with every setting on every seed."""
    return [StoredTrial({"lr": lr, "weight_decay": 0.0}, s, "ok", loss(digest) + lr + s) for lr in LRS for s in SEEDS]


@contextmanager
def timed(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Add the CPU time of a block."""
    began = time.process_time()
    try:
        yield
    finally:
        seconds[what] = seconds.get(what, 0.0) + time.process_time() - began


def searched(programs: int, archive: Archive, seconds: dict[str, float]) -> Evolution:
    """A search of so many programs; ``propose`` and ``archive`` are timed."""
    config = configuration()
    evolution = Evolution(config, start_program(config))
    archive.set_meta({"config": config.model_dump_json(), "start": evolution.start.text, "evaluator": "none"})
    while evolution.counts.generated < programs:
        with timed(seconds, "propose"):
            batch = evolution.ask()
        scores = {p.hash: Score("ok", loss(p.hash), {"lr": LRS[0]}) for p in batch.new}
        known = ChainMap(scores, evolution.scores)
        results = {p.hash: trials(p.hash) for p in batch.new}
        with timed(seconds, "archive"):
            archive.record(batch, known, results, "none", (0.0, 0.0, "then"))
        with timed(seconds, "propose"):
            evolution.tell(batch, [scores[p.hash] for p in batch.new])
    return evolution


def resumed(archive: Archive, seconds: dict[str, float]) -> Evolution:
    """The same search, replayed from its archive."""
    config = configuration()
    with timed(seconds, "resume"):
        evolution = Evolution(config, start_program(config))
        for batch, new in archive.batches():
            evolution.replay(batch, new)
    return evolution


def examined(archive: Archive, count: int, seconds: dict[str, float]) -> None:
    """Fingerprint and vet so many programs that were new."""
    rules = [strip(p.rule) for batch, _ in archive.batches() for p in batch.new][-count:]
    with timed(seconds, "fingerprint"):
        for rule in rules:
            fingerprint(rule)
    with timed(seconds, "veto"):
        for rule in rules:
            veto(rule)


def resume(path: Path) -> None:
    """What a process does that takes up an archive, measured and printed."""
    seconds: dict[str, float] = {}
    with timed(seconds, "open"):
        archive = Archive(path, create=False)
    with archive:
        evolution = resumed(archive, seconds)
        examined(archive, EXAMINED, seconds)
    print(json.dumps(seconds | {"generated": evolution.counts.generated}))


def main() -> None:
    """Measure all of it once, print it and write it down."""
    if sys.argv[1:2] == ["--resume"]:
        resume(Path(sys.argv[2]))
        return
    programs = int(sys.argv[1]) if len(sys.argv) > 1 else PROGRAMS
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.sqlite"
        with Archive(path, create=True) as archive:
            evolution = searched(programs, archive, seconds)
        size = sum(p.stat().st_size for p in Path(folder).iterdir())
        found = subprocess.run([sys.executable, __file__, "--resume", path], check=True, capture_output=True, text=True)
        again = json.loads(found.stdout)
        assert again.pop("generated") == evolution.counts.generated
        seconds |= again
    counts, new = evolution.counts, EXAMINED
    results = counts.evaluated * len(LRS) * len(SEEDS)
    report = {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "programs": counts.generated,
        "evaluated": counts.evaluated,
        "cache_hits": counts.cache_hits / counts.generated,
        "invalid_per_program": counts.invalid / counts.generated,
        "proposed_per_second": counts.generated / seconds["propose"],
        "draws_per_second": (counts.generated + counts.invalid) / seconds["propose"],
        "results_archived_per_second": results / seconds["archive"],
        "resumed_per_second": counts.generated / seconds["resume"],
        "verified_per_second": counts.generated / seconds["open"],
        "fingerprints_per_second": new / seconds["fingerprint"],
        "vetoes_per_second": new / seconds["veto"],
        "archive_bytes_per_program": size / counts.generated,
        "seconds": {k: round(v, 3) for k, v in seconds.items()},
    }
    print(json.dumps(report, indent=2))
    Path(__file__).with_name("driver.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
