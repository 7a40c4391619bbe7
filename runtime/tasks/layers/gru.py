"""A gated recurrent unit, unrolled."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRU(nn.Module):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) in the form of ``torch.nn.GRU``: a loop of cells."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.inputs = nn.Linear(inputs, 3 * width)
        self.state = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        """From ``[batch, time, inputs]`` to the states ``[batch, time, width]``; the first state is zero."""
        h = x.new_zeros(x.shape[0], self.width)
        states: list[Tensor] = []
        for step in self.inputs(x).unbind(1):
            reset, update, new = step.chunk(3, dim=-1)
            reset_h, update_h, new_h = self.state(h).chunk(3, dim=-1)
            z = torch.sigmoid(update + update_h)
            n = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
            h = (1 - z) * n + z * h
            states.append(h)
        return torch.stack(states, dim=1)
