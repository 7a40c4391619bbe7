"""Prices of cut diamonds."""

from __future__ import annotations

import csv

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, package_file

GRADES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": tuple("JIHGFED"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
"""The ordered categories, worst first."""
MEASURES = ("carat", "depth", "table", "x", "y", "z")


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Standardised features ``[53940, 9]`` and the standardised logarithm of the price, in a fixed shuffled order."""
    rows = list(csv.DictReader(content.decode().splitlines()))
    ranks = {name: {grade: rank for rank, grade in enumerate(grades)} for name, grades in GRADES.items()}
    columns = [[float(row[name]) for row in rows] for name in MEASURES]
    columns += [[float(ranks[name][row[name]]) for row in rows] for name in GRADES]
    table = np.array([*columns, np.log([float(row["price"]) for row in rows])]).T
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    table = table[np.random.Generator(np.random.PCG64(53940)).permutation(len(table))].astype(np.float32)
    return table[:, :-1], table[:, -1]


DIAMONDS = Dataset(
    name="diamonds",
    summary="weight, cut, colour, clarity, shape and price of 53,940 diamonds (Wickham 2009, ggplot2)",
    origin="the package plotnine",
    licence="MIT",
    size=2_772_143,
    sha256="9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4",
    read=lambda: package_file("plotnine", "data/diamonds.csv"),
    parse=_parse,
)
