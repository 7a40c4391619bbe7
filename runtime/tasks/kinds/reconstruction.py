"""Reconstruction: cross-entropy per image and the squared error per pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ...perceptron import stacked_perceptron
from ...task import Batch, Metric, Stacked
from .supervised import Supervised


class Reconstruction(Supervised):
    """Images ``[batch, pixels]`` in [0, 1] that the model gives again, as logits.

    The loss is the cross-entropy of pixels, as in Hinton and Salakhutdinov 2006 (Science 313), here their mean.
    """

    metric = Metric("squared error", "lower")

    def examples(self) -> tuple[NDArray[Any], ...]:
        """The images alone."""
        return super().examples()[:1]

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        (images,) = batch
        return functional.binary_cross_entropy_with_logits(model(images), images)

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        (images,) = batch
        return (torch.sigmoid(model(images)) - images).square().mean()

    def stacked(self) -> Stacked | None:
        """For perceptrons, unless a subclass has a loss of its own."""
        common = type(self).objective is Reconstruction.objective
        return stacked_perceptron(self._skeleton, _cross_entropy) if common else None

    def trivial_loss(self) -> float:
        """Of the mean training image."""
        mean = self._tensors[0][: self.train_size].mean(dim=0).clamp(1e-6, 1 - 1e-6)
        (images,) = self.validation()
        return functional.binary_cross_entropy(mean.expand_as(images), images).item()


def _cross_entropy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses ``[replica]`` and gradient of logits ``[replica, pixel, batch]``, which are written over."""
    images = batch[0].transpose(1, 2)
    losses = (-functional.logsigmoid(-logits) - logits * images).mean((1, 2))
    return losses, logits.sigmoid_().sub_(images).div_(images.shape[1] * images.shape[2])
