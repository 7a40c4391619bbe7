"""The table of mutations beyond Lion's three: what each does, and that a program stays what it must be."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random

import numpy as np
import pytest
from fakes import close, same, small, trajectory

from evoptim.dsl import OPS, Rule, canonical_hash, check, derive, is_valid, load, parse
from evoptim.search import flatten, is_framed, mutate, tidy
from evoptim.search.loop import start_program
from evoptim.search.proposing.derivation import FREE, IN_FRAME
from evoptim.search.proposing.frame import OUTSIDE
from evoptim.search.proposing.identity import Identities, strip
from evoptim.search.proposing.mutate import Child, NoMutation
from evoptim.search.proposing.mutations import LONGEST_FRAGMENT, MUTATIONS, SEARCH_OPS, _rescaled, alike
from evoptim.search.proposing.program import Program
from evoptim.search.sections import Mutation

STARTS = [("adamw", "update"), ("lion", "update"), ("adan", "update"), ("adamw", "free"), ("adafactor", "free")]
ALL = Mutation(swap=1, splice=1, transform=1, promote=1, demote=1, constant=1, max_statements=60)
NONE = dict.fromkeys(MUTATIONS, 0.0)


def only(kind: str) -> Mutation:
    return Mutation(**(NONE | {kind: 1.0, "max_statements": 80}))


def start(name: str, frame: str) -> Rule:
    return flatten(start_program(small(start={"rule": name, "frame": frame, "buffers": 2})))


@cache
def walk(name: str, frame: str, count: int = 160) -> tuple[tuple[Rule, Child], ...]:
    """Parents and children of a random walk with every mutation."""
    recent, out = [start(name, frame)], list[tuple[Rule, Child]]()
    for i in range(count):
        random = Random(f"{name}/{frame}/{i}")
        parent = random.choice(recent[-20:])
        child = mutate(parent, random, ALL, mate=lambda: recent[len(recent) // 2])
        out.append((parent, child))
        recent.append(child.rule if len(list(child.rule.assigns())) < 50 else recent[0])
    return tuple(out)


def children(kind: str, name: str = "adamw", frame: str = "update", count: int = 40) -> list[Child]:
    return [mutate(start(name, frame), Random(i), only(kind)) for i in range(count)]


# --- all of them ----------------------------------------------------------------------------------------


def test_the_configuration_has_a_weight_for_every_mutation() -> None:
    weights = {n for n, f in Mutation.model_fields.items() if f.annotation is float}
    assert weights == MUTATIONS.keys()
    assert {n for n in MUTATIONS if getattr(Mutation(), n)} == {"insert", "delete", "modify"}  # Lion's


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_children_are_valid_and_read_back(name: str, frame: str) -> None:
    kinds = Counter[str]()
    for parent, child in walk(name, frame):
        kinds[child.mutation.split()[0]] += 1
        assert check(child.rule) == []
        assert is_valid(child.rule)
        assert child.rule != parent
        assert parse(child.rule.text) == child.rule
        assert flatten(child.rule, free=frame == "free") == child.rule
        assert is_framed(child.rule) == (frame == "update")
        assert (child.rule.name, child.rule.doc) == (parent.name, parent.doc)
        assert len(child.rule.buffers) <= max(ALL.max_buffers, len(parent.buffers))
    assert set(kinds) == set(MUTATIONS)


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_what_is_left_of_a_program_is_the_program(name: str, frame: str) -> None:
    known = Identities()
    for _, child in walk(name, frame)[::4]:
        rule, part = child.rule, strip(child.rule)
        assert check(part) == []
        assert canonical_hash(part) == canonical_hash(rule) == known.of(rule).hash == known.of(part).hash
        assert same(trajectory(part, 3), trajectory(rule, 3))
        assert strip(part) == part
        assert check(tidy(rule)) == []
        assert same(trajectory(tidy(rule), 3), trajectory(rule, 3))


def test_strip_knows_outputs_orders_and_swapped_buffers() -> None:
    rule = parse("def r(w, g, t, a, b, c, *, lr=0.1):\n    x = a + t\n    y = b * 2\n    return w - lr * b, x, c, g\n")
    part = strip(flatten(rule))
    assert [b.name for b in part.buffers] == ["b", "c"]
    assert part.positional == ("t", "b", "c")
    identity = Identities().of(flatten(rule))
    assert (identity.state, identity.statements, identity.uses_gradient) == (8, 2, True)
    averaged = flatten(derive(load("sgd"), "averaging"))
    assert "average" in {b.name for b in strip(averaged).buffers}


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_what_mutations_break_is_found_quickly(name: str, frame: str) -> None:
    parents, found = [p for p, _ in walk(name, frame)], Counter[bool]()
    for i in range(600):
        random = Random(i)
        program = Program(random.choice(parents), random, lambda random=random: random.choice(parents))
        changed = random.choice([*MUTATIONS.values()])(program)
        if changed is not None:
            found[is_valid(changed)] += 1
            assert is_valid(changed) == (check(changed) == [])
    assert min(found[True], found[False]) > 50


# --- one by one -----------------------------------------------------------------------------------------


def test_swap_puts_an_op_of_the_same_kind_in_place() -> None:
    parent = start("adamw", "update")
    for child in children("swap"):
        (a, b), *more = [(a, b) for a, b in zip(parent.body, child.rule.body, strict=True) if a != b]
        assert not more
        assert (a.target, a.value.args) == (b.target, b.value.args)  # type: ignore[union-attr]
        assert b.value.op in alike(a.value.op)  # type: ignore[union-attr]


def test_like_ops_are_like() -> None:
    assert set(alike("mean")) >= {"norm", "rms", "sum"}
    assert set(alike("less")) == {"less_equal", "greater", "greater_equal", "equal", "not_equal"}
    assert set(alike("dot")) == {"cosine"}
    assert set(alike("ema")) == {"lerp", "clip"}
    assert "row_rms" in alike("row_mean")
    assert alike("where") == alike("matmul") == alike("const") == ()
    for op in SEARCH_OPS:
        assert all(OPS[other].arity == OPS[op].arity for other in alike(op))
        assert all(op in alike(other) for other in alike(op) if other in SEARCH_OPS)


def test_splice_takes_statements_from_the_mate() -> None:
    parent, mate = start("lion", "update"), start("adan", "update")
    theirs = {a.value.op for a in mate.assigns()} - {a.value.op for a in parent.assigns()}
    met, lengths = set[str](), set[int]()
    for i in range(80):
        child = mutate(parent, Random(i), only("splice"), mate=lambda: mate)
        met |= {a.value.op for a in child.rule.assigns()} & theirs
        lengths.add(len(child.rule.body) - len(parent.body))
        assert child.mutation == f"splice {len(child.rule.body) - len(parent.body)} statements"
    assert met >= {"sqrt", "div", "square"} & theirs
    assert lengths == set(range(1, LONGEST_FRAGMENT + 1))


def test_promote_and_demote_keep_the_meaning() -> None:
    for child in children("promote", count=20):
        parent = start("adamw", "update")
        (hyper,) = [h for h in child.rule.hypers if h.name not in OUTSIDE]
        assert same(trajectory(child.rule, 3), trajectory(parent, 3))
        assert hyper.default in (0.9, 0.999, 1.0, 1e-8)
        assert hyper.name in tidy(child.rule).defaults
        back = mutate(child.rule, Random(0), only("demote"))
        assert back.rule == parent
    with pytest.raises(NoMutation):
        mutate(start("adamw", "update"), Random(0), only("demote"))
    assert all({"lr", "weight_decay"} <= c.rule.defaults.keys() for c in children("demote", "adamw", "free"))


@pytest.mark.parametrize("description", IN_FRAME)
def test_a_transform_in_the_frame_is_the_transform_of_the_step(description: str) -> None:
    """With lr 1 and no decay the framed program does what the transform of ``w - u`` does."""
    rule = start("adamw", "update")
    child = next(
        c.rule for i in range(200) if (c := mutate(rule, Random(i), only("transform"))).mutation.endswith(description)
    )
    assert child.hypers == rule.hypers
    assert close(trajectory(child, 3, lr=1.0), trajectory(derive(rule, description), 3, lr=1.0))
    step = np.subtract(trajectory(child, 1, lr=1e-3)[1], trajectory(child, 1, lr=0.0)[1])
    whole = np.subtract(trajectory(child, 1, lr=1.0)[1], trajectory(child, 1, lr=0.0)[1])
    assert np.allclose(step, 1e-3 * whole, rtol=1e-9, atol=0)  # lr keeps its meaning


def test_every_transform_is_tried() -> None:
    assert {c.mutation for c in children("transform", count=120)} == {f"transform {d}" for d in IN_FRAME}
    free = children("transform", "sgd", "free", 120)
    assert {c.mutation for c in free} == {f"transform {d}" for d in FREE}


def test_the_number_of_buffers_is_limited() -> None:
    rule = start("adamw", "update")
    config = only("transform").model_copy(update={"max_buffers": 2})
    kinds = {mutate(rule, Random(i), config).mutation for i in range(60)}
    assert "transform nesterov" not in kinds
    assert len(kinds) == len(IN_FRAME) - 1


@pytest.mark.parametrize(("name", "frame"), STARTS)
def test_constant_changes_one_number_and_nothing_else(name: str, frame: str) -> None:
    parent = start(name, frame)
    changes = Counter[str]()
    for child in children("constant", name, frame, 60):
        rule = child.rule
        assert [a.target for a in rule.assigns()] == [a.target for a in parent.assigns()]
        assert [a.value.op for a in rule.assigns()] == [a.value.op for a in parent.assigns()]
        assert [h.name for h in rule.hypers] == [h.name for h in parent.hypers]
        assert (rule.returns, rule.buffers) == (parent.returns, parent.buffers)
        statements = [(a, b) for a, b in zip(parent.assigns(), rule.assigns(), strict=True) if a != b]
        hypers = [(a, b) for a, b in zip(parent.hypers, rule.hypers, strict=True) if a != b]
        assert len(statements) + len(hypers) == 1
        assert not any(h.name in OUTSIDE for h, _ in hypers)
        for a, b in statements:
            for x, y in zip((a.value, *a.value.args), (b.value, *b.value.args), strict=True):
                assert x is y or {x.op, y.op} == {"const"} or x.args
        changes["statement" if statements else "hyper"] += 1
    assert changes["hyper" if frame == "free" and name != "sgd" else "statement"]


def test_decay_rates_stay_below_one_and_zero_can_be_left() -> None:
    values = [_rescaled(v, Random(i)) for i in range(300) for v in (0.999, 0.9)]
    assert max(values) < 1
    assert len(set(values)) > 250
    assert len({_rescaled(0.0, Random(i)) for i in range(10)}) == 10
    scaled = [_rescaled(8.0, Random(i)) for i in range(300)]
    assert min(scaled) > 0
    assert sum(v > 8 for v in scaled) > 100 < sum(v < 8 for v in scaled)


def test_nothing_to_change_is_no_mutation() -> None:
    bare = flatten(parse("def r(w, g, *, lr=0.1):\n    return w - lr * g\n"))
    with pytest.raises(NoMutation):
        mutate(bare, Random(0), only("constant"))
