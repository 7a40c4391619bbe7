"""The tests of an exported package, here of a class that stands for the exported one.

Nothing imports this module: `files.tests_text` carries its text.
"""

# ruff: noqa: D103 - the names of tests say what they check

from __future__ import annotations

import copy
import io
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import AdamW as UnderTest
from torch.optim import Optimizer

from .trial import difference, fit, observed, parameters, step

# --- carried by exported packages from here on

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def make(device: str, dtype: torch.dtype = torch.float32, **arguments: Any) -> Optimizer:
    """The optimizer on the fixed parameters."""
    return UnderTest(parameters(GOLDEN["parameters"], dtype, device), **arguments)


def run(optimizer: Optimizer, steps: list[Any]) -> Optimizer:
    """The optimizer after these steps' gradients."""
    for gradients in steps:
        step(optimizer, gradients)
    return optimizer


def copied(optimizer: Optimizer) -> dict[str, Tensor]:
    """What `observed` sees, as it is now, and the step counts."""
    steps = {f"step {i}": state["step"] for i, state in enumerate(optimizer.state.values()) if state}
    return {name: value.clone() for name, value in (observed(optimizer) | steps).items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """Equal names, dtypes and bits."""
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0, msg=name)


def scale(optimizer: Any, factor: float, found_inf: float) -> None:
    """Tell an optimizer what torch.amp.GradScaler tells it before a step."""
    device = optimizer.param_groups[0]["params"][0].device
    optimizer.grad_scale = torch.tensor(factor, device=device)
    optimizer.found_inf = torch.tensor(found_inf, device=device)


@pytest.fixture(params=["with its kernels", "in eager torch"], autouse=True)
def _executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the kernels that the module has, if it has any, and again without them."""
    module = sys.modules[UnderTest.__module__]
    loaders = [name for name in ("load_kernels", "load_triton") if hasattr(module, name)]
    if request.param == "in eager torch":
        if not loaders:
            pytest.skip("it always runs in eager torch")
        for name in loaders:
            monkeypatch.setattr(module, name, lambda *_: None)


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> str:
    """Every device that torch has here."""
    return request.param


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("setting", GOLDEN["settings"], ids=lambda s: "lr={lr}".format_map(s["arguments"]))
def test_it_does_what_the_reference_does(setting: dict[str, Any], dtype: torch.dtype, device: str) -> None:
    allowed = setting["tolerance"].get(str(dtype).removeprefix("torch."))
    if allowed is None:
        pytest.skip("rounding decides the result: see the README")
    optimizer = run(make(device, dtype, **setting["arguments"]), GOLDEN["gradients"])
    assert difference(observed(optimizer), setting["expected"]) <= allowed
    for name, value in observed(optimizer).items():  # no state is narrower than float32
        assert value.dtype == (dtype if name.startswith("w ") else torch.promote_types(dtype, torch.float32))


def test_it_trains() -> None:
    training = GOLDEN["training"]
    if not training:
        pytest.skip("with a constant learning rate it does not: see the README")
    before, after = fit(UnderTest, training["lr"], training["steps"])
    assert after < 0.9 * before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_zero_gradients_with_lr_0_change_no_parameter(dtype: torch.dtype, steps_before: int, device: str) -> None:
    optimizer = run(make(device, dtype), GOLDEN["gradients"][:steps_before])
    optimizer.param_groups[0]["lr"] = 0.0
    before = copied(optimizer)
    zeros = [torch.zeros_like(p).tolist() for p in optimizer.param_groups[0]["params"]]
    run(optimizer, [zeros] * 3)
    after = copied(optimizer)
    assert_same({n: v for n, v in before.items() if n[:2] == "w "}, {n: v for n, v in after.items() if n[:2] == "w "})
    assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_gradient_scaler_that_found_infinities_skips_the_step(steps_before: int, device: str) -> None:
    optimizer = run(make(device), GOLDEN["gradients"][:steps_before])
    before = copied(optimizer)
    scale(optimizer, 4.0, found_inf=1.0)
    step(optimizer, GOLDEN["gradients"][2])
    after = copied(optimizer)
    assert_same({name: after[name] for name in before}, before)
    assert not any(value.any() for name, value in after.items() if name.startswith("step") and name not in before)
    assert optimizer._step_supports_amp_scaling  # type: ignore[attr-defined]


def test_a_gradient_scaler_may_leave_the_division_to_the_step(device: str) -> None:
    plain, scaled = run(make(device), GOLDEN["gradients"][:3]), make(device)
    scale(scaled, 4.0, found_inf=0.0)
    run(scaled, [[(4 * torch.tensor(g)).tolist() for g in gradients] for gradients in GOLDEN["gradients"][:3]])
    assert_same(copied(plain), copied(scaled))


def test_maximize_is_the_step_against_the_gradient(device: str) -> None:
    plain, ascending = run(make(device), GOLDEN["gradients"][:3]), make(device, maximize=True)
    run(ascending, [[(-torch.tensor(g)).tolist() for g in gradients] for gradients in GOLDEN["gradients"][:3]])
    assert_same(copied(plain), copied(ascending))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_run_goes_on_from_a_saved_state(dtype: torch.dtype, device: str) -> None:
    optimizer = run(make(device, dtype), GOLDEN["gradients"][:3])
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = UnderTest([torch.nn.Parameter(p.detach().clone()) for p in optimizer.param_groups[0]["params"]])
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert_same(copied(resumed), copied(optimizer))
    run(optimizer, GOLDEN["gradients"][3:])
    run(resumed, GOLDEN["gradients"][3:])
    assert_same(copied(resumed), copied(optimizer))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_copy_goes_on_by_itself(how: Any, steps_before: int, device: str) -> None:
    optimizer = run(make(device), GOLDEN["gradients"][:steps_before])
    before = copied(optimizer)
    twin = run(how(optimizer), GOLDEN["gradients"][3:])
    assert_same(copied(optimizer), before)
    run(optimizer, GOLDEN["gradients"][3:])
    assert_same(copied(twin), copied(optimizer))


def test_a_parameter_without_a_gradient_keeps_its_value(device: str) -> None:
    optimizer = make(device)
    frozen, *others = optimizer.param_groups[0]["params"]
    before = frozen.detach().clone()
    for p in others:
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert torch.equal(frozen, before)


def test_the_step_returns_the_loss_of_its_closure(device: str) -> None:
    optimizer = make(device)
    assert optimizer.step(lambda: 3.5) == 3.5


@pytest.mark.parametrize("lr", [-1.0, float("nan")])
def test_a_wrong_learning_rate_is_refused(lr: float, device: str) -> None:
    with pytest.raises(ValueError, match="Invalid learning rate"):
        make(device, lr=lr)
