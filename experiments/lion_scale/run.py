"""A search as large as Lion's on two cores, and what it found: ``python experiments/lion_scale/run.py [--again]``.

Runs ``search.toml`` in ``runs/`` beside this file (a search that was stopped goes on), then writes ``summary.json``:
wall clock, what each economy has saved next to the figures that Chen et al. 2023 (arXiv:2302.06675, appendix) give for
theirs, the families that the programs belong to, and the best of each family on fresh seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import time
from collections import Counter
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from families import FAMILIES, family

from evoptim.cli import reporting
from evoptim.dsl import parse
from evoptim.search import Archive, Progress, load_config, resume_search, start_search, strip, tidy
from evoptim.wiring import make_evaluator

HERE = Path(__file__).parent
LION = {"cache_hit_rate": 0.891, "redundant_statements": 0.698, "programs": "200,000 to 300,000"}
BEST = 1000
"""Programs, the best of the search, that are sorted into families."""


def main() -> None:
    """Search, then look at what came out."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="begin anew")
    parser.add_argument("--config", type=Path, default=HERE / "search.toml")
    parser.add_argument("--output", type=Path, default=HERE)
    options = parser.parse_args()
    config = load_config(options.config)
    directory = HERE / "runs" / config.name
    if options.again:
        shutil.rmtree(directory, ignore_errors=True)
    began = time.perf_counter()
    if (directory / "archive.sqlite").is_file():
        result = resume_search(directory, make_evaluator, report=Teller())
    else:
        result = start_search(config, make_evaluator(config), directory, report=Teller())
    seconds = time.perf_counter() - began
    summary = {
        "date": date.today().isoformat(),
        "versions": {name: version(name) for name in ("evoptim", "torch", "numpy")},
        "cores": os.cpu_count(),
        "wall_seconds_of_this_session": round(seconds, 1),
        **looked_at(directory),
    }
    assert result.winner is not None
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    (options.output / "found.rule").write_text(result.winner.rule.text)
    print(json.dumps({k: v for k, v in summary.items() if k != "families"}, indent=1))


class Teller:
    """Says where the search stands, every half minute."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, p: Progress) -> None:
        """Say it, if it is time."""
        if p.session_seconds - self.last >= 30:
            self.last = p.session_seconds
            counts = f"{p.generated} generated, {p.evaluated} trained"
            print(f"{p.seconds:5.0f} s: {counts}, best {p.best_loss:.4f} (AdamW {p.start_loss:.4f})", flush=True)


def looked_at(directory: Path) -> dict[str, Any]:
    """What the archive says: counts, savings, families."""
    report = reporting.summarize(directory)
    counts = report["counts"]
    with Archive(directory / "archive.sqlite", create=False) as archive:
        best = [(i, h, text, loss) for i, h, text, loss in archive.best()]
        groups: dict[str, list[tuple[int, str, float]]] = {name: [] for name in FAMILIES}
        for index, _, text, loss in best[:BEST]:
            groups[family(strip(parse(text)))].append((index, text, loss))
        first = Counter(family(strip(parse(text))) for _, _, text, _ in best)
    generated = counts["generated"]
    return {
        "counts": counts,
        "seconds": report["seconds"],
        "savings": report["savings"],
        "beside_lion": {
            "cache_hit_rate": {"here": counts["duplicates"] / generated, "lion": LION["cache_hit_rate"]},
            "not_trained": {"here": 1 - counts["evaluated"] / generated},
            "redundant_statements": {
                "here": report["savings"]["dead_statements"],
                "lion": LION["redundant_statements"],
            },
            "programs": {"here": generated, "lion": LION["programs"]},
        },
        "winner": report["winner"],
        "families": {
            name: {
                "what": FAMILIES[name],
                "trained": first[name],
                f"among_best_{BEST}": len(members),
                "best": [{"program": i, "loss": loss, "text": tidy(parse(text)).text} for i, text, loss in members[:3]],
            }
            for name, members in groups.items()
        },
    }


if __name__ == "__main__":
    main()
