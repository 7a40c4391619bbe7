"""Variants of tasks: what they change, and that they change nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.func import grad, grad_and_value, vmap

from evoptim.codegen import compile_rule
from evoptim.dsl import load
from evoptim.runtime import Task, get_task, train_module, train_population
from evoptim.runtime.task import Batch
from evoptim.runtime.variants import UNITS, VARIANTS, SmallBatch, Variant

TOGETHER = "small_batch+reparametrized+low_precision+stale"
BASES = ("digits_mlp", "bytes_lm", "noisy_quadratic", "matrix_factorization")


@pytest.fixture(params=[f"{base}+{suffix}" for base in BASES for suffix in VARIANTS])
def variant(request: pytest.FixtureRequest) -> Task:
    return get_task(request.param, dtype=torch.float64)


def test_a_variant_is_a_task_like_its_own(variant: Task) -> None:
    base = get_task(variant.name.split("+")[0], dtype=torch.float64)
    assert list(variant.shapes.values()) == list(base.shapes.values())
    assert (variant.level, variant.steps, variant.batch_size) == (base.level, base.steps, base.batch_size)
    assert (variant.metric, variant.sha256, variant.licence) == (base.metric, base.sha256, base.licence)
    assert variant.summary.startswith(base.summary)
    assert variant.trivial_loss() == pytest.approx(base.trivial_loss())
    # The same model at the start, but for the variant that rounds it.
    own, theirs = (t.loss(t.init(4), t.validation()).item() for t in (variant, base))
    assert own == (pytest.approx(theirs, rel=2e-2) if "low_precision" in variant.name else theirs)
    assert variant.quality(variant.init(4)).isfinite()


def test_population_and_ordinary_training_have_the_same_losses(variant: Task) -> None:
    rule, steps, batch_size = load("adamw"), 6, 16
    result = train_population([rule], variant, [{"lr": 1e-2}], [0, 1], steps, batch_size=batch_size, check_every=1)
    ordinary = train_module(
        lambda p: compile_rule(rule)(p, lr=1e-2), variant, 1, steps, batch_size=batch_size, dtype=torch.float64
    )
    # Rounding to bfloat16 turns differences in the last digit into visible ones, where they fall on a boundary.
    tolerance = 1e-2 if "low_precision" in variant.name else 1e-9
    assert result.curve[0, 0, 1] == pytest.approx(ordinary.losses, rel=tolerance)
    assert result.val_loss[0, 0, 1] == pytest.approx(ordinary.val_loss, rel=tolerance)


@pytest.mark.parametrize("suffix", [*VARIANTS, TOGETHER])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_gradients_by_hand_reach_a_variant(suffix: str, dtype: torch.dtype) -> None:
    task = get_task(f"digits_mlp+{suffix}", dtype=dtype)
    by_hand, autograd = task.stacked(), vmap(grad_and_value(task.loss))
    assert by_hand is not None
    starts = [task.init(s) for s in range(3)]
    params = {n: torch.stack([p[n] for p in starts]) for n in task.shapes}
    batch = task.batch(torch.stack([task.order(s, 1, 40)[0] for s in range(3)]))
    (gradients, losses), (expected, expected_losses) = by_hand(params, batch), autograd(params, batch)
    exact = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(losses, expected_losses, rtol=exact, atol=exact)
    assert gradients.keys() == expected.keys() == task.shapes.keys()
    # Rounded to bfloat16, values beside a boundary may fall on its two sides.
    relative = 2**-7 if "low_precision" in suffix else exact
    for name, value in gradients.items():
        scale = expected[name].abs().max().item()
        torch.testing.assert_close(value, expected[name], rtol=relative, atol=exact * scale)


@pytest.mark.parametrize("suffix", ["small_batch", "stale"])
def test_a_variant_of_data_or_time_has_the_gradients_of_its_task_bit_for_bit(suffix: str) -> None:
    task, base = get_task(f"digits_mlp+{suffix}"), get_task("digits_mlp")
    of_task, of_base = task.stacked(), base.stacked()
    assert of_task is not None
    assert of_base is not None
    params = {n: torch.stack([p, p + 1]) for n, p in base.init(0).items()}
    batch = base.batch(torch.stack([base.order(s, 1, 16)[0] for s in (0, 1)]))
    for found, expected in zip(of_task(params, batch)[0].values(), of_base(params, batch)[0].values(), strict=True):
        assert torch.equal(found, expected)


def test_variants_of_a_model_or_a_loss_of_their_own_are_left_to_autograd() -> None:
    class Doubled(Variant):
        suffix, effect = "doubled", "twice the loss"

        def objective(self, model: Callable[..., torch.Tensor], batch: Batch) -> torch.Tensor:
            return 2 * super().objective(model, batch)

    assert Doubled(get_task("digits_mlp")).stacked() is None
    assert get_task(f"noisy_quadratic+{TOGETHER}").stacked() is None


def test_a_variant_runs_on_another_device(variant: Task) -> None:
    elsewhere = get_task(variant.name, "meta", torch.float32)
    params = {n: torch.stack([p, p]) for n, p in elsewhere.init(0).items()}
    draws = torch.stack([elsewhere.order(s, 1, 8)[0] for s in (0, 1)])
    gradients, loss = vmap(grad_and_value(elsewhere.loss))(params, elsewhere.batch(draws))
    assert {v.device.type for v in (*gradients.values(), loss)} == {"meta"}
    assert {v.dtype for v in (*gradients.values(), loss)} == {torch.float32}


def test_small_batch_takes_an_eighth_and_at_least_one() -> None:
    task = get_task("digits_mlp+small_batch")
    assert task.order(0, 3, 64).shape == (3, 64 // SmallBatch.share)
    assert task.order(0, 3, 5).shape == (3, 1)


def test_low_precision_rounds_parameters_and_their_gradients() -> None:
    task, base = get_task("digits_mlp+low_precision"), get_task("digits_mlp")
    params, batch = task.init(0), task.batch(task.order(0, 1, 64)[0])
    rounded = {n.removeprefix("inner."): p.bfloat16().float() for n, p in params.items()}
    assert any(not torch.equal(p, rounded[n.removeprefix("inner.")]) for n, p in params.items())
    assert torch.equal(task.loss(params, batch), base.loss(rounded, batch))
    expected = grad(base.loss)(rounded, batch)
    for name, gradient in grad(task.loss)(params, batch).items():
        assert torch.equal(gradient, expected[name.removeprefix("inner.")].bfloat16().float())


def test_reparametrized_gradients_are_scaled_tensor_by_tensor() -> None:
    task, base = (get_task(n, dtype=torch.float64) for n in ("digits_mlp+reparametrized", "digits_mlp"))
    batch = base.batch(base.order(0, 1, 64)[0])
    theirs = grad(base.loss)(base.init(0), batch)
    units: set[float] = set()
    for name, gradient in grad(task.loss)(task.init(0), batch).items():
        plain = name.removeprefix("inner.")
        (unit,) = (base.init(0)[plain] / task.init(0)[name]).unique().tolist()
        torch.testing.assert_close(gradient, unit * theirs[plain], rtol=1e-12, atol=0)
        units.add(unit)
    assert units <= set(UNITS)
    assert max(units) / min(units) >= 4


def test_stale_gradients_are_those_of_four_steps_ago() -> None:
    task, lr, steps = get_task("digits_mlp+stale", dtype=torch.float64), 0.1, 9
    batches = [task.batch(draw) for draw in task.order(1, steps, 8)]
    path = [task.init(1)]
    losses: list[float] = []
    for k, batch in enumerate(batches):
        gradients, loss = grad_and_value(task.loss)(path[max(0, k - 4)], batch)
        losses.append(loss.item())
        path.append({n: p - lr * (1 - k / steps) * gradients[n] for n, p in path[-1].items()})
    descent = load("gradient_descent")
    result = train_population([descent], task, [{"lr": lr}], [0, 1], steps, batch_size=8, check_every=1)
    assert result.curve[0, 0, 1] == pytest.approx(losses, rel=1e-9)
    assert result.val_loss[0, 0, 1] == pytest.approx(task.loss(path[-1], task.validation()).item(), rel=1e-9)


def test_delays_of_variants_add_up() -> None:
    assert get_task("digits_mlp+stale+stale").delay == 2 * get_task("digits_mlp+stale").delay == 8


def test_variants_may_be_put_together() -> None:
    task = get_task("digits_mlp+small_batch+reparametrized+low_precision")
    assert task.name == "digits_mlp+small_batch+reparametrized+low_precision"
    assert task.order(0, 2, 64).shape == (2, 8)
    params, batch = task.init(0), task.batch(task.order(0, 1, 64)[0])
    assert all(g.abs().sum() > 0 for g in grad(task.loss)(params, batch).values())


def test_a_variant_is_a_harder_task_that_can_be_learned() -> None:
    for suffix in VARIANTS:
        task = get_task(f"digits_mlp+{suffix}")
        result = train_module(lambda p: torch.optim.AdamW(p, lr=1e-2), task, 0, 200)
        assert result.val_loss < 0.3 * task.trivial_loss()
