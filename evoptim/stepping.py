"""How long a step takes: rules next to torch's own optimizers and to the time that moving the bytes takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from evoptim.codegen import compile_rule, plan
from evoptim.dsl import Rule, UserError

_WARM = 3
_COPIED = 1 << 26  # elements: far beyond any cache

RIVALS: dict[str, tuple[str, Callable[..., torch.optim.Optimizer]]] = {
    "sgd": ("torch SGD fused", partial(torch.optim.SGD, momentum=0.9, fused=True)),
    "sgd_nesterov": ("torch SGD fused", partial(torch.optim.SGD, momentum=0.9, nesterov=True, fused=True)),
    "adam": ("torch Adam fused", partial(torch.optim.Adam, fused=True)),
    "adamw": ("torch AdamW fused", partial(torch.optim.AdamW, fused=True)),
    "adagrad": ("torch Adagrad fused", partial(torch.optim.Adagrad, fused=True)),
    "adafactor": ("torch Adafactor", torch.optim.Adafactor),
    "rmsprop": ("torch RMSprop", torch.optim.RMSprop),
    "nadam": ("torch NAdam", torch.optim.NAdam),
    "radam": ("torch RAdam", torch.optim.RAdam),
    "adamax": ("torch Adamax", torch.optim.Adamax),
    "adadelta": ("torch Adadelta", torch.optim.Adadelta),
}
"""Torch's fastest form of some rules on the CPU."""

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class StepTime:
    """Seconds per step of one contender, medians; ``ratio`` is that of a rule's rival to the rule, by round."""

    name: str
    seconds: float
    bytes: int
    ratio: float | None = None

    @property
    def bandwidth(self) -> float:
        """Bytes per second by the plan's count."""
        return self.bytes / self.seconds


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Step times, and the bytes per second of a plain copy in the same run (read and written)."""

    copy_bandwidth: float
    times: tuple[StepTime, ...]


def bench(
    rules: Sequence[Rule],
    tensors: int = 16,
    rows: int = 1000,
    cols: int = 1000,
    dtype: str = "float32",
    rounds: int = 15,
    device: str = "cpu",
) -> Benchmark:
    """Time steps; rules and their rivals in torch take turns.

    Args:
        rules: Valid rules with an lr.
        tensors: How many parameters.
        rows: Rows of each.
        cols: Columns of each.
        dtype: Of parameters and gradients, one of `DTYPES`.
        rounds: Steps timed of each contender.
        device: ``cpu`` or ``cuda``.

    Raises:
        UserError: There is no such dtype or device, or a rule cannot be compiled.
    """
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise UserError(f"no device {device!r} here", "take cpu, or cuda on a machine with a GPU")
    if dtype not in DTYPES:
        raise UserError(f"there is no dtype {dtype!r}", f"the dtypes are {', '.join(DTYPES)}")
    steps: dict[str, Callable[[], Any]] = {}
    for rule in rules:
        make = partial(_step, tensors, rows, cols, DTYPES[dtype], device)
        steps[rule.name] = make(compile_rule(rule))
        if rule.name in RIVALS:
            name, rival = RIVALS[rule.name]
            steps[name] = make(rival)
    seconds = alternate(steps, rounds)
    size = torch.finfo(DTYPES[dtype]).bits // 8
    found: list[StepTime] = []
    for rule in rules:
        own = seconds[rule.name]
        moved = plan(rule, rule.classes[-1]).element_bytes(size, max(size, 4)) * tensors * rows * cols
        found.append(StepTime(rule.name, statistics.median(own), moved))
        if rule.name in RIVALS:
            name = RIVALS[rule.name][0]
            ratio = statistics.median(b / a for a, b in zip(own, seconds[name], strict=True))
            found.append(StepTime(name, statistics.median(seconds[name]), moved, ratio))
    return Benchmark(_copy_bandwidth(rounds, device), tuple(found))


def _step(
    tensors: int, rows: int, cols: int, dtype: torch.dtype, device: str, make: Callable[..., Any]
) -> Callable[[], Any]:
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(2, rows, cols, generator=generator).to(device, dtype) for _ in range(tensors)]
    params = [torch.nn.Parameter(w) for w, _ in drawn]
    for p, (_, g) in zip(params, drawn, strict=True):
        p.grad = g
    return _waited(make(params).step, device)


def _waited(step: Callable[[], Any], device: str) -> Callable[[], Any]:
    """The step, and the wait until the device is done with it."""
    return step if device == "cpu" else lambda: (step(), torch.cuda.synchronize())


def alternate(steps: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step after a few to warm up; the contenders take turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds + _WARM):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if k >= _WARM:
                times[name].append(time.perf_counter() - began)
    return times


def _copy_bandwidth(rounds: int, device: str) -> float:
    x, y = torch.ones(_COPIED, device=device), torch.zeros(_COPIED, device=device)
    [seconds] = alternate({"copy": _waited(lambda: y.copy_(x), device)}, rounds).values()
    return 2 * 4 * _COPIED / statistics.median(seconds)
