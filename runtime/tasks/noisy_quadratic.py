"""A rotated, ill-conditioned quadratic with gradient noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..task import Batch, Task

SIDE = 10


def _problem() -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues 1 ... 1e-3, evenly spaced in the logarithm, and a random rotation with a fixed seed."""
    size = SIDE * SIDE
    eigenvalues = np.logspace(0, -3, size)
    gaussian = np.random.Generator(np.random.PCG64(20190709)).standard_normal((size, size))
    rotation, _ = np.linalg.qr(gaussian)
    return eigenvalues, rotation


class Quadratic(nn.Module):
    """x -> x'Hx / 2 + noise'x with x stored as a 10 x 10 matrix, so that matrix rules have rows and columns."""

    def __init__(self, hessian: Tensor) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(SIDE, SIDE))
        self.hessian: Tensor
        self.register_buffer("hessian", hessian)

    def forward(self, noise: Tensor) -> Tensor:
        x = self.x.flatten()
        product = (self.hessian * x).sum(dim=-1)  # unlike @, rounds the same however many replicas are stacked
        return 0.5 * x @ product + noise @ x


class NoisyQuadratic(Task):
    """The noisy quadratic model (Zhang et al. 2019, arXiv:1907.04164): gradient noise has covariance H / batch."""

    name = "noisy_quadratic"
    level = 0
    summary = "rotated quadratic in 100 dimensions, condition number 1000, with gradient noise"
    batch_size = 8
    steps = 500

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        eigenvalues, rotation = _problem()
        self._hessian = torch.from_numpy((rotation * eigenvalues) @ rotation.T).to(device, dtype)
        self._root = torch.from_numpy((rotation * np.sqrt(eigenvalues)) @ rotation.T).to(device, dtype)
        super().__init__(device, dtype)
        self._skeleton.hessian = self._hessian

    def build(self) -> nn.Module:
        return Quadratic(self._hessian)

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        assert isinstance(module, Quadratic)
        module.x.copy_(torch.randn(module.x.shape, generator=generator))

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return model(*batch)

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """White noise, already averaged over the batch."""
        noise = torch.randn((steps, SIDE * SIDE), generator=generator, dtype=torch.float64)
        return (noise / batch_size**0.5).to(self.dtype)

    def batch(self, draw: Tensor) -> Batch:
        return (draw @ self._root,)

    def validation(self) -> Batch:
        """No noise: the true loss."""
        return (torch.zeros(SIDE * SIDE, device=self.device, dtype=self.dtype),)

    @property
    def source(self) -> str:
        return "generated: noisy quadratic model of Zhang et al. 2019 (arXiv:1907.04164)"

    @property
    def data(self) -> bytes:
        eigenvalues, rotation = _problem()
        return np.round(eigenvalues, 9).tobytes() + np.round(rotation, 9).tobytes()
