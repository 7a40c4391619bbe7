"""Every task passes the same contract."""

from __future__ import annotations

import re

import pytest
import task_table
import torch
from task_learning import FRESH_SEED, recorded, train
from torch.func import grad_and_value, vmap

from evoptim.codegen import compile_rule
from evoptim.dsl import UserError, load
from evoptim.runtime import TASKS, PopulationEvaluator, Task, get_task, train_module, train_population
from evoptim.runtime.variants import SmallBatch

LARGE = 1_000_000
"""Tasks with more parameters are held to the contract on fewer examples."""


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return available(request.param)


def available(name: str, **options: object) -> Task:
    """The task, or a skipped test where the package with its data is not installed."""
    try:
        return get_task(name, unseal=True, **options)  # type: ignore[arg-type]
    except UserError as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))


def test_initialisation_depends_on_the_seed_alone(task: Task) -> None:
    torch.manual_seed(1)
    first = task.init(5)
    torch.manual_seed(2)
    second, other = task.init(5), task.init(6)
    assert first.keys() == task.shapes.keys()
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not all(torch.equal(first[n], other[n]) for n in first)
    assert {n: tuple(p.shape) for n, p in first.items()} == task.shapes
    assert sum(p.numel() for p in first.values()) == task.parameters


def test_nothing_touches_the_global_generator(task: Task) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    task.module(0)
    task.batch(task.order(0, 5, task.batch_size)[0])
    task.validation()
    assert torch.equal(before, torch.get_rng_state())


def test_data_order_is_the_seed_s_own(task: Task) -> None:
    assert torch.equal(task.order(1, 7, 4), task.order(1, 7, 4))
    assert not torch.equal(task.order(1, 7, 4), task.order(2, 7, 4))
    assert len(task.order(1, 7, 4)) == 7


def test_pure_loss_and_metric_equal_the_module_s(task: Task) -> None:
    module, params = task.module(0), task.init(0)
    batch = task.batch(task.order(0, 1, 4)[0])
    torch.testing.assert_close(task.loss(params, batch), task.objective(module, batch))
    if task.parameters < LARGE:
        torch.testing.assert_close(task.loss(params, task.validation()), task.objective(module, task.validation()))
        torch.testing.assert_close(task.quality(params), task.score(module, task.validation()))


def test_batches_stack_over_leading_axes(task: Task) -> None:
    draws = torch.stack([task.order(s, 1, 4)[0] for s in (0, 1, 2)])
    stacked = task.batch(draws)
    for i in range(3):
        for whole, single in zip(stacked, task.batch(draws[i]), strict=True):
            assert torch.equal(whole[i], single)


@pytest.mark.parametrize("name", TASKS)
def test_stacked_gradients_equal_autograd_s(name: str) -> None:
    task = available(name, dtype=torch.float64)
    seeds = (0, 1)
    starts = [task.init(s) for s in seeds]
    batches = [task.batch(task.order(s, 1, 2)[0]) for s in seeds]
    stacked = {n: torch.stack([p[n] for p in starts]) for n in task.shapes}
    both = tuple(torch.stack(parts) for parts in zip(*batches, strict=True))
    gradients, losses = vmap(grad_and_value(task.loss))(stacked, both)
    for i, seed in enumerate(seeds):
        module = task.module(seed)
        loss = task.objective(module, batches[i])
        loss.backward()
        torch.testing.assert_close(losses[i], loss.detach())
        for parameter_name, parameter in module.named_parameters():
            assert parameter.grad is not None
            torch.testing.assert_close(gradients[parameter_name][i], parameter.grad, rtol=1e-9, atol=1e-12)


VARIANT = "+small_batch+reparametrized+stale"
SLOW = {"bytes_lm_large", *(n + VARIANT for n in ("bytes_lm_large", "bytes_lm_medium", "mnist_vit"))}


@pytest.mark.parametrize("variant", ["", VARIANT])
@pytest.mark.parametrize("name", TASKS)
def test_population_and_ordinary_training_have_the_same_losses(
    name: str, variant: str, request: pytest.FixtureRequest
) -> None:
    if name + variant in SLOW and request.config.getoption("--profile") != "nightly":
        pytest.skip("takes half a minute: runs with --profile nightly")
    task = available(name + variant, dtype=torch.float64)
    rule, steps = load("adamw"), 2 if task.parameters > LARGE else 6
    batch_size = 4 * (SmallBatch.share if variant else 1)
    settings = [{"lr": 1e-3}, {"lr": 1e-2}]
    result = train_population([rule], task, settings, [0, 1], steps, batch_size=batch_size, check_every=1)
    ordinary = train_module(
        lambda p: compile_rule(rule)(p, lr=1e-2), task, 1, steps, batch_size=batch_size, dtype=torch.float64
    )
    assert result.curve[0, 1, 1] == pytest.approx(ordinary.losses, rel=1e-9, abs=1e-12)
    assert result.val_loss[0, 1, 1] == pytest.approx(ordinary.val_loss, rel=1e-9)
    assert result.val_loss[0, 0, 1] != result.val_loss[0, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_stays_on_another_device_or_in_another_type(task: Task, dtype: torch.dtype) -> None:
    """On the meta device a tensor that was left on the CPU raises, as it would on CUDA."""
    elsewhere = get_task(task.name, "meta", dtype, unseal=True)
    params = {n: torch.stack([p, p]) for n, p in elsewhere.init(0).items()}
    draws = torch.stack([elsewhere.order(s, 1, 4)[0] for s in (0, 1)])
    gradients, loss = vmap(grad_and_value(elsewhere.loss))(params, elsewhere.batch(draws))
    qualities = vmap(elsewhere.quality)(params)
    for value in (*gradients.values(), loss, qualities):
        assert (value.device.type, value.dtype) == ("meta", dtype)


def test_a_few_steps_on_one_batch_lower_its_loss(task: Task) -> None:
    module, batch = task.module(0), task.batch(task.order(0, 1, 2)[0])
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    losses: list[float] = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = task.objective(module, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [n for n, t in TASKS.items() if t.level == 0])
def test_tuned_adamw_learns_again_what_is_recorded(name: str) -> None:
    row = recorded()[name]
    again = train(available(name), row.lr, FRESH_SEED, row.steps)
    assert again.start == pytest.approx(row.start, rel=0.05)
    assert again.loss == pytest.approx(row.loss, rel=0.2, abs=0.01 * row.trivial)
    assert again.trivial == pytest.approx(row.trivial, rel=0.05)


@pytest.mark.parametrize("name", TASKS)
def test_tuned_adamw_beats_the_trivial_answer(name: str) -> None:
    row = recorded()[name]
    assert row.loss < 0.8 * min(row.trivial, row.start)
    assert row.steps <= TASKS[name].steps


def test_the_described_parts_are_there(task: Task) -> None:
    assert TASKS[task.name] is type(task)
    assert task.summary
    assert task.source
    assert task.licence
    assert task.steps > 0
    assert task.metric.better in ("higher", "lower")
    assert re.fullmatch(r"[0-9a-f]{64}", task.sha256)
    assert task.sha256 == get_task(task.name, unseal=True).sha256


def test_there_are_tasks_of_every_level() -> None:
    levels = [t.level for t in TASKS.values()]
    assert len(levels) >= 16
    assert sorted(set(levels)) == [0, 1, 2, 3]
    assert levels == sorted(levels)


@pytest.mark.parametrize("name", [n for n, t in TASKS.items() if t.level == 3])
def test_sealed_tasks_open_for_those_who_ask(name: str) -> None:
    with pytest.raises(UserError, match=rf"{name} is a sealed target.*\n.*unseal=True"):
        get_task(name)
    with pytest.raises(UserError, match="sealed"):
        get_task(f"{name}+small_batch")
    with pytest.raises(UserError, match="sealed"):
        train_population([load("sgd")], name, [{}], [0], 1)
    with pytest.raises(UserError, match="sealed"):
        PopulationEvaluator(name, 1, 1)
    assert available(name).name == name


def test_digits_data_are_the_known_ones() -> None:
    expected = "ec7ee277f4ecad84b6f3d90cd3d9e388899cb3e02190050170bb8a2387d907c5"
    assert get_task("digits_mlp").sha256 == expected


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(UserError, match="there is no task named 'mnist'"):
        get_task("mnist")
    with pytest.raises(UserError, match=r"there is no variant of a task named 'tiny_batch'\n.*small_batch"):
        get_task("digits_mlp+tiny_batch")


def test_page_of_the_tasks_is_up_to_date(request: pytest.FixtureRequest) -> None:
    for name in TASKS:
        available(name)
    page = task_table.page()
    if request.config.getoption("--update-golden"):
        task_table.PAGE.write_text(page, encoding="utf-8")
    remedy = "run pytest tests/runtime/test_tasks.py --update-golden"
    assert task_table.PAGE.read_text(encoding="utf-8") == page, remedy
