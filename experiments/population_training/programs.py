"""The programs of the measurement: different ones that a search could have bred and that train to the end.

Mutated from AdamW within the search's frame until 12 to 20 statements matter, as in ``population_update``; here also
none of them diverges on digits_mlp with any of the learning rates and seeds. Writes ``programs.json`` beside this file;
``bench.py`` reads it, so that a change of the mutations does not change what is measured.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from evoptim.dsl import Rule, parse
from evoptim.runtime import train_population

sys.path.insert(0, str(Path(__file__).parents[1] / "population_update"))
from bench import evolved  # a neighbouring experiment, not a package

RULES, CANDIDATES = 64, 160
SETTINGS = [{"lr": lr} for lr in (1e-4, 3e-4, 1e-3, 3e-3)]
SEEDS = (0, 1, 2)
STEPS, BATCH = 200, 64
FILE = Path(__file__).with_name("programs.json")


def programs() -> list[Rule]:
    """The recorded ones."""
    return [parse(text) for text in json.loads(FILE.read_text())]


def main() -> None:
    """Breed, train and record."""
    candidates = evolved(CANDIDATES)
    result = train_population(candidates, "digits_mlp", SETTINGS, SEEDS, STEPS, batch_size=BATCH)
    good = [rule for rule, status in zip(candidates, result.status, strict=True) if (status == "ok").all()]
    assert len(good) >= RULES, f"only {len(good)} of {CANDIDATES} train to the end"
    FILE.write_text(json.dumps([rule.text for rule in good[:RULES]], indent=1) + "\n")


if __name__ == "__main__":
    main()
