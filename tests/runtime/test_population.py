"""The population trainer: same losses as the ordinary way, and replicas that cannot touch one another."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from rules import SEEDS

from evoptim.codegen import compile_rule
from evoptim.dsl import UserError, load, parse
from evoptim.runtime import get_task, train_module, train_population

STEPS = 100
DIVERGING = parse("def diverging(w, g, *, lr=1e-3):\n    return w - lr * exp(1000 * g * g) * 1e30")


@pytest.fixture(scope="module", params=["digits_mlp", "noisy_quadratic"])
def task_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("name", SEEDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_same_losses_as_an_ordinary_module_with_the_compiled_optimizer(
    task_name: str, name: str, dtype: torch.dtype
) -> None:
    rule = load(name)
    task = get_task(task_name, dtype=dtype)
    lrs = (rule.defaults["lr"], rule.defaults["lr"] / 2)
    result = train_population([rule], task, [{"lr": lr} for lr in lrs], [0, 1], STEPS, check_every=1)
    ordinary = train_module(lambda p: compile_rule(rule)(p, lr=lrs[1]), task, seed=1, steps=STEPS, dtype=dtype)
    population = result.curve[0, 1, 1]
    losses = np.array(ordinary.losses)
    # A noisy quadratic's loss passes through zero: there "relative" is relative to the losses around it.
    scale = np.maximum(np.abs(losses), np.median(np.abs(losses)))
    worst = float(np.max(np.abs(population - losses) / scale))
    assert worst < (1e-9 if dtype == torch.float64 else 1e-5)
    assert result.val_loss[0, 1, 1] == pytest.approx(ordinary.val_loss, rel=1e-9 if dtype == torch.float64 else 1e-4)
    assert not np.allclose(result.curve[0, 0], result.curve[0, 1])  # the settings really differ


@pytest.mark.parametrize("task", ["noisy_quadratic", "digits_mlp", "breast_cancer", "graph_atlas", "rosenbrock"])
def test_rules_in_one_population_equal_rules_alone_bit_for_bit(task: str) -> None:
    rules = [load(n) for n in ("adamw", "adafactor", "lion", "sgd")]
    settings, seeds = [{"lr": 1e-3}, {"lr": 1e-2}], [0, 1, 2]
    together = train_population(rules, task, settings, seeds, 20)
    for i, rule in enumerate(rules):
        alone = train_population([rule], task, settings, seeds, 20)
        assert np.array_equal(together.val_loss[i], alone.val_loss[0])
        assert np.array_equal(together.curve[i], alone.curve[0])
    single = train_population([rules[2]], task, settings[1:], seeds[2:], 20)
    assert np.array_equal(together.curve[2, 1, 2], single.curve[0, 0, 0])


@pytest.mark.parametrize("memory", [3_000_000, 6_000_000, 20_000_000])
def test_memory_and_threads_change_no_result(memory: int) -> None:
    arguments = ([load("adamw"), DIVERGING, load("sgd")], "digits_mlp", [{"lr": 1e-3}, {"lr": 1e-2}], [0, 1, 2, 3], 15)
    whole = train_population(*arguments, batch_size=16)
    split = train_population(*arguments, batch_size=16, memory=memory, threads=2)
    assert whole.batches == 1
    assert (split.batches == 1) == (memory > 10_000_000)
    for field in ("val_loss", "curve", "status"):
        assert np.array_equal(getattr(whole, field), getattr(split, field), equal_nan=field == "curve")


def test_a_diverging_rule_leaves_its_neighbours_alone() -> None:
    adamw = load("adamw")
    settings = [{"lr": 1e-3}, {"lr": 1e-2}]
    alone = train_population([adamw, adamw], "digits_mlp", settings, [0, 1], 40)
    beside = train_population([adamw, DIVERGING, adamw], "digits_mlp", settings, [0, 1], 40)
    assert (beside.status[1] == "diverged").all()
    assert np.isinf(beside.val_loss[1]).all()
    assert (beside.status[[0, 2]] == "ok").all()
    assert np.array_equal(beside.val_loss[[0, 2]], alone.val_loss)
    assert np.array_equal(beside.curve[[0, 2]], alone.curve)


def test_rules_that_are_not_compiled_train_beside_those_that_are() -> None:
    rules, settings = (
        [load("adamw"), load("muon"), DIVERGING, load("scion"), load("lamb")],
        [{"lr": 1e-3}, {"lr": 1e-2}],
    )
    together = train_population(rules, "digits_mlp", settings, [0, 1], 30, dtype=torch.float64)
    for i in (0, 1, 3, 4):
        alone = train_population([rules[i]], "digits_mlp", settings, [0, 1], 30, dtype=torch.float64)
        np.testing.assert_allclose(together.val_loss[i], alone.val_loss[0], rtol=1e-10)
    assert (together.status[2] == "diverged").all()


def test_only_the_diverged_replicas_of_a_rule_are_taken_out() -> None:
    sgd = load("sgd")
    result = train_population([sgd], "noisy_quadratic", [{"lr": 1e-2}, {"lr": 1e6}], [0, 1], 60)
    assert list(result.status[0, 0]) == ["ok", "ok"]
    assert list(result.status[0, 1]) == ["diverged", "diverged"]
    assert np.isfinite(result.curve[0, 0]).all()
    assert np.isnan(result.curve[0, 1, :, -1]).all()


def test_half_of_a_population_may_diverge_at_once() -> None:
    adamw, settings = load("adamw"), [{"lr": 1e-3}, {"lr": 1e-2}]
    alone = train_population([adamw] * 4, "digits_mlp", settings, [0, 1, 2], 30)
    mixed = train_population([adamw, DIVERGING] * 4, "digits_mlp", settings, [0, 1, 2], 30)
    assert list(np.unique(mixed.status[1::2])) == ["diverged"]
    assert np.array_equal(mixed.curve[::2], alone.curve)
    assert np.isnan(mixed.curve[1::2, ..., 1:]).all()  # out after the first interval
    assert (mixed.cost[1::2] < mixed.cost[::2]).all()


def test_a_hopeless_loss_is_divergence() -> None:
    climbing = parse("def climbing(w, g, *, lr=1e-3):\n    return w + lr * g")
    arguments = ([load("sgd"), climbing], "noisy_quadratic", [{"lr": 0.5}], [0, 1], 40)
    patient = train_population(*arguments, schedule="constant", hopeless=math.inf)
    assert (patient.status == "ok").all()
    assert (patient.val_loss[1] > 1e6).all()
    strict = train_population(*arguments, schedule="constant")
    assert list(strict.status[:, 0, 0]) == ["ok", "diverged"]
    assert np.isinf(strict.val_loss[1]).all()
    assert np.array_equal(strict.val_loss[0], patient.val_loss[0])
    kept = ~np.isnan(strict.curve[1, 0, 0])
    assert 0 < kept.sum() < 4
    assert np.array_equal(strict.curve[1, 0, 0][kept], patient.curve[1, 0, 0][kept])


def test_the_time_of_a_batch_is_limited() -> None:
    result = train_population(
        [load("adamw"), DIVERGING], "digits_mlp", [{"lr": 1e-3}], [0, 1], 50_000, batch_size=16, time_limit=0.3
    )
    assert list(result.status[:, 0, 0]) == ["timeout", "diverged"]
    assert np.isinf(result.val_loss).all()
    assert np.isfinite(result.curve[0, ..., 0]).all()
    assert np.isnan(result.curve[0, ..., -1]).all()


def test_a_run_that_ends_in_time_is_not_late() -> None:
    arguments = ([load("adamw")], "digits_mlp", [{"lr": 1e-3}], [0], 5)
    assert train_population(*arguments, time_limit=600.0).status[0, 0, 0] == "ok"


def test_costs_add_up_to_less_than_the_seconds() -> None:
    result = train_population([load("adamw"), load("lion")], "digits_mlp", [{"lr": 1e-3}], [0, 1], 20)
    assert result.cost.shape == (2, 1, 2)
    assert (result.cost > 0).all()
    assert 0.3 * result.seconds < result.cost.sum() <= result.seconds


def test_everything_may_diverge() -> None:
    result = train_population([DIVERGING], "digits_mlp", [{"lr": 1.0}], [0], 30)
    assert result.status[0, 0, 0] == "diverged"


def test_runs_are_repeatable_bit_for_bit() -> None:
    arguments = ([load("adamw"), load("adan")], "digits_mlp", [{"lr": 1e-3}], [3, 4], 25)
    first, second = train_population(*arguments), train_population(*arguments)
    assert np.array_equal(first.val_loss, second.val_loss)
    assert np.array_equal(first.curve, second.curve)


def test_seeds_are_paired_between_rules() -> None:
    frozen = parse("def frozen(w, g, *, lr=1):\n    return w - 0 * lr * g")
    result = train_population([frozen, frozen], "bytes_lm", [{"lr": 1.0}], [0, 1], 2, check_every=1)
    assert np.array_equal(result.curve[0], result.curve[1])
    assert result.curve[0, 0, 0, 0] != result.curve[0, 0, 1, 0]


def test_schedule_reaches_lr_and_what_follows_from_it() -> None:
    rule = parse("def counting(w, g, s: scalar, *, lr=1):\n    s = s + lr\n    return w - 0 * g + s * 0, s")
    sgd = parse("def plain(w, g, *, lr=1):\n    return w - lr * (w * 0 + 1)")
    for schedule, total in (("constant", 4.0), ("linear", 1 + 0.75 + 0.5 + 0.25)):
        run = train_population([sgd, rule], "noisy_quadratic", [{"lr": 0.5}], [0], 4, schedule=schedule)
        moved = get_task("noisy_quadratic")
        expected = moved.loss({"x": moved.init(0)["x"] - 0.5 * total}, moved.validation()).item()
        assert run.val_loss[0, 0, 0] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": []}, "no rules"),
        ({"settings": []}, "no settings"),
        ({"seeds": []}, "no seeds"),
        ({"steps": 0}, "steps=0"),
        ({"task": "digit_mlp"}, "did you mean 'digits_mlp'"),
        ({"settings": [{"beta9": 1.0}]}, "no hyperparameter 'beta9'"),
        ({"schedule": "step"}, "no schedule"),
        ({"check_every": 0}, "check_every=0"),
        ({"threads": 0}, "threads=0"),
        ({"time_limit": 0.0}, "time_limit=0.0"),
        ({"hopeless": float("nan")}, "hopeless=nan"),
        ({"memory": 1000}, "the fewest replicas"),
    ],
)
def test_mistakes_are_told(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "rules": [load("adamw")],
        "task": "digits_mlp",
        "settings": [{}],
        "seeds": [0],
        "steps": 1,
    }
    with pytest.raises(UserError, match=message):
        train_population(**(arguments | change))  # type: ignore[arg-type]
