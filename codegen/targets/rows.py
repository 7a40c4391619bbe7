"""One parameter in the tables of a launch. Generated optimizers carry the text of what stands below."""

from __future__ import annotations

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
        self.buffers: dict[str, Tensor] = {name: state[name] for name in buffers}
        grad = _part(p.grad, p)
        summed = self.target is not p and p.grad.placements != p.placements  # then it is no part of p.grad
        fits = grad.dtype == p.dtype and grad.is_contiguous() and not summed
        self.copied = None if fits else torch.empty_like(self.target).copy_(grad)
        self.t, self.version = 0.0, 0  # the step and the version of its tensor when the row was made
        self.grad = (grad if self.copied is None else self.copied).data_ptr()

    def addresses(self) -> list[int]:
        """Where parameter, gradient and buffers are."""
        return [self.address, self.grad, *(_part(x, self.p).data_ptr() for x in self.buffers.values())]

    def watch(self, name: str) -> int:
        """The address of another buffer, which must stay where it is, too; 0 if there is none."""
        if name not in self.state:
            return 0
        self.buffers[name] = self.state[name]
        return _part(self.state[name], self.p).data_ptr()

    def gradient(self, states: dict[Any, Any]) -> int:
        """The address of the gradient if all else is where it was, else -1."""
        p, state, grad = self.p, self.state, self.p.grad
        if self.copied is not None or grad is None or states.get(p) is not state or state["step"] is not self.step:
            return -1
        target = p
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
            or any(state[name] is not tensor for name, tensor in self.buffers.items())
        ):
            return -1
        return grad.data_ptr()
