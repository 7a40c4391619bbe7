"""Classification: cross-entropy and accuracy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...task import Batch, Metric
from .supervised import Supervised


class Classification(Supervised):
    """Inputs with a class each; the model gives logits ``[batch, classes]``."""

    metric = Metric("accuracy", "higher")

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        inputs, labels = batch
        return functional.cross_entropy(model(inputs), labels)

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        inputs, labels = batch
        return (model(inputs).argmax(dim=-1) == labels).to(self.dtype).mean()

    def trivial_loss(self) -> float:
        """Of the frequencies of the classes among the training examples."""
        _, labels = self._tensors
        frequencies = torch.bincount(labels[: self.train_size]).double() / self.train_size
        return -frequencies.log()[self.validation()[1]].mean().item()
