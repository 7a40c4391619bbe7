"""TensorBoard: event files in the run directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tracker import package


class TensorBoard:
    """Scalars below ``search/`` in ``DIRECTORY/tensorboard``.

    Raises:
        UserError: tensorboard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        writers: Any = package("torch.utils.tensorboard", "tensorboard", ["tensorboard"])
        self._writer = writers.SummaryWriter(str(directory / "tensorboard"))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A scalar each."""
        for name, value in numbers.items():
            self._writer.add_scalar(f"search/{name}", value, step)
        self._writer.flush()

    def finish(self) -> None:
        """Close the event file."""
        self._writer.close()
