"""A transformer of middling size that predicts the next byte of English text."""

from __future__ import annotations

from torch import nn

from ..datasets import DOCUMENTATION
from .kinds import ByteLanguage
from .layers import Transformer


class BytesLMMedium(ByteLanguage):
    """Four-layer transformer of width 128 on windows of 64 bytes of CPython's documentation."""

    name = "bytes_lm_medium"
    level = 2
    summary = "four-layer transformer on the bytes of CPython's documentation"
    dataset = DOCUMENTATION
    batch_size = 16
    steps = 1000
    context = 64

    def build(self) -> nn.Module:
        return Transformer(width=128, heads=4, layers=4, context=self.context)
