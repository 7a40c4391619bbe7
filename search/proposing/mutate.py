"""One valid child of a program: a mutation chosen by weight, drawn again until the result is a program.

Statements that have become redundant stay: they are stepping stones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from evoptim.dsl import Rule, is_valid

from ..sections import Mutation
from .identity import Identities, Identity
from .mutations import MUTATIONS
from .program import Program

MAX_ATTEMPTS = 1000
PATIENCE = 50
"""Draws of one kind of mutation before another kind is drawn: so the weights hold among the children too."""


@dataclass(frozen=True, slots=True)
class Child:
    """A valid mutant: the program, what was done, and how many invalid ones were drawn before it."""

    rule: Rule
    mutation: str
    redraws: int
    identity: Identity


class NoMutation(RuntimeError):
    """A program cannot be varied."""


def mutate(
    rule: Rule,
    random: Random,
    config: Mutation,
    *,
    mate: Callable[[], Rule] | None = None,
    identities: Identities | None = None,
) -> Child:
    """A valid child of a flat program.

    Args:
        rule: The parent.
        random: Where every choice is drawn from.
        config: Weights and limits.
        mate: Gives another program to take statements from; without it the parent gives them itself.
        identities: What is known of programs met before.

    Raises:
        NoMutation: No valid child was found in `MAX_ATTEMPTS` draws.
    """
    weights = {kind: weight for kind in MUTATIONS if (weight := getattr(config, kind)) > 0}
    known = Identities() if identities is None else identities
    kind = ""
    for attempt in range(MAX_ATTEMPTS):
        if attempt % PATIENCE == 0:
            kind = random.choices([*weights], [*weights.values()])[0]
        program = Program(rule, random, mate or (lambda: rule))
        changed = MUTATIONS[kind](program)
        if changed is None or not _within(changed, rule, config):
            continue
        if (program.checked or is_valid(changed)) and (identity := known.of(changed)).uses_gradient:
            return Child(changed, f"{kind} {program.told}", attempt, identity)
    raise NoMutation(f"no valid mutation of {rule.name!r} in {MAX_ATTEMPTS} draws")


def _within(changed: Rule, parent: Rule, config: Mutation) -> bool:
    """Whether a child is short enough, and keeps no more buffers than allowed or than its parent."""
    if changed.length > config.max_statements:
        return False
    return len(changed.buffers) <= max(config.max_buffers, len(parent.buffers))
