"""MNIST with a perceptron."""

from __future__ import annotations

from torch import nn

from ..datasets import MNIST5K
from .kinds import Classification


class MnistMLP(Classification):
    """784-128-10 perceptron with ReLU: 4000 digits to train on, 1000 to validate."""

    name = "mnist_mlp"
    level = 1
    summary = "perceptron 784-128-10 on 4000 digits of MNIST"
    dataset = MNIST5K
    batch_size = 64
    steps = 1000
    train_size = 4000

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
