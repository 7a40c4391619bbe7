"""A transformer that classifies images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...task import Drawn, uniform_
from .attention import Block


class VisionTransformer(Drawn):
    """Vision transformer (Dosovitskiy et al. 2021, arXiv:2010.11929); it reads out the mean over patches.

    Args:
        side: Height and width of the image in pixels.
        patch: The same of a patch.
        width: Features per patch.
        heads: Attention heads.
        layers: Blocks.
        classes: Classes.
    """

    def __init__(self, *, side: int, patch: int, width: int, heads: int, layers: int, classes: int = 10) -> None:
        super().__init__()
        self.patches, self.patch = side // patch, patch
        self.embedding = nn.Linear(patch * patch, width)
        self.position = nn.Parameter(torch.zeros(self.patches**2, width))
        self.blocks = nn.ModuleList([Block(width, heads, causal=False) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def initialize(self, generator: torch.Generator) -> None:
        """Positions are U(-0.05, 0.05)."""
        uniform_(self.position, 0.05, generator)

    def forward(self, images: Tensor) -> Tensor:
        """From images ``[batch, side * side]`` to logits ``[batch, classes]``."""
        grid = images.reshape(-1, self.patches, self.patch, self.patches, self.patch).transpose(2, 3)
        x = self.embedding(grid.reshape(-1, self.patches**2, self.patch**2)) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))
