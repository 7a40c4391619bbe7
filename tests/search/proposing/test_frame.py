"""Bringing rules into the frame, and reading them as a person wants to."""

from __future__ import annotations

from random import Random

import pytest
from fakes import close, same, trajectory
from rules import SEEDS

from evoptim.dsl import Rule, canonical_hash, check, load, parse, rule_names
from evoptim.search import FrameError, flatten, into_frame, is_framed, mutate, tidy
from evoptim.search.config import Mutation
from evoptim.search.proposing.frame import FRAME, OUTSIDE, with_buffers

REFUSED = {"adafactor", "adafactor_paper"}
ZOO_REFUSED = frozenset(
    (
        "accsgd adabound adafactor_fairseq adafactor_momentum adalomo adam_mini adamg adamod adamuon agd_i amos "
        "amsbound avagrad came dadapt_adam dadapt_adan dadapt_lion dadapt_sgd fromage heavy_ball madgrad muon "
        "muon_moonlight normuon prodigy rprop schedule_free_adamw schedule_free_sgd scion sgdp sm3"
    ).split()
)
"""Rules of the zoo whose step is not lr times something that knows neither lr nor decay."""
DECAY_REPLACED = {"adam", "adan", "adax", "adax_paper", "rmsprop", "sgd", "sgd_nesterov"}
HYPERS = {"lr": 0.05, "weight_decay": 0.1}


def shared_hypers(rule: Rule, decay: float) -> dict[str, float]:
    return {"lr": 0.05} | ({"weight_decay": decay} if "weight_decay" in rule.defaults else {})


def in_frame_form(rule: Rule) -> bool:
    """The frame last, and neither lr nor decay anywhere else."""
    *genome, last = rule.body
    read = {n.value for a in genome for n in a.value.walk() if n.op == "name"}
    return last.value is FRAME and last.target == "w" and not read & set(OUTSIDE) and set(rule.defaults) == set(OUTSIDE)


# --- the rules that come with evoptim -------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(rule_names()) - set(SEEDS)))
def test_any_zoo_rule_does_the_same_in_the_frame_or_is_refused_with_a_remedy(name: str) -> None:
    rule = load(name)
    if name in ZOO_REFUSED:
        with pytest.raises(FrameError, match=f"'{name}' cannot be framed: ") as caught:
            into_frame(rule)
        assert 'frame = "free"' in caught.value.remedy
        return
    framed = into_frame(rule)
    assert in_frame_form(framed.rule)
    decay = 0.1 if "weight_decay" in rule.defaults and not framed.note else 0.0
    assert close(trajectory(rule, **shared_hypers(rule, decay)), trajectory(framed.rule, lr=0.05, weight_decay=decay))


@pytest.mark.parametrize("name", SEEDS)
def test_seed_rule_is_framed_or_refused(name: str) -> None:
    if name in REFUSED:
        with pytest.raises(FrameError, match=f"'{name}' cannot be framed: it treats matrices differently") as caught:
            into_frame(load(name))
        assert 'frame = "free"' in caught.value.remedy
        return
    framed = into_frame(load(name), 0.25)
    assert check(framed.rule) == []
    assert is_framed(framed.rule)
    assert in_frame_form(framed.rule)
    assert framed.rule.defaults == {"lr": load(name).defaults["lr"], "weight_decay": 0.25}
    assert bool(framed.note) == (name in DECAY_REPLACED), framed.note


@pytest.mark.parametrize("name", sorted(set(SEEDS) - REFUSED))
def test_framed_seed_rule_does_the_same(name: str) -> None:
    rule, framed = load(name), into_frame(load(name))
    decay = 0.0 if framed.note else 0.1
    assert close(trajectory(rule, **shared_hypers(rule, decay)), trajectory(framed.rule, lr=0.05, weight_decay=decay))


@pytest.mark.parametrize("name", sorted(set(SEEDS) - REFUSED))
def test_frame_decays_decoupled(name: str) -> None:
    rule = into_frame(load(name)).rule
    before, with_decay, without = (
        trajectory(rule, steps=1, lr=lr, weight_decay=decay) for lr, decay in ((0.0, 0.0), (0.5, 0.1), (0.5, 0.0))
    )
    assert close(with_decay, [w - 0.05 * w0 for w, w0 in zip(without, before, strict=True)])


# --- rules written in other ways ------------------------------------------------------------------------

OTHER_FORMS = {
    "decay first": """
def r(w, g, m, *, lr=0.1, weight_decay=0.0):
    m = ema(m, g, 0.9)
    w = w * (1 - lr * weight_decay)
    w = w - lr * m
    return w, m""",
    "two terms": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    w = w - lr * sign(g) - lr * weight_decay * w
    return w""",
    "decay first, other order": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    w = w - lr * (weight_decay * w) - g * lr
    return w""",
    "in pieces": """
def r(w, g, m, *, lr=0.1):
    m = ema(m, g, 0.9)
    d = lr * m
    d = d + g * lr / 3
    half = d / 2
    w = w - half
    w = w - half
    return w, m""",
    "negative step": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    d = -lr * (g + weight_decay * w)
    w = w + d
    return w""",
    "turned round": """
def r(w, g, *, lr=0.1):
    w = -(lr * tanh(g) - w)
    return w""",
    "u reads w": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    u = g * abs(w)
    w = w - lr * (u + weight_decay * w)
    return w""",
    "no decay": """
def r(w, g, *, lr=0.1):
    return w - lr * g""",
    "other hyperparameters": """
def r(w, g, m, *, lr=0.1, beta=0.7, gain=3.0, weight_decay=0.0):
    m = ema(m, g, beta)
    w = w - lr * gain * m - lr * weight_decay * w
    return w, m""",
    "u shared with a buffer": """
def r(w, g, m, *, lr=0.1):
    m = 0.9 * m + g
    w = w - lr * m
    return w, m""",
    "a buffer handed on": """
def r(w, g, m, s, *, lr=0.1):
    m = 0.9 * m + g
    w = w - lr * m
    return w, m, s""",
    "buffers exchanged": """
def r(w, g, a, b: init(g), *, lr=0.1):
    u = g + a - 0.5 * b
    w = w - lr * u
    return w, b, u""",
    "the old parameter kept": """
def r(w, g, before: init(w), *, lr=0.1):
    u = g + 0.1 * (w - before)
    old = w
    w = w - lr * u
    return w, old""",
    "a buffer called u": """
def r(w, g, u, *, lr=0.1, weight_decay=0.0):
    u = ema(u, g, 0.9)
    w = w - lr * (sign(u) + weight_decay * w)
    return w, u""",
    "buffers called u and u1": """
def r(w, g, u1, t, u, *, lr=0.1):
    u = ema(u, g, 0.9)
    u1 = ema(u1, u, 0.5)
    w = w - lr * u1 / t
    return w, u1, u""",
    "a buffer called weight_decay": """
def r(w, g, weight_decay, *, lr=0.1):
    weight_decay = ema(weight_decay, square(g), 0.9)
    w = w - lr * (g + weight_decay * w)
    return w, weight_decay""",
    "names of the writer": """
def r(w, g, w_new, x1, *, lr=0.1):
    x1 = ema(x1, g, 0.9)
    w_new = ema(w_new, x1 * x1, 0.9)
    w = w - lr * x1 / (sqrt(w_new) + 0.1)
    return w, w_new, x1""",
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_other_form_is_framed(form: str) -> None:
    rule = parse(OTHER_FORMS[form].strip() + "\n")
    framed = into_frame(rule)
    assert framed.note == ""
    assert check(framed.rule) == []
    assert is_framed(framed.rule)
    assert in_frame_form(framed.rule)
    decay = 0.1 if "weight_decay" in rule.defaults else 0.0
    assert close(trajectory(rule, **shared_hypers(rule, decay)), trajectory(framed.rule, lr=0.05, weight_decay=decay))


def test_decay_inside_the_update_is_set_aside_with_a_note() -> None:
    rule = parse(
        "def r(w, g, *, lr=0.1, weight_decay=0.02):\n"
        "    w = w * (1 - lr * weight_decay)\n"
        "    w = w - lr * (g + 0.1 * w)\n"  # reads what decay has changed
        "    return w\n"
    )
    framed = into_frame(rule)
    assert "weight decay of 'r' (default 0.02) is replaced" in framed.note
    assert close(trajectory(rule, lr=0.05, weight_decay=0), trajectory(framed.rule, lr=0.05))


REFUSALS = {
    "lr squared": ("w = w - lr * lr * g", "lr enters through"),
    "root of lr": ("w = w - sqrt(lr) * g", "lr enters through 'sqrt'"),
    "capped lr": ("w = w - min(lr, 0.1) * g", "lr enters through 'min'"),
    "lr below": ("w = (w - lr * g) / (1 + lr)", "lr enters through 'div'"),
    "lr in a condition": ("w = w - where(lr < 0.1, lr, 0.1) * g", "lr enters through"),
    "no step": ("w = w - 0.1 * g", "its step is not w minus lr times something"),
    "scaled w": ("w = 0.9 * w - lr * g", "its step is not w minus lr times something"),
    "only decay": ("w = w - lr * weight_decay * w", "without decay it leaves the parameter as it is"),
    "lr in a buffer": ("m = lr * g\n    w = w - lr * m", "a buffer depends on lr"),
    "step in a buffer": ("m = 0.9 * m - lr * g\n    w = w + m", "a buffer depends on lr"),
    "new w in a buffer": ("w = w - lr * g\n    m = w", "a buffer depends on lr"),
    "branch": (
        "if matrix:\n        u = g\n    else:\n        u = -g\n    w = w - lr * u",
        "it treats matrices differently",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_has_no_frame_is_refused(case: str) -> None:
    body, reason = REFUSALS[case]
    rule = parse(f"def r(w, g, m, *, lr=0.1, weight_decay=0.0):\n    {body}\n    return w, m\n")
    with pytest.raises(FrameError, match="rule 'r' cannot be framed: ") as caught:
        into_frame(rule)
    assert reason in caught.value.message
    assert caught.value.remedy == 'search it with frame = "free"'


def test_a_rule_without_lr_is_refused() -> None:
    with pytest.raises(FrameError, match="it has no lr") as caught:
        into_frame(parse("def r(w, g):\n    return w - 0.1 * g\n"))
    assert "add lr" in caught.value.remedy


NOT_FRAMED = {
    "branches": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    if matrix:
        u = g
    else:
        u = sign(g)
    w = w - lr * (u + weight_decay * w)
    return w
""",
    "lr read in a branch": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    if matrix:
        u = lr * g
    else:
        u = g
    w = w - lr * (u + weight_decay * w)
    return w
""",
    "lr read by the update": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    u = lr * g
    w = w - lr * (u + weight_decay * w)
    return w
""",
    "w changed before": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    w = 2 * w
    u = g
    w = w - lr * (u + weight_decay * w)
    return w
""",
    "w changed after": """
def r(w, g, *, lr=0.1, weight_decay=0.0):
    u = g
    w = w - lr * (u + weight_decay * w)
    return 2 * w
""",
    "new w in a buffer": """
def r(w, g, m, *, lr=0.1, weight_decay=0.0):
    u = g + m
    w = w - lr * (u + weight_decay * w)
    return w, w
""",
    "lr in a buffer": """
def r(w, g, m, *, lr=0.1, weight_decay=0.0):
    u = g + m
    w = w - lr * (u + weight_decay * w)
    return w, lr * g
""",
}


def test_other_hyperparameters_belong_to_the_genome() -> None:
    """A constant may become one; `tidy` keeps those that matter."""
    assert is_framed(load("adamw"))
    rule = tidy(load("adamw"))
    assert [h.name for h in rule.hypers] == ["lr", "weight_decay", "beta1", "beta2", "eps"]
    assert is_framed(rule)


@pytest.mark.parametrize("case", NOT_FRAMED)
def test_what_only_looks_framed_is_not(case: str) -> None:
    rule = parse(NOT_FRAMED[case].lstrip())
    assert not is_framed(rule)
    assert same(trajectory(tidy(rule), **HYPERS), trajectory(rule, **HYPERS))


# --- reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adamw", "lion", "sgd_nesterov", "adan"])
def test_tidy_keeps_hash_and_meaning(name: str) -> None:
    rule = flatten(with_buffers(into_frame(load(name)).rule, 2))
    for i in range(60):
        rule = mutate(rule, Random(f"{name}/{i}"), Mutation()).rule
        clean = tidy(rule)
        assert check(clean) == []
        assert is_framed(clean)
        assert canonical_hash(clean) == canonical_hash(rule)
        assert same(trajectory(clean, 3, **HYPERS), trajectory(rule, 3, **HYPERS))
        assert tidy(clean).text == clean.text


@pytest.mark.parametrize("name", SEEDS)
def test_tidy_of_a_free_rule_keeps_hash_and_lr(name: str) -> None:
    rule = flatten(load(name), free=True)
    for i in range(20):
        rule = mutate(rule, Random(f"{name}/{i}"), Mutation(max_statements=60)).rule
        clean = tidy(rule)
        assert check(clean) == []
        assert "lr" in clean.defaults
        assert canonical_hash(clean) == canonical_hash(rule)
        assert same(trajectory(clean, 3), trajectory(rule, 3))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_extra_buffers_change_nothing(count: int) -> None:
    rule = into_frame(load("lion")).rule
    more = with_buffers(rule, count)
    assert check(more) == []
    assert len(more.buffers) == max(1, count)
    assert canonical_hash(more) == canonical_hash(rule)
    assert is_framed(more)
