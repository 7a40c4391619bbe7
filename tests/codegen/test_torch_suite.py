"""The checks that torch makes of its own optimizers, on generated ones described in torch's own table."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from hosting import (
    RULES,
    SHAPES,
    assert_same,
    give_gradients,
    optimizer_class,
    parameters,
    snapshot,
    steps,
    through_a_file,
)
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.testing._internal.common_optimizers import (
    ErrorOptimizerInput,
    OptimizerErrorEnum,
    OptimizerInfo,
    OptimizerInput,
    get_error_inputs_for_all_optims,
)

from evoptim.codegen import compile_rule
from evoptim.dsl import elementwise, parse

LR = {"prodigy": 1.0, "muon": 0.02}  # others: 1e-3
UNFIT = {"schedule_free_sgd"}  # its learning rate of 1 is too large for the problem of these tests


def inputs(name: str) -> list[OptimizerInput]:
    """Ways to construct an optimizer, as torch's table lists them for its own."""
    keys, lr = optimizer_class(name)(parameters()).defaults.keys(), LR.get(name, 1e-3)
    options: dict[str, dict[str, Any]] = {} if name in UNFIT else {"default": {}}
    options |= {"lr": {"lr": lr}, "maximize": {"lr": lr, "maximize": True}}
    options |= {f"lr of {n} dimensions": {"lr": torch.full((1,) * n, lr)} for n in range(3)}
    options["capturable"] = {"lr": torch.tensor(lr), "capturable": True}
    if "weight_decay" in keys:
        options["weight_decay"] = {"lr": lr, "weight_decay": 0.1}
        options["weight_decay, maximize"] = {"lr": lr, "weight_decay": 0.1, "maximize": True}
    if "momentum" in keys:
        options["no momentum"] = {"lr": lr, "momentum": 0.0}
    return [OptimizerInput(params=None, kwargs=kwargs, desc=desc) for desc, kwargs in options.items()]


def refused(name: str, dtype: torch.dtype) -> list[ErrorOptimizerInput]:
    """What construction must refuse: what torch's optimizers refuse all, and values out of range."""
    keys = optimizer_class(name)(parameters()).defaults.keys()
    out = get_error_inputs_for_all_optims("cpu", dtype)
    labels = {"lr": "learning rate", "weight_decay": "weight_decay value", "momentum": "momentum value"}
    for key, label in labels.items():
        if key in keys:
            given = OptimizerInput(params=None, kwargs={key: -0.5}, desc=f"{key} below zero")
            out.append(ErrorOptimizerInput(given, error_type=ValueError, error_regex=f"Invalid {label}: -0.5"))
    return out


def info(name: str) -> OptimizerInfo:
    return OptimizerInfo(
        optimizer_class(name),
        optim_inputs_func=lambda device, dtype=None: inputs(name),
        optim_error_inputs_func=lambda device, dtype: refused(name, dtype),
        scheduler_inputs=(
            [lambda o: StepLR(o, gamma=0.9, step_size=10)],
            [lambda o: StepLR(o, gamma=0.9, step_size=10), lambda o: ReduceLROnPlateau(o)],
        ),
        supported_impls=(),
        not_og_supported_flags=("maximize",),
        supports_complex=elementwise(RULES[name]),
    )


TABLE = {name: info(name) for name in RULES}
EVERY = pytest.mark.parametrize("entry", TABLE.values(), ids=TABLE)
CASES = [pytest.param(entry, given, id=f"{n}-{given.desc}") for n, entry in TABLE.items() for given in inputs(n)]
EVERY_WAY = pytest.mark.parametrize(("entry", "given"), CASES)


def build(entry: OptimizerInfo, params: Any, **options: Any) -> Optimizer:
    return entry.optim_cls(params, **options)


def copied(given: OptimizerInput) -> dict[str, Any]:
    """Its arguments; a scheduler writes into a learning rate that is a tensor."""
    return copy.deepcopy(given.kwargs)


# --- construction ---------------------------------------------------------------------------------------


@EVERY
def test_what_is_refused(entry: OptimizerInfo) -> None:
    for case in entry.optim_error_inputs_func("cpu", torch.float32):
        assert case.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
        given = case.optimizer_error_input
        params = parameters() if given.params is None else given.params
        if issubclass(case.error_type, Warning):
            with pytest.warns(case.error_type, match=case.error_regex):
                build(entry, params, **given.kwargs)
        else:
            with pytest.raises(case.error_type, match=case.error_regex):
                build(entry, params, **given.kwargs)


@EVERY
def test_switches_of_torch_that_are_not_offered(entry: OptimizerInfo) -> None:
    for switch in ("foreach", "fused", "differentiable"):
        with pytest.raises(TypeError, match=switch):
            build(entry, parameters(), **{switch: True})


# --- descent --------------------------------------------------------------------------------------------


def descend(entry: OptimizerInfo, given: OptimizerInput, schedulers: Any = (), contiguous: bool = True) -> None:
    """Twenty steps on a sum of squares, linear in the parameters, lower it, or raise it under maximize."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(10, 5, 2, generator=generator)[..., 0]
    weight = nn.Parameter(values.contiguous() if contiguous else values)
    bias = nn.Parameter(torch.randn(10, generator=generator))
    x = torch.randn(5, generator=generator)
    optimizer = build(entry, [weight, bias], **copied(given))
    schedules = [make_schedule(optimizer) for make_schedule in schedulers]

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (weight.mv(x) + bias).pow(2).sum()
        loss.backward()
        return loss

    first = closure().item()
    for _ in range(20):
        loss = optimizer.step(closure)
        for schedule in schedules:
            schedule.step(*([loss.detach()] if isinstance(schedule, ReduceLROnPlateau) else []))
    if given.kwargs.get("maximize"):
        assert closure().item() > first
    else:
        assert closure().item() < first


@EVERY_WAY
@pytest.mark.parametrize("contiguous", [True, False])
def test_goes_the_right_way(entry: OptimizerInfo, given: OptimizerInput, contiguous: bool) -> None:
    descend(entry, given, contiguous=contiguous)


@EVERY_WAY
def test_goes_the_right_way_with_schedulers(entry: OptimizerInfo, given: OptimizerInput) -> None:
    for schedulers in entry.scheduler_inputs:
        descend(entry, given, schedulers)


@EVERY
def test_rosenbrock(entry: OptimizerInfo) -> None:
    """A curved valley in float64, with a closure that writes the gradient itself."""
    p = nn.Parameter(torch.tensor([1.5, 1.5], dtype=torch.float64))
    optimizer = build(entry, [p], lr=1e-4)

    def closure() -> Tensor:
        x, y = p.detach()
        p.grad = torch.stack([-400 * x * (y - x**2) - 2 * (1 - x), 200 * (y - x**2)])
        return (1 - x) ** 2 + 100 * (y - x**2) ** 2

    first = closure()
    for _ in range(100):
        optimizer.step(closure)
    assert closure() < first


@EVERY
@pytest.mark.parametrize("key", ["lr", "weight_decay"])
def test_groups_have_options_of_their_own(entry: OptimizerInfo, key: str) -> None:
    """A value in one of two groups moves its parameter, and leaves that of the other group where it is."""
    first, second = parameters(((4, 5), (4, 5)))
    if key not in build(entry, [first]).defaults:
        pytest.skip("it has no weight decay")
    options = {"lr": {"lr": 0.0}, "weight_decay": {"weight_decay": 0.0}}[key]
    optimizer = build(entry, [{"params": [first], key: 0.5}, {"params": [second]}], **options)
    assert [group[key] for group in optimizer.param_groups] == [0.5, 0.0]
    before = [first.detach().clone(), second.detach().clone()]
    for seed in range(3):
        for p in (first, second):
            generator = torch.Generator().manual_seed(seed)
            p.grad = torch.zeros_like(p) if key == "weight_decay" else torch.randn(p.shape, generator=generator)
        optimizer.step()
    assert not torch.equal(first, before[0])
    assert torch.equal(second, before[1])


@pytest.mark.parametrize("entry", [e for e in TABLE.values() if e.supports_complex], ids=lambda e: e.name)
def test_complex(entry: OptimizerInfo) -> None:
    """Complex parameters descend, and as their real and imaginary parts would on their own."""
    generator = torch.Generator().manual_seed(0)
    start, goal = (torch.randn(4, dtype=torch.complex64, generator=generator) for _ in range(2))
    whole = nn.Parameter(start.clone())
    parts = [nn.Parameter(start.real.clone()), nn.Parameter(start.imag.clone())]
    optimizers = build(entry, [whole], lr=0.01), build(entry, parts, lr=0.01)
    losses: list[float] = []
    for _ in range(10):
        for optimizer, value in zip(optimizers, (lambda: whole, lambda: torch.complex(*parts)), strict=True):
            optimizer.zero_grad()
            loss = (value() - goal).abs().square().sum()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    torch.testing.assert_close(whole.detach(), torch.complex(*parts).detach())


# --- steps that change nothing, and state that is there ---------------------------------------------------


@EVERY_WAY
def test_zero_gradients_change_nothing(entry: OptimizerInfo, given: OptimizerInput) -> None:
    options = copied(given)
    params = parameters(((), *SHAPES))
    optimizer = build(entry, params, **options)
    for group in optimizer.param_groups:
        group.update({"weight_decay": 0.0} if "weight_decay" in group else {})
    before = [p.detach().clone() for p in params]
    for _ in range(3):
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))


@EVERY_WAY
def test_no_gradients_change_nothing_and_make_no_state(entry: OptimizerInfo, given: OptimizerInput) -> None:
    params = parameters()
    optimizer = build(entry, params, **copied(given))
    before = snapshot(optimizer)
    for p in params:
        p.grad = None
    optimizer.step()
    assert_same(before, snapshot(optimizer))
    assert not optimizer.state


@EVERY_WAY
def test_every_parameter_has_state_after_a_step(entry: OptimizerInfo, given: OptimizerInput) -> None:
    params = parameters(((), (0,), *SHAPES))
    optimizer = build(entry, params, **copied(given))
    steps(optimizer, 1)
    assert all(len(optimizer.state[p]) > 0 for p in params)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_default_dtype_has_no_say(entry: OptimizerInfo, dtype: torch.dtype) -> None:
    """A step count in bfloat16 would stay at 256."""
    expected, optimizer = build(entry, parameters()), build(entry, parameters())
    for seed in range(2):
        for o in (expected, optimizer):
            give_gradients(o.param_groups[0]["params"], seed)
        expected.step()
        torch.set_default_dtype(dtype)
        try:
            optimizer.step()
        finally:
            torch.set_default_dtype(torch.float32)
    assert_same(snapshot(expected), snapshot(optimizer))


@EVERY
def test_dtypes_side_by_side(entry: OptimizerInfo) -> None:
    dtypes = (torch.float32, torch.bfloat16, torch.float64)
    params = [parameters(((4, 5),), dtype)[0] for dtype in dtypes]
    optimizer = build(entry, params)
    steps(optimizer, 3)
    assert [p.dtype for p in params] == [*dtypes]
    assert all(torch.isfinite(p).all() for p in params)
    assert all(v.dtype in (torch.float32, torch.float64) for p in params for v in optimizer.state[p].values())


# --- hooks ----------------------------------------------------------------------------------------------


@EVERY
def test_order_of_hooks(entry: OptimizerInfo) -> None:
    seen: list[str] = []
    optimizer = build(entry, parameters())
    handles = [
        optimizer.register_step_pre_hook(lambda *_: seen.append("before")),
        optimizer.register_step_post_hook(lambda *_: seen.append("after")),
        register_optimizer_step_pre_hook(lambda *_: seen.append("before any")),
        register_optimizer_step_post_hook(lambda *_: seen.append("after any")),
    ]
    try:
        steps(optimizer, 1)
        assert seen == ["before any", "before", "after", "after any"]
    finally:
        for handle in handles:
            handle.remove()
    steps(optimizer, 1)
    assert len(seen) == 4


@EVERY
def test_a_hook_may_replace_the_closure(entry: OptimizerInfo) -> None:
    optimizer = build(entry, parameters())
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: seen.append("replaced")), {}))
    optimizer.step(lambda: seen.append("given"))
    assert seen == ["replaced"]


def pickled(optimizer: Optimizer) -> Optimizer:
    return pickle.loads(pickle.dumps(optimizer))


@EVERY
@pytest.mark.parametrize("copies", [copy.deepcopy, pickled], ids=["deepcopy", "pickle"])
def test_copies_with_hooks(entry: OptimizerInfo, copies: Any) -> None:
    """A copy has all public attributes and state; hooks stay with the original, as with every torch optimizer."""
    optimizer = build(entry, parameters())
    steps(optimizer, 2)
    calls: list[int] = []
    optimizer.register_step_pre_hook(lambda *_: calls.append(0))
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    optimizer.register_state_dict_post_hook(lambda *_: calls.append(2))
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append(3))
    twin = copies(optimizer)
    assert [k for k in vars(twin) if k[0] != "_"] == [k for k in vars(optimizer) if k[0] != "_"]
    assert twin.defaults == optimizer.defaults | {"differentiable": False}  # torch puts it there
    assert_same(snapshot(twin), snapshot(optimizer))
    twin.load_state_dict(twin.state_dict())
    steps(twin, 1, first=7)
    assert not calls
    steps(optimizer, 1, first=7)
    assert calls == [0, 1]
    assert_same(snapshot(twin), snapshot(optimizer))


# --- state dicts ------------------------------------------------------------------------------------------


@EVERY_WAY
def test_a_saved_run_goes_on_the_same(entry: OptimizerInfo, given: OptimizerInput) -> None:
    """Saved, read back with weights_only, loaded: the same dict, and the same steps from there."""
    optimizer = build(entry, parameters(((), *SHAPES)), **copied(given))
    steps(optimizer, 2)
    saved = through_a_file(optimizer.state_dict())
    params = [nn.Parameter(p.detach().clone()) for p in optimizer.param_groups[0]["params"]]
    loaded = build(entry, params, **copied(given))
    loaded.load_state_dict(saved)
    assert_same(snapshot(loaded), snapshot(optimizer))
    assert loaded.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    steps(optimizer, 2, first=5)
    steps(loaded, 2, first=5)
    assert_same(snapshot(loaded), snapshot(optimizer))


@EVERY
def test_state_dicts_of_older_versions(entry: OptimizerInfo) -> None:
    """A group may lack every key but the learning rate, and steps may be counted with a number."""
    optimizer = build(entry, parameters(), lr=0.002)
    steps(optimizer, 2)
    older = copy.deepcopy(optimizer.state_dict())
    older["param_groups"] = [{"params": g["params"], "lr": g["lr"], **shared(g)} for g in older["param_groups"]]
    for state in older["state"].values():
        state["step"] = int(state["step"])
    loaded = build(entry, [nn.Parameter(p.detach().clone()) for p in optimizer.param_groups[0]["params"]])
    loaded.load_state_dict(older)
    assert all(isinstance(s["step"], Tensor) and s["step"].dtype == torch.float32 for s in loaded.state.values())
    assert_same(snapshot(loaded), snapshot(optimizer))
    steps(optimizer, 2, first=5)
    steps(loaded, 2, first=5)
    assert_same(snapshot(loaded), snapshot(optimizer))


def shared(group: dict[str, Any]) -> dict[str, Tensor]:
    """Buffers that a rule keeps for all parameters together: state, though it is in the group."""
    return {k: v for k, v in group.items() if isinstance(v, Tensor) and k != "lr"}


NAMES = ["first", "second"]


def named(names: list[str] = NAMES) -> list[tuple[str, nn.Parameter]]:
    return [*zip(names, parameters(), strict=True)]


@EVERY
def test_names_of_parameters(entry: OptimizerInfo) -> None:
    """Names are saved and loaded; loading a state dict without them leaves those that were given."""
    optimizer = build(entry, named())
    steps(optimizer, 1)
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == NAMES
    for params, names in ((parameters(), NAMES), (named(["a", "b"]), NAMES)):
        loaded = build(entry, params)
        loaded.load_state_dict(through_a_file(optimizer.state_dict()))
        assert loaded.param_groups[0]["param_names"] == names
        assert loaded.state_dict()["state"].keys() == {0, 1}
    nameless = optimizer.state_dict()
    del nameless["param_groups"][0]["param_names"]
    loaded = build(entry, named(["a", "b"]))
    loaded.load_state_dict(nameless)
    assert loaded.param_groups[0]["param_names"] == ["a", "b"]
    steps(loaded, 1)


@EVERY
def test_a_hook_may_load_by_name(entry: OptimizerInfo) -> None:
    """Parameters may be given in another order if a hook sorts the state by their names."""
    optimizer = build(entry, named())
    steps(optimizer, 2)
    loaded = build(entry, [(n, nn.Parameter(p.detach().clone())) for n, p in reversed(named())])

    def sort(into: Optimizer, given: dict[str, Any]) -> dict[str, Any]:
        group = given["param_groups"][0]
        places = [group["param_names"].index(n) for n in into.param_groups[0]["param_names"]]
        state = {i: given["state"][place] for i, place in enumerate(places)}
        return {"state": state, "param_groups": [{**group, "param_names": into.param_groups[0]["param_names"]}]}

    loaded.register_load_state_dict_pre_hook(sort)
    loaded.load_state_dict(optimizer.state_dict())
    for (_, state), (_, same) in zip(loaded.state.items(), reversed(optimizer.state.items()), strict=True):
        assert_same(state, same)


@EVERY
def test_hooks_of_state_dicts(entry: OptimizerInfo) -> None:
    optimizer = build(entry, parameters())
    seen: list[str] = []
    optimizer.register_state_dict_pre_hook(lambda _: seen.append("save"))
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "note": 1})
    optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.append(f"load {state['note']}"))
    optimizer.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["save", "load 1", "loaded"]


def test_getattr_is_no_name_to_trip_over() -> None:
    """The generated step calls it, and a buffer may be called so."""
    body = "getattr = ema(getattr, g, 0.9)\n    return w - lr * getattr, getattr"
    rule = parse(f"def r(w, g, getattr, *, lr=0.1):\n    {body}")
    steps(compile_rule(rule)(parameters()), 2)
