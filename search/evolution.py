"""Aging evolution by ask and tell (Real et al. 2019, arXiv:1802.01548; Chen et al. 2023).

The population is a queue: a child of the better of a few random members enters at one end, the oldest leaves at
the other. The proposer has no state beyond what it was told: child number i draws from a generator seeded by
(search seed, i), so a search that is told its own history continues exactly as if it had never stopped.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from evoptim.dsl import Rule, canonical_hash

from .config import SearchConfig
from .evaluator import Score
from .mutate import MAX_ATTEMPTS, Child, NoMutation, flatten, mutate

DRAWS_PER_BATCH = 10_000
"""Programs drawn for one batch, invalid ones among them, before it is closed with fewer new ones than asked for."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One child: number, parent's number, program, canonical hash; ``score`` is set where the hash is known."""

    index: int
    parent: int
    rule: Rule
    hash: str
    mutation: str
    redraws: int
    score: Score | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one `ask` returns: all children in order; those whose hash is new are to be trained."""

    number: int
    proposals: tuple[Proposal, ...]

    @property
    def new(self) -> tuple[Proposal, ...]:
        """The first proposal of every hash not seen before, in order."""
        seen: set[str] = set()
        out: list[Proposal] = []
        for p in self.proposals:
            if p.score is None and p.hash not in seen:
                seen.add(p.hash)
                out.append(p)
        return tuple(out)


@dataclass(frozen=True, slots=True)
class Individual:
    """A member of the population."""

    index: int
    rule: Rule
    loss: float


@dataclass(slots=True)
class Counts:
    """What has happened so far."""

    generated: int = 0
    evaluated: int = 0
    cache_hits: int = 0
    diverged: int = 0
    failed: int = 0
    invalid: int = 0
    batches: int = 0


@dataclass(slots=True)
class Evolution:
    """The proposer and its population.

    Args:
        config: The search's configuration.
        start: The program to begin from; proposal number 0.
    """

    config: SearchConfig
    start: Rule
    counts: Counts = field(default_factory=Counts)
    scores: dict[str, Score] = field(default_factory=dict[str, Score])
    members: deque[Individual] = field(default_factory=deque[Individual])
    best: Proposal | None = None
    best_score: Score = field(default_factory=lambda: Score("none", math.inf, {}))
    exhausted: bool = False
    """Whether the last batch had nothing new, after all its draws: there is nothing left to find."""
    _open: Batch | None = None

    def ask(self) -> Batch:
        """The next batch of children: ``config.batch`` new programs among them, fewer where the budget ends.

        Raises:
            RuntimeError: The last batch has not been told yet, the budget is used up, or the start rule failed.
        """
        if self._open is not None:
            raise RuntimeError(f"batch {self._open.number} has been asked for and not been told")
        if self.counts.evaluated >= self.config.budget.evaluations:
            raise RuntimeError(f"the budget of {self.counts.evaluated} evaluations is used up")
        if self.counts.generated and not self.members:
            raise RuntimeError("the population is empty: the start rule failed")
        self._open = self._first() if self.counts.generated == 0 else self._next()
        return self._open

    def tell(self, batch: Batch, scores: Sequence[Score]) -> None:
        """The scores of ``batch.new``, in order.

        Raises:
            RuntimeError: It is not the batch asked for last.
            ValueError: The number of scores is not the number of new programs.
        """
        if self._open is None or batch != self._open:
            raise RuntimeError(f"batch {batch.number} was not asked for, or has been told already")
        new = batch.new
        if len(scores) != len(new):
            raise ValueError(f"{len(scores)} scores for {len(new)} new programs")
        self.replay(batch, {p.hash: s for p, s in zip(new, scores, strict=True)})

    def replay(self, batch: Batch, new: dict[str, Score]) -> None:
        """Take over a batch and the scores of its new programs, as `tell` does; also how a search resumes."""
        self.scores |= new
        self.counts.evaluated += len(new)
        self.counts.diverged += sum(s.status == "diverged" for s in new.values())
        self.counts.failed += sum(s.status not in ("ok", "diverged") for s in new.values())
        self.counts.cache_hits += len(batch.proposals) - len(new)
        self.counts.generated += len(batch.proposals)
        self.counts.invalid += sum(p.redraws for p in batch.proposals)
        self.counts.batches = batch.number + 1
        self.exhausted = not new
        for proposal in batch.proposals:
            self._enter(proposal, self.scores[proposal.hash])
        self._open = None

    def _enter(self, proposal: Proposal, score: Score) -> None:
        """Into the population, unless it failed: what cannot be trained is no parent."""
        if score.status != "ok":
            return
        copies = self.config.population.size if proposal.index == 0 else 1
        for _ in range(copies):
            self.members.append(Individual(proposal.index, proposal.rule, score.loss))
        while len(self.members) > self.config.population.size:
            self.members.popleft()
        if score.loss < self.best_score.loss:
            self.best, self.best_score = proposal, score

    def _first(self) -> Batch:
        program = flatten(self.start)
        return Batch(0, (Proposal(0, -1, program, canonical_hash(program), "start", 0),))

    def _next(self) -> Batch:
        wanted = min(self.config.batch, self.config.budget.evaluations - self.counts.evaluated)
        proposals: list[Proposal] = []
        pending: set[str] = set()
        draws = 0
        for proposal in self._children():
            proposals.append(proposal)
            draws += 1 + proposal.redraws
            if proposal.score is None:
                pending.add(proposal.hash)
            if len(pending) >= wanted or draws >= DRAWS_PER_BATCH:
                break
        return Batch(self.counts.batches, tuple(proposals))

    def _children(self) -> Iterator[Proposal]:
        for index in itertools.count(self.counts.generated):
            random = Random(f"{self.config.seed}/{index}")
            parent = self._tournament(random)
            child = self._child(parent.rule, random)
            digest = canonical_hash(child.rule)
            yield Proposal(
                index, parent.index, child.rule, digest, child.mutation, child.redraws, self.scores.get(digest)
            )

    def _child(self, parent: Rule, random: Random) -> Child:
        """A mutant, or where none is to be had a copy: a duplicate, which costs no training."""
        try:
            return mutate(parent, random, self.config.mutation)
        except NoMutation:
            return Child(parent, "none", MAX_ATTEMPTS)

    def _tournament(self, random: Random) -> Individual:
        """The best of a few members drawn with replacement; the younger wins a draw."""
        drawn = [random.randrange(len(self.members)) for _ in range(self.config.population.tournament)]
        return min((self.members[i] for i in sorted(drawn, reverse=True)), key=lambda m: m.loss)
