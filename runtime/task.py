"""What a proxy task is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

Batch: TypeAlias = tuple[Tensor, ...]
Params: TypeAlias = dict[str, Tensor]


class Task(ABC):
    """A small training problem: a model, data, a loss and a validation set.

    A task is defined once, by an ordinary ``nn.Module``. Training it the ordinary way uses the module as it is;
    the population trainer calls the same module with stacked parameters through ``torch.func``.

    Args:
        device: Where data and parameters live.
        dtype: Floating-point type of data and parameters.
    """

    name: ClassVar[str]
    level: ClassVar[int]
    """0 proxy, 1 ten times larger, 2 a hundred times, 3 held-out target."""
    summary: ClassVar[str]
    source: ClassVar[str]
    """Where the data come from, and their licence."""
    batch_size: ClassVar[int]

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        with torch.device("meta"):
            self._skeleton = self.build()

    @abstractmethod
    def build(self) -> nn.Module:
        """A fresh module with torch's own initialisation."""

    @abstractmethod
    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        """Set the module's parameters from the generator, in place and in float32."""

    @abstractmethod
    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """The loss of a model on a batch, a scalar."""

    @abstractmethod
    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """The data order of a run: ``[steps, ...]``, what `batch` needs to make each step's batch."""

    @abstractmethod
    def batch(self, draw: Tensor) -> Batch:
        """The batch for one step's draw; with leading axes, one batch per leading index."""

    @abstractmethod
    def validation(self) -> Batch:
        """The validation set as one batch."""

    @property
    @abstractmethod
    def data(self) -> bytes:
        """What the data hash is taken of."""

    @property
    def sha256(self) -> str:
        """The hash of the data in use, stored with every result."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters, in the order of the flat buffer."""
        return {n: tuple(p.shape) for n, p in self._skeleton.named_parameters()}

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(p.numel() for p in self._skeleton.parameters())

    def module(self, seed: int) -> nn.Module:
        """The initialised model of a seed, an ordinary ``nn.Module``."""
        generator = torch.Generator().manual_seed(seed)
        module = self.build()
        with torch.no_grad():
            self.initialize(module, generator)
        return module.to(device=self.device, dtype=self.dtype)

    def init(self, seed: int) -> Params:
        """The initial parameters of a seed, by name."""
        return {n: p.detach().clone() for n, p in self.module(seed).named_parameters()}

    def order(self, seed: int, steps: int, batch_size: int) -> Tensor:
        """The data order of a seed; independent of the initialisation's randomness."""
        generator = torch.Generator().manual_seed(_mix(seed))
        return self.draw(generator, steps, batch_size).to(self.device)

    def loss(self, params: Params, batch: Batch) -> Tensor:
        """The loss as a pure function of the parameters."""
        return self.objective(lambda *inputs: functional_call(self._skeleton, params, inputs), batch)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(device={self.device.type!r}, dtype={self.dtype})"


def _mix(seed: int) -> int:
    """Another seed, far from the first."""
    return int.from_bytes(hashlib.sha256(f"order {seed}".encode()).digest()[:8], "little") >> 1


def uniform_(tensor: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fill with U(-bound, bound)."""
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (2 * bound) - bound)


def linear_(layer: nn.Linear, generator: torch.Generator) -> None:
    """torch's default initialisation of a linear layer, from an explicit generator: U(+-1/sqrt(fan in))."""
    bound = layer.in_features**-0.5
    uniform_(layer.weight, bound, generator)
    if layer.bias is not None:
        uniform_(layer.bias, bound, generator)
