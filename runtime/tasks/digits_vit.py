"""Handwritten digits with a small vision transformer."""

from __future__ import annotations

from torch import nn

from ..datasets import DIGITS
from .kinds import Classification
from .layers import VisionTransformer


class DigitsViT(Classification):
    """Two blocks of width 32 over sixteen 2x2 patches."""

    name = "digits_vit"
    level = 1
    summary = "two-layer vision transformer on 8x8 handwritten digits"
    dataset = DIGITS
    batch_size = 64
    steps = 500
    train_size = 1437

    def build(self) -> nn.Module:
        return VisionTransformer(side=8, patch=2, width=32, heads=2, layers=2)
