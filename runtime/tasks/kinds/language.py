"""Predicting the next byte of a text."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from ...task import Batch, Metric, Task


class ByteLanguage(Task):
    """Windows of a text; the model gives logits ``[batch, context, 256]``. The last tenth of the text validates."""

    metric = Metric("bits per byte", "lower")
    context: ClassVar[int]

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        self._text = torch.frombuffer(bytearray(self.data), dtype=torch.uint8).to(self.device)
        self._split = len(self._text) * 9 // 10

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return self.objective(model, batch) / math.log(2)

    def trivial_loss(self) -> float:
        """Of the frequencies of bytes in the training text, each counted once more."""
        counts = torch.bincount(self._text[: self._split].int(), minlength=256) + 1
        return -(counts.double() / counts.sum()).log()[self.validation()[1]].mean().item()

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """Where the windows begin."""
        return torch.randint(self._split - self.context - 1, (steps, batch_size), generator=generator)

    def batch(self, draw: Tensor) -> Batch:
        window = self._text[draw[..., None] + torch.arange(self.context + 1, device=self.device)].long()
        return window[..., :-1], window[..., 1:]

    def validation(self) -> Batch:
        """64 windows spread evenly over the last tenth of the text."""
        last = len(self._text) - self.context - 2
        return self.batch(torch.linspace(self._split, last, 64, device=self.device).long())

    @property
    def data(self) -> bytes:
        assert self.dataset is not None
        return self.dataset.load()
