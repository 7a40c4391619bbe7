"""MNIST with a vision transformer; a sealed target."""

from __future__ import annotations

from torch import nn

from ..datasets import MNIST5K
from .kinds import Classification
from .layers import VisionTransformer


class MnistViT(Classification):
    """Four blocks of width 64 over forty-nine 4x4 patches."""

    name = "mnist_vit"
    level = 3
    summary = "four-layer vision transformer on 4000 digits of MNIST"
    dataset = MNIST5K
    batch_size = 64
    steps = 1000
    train_size = 4000
    validation_size = 250

    def build(self) -> nn.Module:
        return VisionTransformer(side=28, patch=4, width=64, heads=4, layers=4)
