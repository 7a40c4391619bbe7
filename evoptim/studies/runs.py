"""Working on a run after its search: the archive, held meanwhile, and the bench that programs were judged on."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from evoptim.dsl import UserError
from evoptim.runtime import PopulationEvaluator, Task, get_task
from evoptim.search import Archive, stored_run
from evoptim.search.rundir import ARCHIVE, locked


@contextmanager
def opened(directory: Path | None) -> Generator[Archive | None]:
    """The archive of a run directory, which no other process may write to meanwhile; None without a directory.

    Raises:
        UserError: There is no run, it is damaged, or another process uses it.
    """
    if directory is None:
        yield None
        return
    if not (directory / ARCHIVE).is_file():
        raise UserError(f"{directory} holds no search", "give the directory that `evoptim search` printed")
    with locked(directory), Archive(directory / ARCHIVE, create=False) as archive:
        yield archive


def make_bench(
    archive: Archive | None, task: str | Task | None, steps: int | None, batch_size: int | None
) -> PopulationEvaluator:
    """What trains on a task, by default on the first one of the run, as it was searched on.

    Args:
        archive: The run's.
        task: A task or its name.
        steps: Updates per training; by default those of the search on its own task, else the task's.
        batch_size: Examples per update; by default in the same way.

    Raises:
        UserError: There is neither a run nor a task, or no such task.
    """
    searched = None if archive is None else stored_run(archive)[0].evaluation
    if task is None and searched is None:
        raise UserError("no task to train on", "say which, such as --task digits_mlp")
    name = task if task is not None or searched is None else searched.task
    assert name is not None
    problem = get_task(name) if isinstance(name, str) else name
    if searched is not None and problem.name == searched.task:
        steps, batch_size = steps or searched.steps, batch_size or searched.batch_size
        return PopulationEvaluator(problem, steps, batch_size, searched.schedule)
    return PopulationEvaluator(problem, steps or problem.steps, batch_size or problem.batch_size)
