"""A search as large as Lion's on two cores, and what it found: ``python experiments/lion_scale/run.py [--again]``.

Runs ``evoptim search search.toml`` in ``runs/`` beside this file (a search that was stopped goes on), then writes
``report.html``, ``found.rule`` and ``summary.json``: wall clock, what each economy has saved next to the figures that
Chen et al. 2023 (arXiv:2302.06675, section 2) give for theirs, and the families that the programs belong to.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from families import FAMILIES, family

from evoptim.dsl import parse
from evoptim.search import Archive, strip, tidy

HERE = Path(__file__).parent
EVOPTIM = Path(sys.executable).with_name("evoptim")
RUN = HERE / "runs" / "lion_scale"
LION = {"programs": "200,000 to 300,000", "cache_hit_rate": 0.891, "redundant_statements": 0.698}
BEST = 1000
"""Programs, the best of the search, whose families are counted apart."""


def main() -> None:
    """Search, then look at what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="begin anew")
    options = parser.parse_args()
    if options.again:
        shutil.rmtree(RUN, ignore_errors=True)
    resumed = (RUN / "archive.sqlite").is_file()
    began = time.perf_counter()
    evoptim("search", *(("--resume", RUN) if resumed else (HERE / "search.toml", "-o", RUN)), log=HERE / "runs.log")
    seconds = time.perf_counter() - began
    evoptim("report", RUN, "-o", HERE / "report.html", log=HERE / "runs.log")
    report = json.loads(evoptim("report", RUN, "--json"))
    summary = {
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("evoptim", "torch", "numpy")},
        "cores": os.cpu_count(),
        "wall_seconds": round(seconds, 1),
        "resumed": resumed,
        **{key: report[key] for key in ("counts", "seconds", "savings", "economies", "funnel", "monitor")},
        "beside_lion": beside_lion(report),
        "winner": report["winner"]["text"],
        "families": families(),
    }
    (HERE / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (HERE / "found.rule").write_text(report["winner"]["text"])
    print(json.dumps({key: summary[key] for key in ("wall_seconds", "counts", "beside_lion", "winner")}, indent=1))


def evoptim(*arguments: object, log: Path | None = None) -> str:
    """Run a command; what it prints, unless that goes to the end of a file."""
    words = [str(EVOPTIM), *map(str, arguments)]
    if log is None:
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    with log.open("a") as file:
        subprocess.run(words, check=True, stdout=file)
    return ""


def beside_lion(report: dict[str, Any]) -> dict[str, Any]:
    """What was spared here and there."""
    counts = report["counts"]
    here = {
        "programs": counts["generated"],
        "cache_hit_rate": round(counts["duplicates"] / counts["generated"], 4),
        "redundant_statements": report["savings"]["dead_statements"],
        "not_trained": round(1 - counts["evaluated"] / counts["generated"], 4),
    }
    return {name: {"here": value, "lion": LION.get(name)} for name, value in here.items()}


def families() -> dict[str, Any]:
    """How many programs that were trained belong to each family, and the best of each."""
    with Archive(RUN / "archive.sqlite", create=False) as archive:
        best = [(index, text, loss) for index, _, text, loss in archive.best()]
    kinds = [family(strip(parse(text))) for _, text, _ in best]
    return {
        name: {
            "what": what,
            "trained": Counter(kinds)[name],
            f"among_best_{BEST}": Counter(kinds[:BEST])[name],
            "best": [
                {"program": i, "rank": rank, "loss": loss, "text": tidy(parse(text)).text}
                for rank, ((i, text, loss), kind) in enumerate(zip(best, kinds, strict=True), 1)
                if kind == name
            ][:2],
        }
        for name, what in FAMILIES.items()
    }


if __name__ == "__main__":
    main()
