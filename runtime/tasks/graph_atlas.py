"""How well connected a graph is, by a network that passes messages."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from ..datasets import GRAPH_ATLAS
from .kinds import Regression

ROUNDS = 3


class MessagePassing(nn.Module):
    """Nodes add up their neighbours' states, round by round; the sum over all nodes is read out.

    This is the graph isomorphism network (Xu et al. 2019, arXiv:1810.00826) with weights of their own for a node and
    for its neighbours. A node starts with its degree.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.start = nn.Linear(1, width)
        self.own = nn.ModuleList([nn.Linear(width, width) for _ in range(ROUNDS)])
        self.others = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(ROUNDS)])
        self.head = nn.Linear(width, 1)

    def forward(self, adjacency: Tensor) -> Tensor:
        """From ``[batch, nodes, nodes]``, with 1 on the diagonal of the nodes there are, to ``[batch]``."""
        present = adjacency.diagonal(dim1=-2, dim2=-1)[..., None]
        degree = adjacency.sum(dim=-1, keepdim=True) / adjacency.shape[-1]
        h = functional.relu(self.start(degree)) * present
        for own, others in zip(self.own, self.others, strict=True):
            neighbours = adjacency @ others(h) / adjacency.shape[-1]
            h = h + functional.relu(own(h) + neighbours) * present
        return self.head(h.mean(dim=1)).squeeze(-1)


class GraphAtlas(Regression):
    """Algebraic connectivity of every graph of up to 7 nodes: 1000 graphs to train on, 252 to validate."""

    name = "graph_atlas"
    level = 0
    summary = "message passing of width 16 for the connectivity of small graphs"
    dataset = GRAPH_ATLAS
    batch_size = 64
    steps = 500
    train_size = 1000

    def build(self) -> nn.Module:
        return MessagePassing(16)
