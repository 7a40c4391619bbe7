"""Taking pieces out: barnacles go, what matters stays, and every piece that went is accounted for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from fakes import chance

from evoptim.dsl import Rule, UserError, canonical_hash, check, load, parse
from evoptim.search import Trial, into_frame, is_framed, tidy
from evoptim.search.judging.paired_training import WIDEN, PairedTrainer, not_inferior_p, worse_p
from evoptim.search.records.archive import StoredTrial
from evoptim.search.refining.ablation import AblationConfig, ablate
from evoptim.search.refining.reductions import reductions, size

SEEDS = range(8)
RATES = (0.01, 0.1, 1.0)


@dataclass
class Judged:
    """A trainer whose losses depend on what is in a program, on how far the lr is from 0.05, and a little on chance."""

    cost: Callable[[Rule], float]
    noise: float = 0.001
    version: str = "judged-1"
    trained: list[tuple[str, float, int]] = field(default_factory=list[tuple[str, float, int]])

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[Trial]]:
        return [[self.trial(r, s, seed) for s in settings for seed in seeds] for r in rules]

    def trial(self, rule: Rule, setting: Mapping[str, float], seed: int) -> Trial:
        digest = canonical_hash(rule)
        self.trained.append((digest, setting["lr"], seed))
        cost = self.cost(rule)
        if math.isinf(cost):
            return StoredTrial(dict(setting), seed, "diverged", math.inf)
        away = abs(math.log10(setting["lr"] / 0.05))
        chances = 0.3 * chance(seed) + self.noise * chance(digest, setting["lr"], seed)
        return StoredTrial(dict(setting), seed, "ok", (1 + cost) * (1 + 0.1 * away) + chances)


def trainer(evaluator: Judged, seeds: Sequence[int] = SEEDS) -> PairedTrainer:
    return PairedTrainer(evaluator, RATES, seeds)


def needs(*pieces: str) -> Callable[[Rule], float]:
    """Half as much again for each piece that is missing."""
    return lambda rule: sum(0.5 for p in pieces if p not in rule.text)


BARNACLED = """
def barnacled(w, g, m, v, s, *, lr=0.1, weight_decay=0, c=3):
    s = ema(s, tanh(w), 0.7)
    m = ema(m, clip(g, -c, c), 0.937)
    v = v + 1e-7 * s
    u = sign(m) * (1 + square(v))
    w = w - lr * (u + weight_decay * w)
    return w, m, v, s
"""


def test_barnacles_go_and_what_matters_stays() -> None:
    evaluator = Judged(needs("sign(m)", "0.9"))
    told: list[str] = []
    found = ablate(parse(BARNACLED), trainer(evaluator), AblationConfig(), lambda d: told.append(str(d["event"])))
    assert found.rule.text == (
        "def barnacled(w, g, m, *, lr=0.1, weight_decay=0):\n    m = ema(m, g, 0.9)\n    u = sign(m)\n"
        "    w = w - lr * (u + weight_decay * w)\n    return w, m\n"
    )
    assert is_framed(found.rule)
    assert found.complete
    assert told == ["round"] * (len(found.removals) + 1)
    assert all(abs(r.cost) <= 0.02 for r in found.removals)
    sizes = [r.size for r in found.removals]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == size(found.rule)


def test_nothing_is_trained_twice() -> None:
    evaluator = Judged(needs("sign(m)", "0.9"))
    ablate(parse(BARNACLED), trainer(evaluator), AblationConfig())
    assert len(set(evaluator.trained)) == len(evaluator.trained)


def test_small_rises_do_not_add_up() -> None:
    """Each piece is worth 1.5 %, less than the margin; all of them together are not."""
    rule = parse("def f(w, g, *, lr=0.1):\n    return w - lr * tanh(sin(arctan(sinh(cos(g)))))")
    pieces = ("tanh", "sin(", "arctan", "sinh", "cos(")
    evaluator = Judged(lambda r: 0.015 * sum(p not in r.text for p in pieces), noise=0.0)
    found = ablate(rule, trainer(evaluator), AblationConfig(margin=0.02, level=0.05, strict=True))
    assert found.after.loss <= 1.02 * found.before.loss
    assert len(found.removals) == 1


def test_a_strict_ablation_wants_proof() -> None:
    rule, noisy = parse(BARNACLED), Judged(needs("sign"), noise=0.5)
    strict = ablate(rule, trainer(noisy), AblationConfig(strict=True, margin=0.001))
    lax = ablate(rule, trainer(Judged(needs("sign"), noise=0.5)), AblationConfig(margin=0.5))
    assert len(strict.removals) < len(lax.removals)


def test_the_budget_ends_it() -> None:
    evaluator = Judged(needs("sign(m)", "0.9"))
    work = trainer(evaluator)
    found = ablate(parse(BARNACLED), work, AblationConfig(evaluations=20))
    assert not found.complete
    assert found.tried == work.programs <= 20


def test_the_learning_rate_follows_the_program_beyond_the_grid() -> None:
    work = PairedTrainer(Judged(lambda _: 0.0, noise=0.0), (10.0, 100.0), SEEDS)
    [trained] = work.trained([parse("def f(w, g, *, lr=1):\n    return w - lr * g")])
    assert 0.02 < trained.lr < 0.12
    lost = PairedTrainer(Judged(lambda _: 0.0, noise=0.0), (1e20, 1e21), SEEDS)
    [trained] = lost.trained([parse("def f(w, g, *, lr=1):\n    return w - lr * g")])
    assert trained.lr == pytest.approx(1e20 / 10**WIDEN)


def test_a_program_that_does_not_train_and_too_few_seeds_are_refused() -> None:
    broken = Judged(lambda _: math.inf)
    with pytest.raises(UserError, match="fails with every learning rate"):
        ablate(parse(BARNACLED), trainer(broken), AblationConfig())
    with pytest.raises(UserError, match="4 seeds decide nothing"):
        ablate(parse(BARNACLED), trainer(broken, range(4)), AblationConfig())
    with pytest.raises(UserError, match="level=2"):
        AblationConfig(level=2)


def test_the_two_tests_ask_opposite_questions() -> None:
    reference = [1.0, 2.0, 3.0, 2.0, 1.0, 2.0]
    worse, same = [x + 0.5 for x in reference], [x + 1e-6 for x in reference]
    assert worse_p(worse, reference) == 2**-6
    assert not_inferior_p(worse, reference, 0.1) == 1
    assert not_inferior_p(same, reference, 0.1) == 2**-6
    assert worse_p([math.inf] * 6, reference) == 2**-6


@pytest.mark.parametrize("rule", ["adam", "adan", "adafactor", "sgd_nesterov", "lamb"])
def test_every_reduction_is_valid_shorter_and_told_apart(rule: str) -> None:
    whole = tidy(load(rule))
    found = reductions(whole)
    assert found
    assert len({r.digest for r in found}) == len(found)
    for r in found:
        assert not check(r.rule)
        assert size(r.rule) < size(whole)
        assert canonical_hash(r.rule) == r.digest != canonical_hash(whole)
        assert "lr" in r.rule.defaults
    assert [size(r.rule) for r in found] == sorted(size(r.rule) for r in found)


def test_each_kind_of_piece_is_tried() -> None:
    found = {(r.before, r.after) for r in reductions(tidy(into_frame(load("adamw")).rule))}
    assert ("buffer m", "") in found
    assert ("sqrt(v / (1 - 0.999**t)) + 1e-8", "sqrt(v / (1 - 0.999**t))") in found
    assert ("0.999", "0.9") in found
    assert ("1e-8", "0") in found
    found = {(r.before, r.after) for r in reductions(tidy(parse(BARNACLED)))}
    assert ("0.937", "0.94") in found
    assert ("c", "1") in found
    text = "def f(w, g, m, *, lr=1):\n    m = sqrt(m * m) + g\n    return w - lr * m, m"
    assert ("as a whole", "by laws of real arithmetic") in {(r.before, r.after) for r in reductions(tidy(parse(text)))}
