"""The update over the replica axis agrees with the reference, replica by replica, on random rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import rules

from evoptim.dsl import Reference, Rule, load, parse, rule_names
from evoptim.runtime.machine import Machine
from evoptim.runtime.schedules import constant, linear

SHAPES = ((), (3,), (4, 5), (2, 3, 4))
SIZE = sum(int(np.prod(s)) for s in SHAPES)
STEPS = 4


def split(flat: np.ndarray) -> list[np.ndarray]:
    """The parameters in a flat vector."""
    out, offset = [], 0
    for shape in SHAPES:
        size = int(np.prod(shape))
        out.append(flat[offset : offset + size].reshape(shape))
        offset += size
    return out


def run_both(rule: Rule, settings: list[dict[str, float]], drop_at: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Parameters ``[replica, D]`` after a few steps, by the machine and by the reference."""
    random = np.random.Generator(np.random.PCG64(7))
    start = random.standard_normal((len(settings), SIZE))
    grads = random.standard_normal((STEPS, len(settings), SIZE))
    machine = Machine(rule, SHAPES, settings, STEPS, constant)
    w, kept = torch.from_numpy(start.copy()), np.arange(len(settings))
    for t in range(STEPS):
        if t == drop_at:
            kept = kept[1:]
            machine.keep(np.arange(1, len(settings)))
            w = w[1:].clone()
        machine.step(w, torch.from_numpy(grads[t][kept]), t + 1)
    expected = []
    for i in kept:
        reference = Reference(rule, split(start[i]), **settings[i])
        for t in range(STEPS):
            reference.step(split(grads[t, i]))
        expected.append(np.concatenate([p.ravel() for p in reference.params]))
    return w.numpy(), np.stack(expected)


@pytest.mark.parametrize("name", rule_names())
@pytest.mark.parametrize("drop_at", [None, 2])
def test_zoo_rules(name: str, drop_at: int | None) -> None:
    rule = load(name)
    settings = [{"lr": lr} for lr in (1e-3, 1e-2, 1e-1)]
    machine, reference = run_both(rule, settings, drop_at)
    np.testing.assert_allclose(machine, reference, rtol=1e-11, atol=1e-13)


@given(rule=rules(tame=True), vary=st.booleans())
def test_random_rules(rule: Rule, vary: bool) -> None:
    settings = [{"lr": 0.1 * (i + 1 if vary else 1)} for i in range(3)] if "lr" in rule.defaults else [{}] * 3
    if "lr" not in rule.defaults:
        rule = rule.replace(hypers=(*rule.hypers, load("sgd").hypers[0]))
    machine, reference = run_both(rule, settings)
    np.testing.assert_allclose(machine, reference, rtol=1e-7, atol=1e-9)


def test_reductions_stay_within_a_replica() -> None:
    rule = parse(
        "def f(w, g, n: scalar, q: global_, r: row, c: col, *, lr=1):\n"
        "    n = norm(g)\n"
        "    q = q + global_norm(g)\n"
        "    if matrix:\n"
        "        r = row_mean(g)\n"
        "        c = col_mean(abs(g))\n"
        "        u = g * r / c\n"
        "    else:\n"
        "        u = g / (1 + mean(g * g))\n"
        "    return w - lr * u / (n + q), n, q, r, c"
    )
    machine, reference = run_both(rule, [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}])
    np.testing.assert_allclose(machine, reference, rtol=1e-12)


def test_states_that_receive_w_or_g_keep_their_own_copy() -> None:
    rule = parse(
        "def f(w, g, old, last: init(g), first: init(w), a, b, *, lr=0.1):\n"
        "    a = a + g\n"
        "    return w - lr * (last + old + first + b), w, g, first, b, a"
    )
    machine, reference = run_both(rule, [{}, {}])
    np.testing.assert_allclose(machine, reference, rtol=1e-12)


def test_schedule_multiplies_lr_only() -> None:
    rule = parse("def f(w, g, *, lr=1, c=2):\n    return w - lr * c * g")
    machine = Machine(rule, ((2,),), [{"lr": 0.5}], 2, linear)
    w = torch.zeros(1, 2, dtype=torch.float64)
    ones = torch.ones(1, 2, dtype=torch.float64)
    machine.step(w, ones, 1)
    machine.step(w, ones, 2)
    np.testing.assert_allclose(w.numpy(), [[-1.5, -1.5]])
