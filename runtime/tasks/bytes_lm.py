"""A small transformer that predicts the next byte of English text."""

from __future__ import annotations

from torch import nn

from ..datasets import DOCUMENTATION
from .kinds import ByteLanguage
from .layers import Transformer


class BytesLM(ByteLanguage):
    """One-layer transformer of width 32 on windows of 32 bytes of CPython's documentation."""

    name = "bytes_lm"
    level = 0
    summary = "one-layer transformer on the bytes of CPython's documentation"
    dataset = DOCUMENTATION
    batch_size = 16
    steps = 500
    context = 32

    def build(self) -> nn.Module:
        return Transformer(context=self.context)
