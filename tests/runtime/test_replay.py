"""Training on a GPU without one: the same losses by replayed steps, captures at the right moments, and ways back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from shimmed import COMPILER, ShimKernel

from evoptim.dsl import load, parse
from evoptim.runtime import get_task, machines, memory, replay, train_population, training
from evoptim.runtime.gradients import Gradients, flatten
from evoptim.runtime.interpreter import cuda
from evoptim.runtime.interpreter.device import DeviceInterpreter
from evoptim.runtime.interpreter.runner import device_runner
from evoptim.runtime.population import PopulationResult
from evoptim.runtime.replay import WARM, Replay

CPU = torch.device("cpu")
GPU = torch.device("cuda")
DIVERGING = parse("def diverging(w, g, *, lr=1e-3):\n    return w - lr * exp(1000 * g * g) * 1e30")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="needs g++")


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> Callable[..., PopulationResult]:
    """`train_population` as on a GPU: the interpreter for GPUs, and steps that could be replayed."""

    def train(*arguments: Any, dtype: torch.dtype = torch.float64, **options: Any) -> PopulationResult:
        kernel = ShimKernel(dtype, 8, 4, 0)
        with monkeypatch.context() as patch:
            patch.setattr(machines, "find_runner", lambda device, dtype, _: device_runner(kernel, device, dtype))
            return train_population(*arguments, dtype=dtype, **options)

    return train


# --- steps ----------------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("task", ["digits_mlp", "noisy_quadratic", "noisy_quadratic+stale", "breast_cancer"])
def test_the_losses_are_those_of_plain_steps(task: str, on_device: Callable[..., PopulationResult]) -> None:
    """With checks that do not divide the steps, and neighbours that diverge."""
    rules = [load("adamw"), DIVERGING, load("lamb"), load("adafactor"), load("sgd")]
    arguments = (rules, task, [{"lr": 1e-3}, {"lr": 1e-2}], [0, 1], 23)
    plain = train_population(*arguments, batch_size=16, dtype=torch.float64)
    ours = on_device(*arguments, batch_size=16)
    assert np.array_equal(ours.status, plain.status)
    assert (ours.status[1] == "diverged").all()
    kept = ours.status == "ok"
    np.testing.assert_allclose(ours.curve[kept], plain.curve[kept], rtol=1e-9)
    np.testing.assert_allclose(ours.val_loss[kept], plain.val_loss[kept], rtol=1e-9)
    assert np.array_equal(np.isnan(ours.curve), np.isnan(plain.curve))
    assert np.array_equal(ours.cost > 0, plain.cost > 0)


@needs_compiler
@pytest.mark.parametrize("task", ["digits_mlp", "noisy_quadratic+stale"])
def test_neighbours_that_diverge_change_no_bit(task: str, on_device: Callable[..., PopulationResult]) -> None:
    """A few are left in their places, many are taken out."""
    rules, options = [load("adamw"), load("lamb")], {"batch_size": 16, "dtype": torch.float32}
    alone = on_device(rules, task, [{"lr": 1e-3}], [0, 1, 2], 23, **options)
    for beside in (1, 4):
        mixed = on_device([*rules, *[DIVERGING] * beside], task, [{"lr": 1e-3}], [0, 1, 2], 23, **options)
        assert np.array_equal(mixed.curve[:2], alone.curve)
        assert np.array_equal(mixed.val_loss[:2], alone.val_loss)
        assert (mixed.status[2:] == "diverged").all()


@needs_compiler
def test_replicas_are_taken_out_when_they_are_a_quarter(
    on_device: Callable[..., PopulationResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    keep = DeviceInterpreter.keep

    def counted(self: DeviceInterpreter, indices: Any, places: Any) -> None:
        taken.append(sum(map(len, indices)))
        keep(self, indices, places)

    monkeypatch.setattr(DeviceInterpreter, "keep", counted)
    sgd = load("sgd")
    for bad, expected in ((1, [4]), (2, [4])):
        taken.clear()
        on_device([sgd] * 4 + [DIVERGING] * bad, "noisy_quadratic", [{"lr": 1e-3}], [0], 40, check_every=10)
        assert taken == expected
    monkeypatch.setattr(training.Training, "_validate", lambda self: np.zeros(self.total))
    taken.clear()
    on_device([sgd] * 4 + [DIVERGING], "noisy_quadratic", [{"lr": 1e-3}], [0], 40, time_limit=60.0)
    assert taken == [4]  # at the end, for the validation


@needs_compiler
def test_rules_for_torch_take_plain_steps(on_device: Callable[..., PopulationResult]) -> None:
    arguments = ([load("adamw"), load("muon")], "digits_mlp", [{"lr": 1e-3}], [0, 1], 12)
    plain = train_population(*arguments, batch_size=16, dtype=torch.float64)
    np.testing.assert_allclose(on_device(*arguments, batch_size=16).curve, plain.curve, rtol=1e-9)


def test_gradients_of_chunks_that_are_filled_up() -> None:
    task = get_task("digits_mlp")
    w = torch.stack([flatten(task.init(s)) for s in range(5)])
    batch, seed_of = task.batch(torch.stack([task.order(0, 1, 16)[0]])), torch.zeros(5, dtype=torch.int64)
    results = []
    for chunk, whole in ((5, False), (4, True), (16, True)):
        g = torch.empty_like(w)
        gradients = Gradients(task, chunk, chunk, whole=whole)
        results.append((gradients(w, batch, seed_of, g), g, gradients.validate(w, task.validation())))
    for other in results[1:]:
        for found, expected in zip(other, results[0], strict=True):
            assert torch.equal(found, expected)


def test_chunks_on_devices_do_not_depend_on_how_many_are_trained() -> None:
    sizes = {memory._device_chunk(100_000, total, 1 << 40) for total in (2, 100, 100_000)}
    assert sizes == {256}
    bytes_of_a_replica = (1 << 18, 1 + (1 << 18), 1 << 20, 1 << 23, 1 << 28, 3 << 27, 1 << 40)
    assert [memory._device_chunk(each, 100, 1 << 40) for each in bytes_of_a_replica] == [256, 128, 128, 128, 4, 2, 2]


# --- captures -------------------------------------------------------------------------------------------


class FakeGraph:
    """What torch.cuda offers of graphs, on the CPU: what is captured is not run."""

    def __init__(self) -> None:
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened, in order."""
    log: list[str] = []

    @contextmanager
    def capturing(graph: FakeGraph) -> Iterator[None]:
        log.append("capture")
        yield

    monkeypatch.setattr(FakeGraph, "replay", lambda self: log.append("replay"))
    monkeypatch.setattr(replay.torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(replay.torch.cuda, "graph", capturing)
    return log


def test_a_step_is_captured_once_and_replayed(calls: list[str]) -> None:
    step = Replay(GPU)
    for _ in range(5):
        step(lambda: calls.append("step"))
    assert WARM == 2
    assert calls == ["step", "step", "capture", "step", "replay", "replay", "replay"]
    calls.clear()
    Replay(GPU, warm=True)(lambda: calls.append("step"))
    assert calls == ["capture", "step", "replay"]


def test_what_cannot_be_captured_is_called(calls: list[str]) -> None:
    def stubborn() -> None:
        calls.append("step")
        if calls[-2:] == ["capture", "step"]:
            raise RuntimeError("operation not permitted when stream is capturing")

    step = Replay(GPU, warm=True)
    with pytest.warns(UserWarning, match="one by one, since they cannot be captured: operation not permitted"):
        step(stubborn)
    step(stubborn)
    assert calls == ["capture", "step", "step", "step"]


def test_memory_that_runs_out_is_not_hidden(calls: list[str]) -> None:
    def greedy() -> None:
        raise torch.OutOfMemoryError("tried to allocate 1 TiB")

    with pytest.raises(torch.OutOfMemoryError):
        Replay(GPU, warm=True)(greedy)


def test_on_the_cpu_nothing_is_captured(calls: list[str]) -> None:
    step = Replay(CPU)
    for _ in range(4):
        step(lambda: calls.append("step"))
    assert calls == ["step"] * 4


# --- where there is no interpreter ----------------------------------------------------------------------


def test_one_warning_and_torch_where_the_interpreter_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr(cuda, "CudaKernel", fail)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    cuda.load_kernel.cache_clear()
    with pytest.warns(UserWarning, match="in eager torch, since the interpreter cannot be had: libcuda"):
        assert cuda.load_kernel(torch.float32, GPU) is None
    assert cuda.load_kernel(torch.float32, GPU) is None  # a second warning would be an error
    cuda.load_kernel.cache_clear()
    assert cuda.load_kernel(torch.float32, torch.device("mps")) is None
