"""MNIST with a small convolutional network."""

from __future__ import annotations

from torch import nn

from ..datasets import MNIST5K
from .kinds import Classification
from .layers import Convolution, Halving


class MnistConv(Classification):
    """5x5 convolutions of 8 and 16 channels with ReLU and 2x2 means, and a linear layer, after LeCun et al. 1998."""

    name = "mnist_conv"
    level = 2
    summary = "convolutions 8-16 on 4000 digits of MNIST"
    dataset = MNIST5K
    batch_size = 64
    steps = 1000
    train_size = 4000
    validation_size = 250

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            *(Convolution(1, 8, kernel=5), nn.ReLU(), Halving()),
            *(Convolution(8, 16, kernel=5), nn.ReLU(), Halving()),
            nn.Flatten(),
            nn.Linear(16 * 7 * 7, 10),
        )
