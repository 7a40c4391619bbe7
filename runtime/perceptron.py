"""Perceptrons differentiated by hand, many at once: two matrix products a layer and no tape.

On two cores and scikit-learn's digits a step of a replica takes half the time of ``vmap(grad_and_value(...))``, whose
small operations cost more than the products. Activations stand as ``[replica, feature, batch]``: then sums over
features, as in a cross-entropy, run along whole vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from .task import Batch, Params, Stacked

Head: TypeAlias = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]
"""From outputs ``[replica, feature, batch]`` to losses ``[replica]`` and the gradient of the outputs."""


ALIGNMENT = 16
"""Entries: 64 bytes of float32, where torch's allocations begin."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A function, and the gradient of its input from that of its output, its input and its output."""

    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor, Tensor], Tensor]


_aten = torch.ops.aten
_IDENTITY = Activation(lambda x: x, lambda g, x, y: g)
_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(torch.relu_, lambda g, x, y: _aten.threshold_backward(g, y, 0)),
    nn.Tanh: Activation(torch.tanh_, lambda g, x, y: _aten.tanh_backward(g, y)),
    nn.GELU: Activation(functional.gelu, lambda g, x, y: _aten.gelu_backward(g, x)),
}


@dataclass(frozen=True, slots=True)
class Layer:
    """Names of a linear layer's weight and bias, and what follows it."""

    weight: str
    bias: str | None
    activation: Activation = _IDENTITY


@dataclass(frozen=True, slots=True)
class StackedPerceptron:
    """Gradients and losses of perceptrons that stand side by side.

    Args:
        layers: From input to output.
        head: The loss; it may write over its argument.
    """

    layers: tuple[Layer, ...]
    head: Head

    def __call__(self, params: Params, batch: Batch) -> tuple[Params, Tensor]:
        """Stacked gradients by name, and losses ``[replica]``.

        Args:
            params: Parameters ``[replica, *shape]`` by name.
            batch: Inputs ``[replica, batch, feature]`` first, then what the head needs.
        """
        weights = [_aligned(params[layer.weight]) for layer in self.layers]
        outputs = [_aligned(batch[0]).transpose(1, 2)]
        inputs: list[Tensor] = []
        for layer, weight in zip(self.layers, weights, strict=True):
            product = _product(weight, outputs[-1])
            inputs.append(product if layer.bias is None else product.add_(params[layer.bias][..., None]))
            outputs.append(_aligned(layer.activation.forward(inputs[-1])))
        losses, gradient = self.head(outputs[-1], batch)
        gradients: Params = {}
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            gradient = _aligned(layer.activation.backward(gradient, inputs[i], outputs[i + 1]))
            gradients[layer.weight] = _product(gradient, outputs[i].transpose(1, 2))
            if layer.bias is not None:
                gradients[layer.bias] = gradient.sum(2)
            if i:
                gradient = _product(weights[i].transpose(1, 2), gradient)
        return gradients, losses


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The products of matrices ``[replica, m, k]`` and ``[replica, k, n]``, aligned.

    MKL rounds by how operands and results lie in memory, and so by how many replicas stand before one, unless they all
    lie alike.
    """
    rows, step = a.shape[1], ALIGNMENT // math.gcd(ALIGNMENT, b.shape[2])
    return torch.bmm(functional.pad(a, (0, 0, 0, -rows % step)), b)[:, :rows] if rows % step else torch.bmm(a, b)


def _aligned(x: Tensor) -> Tensor:
    """A stack in which every replica begins at a multiple of `ALIGNMENT` entries: itself, or a copy."""
    if x.stride(0) % ALIGNMENT == 0 and x.storage_offset() % ALIGNMENT == 0:
        return x
    size = math.prod(x.shape[1:])
    room = x.new_empty(len(x), size + -size % ALIGNMENT)
    return room[:, :size].view(x.shape).copy_(x)


def stacked_perceptron(module: nn.Module, head: Head) -> Stacked | None:
    """Gradients and losses of copies of a module with a loss; None where the module is no plain perceptron.

    Args:
        module: A linear layer, or linear layers and activations in ``nn.Sequential``, nested at will; an ``nn.Flatten``
            may come last.
        head: The loss; it may write over its argument.
    """
    layers: list[Layer] = []
    chain = list(_chain(module, ""))
    if type(chain[-1][1]) is nn.Flatten:
        chain.pop()
    for prefix, part in chain:
        known = _activation(part)
        if type(part) is nn.Linear:
            layers.append(Layer(f"{prefix}weight", None if part.bias is None else f"{prefix}bias"))
        elif layers and layers[-1].activation is _IDENTITY and known:
            layers[-1] = replace(layers[-1], activation=known)
        else:
            return None
    names = {n for layer in layers for n in (layer.weight, layer.bias) if n}
    whole = names == {n for n, _ in module.named_parameters()}  # not so where two layers are one
    linear = bool(layers) and layers[-1].activation is _IDENTITY
    return StackedPerceptron(tuple(layers), head) if whole and linear else None


def _chain(module: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    """The parts in their order, each with the prefix of its parameters' names."""
    if type(module) is nn.Sequential:
        for i, child in enumerate(module):
            yield from _chain(child, f"{prefix}{i}.")
    else:
        yield prefix, module


def _activation(module: nn.Module) -> Activation | None:
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return None
    return _ACTIVATIONS.get(type(module))
