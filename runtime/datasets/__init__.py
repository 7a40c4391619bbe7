"""The data of the proxy tasks, one file per source; a new one is a file and a row in `DATASETS`."""

from __future__ import annotations

from typing import Any

from .breast_cancer import BREAST_CANCER
from .dataset import Dataset
from .diamonds import DIAMONDS
from .digits import DIGITS
from .documentation import DOCUMENTATION
from .graph_atlas import GRAPH_ATLAS
from .mnist1d import MNIST1D
from .mnist5k import MNIST5K
from .standard_library import STANDARD_LIBRARY

DATASETS: dict[str, Dataset[Any]] = {
    d.name: d for d in (DIGITS, MNIST5K, MNIST1D, DOCUMENTATION, STANDARD_LIBRARY, DIAMONDS, BREAST_CANCER, GRAPH_ATLAS)
}

__all__ = [
    "BREAST_CANCER",
    "DATASETS",
    "DIAMONDS",
    "DIGITS",
    "DOCUMENTATION",
    "GRAPH_ATLAS",
    "MNIST1D",
    "MNIST5K",
    "STANDARD_LIBRARY",
    "Dataset",
]
