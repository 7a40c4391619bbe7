"""The deep autoencoder, a classic test of optimizers."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from ..datasets import MNIST5K
from .kinds import Reconstruction


class MnistAutoencoder(Reconstruction):
    """784-256-64-16-64-256-784 autoencoder with tanh, after Hinton and Salakhutdinov 2006 (Science 313), smaller."""

    name = "mnist_autoencoder"
    level = 2
    summary = "autoencoder 784-256-64-16-64-256-784 of digits of MNIST"
    dataset = MNIST5K
    batch_size = 128
    steps = 2000
    train_size = 4000

    def build(self) -> nn.Module:
        sizes = (784, 256, 64, 16, 64, 256, 784)
        linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        return nn.Sequential(*(layer for each in linear[:-1] for layer in (each, nn.Tanh())), linear[-1])
