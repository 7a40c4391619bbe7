"""Faults: whatever some candidates do, they carry a status, and their neighbours' results stay the same to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import torch

from evoptim.dsl import OPS, Op, Rule, load, parse
from evoptim.runtime import PopulationEvaluator, PopulationResult, TrialResult, train_population
from evoptim.runtime.bytecode import Space, compile_bytecode
from evoptim.runtime.gradients import Gradients
from evoptim.runtime.interpreter import Member
from evoptim.runtime.machines import Machines
from evoptim.runtime.schedules import constant

NEIGHBOURS = [load(n) for n in ("adamw", "lion", "adafactor")]
SETTINGS, SEEDS, STEPS = [{"lr": 1e-3}, {"lr": 1e-2}], [0, 1], 20
TINY = 1e-41
"""A denormal of float32, as are half of it and a hundredth."""


def rule(*lines: str, arguments: str = "w, g, *, lr=1") -> Rule:
    """A rule of these statements."""
    return parse("\n".join([f"def faulty({arguments}):", *(f"    {line}" for line in lines)]))


def small(scale: float, k: int = 1) -> Rule:
    """A rule whose parameters and states are all about so large; so are its models' activations and gradients."""
    return rule(
        f"m = ema(m, {scale} * sign(g), 0.9)",
        f"v = ema(v, {scale} * sign(g) * sign(g), 0.99)",
        "u = m / (sqrt(v) + 1e-8) + 0.5 * m",
        f"w = {scale} * sign(w) + {scale} * clip(u, -1, 1) + {k} * lr * m",
        "return w, m, v",
        arguments="w, g, m, v, *, lr=1e-3",
    )


WIDE = 490
FAULTS = {
    "not a number at once": (rule("return w / (g - g) + lr * g"), "diverged"),
    "infinite at once": (rule("return w - lr * exp(1000 * g * g) * 1e30"), "diverged"),
    "overflow after some steps": (rule("return 1e4 * w - lr * g"), "diverged"),
    "overflow of a state alone": (
        rule("v = 1e20 * (v + abs(g))", "return w - lr * g / (1 + v), v", arguments="w, g, v, *, lr=1"),
        "ok",
    ),
    "hopeless": (rule("return w + 1e6 * lr * g"), "diverged"),
    "denormals everywhere": (small(TINY), "ok"),
    "hundreds of values at a time, 982 statements": (
        rule(
            *(f"x{k} = tanh({k + 2} * g)" for k in range(WIDE)),
            "s = g",
            *(f"s = 0.5 * s * x{k} + x{7 * k % WIDE}" for k in range(WIDE)),
            "return w - lr * clip(s, -1, 1)",
        ),
        "ok",
    ),
    "990 values, each of the one before": (
        rule("s = g", *(f"s = sin(s + {k})" for k in range(990)), "return w - lr * s"),
        "ok",
    ),
    "990 host scalars, each of the one before": (
        rule("s = lr", *(f"s = sin(s + {k})" for k in range(990)), "return w - 0.01 * s * g"),
        "ok",
    ),
    "a host scalar of 2**100 leaves": (
        rule("s = lr", *["s = sin(s) * s"] * 100, "return w - lr * (g + s * g)"),
        "ok",
    ),
}


def essence(result: PopulationResult, rules: slice) -> list[bytes]:
    """What is to be the same, NaNs included."""
    return [getattr(result, field)[rules].tobytes() for field in ("val_loss", "curve", "status")]


@pytest.fixture(scope="module")
def alone() -> PopulationResult:
    """The neighbours by themselves."""
    result = train_population(NEIGHBOURS, "digits_mlp", SETTINGS, SEEDS, STEPS)
    assert (result.status == "ok").all()
    return result


@pytest.mark.parametrize("fault", FAULTS)
def test_half_of_a_batch_is_faulty(fault: str, alone: PopulationResult) -> None:
    faulty, status = FAULTS[fault]
    mixed = [r for neighbour in NEIGHBOURS for r in (faulty, neighbour)]
    result = train_population(mixed, "digits_mlp", SETTINGS, SEEDS, STEPS)
    assert essence(result, slice(1, None, 2)) == essence(alone, slice(None))
    assert (result.status[::2] == status).all()
    assert (np.isfinite(result.val_loss[::2]) == (status == "ok")).all()


def test_all_faults_in_one_batch_of_little_memory_and_two_threads(alone: PopulationResult) -> None:
    rules = [*(faulty for faulty, _ in FAULTS.values()), *NEIGHBOURS]
    result = train_population(rules, "digits_mlp", SETTINGS, SEEDS, STEPS, memory=12_000_000, threads=2)
    assert result.batches > 1
    assert essence(result, slice(len(FAULTS), None)) == essence(alone, slice(None))
    for i, (_, status) in enumerate(FAULTS.values()):
        assert (result.status[i] == status).all()


def test_a_rule_may_have_more_values_at_a_time_than_the_cache_holds_tiles() -> None:
    wide, _ = FAULTS["hundreds of values at a time, 982 statements"]
    code = compile_bytecode(wide)
    assert code is not None
    [section] = code.vector.stages[0]
    assert len({i.to.key for i in section.code if i.to.space is Space.REGISTER}) > WIDE


# --- denormals ------------------------------------------------------------------------------------------


def test_denormals_are_kept_as_ieee_has_them() -> None:
    """A state that decays comes to rest at some of the least numbers above zero, where halves round to even."""
    decaying = rule("m = 0.9 * m", "return w - lr * sign(m), m", arguments="w, g, m: init(g), *, lr=1")
    cpu = torch.device("cpu")
    made = Machines([decaying], ((4,),), [{}], 1000, constant, device=cpu, dtype=torch.float32, threads=1)
    w, g = torch.zeros(1, 4), torch.tensor([[1e-42, -1e-42, 1.0, 0.0]])
    for t in range(1, 1001):
        made.step(w, g, t)
    m, expected = np.array([1e-42, -1e-42, 1.0, 0.0], np.float32), np.zeros(4)
    for _ in range(1000):
        m = np.float32(0.9) * m
        expected -= np.sign(m)
    assert w.tolist() == [expected.tolist()] == [[-1000.0, 1000.0, -1000.0, 0.0]]


def test_denormals_everywhere_slow_no_batch_down() -> None:
    def seconds(scale: float) -> float:
        began = time.perf_counter()
        result = train_population([small(scale, k) for k in range(8)], "digits_mlp", SETTINGS, [0, 1, 2], 8)
        assert np.allclose(result.val_loss, math.log(10), rtol=1e-6) == (scale == TINY)  # all outputs are next to zero
        return time.perf_counter() - began

    pairs = [(seconds(1e-2), seconds(TINY)) for _ in range(12)]  # other work comes and goes: the best of each
    ordinary, denormal = (min(column) for column in zip(*pairs, strict=True))
    assert denormal < 1.5 * ordinary


# --- memory ---------------------------------------------------------------------------------------------


def exhaust() -> None:
    """Fail as an allocation of torch's fails."""
    torch.empty(1 << 50)


def test_memory_that_runs_out_between_steps_costs_time_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, alone: PopulationResult
) -> None:
    differentiate, calls = Gradients.__call__, [0]

    def failing(self: Gradients, w: torch.Tensor, *arguments: Any) -> torch.Tensor:
        calls[0] += 1
        if len(w) > 5 and calls[0] % 7 == 0:
            exhaust()
        return differentiate(self, w, *arguments)

    monkeypatch.setattr(Gradients, "__call__", failing)
    result = train_population(NEIGHBOURS, "digits_mlp", SETTINGS, SEEDS, STEPS)
    assert result.batches == 3
    assert essence(result, slice(None)) == essence(alone, slice(None))


@pytest.mark.parametrize("error", [exhaust, lambda: np.empty(1 << 50)], ids=["torch", "numpy"])
def test_a_candidate_that_no_memory_is_enough_for(
    error: Callable[[], object], monkeypatch: pytest.MonkeyPatch, alone: PopulationResult
) -> None:
    start = Member.start

    def greedy(self: Member, w: torch.Tensor, g: torch.Tensor) -> None:
        if "greedy" in self.hypers:
            error()
        start(self, w, g)

    monkeypatch.setattr(Member, "start", greedy)
    hungry = rule("return w - lr * greedy * g", arguments="w, g, *, lr=1, greedy=1")
    check_evaluated([NEIGHBOURS[0], hungry, *NEIGHBOURS[1:]], 1, alone, "llocate")


# --- exceptions -----------------------------------------------------------------------------------------


@pytest.fixture
def raising() -> Generator[Rule]:
    """A rule with an operation that raises for one of the settings."""

    def meaning(x: Any) -> Any:
        if np.any(x == SETTINGS[1]["lr"]):
            raise ZeroDivisionError("an operation's own")
        return x

    OPS.register(Op(name="picky", args=("x",), doc="x", meaning=meaning, torch="{0} * 1", host="{0} * 1"))
    try:
        yield rule("return w - picky(lr) * g")
    finally:
        OPS.unregister("picky")


def test_a_candidate_that_raises(raising: Rule, alone: PopulationResult) -> None:
    check_evaluated([NEIGHBOURS[0], raising, *NEIGHBOURS[1:]], 1, alone, "ZeroDivisionError: an operation's own")


def check_evaluated(rules: list[Rule], faulty: int, alone: PopulationResult, reason: str) -> None:
    """One rule has an error for a reason; the others have, bit for bit, what they have without it."""
    found = PopulationEvaluator("digits_mlp", STEPS, 64).evaluate(rules, SETTINGS, SEEDS)
    broken = found.pop(faulty)
    assert {(t.status, t.loss) for t in broken} == {("error", math.inf)}
    assert all(reason in t.reason for t in broken)
    assert [losses(trials) for trials in found] == [alone.val_loss[i].ravel().tolist() for i in range(len(found))]


def losses(trials: list[TrialResult]) -> list[float]:
    """The losses of trainings that ended well."""
    assert {t.status for t in trials} == {"ok"}
    return [t.loss for t in trials]
