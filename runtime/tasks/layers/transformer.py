"""A language model of bytes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...task import Drawn, uniform_
from .attention import Block

BASE_WIDTH = 32
"""At this width logits are used as they are; wider models scale them, so that they start out no larger."""


class Transformer(Drawn):
    """Byte-level language model; the input embedding is also the output layer."""

    def __init__(self, width: int = 32, heads: int = 2, layers: int = 1, context: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.scale = (BASE_WIDTH / width) ** 0.5

    def initialize(self, generator: torch.Generator) -> None:
        """Positions are U(-0.05, 0.05)."""
        uniform_(self.position, 0.05, generator)

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens ``[batch, context]`` to logits ``[batch, context, 256]``."""
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        return self.scale * (self.norm(x) @ self.embedding.weight.T)
