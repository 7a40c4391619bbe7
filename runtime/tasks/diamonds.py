"""Prices of diamonds by a perceptron."""

from __future__ import annotations

from torch import nn

from ..datasets import DIAMONDS
from .kinds import Regression


class Diamonds(Regression):
    """9-64-64-1 perceptron with GELU on the logarithm of the price: 50,000 diamonds to train on, 2000 to validate."""

    name = "diamonds"
    level = 1
    summary = "perceptron 9-64-64-1 for the price of diamonds"
    dataset = DIAMONDS
    batch_size = 128
    steps = 2000
    train_size = 50_000
    validation_size = 2000

    def build(self) -> nn.Module:
        hidden = nn.Sequential(nn.Linear(9, 64), nn.GELU(), nn.Linear(64, 64), nn.GELU())
        return nn.Sequential(hidden, nn.Linear(64, 1), nn.Flatten(0))
