"""Regression: squared error and the share of the variance that is explained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ...perceptron import stacked_perceptron
from ...task import Batch, Metric, Stacked
from .supervised import Supervised


class Regression(Supervised):
    """Inputs and, last, a number each; the model gives ``[batch]``."""

    metric = Metric("R2", "higher")

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        *inputs, targets = batch
        return (model(*inputs) - targets).square().mean()

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return 1 - self.objective(model, batch) / batch[-1].var(correction=0)

    def stacked(self) -> Stacked | None:
        """For perceptrons, unless a subclass has a loss of its own."""
        common = type(self).objective is Regression.objective
        return stacked_perceptron(self._skeleton, _squared_error) if common else None

    def trivial_loss(self) -> float:
        """Of the mean of the training targets."""
        mean = self._tensors[-1][: self.train_size].double().mean()
        return (self.validation()[-1] - mean).square().mean().item()


def _squared_error(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses ``[replica]`` and gradient of outputs ``[replica, 1, batch]``, which are written over."""
    targets = batch[-1]
    outputs -= targets[:, None]
    return outputs.square().mean((1, 2)), outputs.mul_(2 / targets.shape[1])
