"""Rosenbrock's valley, with gradient noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..task import Batch, Drawn, Task, normal_

SIDE = 4
START = 0.5
NOISE = 0.1


class Rosenbrock(Drawn):
    """The chained Rosenbrock function of 16 numbers, stored as a matrix so that matrix rules have rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(SIDE, SIDE))

    def initialize(self, generator: torch.Generator) -> None:
        """Around the origin, which lies on the floor of the valley, far from the minimum at (1, ..., 1)."""
        normal_(self.x, START, generator)

    def forward(self, noise: Tensor) -> Tensor:
        """The mean of ``100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2`` over i, and noise ``[16]`` times x."""
        x = self.x.flatten()
        valley = 100 * (x[1:] - x[:-1].square()).square() + (1 - x[:-1]).square()
        return valley.mean() + noise @ x


class NoisyRosenbrock(Task):
    """Rosenbrock 1960 (The Computer Journal 3), chained; the gradient has noise of deviation 0.1 / sqrt(batch)."""

    name = "rosenbrock"
    level = 0
    summary = "Rosenbrock's valley in 16 dimensions, with gradient noise"
    batch_size = 8
    steps = 1000

    def build(self) -> nn.Module:
        return Rosenbrock()

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return model(*batch)

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """The noise that is left of a batch's mean."""
        noise = torch.randn((steps, SIDE * SIDE), generator=generator, dtype=torch.float64)
        return (NOISE * noise / batch_size**0.5).to(self.dtype)

    def batch(self, draw: Tensor) -> Batch:
        return (draw,)

    def validation(self) -> Batch:
        """No noise: the true function."""
        return (torch.zeros(SIDE * SIDE, device=self.device, dtype=self.dtype),)

    @property
    def source(self) -> str:
        return "generated: Rosenbrock 1960 (The Computer Journal 3), chained, with white noise"

    @property
    def data(self) -> bytes:
        return repr((SIDE, START, NOISE)).encode()
