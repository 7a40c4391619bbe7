"""One parameter in the tables of a launch. Generated optimizers carry the text of what stands below."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor


def _part(x: Any, p: Any) -> Tensor:  # pyright: ignore[reportUnusedFunction]
    """As in the generated file: what this process holds of a DTensor."""
    raise NotImplementedError


# --- carried by generated files from here on

Pairs = list[tuple[Tensor, dict[str, Any]]]
"""Parameters and their groups."""


class Row:
    """One parameter of a launch: what its row in the tables was made from."""

    def __init__(self, p: Any, group: dict[str, Any], state: dict[str, Any], buffers: tuple[str, ...]) -> None:
        self.p, self.group, self.state = p, group, state
        self.target = _part(p, p)
        self.address, self.size = self.target.data_ptr(), self.target.numel()
        self.step: Tensor = state["step"]
        self.buffers = [_part(state[name], p).data_ptr() for name in buffers]
        self.values = [*state.values()]
        grad = _part(p.grad, p)
        summed = self.target is not p and p.grad.placements != p.placements  # then it is no part of p.grad
        fits = grad.dtype == p.dtype and grad.is_contiguous() and not summed
        self.copied = None if fits else torch.empty_like(self.target).copy_(grad)
        self.t, self.version = 0.0, 0  # the step and the version of its tensor when the row was made
        self.grad = (grad if self.copied is None else self.copied).data_ptr()

    def count_with(self, step: Tensor) -> None:
        """Let another tensor of the same value be the step count."""
        self.step = self.state["step"] = step
        self.values = [*self.state.values()]
        self.version = step._version

    def addresses(self) -> list[int]:
        """Where parameter, gradient and buffers are."""
        return [self.address, self.grad, *self.buffers]

    def parameter(self, dtype: torch.dtype) -> Tensor:
        """Its value, with what rounding has left."""
        value = self.target.to(dtype)
        return value + _part(self.state["_rest"], self.p) if "_rest" in self.state else value

    def incoming(self, dtype: torch.dtype) -> Tensor:
        """Its gradient as it comes."""
        return (_part(self.p.grad, self.p) if self.copied is None else self.copied).to(dtype)

    def also(self, name: str) -> int:
        """The address of another entry of the state; 0 if there is none."""
        return _part(self.state[name], self.p).data_ptr() if name in self.state else 0

    def gradient(self) -> int:
        """The address of the gradient if all else is where it was, else -1."""
        p, state = self.p, self.state
        target, grad = p, p.grad
        if grad is None or self.copied is not None or not same(state, self.values):
            return -1
        if self.target is not p:  # a DTensor
            if grad.placements != p.placements:
                return -1
            target, grad = _part(p, p), _part(grad, p)
        if (
            target.data_ptr() != self.address
            or target.numel() != self.size
            or not target.is_contiguous()
            or grad.dtype is not p.dtype
            or not grad.is_contiguous()
        ):
            return -1
        return grad.data_ptr()


def same(found: dict[Any, Any], values: list[Any]) -> bool:
    """Whether a dict still holds these very objects and no others."""
    return len(found) == len(values) and all(map(operator.is_, found.values(), values))
