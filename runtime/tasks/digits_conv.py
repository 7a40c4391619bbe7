"""Handwritten digits with a small convolutional network."""

from __future__ import annotations

from torch import nn

from ..datasets import DIGITS
from .kinds import Classification
from .layers import Convolution, Halving


class DigitsConv(Classification):
    """Two 3x3 convolutions of 8 and 16 channels, each followed by ReLU and 2x2 means, and a linear layer."""

    name = "digits_conv"
    level = 0
    summary = "convolutions 8-16 on 8x8 handwritten digits"
    dataset = DIGITS
    batch_size = 64
    steps = 500
    train_size = 1437

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            *(Convolution(1, 8, kernel=3), nn.ReLU(), Halving()),
            *(Convolution(8, 16, kernel=3), nn.ReLU(), Halving()),
            nn.Flatten(),
            nn.Linear(16 * 2 * 2, 10),
        )
