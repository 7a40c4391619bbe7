"""A rule made to train: proxy tasks, the population trainer, and the ordinary way for comparison."""

from .evaluator import PopulationEvaluator, TrialResult
from .ordinary import OrdinaryResult, train_module
from .population import PopulationResult, train_population
from .task import Task
from .tasks import TASKS, get_task

__all__ = [
    "TASKS",
    "OrdinaryResult",
    "PopulationEvaluator",
    "PopulationResult",
    "Task",
    "TrialResult",
    "get_task",
    "train_module",
    "train_population",
]
