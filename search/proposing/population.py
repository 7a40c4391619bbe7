"""Who is alive and who becomes a parent: aging, (mu + lambda) or NSGA-II, on one island or several."""

from __future__ import annotations

from collections import deque
from collections.abc import MutableSequence, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Rule

from ..sections import Population as Settings


@dataclass(frozen=True, slots=True)
class Individual:
    """A member of the population: number, program, loss, bytes of state per parameter, live statements, hash."""

    index: int
    rule: Rule
    loss: float
    state: int = 0
    statements: int = 0
    hash: str = ""


class Population(Protocol):
    """A set of individuals that takes new ones in and chooses parents."""

    @property
    def members(self) -> MutableSequence[Individual]:
        """Everybody alive."""
        ...

    def fill(self, individual: Individual) -> None:
        """Begin, or begin again, with one individual alone."""
        ...

    def enter(self, individual: Individual) -> None:
        """Take in a child."""
        ...

    def settle(self, generated: int) -> None:
        """Called when a batch is complete, with the number of programs so far: those who must leave, leave."""
        ...

    def parent(self, random: Random, index: int) -> Individual:
        """The parent of child number ``index``."""
        ...


class Aging:
    """Aging evolution (Real et al. 2019, arXiv:1802.01548): a queue that the oldest leave, whatever their loss.

    Args:
        size: Individuals alive.
        tournament: Individuals drawn with replacement, of which the best is the parent.
    """

    def __init__(self, size: int, tournament: int) -> None:
        self.tournament = tournament
        self.members: deque[Individual] = deque(maxlen=size)

    def fill(self, individual: Individual) -> None:
        """As many copies as there are places."""
        self.members.extend([individual] * (self.members.maxlen or 1))

    def enter(self, individual: Individual) -> None:
        """In at one end; where the queue is full the oldest leaves at the other."""
        self.members.append(individual)

    def settle(self, generated: int) -> None:
        """Everybody who had to has left already."""

    def parent(self, random: Random, index: int) -> Individual:
        """The best of a few; the younger wins a draw."""
        return drawn(self.members, random, self.tournament)


def drawn(ranked: Sequence[Individual], random: Random, tournament: int) -> Individual:
    """The one of least loss among a few drawn with replacement; the later one of equals."""
    places = [random.randrange(len(ranked)) for _ in range(tournament)]
    return min((ranked[i] for i in sorted(places, reverse=True)), key=lambda m: m.loss)


class MuPlusLambda:
    """(mu + lambda) selection: the best of parents and children stay; of programs with one hash, the first.

    Args:
        size: mu.
        tournament: Individuals drawn with replacement, of which the best is the parent.
    """

    def __init__(self, size: int, tournament: int) -> None:
        self.size, self.tournament = size, tournament
        self.members: list[Individual] = []

    def fill(self, individual: Individual) -> None:
        """That one alone: copies would never leave."""
        self.members[:] = [individual]

    def enter(self, individual: Individual) -> None:
        """Beside the others until the batch is complete."""
        if all(m.hash != individual.hash for m in self.members):
            self.members.append(individual)

    def settle(self, generated: int) -> None:
        """The best stay, the first of equals before the others."""
        self.members.sort(key=lambda m: (m.loss, m.index))
        del self.members[self.size :]

    def parent(self, random: Random, index: int) -> Individual:
        """The best of a few."""
        return drawn(self.members, random, self.tournament)


class Nsga2(MuPlusLambda):
    """NSGA-II (Deb et al. 2002, doi:10.1109/4235.996017) over loss, state bytes and live statements.

    Members stand in order: by the number of fronts that lie before theirs, then the least crowded first.
    """

    def settle(self, generated: int) -> None:
        """The first fronts stay, and of the one that does not fit whole the least crowded."""
        values = objectives(self.members)
        ranks, crowding = nondominated_ranks(values), crowding_distances(values)
        order = sorted(range(len(values)), key=lambda i: (ranks[i], -crowding[i], self.members[i].index))
        self.members[:] = [self.members[i] for i in order[: self.size]]

    def parent(self, random: Random, index: int) -> Individual:
        """The one that stands first among a few: the lesser rank, then the lesser crowding."""
        return self.members[min(random.randrange(len(self.members)) for _ in range(self.tournament))]


def objectives(members: Sequence[Individual]) -> NDArray[np.float64]:
    """What is minimized: float64 ``[member, (loss, state bytes, statements)]``."""
    return np.array([(m.loss, m.state, m.statements) for m in members], dtype=np.float64).reshape(len(members), 3)


def nondominated_ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The front of every row: 0 where no other row is at least as good in everything and better in something."""
    no_worse = (values[:, None] <= values[None]).all(axis=2)
    dominates = no_worse & (values[:, None] < values[None]).any(axis=2)
    ranks = np.full(len(values), -1, dtype=np.int64)
    front = 0
    while (ranks < 0).any():
        left = ranks < 0
        ranks[left & ~(dominates & left[:, None]).any(axis=0)] = front
        front += 1
    return ranks


def crowding_distances(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over the objectives of the relative distance between a row's neighbours in its front; ends infinite."""
    distances = np.zeros(len(values))
    ranks = nondominated_ranks(values)
    for front in range(int(ranks.max(initial=-1)) + 1):
        rows = np.flatnonzero(ranks == front)
        for column in values[rows].T:
            order = np.argsort(column, kind="stable")
            span = column[order[-1]] - column[order[0]]
            gaps = (column[order[2:]] - column[order[:-2]]) / span if span > 0 else 0.0
            distances[rows[order[1:-1]]] += gaps
            distances[rows[order[[0, -1]]]] = np.inf
    return distances


class Islands:
    """Populations apart from each other; child i belongs to island i modulo their number.

    Args:
        islands: The populations.
        every: Programs after which the best of every island enters the next one.
    """

    def __init__(self, islands: Sequence[Population], every: int) -> None:
        self.islands, self.every = islands, every
        self.migrations = 0

    @property
    def members(self) -> MutableSequence[Individual]:
        """Everybody alive, island by island."""
        return [m for island in self.islands for m in island.members]

    def fill(self, individual: Individual) -> None:
        """Every island."""
        for island in self.islands:
            island.fill(individual)

    def enter(self, individual: Individual) -> None:
        """On the island of its parent."""
        self.islands[individual.index % len(self.islands)].enter(individual)

    def settle(self, generated: int) -> None:
        """Migrate where it is time, then settle every island."""
        if generated // self.every > self.migrations:
            self.migrations = generated // self.every
            best = [min(island.members, key=lambda m: (m.loss, m.index)) for island in self.islands]
            for i, guest in enumerate(best):
                self.islands[(i + 1) % len(best)].enter(guest)
        for island in self.islands:
            island.settle(generated)

    def parent(self, random: Random, index: int) -> Individual:
        """From the child's island."""
        return self.islands[index % len(self.islands)].parent(random, index)


_KINDS = {"aging": Aging, "mu_plus_lambda": MuPlusLambda, "nsga2": Nsga2}


def make_population(settings: Settings) -> Population:
    """The population that a configuration asks for, empty."""
    make = _KINDS[settings.kind]
    if settings.islands == 1:
        return make(settings.size, settings.tournament)
    return Islands([make(settings.size, settings.tournament) for _ in range(settings.islands)], settings.migrate_every)
