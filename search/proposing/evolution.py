"""Evolution by ask and tell (Real et al. 2019, arXiv:1802.01548; Chen et al. 2023).

The proposer has no state beyond what it was told: child number i draws from a generator seeded by (search seed, i),
so a search that is told its own history continues exactly as if it had never stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, MutableSequence, Sequence
from dataclasses import dataclass, field
from random import Random

from evoptim.dsl import Rule

from ..config import SearchConfig
from ..evaluator import Score
from .fingerprint import Fingerprints, fingerprint
from .front import Front
from .identity import Identities, strip
from .mutate import MAX_ATTEMPTS, Child, NoMutation, mutate
from .population import Individual, Population, make_population
from .program import flatten
from .vetoes import veto

DRAWS_PER_BATCH = 10_000
"""Programs drawn for one batch, invalid ones among them, before it is closed with fewer new ones than asked for."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One child: number, parent's number, program, canonical hash.

    ``score`` is set where nothing needs to be trained, and ``known`` then says why: ``hash`` and ``fingerprint`` for
    the result of an earlier program, ``veto`` for a refusal. A ``twin`` is the hash of a program of the same batch
    whose fingerprint this one shares; it gets that one's score.
    """

    index: int
    parent: int
    rule: Rule
    hash: str
    mutation: str
    redraws: int
    score: Score | None = None
    known: str = ""
    twin: str = ""


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
            if p.score is None and not p.twin and p.hash not in seen:
                seen.add(p.hash)
                out.append(p)
        return tuple(out)


@dataclass(slots=True)
class Counts:
    """What has happened so far."""

    generated: int = 0
    evaluated: int = 0
    cache_hits: int = 0
    fingerprint_hits: int = 0
    vetoed: int = 0
    stopped: int = 0
    restarts: int = 0
    statements: int = 0
    dead_statements: int = 0
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
    best: Proposal | None = None
    best_score: Score = field(default_factory=lambda: Score("none", math.inf, {}))
    exhausted: bool = False
    """Whether the last batch had nothing new, after all its draws: there is nothing left to find."""
    identities: Identities = field(default_factory=Identities)
    population: Population = field(init=False)
    front: Front = field(default_factory=Front)
    _prints: Fingerprints = field(init=False)
    _open: Batch | None = None
    _improved: tuple[float, int] = (math.inf, 0)
    """The least loss since the last restart, and how many programs there were then."""

    def __post_init__(self) -> None:
        self.population = make_population(self.config.population)
        self._prints = Fingerprints(self.config.economy.forget)

    @property
    def members(self) -> MutableSequence[Individual]:
        """Everybody alive."""
        return self.population.members

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
        for proposal in batch.new:
            self._keep_print(proposal)
        self.scores |= new
        for p in batch.proposals:
            if p.hash not in self.scores:
                self.scores[p.hash] = p.score or self.scores[p.twin]
        self._count(batch, new)
        self.exhausted = not new and self.counts.generated != self.config.budget.programs
        for proposal in batch.proposals:
            self._enter(proposal, proposal.score or self.scores[proposal.hash])
        self.population.settle(self.counts.generated)
        self._restart()
        self._open = None

    def _count(self, batch: Batch, new: dict[str, Score]) -> None:
        counts = self.counts
        counts.evaluated += len(new)
        counts.diverged += sum(s.status == "diverged" for s in new.values())
        counts.stopped += sum(s.status == "stopped" for s in new.values())
        counts.failed += sum(s.status not in ("ok", "diverged", "stopped") for s in new.values())
        counts.fingerprint_hits += sum(p.known == "fingerprint" for p in batch.proposals)
        counts.vetoed += sum(p.known == "veto" for p in batch.proposals)
        counts.generated += len(batch.proposals)
        counts.cache_hits = counts.generated - counts.evaluated - counts.fingerprint_hits - counts.vetoed
        counts.invalid += sum(p.redraws for p in batch.proposals)
        counts.batches = batch.number + 1
        for p in batch.proposals:
            counts.statements += p.rule.length
            counts.dead_statements += p.rule.length - self.identities.of(p.rule).statements

    def _enter(self, proposal: Proposal, score: Score) -> None:
        """Into the population, unless it failed: what cannot be trained is no parent."""
        if score.status != "ok":
            return
        individual = self._individual(proposal, score)
        if proposal.index == 0:
            self.population.fill(individual)
        else:
            self.population.enter(individual)
        self.front.add(individual)
        if score.loss < self._improved[0]:
            self._improved = score.loss, self.counts.generated
        if score.loss < self.best_score.loss:
            self.best, self.best_score = proposal, score

    def _individual(self, proposal: Proposal, score: Score) -> Individual:
        identity = self.identities.of(proposal.rule)
        return Individual(proposal.index, proposal.rule, score.loss, identity.state, identity.statements, proposal.hash)

    def _restart(self) -> None:
        """Fill the population anew where nothing has improved for too long."""
        settings = self.config.restarts
        if not settings.plateau or self.counts.generated - self._improved[1] < settings.plateau:
            return
        first = self._first().proposals[0]
        again = self.best if settings.source == "best" and self.best is not None else first
        score = self.best_score if again is self.best else self.scores[first.hash]
        self.population.fill(self._individual(again, score))
        self._improved = score.loss, self.counts.generated
        self.counts.restarts += 1

    def _first(self) -> Batch:
        program = flatten(self.start)
        return Batch(0, (Proposal(0, -1, program, self.identities.of(program).hash, "start", 0),))

    def _next(self) -> Batch:
        wanted = min(self.config.batch, self.config.budget.evaluations - self.counts.evaluated)
        proposals: list[Proposal] = []
        pending: set[str] = set()
        prints: dict[str, str] = {}  # those of this batch
        spared: dict[str, Proposal] = {}
        draws = 0
        for child in self._children():
            proposal = child
            if (earlier := spared.get(child.hash)) is not None:
                proposal = dataclasses.replace(child, score=earlier.score, known="hash", twin=earlier.twin)
            elif child.score is None and child.hash not in pending:
                proposal = self._spared(child, prints)
                if proposal.known:
                    spared[child.hash] = proposal
                else:
                    pending.add(child.hash)
            elif child.hash in pending and not self.config.economy.hash_cache:
                break  # it is trained again, in the next batch
            proposals.append(proposal)
            draws += 1 + proposal.redraws
            if len(pending) >= wanted or draws >= DRAWS_PER_BATCH or proposal.index + 1 == self.config.budget.programs:
                break
        return Batch(self.counts.batches, tuple(proposals))

    def _children(self) -> Iterator[Proposal]:
        for index in itertools.count(self.counts.generated):
            random = Random(f"{self.config.seed}/{index}")
            parent = self.population.parent(random, index)
            child = self._child(parent.rule, random, index)
            digest = child.identity.hash
            score = self.scores.get(digest) if self.config.economy.hash_cache else None
            known = "hash" if score else ""
            yield Proposal(index, parent.index, child.rule, digest, child.mutation, child.redraws, score, known)

    def _child(self, parent: Rule, random: Random, index: int) -> Child:
        """A mutant, or where none is to be had a copy: a duplicate, which costs no training."""

        def mate() -> Rule:
            return self.population.parent(random, index).rule

        try:
            return mutate(parent, random, self.config.mutation, mate=mate, identities=self.identities)
        except NoMutation:
            return Child(parent, "none", MAX_ATTEMPTS, self.identities.of(parent))

    def _spared(self, p: Proposal, prints: dict[str, str]) -> Proposal:
        """The proposal of a new hash, with a score where it need not be trained all the same."""
        economy = self.config.economy
        program = strip(p.rule)
        if economy.vetoes and (reason := veto(program)):
            return dataclasses.replace(p, score=Score("vetoed", math.inf, {}, reason), known="veto")
        if not economy.fingerprint:
            return p
        found = fingerprint(program)
        if found in prints:
            return dataclasses.replace(p, known="fingerprint", twin=prints[found])
        owner = self._prints.owner(found, self.counts.evaluated)
        if owner is not None:
            return dataclasses.replace(p, score=self.scores[owner], known="fingerprint")
        prints[found] = p.hash
        return p

    def _keep_print(self, proposal: Proposal) -> None:
        """Remember what a program that is trained does."""
        if self.config.economy.fingerprint:
            self._prints.keep(fingerprint(strip(proposal.rule)), proposal.hash, self.counts.evaluated)
