"""Where the parts meet: the evaluators that a search configuration asks for."""

from __future__ import annotations

import math

from evoptim.runtime import PopulationEvaluator, get_task
from evoptim.runtime.tasks import task_type
from evoptim.search import Bench, Evaluator, Laboratory, SearchConfig


def make_laboratory(config: SearchConfig) -> Laboratory:
    """The population trainer on any bench, as the configuration has it.

    The laboratory raises UserError where there is no such task, or where it is sealed and the bench does not unseal it.

    Raises:
        UserError: There is no such task among the sealed ones, whose data need not be here yet.
    """
    e = config.evaluation
    for name in config.sealed.tasks:
        task_type(name)

    def evaluator(bench: Bench) -> Evaluator:
        task = get_task(bench.task, e.device, unseal=bench.unseal)
        return PopulationEvaluator(
            task,
            bench.steps,
            bench.batch_size,
            bench.schedule,
            threads=e.threads,
            memory=None if e.memory is None else e.memory << 20,
            time_limit=math.inf if e.time_limit is None else e.time_limit,
        )

    return evaluator


def make_evaluator(config: SearchConfig) -> Evaluator:
    """The population trainer on the configured task.

    Raises:
        UserError: There is no such task.
    """
    return make_laboratory(config)(search_bench(config))


def search_bench(config: SearchConfig) -> Bench:
    """Where the candidates of a search are trained."""
    e = config.evaluation
    return Bench(task=e.task, steps=e.steps, batch_size=e.batch_size, schedule=e.schedule)
