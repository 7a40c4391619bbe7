"""What must hold on a GPU, with torch, triton, numpy and evoptim alone: rules against float64, graphs, no waiting.

Every check takes a device and raises AssertionError; `run_all` collects what each of them said.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from collecting import off, outcome

from evoptim.codegen import compile_rule
from evoptim.codegen.targets.triton.optimizer import TritonText
from evoptim.dsl import Kind, Reference, Rule, live_statements, load, parse, rule_names

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (40, 50), (2, 130, 40), (9000,), (300, 700))
SEEDS = ("lion", "adamw", "adan", "adax", "adafactor")
ALLOWED = {torch.float64: 1e-9, torch.float32: 5e-5, torch.bfloat16: 5e-3}
"""Largest difference from the float64 reference after the steps, relative to the largest entry of a tensor.

Parameters or a state may be twice as far off as in eager torch in the same type on the CPU, if that is more: rules with
signs or with differences of near values amplify rounding (`focus`, `ano` and `ldog` lose 0.4 to 1 % in float32).
"""


def fits(rule: Rule) -> bool:
    """Whether all parameters of a rule can go to Triton."""
    return len(TritonText(live_statements(rule)).plans) == len(rule.classes)


def draw(steps: int, seed: int = 0) -> tuple[list[Any], list[list[Any]]]:
    """Parameters and gradients per step that bfloat16 holds exactly."""
    random = np.random.default_rng(seed)
    tensors = [
        [torch.tensor(random.standard_normal(s)).bfloat16().double().numpy() for s in SHAPES] for _ in range(steps + 1)
    ]
    return tensors[0], tensors[1:]


def train(rule: Rule, device: str, dtype: torch.dtype, data: Any, target: str = "triton", **options: Any) -> Any:
    """An optimizer after the steps, and its parameters."""
    params = [torch.nn.Parameter(torch.tensor(p, dtype=dtype, device=device)) for p in data[0]]
    optimizer = compile_rule(rule, target=target)(params, **options)
    for step in data[1]:
        for p, g in zip(params, step, strict=True):
            p.grad = torch.tensor(g, dtype=dtype, device=device)
        optimizer.step()
    return optimizer, params


def apart(found: torch.Tensor, expected: Any) -> float:
    """How far a tensor is off."""
    return off(found.detach().double().cpu().numpy(), expected)


def differences(rule: Rule, reference: Reference, optimizer: Any, params: Sequence[Any]) -> dict[str, float]:
    """The largest difference from the reference of parameters, as ``w``, and of each state."""
    found = {"w": max(apart(p, e) for p, e in zip(params, reference.params, strict=True))}
    for buffer in (b for b in rule.buffers if b.kind != Kind.GLOBAL):
        name, values = buffer.name, zip(params, reference.state[buffer.name], strict=True)
        found[name] = max(
            (apart(optimizer.state[p][name], v) for p, v in values if name in optimizer.state[p]), default=0
        )
    return found


def check_agreement(rule: Rule, device: str, dtype: torch.dtype, steps: int = 4) -> float:
    """A rule on the device against the float64 reference; returns the largest difference of a parameter or state."""
    data = draw(steps)
    reference = Reference(rule, data[0])
    for step in data[1]:
        reference.step(step)
    found = differences(rule, reference, *train(rule, device, dtype, data))
    if max(found.values()) > ALLOWED[dtype]:
        eager = differences(rule, reference, *train(rule, "cpu", dtype, data, target="torch"))
        for name, difference in found.items():
            within = difference <= max(ALLOWED[dtype], 2 * eager[name])
            assert within, f"{rule.name} in {dtype}: {name} is off by {difference:.2e}, in torch by {eager[name]:.2e}"
    return max(found.values())


def check_kernels_run(device: str) -> None:
    """From the second step on no parameter is updated by torch."""
    for name in SEEDS:
        data = draw(1)
        optimizer, params = train(load(name), device, torch.float32, data)
        cls: Any = type(optimizer)
        original = cls._update

        def fail(*_: Any) -> None:
            raise AssertionError("updated by torch")

        cls._update = fail
        try:
            for p in params:
                p.grad = torch.ones_like(p)
            optimizer.step()
        finally:
            cls._update = original


def check_no_waiting(device: str) -> None:
    """A step with new gradients, a new lr, GradScaler's tensors and a lr on the device never waits for it."""
    data = draw(2)
    lr = torch.tensor(1e-3, device=device)
    choices: list[dict[str, Any]] = [{"lr": 1e-3}, {"lr": lr}]
    for options in choices:
        optimizer, params = train(load("adamw"), device, torch.float32, data, **options)
        kept = [torch.randn_like(p) for p in params]
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            for k in range(3):
                for p, g in zip(params, kept, strict=True):
                    p.grad = g.clone()
                if not isinstance(options["lr"], torch.Tensor):
                    optimizer.param_groups[0]["lr"] = 1e-3 / (k + 1)
                optimizer.grad_scale = torch.ones(1, device=device)
                optimizer.found_inf = torch.zeros(1, device=device)
                optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def check_graph(device: str) -> None:
    """A captured step, replayed, does what as many ordinary steps do; gradients and lr change in place."""
    for name in SEEDS:
        data = draw(6)
        expected, wanted = train(load(name), device, torch.float32, data)
        del expected
        params = [torch.nn.Parameter(torch.tensor(p, dtype=torch.float32, device=device)) for p in data[0]]
        optimizer = compile_rule(load(name), target="triton")(params, capturable=True)
        for p in params:
            p.grad = torch.zeros_like(p)

        def give(step: list[Any], params: list[Any] = params) -> None:
            for p, g in zip(params, step, strict=True):
                p.grad.copy_(torch.tensor(g, dtype=torch.float32, device=device))

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for step in data[1][:3]:
                give(step)
                optimizer.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            optimizer.step()
        for step in data[1][3:]:
            give(step)
            graph.replay()
        torch.cuda.synchronize()
        for p, q in zip(params, wanted, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-7)


def check_whole_step_in_a_graph(device: str) -> None:
    """Forward, backward and step in one graph: the gradients that it allocates are elsewhere than before."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 8)).to(device)
    other = copy.deepcopy(model)
    x, y = torch.randn(128, 64, device=device), torch.randn(128, 8, device=device)
    runs = []
    for net in (model, other):
        optimizer = compile_rule(load("adamw"), target="triton")(net.parameters(), lr=1e-2, capturable=True)
        runs.append((net, optimizer))

    def step(net: Any, optimizer: Any) -> None:
        optimizer.zero_grad(set_to_none=True)
        (net(x) - y).square().mean().backward()
        optimizer.step()

    for _ in range(13):
        step(*runs[0])
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(*runs[1])
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    runs[1][1].zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step(*runs[1])
    for _ in range(10):
        graph.replay()
    torch.cuda.synchronize()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)


def check_found_inf(device: str) -> None:
    """An infinite gradient changes neither parameters nor state nor step counts."""
    for name in SEEDS:
        optimizer, params = train(load(name), device, torch.float32, draw(2))
        before = copy.deepcopy(optimizer.state_dict()["state"]), [p.detach().clone() for p in params]
        optimizer.grad_scale = torch.full((1,), 4.0, device=device)
        optimizer.found_inf = torch.ones(1, device=device)
        for p in params:
            p.grad = torch.full_like(p, float("inf"))
        optimizer.step()
        assert all(torch.equal(p, b) for p, b in zip(params, before[1], strict=True)), name
        for old, new in zip(before[0].values(), optimizer.state_dict()["state"].values(), strict=True):
            assert all(torch.equal(old[k].cpu(), new[k].cpu()) for k in old), name


def check_mixed_devices(device: str) -> None:
    """One group with parameters on both devices; a state dict that moves between them and between targets."""
    data = draw(4)
    params = [
        torch.nn.Parameter(torch.tensor(p, dtype=torch.float32, device=device if i % 2 else "cpu"))
        for i, p in enumerate(data[0])
    ]
    optimizer = compile_rule(load("adamw"))(params)
    _, wanted = train(load("adamw"), "cpu", torch.float32, data, target="torch")
    for k, step in enumerate(data[1]):
        if k == 2:
            state = copy.deepcopy(optimizer.state_dict())
            optimizer = compile_rule(load("adamw"))(params)
            optimizer.load_state_dict(state)
        for p, g in zip(params, step, strict=True):
            p.grad = torch.tensor(g, dtype=torch.float32, device=p.device)
        optimizer.step()
    for p, q in zip(params, wanted, strict=True):
        torch.testing.assert_close(p.cpu(), q.cpu(), rtol=1e-4, atol=1e-5)


def check_rounding(device: str) -> None:
    """bfloat16 parameters: random rounding keeps the mean, Kahan the rest; the same as torch's on the CPU."""
    rule = parse("def plain(w, g, *, lr=1.0):\n    return w - lr * g")
    for way in ("stochastic", "kahan"):
        runs = []
        for place, target in ((device, "triton"), ("cpu", "torch")):
            p = torch.nn.Parameter(torch.ones(100, 40, dtype=torch.bfloat16, device=place))
            optimizer = compile_rule(rule, target=target)([p], rounding=way)
            p.grad = torch.full_like(p, 2.0**-12)
            for _ in range(64):
                optimizer.step()
            runs.append(p.detach().cpu())
        assert torch.equal(*runs), way
        assert abs(runs[0].double().mean().item() - (1 - 2.0**-6)) < 1e-3, way


def check_large(device: str) -> None:
    """More than 2**31 elements: the last ones are updated."""
    if torch.cuda.get_device_properties(0).total_memory < 60e9:
        return
    p = torch.nn.Parameter(torch.zeros(2**31 + 5, dtype=torch.bfloat16, device=device))
    optimizer = compile_rule(load("lion"), target="triton")([p], lr=1.0)
    optimizer.state[p] = {"step": torch.tensor(1.0), "m": torch.zeros(p.shape, device=device)}
    p.grad = torch.ones_like(p)
    optimizer.step()
    assert p[-7:].tolist() == p[:7].tolist() == [-1.0] * 7
    assert p.sum(dtype=torch.float64).item() == -p.numel()
    del p, optimizer
    torch.cuda.empty_cache()


Check = Callable[[str], None]
ON_GPU_ONLY: tuple[Check, ...] = (check_no_waiting, check_graph, check_whole_step_in_a_graph, check_large)
ANYWHERE: tuple[Check, ...] = (check_kernels_run, check_found_inf, check_mixed_devices, check_rounding)


def everything(device: str, names: Sequence[str]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All checks by name."""
    for check in (*ANYWHERE, *(ON_GPU_ONLY if device == "cuda" else ())):
        yield check.__name__, lambda c=check: c(device)
    for name in names:
        for dtype in (torch.float32, torch.bfloat16) if name in SEEDS else (torch.float32,):
            rule = load(name)
            if fits(rule):
                yield f"{name} {dtype}", lambda r=rule, d=dtype: check_agreement(r, device, d)


def run_all(device: str, names: Sequence[str] | None = None, seconds: float = 240.0) -> dict[str, str]:
    """Run all checks; what each said: ``ok``, the difference found, or its failure. Stops when time is up."""
    said: dict[str, str] = {}
    began = time.perf_counter()
    for name, check in everything(device, names or (*SEEDS, *(n for n in rule_names() if n not in SEEDS))):
        if time.perf_counter() - began > seconds:
            said[name] = "not run: time is up"
            continue
        said[name] = outcome(check)
    return said
