"""Handwritten digits of 8 x 8 pixels."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, package_file


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``[1797, 64]`` in [0, 1] and labels ``[1797]``, in a fixed shuffled order."""
    table = np.loadtxt(io.BytesIO(content), delimiter=",")
    order = np.random.Generator(np.random.PCG64(1797)).permutation(len(table))
    images, labels = table[order, :-1], table[order, -1]
    return images.astype(np.float32) / np.float32(16), labels.astype(np.int64)


DIGITS = Dataset(
    name="digits",
    summary="1797 handwritten digits, 8x8 pixels (Alpaydin and Kaynak 1998)",
    origin="the package scikit-learn",
    licence="CC BY 4.0",
    size=264_712,
    sha256="6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
    read=lambda: package_file("sklearn", "datasets/data/digits.csv.gz", "scikit-learn"),
    parse=_parse,
)
