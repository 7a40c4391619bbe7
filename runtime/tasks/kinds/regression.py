"""Regression: squared error and the share of the variance that is explained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...task import Batch, Metric
from .supervised import Supervised


class Regression(Supervised):
    """Inputs and, last, a number each; the model gives ``[batch]``."""

    metric = Metric("R2", "higher")

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        *inputs, targets = batch
        return (model(*inputs) - targets).square().mean()

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return 1 - self.objective(model, batch) / batch[-1].var(correction=0)

    def trivial_loss(self) -> float:
        """Of the mean of the training targets."""
        mean = self._tensors[-1][: self.train_size].double().mean()
        return (self.validation()[-1] - mean).square().mean().item()
