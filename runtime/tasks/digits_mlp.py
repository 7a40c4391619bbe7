"""Handwritten digits with a one-layer perceptron."""

from __future__ import annotations

from torch import nn

from ..datasets import DIGITS
from .kinds import Classification


class DigitsMLP(Classification):
    """64-32-10 perceptron with ReLU on scikit-learn's digits: 1437 to train on, 360 to validate."""

    name = "digits_mlp"
    level = 0
    summary = "perceptron 64-32-10 on 8x8 handwritten digits"
    dataset = DIGITS
    batch_size = 64
    steps = 200
    train_size = 1437

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
