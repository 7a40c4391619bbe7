"""What a rule is: a signature and straight-line statements with static branches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from .domains import Domain
from .errors import Span
from .kinds import Kind, Type
from .node import Node

Path: TypeAlias = tuple[int, ...]
"""Which argument of which argument: the way from a statement's expression down to a node."""

Spans: TypeAlias = Mapping[Path, Span]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A state buffer: its kind, and what it starts as (zero, the first gradient ``g``, or ``w``).

    An ``output`` is kept for the user, such as an average of the parameters: it counts although nothing reads it.
    """

    name: str
    kind: Kind = Kind.TENSOR
    init: str = ""  # "", "g" or "w"
    output: bool = False


@dataclass(frozen=True, slots=True)
class Hyper:
    """A hyperparameter: its default and, where declared, its tuning domain."""

    name: str
    default: float
    declared: Domain | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "default", float(self.default))

    @property
    def domain(self) -> Domain:
        """The declared tuning domain, or the customary one for a common name."""
        return self.declared or Domain.customary(self.name, self.default)


@dataclass(frozen=True, slots=True)
class Assign:
    """``target = value``."""

    target: str
    value: Node
    spans: Spans | None = field(default=None, compare=False, repr=False)
    target_span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class If:
    """``if matrix:``: one branch for parameters of two or more dimensions, one for the others."""

    then: tuple[Assign, ...]
    other: tuple[Assign, ...]


Statement: TypeAlias = Assign | If


def with_values(body: Iterable[Statement], change: Callable[[Node], Node]) -> tuple[Statement, ...]:
    """The statements with every expression changed, those in branches too."""

    def changed(assigns: Iterable[Assign]) -> tuple[Assign, ...]:
        return tuple(Assign(a.target, change(a.value)) for a in assigns)

    return tuple(
        If(changed(s.then), changed(s.other)) if isinstance(s, If) else Assign(s.target, change(s.value)) for s in body
    )


@dataclass(frozen=True)
class Rule:
    """An update rule.

    ``returns`` holds the new parameter and then the new value of each buffer, in signature order.
    Rules are equal when their texts are.
    """

    name: str
    doc: str
    buffers: tuple[Buffer, ...]
    hypers: tuple[Hyper, ...]
    body: tuple[Statement, ...]
    returns: tuple[Node, ...]
    uses_t: bool = False
    order: tuple[str, ...] = ()  # positional arguments after w and g, t among them, as written
    return_spans: tuple[Spans, ...] | None = field(default=None, compare=False, repr=False)
    return_span: Span | None = field(default=None, compare=False, repr=False)
    source: str = field(default="", compare=False, repr=False)
    filename: str = field(default="<rule>", compare=False, repr=False)

    def __hash__(self) -> int:
        """The hash of what equality compares, remembered: it is asked for often."""
        found: int | None = self.__dict__.get("_hash")
        if found is None:
            own = self.name, self.doc, self.buffers, self.hypers, self.body, self.returns, self.uses_t, self.order
            found = self.__dict__["_hash"] = hash(own)
        return found

    @cached_property
    def leaves(self) -> dict[str, Type]:
        """The type of every name of the signature."""
        out = {"w": Type(Kind.TENSOR), "g": Type(Kind.TENSOR)}
        if self.uses_t:
            out["t"] = Type(Kind.HOST)
        out |= {b.name: Type(b.kind) for b in self.buffers}
        out |= {h.name: Type(Kind.HOST) for h in self.hypers}
        return out

    @property
    def positional(self) -> tuple[str, ...]:
        """The arguments after ``w, g``: buffers and ``t`` in the order written."""
        if self.order:
            return self.order
        return (*(b.name for b in self.buffers), *(("t",) if self.uses_t else ()))

    @property
    def defaults(self) -> dict[str, float]:
        """The default of every hyperparameter."""
        return {h.name: h.default for h in self.hypers}

    @property
    def branches(self) -> bool:
        """Whether the rule treats matrices differently."""
        return If in map(type, self.body)

    @property
    def classes(self) -> tuple[bool, ...]:
        """The classes of parameters that differ in code or buffers: (False, True) for matrices apart, else (False,)."""
        apart = self.branches or any(b.kind in (Kind.ROW, Kind.COL) for b in self.buffers)
        return (False, True) if apart else (False,)

    @property
    def length(self) -> int:
        """How many assignments it has, those inside branches included."""
        if not self.branches:
            return len(self.body)
        return sum(len(s.then) + len(s.other) if isinstance(s, If) else 1 for s in self.body)

    def assigns(self) -> Iterator[Assign]:
        """Every assignment, those inside branches included."""
        for statement in self.body:
            if isinstance(statement, If):
                yield from statement.then
                yield from statement.other
            else:
                yield statement

    def straight(self, matrix: bool) -> Iterator[Assign]:
        """The statements that run for matrices, or for the others."""
        for statement in self.body:
            if isinstance(statement, If):
                yield from statement.then if matrix else statement.other
            else:
                yield statement

    def replace(self, **changes: object) -> Rule:
        """A copy with some fields changed; what depends on the source text is dropped."""
        kept = {"source": "", "return_spans": None, "return_span": None}
        return dataclasses.replace(self, **(kept | changes))  # type: ignore[arg-type]

    @property
    def text(self) -> str:
        """The rule as text; reading it gives this rule again."""
        from .printer import print_rule

        return print_rule(self)

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:
        from .latex import latex

        return f"$${latex(self)}$$"
