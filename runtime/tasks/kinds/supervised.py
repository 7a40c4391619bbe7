"""Learning from a fixed set of examples."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...task import Batch, Task


class Supervised(Task):
    """Examples in a fixed order: the first are drawn from with replacement, the next ones validate."""

    train_size: ClassVar[int]
    validation_size: ClassVar[int | None] = None
    """How many examples validate; by default all that are not trained on."""

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        self._tensors = tuple(self._tensor(a) for a in self.examples())

    def examples(self) -> tuple[NDArray[Any], ...]:
        """The data: arrays of one length, floating-point or int64."""
        assert self.dataset is not None
        return self.dataset.load()

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        dtype = self.dtype if np.issubdtype(array.dtype, np.floating) else torch.int64
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device, dtype)

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """Indices of training examples, drawn with replacement."""
        return torch.randint(self.train_size, (steps, batch_size), generator=generator)

    def batch(self, draw: Tensor) -> Batch:
        return tuple(t[draw] for t in self._tensors)

    def validation(self) -> Batch:
        last = None if self.validation_size is None else self.train_size + self.validation_size
        return tuple(t[self.train_size : last] for t in self._tensors)

    @property
    def data(self) -> bytes:
        return b"".join(a.tobytes() for a in self.examples())
