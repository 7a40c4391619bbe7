"""Breast tumours by thirty measures of their cells' nuclei."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, package_file


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Standardised features ``[569, 30]`` and labels ``[569]`` (0 malignant, 1 benign), in a fixed shuffled order."""
    table = np.loadtxt(io.BytesIO(content), delimiter=",", skiprows=1)
    features = (table[:, :-1] - table[:, :-1].mean(axis=0)) / table[:, :-1].std(axis=0)
    order = np.random.Generator(np.random.PCG64(569)).permutation(len(table))
    return features[order].astype(np.float32), table[order, -1].astype(np.int64)


BREAST_CANCER = Dataset(
    name="breast_cancer",
    summary="569 breast tumours, 30 features (Wolberg, Street and Mangasarian 1995)",
    origin="the package scikit-learn",
    licence="CC BY 4.0",
    size=119_913,
    sha256="fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed",
    read=lambda: package_file("sklearn", "datasets/data/breast_cancer.csv", "scikit-learn"),
    parse=_parse,
)
