"""The proxy tasks, one file each; a new one is a file and a row in `TASKS`."""

from __future__ import annotations

import difflib

import torch

from evoptim.dsl import UserError

from ..task import Task
from .bytes_lm import BytesLM
from .digits_mlp import DigitsMLP
from .noisy_quadratic import NoisyQuadratic

TASKS: dict[str, type[Task]] = {t.name: t for t in (DigitsMLP, BytesLM, NoisyQuadratic)}


def get_task(name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> Task:
    """A task by name.

    Raises:
        UserError: There is no task of that name.
    """
    if name not in TASKS:
        close = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UserError(f"there is no task named {name!r}", f"{hint}the tasks are {', '.join(TASKS)}")
    return TASKS[name](device, dtype)
