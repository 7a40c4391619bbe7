"""A recurrent network that predicts the next byte of English text."""

from __future__ import annotations

from torch import Tensor, nn

from ..datasets import DOCUMENTATION
from .kinds import ByteLanguage
from .layers import GRU


class RecurrentModel(nn.Module):
    """Embedding, gated recurrent unit, linear layer; every window starts with an empty state."""

    def __init__(self, embedding: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, embedding)
        self.recurrent = GRU(embedding, width)
        self.head = nn.Linear(width, 256)

    def forward(self, tokens: Tensor) -> Tensor:
        """From tokens ``[batch, context]`` to logits ``[batch, context, 256]``."""
        return self.head(self.recurrent(self.embedding(tokens)))


class BytesGRU(ByteLanguage):
    """Gated recurrent unit of width 128 on windows of 64 bytes of CPython's documentation."""

    name = "bytes_gru"
    level = 2
    summary = "recurrent network (GRU) of width 128 on the bytes of CPython's documentation"
    dataset = DOCUMENTATION
    batch_size = 32
    steps = 1500
    context = 64

    def build(self) -> nn.Module:
        return RecurrentModel(embedding=32, width=128)
