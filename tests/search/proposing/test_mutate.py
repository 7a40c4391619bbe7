"""The mutations: valid children, the same in every process, and nothing touched that must not be."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
import time
from collections import Counter
from functools import cache
from random import Random

import pytest
from fakes import same, small, trajectory
from hypothesis import given, settings
from rules import SEEDS
from strategies import rules

from evoptim.dsl import OPS, If, Rule, canonical_hash, check, live_names, load, parse
from evoptim.search import flatten, into_frame, is_framed, mutate
from evoptim.search.config import Mutation
from evoptim.search.loop import start_program
from evoptim.search.proposing.frame import FRAME, OUTSIDE, with_buffers
from evoptim.search.proposing.mutate import Child, NoMutation
from evoptim.search.proposing.mutations import SEARCH_OPS

FRAMED = ("adamw", "lion", "sgd", "adan")
FREE = ("adamw", "adafactor", "adafactor_paper", "rmsprop")
CONFIG = Mutation(max_statements=45)


def start(name: str, frame: str) -> Rule:
    return flatten(start_program(small(start={"rule": name, "frame": frame, "buffers": 3})))


@cache
def walk(name: str, frame: str, count: int = 350) -> tuple[tuple[Rule, Child], ...]:
    """Parents and children of a random walk that branches; mutated with a generator per child."""
    rule = start(name, frame)
    recent, out = [rule], list[tuple[Rule, Child]]()
    for i in range(count):
        random = Random(f"{name}/{frame}/{i}")
        parent = random.choice(recent[-20:])
        child = mutate(parent, random, CONFIG)
        out.append((parent, child))
        recent.append(child.rule)
    return tuple(out)


WALKS = [(n, "update") for n in FRAMED] + [(n, "free") for n in FREE]


def all_children() -> list[Child]:
    return [child for w in WALKS for _, child in walk(*w)]


@pytest.mark.parametrize(("name", "frame"), WALKS)
def test_children_are_valid_and_read_back(name: str, frame: str) -> None:
    for parent, child in walk(name, frame):
        assert check(child.rule) == []
        assert child.rule != parent
        assert parse(child.rule.text) == child.rule  # a resumed search goes on from the text
        assert flatten(child.rule) == child.rule
        assert sum(1 for _ in child.rule.assigns()) <= CONFIG.max_statements


def test_many_children_constants_finite() -> None:
    children = all_children()
    assert len(children) >= 2000
    for child in children:
        numbers = [n.value for a in child.rule.assigns() for n in a.value.walk() if n.op == "const"]
        assert all(isinstance(x, float) and math.isfinite(x) for x in numbers)


@pytest.mark.parametrize("name", FRAMED)
def test_frame_is_never_touched(name: str) -> None:
    for _, child in walk(name, "update"):
        *genome, last = child.rule.body
        assert last is start(name, "update").body[-1] or (last.target, last.value) == ("w", FRAME)
        read = {n.value for a in genome for n in a.value.walk() if n.op == "name"}
        assert not read & set(OUTSIDE)
        assert not {a.target for a in genome} & {"w", "t", *OUTSIDE}
        assert is_framed(child.rule)


def test_free_hands_over_everything() -> None:
    """Also where the rule happens to be written in the form of the frame."""
    assert load("adamw").body[-1].value is FRAME
    assert not any(is_framed(c.rule) for _, c in walk("adamw", "free"))
    last = {c.rule.body[-1].value for _, c in walk("adamw", "free")}
    assert len(last) > 10
    read = [n.value for _, c in walk("adamw", "free") for a in c.rule.assigns() for n in a.value.walk()]
    assert {"lr", "weight_decay", "beta1"} <= set(read)


def test_branches_are_mutated_too() -> None:
    blocks = {s.then for _, c in walk("adafactor", "free") for s in c.rule.body if isinstance(s, If)}
    assert len(blocks) > 10


def test_the_gradient_is_never_lost() -> None:
    for child in all_children()[::10]:
        assert "g" in live_names(child.rule)
        assert len(trajectory(child.rule, 1)) == 4  # runs on scalars, vectors, matrices and more


# --- the same everywhere --------------------------------------------------------------------------------


def test_same_seed_same_child() -> None:
    for name, frame in WALKS:
        for parent, child in walk(name, frame)[::25]:
            again = [mutate(parent, Random(5), CONFIG) for _ in range(2)]
            assert again[0] == again[1]
            assert child.rule is not parent


DIGEST = """
import hashlib, random
from evoptim.dsl import canonical_hash
from evoptim.search import flatten, mutate
from evoptim.search.config import Mutation
from evoptim.search.loop import start_program
from evoptim.search import make_config
h = hashlib.sha256()
rule = flatten(start_program(make_config({"start": {"rule": "adan"}})))
for i in range(100):
    child = mutate(rule, random.Random(i), Mutation())
    rule = child.rule
    h.update(f"{child.mutation}{child.redraws}{rule.text}{canonical_hash(rule)}".encode())
print(h.hexdigest())
"""


def test_same_children_in_every_process() -> None:
    """Whatever the order of Python's sets."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(runs[0].strip()) == 64


# --- the kinds of mutation ------------------------------------------------------------------------------


def kinds(config: Mutation, count: int = 300) -> Counter[str]:
    rule = start("adamw", "update")
    return Counter(mutate(rule, Random(i), config).mutation.split()[0] for i in range(count))


def test_all_kinds_occur() -> None:
    assert set(kinds(Mutation())) == {"insert", "delete", "modify"}


@pytest.mark.parametrize("weights", [(1, 1, 1), (6, 3, 1), (0.5, 0, 4)])
def test_the_weights_hold_among_the_children(weights: tuple[float, ...]) -> None:
    names = ("insert", "delete", "modify")
    found = kinds(Mutation(**dict(zip(names, weights, strict=True))), 1500)
    total = sum(found.values())
    for kind, weight in zip(names, weights, strict=True):
        p = weight / sum(weights)
        assert abs(found[kind] - total * p) <= 4 * math.sqrt(total * p * (1 - p)), (kind, found)


@pytest.mark.parametrize("off", ["insert", "delete", "modify"])
def test_a_weight_of_zero_switches_a_kind_off(off: str) -> None:
    assert set(kinds(Mutation(**{off: 0.0}), 150)) == {"insert", "delete", "modify"} - {off}


def test_each_kind_does_what_it_says() -> None:
    for parent, child in (pair for w in WALKS for pair in walk(*w)[::3]):
        before, after = list(parent.assigns()), list(child.rule.assigns())
        kind = child.mutation.split()[0]
        assert len(after) - len(before) == {"insert": 1, "delete": -1, "modify": 0}[kind]
        if kind == "modify":
            changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
            assert len(changed) == 1
            (a, b), *_ = changed
            assert a.target == b.target
            assert sum(x is not y for x, y in zip(a.value.args, b.value.args, strict=False)) <= 1


def test_inserted_ops_are_those_of_the_search() -> None:
    ops = {a.value.op for _, c in walk("sgd", "update") for a in c.rule.assigns()} - {"const", "name"}
    assert ops <= {*SEARCH_OPS}
    assert len(ops) > 20
    assert all(name in OPS for name in SEARCH_OPS)


def test_constants_are_drawn_and_rescaled() -> None:
    changes = [c.mutation.split(": ")[1].split(" -> ") for c in all_children() if c.mutation.startswith("modify")]
    numbers = [(float(a), float(b)) for a, b in changes if _is_number(a) and _is_number(b)]
    ratios = [b / a for a, b in numbers if a and b / a > 0]
    assert len(ratios) > 20
    assert 0.2 < sum(0.5 < r < 2 for r in ratios) / len(ratios) < 0.9  # a rescaled one changes by 2 to the N(0, 1)


def _is_number(text: str) -> bool:
    return text.lstrip("-")[:1].isdigit()


def test_redundant_statements_survive() -> None:
    rule = start("lion", "update")
    silent = 0
    for i in range(200):
        child = mutate(rule, Random(f"dead/{i}"), Mutation(delete=0, modify=0))
        assert len(list(child.rule.assigns())) == len(list(rule.assigns())) + 1
        silent += canonical_hash(child.rule) == canonical_hash(rule)
        rule = child.rule if len(list(child.rule.assigns())) < 30 else start("lion", "update")
    assert silent > 20  # most of what is inserted is not read, and stays in the program


def test_what_cannot_be_varied_is_told() -> None:
    rule = flatten(into_frame(parse("def r(w, g, *, lr=0.1):\n    return w - lr * g\n")).rule)
    with pytest.raises(NoMutation, match="no valid mutation of 'r' in 1000 draws"):
        mutate(rule, Random(0), Mutation(insert=0, modify=0))
    with pytest.raises(NoMutation):
        mutate(rule, Random(0), Mutation(delete=0, modify=0, max_statements=2))


# --- one operation per statement ------------------------------------------------------------------------


def assert_flat(rule: Rule, framed: bool) -> None:
    genome = [*rule.assigns()][: -1 if framed else None]
    assert all(not arg.args for a in genome for arg in a.value.args)
    assert all(not r.args for r in rule.returns)
    assert check(rule) == []


STARTS = [(n, f) for n in SEEDS for f in ("update", "free") if f == "free" or not load(n).branches]


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_flatten_keeps_meaning(name: str, frame: str) -> None:
    rule = into_frame(load(name), 0.1).rule if frame == "update" else load(name)
    flat = flatten(rule, free=frame == "free")
    assert_flat(flat, frame == "update")
    assert is_framed(flat) == (frame == "update")
    assert canonical_hash(flat) == canonical_hash(rule)
    assert same(trajectory(flat, lr=0.05), trajectory(rule, lr=0.05))
    assert parse(flat.text) == flat
    assert flatten(flat) == flat


@settings(max_examples=60)
@given(rules())
def test_flatten_keeps_meaning_of_any_rule(rule: Rule) -> None:
    flat = flatten(rule)
    assert_flat(flat, False)
    assert same(trajectory(flat, 3), trajectory(rule, 3))


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_start_program_reads_back(name: str, frame: str) -> None:
    rule = start_program(small(start={"rule": name, "frame": frame, "buffers": 4}))
    assert check(rule) == []
    assert parse(rule.text) == rule
    assert len(rule.buffers) >= 4
    assert canonical_hash(with_buffers(rule, 6)) == canonical_hash(rule)


def test_throughput() -> None:
    rule = start("adamw", "update")
    begin = time.perf_counter()
    for i in range(300):
        hashlib.sha256(canonical_hash(mutate(rule, Random(i), Mutation()).rule).encode())
    print(f"\n{300 / (time.perf_counter() - begin):.0f} children of adamw a second, hashed")
