"""Scores against tuned AdamW: known answers, monotonicity, tuning with equal budgets, and the files in the package."""

from __future__ import annotations

import doctest
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import evoptim.runtime.calibration
from evoptim.dsl import UserError, load
from evoptim.runtime import get_task, train_population
from evoptim.runtime.calibration import (
    BASELINES,
    Baseline,
    Calibration,
    Envelope,
    calibrate,
    load_calibration,
    speedup,
    tune,
)
from evoptim.runtime.calibration.record import FOLDER
from evoptim.runtime.calibration.tuning import FRESH_SEEDS, explore
from evoptim.runtime.datasets import DOCUMENTATION
from evoptim.runtime.tasks import TASKS

STEPS = np.array([25, 50, 100, 200, 400, 800])
STORED = sorted(file.stem for file in FOLDER.glob("*.json"))


def power_law(exponent: float = 0.5, seeds: int = 3, noise: float = 0.0) -> Envelope:
    """Mean loss steps**-exponent, with seeds that differ in a factor of their own and nothing else."""
    factors = np.exp(noise * np.random.default_rng(0).standard_normal(seeds))
    return Envelope(STEPS, (STEPS**-exponent)[:, None] * factors / factors.mean())


@pytest.mark.parametrize(("reached", "used"), [(100.0, 100), (300.0, 100), (141.4, 200), (26.0, 800)])
@pytest.mark.parametrize("exponent", [0.1, 0.5, 2.0])
def test_a_power_law_is_inverted_exactly(reached: float, used: int, exponent: float) -> None:
    score = speedup([reached**-exponent] * 4, used, power_law(exponent))
    assert score.bound == "exact"
    assert score.value == pytest.approx(reached / used, rel=1e-9)
    assert score.low == pytest.approx(score.value)  # seeds that agree leave no doubt
    assert score.high == pytest.approx(score.value)


@pytest.mark.parametrize("index", range(len(STEPS)))
def test_the_envelope_itself_scores_one_at_each_of_its_lengths(index: int) -> None:
    envelope = power_law(noise=0.3, seeds=8)
    score = speedup(envelope.losses[index], int(STEPS[index]), envelope)
    assert score.value == pytest.approx(1)
    assert score.low <= 1 <= score.high
    assert score.bound == "exact"


def test_beyond_the_envelope_the_score_is_a_bound() -> None:
    envelope = power_law()
    better = speedup([1e-9] * 3, 400, envelope)
    assert (better.bound, better.value, better.low, better.high) == ("at least", 2.0, 2.0, math.inf)
    worse = speedup([1.0] * 3, 100, envelope)
    assert (worse.bound, worse.value, worse.low, worse.high) == ("at most", 0.25, 0.0, 0.25)
    assert str(better) == ">=2.00 [2.00, inf]"


def test_an_interval_that_reaches_beyond_the_envelope_is_open() -> None:
    envelope = power_law()
    edge = float(envelope.mean()[-1])
    score = speedup([1.1 * edge, 1.2 * edge, 0.8 * edge], 100, envelope)
    assert score.bound == "exact"
    assert 1 < score.low < score.value < 8 < score.high == math.inf


def test_more_steps_that_make_it_worse_do_not_count() -> None:
    envelope = Envelope(np.array([100, 200, 400, 800]), np.array([[1.0], [0.5], [0.7], [0.25]]))
    assert speedup([0.5], 100, envelope).value == pytest.approx(2)
    assert speedup([0.6], 100, envelope).value < 2
    assert 4 < speedup([0.45], 100, envelope).value < 8  # from the best loss up to 400 steps down to that of 800


def test_a_plateau_is_reached_at_its_beginning() -> None:
    envelope = Envelope(np.array([100, 200, 400]), np.array([[1.0], [0.5], [0.5]]))
    assert speedup([0.5], 100, envelope).value == pytest.approx(2)
    assert speedup([0.499], 100, envelope).bound == "at least"


def test_divergence_is_the_worst_result() -> None:
    score = speedup([0.01, math.inf], 25, power_law())
    assert (score.bound, score.value, score.low) == ("at most", 1.0, 0.0)
    diverged = Envelope(np.array([10, 20, 40]), np.array([[math.inf, 1.0], [0.5, 0.5], [0.25, 0.25]]))
    assert speedup([3.0], 10, diverged).value == pytest.approx(2)  # the length of 10 is known not to do
    assert speedup([math.inf], 10, diverged).bound == "at most"


def test_the_interval_shrinks_with_seeds_and_covers_the_truth() -> None:
    truth, used, covered, widths = 200, 100, 0, []
    random = np.random.default_rng(1)
    for _ in range(100):
        noise = np.exp(0.2 * random.standard_normal((len(STEPS), 20)) - 0.02)
        envelope = Envelope(STEPS, (STEPS**-0.5)[:, None] * noise)
        losses = truth**-0.5 * np.exp(0.2 * random.standard_normal(20) - 0.02)
        score = speedup(losses, used, envelope, resamples=300)
        covered += score.low <= truth / used <= score.high
        widths.append((score.high - score.low, speedup(losses[:5], used, envelope, resamples=300)))
    assert covered >= 85
    assert np.mean([w for w, _ in widths]) < 0.8 * np.mean([s.high - s.low for _, s in widths])


LOSSES = st.floats(0.01, 10)
COLUMN = st.lists(LOSSES, min_size=6, max_size=6)
ENVELOPES = st.lists(COLUMN, min_size=1, max_size=4).map(lambda columns: Envelope(STEPS, np.array(columns).T))
CANDIDATES = st.lists(LOSSES, min_size=1, max_size=5)


@given(envelope=ENVELOPES, losses=CANDIDATES, gain=st.floats(0.1, 1))
def test_a_better_loss_never_scores_worse(envelope: Envelope, losses: list[float], gain: float) -> None:
    before, after = (speedup(np.array(losses) * f, 100, envelope, resamples=50) for f in (1, gain))
    for end in ("value", "low", "high"):
        assert getattr(after, end) >= getattr(before, end) * (1 - 1e-12)
    assert 0 <= before.low <= before.high


@given(envelope=ENVELOPES, losses=CANDIDATES, gain=st.floats(0.1, 1))
def test_against_a_better_envelope_nothing_scores_better(envelope: Envelope, losses: list[float], gain: float) -> None:
    before = speedup(losses, 100, envelope, resamples=50)
    after = speedup(losses, 100, Envelope(STEPS, envelope.losses * gain), resamples=50)
    for end in ("value", "low", "high"):
        assert getattr(after, end) <= getattr(before, end) * (1 + 1e-12)


@given(envelope=ENVELOPES, losses=CANDIDATES, power=st.integers(-8, 8))
def test_the_unit_of_the_loss_does_not_matter_and_steps_divide(
    envelope: Envelope, losses: list[float], power: int
) -> None:
    one = speedup(losses, 100, envelope, resamples=50)
    scaled = speedup(np.array(losses) * 2.0**power, 400, Envelope(STEPS, envelope.losses * 2.0**power), resamples=50)
    assert scaled.bound == one.bound
    assert (4 * scaled.value, 4 * scaled.low) == pytest.approx((one.value, one.low))
    assert scaled.high == pytest.approx(one.high / 4)


def test_quantiles_of_an_envelope_are_losses_of_its_seeds() -> None:
    envelope = Envelope(np.array([1, 2]), np.array([[3.0, 1.0, math.inf], [1.0, 0.5, 0.7]]))
    np.testing.assert_array_equal(envelope.quantile(0.5), [3.0, 0.7])
    np.testing.assert_array_equal(envelope.mean(), [math.inf, pytest.approx(2.2 / 3)])


@pytest.mark.parametrize(
    ("steps", "losses", "what"),
    [
        ([1, 2], [[1.0]], "2 lengths has losses of shape"),
        ([2, 1], [[1.0], [1.0]], "do not rise"),
        ([0, 1], [[1.0], [1.0]], "do not rise"),
        ([1, 2], [[1.0], [0.0]], "above 0"),
        ([1, 2], [[1.0], [math.nan]], "above 0"),
    ],
)
def test_an_impossible_envelope_is_refused(steps: list[int], losses: list[list[float]], what: str) -> None:
    with pytest.raises(UserError, match=what):
        Envelope(np.array(steps), np.array(losses))


@pytest.mark.parametrize(("losses", "steps"), [([], 1), ([0.0], 1), ([math.nan], 1), ([1.0], 0)])
def test_an_impossible_candidate_is_refused(losses: list[float], steps: int) -> None:
    with pytest.raises(UserError):
        speedup(losses, steps, power_law())


@pytest.mark.parametrize("start", [1e-3, 1e-2, 1.0, 1e2])
def test_tuning_walks_from_a_poor_start_to_the_best_learning_rate(start: float) -> None:
    tuned = tune(Baseline(rule="adamw", lr=start, weight_decays=(0.0, 0.1)), get_task("noisy_quadratic"), 40)
    assert len(tuned.lrs) == len(tuned.tuning_losses) == 9  # the same budget wherever it starts
    assert 0.1 < tuned.lr < 1
    assert not tuned.at_edge
    assert tuned.weight_decays == (0.0,)  # decay would lead straight to the optimum
    assert len(tuned.losses) == len(FRESH_SEEDS)


@pytest.mark.parametrize(("start", "edge"), [(1e-9, -1), (1e30, 0)])
def test_a_best_learning_rate_at_the_edge_is_said_to_be_there(start: float, edge: int) -> None:
    tuned = tune(Baseline(rule="sgd", lr=start, weight_decays=(0.0,)), get_task("noisy_quadratic"), 40)
    assert tuned.at_edge
    assert tuned.lr == tuned.lrs[edge]
    widest = start * 10.0 ** (3 if edge else -3)
    assert tuned.lr == pytest.approx(widest, rel=0.01)


def bowl(lr: float, decay: float) -> Callable[[Sequence[Mapping[str, float]]], np.ndarray]:
    """Losses that are least at one learning rate and weight decay."""

    def loss(setting: Mapping[str, float]) -> float:
        away = math.log(max(setting["weight_decay"], 1e-12) / max(decay, 1e-12))
        return 1 + math.log(setting["lr"] / lr) ** 2 + 1e-3 * away**2

    return lambda settings: np.array([loss(s) for s in settings])


@pytest.mark.parametrize(
    ("best", "added"),
    [
        (5.0, [1.0, 10.0]),
        (1e-4, [1e-3, 1e-4]),
        (0.0, [1e-3, 1e-4]),
        (9e-3, [1e-3, 0.0316]),
        (0.1, [1.0, 0.316]),
    ],
)
def test_weight_decays_are_added_where_the_best_one_is(best: float, added: list[float]) -> None:
    explored = explore(bowl(0.02, best), 1e-2, (0.0, 1e-2, 1e-1), 2)
    assert explored.decays == sorted([0.0, 1e-2, 1e-1, *added])
    assert len(explored.losses) == 9 * 5  # the same budget wherever the best one is, every decay with every rate


def test_problems_without_weight_decay_and_old_budgets_add_none() -> None:
    assert explore(bowl(0.02, 1.0), 1e-2, (0.0,), 2).decays == [0.0]
    assert explore(bowl(0.02, 1.0), 1e-2, (0.0, 0.1), 0).decays == [0.0, 0.1]


def test_a_known_calibration_goes_on_with_the_budget_it_had() -> None:
    task = get_task("breast_cancer")
    task.steps = 2
    first = next(calibrate(task, horizons=(), command="a test"))
    assert len(first.results[0].weight_decays) == 5
    assert first.provenance.decay_rounds == 2
    old = replace(first, results=(), provenance=replace(first.provenance, decay_rounds=0))
    again = next(calibrate(task, horizons=(), command="a test", known=old))
    assert len(again.results[0].weight_decays) == 3
    assert again.provenance.decay_rounds == 0


def test_a_largest_weight_decay_that_is_best_is_said_to_be() -> None:
    row = load_calibration("digits_mlp").baselines["adan"]
    assert not replace(row, weight_decay=0.0, weight_decays=(0.0,)).decay_at_edge
    assert not replace(row, weight_decay=0.01).decay_at_edge
    assert replace(row, weight_decay=0.1).decay_at_edge


@pytest.fixture(scope="module")
def measured() -> list[Calibration]:
    """A calibration of very short trainings, as it grows."""
    task = get_task("noisy_quadratic")
    task.steps = 8
    return list(calibrate(task, horizons=(0.5, 2), command="a test"))


def test_a_calibration_has_every_baseline_and_every_length(measured: list[Calibration]) -> None:
    assert [len(c.results) for c in measured] == list(range(1, len(BASELINES) + 3))
    whole = measured[-1]
    assert list(whole.baselines) == [b.rule for b in BASELINES]
    assert whole.envelope.steps.tolist() == [4, 8, 16]
    assert whole.envelope.losses.shape == (3, len(FRESH_SEEDS))
    assert whole.baselines["adamw"].losses == tuple(whole.envelope.losses[1])


def test_an_interrupted_measurement_goes_on(measured: list[Calibration]) -> None:
    task = get_task("noisy_quadratic")
    task.steps = 8
    resumed = list(calibrate(task, horizons=(0.5, 2), command="a test", known=measured[-2]))
    assert [c.results for c in resumed] == [measured[-1].results]
    assert not list(calibrate(task, horizons=(0.5,), command="a test", known=measured[-1]))
    with pytest.raises(UserError, match="other conditions"):
        list(calibrate(get_task("rosenbrock"), command="a test", known=measured[0]))


def test_a_file_gives_the_calibration_again(measured: list[Calibration], tmp_path: Path) -> None:
    (tmp_path / "noisy_quadratic.json").write_text(measured[-1].dump(), encoding="utf-8")
    read = load_calibration("noisy_quadratic", tmp_path)
    assert read.dump() == measured[-1].dump()
    assert read.caveat == ""
    np.testing.assert_allclose(read.envelope.losses, measured[-1].envelope.losses, rtol=1e-5)


def test_other_data_than_the_measured_are_refused(measured: list[Calibration], tmp_path: Path) -> None:
    content = json.loads(measured[-1].dump()) | {"sha256": "0" * 64}
    for name in ("noisy_quadratic", "bytes_lm"):
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="measured on 000000000000"):
        load_calibration("noisy_quadratic", tmp_path)
    assert not DOCUMENTATION.sha256
    assert "change with Python's version" in load_calibration("bytes_lm", tmp_path).caveat


def test_what_cannot_be_read_is_refused(measured: list[Calibration], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no calibration"):
        load_calibration("noisy_quadratic", tmp_path)
    content = json.loads(measured[-1].dump()) | {"format": 99}
    (tmp_path / "noisy_quadratic.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UserError, match="format 99"):
        load_calibration("noisy_quadratic", tmp_path)


def test_divergence_is_kept_in_a_file(measured: list[Calibration], tmp_path: Path) -> None:
    content = json.loads(measured[-1].dump())
    content["results"][0]["losses"][0] = None
    (tmp_path / "noisy_quadratic.json").write_text(json.dumps(content), encoding="utf-8")
    read = load_calibration("noisy_quadratic", tmp_path)
    assert read.results[0].losses[0] == math.inf
    assert json.loads(read.dump()) == content


NOT_MEASURED = {"mnist_autoencoder": {"adafactor"}}
"""Baselines for which there was no time on a GPU."""


@pytest.mark.parametrize("name", STORED)
def test_a_stored_calibration_is_whole_and_of_the_task_as_it_is(name: str) -> None:
    calibration, task = load_calibration(name), get_task(name)
    assert (calibration.task, calibration.steps, calibration.batch_size) == (name, task.steps, task.batch_size)
    assert {b.rule for b in BASELINES} - set(calibration.baselines) == NOT_MEASURED.get(name, set())
    assert task.steps in calibration.envelope.steps
    assert {len(r.losses) for r in calibration.results} == {len(calibration.provenance.fresh_seeds)}
    assert not set(calibration.provenance.fresh_seeds) & set(calibration.provenance.tuning_seeds)
    assert len({math.prod((len(r.lrs), len(r.weight_decays))) for r in calibration.results}) == 1  # equal budgets


def test_a_stored_result_can_be_had_again() -> None:
    row = load_calibration("breast_cancer").results[0]
    setting = {"lr": row.lr, "weight_decay": row.weight_decay}
    losses = train_population([load(row.rule)], "breast_cancer", [setting], FRESH_SEEDS, row.steps).val_loss[0, 0]
    np.testing.assert_allclose(losses, row.losses, rtol=1e-3)


def test_the_example_runs() -> None:
    assert doctest.testmod(evoptim.runtime.calibration).failed == 0


def test_no_sealed_target_is_calibrated() -> None:
    assert {"breast_cancer", "digits_mlp"} <= set(STORED) <= {name for name, kind in TASKS.items() if kind.level < 3}
