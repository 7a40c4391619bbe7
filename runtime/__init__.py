"""A rule made to train: proxy tasks, the population trainer, and the ordinary way for comparison."""

from .calibration import Calibration, Envelope, Speedup, load_calibration, speedup
from .evaluator import PopulationEvaluator, TrialResult
from .ordinary import OrdinaryResult, train_module
from .population import PopulationResult, train_population
from .task import Task
from .tasks import TASKS, get_task

__all__ = [
    "TASKS",
    "Calibration",
    "Envelope",
    "OrdinaryResult",
    "PopulationEvaluator",
    "PopulationResult",
    "Speedup",
    "Task",
    "TrialResult",
    "get_task",
    "load_calibration",
    "speedup",
    "train_module",
    "train_population",
]
