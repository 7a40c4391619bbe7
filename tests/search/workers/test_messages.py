"""An answer is believed only where it fits the request."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from fakes import FakeEvaluator

from evoptim.dsl import UserError, canonical_hash, load
from evoptim.search.workers import Answering, Garbage, Job
from evoptim.search.workers.messages import read_answer, request

RULES = [load("lion"), load("sgd")]
JOB = Job("a job", "fake-1", [{"lr": 0.01}, {"lr": 0.1}], [0, 1])
EVALUATOR = FakeEvaluator(start=canonical_hash(RULES[0]))  # the first one never fails
LINE = Answering(lambda _: EVALUATOR).answer(request(7, JOB, RULES))


def test_trials_arrive_to_the_bit() -> None:
    told = read_answer(LINE, 7, JOB, RULES)
    wanted = EVALUATOR.evaluate(RULES, JOB.settings, JOB.seeds)
    assert [[(t.setting, t.seed, t.status, t.loss, t.reason) for t in g] for g in told] == [
        [(t.setting, t.seed, t.status, t.loss, t.reason) for t in g] for g in wanted
    ]


def at(*path: Any, value: Any) -> Callable[[], str]:
    """The answer with one value in it replaced."""

    def changed() -> str:
        document = json.loads(LINE)
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return json.dumps(document)

    return changed


TRIAL = ("programs", 0, "trials", 0)
SPOILT: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no JSON": lambda: LINE[:-5],
    "too deep": lambda: "[" * 100_000,
    "no object": lambda: "[1]",
    "another lease": at("lease", value=6),
    "no version": at("version", value=None),
    "no programs": at("programs", value="none"),
    "a program too few": at("programs", value=[]),
    "another program": at("programs", 0, "program", value="0" * 32),
    "no program": at("programs", 0, value=3),
    "a trial too few": at("programs", 0, "trials", value=[]),
    "no trial": at(*TRIAL, value={}),
    "another setting": at(*TRIAL, 0, value={"lr": 0.02}),
    "another seed": at(*TRIAL, 1, value=5),
    "an unknown status": at(*TRIAL, 2, value="splendid"),
    "a loss in words": at(*TRIAL, 3, value="0.1"),
    "no loss": at(*TRIAL, 3, value=None),
    "no number": at(*TRIAL, 3, value=math.nan),
    "no end": at(*TRIAL, 3, value=math.inf),
    "a loss of what failed": at(*TRIAL, 2, value="diverged"),
    "a reason that is none": at(*TRIAL, 4, value=None),
    "a refusal without reason": at("refused", value="no"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_garbage(case: str) -> None:
    with pytest.raises(Garbage):
        read_answer(SPOILT[case](), 7, JOB, RULES)


def test_a_refusal_is_told_to_the_user() -> None:
    def make(job: str) -> FakeEvaluator:
        raise UserError("there is no such task", "install it")

    line = Answering(make).answer(request(7, JOB, RULES))
    with pytest.raises(UserError, match="a worker: there is no such task"):
        read_answer(line, 7, JOB, RULES)
