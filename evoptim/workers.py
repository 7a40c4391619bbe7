"""Who trains for a search: the driver itself, processes of this machine, or Ray actors.

``python -m evoptim.workers`` is what a process runs.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from evoptim.runtime.memory import SHARE, available_memory
from evoptim.search import Bench, Evaluator, Laboratory, SearchConfig, make_config
from evoptim.search.sections import Workers
from evoptim.search.workers import Crew, PoisonList, Processes, RayActors, WorkerEvaluator, Workforce, serve

from .wiring import make_laboratory

COMMAND = (sys.executable, "-m", "evoptim.workers")
"""Starts a worker process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """Who trains, where it is not as the configuration has it.

    Args:
        processes: How many workers, in place of ``workers.processes``.
        ray: The address of a Ray cluster, or ``"local"``, for workers that are its actors.
    """

    processes: int | None = None
    ray: str | None = None


@contextmanager
def working(config: SearchConfig, poison: PoisonList, staff: Staff) -> Generator[Laboratory]:
    """The laboratory of a search; workers that it has end with the context.

    Args:
        config: The search's configuration.
        poison: The programs that workers do not survive.
        staff: Who trains.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    size = config.workers.processes if staff.processes is None else staff.processes
    local = make_laboratory(config)
    if not size and staff.ray is None:
        yield local
        return
    crew = Processes(COMMAND, size) if staff.ray is None else _actors(config.workers, staff.ray, size or None)
    with Workforce(crew, config.workers.lease_seconds, config.workers.retries, poison) as force:
        yield lambda bench: WorkerEvaluator(force, job_text(config, bench, crew.size), local(bench).version)


def _actors(workers: Workers, address: str, size: int | None) -> Crew:
    return RayActors(make_evaluator, address, size, cpus=workers.cores, gpus=workers.gpus)


def job_text(config: SearchConfig, bench: Bench, workers: int) -> str:
    """A bench of a search, and how many workers may share a machine's memory, as JSON."""
    document = {
        "config": json.loads(config.model_dump_json()),
        "bench": dataclasses.asdict(bench),
        "workers": workers,
    }
    return json.dumps(document, sort_keys=True)


def make_evaluator(job: str) -> Evaluator:
    """The evaluator of a job, with its share of the machine's memory where the configuration sets no limit.

    Raises:
        UserError: There is no such task here.
    """
    document = json.loads(job)
    config = make_config(document["config"], "the driver's configuration")
    return make_laboratory(_sharing(config, document["workers"]))(Bench(**document["bench"]))


def _sharing(config: SearchConfig, workers: int) -> SearchConfig:
    e = config.evaluation
    if e.memory is not None:
        return config
    share = SHARE * available_memory(torch.device(e.device)) / workers
    evaluation = e.model_copy(update={"memory": max(1, int(share) >> 20)})
    return config.model_copy(update={"evaluation": evaluation})


if __name__ == "__main__":
    serve(make_evaluator)
