"""Every task passes the same contract."""

from __future__ import annotations

import pytest
import torch

from evoptim.dsl import UserError
from evoptim.runtime import TASKS, Task, get_task


@pytest.fixture(scope="module", params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param)


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
    task.order(0, 5, task.batch_size)
    task.batch(task.order(0, 5, task.batch_size)[0])
    task.validation()
    assert torch.equal(before, torch.get_rng_state())


def test_data_order_is_the_seed_s_own(task: Task) -> None:
    assert torch.equal(task.order(1, 7, 4), task.order(1, 7, 4))
    assert not torch.equal(task.order(1, 7, 4), task.order(2, 7, 4))
    assert len(task.order(1, 7, 4)) == 7


def test_pure_loss_equals_the_module_s(task: Task) -> None:
    module, params = task.module(0), task.init(0)
    for batch in (task.batch(task.order(0, 1, task.batch_size)[0]), task.validation()):
        torch.testing.assert_close(task.loss(params, batch), task.objective(module, batch))


def test_batches_stack_over_leading_axes(task: Task) -> None:
    draws = torch.stack([task.order(s, 1, 4)[0] for s in (0, 1, 2)])
    stacked = task.batch(draws)
    for i in range(3):
        for whole, single in zip(stacked, task.batch(draws[i]), strict=True):
            assert torch.equal(whole[i], single)


def test_a_few_hundred_steps_of_adam_learn_something(task: Task) -> None:
    module = task.module(0)
    before = task.objective(module, task.validation()).item()
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-2)
    for draw in task.order(0, 200, task.batch_size):
        optimizer.zero_grad()
        task.objective(module, task.batch(draw)).backward()
        optimizer.step()
    assert task.objective(module, task.validation()).item() < 0.7 * before


def test_the_described_parts_are_there(task: Task) -> None:
    assert task.name in TASKS
    assert task.level == 0
    assert task.summary
    assert task.source
    assert len(task.sha256) == 64
    assert task.sha256 == get_task(task.name).sha256


def test_digits_data_are_the_known_ones() -> None:
    expected = "ec7ee277f4ecad84b6f3d90cd3d9e388899cb3e02190050170bb8a2387d907c5"
    assert get_task("digits_mlp").sha256 == expected


def test_an_unknown_task_is_told() -> None:
    with pytest.raises(UserError, match="there is no task named 'mnist'"):
        get_task("mnist")
