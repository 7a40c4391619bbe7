"""Trains candidates for a search and turns whatever happens into a status."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import torch

from evoptim.dsl import Rule

from .population import PopulationResult, train_population
from .task import Task
from .tasks import get_task

CODE_VERSION = 3
"""Raised whenever a change of the trainer changes results."""

AT_ONCE = 384
"""Replicas that `PopulationEvaluator.stream` trains together: more of them are no faster."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One training: the setting and seed, how it ended, and its part of the time in seconds."""

    setting: Mapping[str, float]
    seed: int
    status: str
    loss: float
    reason: str = ""
    cost: float = 0.0


class PopulationEvaluator:
    """Evaluates rules on one task by the population trainer.

    Args:
        task: A task or its name.
        steps: Updates per training; None for the task's own.
        batch_size: Examples per update; None for the task's own.
        schedule: Learning-rate schedule.
        device: Where to train; a task that is given as such knows.
        threads: As in `train_population`, and the next two as well.
        memory: Bytes.
        time_limit: Seconds of a batch.
    """

    def __init__(
        self,
        task: str | Task,
        steps: int | None,
        batch_size: int | None,
        schedule: str = "linear",
        device: str = "cpu",
        *,
        threads: int = 1,
        memory: int | None = None,
        time_limit: float = math.inf,
    ) -> None:
        self.task = get_task(task, device) if isinstance(task, str) else task
        self.steps = self.task.steps if steps is None else steps
        self.batch_size = self.task.batch_size if batch_size is None else batch_size
        self.schedule = schedule
        self.threads, self.memory, self.time_limit = threads, memory, time_limit

    @property
    def version(self) -> str:
        """What results depend on besides rule, setting and seed."""
        data = self.task.sha256[:12]
        run = f"{self.steps}x{self.batch_size}-{self.schedule}"
        task = self.task.name if self.task.revision == 1 else f"{self.task.name}.{self.task.revision}"
        where = "" if self.task.device.type == "cpu" else f"/{self.task.device.type}"
        return f"population-{CODE_VERSION}/torch-{torch.__version__}/{task}-{data}/{run}{where}"

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[TrialResult]]:
        """All trials of every rule; a batch that breaks is halved until the rule that broke it is found and marked."""
        try:
            result = self._train(rules, settings, seeds)
        except Exception as error:  # a candidate's failure is a result, not the end of the search
            if len(rules) == 1:
                reason = f"{type(error).__name__}: {error}"[:500]
                return [[TrialResult(dict(s), seed, "error", math.inf, reason) for s in settings for seed in seeds]]
            half = len(rules) // 2
            return [*self.evaluate(rules[:half], settings, seeds), *self.evaluate(rules[half:], settings, seeds)]
        return [_trials(result, i, settings, seeds) for i in range(len(rules))]

    def stream(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> Generator[list[TrialResult]]:
        """The same, rule by rule and in their order, as soon as the batch that a rule is in has been trained."""
        size = max(1, AT_ONCE // max(1, len(settings) * len(seeds)))
        for first in range(0, len(rules), size):
            yield from self.evaluate(rules[first : first + size], settings, seeds)

    def _train(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> PopulationResult:
        return train_population(
            rules,
            self.task,
            settings,
            seeds,
            self.steps,
            batch_size=self.batch_size,
            schedule=self.schedule,
            threads=self.threads,
            memory=self.memory,
            time_limit=self.time_limit,
        )


def _trials(
    result: PopulationResult, rule: int, settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
) -> list[TrialResult]:
    """The trials of one rule, setting by setting and seed by seed."""
    out: list[TrialResult] = []
    for j, setting in enumerate(settings):
        for k, seed in enumerate(seeds):
            at = (rule, j, k)
            status = str(result.status[at])
            reason = "the batch's time was over" if status == "timeout" else ""
            loss, cost = float(result.val_loss[at]), float(result.cost[at])
            out.append(TrialResult(dict(setting), seed, status, loss, reason, cost))
    return out
