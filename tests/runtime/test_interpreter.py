"""The compiled interpreter: every instruction on special values, and results that nothing but the replica decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from instructions import PRIMITIVES, assert_near, executed, meant, stepwise
from rules import SAMPLE, SEEDS

from evoptim.dsl import OPS, Op, Rule, load, parse
from evoptim.runtime.bytecode.opcodes import COPY, SCALAR, VECTOR, Opcode, patterns
from evoptim.runtime.interpreter import Interpreter, Member, load_interpreter
from evoptim.runtime.machine import Machine
from evoptim.runtime.machines import Machines
from evoptim.runtime.schedules import constant

CPU = torch.device("cpu")
SHAPES = ((), (3,), (4, 5), (2, 3, 4), (120, 300), (2, 70, 130), (40_000,))  # the last three are cut into units
NEAR = {"sin", "cos", "tan", "arcsin", "arccos", "sinh", "cosh", "arcsinh", "arccosh", "arctanh", "erf"}
"""Functions of the standard library, which are some units in the last place off."""


# --- instructions ---------------------------------------------------------------------------------------


def step(member: Member, w: torch.Tensor, g: torch.Tensor) -> None:
    """The first step, by the compiled interpreter."""
    library = load_interpreter(w.dtype)
    assert library is not None
    Interpreter([member], [np.arange(len(member))], w.dtype, library, 1).step(w, g, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("opcode", PRIMITIVES, ids=lambda o: f"{o.name}-{o.form}")
def test_operations_mean_what_the_table_says(opcode: Opcode, dtype: torch.dtype) -> None:
    found, arguments = executed(opcode.name, opcode.form, dtype, step)
    with np.errstate(all="ignore"):
        expected = meant(opcode.name, arguments, found.shape)
        assert_near(found, expected, units=4 if opcode.name in NEAR or dtype == torch.float64 else 0.51)


@pytest.mark.parametrize("form", [VECTOR, SCALAR])
def test_copies(form: str) -> None:
    found, [argument] = executed(COPY, form, torch.float32, step)
    np.testing.assert_array_equal(found, np.broadcast_to(argument, found.shape))


@pytest.mark.parametrize(("pattern", "form"), [(p, f) for p in patterns() for f in sorted(p.forms)])
def test_superinstructions_round_every_operation(pattern: object, form: str) -> None:
    found, arguments = executed(pattern.name, form, torch.float32, step)
    with np.errstate(all="ignore"):
        expected = stepwise(pattern.tree, dict(zip(pattern.arguments, arguments, strict=True)))
        assert_near(found, np.broadcast_to(expected, found.shape), units=0.51)


@pytest.mark.parametrize("op", ["exp", "exp2", "expm1", "log", "log1p", "tanh", "arctan", "sigmoid", "softplus"])
def test_functions_of_float_are_rounded_once(op: str) -> None:
    random = np.random.default_rng(0)
    bits = random.integers(0, 2**32, 50_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = np.concatenate([bits, random.standard_normal(50_000).astype(np.float32)])
    rule = parse(f"def f(w, g, *, lr=1):\n    return {op}(g) + 0 * lr")
    w = torch.zeros(1, len(x))
    population([rule], ((len(x),),), [{}]).step(w, torch.from_numpy(x)[None], 1)
    meaning = OPS[op].meaning
    assert meaning is not None
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble)
        expected = 1 / (1 + np.exp(-wide)) if op == "sigmoid" else meaning(wide)
        assert_near(w.numpy()[0], expected, units=0.51)


def test_a_new_operation_is_one_of_the_instructions() -> None:
    op = Op(
        name="halved",
        args=("x",),
        doc="x / 2",
        meaning=lambda x: x / 2,
        torch="{0} / 2",
        host="{0} / 2",
        cpp="({0} / 2)",
    )
    OPS.register(op)
    try:
        w = torch.zeros(1, 2)
        rule = parse("def f(w, g, *, lr=1):\n    return w - lr * halved(g)")
        population([rule], ((2,),), [{}]).step(w, torch.ones(1, 2), 1)
        assert w.tolist() == [[-0.5, -0.5]]
    finally:
        OPS.unregister("halved")


# --- whole steps ----------------------------------------------------------------------------------------


def population(
    rules: list[Rule],
    layout: tuple[tuple[int, ...], ...],
    settings: list[dict[str, float]],
    dtype: torch.dtype = torch.float32,
    threads: int = 1,
) -> Machines:
    """Rules that all run in the interpreter."""
    made = Machines(rules, layout, settings, 1000, constant, device=CPU, dtype=dtype, threads=threads)
    assert not made.machines
    return made


def trained(rules: list[Rule], replicas: int, threads: int = 1, steps: int = 3) -> torch.Tensor:
    """Parameters ``[rule * replica, D]`` after some steps; replica k of every rule has the same start and gradients."""
    size = sum(int(np.prod(s)) for s in SHAPES)
    made = population(rules, SHAPES, [{"lr": 0.01 * (k + 1)} for k in range(replicas)], threads=threads)
    w, *grads = drawn(replicas, size, steps)
    w = w.repeat(len(rules), 1)
    for t, g in enumerate(grads, start=1):
        made.step(w, g.repeat(len(rules), 1), t)
    return w


def drawn(replicas: int, size: int, steps: int) -> torch.Tensor:
    """Parameters, then gradients of some steps, ``[1 + steps, replica, D]``; those of a replica are always the same."""
    rows = [torch.randn(1 + steps, size, generator=torch.Generator().manual_seed(k)) for k in range(replicas)]
    return torch.stack(rows, dim=1)


COMPILED = [load(n) for n in (*SEEDS, *SAMPLE) if n != "muon"]


@pytest.mark.parametrize("rule", COMPILED, ids=lambda r: r.name)
def test_float32_agrees_with_the_torch_machine(rule: Rule) -> None:
    settings = [{"lr": 0.01}, {"lr": 0.02}]
    machine = Machine(rule, SHAPES, settings, 1000, constant)
    w, *grads = drawn(2, sum(int(np.prod(s)) for s in SHAPES), 3)
    for t, g in enumerate(grads, start=1):
        machine.step(w, g, t)
    torch.testing.assert_close(trained([rule], 2), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor", "prodigy", "came", "sm3"])
def test_bits_depend_neither_on_threads_nor_on_company(name: str) -> None:
    """One replica is shared among threads, many are not; there are neighbours that diverge, or none."""
    rule = load(name)
    alone = trained([rule], 1)
    assert torch.isfinite(alone).all()
    for threads in (2, 3):
        assert torch.equal(trained([rule], 1, threads=threads), alone)
    diverging = parse("def diverging(w, g, *, lr=1):\n    return w / (g - g) + lr * exp(1e30 * g)")
    company = trained([diverging, *COMPILED[:3], rule, diverging], 3, threads=2)
    assert torch.equal(company[12:13], alone)
    assert not torch.isfinite(company[:3]).all()


def test_taking_replicas_out_changes_nothing_for_the_others() -> None:
    rules, layout = [load("adan"), load("lamb"), load("adafactor")], ((5, 7), (3,))
    kept = np.array([True, False, True, False, False, False, False, True, True])
    runs = []
    for drop in (False, True):
        made = population(rules, layout, [{"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3}])
        generator = torch.Generator().manual_seed(0)
        w = torch.randn(9, 38, generator=generator)
        for t in range(1, 5):
            g = torch.randn(9, 38, generator=generator)
            if drop and t == 3:
                made.keep(kept)
                w = w[kept].contiguous()
            made.step(w, g[kept].contiguous() if drop and t >= 3 else g, t)
        runs.append(w if drop else w[kept])
    assert torch.equal(*runs)


def test_numbers_are_those_of_the_step_beyond_a_block_of_steps() -> None:
    rule = parse("def f(w, g, t, *, lr=1):\n    return w + lr * t")
    made = population([rule], ((2,),), [{"lr": 1.0}, {"lr": 2.0}], torch.float64)
    w = torch.zeros(2, 2, dtype=torch.float64)
    for t in range(1, 601):
        made.step(w, w.clone(), t)
    assert w.tolist() == [[180300.0, 180300.0], [360600.0, 360600.0]]


def test_rules_that_share_host_scalars_have_those_of_their_own_settings() -> None:
    text = "def f(w, g, t, *, lr=1, c={}):\n    return w + lr * c * t + {} * g"
    rules = [parse(text.format(c, k)) for c in (2, -0.0, 0.0) for k in (1, 2)]
    settings = [{"lr": float(k)} for k in range(70)]
    made = population(rules, ((1,),), settings, torch.float64)
    w = torch.zeros(len(rules) * 70, 1, dtype=torch.float64)
    for t in (1, 2):
        made.step(w, torch.zeros_like(w), t)
    assert w.view(3, 2, 70)[0].tolist() == [[6.0 * k for k in range(70)]] * 2
    assert not w.view(3, 2, 70)[1:].any()


def test_facts_are_those_of_each_parameter() -> None:
    rule = parse("def f(w, g, *, lr=1):\n    return w + lr * numel + 10 * ndim")
    w = torch.zeros(1, 9)
    population([rule], ((3,), (2, 3)), [{}]).step(w, torch.ones(1, 9), 1)
    assert w.tolist() == [[13.0] * 3 + [26.0] * 6]


def test_values_over_all_parameters_are_read_by_all_before_they_change() -> None:
    rule = parse(
        "def f(w, g, q: global_, p: global_, *, lr=1):\n"
        "    u = g / (1 + q)\n"
        "    return w - lr * u + p, global_sum(abs(u)), q"
    )
    w = torch.zeros(1, 3, dtype=torch.float64)
    made = population([rule], ((2,), (1,)), [{}], torch.float64)
    g = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64)
    for t in (1, 2, 3):
        made.step(w, g, t)
    second = g / (1 + 8)
    third = g / (1 + second.sum())
    torch.testing.assert_close(w, -(g + second + third) + 8)


def test_parameters_without_entries_are_left_to_torch() -> None:
    made = Machines([load("adamw")], ((0,), (2,)), [{}], 2, constant, device=CPU, dtype=torch.float32, threads=1)
    assert made.machines
    w = torch.zeros(1, 2)
    made.step(w, torch.ones(1, 2), 1)
    assert (w < 0).all()


def test_one_warning_and_the_torch_machine_without_a_compiler(tmp_path: Path) -> None:
    code = """
import warnings
from evoptim.dsl import load
from evoptim.runtime import train_population
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(2):
        result = train_population([load("adamw")], "noisy_quadratic", [{"lr": 0.01}], [0], 5)
print(len([w for w in told if "no C++ compiler" in str(w.message)]), result.status[0, 0, 0])
"""
    environment = {k: v for k, v in os.environ.items() if k != "CXX"} | {"PATH": "", "EVOPTIM_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "ok"]
