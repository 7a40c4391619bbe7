"""Convolution as one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...task import Drawn, uniform_


class Convolution(Drawn):
    """Convolution with zeros around it, so that height and width stay: patches times one matrix.

    Stacked over replicas this is one batched matrix product; torch's convolution would become a grouped one, which is
    slow on GPUs.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.zeros(outputs, inputs * kernel * kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def initialize(self, generator: torch.Generator) -> None:
        """torch's default for convolutions: U(+-1/sqrt(fan in))."""
        bound = self.weight.shape[1] ** -0.5
        uniform_(self.weight, bound, generator)
        uniform_(self.bias, bound, generator)

    def forward(self, x: Tensor) -> Tensor:
        """From ``[batch, inputs, height, width]`` to ``[batch, outputs, height, width]``."""
        batch, _, height, width = x.shape
        columns = functional.unfold(x, self.kernel, padding=self.kernel // 2)
        rows = columns.transpose(1, 2).reshape(batch * height * width, -1)
        out = rows @ self.weight.T + self.bias
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


class Halving(nn.Module):
    """Means of 2 x 2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``[batch, channels, height, width]`` to half the height and width."""
        batch, channels, height, width = x.shape
        return x.reshape(batch, channels, height // 2, 2, width // 2, 2).mean(dim=(3, 5))
