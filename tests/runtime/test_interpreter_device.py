"""The interpreter for GPUs, compiled for the CPU: one meaning whatever the blocks, bits that the replica decides."""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from instructions import PRIMITIVES, assert_near, executed, meant, stepwise
from rounding import Make, assert_agrees
from rules import SAMPLE, SEEDS
from shimmed import COMPILER, ShimKernel
from strategies import rules, with_lr_last

from evoptim.dsl import Reference, Rule, load, parse, rule_names
from evoptim.runtime.bytecode import compile_bytecode
from evoptim.runtime.bytecode.opcodes import COPY, SCALAR, VECTOR, Opcode, Pattern, patterns
from evoptim.runtime.interpreter import DeviceInterpreter, Interpreter, Member, device, load_interpreter
from evoptim.runtime.interpreter.device import Job, fits_device
from evoptim.runtime.interpreter.tables import UNIT
from evoptim.runtime.schedules import constant

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs g++")

CPU = torch.device("cpu")
SHAPES = ((), (3,), (4, 5), (2, 3, 4), (9, 31), (150,))
Layout = tuple[tuple[int, ...], ...]


def size(shapes: Layout) -> int:
    return sum(int(np.prod(s)) for s in shapes)


SIZE = size(SHAPES)
STEPS = 3
SETTINGS = [{"lr": 1e-3}, {"lr": 1e-2}]
Way = tuple[int, int, int, int]
"""Threads of a block, entries that each has at a time, processors (none: a block for each replica), and the unit."""
ONE, SMALL, SHARED, CUT = (8, 4, 0, UNIT), (4, 2, 0, UNIT), (8, 4, 1, 40), (4, 2, 4, 10)
WAYS: tuple[Way, ...] = (ONE, SMALL, SHARED, CUT)


@functools.cache
def kernel(dtype: torch.dtype, threads: int, each: int, processors: int) -> ShimKernel:
    return ShimKernel(dtype, threads, each, processors)


def interpreter(
    members: list[Rule],
    settings: list[dict[str, float]],
    way: Way,
    dtype: torch.dtype = torch.float64,
    shapes: Layout = SHAPES,
) -> DeviceInterpreter:
    """Rules over replicas that stand rule by rule."""
    threads, each, processors, unit = way
    made = []
    for rule in members:
        code = compile_bytecode(rule)
        assert code is not None
        made.append(Member(code, shapes, settings, 1000, constant, unit))
    places = np.split(np.arange(len(made) * len(settings)), len(made))
    return DeviceInterpreter(made, places, dtype, kernel(dtype, threads, each, processors), CPU)


def drawn(replicas: int, dtype: torch.dtype = torch.float64, shapes: Layout = SHAPES) -> torch.Tensor:
    """Parameters, then gradients of some steps, ``[1 + steps, replica, D]``; those of a replica are always the same."""
    count = size(shapes)
    rows = [torch.randn(1 + STEPS, count, generator=torch.Generator().manual_seed(k)) for k in range(replicas)]
    return torch.stack(rows, dim=1).to(dtype)


def trained(
    members: list[Rule],
    way: Way,
    dtype: torch.dtype = torch.float64,
    settings: list[dict[str, float]] = SETTINGS,
    shapes: Layout = SHAPES,
) -> torch.Tensor:
    """Parameters ``[rule * replica, D]`` after some steps."""
    made = interpreter(members, settings, way, dtype, shapes)
    w, *grads = drawn(len(settings), dtype, shapes).repeat(1, len(members), 1)
    for t, g in enumerate(grads, start=1):
        made.step(w, g, t)
    return w


def split(flat: np.ndarray, shapes: Layout) -> list[np.ndarray]:
    parts = np.split(flat, np.cumsum([int(np.prod(s)) for s in shapes])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]


def reference(
    rule: Rule, settings: list[dict[str, float]] = SETTINGS, shapes: Layout = SHAPES, make: Make = Reference
) -> np.ndarray:
    """The same by the reference, or one like it."""
    w, *grads = drawn(len(settings), shapes=shapes).numpy()
    rows = []
    for k, setting in enumerate(settings):
        made = make(rule, split(w[k], shapes), **setting)
        for g in grads:
            made.step(split(g[k], shapes))
        rows.append(np.concatenate([p.ravel() for p in made.params]))
    return np.stack(rows)


def compiled(names: list[str]) -> list[Rule]:
    return [rule for rule in map(load, names) if compile_bytecode(rule)]


# --- instructions ---------------------------------------------------------------------------------------


def step(member: Member, w: torch.Tensor, g: torch.Tensor) -> None:
    made = kernel(w.dtype, 8, 4, 0)
    DeviceInterpreter([member], [np.arange(len(member))], w.dtype, made, CPU).step(w, g, 1)


@pytest.mark.parametrize("opcode", PRIMITIVES, ids=lambda o: f"{o.name}-{o.form}")
def test_operations_mean_what_the_table_says(opcode: Opcode) -> None:
    found, arguments = executed(opcode.name, opcode.form, torch.float32, step)
    with np.errstate(all="ignore"):
        assert_near(found, meant(opcode.name, arguments, found.shape), units=4)


@pytest.mark.parametrize("form", [VECTOR, SCALAR])
def test_copies(form: str) -> None:
    found, [argument] = executed(COPY, form, torch.float32, step)
    np.testing.assert_array_equal(found, np.broadcast_to(argument, found.shape))


@pytest.mark.parametrize(("pattern", "form"), [(p, f) for p in patterns() for f in sorted(p.forms)])
def test_superinstructions_round_every_operation(pattern: Pattern, form: str) -> None:
    found, arguments = executed(pattern.name, form, torch.float32, step)
    with np.errstate(all="ignore"):
        expected = stepwise(pattern.tree, dict(zip(pattern.arguments, arguments, strict=True)))
        assert_near(found, np.broadcast_to(expected, found.shape), units=2)


# --- whole steps ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_all_rules_of_the_zoo_agree_with_the_reference(way: Way) -> None:
    members = compiled(rule_names())
    assert len(members) > 60
    found = trained(members, way).view(len(members), len(SETTINGS), SIZE)
    for rule, rows in zip(members, found.numpy(), strict=True):
        np.testing.assert_allclose(rows, reference(rule), rtol=1e-11, atol=1e-13, err_msg=rule.name)


@given(rule=rules(tame=True), way=st.sampled_from(WAYS))
def test_random_rules_agree_with_the_reference(rule: Rule, way: Way) -> None:
    rule = with_lr_last(rule)
    if compile_bytecode(rule):
        assert_agrees(trained([rule], way).numpy(), lambda make: reference(rule, make=make))


REDUCED = [
    f"{axis}{what}" for axis, what in itertools.product(("", "row_", "col_", "global_"), ("sum", "mean", "max", "min"))
]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_reductions(way: Way) -> None:
    """Every one, of entries and of what is smaller; spoilt by one NaN, only what it is part of is NaN."""
    made = []
    for name in REDUCED:
        op = {"max": "amax", "min": "amin"}.get(name, name)
        inner = f"{op}(g * w)" if "_" not in name or name.startswith("global") else f"where(1 > 0, {op}(g * w), 0)"
        if name.startswith(("row", "col")):
            other = {"row": "col", "col": "row"}[name[:3]] + name[3:]
            inner = f"{inner} + {other}({op}(g))"
            body = f"    if matrix:\n        u = {inner}\n    else:\n        u = sum(g)\n"
        else:
            body = f"    u = {inner}\n"
        made.append(parse(f"def f(w, g, *, lr=1):\n{body}    return w - lr * u"))
    found = trained(made, way).view(len(made), len(SETTINGS), SIZE)
    for rule, rows in zip(made, found.numpy(), strict=True):
        np.testing.assert_allclose(rows, reference(rule), rtol=1e-12, atol=1e-13, err_msg=rule.text)
    w, g = drawn(1)[:2].repeat(1, len(made), 1)
    g[:, 13] = torch.nan  # in the matrix of 4 rows
    interpreter(made, [{"lr": 1.0}], way).step(w, g, 1)
    spoilt = dict(zip(REDUCED, w.isnan(), strict=True))
    assert all(spoilt[f"{n}"].sum() == 20 for n in ("sum", "mean", "max", "min"))
    assert all(spoilt[f"global_{n}"].all() for n in ("sum", "mean", "max", "min"))
    assert all(spoilt[f"{axis}_{n}"].sum() == 20 for axis in ("row", "col") for n in ("sum", "mean", "max", "min"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_it_agrees_with_the_interpreter_of_the_cpu(dtype: torch.dtype) -> None:
    members = compiled([*SEEDS, *SAMPLE])
    library = load_interpreter(dtype)
    assert library is not None
    made = interpreter(members, SETTINGS, ONE).standing
    other = Interpreter(made.members, [p.numpy() for p in made.places], dtype, library, 1)
    w, *grads = drawn(len(SETTINGS), dtype).repeat(1, len(members), 1)
    for t, g in enumerate(grads, start=1):
        other.step(w, g, t)
    near = 1e-11 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(trained(members, CUT, dtype), w, rtol=near, atol=near)


# --- bits -----------------------------------------------------------------------------------------------

DIVERGING = parse("def diverging(w, g, *, lr=1):\n    return w / (g - g) + lr * exp(1e30 * g)")


@pytest.mark.parametrize("name", ["adamw", "lamb", "adafactor", "prodigy", "came", "sm3"])
def test_bits_depend_neither_on_blocks_nor_on_company(name: str) -> None:
    """One replica is shared by some blocks or by one; there are neighbours that diverge and need more, or none."""
    rule = load(name)
    alone = trained([rule], (8, 4, 0, 40), torch.float32)
    assert torch.isfinite(alone).all()
    for processors in (1, 2, 5):
        assert torch.equal(trained([rule], (8, 4, processors, 40), torch.float32), alone)
    company = trained([DIVERGING, *compiled([*SEEDS]), rule, DIVERGING], (8, 4, 1, 40), torch.float32)
    assert torch.equal(company[-4:-2], alone)
    assert not torch.isfinite(company[:2]).all()


LINED: dict[str, Layout] = {
    "rows longer than a unit": ((3, 200),),
    "few columns": ((150, 3),),
    "many columns": ((70, 90),),
    "one row": ((1, 300),),
    "batched": ((3, 40, 9),),
    "planes smaller than a unit": ((30, 4, 5),),
    "several": ((5,), (60, 5), (2, 30, 11), (1, 200), (200, 1), (4, 5), ()),
}
EACH_WAY = parse("""\
def each_way(w, g, r: row, c: col, *, lr=1e-3):
    u = g
    if matrix:
        r = ema(r, row_max(abs(g)), 0.5)
        c = c + square(col_min(g)) / (1 + abs(row_mean(col_mean(g))))
        u = g * r / (1 + c) + col_sum(r * g)
    w = w - lr * (u + rms(u))
    return w, r, c
""")


@pytest.mark.parametrize("threads", [8, 32])
@pytest.mark.parametrize("layout", LINED.values(), ids=[*LINED])
def test_rows_and_columns_are_shared_out(layout: Layout, threads: int) -> None:
    """Whatever the blocks do together, and in launches of its own, has the bits that one block gives it."""
    for rule in (load("adafactor"), load("came"), load("sm3"), EACH_WAY):
        alone = trained([rule], (threads, 4, 0, 40), shapes=layout)
        expected = reference(rule, shapes=layout)
        np.testing.assert_allclose(alone.numpy(), expected, rtol=1e-10, atol=1e-12, err_msg=rule.name)
        for processors in (1, 4):
            assert torch.equal(trained([rule], (threads, 4, processors, 40), shapes=layout), alone), rule.name
        narrow = [trained([rule], (threads, 4, n, 40), torch.float32, shapes=layout) for n in (0, 1, 3)]
        assert all(torch.equal(narrow[0], other) for other in narrow[1:]), rule.name


def test_registers_that_do_not_fit_lie_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    members, strides = compiled([*SEEDS]), []
    w, *grads = drawn(len(SETTINGS)).repeat(1, len(members), 1)
    results = [w.clone() for _ in range(3)]
    for result in results:
        made = interpreter(members, SETTINGS, CUT)
        for t, g in enumerate(grads, start=1):
            made.step(result, g, t)
        assert made.arrangement is not None
        strides.append(made.arrangement.call.register_stride)
        monkeypatch.setattr(device, "SHARED", made.arrangement.shared - 1)  # room for one register less
    assert strides == [0, 8, 16]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_taking_replicas_out_changes_nothing_for_the_others() -> None:
    members = compiled(["adan", "lamb", "adafactor"])
    kept = [np.array([0]), np.array([], dtype=np.int64), np.array([1])]
    expected = trained(members, SHARED)[[0, 5]]
    made = interpreter(members, SETTINGS, SHARED)
    w, *grads = drawn(len(SETTINGS)).repeat(1, len(members), 1)
    for t, g in enumerate(grads, start=1):
        if t == STEPS:
            made.keep(kept, [np.array([0]), np.array([], dtype=np.int64), np.array([1])])
            w = w[[0, 5]]
        made.step(w, g[[0, 5]].contiguous() if t == STEPS else g, t)
    assert torch.equal(w, expected)


# --- launches, steps and limits -------------------------------------------------------------------------


def launched(rule: Rule, way: Way, shapes: Layout = SHAPES) -> list[tuple[int, Job, int]]:
    """Of each launch of a step: the stage and job that the blocks share, and how many more one block does after it."""
    made = interpreter([rule], SETTINGS, way, shapes=shapes)
    used = made.kernel
    assert isinstance(used, ShimKernel)
    used.launched.clear()
    w, g = drawn(len(SETTINGS), shapes=shapes)[:2]
    made.step(w, g, 1)
    assert made.launches == len(used.launched)
    assert all((blocks > len(SETTINGS)) == (way[2] > 0) for _, blocks in used.launched)
    found = [(jobs & 0xFFFF, jobs >> 16) for jobs, _ in used.launched]
    assert all(one[1] == other[0] for one, other in itertools.pairwise(found))
    return [(first // len(Job), Job(first % len(Job)), end - first - 1) for first, end in found]


def test_launches() -> None:
    """One a step where there is a block for each replica, else one for each job that is enough for several."""
    assert launched(load("lamb"), ONE) == [(0, Job.SMALL, 9)]
    assert launched(load("lamb"), CUT) == [(0, Job.ENTRIES, 4), (1, Job.ENTRIES, 2)]
    assert launched(load("adamw"), CUT) == [(0, Job.ENTRIES, 2)]
    short = [(0, Job.ENTRIES, 9), (2, Job.ENTRIES, 4), (3, Job.ENTRIES, 7)]
    assert launched(load("adafactor"), CUT, ((4, 5),)) == short
    assert launched(load("adafactor"), CUT, ((70, 90),)) == [
        (0, Job.ENTRIES, 0),
        (0, Job.RESULTS, 7),
        (2, Job.LINES, 0),
        (2, Job.ENTRIES, 4),
        (3, Job.ENTRIES, 3),
        (4, Job.LINES, 3),
    ]
    body = "    u = g\n    if matrix:\n        m = m + 1\n        u = m * g\n    return w - lr * u, m"
    counting = parse(f"def f(w, g, m: row, *, lr=1):\n{body}")
    assert launched(counting, CUT, ((70, 90),)) == [(0, Job.LINES, 0), (0, Job.ENTRIES, 3), (1, Job.LINES, 3)]
    early = parse("def f(w, g, s: global_, *, lr=1):\n    s = s + 1\n    return w - lr * s * g, s")
    assert launched(early, CUT)[0] == (0, Job.SMALL, 1)


def test_numbers_are_those_of_the_step_beyond_a_block_of_steps() -> None:
    rule = parse("def f(w, g, t, *, lr=1):\n    return w + lr * t")
    made = interpreter([rule], [{"lr": 1.0}, {"lr": 2.0}], ONE)
    w = torch.zeros(2, SIZE, dtype=torch.float64)
    for t in range(1, 601):
        made.step(w, w.clone(), t)
    assert w[:, 0].tolist() == [180300.0, 360600.0]


def test_the_clock_alone_says_which_step_it_is() -> None:
    rule = parse("def f(w, g, t, *, lr=1):\n    return w + lr * t")
    made = interpreter([rule], [{"lr": 1.0}], ONE)
    w = torch.zeros(1, SIZE, dtype=torch.float64)
    for k in range(300):
        made.prepare(k + 1)
        made.launch(w, w)
        made.clock.add_(1)
    assert w[0, 0].item() == 45150.0


def test_what_is_too_large_does_not_fit() -> None:
    code = compile_bytecode(load("adamw"))
    assert code is not None

    def fits(*layout: tuple[int, ...]) -> bool:
        return fits_device(Member(code, layout, [{}], 1, constant).tables)

    assert fits((2**31 - 1,))
    assert not fits((2**31,))
    lines = [f"    u = u * {k}.5 + {k}.25 * g\n" for k in range(1, 600)]
    code = compile_bytecode(parse(f"def f(w, g, *, lr=1):\n    u = g\n{''.join(lines)}    return w - lr * u"))
    assert code is not None
    assert not fits((3,))


@pytest.mark.nightly
@pytest.mark.parametrize(("option", "library"), [("thread", "libtsan.so"), ("address", "libasan.so")])
def test_threads_keep_to_their_memory(option: str, library: str) -> None:
    """No two of a block meet in it without waiting for each other, and none leaves it."""
    assert COMPILER is not None
    asked = [COMPILER, f"-print-file-name={library}"]
    place = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    program = Path(__file__).parents[1] / "support" / "sanitized.py"
    settings = {"LD_PRELOAD": place, "ASAN_OPTIONS": "detect_leaks=0", "PYTHONSAFEPATH": ""}
    command = [sys.executable, str(program), f"-fsanitize={option}"]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "no report"
