"""Stacked gradients: the same as autograd's, and the same whatever else is stacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from evoptim.dsl import UserError
from evoptim.runtime import TASKS, Task, get_task
from evoptim.runtime.gradients import Gradients, Streams, flatten, unflatten, working
from evoptim.runtime.perceptron import stacked_perceptron
from evoptim.runtime.tasks.kinds import Classification
from evoptim.runtime.variants import VARIANTS

COUNT = 7
BY_HAND = {
    *("digits_mlp", "digits_autoencoder", "breast_cancer", "mnist1d_mlp", "mnist_mlp", "diamonds", "mnist_autoencoder")
}
LARGEST = ("bytes_lm_large", "bytes_lm_medium", "mnist_vit")
"""Tasks that are left out: their layers are those of smaller ones."""


def available(name: str, dtype: torch.dtype = torch.float32) -> Task:
    """The task, or a skipped test where the package with its data is not installed."""
    try:
        return get_task(name, dtype=dtype, unseal=True)
    except UserError as error:
        if "is not installed" not in str(error):
            raise
        pytest.skip(str(error))


def population(task: Task, batch_size: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Parameters ``[R, D]`` and a batch for each of the replicas."""
    w = torch.stack([flatten(task.init(s)) for s in range(COUNT)])
    return w, task.batch(torch.stack([task.order(s, 1, batch_size)[0] for s in range(COUNT)]))


def test_these_tasks_are_differentiated_by_hand() -> None:
    assert {name for name in TASKS if available(name).stacked() is not None} == BY_HAND


@pytest.mark.parametrize("name", sorted(BY_HAND))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_by_hand_equals_autograd(name: str, dtype: torch.dtype) -> None:
    task = available(name, dtype=dtype)
    by_hand = task.stacked()
    assert by_hand is not None
    w, batch = population(task, 5)
    params = unflatten(w, task.shapes)
    before = [b.clone() for b in batch]
    expected, expected_losses = vmap(grad_and_value(task.loss))(params, batch)
    gradients, losses = by_hand(params, batch)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(losses, expected_losses, rtol=tolerance, atol=tolerance)
    assert gradients.keys() == expected.keys()
    for each, value in gradients.items():
        scale = expected[each].abs().max().item()
        torch.testing.assert_close(value, expected[each], rtol=tolerance, atol=tolerance * scale)
    assert all(torch.equal(b, c) for b, c in zip(batch, before, strict=True))


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [(n, 16) for n in TASKS if n not in LARGEST]
    + [(n, s) for n in sorted(BY_HAND) for s in (1, 5)]
    + [(f"digits_mlp+{v}", s) for v in VARIANTS for s in (8, 16)],
)
def test_a_replica_s_gradient_depends_on_no_other_one(name: str, batch_size: int) -> None:
    task = available(name)
    w, batch = population(task, batch_size)
    whole = torch.empty_like(w)
    losses = Gradients(task, COUNT, COUNT)(w, batch, torch.arange(COUNT), whole)
    for chunk, rows in ((2, slice(1, 6)), (3, slice(2, 7)), (6, slice(0, 7))):
        apart = torch.empty_like(w[rows])
        some = Gradients(task, chunk, chunk)(w[rows].clone(), batch, torch.arange(COUNT)[rows], apart)
        assert torch.equal(some, losses[rows])
        assert torch.equal(apart, whole[rows])


@pytest.mark.parametrize("name", [n for n in TASKS if n not in (*LARGEST, "mnist_conv", "mnist1d_gru")])
def test_a_replica_s_validation_depends_on_no_other_one(name: str) -> None:
    task = available(name)
    w, batch = population(task, 1)[0], task.validation()
    losses = Gradients(task, COUNT, COUNT).validate(w, batch)
    for chunk, rows in ((2, slice(1, 6)), (3, slice(2, 7))):
        assert torch.equal(Gradients(task, chunk, chunk).validate(w[rows].clone(), batch), losses[rows])


def test_replicas_of_a_seed_have_its_batch() -> None:
    task = available("digits_mlp", dtype=torch.float64)
    w, batch = population(task, 5)
    seed_of = torch.tensor([2, 0, 2, 1, 6, 6, 3])
    out = torch.empty_like(w)
    losses = Gradients(task, 3, 3)(w, batch, seed_of, out)
    for i, seed in enumerate(seed_of):
        params = {n: p[0] for n, p in unflatten(w[i : i + 1], task.shapes).items()}
        gradient, loss = torch.func.grad_and_value(task.loss)(params, tuple(b[seed] for b in batch))
        torch.testing.assert_close(out[i], flatten(gradient))
        torch.testing.assert_close(losses[i], loss)


@pytest.mark.parametrize("name", ["digits_mlp", "rosenbrock"])
def test_threads_change_nothing(name: str) -> None:
    task = available(name)
    w, batch = population(task, 16)
    w, everyone = w.repeat(30, 1), torch.arange(COUNT).repeat(30)
    before = torch.get_num_threads()
    results: list[list[Tensor]] = []
    for threads in (1, 3):
        with working(threads) as work:
            gradients, out = Gradients(task, 2, 2, work, threads), torch.empty_like(w)
            losses = gradients(w, batch, everyone, out)
            results.append([losses, out, gradients.validate(w, task.validation())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert torch.get_num_threads() == before


def test_streams_fork_from_the_current_one_and_join_it(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    names = iter("abc")

    class Stream:
        def __init__(self, device: torch.device) -> None:
            self.name = next(names)

        def wait_stream(self, other: Stream) -> None:
            log.append(f"{self.name} waits for {other.name}")

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        log.append(f"on {stream.name}")
        yield

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", on)
    streams = Streams(torch.device("cuda"), 2)
    main = Stream(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: main)

    def work(rows: slice) -> Tensor:
        return torch.tensor(rows.start)

    assert list(map(int, streams(work, [slice(i, i + 1) for i in range(3)]))) == [0, 1, 2]
    assert log == ["a waits for c", "b waits for c", "on a", "on b", "on a", "c waits for a", "c waits for b"]
    log.clear()
    assert list(map(int, streams(work, [slice(5, 6)]))) == [5]
    assert not log


def head(outputs: Tensor, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """Half the sum of squares."""
    return 0.5 * outputs.square().sum((1, 2)), outputs


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 2, bias=False))),
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1), nn.Flatten()),
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.GELU(), nn.Linear(4, 2)),
    ],
)
def test_perceptrons_of_other_forms(module: nn.Sequential) -> None:
    module = module.double()
    by_hand = stacked_perceptron(module, head)
    assert by_hand is not None
    x = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    params = {n: torch.stack([p.detach(), 2 * p.detach()]) for n, p in module.named_parameters()}
    gradients, losses = by_hand(params, (x,))

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return 0.5 * torch.func.functional_call(module, params, (x,)).square().sum()

    expected, expected_losses = vmap(grad_and_value(loss))(params, x)
    torch.testing.assert_close(losses, expected_losses)
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value)


_SHARED = nn.Linear(3, 3)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh()),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.GELU(approximate="tanh"), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.ReLU(), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3)),
        lambda: nn.Sequential(nn.ReLU(), nn.Linear(3, 3)),
        lambda: nn.Sequential(_SHARED, nn.ReLU(), _SHARED),
        lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(), nn.Linear(3, 3)),
        lambda: nn.Flatten(),
    ],
    ids=["ends in tanh", "other gelu", "two activations", "norm", "begins with relu", "shared", "dropout", "no layer"],
)
def test_what_is_no_plain_perceptron_is_left_to_autograd(build: Callable[[], nn.Module]) -> None:
    assert stacked_perceptron(build(), head) is None


def test_a_loss_of_its_own_is_left_to_autograd() -> None:
    class Own(type(available("digits_mlp"))):  # type: ignore[misc]
        def objective(self, model: Callable[..., Tensor], batch: tuple[Tensor, ...]) -> Tensor:
            return 2 * Classification.objective(self, model, batch)

    assert Own().stacked() is None
