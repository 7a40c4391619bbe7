"""Handwritten digits pressed through eight numbers."""

from __future__ import annotations

from torch import nn

from ..datasets import DIGITS
from .kinds import Reconstruction


class DigitsAutoencoder(Reconstruction):
    """64-32-8-32-64 autoencoder with tanh."""

    name = "digits_autoencoder"
    level = 0
    summary = "autoencoder 64-32-8-32-64 of 8x8 handwritten digits"
    dataset = DIGITS
    batch_size = 64
    steps = 500
    train_size = 1437

    def build(self) -> nn.Module:
        encoder = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 8))
        return nn.Sequential(encoder, nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 64))
