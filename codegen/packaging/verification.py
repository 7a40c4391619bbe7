"""What an export finds out about an optimizer by running it, and writes down."""

from __future__ import annotations

import math
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from torch.optim import Optimizer

from evoptim.dsl import Rule

from ..build import compile_rule
from .trial import difference, fit, observed, parameters, step

FIT_STEPS = 100
_FACTORS = (1, 10, 100, 0.1, 0.01)
"""Learning rates tried, in units of the default."""
_LOWERED = 0.8
"""What part of the loss may be left with the best of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was measured, and with what.

    ``differences`` holds, for each way to run the optimizer and each dtype of its parameters, the largest difference
    from the reference, and ``training`` the arguments of `trial.fit` with its losses before and after; it is empty if
    no learning rate lowered the loss.
    """

    differences: dict[str, dict[str, float]]
    training: dict[str, float]
    versions: dict[str, str]
    machine: str
    date: str


def verify(rule: Rule, class_name: str | None, target: str, data: dict[str, Any]) -> Verification:
    """Run the generated optimizer on the data of `golden` in all ways that this machine has.

    Raises:
        RuntimeError: It is farther from the reference than rounding explains: a defect of evoptim.
    """
    ways = _ways(rule, class_name, target)
    return Verification(
        differences={label: _differences(rule, label, cls, device, data) for label, cls, device in ways},
        training=_training(rule, compile_rule(rule, class_name, target)),
        versions={"evoptim": version("evoptim"), "torch": torch.__version__, "Python": platform.python_version()},
        machine=f"{platform.system()} on {platform.machine()}",
        date=datetime.now(UTC).date().isoformat(),
    )


def _ways(rule: Rule, class_name: str | None, target: str) -> list[tuple[str, type[Optimizer], str]]:
    """What the optimizer can run by here: a description, a class and a device each."""
    eager, whole = (compile_rule(rule, class_name, t) for t in ("torch", target))
    module: Any = sys.modules[whole.__module__]
    ways = [("eager torch on the CPU", eager, "cpu")]
    if hasattr(module, "load_kernels") and module.load_kernels(module._KERNELS, "f64") is not None:
        ways.append(("compiled C++ on the CPU", whole, "cpu"))
    if torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
        ways.append((f"eager torch on {gpu}", eager, "cuda"))
        if hasattr(module, "load_triton") and module.load_triton(module._TRITON) is not None:
            ways.append((f"Triton on {gpu}", whole, "cuda"))
    return ways


def _differences(
    rule: Rule, label: str, optimizer_class: type[Optimizer], device: str, data: dict[str, Any]
) -> dict[str, float]:
    """The largest difference at any setting, by dtype."""
    out: dict[str, float] = {}
    for setting in data["settings"]:
        for dtype, allowed in setting["tolerance"].items():
            optimizer = _trained(optimizer_class, data, setting["arguments"], getattr(torch, dtype), device)
            off = difference(observed(optimizer), setting["expected"])
            if off > allowed:
                raise RuntimeError(
                    f"the optimizer of rule {rule.name!r} in {dtype} by {label} is off by {off:.1e}, where rounding "
                    f"explains {allowed:.1e}: this is a defect of evoptim, or of the compiler or torch it ran with"
                )
            out[dtype] = max(out.get(dtype, 0.0), off)
    return out


def _trained(
    optimizer_class: type[Optimizer], data: dict[str, Any], arguments: dict[str, Any], dtype: torch.dtype, device: str
) -> Optimizer:
    optimizer = optimizer_class(parameters(data["parameters"], dtype, device), **arguments)
    for gradients in data["gradients"]:
        step(optimizer, gradients)
    return optimizer


def _training(rule: Rule, optimizer_class: type[Optimizer]) -> dict[str, float]:
    """The learning rate that lowers the loss of a small network most, and how far; empty if none does."""
    rates = [factor * (rule.defaults["lr"] or 1e-3) for factor in _FACTORS]
    tried = {lr: fit(optimizer_class, lr, FIT_STEPS) for lr in rates}
    lr, (before, after) = min(tried.items(), key=lambda run: math.inf if math.isnan(run[1][1]) else run[1][1])
    return {"lr": lr, "steps": FIT_STEPS, "before": before, "after": after} if after < _LOWERED * before else {}
