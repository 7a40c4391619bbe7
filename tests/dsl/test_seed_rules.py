"""The seed rules against independent restatements in numpy float64, and against torch.optim.

Each restatement follows the source named in its docstring, one line per equation, and is called for one
parameter at a time. Only the parameters are compared, after every step; the largest difference is taken
relative to the largest parameter of that step. Reached in 50 steps: 5e-15 (adamw and lion), 2e-15 (the
other decoupled decays), 1e-15 (the rest); required: `TOLERANCE`.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from importlib import resources
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim import SGD, Adafactor, Adam, AdamW, Optimizer, RMSprop

from evoptim.dsl import Reference, Rule, load, parse, rule_names

TOLERANCE = 1e-12
STEPS = 50
SHAPES = ((), (7,), (5, 6), (2, 3, 4, 5))

Array: TypeAlias = NDArray[np.float64]
State: TypeAlias = defaultdict[str, Array]
"""The state of one parameter; what has not been set is zero."""

Hypers: TypeAlias = dict[str, float]


# --- the restatements -----------------------------------------------------------------------------------


def sgd(p: Array, g: Array, s: State, t: int, lr: float, momentum: float, weight_decay: float) -> Array:
    """torch.optim.SGD with momentum, dampening 0."""
    g = g + p * weight_decay
    s["velocity"] = g if t == 1 else s["velocity"] * momentum + g
    return p - s["velocity"] * lr


def sgd_nesterov(p: Array, g: Array, s: State, t: int, lr: float, momentum: float, weight_decay: float) -> Array:
    """torch.optim.SGD with nesterov=True."""
    g = g + p * weight_decay
    s["velocity"] = g if t == 1 else s["velocity"] * momentum + g
    return p - (g + s["velocity"] * momentum) * lr


def rmsprop(p: Array, g: Array, s: State, t: int, lr: float, alpha: float, eps: float, weight_decay: float) -> Array:
    """torch.optim.RMSprop, neither centered nor with momentum."""
    g = g + p * weight_decay
    s["mean_square"] = s["mean_square"] * alpha + g**2 * (1 - alpha)
    return p - lr * (g / (np.sqrt(s["mean_square"]) + eps))


def adam(
    p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> Array:
    """Algorithm 1 of arXiv:1412.6980, with torch.optim.Adam's L2 decay."""
    g = g + weight_decay * p
    return p - lr * _adam_direction(g, s, t, beta1, beta2, eps)


def adamw(
    p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> Array:
    """Algorithm 2 of arXiv:1711.05101, the decay multiplied by lr as in torch.optim.AdamW."""
    p = p * (1 - lr * weight_decay)
    return p - lr * _adam_direction(g, s, t, beta1, beta2, eps)


def _adam_direction(g: Array, s: State, t: int, beta1: float, beta2: float, eps: float) -> Array:
    s["first"] = s["first"] + (g - s["first"]) * (1 - beta1)
    s["second"] = s["second"] * beta2 + g**2 * (1 - beta2)
    root = np.sqrt(s["second"]) / math.sqrt(1 - beta2**t) + eps
    return s["first"] / (1 - beta1**t) / root


def lion(p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, weight_decay: float) -> Array:
    """Algorithm 2 of arXiv:2302.06675: the step uses the old momentum, and does not move where it is zero."""
    p = p * (1 - lr * weight_decay)
    blend = beta1 * s["momentum"] + (1 - beta1) * g
    s["momentum"] = beta2 * s["momentum"] + (1 - beta2) * g
    return p - lr * np.where(blend > 0, 1.0, np.where(blend < 0, -1.0, 0.0))


def adan(
    p: Array,
    g: Array,
    s: State,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    beta3: float,
    eps: float,
    weight_decay: float,
    no_prox: bool = False,
) -> Array:
    """Algorithm 1 of arXiv:2208.06677 with the betas, bias corrections and no_prox of the authors' code."""
    dg = np.zeros_like(g) if t == 1 else g - s["previous"]
    s["previous"] = g
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["d"] = beta2 * s["d"] + (1 - beta2) * dg
    s["n"] = beta3 * s["n"] + (1 - beta3) * (g + beta2 * dg) ** 2
    den = np.sqrt(s["n"]) / math.sqrt(1 - beta3**t) + eps
    u = lr * s["m"] / ((1 - beta1**t) * den) + lr * beta2 * s["d"] / ((1 - beta2**t) * den)
    return p * (1 - lr * weight_decay) - u if no_prox else (p - u) / (1 + lr * weight_decay)


def adax(
    p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> Array:
    """The authors' AdaX: L2 decay."""
    g = g + weight_decay * p
    _adax_moments(g, s, beta1, beta2)
    return p - lr * math.sqrt(_growth(beta2, t)) * s["m"] / (np.sqrt(s["v"]) + eps)


def adaxw(
    p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> Array:
    """The authors' AdaXW: decoupled decay."""
    _adax_moments(g, s, beta1, beta2)
    p = p - p * (lr * weight_decay)
    return p - lr * math.sqrt(_growth(beta2, t)) * s["m"] / (np.sqrt(s["v"]) + eps)


def adax_paper(
    p: Array, g: Array, s: State, t: int, lr: float, beta1: float, beta2: float, eps: float, weight_decay: float
) -> Array:
    """arXiv:2004.09740 as printed: v is corrected before the root, eps stands inside it; with L2 decay."""
    g = g + weight_decay * p
    _adax_moments(g, s, beta1, beta2)
    corrected = s["v"] / _growth(beta2, t)
    return p - lr * s["m"] / np.sqrt(corrected + eps)


def _adax_moments(g: Array, s: State, beta1: float, beta2: float) -> None:
    s["m"] = beta1 * s["m"] + (1 - beta1) * g
    s["v"] = (1 + beta2) * s["v"] + beta2 * g**2


def _growth(beta2: float, t: int) -> float:
    """(1 + beta2)^t - 1 without cancellation."""
    return float((1 + Fraction(beta2)) ** t - 1)


def adafactor(
    p: Array,
    g: Array,
    s: State,
    t: int,
    lr: float,
    beta2_decay: float,
    eps1: float,
    eps2: float,
    d: float,
    weight_decay: float,
) -> Array:
    """torch.optim.Adafactor: the row factor's mean is taken for each index of the leading dimensions."""
    fresh = t**beta2_decay
    alpha = max(eps2, _rms(p)) * min(lr, 1 / math.sqrt(t))
    p = p * (1 - lr * weight_decay)
    if g.ndim >= 2:
        s["row"] = s["row"] + fresh * ((g**2).mean(axis=-1, keepdims=True) - s["row"])
        s["col"] = s["col"] + fresh * ((g**2).mean(axis=-2, keepdims=True) - s["col"])
        variance = s["row"] @ s["col"] / np.maximum(s["row"].mean(axis=-2, keepdims=True), eps1)
    else:
        s["variance"] = s["variance"] + fresh * (g**2 - s["variance"])
        variance = s["variance"]
    u = g / np.sqrt(np.maximum(variance, eps1**2))
    return p - alpha / max(1.0, _rms(u) / d) * u


def adafactor_paper(
    p: Array, g: Array, s: State, t: int, lr: float, beta2_decay: float, eps1: float, eps2: float, d: float
) -> Array:
    """Algorithms 4 and 5 of arXiv:1804.04235: row sums R, column sums C and R C / (1^T R), per matrix."""
    beta2 = 1 - t**beta2_decay
    alpha = max(eps2, _rms(p)) * min(lr, 1 / math.sqrt(t))
    squares = g**2 + eps1
    if g.ndim >= 2:
        s["R"] = beta2 * s["R"] + (1 - beta2) * squares.sum(axis=-1)
        s["C"] = beta2 * s["C"] + (1 - beta2) * squares.sum(axis=-2)
        variance = np.einsum("...i,...j->...ij", s["R"], s["C"]) / s["R"].sum(axis=-1)[..., None, None]
    else:
        s["V"] = beta2 * s["V"] + (1 - beta2) * squares
        variance = s["V"]
    u = g / np.sqrt(variance)
    return p - alpha * (u / max(1.0, _rms(u) / d))


def _rms(x: Array) -> float:
    return float(np.linalg.norm(x)) / math.sqrt(x.size)


# --- the tables -----------------------------------------------------------------------------------------

RESTATED: dict[str, Callable[..., Array]] = {
    "sgd": sgd,
    "sgd_nesterov": sgd_nesterov,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
    "lion": lion,
    "adan": adan,
    "adan_noprox": partial(adan, no_prox=True),
    "adax": adax,
    "adaxw": adaxw,
    "adax_paper": adax_paper,
    "adafactor": adafactor,
    "adafactor_paper": adafactor_paper,
}

_ADAN: Hypers = {"lr": 1e-3, "beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "eps": 1e-8, "weight_decay": 0}
_ADAFACTOR: Hypers = {"lr": 0.01, "beta2_decay": -0.8, "eps2": 1e-3, "d": 1}

DEFAULTS: dict[str, Hypers] = {
    "sgd": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "sgd_nesterov": {"lr": 0.01, "momentum": 0.9, "weight_decay": 0},
    "rmsprop": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0},
    "adam": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0},
    "adamw": {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "lion": {"lr": 1e-4, "beta1": 0.9, "beta2": 0.99, "weight_decay": 0},
    "adan": _ADAN,
    "adan_noprox": _ADAN,
    "adax": {"lr": 1.5e-3, "beta1": 0.9, "beta2": 1e-4, "eps": 1e-12, "weight_decay": 5e-4},
    "adaxw": {"lr": 5e-3, "beta1": 0.9, "beta2": 1e-4, "eps": 1e-12, "weight_decay": 0.05},
    "adax_paper": {"lr": 1.5e-3, "beta1": 0.9, "beta2": 1e-4, "eps": 1e-12, "weight_decay": 0},
    "adafactor": _ADAFACTOR | {"eps1": 1.1920928955078125e-07, "weight_decay": 0},
    "adafactor_paper": _ADAFACTOR | {"eps1": 1e-30},
}
"""The sources' defaults, where they give one."""

_OTHER_ADAM: Hypers = {"lr": 0.03, "beta1": 0.8, "beta2": 0.95, "eps": 0.1, "weight_decay": 0.3}
_OTHER_ADAN: Hypers = {"lr": 0.03, "beta1": 0.9, "beta2": 0.8, "beta3": 0.95, "eps": 0.1, "weight_decay": 0.3}
_OTHER_ADAX: Hypers = {"lr": 0.03, "beta1": 0.8, "beta2": 0.01, "eps": 0.1, "weight_decay": 0.3}
_OTHER_ADAFACTOR: Hypers = {"lr": 0.3, "beta2_decay": -0.6, "eps1": 0.9, "eps2": 0.7, "d": 1.3}

OTHERS: dict[str, Hypers] = {
    "sgd": {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.3},
    "sgd_nesterov": {"lr": 0.1, "momentum": 0.6, "weight_decay": 0.3},
    "rmsprop": {"lr": 0.03, "alpha": 0.8, "eps": 0.1, "weight_decay": 0.3},
    "adam": _OTHER_ADAM,
    "adamw": _OTHER_ADAM,
    "lion": {"lr": 0.01, "beta1": 0.7, "beta2": 0.9, "weight_decay": 0.3},
    "adan": _OTHER_ADAN,
    "adan_noprox": _OTHER_ADAN,
    "adax": _OTHER_ADAX,
    "adaxw": _OTHER_ADAX,
    "adax_paper": _OTHER_ADAX,
    "adafactor": _OTHER_ADAFACTOR | {"weight_decay": 0.3},
    "adafactor_paper": _OTHER_ADAFACTOR,
}
"""Hyperparameters far from the defaults, which make every term and both sides of every max and min count."""

TORCH: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, foreach=False),
    "sgd_nesterov": partial(SGD, nesterov=True, foreach=False),
    "rmsprop": partial(RMSprop, foreach=False),
    "adam": lambda params, *, beta1, beta2, **h: Adam(params, betas=(beta1, beta2), foreach=False, **h),
    "adamw": lambda params, *, beta1, beta2, **h: AdamW(params, betas=(beta1, beta2), foreach=False, **h),
    "adafactor": lambda params, *, eps1, eps2, **h: Adafactor(params, eps=(eps1, eps2), foreach=False, **h),
}


def _settings(name: str) -> dict[str, Hypers]:
    """Full hyperparameters by label."""
    defaults = DEFAULTS[name]
    settings = {"defaults": defaults, "others": OTHERS[name]}
    if "weight_decay" in defaults:
        settings |= {"no_decay": defaults | {"weight_decay": 0}, "decay": defaults | {"weight_decay": 0.1}}
    return settings


CASES = [
    pytest.param(name, hypers, id=f"{name}-{label}") for name in RESTATED for label, hypers in _settings(name).items()
]
TORCH_CASES = [
    pytest.param(name, hypers, id=f"{name}-{label}") for name in TORCH for label, hypers in _settings(name).items()
]


# --- running --------------------------------------------------------------------------------------------


def _data() -> tuple[list[Array], list[list[Array]]]:
    """Parameters (the vector starts at zero), and gradients of changing size per step.

    The last column never has a gradient, and at step 10 nothing has one.
    """
    random = np.random.default_rng(0)
    params = [np.array(random.normal(size=shape)) for shape in SHAPES]
    params[1][:] = 0
    sizes = random.lognormal(size=(STEPS, len(SHAPES)))
    gradients = [[np.array(random.normal(0, s, n)) for s, n in zip(row, SHAPES, strict=True)] for row in sizes]
    for grads in gradients:
        for g in grads[1:]:
            g[..., -1] = 0
    gradients[9] = [np.zeros_like(g) for g in gradients[9]]
    return params, gradients


def _flat(params: Sequence[Array]) -> Array:
    return np.concatenate([np.ravel(p) for p in params])


def _run_rule(rule: Rule, hypers: Hypers) -> Array:
    """The parameters after each step, one row per step."""
    params, gradients = _data()
    run = Reference(rule, params, **hypers)
    rows = []
    for grads in gradients:
        run.step(grads)
        rows.append(_flat(run.params))
    return np.stack(rows)


def _run_restated(step: Callable[..., Array], hypers: Hypers) -> Array:
    params, gradients = _data()
    states: list[State] = [defaultdict(lambda: np.zeros(())) for _ in params]
    rows = []
    for t, grads in enumerate(gradients, start=1):
        params = [step(p, g, s, t, **hypers) for p, g, s in zip(params, grads, states, strict=True)]
        rows.append(_flat(params))
    return np.stack(rows)


def _run_torch(build: Callable[..., Optimizer], hypers: Hypers) -> Array:
    params, gradients = _data()
    tensors = [torch.tensor(p, requires_grad=True) for p in params]
    optimizer = build(tensors, **hypers)
    rows = []
    for grads in gradients:
        for x, g in zip(tensors, grads, strict=True):
            x.grad = torch.tensor(g)
        optimizer.step()
        rows.append(_flat([x.detach().numpy() for x in tensors]))
    return np.stack(rows)


def _difference(got: Array, expected: Array) -> float:
    """The largest difference, relative to the largest parameter of the same step; NaN if any value is."""
    return float((np.abs(got - expected).max(axis=1) / np.abs(expected).max(axis=1)).max())


# --- the tests ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "hypers"), CASES)
def test_rule_is_its_restatement(name: str, hypers: Hypers) -> None:
    assert _difference(_run_rule(load(name), hypers), _run_restated(RESTATED[name], hypers)) <= TOLERANCE


@pytest.mark.parametrize(("name", "hypers"), TORCH_CASES)
def test_rule_is_the_torch_optimizer(name: str, hypers: Hypers) -> None:
    assert _difference(_run_rule(load(name), hypers), _run_torch(TORCH[name], hypers)) <= TOLERANCE


@pytest.mark.parametrize("name", RESTATED)
def test_defaults_are_the_sources_defaults(name: str) -> None:
    assert load(name).defaults == DEFAULTS[name]


@pytest.mark.parametrize("name", rule_names())
def test_file_is_canonical_text(name: str) -> None:
    text = (resources.files("evoptim.dsl") / "zoo" / f"{name}.py").read_bytes().decode()
    assert parse(text).text == text


@pytest.mark.parametrize("name", rule_names())
def test_docstring_names_a_source_and_its_year(name: str) -> None:
    assert re.search(r"\([^()]*\b(19|20)\d\d\b[^()]*\)", load(name).doc)


@pytest.mark.parametrize("ordinary_steps", [0, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", rule_names())
def test_zero_gradient_and_learning_rate_leave_parameters_alone(
    name: str, weight_decay: float, ordinary_steps: int
) -> None:
    rule = load(name)
    params, gradients = _data()
    run = Reference(rule, params, **({"weight_decay": weight_decay} if "weight_decay" in rule.defaults else {}))
    for grads in gradients[:ordinary_steps]:
        run.step(grads)
    run.hypers["lr"] = 0.0
    before = [p.tobytes() for p in run.params]
    for _ in range(3):
        run.step([np.zeros_like(p) for p in params])
        assert [p.tobytes() for p in run.params] == before
        assert all(np.isfinite(x).all() for values in run.state.values() for x in values)
