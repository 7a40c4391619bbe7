"""Handwritten digits with a one-layer perceptron."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..task import Batch, Task, linear_


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 images of 8 x 8 pixels in [0, 1] and their labels, in a fixed shuffled order."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]  # slow to import

    images, labels = load_digits(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(1797)).permutation(len(labels))
    return images[order].astype(np.float32) / 16, labels[order].astype(np.int64)


class DigitsMLP(Task):
    """64-32-10 perceptron with ReLU on scikit-learn's digits: 1437 to train on, 360 to validate."""

    name = "digits_mlp"
    level = 0
    summary = "perceptron 64-32-10 on 8x8 handwritten digits"
    source = "scikit-learn's copy of the UCI optical digits (CC BY 4.0)"
    batch_size = 64
    train_size = 1437

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        images, labels = _digits()
        self._images = torch.from_numpy(images).to(self.device, self.dtype)
        self._labels = torch.from_numpy(labels).to(self.device)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        for layer in module.children():
            if isinstance(layer, nn.Linear):
                linear_(layer, generator)

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        images, labels = batch
        return functional.cross_entropy(model(images), labels)

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """Indices of training images, drawn with replacement."""
        return torch.randint(self.train_size, (steps, batch_size), generator=generator)

    def batch(self, draw: Tensor) -> Batch:
        return self._images[draw], self._labels[draw]

    def validation(self) -> Batch:
        return self._images[self.train_size :], self._labels[self.train_size :]

    @property
    def data(self) -> bytes:
        images, labels = _digits()
        return images.tobytes() + labels.tobytes()
