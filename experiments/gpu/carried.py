"""The tasks' data and random rules in one file, for a machine that lacks the packages they come with.

``python carried.py`` writes it, ``data.npz`` beside this file, on a machine that has them; there, `use` reads it.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np

from evoptim.dsl import Rule, parse
from evoptim.runtime.bytecode import compile_bytecode
from evoptim.runtime.datasets import DATASETS

DATA = Path(__file__).with_name("data.npz")
TESTS = Path(__file__).parents[2] / "tests" / "support"


def prepare(file: Path = DATA, count: int = 200) -> None:
    """Write the data of all tasks as they are read, and random rules, which hypothesis draws."""
    content = {name: np.frombuffer(dataset.read(), np.uint8) for name, dataset in DATASETS.items()}
    rules = drawn(count)
    np.savez_compressed(file, rules=np.array(rules), **content)
    print(f"{file}: {', '.join(content)}, {len(rules)} random rules, {file.stat().st_size >> 10} KiB")


def drawn(count: int) -> list[str]:
    """Random rules that have bytecode, as text."""
    sys.path.insert(0, str(TESTS))
    from hypothesis import given, settings
    from strategies import rules, with_lr_last

    found: dict[str, None] = {}

    @settings(max_examples=count, database=None, derandomize=True, deadline=None)
    @given(rule=rules(tame=True))
    def collect(rule: Rule) -> None:
        if compile_bytecode(rule):
            found[with_lr_last(rule).replace(name=f"random_{len(found)}").text] = None

    collect()
    return [*found]


def use(file: Path = DATA) -> None:
    """Let all datasets read from the file; what they check is checked as ever."""
    for name, dataset in DATASETS.items():
        object.__setattr__(dataset, "read", partial(_bytes, file, name))


def _bytes(file: Path, name: str) -> bytes:
    with np.load(file) as content:
        return content[name].tobytes()


def random_rules(count: int, file: Path = DATA) -> list[Rule]:
    """The first ones of the file."""
    with np.load(file) as content:
        return [parse(str(text)) for text in content["rules"][:count]]


if __name__ == "__main__":
    prepare()
