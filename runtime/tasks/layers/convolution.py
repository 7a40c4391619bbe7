"""Convolution as one matrix product."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...task import Drawn, uniform_


class _Patches(torch.autograd.Function):
    """Windows around the pixels of images ``[batch, channels, height, width]`` with zeros around them.

    ``[batch, height * width, channels * kernel * kernel]``, the numbers of ``torch.nn.functional.unfold``: that takes a
    launch for every image on GPUs, and the gradient of ``Tensor.unfold`` one for every replica.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, kernel: int) -> Tensor:
        batch, channels, height, width = x.shape
        around = functional.pad(x, (kernel // 2,) * 4)
        windows = around.unfold(2, kernel, 1).unfold(3, kernel, 1).permute(0, 2, 3, 1, 4, 5)
        return windows.reshape(batch, height * width, channels * kernel * kernel)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        x, ctx.kernel = inputs
        ctx.size = tuple(x.shape[2:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        columns = gradients[0].transpose(1, 2)
        return functional.fold(columns, ctx.size, ctx.kernel, padding=ctx.kernel // 2), None


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
        rows: Tensor = _Patches.apply(x, self.kernel).flatten(0, 1)
        out = rows @ self.weight.T + self.bias
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


class Halving(nn.Module):
    """Means of 2 x 2 pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """From ``[batch, channels, height, width]`` to half the height and width."""
        batch, channels, height, width = x.shape
        return x.reshape(batch, channels, height // 2, 2, width // 2, 2).mean(dim=(3, 5))
