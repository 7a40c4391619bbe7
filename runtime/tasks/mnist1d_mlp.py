"""MNIST-1D with a perceptron."""

from __future__ import annotations

from torch import nn

from ..datasets import MNIST1D
from .kinds import Classification


class Mnist1dMLP(Classification):
    """40-64-64-10 perceptron with ReLU: 4000 curves to train on, 1000 to validate."""

    name = "mnist1d_mlp"
    level = 0
    summary = "perceptron 40-64-64-10 on MNIST-1D"
    dataset = MNIST1D
    batch_size = 64
    steps = 1000
    train_size = 4000

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(40, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
