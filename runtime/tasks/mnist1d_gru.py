"""MNIST-1D with a recurrent network."""

from __future__ import annotations

from torch import Tensor, nn

from ..datasets import MNIST1D
from .kinds import Classification
from .layers import GRU


class Reader(nn.Module):
    """Reads a curve point by point and classifies by the last state."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.recurrent = GRU(1, width)
        self.head = nn.Linear(width, 10)

    def forward(self, curves: Tensor) -> Tensor:
        """From ``[batch, time]`` to logits ``[batch, 10]``."""
        return self.head(self.recurrent(curves[..., None])[:, -1])


class Mnist1dGRU(Classification):
    """Gated recurrent unit of width 32 over 40 points."""

    name = "mnist1d_gru"
    level = 1
    summary = "recurrent network (GRU) of width 32 on MNIST-1D"
    dataset = MNIST1D
    batch_size = 64
    steps = 1000
    train_size = 4000

    def build(self) -> nn.Module:
        return Reader(32)
