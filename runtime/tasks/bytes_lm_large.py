"""A transformer of ten million parameters that predicts the next byte of Python programs; a sealed target."""

from __future__ import annotations

from torch import nn

from ..datasets import STANDARD_LIBRARY
from .kinds import ByteLanguage
from .layers import Transformer


class BytesLMLarge(ByteLanguage):
    """Six-layer transformer of width 384 on windows of 128 bytes of the standard library's source."""

    name = "bytes_lm_large"
    level = 3
    summary = "six-layer transformer on the source of Python's standard library"
    dataset = STANDARD_LIBRARY
    batch_size = 16
    steps = 2000
    context = 128

    def build(self) -> nn.Module:
        return Transformer(width=384, heads=6, layers=6, context=self.context)
