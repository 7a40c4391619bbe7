"""Programs read again are those that were written, line by line or not."""

from __future__ import annotations

from random import Random

import pytest
from fakes import small

from evoptim.dsl import Rule, RuleError, load, parse, rule_names
from evoptim.search import mutate
from evoptim.search.proposing.program import flatten
from evoptim.search.records.reading import Reader
from evoptim.search.sections import Mutation
from evoptim.search.starting import start_program

ALL = Mutation(swap=1.0, splice=1.0, transform=0.5, promote=1.0, demote=1.0)


def walk(name: str, frame: str, count: int) -> list[Rule]:
    out = [flatten(start_program(small(start={"rule": name, "frame": frame})))]
    for i in range(count):
        out.append(mutate(out[-1] if i % 9 else out[0], Random(i), ALL).rule)
    return out


@pytest.mark.parametrize(("name", "frame"), [("adamw", "update"), ("lion", "free"), ("adafactor", "free")])
def test_programs_of_a_search_are_read_as_they_were(name: str, frame: str) -> None:
    reader = Reader()
    for rule in walk(name, frame, 120):
        assert reader.read(rule.text) == rule


@pytest.mark.parametrize("name", rule_names())
def test_any_rule_is_read_as_it_is(name: str) -> None:
    reader, rule = Reader(), load(name)
    assert reader.read(rule.text) == reader.read(rule.text) == parse(rule.text)
    plain = flatten(rule.replace(doc=""))
    assert reader.read(plain.text) == reader.read(plain.text) == plain


def test_signatures_are_told_apart() -> None:
    reader = Reader()
    signatures = [("", ""), ("m, ", ", m"), ("m, ", ", g"), ("m: init(g), ", ", m"), ("m: scalar, ", ", m")]
    texts = [
        f"def r(w, g, {buffers}*, lr={lr}):\n    x1 = lr * g\n    w = w - x1\n    return w{returns}\n"
        for buffers, returns in signatures
        for lr in ("0.1", "0.2")
    ]
    assert [reader.read(text) for text in texts] == [parse(text) for text in texts]
    assert [reader.read(text) for text in texts] == [parse(text) for text in texts]


def test_what_is_no_program_is_refused() -> None:
    reader = Reader()
    reader.read("def r(w, g, *, lr=0.1):\n    x1 = lr * g\n    return w - x1\n")
    for line in ("x1 = lr *", "x1 = import os", "del x1", "x1 = lr; y = 2", "x1 = [1]", ""):
        with pytest.raises(RuleError):
            reader.read(f"def r(w, g, *, lr=0.1):\n    {line}\n    return w - x1\n")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoptim.search.records.reading.MEMORY", 20)
    reader, rules = Reader(), walk("adamw", "update", 60)
    assert [reader.read(rule.text) for rule in rules] == rules
