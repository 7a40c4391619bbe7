"""Weights & Biases: a run kept in the run directory, sent at once or later by ``wandb sync``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tracker import package


class WeightsBiases:
    """One run per run directory, which a resumed search goes on with.

    Args:
        directory: The run directory.
        config: The configuration, shown beside the run.
        online: Send everything at once; it asks for an account. Otherwise nothing leaves the machine.

    Raises:
        UserError: wandb is not installed.
    """

    def __init__(self, directory: Path, config: Mapping[str, Any], online: bool) -> None:
        wandb: Any = package("wandb", "wandb")
        name = directory.resolve().name
        self._run = wandb.init(
            project="evoptim",
            name=name,
            id=f"evoptim-{name}",
            resume="allow",
            dir=str(directory),
            config=dict(config),
            mode="online" if online else "offline",
        )

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """All numbers at one step."""
        self._run.log(dict(numbers), step=step)

    def finish(self) -> None:
        """End the session."""
        self._run.finish()
