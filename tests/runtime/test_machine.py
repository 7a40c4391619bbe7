"""Both machines agree with the reference, replica by replica, on all rules of the zoo and on random ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rounding import Make, assert_agrees
from strategies import rules, with_lr_last

from evoptim.dsl import OPS, Op, Reference, Rule, load, parse, rule_names
from evoptim.dsl.check import reduction_of
from evoptim.runtime.machine import Machine
from evoptim.runtime.machines import Machines
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


@pytest.fixture(params=["torch", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    return request.param == "compiled"


class Alone:
    """One rule in a population of its own, with the interface of a machine."""

    def __init__(self, rule: Rule, settings: list[dict[str, float]]) -> None:
        cpu = torch.device("cpu")
        self.machines = Machines([rule], SHAPES, settings, STEPS, constant, device=cpu, dtype=torch.float64, threads=1)
        self.step = self.machines.step

    def keep(self, index: np.ndarray) -> None:
        alive = np.zeros(self.machines.counts[0], dtype=bool)
        alive[index] = True
        self.machines.keep(alive)


def run(
    rule: Rule, settings: list[dict[str, float]], compiled: bool, drop_at: int | None = None
) -> tuple[np.ndarray, Callable[[Make], np.ndarray]]:
    """Parameters ``[replica, D]`` after a few steps, by a machine, and what gives those by a reference."""
    random = np.random.Generator(np.random.PCG64(7))
    start = random.standard_normal((len(settings), SIZE))
    grads = random.standard_normal((STEPS, len(settings), SIZE))
    machine = Alone(rule, settings) if compiled else Machine(rule, SHAPES, settings, STEPS, constant)
    w, kept = torch.from_numpy(start.copy()), np.arange(len(settings))
    for t in range(STEPS):
        if t == drop_at:
            kept = kept[1:]
            machine.keep(np.arange(1, len(settings)))
            w = w[1:].clone()
        machine.step(w, torch.from_numpy(grads[t][kept]), t + 1)

    def by(make: Make) -> np.ndarray:
        expected = []
        for i in kept:
            reference = make(rule, split(start[i]), **settings[i])
            for t in range(STEPS):
                reference.step(split(grads[t, i]))
            expected.append(np.concatenate([p.ravel() for p in reference.params]))
        return np.stack(expected)

    return w.numpy(), by


def run_both(
    rule: Rule, settings: list[dict[str, float]], compiled: bool, drop_at: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The same by a machine and by the reference."""
    found, by = run(rule, settings, compiled, drop_at)
    return found, by(Reference)


@pytest.mark.parametrize("name", rule_names())
@pytest.mark.parametrize("drop_at", [None, 2])
def test_zoo_rules(name: str, drop_at: int | None, compiled: bool) -> None:
    rule = load(name)
    settings = [{"lr": lr} for lr in (1e-3, 1e-2, 1e-1)]
    machine, reference = run_both(rule, settings, compiled, drop_at)
    np.testing.assert_allclose(machine, reference, rtol=1e-11, atol=1e-13)


def test_all_rules_but_those_of_matrix_products_are_compiled() -> None:
    def compiles(name: str) -> bool:
        return bool(Alone(load(name), [{"lr": 0.1}]).machines.members)

    assert [n for n in rule_names() if not compiles(n)] == ["adamuon", "muon", "muon_moonlight", "normuon", "scion"]


@given(rule=rules(tame=True), vary=st.booleans(), compiled=st.booleans())
def test_random_rules(rule: Rule, vary: bool, compiled: bool) -> None:
    settings = [{"lr": 0.1 * (i + 1 if vary else 1)} for i in range(3)] if "lr" in rule.defaults else [{}] * 3
    rule = with_lr_last(rule)
    assert_agrees(*run(rule, settings, compiled))


INPUTS = {"arccosh": "(1 + {})"}
"""Where an operation has values, if not between 0.2 and 0.8."""
PRODUCTS = ("matmul", "transpose")
REDUCING = [op for op in OPS if op.reduce or (op.derived and (reduction_of(op) or "global" in op.name))]
ELEMENTWISE = [op for op in OPS if op not in REDUCING and op.name not in PRODUCTS]


def applied(op: Op, x: str, y: str = "") -> str:
    """An operation on an expression, and where it takes more on others of the same kind or on ``y``."""
    y = y or f"0.9 * {x}"
    arguments = [f"{x} > 0.5" if op.condition else INPUTS.get(op.name, "{}").format(x), f"({y})", f"({y} + 0.1)"]
    if op.symbol:
        text = f"({op.symbol}{x})" if op.arity == 1 else f"({x} {op.symbol} ({y}))"
        return f"where({text}, {x}, 0.5)" if op.comparison else text
    return f"{op.name}({', '.join(arguments[: op.arity])})"


def agrees(signature: str, first: str, matrix: str, vector: str, last: str, compiled: bool) -> None:
    """Assert that a rule of these statements does the same in a machine as in the reference, to finite numbers."""
    branches = f"    if matrix:\n{_indented(matrix, 8)}    else:\n{_indented(vector, 8)}" if matrix else ""
    rule = parse(f"def f(w, g, {signature}, *, lr=0.1):\n{_indented(first, 4)}{branches}{_indented(last, 4)}")
    machine, reference = run_both(rule, [{"lr": 0.3}, {"lr": 0.6}], compiled)
    assert np.isfinite(reference).all()
    np.testing.assert_allclose(machine, reference, rtol=1e-11)


def _indented(lines: str, width: int) -> str:
    return "".join(f"{' ' * width}{line.strip()}\n" for line in lines.split(";"))


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_every_operation_on_every_kind_into_every_kind_of_state(op: Op, compiled: bool) -> None:
    agrees(
        "n: scalar, q: global_, m: init(g), v: init(w)",
        f"a = 0.2 + 0.6 * sigmoid(g); s = mean(a); n = 0.5 * n + {applied(op, 's')}; z = global_mean(a)",
        "",
        "",
        f"q = 0.5 * q + {applied(op, 'z')}; m = 0.5 * m + {applied(op, 'a')}; v = 0.5 * v + {applied(op, 'a', 's')};"
        f"return w - lr * (m + n * q * v + {applied(op, 'lr')}), n, q, m, v",
        compiled,
    )
    agrees(
        "r: row, c: col",
        "a = 0.2 + 0.6 * sigmoid(g)",
        f"y = row_mean(a); r = 0.5 * r + {applied(op, 'y')}; x = col_mean(a); c = 0.5 * c + {applied(op, 'x')};"
        f"z = col_mean(y); u = {applied(op, 'y', 'x')} + r * c * {applied(op, 'z')}",
        "u = a",
        "return w - lr * u, r, c",
        compiled,
    )


@pytest.mark.parametrize("op", REDUCING, ids=lambda op: op.name)
def test_every_reduction_of_every_kind(op: Op, compiled: bool) -> None:
    def over(x: str) -> str:
        return f"{op.name}({x}{', 0.5 + 0.5 * w' * (op.arity - 1)})"

    if "global" in op.name:
        first = f"a = 0.2 + 0.6 * sigmoid(g); q = 0.5 * q + global_mean(a * {over('a')}); n = mean(a)"
        agrees("q: global_, n: scalar", f"{first}; u = {over('n')} + q", "", "", "return w - lr * u, q, n", compiled)
        return
    many = [over(x) for x in ("a", "row_mean(a) + 0 * w", "row_mean(a)", "col_mean(a)")]
    kinds = {"row": many[:2] + many[3:], "col": many[:3]}.get(op.name[:3], many)
    agrees(
        "m",
        "a = 0.2 + 0.6 * sigmoid(g)",
        f"m = 0.5 * m + {' + '.join(kinds)}",
        f"m = a + {over('a')}" if kinds is many else "m = a",
        "return w - lr * m, m",
        compiled,
    )


def test_reductions_stay_within_a_replica(compiled: bool) -> None:
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
    machine, reference = run_both(rule, [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}], compiled)
    np.testing.assert_allclose(machine, reference, rtol=1e-12)


def test_states_that_receive_w_or_g_keep_their_own_copy(compiled: bool) -> None:
    rule = parse(
        "def f(w, g, old, last: init(g), first: init(w), a, b, *, lr=0.1):\n"
        "    a = a + g\n"
        "    return w - lr * (last + old + first + b), w, g, first, b, a"
    )
    machine, reference = run_both(rule, [{}, {}], compiled)
    np.testing.assert_allclose(machine, reference, rtol=1e-12)


def test_schedule_multiplies_lr_only() -> None:
    rule = parse("def f(w, g, *, lr=1, c=2):\n    return w - lr * c * g")
    machine = Machine(rule, ((2,),), [{"lr": 0.5}], 2, linear)
    w = torch.zeros(1, 2, dtype=torch.float64)
    ones = torch.ones(1, 2, dtype=torch.float64)
    machine.step(w, ones, 1)
    machine.step(w, ones, 2)
    np.testing.assert_allclose(w.numpy(), [[-1.5, -1.5]])


def test_values_over_all_parameters_may_be_made_of_smaller_ones(compiled: bool) -> None:
    rule = parse(
        "def f(w, g, s: scalar, *, lr=1):\n"
        "    s = s + norm(g)\n"
        "    a = global_mean(s) + global_max(abs(g)) + global_min(s * numel)\n"
        "    b = global_sum(numel) + global_norm(g - global_mean(g))\n"
        "    return w - lr * g * a / b, s"
    )
    machine, reference = run_both(rule, [{"lr": 0.1}, {"lr": 0.2}], compiled)
    np.testing.assert_allclose(machine, reference, rtol=1e-12)


def test_numbers_beyond_the_type_are_infinite() -> None:
    rule = parse("def f(w, g, v, t, *, lr=1):\n    return w - lr * g / (1 + v), t**200")
    machine, w = Machine(rule, ((2,),), [{}], 3, constant), torch.ones(1, 2)
    for t in (1, 2, 3):
        machine.step(w, torch.ones(1, 2), t)  # 2**200 is no float32
    assert w.tolist() == [[-0.5, -0.5]]
