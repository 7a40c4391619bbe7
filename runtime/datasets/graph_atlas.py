"""All graphs of up to seven nodes."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, package_file

NODES = 7


def _parse(content: bytes) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Adjacency matrices ``[1252, 7, 7]`` and standardised algebraic connectivities, in a fixed shuffled order.

    The diagonal holds 1 for every node that the graph has, so that an isolated node differs from padding. The
    algebraic connectivity is the second smallest eigenvalue of the Laplacian, 0 for disconnected graphs (Fiedler
    1973). The graph without nodes is left out.
    """
    graphs = [_adjacency(block) for block in content.decode().split("GRAPH ")[2:]]
    connectivity = np.array([_connectivity(graph) for graph in graphs])
    connectivity = (connectivity - connectivity.mean()) / connectivity.std()
    order = np.random.Generator(np.random.PCG64(1252)).permutation(len(graphs))
    # rounded: the eigenvalues' last digits differ between machines, and the data have a hash
    return np.stack(graphs)[order].astype(np.float32), np.round(connectivity[order], 5).astype(np.float32)


def _adjacency(block: str) -> NDArray[np.float64]:
    """A block holds the graph's number, ``NODES n``, and one line ``a b`` per edge."""
    count, *ends = (int(number) for number in re.findall(r"\d+", block)[1:])
    out = np.diag([1.0] * count + [0.0] * (NODES - count))
    for a, b in zip(ends[::2], ends[1::2], strict=True):
        out[a, b] = out[b, a] = 1.0
    return out


def _connectivity(adjacency: NDArray[np.float64]) -> float:
    count = int(np.trace(adjacency))
    links = adjacency[:count, :count] - np.eye(count)
    eigenvalues = np.linalg.eigvalsh(np.diag(links.sum(axis=0)) - links)
    return float(eigenvalues[1]) if count > 1 else 0.0


GRAPH_ATLAS = Dataset(
    name="graph_atlas",
    summary="all 1252 graphs of 1 to 7 nodes (Read and Wilson 1998, An Atlas of Graphs)",
    origin="the package networkx",
    licence="BSD 3-Clause",
    size=72_065,
    sha256="1a08fdb45e0bc27436935ee17423f5f5db4f834a65bb4773e19987c691d3b868",
    read=lambda: package_file("networkx", "generators/atlas.dat.gz"),
    parse=_parse,
)
