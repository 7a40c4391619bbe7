"""Harder variants of any task, after the task augmentations of google/learned_optimization (arXiv:2211.09760).

A rule that is only good because of a task's scale, batch size or precision loses its lead on them. A variant wraps a
task and is a task; `evoptim.runtime.get_task` reads names such as ``digits_mlp+small_batch+low_precision``.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .task import Batch, Params, Stacked, Task


class Variant(Task):
    """A task that leaves everything to another one; subclasses change one thing.

    Args:
        task: The task to wrap.
    """

    suffix: ClassVar[str]
    effect: ClassVar[str]
    """What is changed, for people."""

    def __init__(self, task: Task) -> None:
        self.inner = task
        self.name = f"{task.name}+{self.suffix}"
        self.level, self.batch_size, self.steps, self.metric = task.level, task.batch_size, task.steps, task.metric
        self.delay, self.revision = task.delay, task.revision + 1  # 1: before `stacked` was the wrapped task's
        self.summary = f"{task.summary}; {self.effect}"
        super().__init__(task.device, task.dtype)

    def build(self) -> nn.Module:
        return self.inner.build()

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        self.inner.initialize(module, generator)

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return self.inner.objective(model, batch)

    def score(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        return self.inner.score(model, batch)

    def stacked(self) -> Stacked | None:
        """The wrapped task's, unless a subclass has a model or a loss of its own."""
        same = type(self).build is Variant.build and type(self).objective is Variant.objective
        return self.inner.stacked() if same else None

    def trivial_loss(self) -> float:
        return self.inner.trivial_loss()

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        return self.inner.draw(generator, steps, batch_size)

    def batch(self, draw: Tensor) -> Batch:
        return self.inner.batch(draw)

    def validation(self) -> Batch:
        return self.inner.validation()

    @property
    def source(self) -> str:
        return self.inner.source

    @property
    def licence(self) -> str:
        return self.inner.licence

    @property
    def data(self) -> bytes:
        return self.inner.data


class SmallBatch(Variant):
    """An eighth of the batch that is asked for: gradients with about eight times the noise's variance."""

    suffix = "small_batch"
    effect = "an eighth of the batch"
    share = 8

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        return self.inner.draw(generator, steps, max(1, batch_size // self.share))


class Stale(Variant):
    """Gradients come four steps late, as from workers that are behind: each is taken at the parameters of that time."""

    suffix = "stale"
    effect = "gradients four steps late"
    lag = 4

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.delay += self.lag


_PREFIX = "inner."
"""Of the names of a module's parameters in `Mapped`."""


class Mapped(nn.Module):
    """A module whose parameters go through a function before each use; what is trained are the ones before it."""

    def __init__(self, inner: nn.Module, function: Callable[[str, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.function = inner, function

    def forward(self, *inputs: Tensor) -> Tensor:
        mapped = {name: self.function(name, p) for name, p in self.inner.named_parameters()}
        return functional_call(self.inner, mapped, inputs)


class MappedVariant(Variant):
    """A variant that changes how parameters are used, by `function`."""

    @abstractmethod
    def function(self, name: str, parameter: Tensor) -> Tensor:
        """What the task uses in place of a parameter, or of parameters that are stacked."""

    @abstractmethod
    def pullback(self, name: str, gradient: Tensor) -> Tensor:
        """The gradient of a parameter from that of what is used in its place."""

    def stacked(self) -> Stacked | None:
        """The wrapped task's on what is used in place of the parameters, to the bit."""
        differentiate = self.inner.stacked()
        if differentiate is None:
            return None

        def mapped(params: Params, batch: Batch) -> tuple[Params, Tensor]:
            used = {n: self.function(n, params[_PREFIX + n]) for n in self.inner.shapes}
            gradients, losses = differentiate(used, batch)
            return {_PREFIX + n: self.pullback(n, g) for n, g in gradients.items()}, losses

        return mapped

    def build(self) -> nn.Module:
        return Mapped(self.inner.build(), self.function)

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        assert isinstance(module, Mapped)
        self.inner.initialize(module.inner, generator)


class LowPrecision(MappedVariant):
    """Parameters are rounded to bfloat16 before they are used, and so are their gradients on the way back."""

    suffix = "low_precision"
    effect = "parameters and gradients rounded to bfloat16"

    def function(self, name: str, parameter: Tensor) -> Tensor:
        return parameter.to(torch.bfloat16).to(parameter.dtype)

    def pullback(self, name: str, gradient: Tensor) -> Tensor:
        return gradient.to(torch.bfloat16).to(gradient.dtype)


UNITS = (1 / 8, 1 / 4, 1 / 2, 2.0, 4.0, 8.0)


class Reparametrized(MappedVariant):
    """Each tensor is stored in a unit of its own, a power of two from 1/8 to 8 that is not 1.

    At the start the model is the same, bit for bit; what is a good step now differs from tensor to tensor.
    """

    suffix = "reparametrized"
    effect = "each tensor stored in a unit of its own"

    def function(self, name: str, parameter: Tensor) -> Tensor:
        return parameter * _unit(name)

    def pullback(self, name: str, gradient: Tensor) -> Tensor:
        return gradient * _unit(name)

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        super().initialize(module, generator)
        assert isinstance(module, Mapped)
        for name, parameter in module.inner.named_parameters():
            parameter.div_(_unit(name))


def _unit(name: str) -> float:
    """A unit that depends on the tensor's name alone, so that it is the same in every process."""
    return UNITS[hashlib.sha256(name.encode()).digest()[0] % len(UNITS)]


VARIANTS: dict[str, Callable[[Task], Task]] = {v.suffix: v for v in (Reparametrized, SmallBatch, LowPrecision, Stale)}
"""Every variant by its suffix."""
