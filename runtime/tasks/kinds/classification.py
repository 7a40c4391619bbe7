"""Classification: cross-entropy and accuracy."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ...perceptron import stacked_perceptron
from ...task import Batch, Metric, Stacked
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

    def stacked(self) -> Stacked | None:
        """For perceptrons, unless a subclass has a loss of its own."""
        common = type(self).objective is Classification.objective
        return stacked_perceptron(self._skeleton, _cross_entropy) if common else None

    def trivial_loss(self) -> float:
        """Of the frequencies of the classes among the training examples."""
        _, labels = self._tensors
        frequencies = torch.bincount(labels[: self.train_size]).double() / self.train_size
        return -frequencies.log()[self.validation()[1]].mean().item()


def _cross_entropy(logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses ``[replica]`` and gradient of logits ``[replica, class, batch]``, which are written over."""
    _, labels = batch
    place = labels[:, None]
    logits -= logits.amax(1, keepdim=True)
    chosen = logits.gather(1, place)
    shares = logits.exp_()
    total = shares.sum(1, keepdim=True)
    losses = (total.log() - chosen).mean((1, 2))
    shares /= total
    shares.scatter_add_(1, place, shares.new_full((), -1.0).expand(place.shape))
    return losses, shares.div_(labels.shape[1])
