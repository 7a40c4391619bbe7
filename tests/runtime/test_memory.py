"""Memory is planned ahead: what a replica takes, and how many fit."""

from __future__ import annotations

import pytest
import torch
from rules import SEEDS

from evoptim.codegen.replica import state_shape
from evoptim.dsl import Kind, UserError, load
from evoptim.runtime import get_task, memory, train_population
from evoptim.runtime.memory import (
    FEWEST,
    activation_bytes,
    available_memory,
    peak_bytes,
    plan_memory,
    replica_bytes,
    state_size,
)
from evoptim.runtime.training import Training

MEBIBYTE = 1 << 20


def test_the_peak_is_that_of_what_lives_at_a_time() -> None:
    def function(params: dict[str, torch.Tensor], batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = params["x"] + 1  # 4000 bytes
        x = x + batch[0]  # 4000 more, then the first are gone
        x = x.view(10, 100).t()  # no memory
        return x.sum(0) * 2  # 400 bytes twice at the most

    params = {"x": torch.zeros(1000)}
    assert peak_bytes(function, params, (torch.ones(1000),)) == 8000


def test_activations_grow_with_the_batch_and_are_there_at_all() -> None:
    task = get_task("bytes_lm")
    (small, validation), (large, same) = activation_bytes(task, 8), activation_bytes(task, 16)
    assert validation == same
    assert 1.7 < large / small < 2.1
    logits = 16 * 32 * 256 * 4
    assert large > 3 * logits  # logits, their softmax and their gradient at least


@pytest.mark.parametrize("name", SEEDS)
def test_state_is_counted_as_it_is_allocated(name: str) -> None:
    rule, layout = load(name), [(4, 6), (6,), ()]
    expected = 0
    for buffer in rule.buffers:
        if buffer.kind != Kind.GLOBAL:
            expected += sum(torch.zeros(state_shape(buffer, (1, *s))).numel() for s in layout)
    assert state_size(rule, layout) == expected


def test_a_replica_takes_what_its_rule_and_task_need() -> None:
    task, stale = get_task("digits_mlp"), get_task("digits_mlp+stale")
    sgd, adamw = (replica_bytes(task, [load(n)]) for n in ("sgd", "adamw"))
    assert adamw - sgd == 2 * 4 * task.parameters * (2 - len(load("sgd").buffers))
    assert replica_bytes(task, [load("sgd"), load("adamw")]) == adamw
    assert replica_bytes(stale, [load("sgd")]) - sgd == stale.delay * 4 * task.parameters


def test_what_fits_follows_from_the_limit() -> None:
    task, rules = get_task("digits_mlp"), [load("adamw")]
    plans = [plan_memory(task, rules, 1000, 64, limit=m * MEBIBYTE) for m in (8, 32, 512)]
    assert plans[0].replicas < plans[1].replicas < plans[2].replicas == 1000
    for plan, limit in zip(plans, (8, 32, 512), strict=True):
        assert plan.bytes <= limit * MEBIBYTE
        assert plan.chunk >= FEWEST
        assert plan.validation_chunk >= FEWEST
    more = plan_memory(task, rules, 1000, 64, limit=32 * MEBIBYTE, threads=2)
    assert more.chunk <= plans[1].chunk


def test_on_a_gpu_fewer_calls_run_side_by_side_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    task = get_task("digits_mlp")
    task.device = torch.device("cuda")
    monkeypatch.setattr(memory, "activation_bytes", lambda task, batch_size: (100 * MEBIBYTE, MEBIBYTE))
    limits = [m * MEBIBYTE for m in (64_000, 3_300, 3_100, 250)]
    plans = [plan_memory(task, [load("adamw")], 1000, 64, limit=limit, threads=16) for limit in limits]
    assert [(p.threads, p.chunk) for p in plans] == [(16, 8), (16, 2), (8, 2), (1, 2)]
    assert all(p.bytes <= limit for p, limit in zip(plans, limits, strict=True))
    with pytest.raises(UserError, match="the fewest replicas"):
        plan_memory(task, [load("adamw")], 1000, 64, limit=150 * MEBIBYTE, threads=16)


def test_too_little_memory_is_told() -> None:
    with pytest.raises(UserError, match=r"the fewest replicas of digits_mlp take .* MiB, the limit is 0\.1 MiB"):
        plan_memory(get_task("digits_mlp"), [load("adamw")], 12, 64, limit=100_000)


def test_the_default_is_half_of_what_is_available() -> None:
    available = available_memory(torch.device("cpu"))
    assert MEBIBYTE < available < 1 << 50
    plan = plan_memory(get_task("digits_mlp"), [load("adamw")], 10**9, 64)
    assert 0.3 * available < plan.bytes < 0.7 * available


@pytest.fixture
def out_of_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes batches of more than two replicas fail to allocate; the sizes of all batches that were tried."""
    sizes: list[int] = []
    run = Training.run

    def failing(self: Training) -> object:
        sizes.append(self.total)
        if self.total > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
        return run(self)

    monkeypatch.setattr(Training, "run", failing)
    return sizes


def test_a_plan_that_was_wrong_is_mended(out_of_memory: list[int]) -> None:
    rules, settings = [load("sgd"), load("adamw")], [{"lr": 1e-3}, {"lr": 1e-2}]
    result = train_population(rules, "noisy_quadratic", settings, [0, 1], 5)
    assert (result.status == "ok").all()
    assert result.batches == 4
    assert out_of_memory == [8, 4, 2, 2, 4, 2, 2]
