"""A deep linear network: plateaus and sudden drops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..task import Batch, Task, normal_

WIDTH = 16
DEPTH = 4


def _teacher() -> NDArray[np.float64]:
    """A map with singular values 2 ... 0.2, evenly spaced in the logarithm, and random directions of a fixed seed."""
    rng = np.random.Generator(np.random.PCG64(20131220))
    left, right = (np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] for _ in range(2))
    return (left * np.geomspace(2.0, 0.2, WIDTH)) @ right


class DeepLinear(Task):
    """Four linear layers of width 16 learn a linear map from white inputs (Saxe et al. 2014, arXiv:1312.6120).

    The small start is near a saddle; the map's directions are learned one after another, strong ones first.
    """

    name = "deep_linear"
    level = 0
    summary = "four linear layers of width 16 that learn a linear map"
    batch_size = 32
    steps = 500

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        self._map = torch.from_numpy(_teacher()).to(self.device, dtype)

    def build(self) -> nn.Module:
        return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)))

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        for weight in module.parameters():
            normal_(weight, 0.5 * WIDTH**-0.5, generator)

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """Half the squared error per output."""
        inputs, targets = batch
        return 0.5 * (model(inputs) - targets).square().mean()

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """White inputs ``[steps, batch, 16]``."""
        return torch.randn((steps, batch_size, WIDTH), generator=generator, dtype=torch.float64).to(self.dtype)

    def batch(self, draw: Tensor) -> Batch:
        return draw, draw @ self._map

    def validation(self) -> Batch:
        """The 16 directions, scaled to white noise's covariance: the expected loss, exactly."""
        return self.batch(WIDTH**0.5 * torch.eye(WIDTH, device=self.device, dtype=self.dtype))

    def trivial_loss(self) -> float:
        """Of zero."""
        return 0.5 * self.validation()[1].square().mean().item()

    @property
    def source(self) -> str:
        return "generated: deep linear network of Saxe et al. 2014 (arXiv:1312.6120)"

    @property
    def data(self) -> bytes:
        return np.round(_teacher(), 9).tobytes()
