"""A table of hashed byte sequences: most rows have no gradient in most steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..datasets import DOCUMENTATION
from ..task import Batch
from .kinds import ByteLanguage

ORDERS = 5
ROWS = 4096
MULTIPLIER, MODULUS = 1_000_003, 2**31 - 1
"""Primes of the polynomial hash; sequences that it sends to the same row share that row."""


class NgramModel(nn.Module):
    """Sum of the embeddings of the last 1, 2, ... bytes, then a perceptron, as in fastText (Joulin et al. 2017)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(ORDERS * ROWS, width)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(width, 256))

    def forward(self, rows: Tensor) -> Tensor:
        """From rows of the table ``[batch, 1, orders]`` to logits ``[batch, 1, 256]``."""
        return self.head(self.table(rows).sum(dim=-2))


class NgramEmbedding(ByteLanguage):
    """Predicts a byte of CPython's documentation from hashes of the last 1 to 5 bytes; 20,480 rows of width 16."""

    name = "ngram_embedding"
    level = 1
    summary = "table of 20,480 hashed byte sequences, hit sparsely, on CPython's documentation"
    dataset = DOCUMENTATION
    batch_size = 128
    steps = 1000
    context = ORDERS

    def build(self) -> nn.Module:
        return NgramModel(16)

    def batch(self, draw: Tensor) -> Batch:
        """Rows of the table ``[..., 1, orders]`` and the byte that follows ``[..., 1]``."""
        window = self._text[draw[..., None] + torch.arange(ORDERS + 1, device=self.device)].long()
        rows: list[Tensor] = []
        code = torch.zeros_like(window[..., 0])
        for order in range(ORDERS):
            code = (code * MULTIPLIER + window[..., ORDERS - 1 - order] + 1) % MODULUS
            rows.append(code % ROWS + order * ROWS)
        return torch.stack(rows, dim=-1)[..., None, :], window[..., -1:]

    def validation(self) -> Batch:
        """1024 places spread evenly over the last tenth of the text."""
        last = len(self._text) - ORDERS - 2
        return self.batch(torch.linspace(self._split, last, 1024, device=self.device).long())
