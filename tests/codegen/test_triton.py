"""Triton's kernels: what runs is them, and it does what the rule says.

They run on a GPU where there is one, else in Triton's interpreter.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from both_ways import SHAPES, agree, with_lr
from hypothesis import given, settings
from interpreted import GPU, on_gpu
from rules import SAMPLE, SEEDS
from strategies import rules
from test_agreement import AWKWARD, BRANCHES, ELEMENTWISE, SPECIAL, call, using, written

from evoptim.codegen import compile_rule
from evoptim.codegen.targets.triton.optimizer import TritonText
from evoptim.dsl import OPS, Rule, live_statements, load, parse, rule_names

SOME = [*SEEDS, *SAMPLE]
CUT = (*SHAPES, (130, 140), (9000,))
"""Shapes that are cut into more than one strip of rows, tile of columns or chunk."""


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The interpreter computes with numpy, which warns of what IEEE defines."""
    with np.errstate(all="ignore"):
        yield


def parameters(shapes: Any = CUT, dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(GPU, dtype)) for s in shapes]


def give_gradients(params: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.device, p.dtype)


def build(rule: Rule | str, params: Any, **options: Any) -> torch.optim.Optimizer:
    return on_gpu(compile_rule(load(rule) if isinstance(rule, str) else rule, target="triton"))(params, **options)


def steps(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], seeds: range) -> None:
    for seed in seeds:
        give_gradients(params, seed)
        optimizer.step()


def forbid_torch(monkeypatch: pytest.MonkeyPatch, optimizer: torch.optim.Optimizer) -> None:
    """From here on, a parameter that torch updates is a failure."""

    def fail(*_: object) -> None:
        raise AssertionError("updated by torch")

    monkeypatch.setattr(type(optimizer), "_update", fail)


# --- what the rule says -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rule_names())
def test_zoo_rules(name: str) -> None:
    agree(load(name), torch.float32, shapes=CUT if name in SOME else SHAPES, steps=4, target=_target(load(name)))


@pytest.mark.parametrize("name", SOME)
def test_rules_in_float64(name: str) -> None:
    agree(load(name), torch.float64, shapes=CUT, steps=4, target="triton")


def _target(rule: Rule) -> str:
    """Triton, but for rules that it cannot run at all."""
    return "triton" if TritonText(live_statements(rule)).supported else "auto"


@settings(max_examples=max(25, settings.default.max_examples // 20))
@given(rules(tame=True))
def test_random_rules(rule: Rule) -> None:
    rule = with_lr(rule)
    agree(rule, torch.float32, steps=3, target=_target(rule))


@settings(max_examples=max(15, settings.default.max_examples // 20))
@given(rules(tame=True))
def test_random_rules_in_float64(rule: Rule) -> None:
    rule = with_lr(rule)
    agree(rule, torch.float64, steps=3, target=_target(rule))


@pytest.mark.parametrize("op_name", ELEMENTWISE)
def test_elementwise_operations_on_special_values(op_name: str) -> None:
    grid = np.meshgrid(SPECIAL, SPECIAL)
    agree(using(call(OPS[op_name])), data=([grid[0]], [[grid[1]]] * 2), target="triton")


@pytest.mark.parametrize("text", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_rules(text: str) -> None:
    agree(written(text), steps=4, target="triton")


@pytest.mark.parametrize("rule", BRANCHES, ids=lambda r: r.name)
def test_branching_rules(rule: Rule) -> None:
    agree(rule, steps=4, target=_target(rule))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SOME)
def test_short_dtypes(name: str, dtype: torch.dtype) -> None:
    """As in eager torch, but for parameters whose last bit rounding decides."""
    runs = []
    for target in ("torch", "triton"):
        params = parameters(dtype=dtype)
        optimizer = on_gpu(compile_rule(load(name), target=target))(params)
        steps(optimizer, params, range(4))
        runs.append((params, [optimizer.state[p] for p in params]))
    for p, q, expected, found in zip(*(p for p, _ in runs), *(s for _, s in runs), strict=True):
        torch.testing.assert_close(q, p, rtol=0.02, atol=5e-3)
        assert found.keys() == expected.keys()
        for key in expected:
            torch.testing.assert_close(found[key], expected[key], rtol=0.02, atol=5e-3, check_device=False)


def test_clipping_by_a_norm_over_parameters_of_several_dtypes() -> None:
    """One norm over all: fused clipping, over two launches."""
    text = "def clipped(w, g, m, *, lr=0.1, limit=1.0):\n    g = clip_by_global_norm(g, limit)\n"
    rule = parse(text + "    m = ema(m, g, 0.9)\n    return w - lr * m, m")
    params = [*parameters(((40,), (3, 5))), *parameters(((7,),), torch.bfloat16)]
    expected = [torch.nn.Parameter(p.detach().clone()) for p in params]
    fused, eager = build(rule, params), compile_rule(rule, target="torch")(expected)
    for seed in range(4):
        for some, optimizer in ((params, fused), (expected, eager)):
            give_gradients(some, seed)
            optimizer.step()
    for p, q in zip(params, expected, strict=True):
        torch.testing.assert_close(p, q, rtol=2e-2 if p.dtype == torch.bfloat16 else 1e-5, atol=1e-3)


# --- which parameters the kernels take ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
def test_kernels_take_every_step_but_the_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters(((), (3,), (40, 50), (2, 30, 40)))
    optimizer = build(name, params)
    steps(optimizer, params, range(1))
    before = [p.detach().clone() for p in params]
    forbid_torch(monkeypatch, optimizer)
    steps(optimizer, params, range(1, 2))
    assert all(not torch.equal(p, b) for p, b in zip(params, before, strict=True))
    assert all(float(optimizer.state[p]["step"]) == 2 for p in params)


def test_tensors_that_begin_anywhere() -> None:
    """Views at odd offsets take a launch of their own, without wide loads."""
    flat = torch.randn(1000, generator=torch.Generator().manual_seed(3)).to(GPU)
    runs = []
    for target in ("torch", "triton"):
        storage = flat.clone()
        params = [torch.nn.Parameter(x) for x in (storage[1:301], storage[304:604], storage[607:1000])]
        optimizer = on_gpu(compile_rule(load("adamw"), target=target))(params)
        steps(optimizer, params, range(4))
        runs.append(storage)
    torch.testing.assert_close(*runs)


def test_what_kernels_do_not_take_is_torch_s() -> None:
    plain = torch.nn.Parameter(torch.randn(4, 5, device=GPU))
    strided = torch.nn.Parameter(torch.randn(5, 4, device=GPU).t())
    complex_ = torch.nn.Parameter(torch.randn(3, dtype=torch.complex64, device=GPU))
    empty = torch.nn.Parameter(torch.empty(0, device=GPU))
    on_host = torch.nn.Parameter(torch.randn(4))
    params = [plain, strided, complex_, empty, on_host]
    optimizer = build("adamw", params)
    for _ in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert [float(optimizer.state[p]["step"]) for p in params] == [3.0] * 5


def test_many_small_matrices_are_torch_s() -> None:
    """A program for each matrix of a convolution's weight would do little; torch does all at once."""
    rule = load("adafactor")
    agree(rule, torch.float32, shapes=((8, 4, 3, 3), (5, 4)), target="triton")


def test_gradients_may_move_stay_away_or_have_another_layout() -> None:
    runs = []
    for target in ("torch", "triton"):
        params = parameters(((40, 30), (50,)))
        optimizer = on_gpu(compile_rule(load("lion"), target=target))(params)
        keep = []
        for seed in range(6):
            give_gradients(params, seed)
            keep.append([p.grad for p in params])  # so that the next ones are elsewhere
            if seed == 3:
                params[1].grad = None
            if seed == 4:
                params[0].grad = params[0].grad.t().contiguous().t()  # type: ignore[union-attr]
            optimizer.step()
        runs.append([*params, *(optimizer.state[p]["step"].cpu() for p in params)])
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b)


def test_groups_hyperparameters_and_schedules() -> None:
    runs = []
    for target in ("torch", "triton"):
        params = parameters(((40, 30), (50,), (7,)))
        groups = [{"params": params[:1]}, {"params": params[1:2], "lr": 0.1, "weight_decay": 0.5}]
        optimizer = on_gpu(compile_rule(load("adamw"), target=target))(groups, lr=torch.tensor(0.01, device=GPU))
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for seed in range(5):
            if seed == 2:
                optimizer.add_param_group({"params": params[2:], "maximize": True})
            give_gradients(params, seed)
            optimizer.step()
            scheduler.step()
        runs.append(params)
    for a, b in zip(*runs, strict=True):
        torch.testing.assert_close(a, b)


# --- GradScaler ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
def test_a_gradient_that_is_not_finite_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters(((3,), (40, 50)))
    optimizer: Any = build(name, params)
    steps(optimizer, params, range(2))
    before = copy.deepcopy(optimizer.state_dict()), [p.detach().clone() for p in params]
    forbid_torch(monkeypatch, optimizer)
    optimizer.grad_scale, optimizer.found_inf = (torch.full((1,), x, device=GPU) for x in (4.0, 1.0))
    for p in params:
        assert p.grad is not None
        p.grad[0] = float("inf")
    optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before[1], strict=True))
    for old, new in zip(before[0]["state"].values(), optimizer.state_dict()["state"].values(), strict=True):
        assert all(torch.equal(old[k], new[k]) for k in old)


def test_the_kernels_divide_by_the_scale() -> None:
    plain, scaled = parameters(((3,), (40, 50))), parameters(((3,), (40, 50)))
    one, other = build("adamw", plain), build("adamw", scaled)
    other.grad_scale, other.found_inf = (torch.full((1,), x, device=GPU) for x in (4.0, 0.0))  # type: ignore[attr-defined]
    for seed in range(3):
        give_gradients(plain, seed)
        for p, q in zip(plain, scaled, strict=True):
            assert p.grad is not None
            q.grad = p.grad * 4
        one.step()
        other.step()
    assert all(torch.equal(p, q) for p, q in zip(plain, scaled, strict=True))


# --- states ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("targets", [("triton", "torch"), ("torch", "triton"), ("cpp", "triton"), ("triton", "cpp")])
def test_a_run_goes_on_in_another_target(name: str, targets: tuple[str, str]) -> None:
    params = parameters(((3,), (40, 50)))
    whole = build(name, params)
    steps(whole, params, range(4))
    others = parameters(((3,), (40, 50)))
    first, second = targets
    begun = (on_gpu if first == "triton" else lambda c: c)(compile_rule(load(name), target=first))(others)
    steps(begun, others, range(2))
    resumed = (on_gpu if second == "triton" else lambda c: c)(compile_rule(load(name), target=second))(others)
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    steps(resumed, others, range(2, 4))
    for p, q in zip(params, others, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
        assert float(resumed.state[q]["step"]) == 4


def test_autograd_notices_that_a_parameter_has_changed() -> None:
    p = torch.nn.Parameter(torch.ones(3, device=GPU))
    optimizer = build("lion", [p])
    for _ in range(2):
        p.grad = torch.ones_like(p)
        optimizer.step()
    loss = (p * p).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_no_gradient_is_kept_alive() -> None:
    import weakref

    params = parameters(((3,), (40, 50)))
    optimizer = build("adamw", params)
    steps(optimizer, params, range(3))
    kept = [weakref.ref(p.grad) for p in params if p.grad is not None]
    optimizer.zero_grad()
    assert all(ref() is None for ref in kept)


# --- more elements than 32 bits count ---------------------------------------------------------------------------


def test_offsets_beyond_2_31(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last chunk of a vector of 2**31 + 5 elements; only the pages that it touches come to be."""
    count = 2**31 + 5
    p = torch.nn.Parameter(torch.empty(count, dtype=torch.bfloat16, device=GPU))
    optimizer = build("lion", [p], lr=1.0)
    optimizer.state[p] = {"step": torch.tensor(1.0), "m": torch.empty(count, device=GPU)}
    p.grad = torch.empty_like(p)
    tail = slice(2**31 - 3, count)
    for x, value in ((p.data, 2.0), (p.grad, -1.0), (optimizer.state[p]["m"], 0.0)):
        x[tail] = value
    module: Any = __import__("sys").modules[type(optimizer).__module__]
    listed = module.GpuLaunch._listed

    def last(self: Any, counts: list[int]) -> torch.Tensor:
        return listed(self, counts)[-1:] if len(counts) == 1 and counts[0] > 1 else listed(self, counts)

    monkeypatch.setattr(module.GpuLaunch, "_listed", last)
    optimizer.step()
    assert p[2**31 :].tolist() == [3.0] * 5
    assert p[2**31 - 3 : 2**31].tolist() == [2.0] * 3  # another chunk
