"""Trains candidates for a search and turns whatever happens into a status."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from evoptim.dsl import Rule

from .population import PopulationResult, train_population
from .tasks import get_task

CODE_VERSION = 2
"""Raised whenever a change of the trainer changes results."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """One training: the setting and seed, and how it ended."""

    setting: Mapping[str, float]
    seed: int
    status: str
    loss: float
    reason: str = ""


class PopulationEvaluator:
    """Evaluates rules on one task by the population trainer.

    Args:
        task: Name of a task.
        steps: Updates per training.
        batch_size: Examples per update.
        schedule: Learning-rate schedule.
        device: Where to train.
    """

    def __init__(self, task: str, steps: int, batch_size: int, schedule: str = "linear", device: str = "cpu") -> None:
        self.task = get_task(task, device)
        self.steps, self.batch_size, self.schedule = steps, batch_size, schedule

    @property
    def version(self) -> str:
        """What results depend on besides rule, setting and seed."""
        data = self.task.sha256[:12]
        run = f"{self.steps}x{self.batch_size}-{self.schedule}"
        return f"population-{CODE_VERSION}/torch-{torch.__version__}/{self.task.name}-{data}/{run}"

    def evaluate(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> list[list[TrialResult]]:
        """All trials of every rule; a rule that breaks the batch is trained alone and marked with its error."""
        try:
            result = self._train(rules, settings, seeds)
        except Exception as error:  # a candidate's failure is a result, not the end of the search
            if len(rules) == 1:
                reason = f"{type(error).__name__}: {error}"[:500]
                return [[TrialResult(dict(s), seed, "error", math.inf, reason) for s in settings for seed in seeds]]
            return [trials for rule in rules for trials in self.evaluate([rule], settings, seeds)]
        return [
            [
                TrialResult(dict(s), seed, str(result.status[i, j, k]), float(result.val_loss[i, j, k]))
                for j, s in enumerate(settings)
                for k, seed in enumerate(seeds)
            ]
            for i in range(len(rules))
        ]

    def _train(
        self, rules: Sequence[Rule], settings: Sequence[Mapping[str, float]], seeds: Sequence[int]
    ) -> PopulationResult:
        return train_population(
            rules, self.task, settings, seeds, self.steps, batch_size=self.batch_size, schedule=self.schedule
        )
