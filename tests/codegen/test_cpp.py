"""The compiled kernels: that they are what runs, on every dtype, and a cache that stands processes and torn files."""

from __future__ import annotations

import copy
import errno
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from rules import SAMPLE, SEEDS

from evoptim.codegen import compile_rule, source
from evoptim.codegen.plan import plan
from evoptim.codegen.targets.cpp.loader import load_kernels
from evoptim.codegen.targets.cpp.printer import source as cpp_source
from evoptim.codegen.targets.cpp.printer import supported
from evoptim.codegen.targets.statements import Columns
from evoptim.dsl import UserError, load, parse

SHAPES = ((), (3,), (4, 5), (2, 3, 4), (300, 500))  # the last one is cut into chunks
DTYPES = {torch.float64: 1e-12, torch.float32: 1e-4, torch.bfloat16: 0.02, torch.float16: 5e-3}
COMPILED = [*SEEDS, *SAMPLE]


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for s in SHAPES]


def give_gradients(params: list[torch.nn.Parameter], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def forbid_torch(monkeypatch: pytest.MonkeyPatch, optimizer: torch.optim.Optimizer) -> None:
    """From here on, a parameter that torch updates is a failure."""

    def fail(*_: object) -> None:
        raise AssertionError("updated by torch")

    monkeypatch.setattr(type(optimizer), "_update", fail)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", COMPILED)
def test_kernels_do_what_torch_does(name: str, dtype: torch.dtype) -> None:
    both = []
    for target in ("torch", "cpp"):
        params = parameters(dtype)
        optimizer = compile_rule(load(name), target=target)(params)
        for seed in range(5):
            give_gradients(params, seed)
            optimizer.step()
        both.append((optimizer, params))
    (eager, expected), (compiled, got) = both
    for p, q in zip(got, expected, strict=True):
        torch.testing.assert_close(p, q, rtol=DTYPES[dtype], atol=DTYPES[dtype])
        assert compiled.state[p].keys() == eager.state[q].keys()
        for key, value in compiled.state[p].items():
            torch.testing.assert_close(value, eager.state[q][key], rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("name", COMPILED)
def test_kernels_take_every_step_but_the_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters()
    optimizer = compile_rule(load(name), target="cpp")(params)
    give_gradients(params, 0)
    optimizer.step()
    before = [p.detach().clone() for p in params]
    forbid_torch(monkeypatch, optimizer)
    give_gradients(params, 1)
    optimizer.step()
    assert all(not torch.equal(p, b) for p, b in zip(params, before, strict=True))
    assert all(float(optimizer.state[p]["step"]) == 2 for p in params)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    runs = []
    for threads in (1, 2):
        params = [torch.nn.Parameter(torch.randn(300_000, generator=torch.Generator().manual_seed(1)))]
        optimizer = compile_rule(load("lamb"), target="cpp")(params)
        give_gradients(params, 0)
        optimizer.step()  # torch's own sums depend on it
        torch.set_num_threads(threads)
        try:
            for seed in range(1, 4):
                give_gradients(params, seed)
                optimizer.step()
        finally:
            torch.set_num_threads(1)
        runs.append(params[0].detach())
    assert torch.equal(*runs)


def test_what_kernels_do_not_take_is_torch_s() -> None:
    """Strided, complex and empty parameters, states of another dtype: in one step with ordinary ones."""
    plain = torch.nn.Parameter(torch.randn(4, 5))
    strided = torch.nn.Parameter(torch.randn(5, 4).t())
    complex_ = torch.nn.Parameter(torch.randn(3, dtype=torch.complex64))
    empty = torch.nn.Parameter(torch.empty(0))
    params = [plain, strided, complex_, empty]
    optimizer = compile_rule(load("adamw"), target="cpp")(params)
    for _ in range(3):
        for p in params:
            p.grad = torch.ones_like(p)
        optimizer.step()
    assert [float(optimizer.state[p]["step"]) for p in params] == [3.0] * 4
    assert torch.allclose(plain.detach().sum() - strided.detach().sum(), plain.detach().sum() - strided.detach().sum())
    optimizer.state[plain]["m"] = optimizer.state[plain]["m"].double()
    plain.grad = torch.ones_like(plain)
    optimizer.step()
    assert optimizer.state[plain]["m"].dtype == torch.float64


def test_gradients_of_another_layout_are_read_as_they_are() -> None:
    runs = []
    for grad in (torch.arange(20.0).reshape(4, 5), torch.arange(20.0).reshape(4, 5).t().contiguous().t()):
        p = torch.nn.Parameter(torch.zeros(4, 5))
        optimizer = compile_rule(load("sgd"), target="cpp")([p])
        for _ in range(2):
            p.grad = grad
            optimizer.step()
        runs.append(p.detach())
    assert torch.equal(*runs)


def test_autograd_notices_that_a_parameter_has_changed() -> None:
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = compile_rule(load("lion"), target="cpp")([p])
    for _ in range(2):
        p.grad = torch.ones(3)
        optimizer.step()
    loss = (p * p).sum()  # keeps p for its gradient
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_run_moves_between_targets() -> None:
    """A state saved by one target goes on in the other."""
    ends = []
    for second in ("torch", "cpp"):
        params = parameters(torch.float64)
        optimizer = compile_rule(load("adan"), target="cpp")(params)
        for seed in range(3):
            give_gradients(params, seed)
            optimizer.step()
        buffer = io.BytesIO()
        torch.save(optimizer.state_dict(), buffer)
        buffer.seek(0)
        optimizer = compile_rule(load("adan"), target=second)(params)
        optimizer.load_state_dict(torch.load(buffer, weights_only=True))
        for seed in range(3, 6):
            give_gradients(params, seed)
            optimizer.step()
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_groups_and_schedules_reach_the_kernels() -> None:
    params = parameters(torch.float64)
    twin = copy.deepcopy(params)
    optimizers = []
    for target, ps in (("torch", params), ("cpp", twin)):
        optimizer = compile_rule(load("adamw"), target=target)(
            [{"params": ps[:2], "lr": 0.1}, {"params": ps[2:], "weight_decay": 0.5, "maximize": True}]
        )
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for seed in range(4):
            give_gradients(ps, seed)
            optimizer.step()
            scheduler.step()
        optimizers.append(optimizer)
    for p, q in zip(params, twin, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


# --- the file and its cache -----------------------------------------------------------------------------


def test_one_warning_and_eager_torch_without_a_compiler(tmp_path: Path) -> None:
    code = f"""
import os, sys, warnings
os.environ["PATH"] = ""
os.environ.pop("CXX", None)
os.environ["EVOPTIM_CACHE"] = {str(tmp_path)!r}
import torch
from evoptim.codegen import compile_rule
from evoptim.dsl import load
p = torch.nn.Parameter(torch.ones(3))
optimizer = compile_rule(load("lion"))([p])
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for _ in range(4):
        p.grad = torch.ones(3)
        optimizer.step()
assert len(told) == 1 and "apt install g++" in str(told[0].message), told
assert float(optimizer.state[p]["step"]) == 4
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not list(tmp_path.iterdir())


def test_a_compiler_that_fails_is_told_and_torch_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\necho no such option >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="no such option"):
        assert load_kernels("int x;", "f32") is None
    assert not list((tmp_path / "cache").iterdir())


def test_a_cache_that_cannot_be_made_is_told_and_torch_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(UserWarning, match="run in eager torch"):
        assert load_kernels("int y;", "f32") is None


def test_a_full_disk_is_told_and_torch_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path))
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.warns(UserWarning, match="run in eager torch.*No space left"):
        assert load_kernels("int z;", "f32") is None
    assert not list(tmp_path.iterdir())


def test_processes_share_the_cache(tmp_path: Path) -> None:
    code = """
from evoptim.codegen.plan import plan
from evoptim.codegen.targets.cpp.loader import load_kernels
from evoptim.codegen.targets.cpp.printer import source
from evoptim.dsl import load
assert load_kernels(source({"vector": plan(load("sgd"))}), "f32").vector_stage_0_f32
"""
    environment = os.environ | {"EVOPTIM_CACHE": str(tmp_path)}
    workers = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(3)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0, 0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".sha256", ".so"]


@pytest.mark.parametrize("harm", ["torn", "empty", "flipped", "no checksum", "other checksum"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str) -> None:
    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path))
    text = cpp_source({"vector": plan(load("sgd"))}) + f"// {harm}\n"
    assert load_kernels(text, "f32") is not None
    load_kernels.cache_clear()
    [library], [checksum] = tmp_path.glob("*.so"), tmp_path.glob("*.sha256")
    good = library.read_bytes()
    library.unlink()  # the loaded file stays as it is
    match harm:
        case "torn":
            library.write_bytes(good[: len(good) // 2])
        case "empty":
            library.write_bytes(b"")
        case "flipped":
            library.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
        case "no checksum":
            library.write_bytes(good)
            checksum.unlink()
        case _:
            library.write_bytes(good)
            checksum.write_text("0" * 64)
    assert load_kernels(text, "f32") is not None
    assert checksum.exists()


def test_the_kernel_moves_what_the_plan_counts() -> None:
    """Loads and stores of elements in the printed code, weighed, are the bytes of the plan."""
    for name in ("adamw", "lion", "adan", "lamb", "sgd_nesterov"):
        p = plan(load(name))
        text = cpp_source({"vector": p})
        moved = 0
        for stage in range(len(p.stages)):
            body = text.partition(f"void vector_stage_{stage}(")[2].partition("\n}\n")[0]
            moved += 4 * len(re.findall(r"load<A>\(\w+\[j\]\)", body)) + 4 * len(re.findall(r"store\(\w+\[j\]", body))
        assert moved == p.element_bytes()


def test_targets() -> None:
    with pytest.raises(UserError, match="there is no target 'cuda'"):
        source(load("lion"), target="cuda")
    assert "_KERNELS" not in source(load("lion"), target="torch")
    assert "_KERNELS" in source(load("lion"), target="auto")
    product = parse(
        "def r(w, g, *, lr=1):\n    if matrix:\n        g = matmul(matmul(g, transpose(g)), g)\n    return w - lr * g"
    )
    assert supported(plan(product, False))
    assert supported(plan(product, True))
    shared = parse(
        "def r(w, g, *, lr=1):\n    if matrix:\n        g = row_mean(g)\n    return w - lr * g * global_norm(g)"
    )
    assert not supported(plan(shared, True))
    assert Columns(plan(load("adafactor"), True)).lines
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(source(product), "product", "exec")


# --- what is kept between steps -------------------------------------------------------------------------

Pair = tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]


def _move(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    params[2].data = params[2].data.clone()


def _transpose(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    params[2].data = params[2].data.t().contiguous().t()


def _replace_buffer(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    optimizer.state[params[1]]["m"] = torch.full_like(params[1], 0.25)


def _change_buffer(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    optimizer.state[params[1]]["m"].mul_(2)


def _forget(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    del optimizer.state[params[3]]


def _count_anew(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    optimizer.state[params[3]]["step"].fill_(7)


def _reload(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _add_group(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    params.append(torch.nn.Parameter(torch.ones(6, dtype=params[0].dtype)))
    optimizer.add_param_group({"params": [params[-1]], "lr": 0.25})


def _change_hypers(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    optimizer.param_groups[0] |= {"lr": 0.5, "weight_decay": 0.1, "maximize": True}


def _freeze(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    params[0].requires_grad_(False)


def _swap_group(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
    moved = optimizer.param_groups[0]["params"].pop(1)
    optimizer.add_param_group({"params": [moved], "lr": 0.125})


DISTURBANCES = (
    None,
    _move,
    _transpose,
    _replace_buffer,
    _change_buffer,
    _forget,
    _count_anew,
    _reload,
    _add_group,
    _change_hypers,
    _freeze,
    _swap_group,
)


@pytest.mark.parametrize("keep_gradients", [False, True])
@pytest.mark.parametrize("disturb", DISTURBANCES, ids=lambda d: d.__name__ if d else "nothing")
@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_nothing_that_happens_between_steps_goes_unnoticed(name: str, disturb: object, keep_gradients: bool) -> None:
    """What torch does, whether gradients stay where they are or come anew in every step.

    Lion goes bit for bit the same way; torch's square root is not always the nearest number.
    """
    within = {"rtol": 0, "atol": 0} if name == "lion" else {"rtol": 1e-12, "atol": 1e-14}
    runs: list[Pair] = []
    for target in ("torch", "cpp"):
        params = parameters(torch.float64)
        optimizer = compile_rule(load(name), target=target)(params, lr=0.01)
        for seed in range(8):
            if seed == 4 and callable(disturb):
                disturb(optimizer, params)
            generator = torch.Generator().manual_seed(seed)
            for p in params:
                g = torch.randn(p.shape, generator=generator, dtype=p.dtype)
                if not p.requires_grad:
                    p.grad = None
                elif keep_gradients and p.grad is not None and p.grad.stride() == p.stride():
                    p.grad.copy_(g)
                else:
                    p.grad = torch.empty_like(p).copy_(g)
            optimizer.step()
        runs.append((optimizer, params))
    (eager, expected), (compiled, got) = runs
    for p, q in zip(got, expected, strict=True):
        torch.testing.assert_close(p, q, **within)
        for key, value in compiled.state[p].items():
            torch.testing.assert_close(value, eager.state[q][key], **within)
        assert not p.requires_grad or float(compiled.state[p]["step"]) > 1


def test_a_copy_and_a_pickle_keep_nothing_of_the_original() -> None:
    params = parameters(torch.float64)
    model = torch.nn.ParameterList(params)
    optimizer = compile_rule(load("adamw"), target="cpp")(model.parameters())
    for seed in range(3):
        give_gradients(params, seed)
        optimizer.step()
    twin = copy.deepcopy(optimizer)
    before = [p.detach().clone() for p in params]
    mirrored = [p for group in twin.param_groups for p in group["params"]]
    give_gradients(mirrored, 9)
    twin.step()
    assert all(torch.equal(p, b) for p, b in zip(params, before, strict=True))
    assert all(not torch.equal(p, b) for p, b in zip(mirrored, before, strict=True))
