"""What must hold of populations on a GPU, with torch, numpy and evoptim alone; on the CPU with an imitation of one.

Every check takes a `Place` and raises AssertionError; `run_all` collects what each of them said.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from collecting import off, outcome

from evoptim.dsl import Reference, Rule, load, parse, rule_names
from evoptim.runtime import TASKS, Task, get_task, replay, train_population
from evoptim.runtime.bytecode import Bytecode, compile_bytecode
from evoptim.runtime.interpreter import DeviceInterpreter, Member
from evoptim.runtime.interpreter.device import Kernel
from evoptim.runtime.schedules import constant
from evoptim.runtime.steps import ReplayedSteps
from evoptim.runtime.tasks import SEALED_LEVEL

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (40, 50), (2, 13, 40), (9, 31), (900,))
SIZE = sum(int(np.prod(s)) for s in SHAPES)
STEPS, UNIT = 4, 256
SETTINGS = [{"lr": 1e-3}, {"lr": 1e-2}]
ALLOWED = {torch.float64: 1e-8, torch.float32: 2e-3}
"""Largest difference from the float64 reference after the steps, relative to the largest entry of a replica."""
DIVERGING = parse("def diverging(w, g, *, lr=1e-3):\n    return w - lr * exp(1000 * g * g) * 1e30")
BESIDE = ("adamw", "lamb", "adafactor", "prodigy", "came", "sm3", "lion")


@dataclass(frozen=True)
class Place:
    """Where populations are trained: a device, its kernel by type, tasks by name and type, and some random rules."""

    device: torch.device
    kernel: Callable[[torch.dtype], Kernel]
    task: Callable[[str, torch.dtype], Task]
    rules: Sequence[Rule]


@dataclass
class Pretended:
    """A kernel on a device that says how many processors it has, so that replicas are shared by blocks or are not."""

    kernel: Kernel
    processors: int

    def __post_init__(self) -> None:
        self.threads, self.each, self.launch = self.kernel.threads, self.kernel.each, self.kernel.launch


def update(rules: Sequence[Rule], place: Place, dtype: torch.dtype, processors: int) -> torch.Tensor:
    """Parameters ``[rule * setting, D]`` after some steps; a rule's replicas always see the same."""
    members = [Member(code_of(r), SHAPES, SETTINGS, STEPS, constant, UNIT) for r in rules]
    places = np.split(np.arange(len(rules) * len(SETTINGS)), len(rules))
    made = DeviceInterpreter(members, places, dtype, Pretended(place.kernel(dtype), processors), place.device)
    w, *grads = (torch.from_numpy(x).to(place.device, dtype).repeat(len(rules), 1) for x in drawn())
    for t, g in enumerate(grads, start=1):
        made.step(w, g, t)
    return w


def code_of(rule: Rule) -> Bytecode:
    """The bytecode of a rule that has one."""
    code = compile_bytecode(rule)
    assert code is not None
    return code


def drawn() -> list[np.ndarray]:
    """Parameters, then gradients, ``[setting, D]``: numbers that float32 holds exactly."""
    random = np.random.default_rng(0)
    return [random.standard_normal((len(SETTINGS), SIZE)).astype(np.float32).astype(float) for _ in range(STEPS + 1)]


def split(flat: np.ndarray) -> list[np.ndarray]:
    """The parameters in a flat vector."""
    parts = np.split(flat, np.cumsum([int(np.prod(s)) for s in SHAPES])[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


@cache
def expected(rule: Rule) -> np.ndarray:
    """The same by the reference."""
    w, *grads = drawn()
    rows = []
    for k, setting in enumerate(SETTINGS):
        made = Reference(rule, split(w[k]), **setting)
        for g in grads:
            made.step(split(g[k]))
        rows.append(np.concatenate([p.ravel() for p in made.params]))
    return np.stack(rows)


def check_agreement(rules: Sequence[Rule], place: Place, dtype: torch.dtype, processors: int) -> float:
    """Rules, all in one call, against the reference; returns the largest difference."""
    found = update(rules, place, dtype, processors).double().cpu().numpy().reshape(len(rules), len(SETTINGS), SIZE)
    apart = {rule.name: off(rows, expected(rule)) for rule, rows in zip(rules, found, strict=True)}
    worst = max(apart, key=lambda n: apart[n])
    assert apart[worst] <= ALLOWED[dtype], f"{worst} is off by {apart[worst]:.2e}"
    return apart[worst]


def check_bits(place: Place) -> None:
    """They depend neither on neighbours nor on how many blocks share a replica."""
    for rule in map(load, BESIDE):
        alone = update([rule], place, torch.float32, 0)
        assert torch.isfinite(alone).all(), rule.name
        for processors in (1, 3):
            assert torch.equal(update([rule], place, torch.float32, processors), alone), rule.name
        company = update([DIVERGING, load("adan"), rule, DIVERGING], place, torch.float32, 1)
        assert torch.equal(company[4:6], alone), rule.name


def check_task(place: Place, name: str, steps: int = 5) -> float:
    """A population trains on a task to the losses of plain steps on the CPU, in float64.

    In float32 two runs have the same bits, whatever is trained beside; and all steps can be captured.
    """
    rules, adamw = [load("adamw"), DIVERGING, load("lamb"), load("adafactor")], load("adamw")
    ours = train_population(rules, place.task(name, torch.float64), SETTINGS, [0, 1], steps, dtype=torch.float64)
    plain = train_population(rules, get_task(name, "cpu", torch.float64), SETTINGS, [0, 1], steps, dtype=torch.float64)
    assert np.array_equal(ours.status, plain.status)
    kept = plain.status == "ok"
    assert kept.any()
    worst = max(off(ours.curve[kept], plain.curve[kept]), off(ours.val_loss[kept], plain.val_loss[kept]))
    assert worst < 1e-6, f"losses are off by {worst:.2e}"
    task = place.task(name, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # steps that cannot be captured
        first, again = (train_population(rules, task, SETTINGS, [0, 1], steps) for _ in range(2))
        alone = train_population([adamw], task, SETTINGS[:1], [0, 1], steps)
    assert np.array_equal(first.curve, again.curve, equal_nan=True), "two runs differ"
    assert np.array_equal(first.val_loss, again.val_loss), "two runs differ"
    assert np.array_equal(first.curve[0, 0], alone.curve[0, 0]), "neighbours make a difference"
    assert np.array_equal(first.val_loss[0, 0], alone.val_loss[0, 0]), "neighbours make a difference"
    return worst


def check_graph(place: Place, steps: int = 30) -> None:
    """Replayed steps give the bits of steps launched one by one, also when replicas are taken out; so do neighbours."""
    task, adamw = place.task("digits_mlp", torch.float32), load("adamw")
    mixed, warm = [adamw, *[DIVERGING] * 2, load("lamb")], replay.WARM
    replayed = train_population(mixed, task, SETTINGS, [0, 1], steps)
    alone = train_population([adamw], task, SETTINGS, [0, 1], steps)
    try:
        replay.WARM = 1 << 30  # never captured
        launched = train_population(mixed, task, SETTINGS, [0, 1], steps)
    finally:
        replay.WARM = warm
    assert np.array_equal(replayed.curve[[0, 3]], launched.curve[[0, 3]])
    assert np.array_equal(replayed.val_loss, launched.val_loss)
    assert np.array_equal(replayed.curve[0], alone.curve[0])
    assert (replayed.status[1] == "diverged").all()


def check_captured(place: Place, steps: int = 300) -> None:
    """One replay a step, and nothing waits for the device between checks, not where new host scalars are needed."""
    if place.device.type != "cuda":
        return
    graphs: set[int] = set()
    replayed = 0
    take = ReplayedSteps.take

    def watched(self: ReplayedSteps, k: int) -> None:
        nonlocal replayed
        if self.replay.graph is None:
            return take(self, k)
        graphs.add(id(self.replay.graph))
        replayed += 1
        torch.cuda.set_sync_debug_mode("error")
        try:
            take(self, k)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    ReplayedSteps.take = watched
    try:
        train_population([load("adamw"), load("lamb")], place.task("digits_mlp", torch.float32), SETTINGS, [0], steps)
    finally:
        ReplayedSteps.take = take
    assert len(graphs) == 1
    assert replayed == steps - replay.WARM - 1


def everything(place: Place, names: Sequence[str], tasks: Sequence[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All checks by name."""
    zoo = [rule for rule in map(load, names) if compile_bytecode(rule)]
    random = [rule for rule in place.rules if compile_bytecode(rule)]
    for processors, way in ((0, "a block a replica"), (2, "blocks share replicas")):
        for dtype in (torch.float64, torch.float32):
            title = f"{len(zoo)} rules of the zoo, {dtype}, {way}"
            yield title, lambda d=dtype, p=processors: check_agreement(zoo, place, d, p)
        if random:
            title = f"{len(random)} random rules, {way}"
            yield title, lambda p=processors: check_agreement(random, place, torch.float64, p)
    for check in (check_bits, check_graph, check_captured):
        yield check.__name__, lambda c=check: c(place)
    for name in tasks:
        yield f"trainings of {name}", lambda n=name: check_task(place, n)


def run_all(place: Place, names: Sequence[str] | None = None, tasks: Sequence[str] | None = None) -> dict[str, str]:
    """Run all checks; what each said: ``ok``, the difference found, or its failure, and the seconds it took."""
    said: dict[str, str] = {}
    open_tasks = [name for name, kind in TASKS.items() if kind.level < SEALED_LEVEL]
    for name, check in everything(place, names or rule_names(), tasks or open_tasks):
        began = time.perf_counter()
        with np.errstate(all="ignore"):
            text = outcome(check)
        said[name] = f"{text}, {time.perf_counter() - began:.1f} s"
        print(f"  {name}: {said[name]}", flush=True)
    return said
