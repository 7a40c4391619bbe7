"""Where the parts meet: the evaluator that a search configuration asks for."""

from __future__ import annotations

from evoptim.runtime import PopulationEvaluator
from evoptim.search import Evaluator, SearchConfig


def make_evaluator(config: SearchConfig) -> Evaluator:
    """The population trainer on the configured task.

    Raises:
        UserError: There is no such task.
    """
    e = config.evaluation
    return PopulationEvaluator(e.task, e.steps, e.batch_size, e.schedule)
