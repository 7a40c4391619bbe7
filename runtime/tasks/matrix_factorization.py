"""A matrix from some of its entries."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..task import Drawn, normal_
from .kinds import Regression

ROWS, COLUMNS, RANK = 64, 48, 4


@cache
def _entries() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Rows, columns and values of all entries, shuffled, of a matrix of rank 4 with singular values 4:3:2:1."""
    rng = np.random.Generator(np.random.PCG64(20090801))
    left, right = rng.standard_normal((ROWS, RANK)), rng.standard_normal((RANK, COLUMNS))
    matrix = (left * np.arange(RANK, 0, -1)) @ right
    order = rng.permutation(matrix.size)
    values = np.round(matrix.ravel() / matrix.std(), 6).astype(np.float32)
    return order // COLUMNS, order % COLUMNS, values[order]


class Factors(Drawn):
    """Entry (i, j) is the product of row i of one matrix with row j of another."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Parameter(torch.zeros(ROWS, RANK))
        self.right = nn.Parameter(torch.zeros(COLUMNS, RANK))

    def initialize(self, generator: torch.Generator) -> None:
        """N(0, 0.01): near the saddle at zero."""
        normal_(self.left, 0.1, generator)
        normal_(self.right, 0.1, generator)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """From indices ``[batch]`` to entries ``[batch]``."""
        return (self.left[rows] * self.right[columns]).sum(dim=-1)


class MatrixFactorization(Regression):
    """Matrix completion (Koren et al. 2009, Computer 42): 1536 of 3072 entries to train on, 768 others to validate."""

    name = "matrix_factorization"
    level = 0
    summary = "a 64x48 matrix of rank 4 from half its entries"
    batch_size = 64
    steps = 500
    train_size = 1536
    validation_size = 768

    def examples(self) -> tuple[NDArray[Any], ...]:
        return _entries()

    def build(self) -> nn.Module:
        return Factors()

    @property
    def source(self) -> str:
        return "generated: a random matrix of rank 4 (matrix completion, Koren et al. 2009, Computer 42)"
