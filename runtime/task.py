"""What a proxy task is."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy, deepcopy
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .datasets import Dataset

Batch: TypeAlias = tuple[Tensor, ...]
Params: TypeAlias = dict[str, Tensor]
Stacked: TypeAlias = Callable[[Params, Batch], tuple[Params, Tensor]]
"""From stacked parameters and a batch for each replica to the stacked gradients and the losses ``[replica]``."""


class Metric(NamedTuple):
    """What a validation metric is called, and in which direction it improves."""

    name: str
    better: Literal["higher", "lower"]


class Drawn(nn.Module, ABC):
    """A layer with parameters of its own that are set from a generator."""

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Set this layer's own parameters, not its children's, in place and in float32."""


class Task(ABC):
    """A small training problem: a model, data, a loss and a validation set.

    A task is defined once, by an ordinary ``nn.Module``. Training it the ordinary way uses the module as it is;
    the population trainer calls the same module with stacked parameters through ``torch.func``.

    Args:
        device: Where data and parameters live.
        dtype: Floating-point type of data and parameters.
    """

    name: str
    level: int
    """0 proxy, 1 ten times larger, 2 a hundred times, 3 sealed target: `evoptim.runtime.get_task` must be told."""
    summary: str
    dataset: ClassVar[Dataset[Any] | None] = None
    """The data; None where the task generates its own."""
    batch_size: int
    steps: int
    """Updates after which tuned AdamW has learned most of what it can."""
    revision: int = 1
    """Raised whenever a change of the task changes results."""
    delay: int = 0
    """The gradient of step t is taken where the parameters were at step t - delay; trainers see to it."""
    metric: Metric = Metric("loss", "lower")
    """What `score` measures."""

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        self.device = torch.device(device)
        self.dtype = dtype
        with torch.device("meta"):
            self._skeleton = self.build()

    @abstractmethod
    def build(self) -> nn.Module:
        """A fresh module with torch's own initialisation."""

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        """Set the module's parameters from the generator, in place and in float32.

        Linear layers as torch does, embeddings with standard deviation 0.1, `Drawn` layers in their own way; others,
        such as normalisations, stay as they were built.
        """
        for layer in module.modules():
            if isinstance(layer, nn.Linear):
                linear_(layer, generator)
            elif isinstance(layer, nn.Embedding):
                normal_(layer.weight, 0.1, generator)
            elif isinstance(layer, Drawn):
                layer.initialize(generator)

    @abstractmethod
    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """The loss of a model on a batch, a scalar."""

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        """The metric of a model on a batch, a scalar."""
        return self.objective(model, batch)

    def trivial_loss(self) -> float:
        """Validation loss of the best answer that ignores the input; where there is none, of seed 0's start."""
        return self.loss(self.init(0), self.validation()).item()

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
    def source(self) -> str:
        """What the data are and where they come from; a task that generates its own says how."""
        assert self.dataset is not None
        return self.dataset.source

    @property
    def licence(self) -> str:
        """Terms of use of the data; evoptim's own where it generates them."""
        return self.dataset.licence if self.dataset else "Apache 2.0"

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
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's own initialisation, which the next lines write over, draws too
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

    def stacked(self) -> Stacked | None:
        """A faster way to ``vmap(grad_and_value(task.loss))``, equal to it within rounding; None where there is none.

        What it gives for a replica depends on no other replica, to the bit.
        """
        return None

    def duplicate(self) -> Task:
        """The same task, for another thread: what a pure function is called with stands in the module meanwhile."""
        other = copy(self)
        other._skeleton = deepcopy(self._skeleton)
        return other

    def quality(self, params: Params) -> Tensor:
        """The validation metric as a pure function of the parameters."""
        return self.score(lambda *inputs: functional_call(self._skeleton, params, inputs), self.validation())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(device={self.device.type!r}, dtype={self.dtype})"


def _mix(seed: int) -> int:
    """Another seed, far from the first."""
    return int.from_bytes(hashlib.sha256(f"order {seed}".encode()).digest()[:8], "little") >> 1


def uniform_(tensor: Tensor, bound: float, generator: torch.Generator) -> None:
    """Fill with U(-bound, bound)."""
    tensor.copy_(torch.rand(tensor.shape, generator=generator) * (2 * bound) - bound)


def normal_(tensor: Tensor, deviation: float, generator: torch.Generator) -> None:
    """Fill with N(0, deviation^2)."""
    tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation)


def linear_(layer: nn.Linear, generator: torch.Generator) -> None:
    """torch's default initialisation of a linear layer, from an explicit generator: U(+-1/sqrt(fan in))."""
    bound = layer.in_features**-0.5
    uniform_(layer.weight, bound, generator)
    if layer.bias is not None:
        uniform_(layer.bias, bound, generator)
