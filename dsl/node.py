"""The one expression node: immutable and hash-consed, so that equality is identity.

``Node("const", value=0.5)`` and ``Node("name", value="m")`` are the leaves; every other ``op`` is a
name in the op table (`dsl.ops`). Source locations live beside the statements, never in a node.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from math import copysign
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

Value: TypeAlias = float | str | None

_interned: WeakValueDictionary[tuple[object, ...], Node] = WeakValueDictionary()


class Node:
    """An expression. Two nodes with the same op, arguments and value are the same object.

    ``names`` are the identifiers it refers to, ``size`` counts its operations and leaves.
    """

    __slots__ = ("__weakref__", "_digest", "args", "names", "op", "size", "value")

    op: Final[str]  # type: ignore[misc]  # set once, in __new__
    args: Final[tuple[Node, ...]]  # type: ignore[misc]
    value: Final[Value]  # type: ignore[misc]
    size: Final[int]  # type: ignore[misc]
    names: Final[frozenset[str]]  # type: ignore[misc]
    _digest: bytes | None

    def __new__(cls, op: str, args: tuple[Node, ...] = (), value: Value = None) -> Node:
        """The interned node; makes it if it does not exist yet."""
        sign = copysign(1.0, value) if isinstance(value, float) else None  # -0.0 is not 0.0
        key = (op, args, value, sign)
        node = _interned.get(key)
        if node is None:
            node = object.__new__(cls)
            put = object.__setattr__
            put(node, "op", op)
            put(node, "args", args)
            put(node, "value", value)
            put(node, "size", 1 + sum(a.size for a in args))
            put(node, "_digest", None)
            put(node, "names", _names(op, args, value))
            _interned[key] = node
        return node

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Node is immutable: cannot set {name!r}")

    def __reduce__(self) -> tuple[type[Node], tuple[str, tuple[Node, ...], Value]]:
        return Node, (self.op, self.args, self.value)

    def __copy__(self) -> Node:
        return self

    def __deepcopy__(self, memo: object) -> Node:
        return self

    def __repr__(self) -> str:
        if self.op in ("const", "name"):
            return str(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"

    @property
    def digest(self) -> bytes:
        """16 bytes that depend on the structure alone: equal in every process and on every machine."""
        stack = [self] if self._digest is None else []
        while stack:
            node = stack[-1]
            missing = [a for a in node.args if a._digest is None]
            if not missing:
                object.__setattr__(node, "_digest", _digest(node))
                stack.pop()
            stack += missing
        assert self._digest is not None
        return self._digest

    def walk(self) -> Iterator[Node]:
        """Every distinct node below and including this one, arguments before their users."""
        seen: set[Node] = set()
        stack: list[tuple[Node, bool]] = [(self, False)]
        while stack:
            node, expanded = stack.pop()
            if expanded:
                yield node
            elif node not in seen:
                seen.add(node)
                stack.append((node, True))
                stack.extend((a, False) for a in reversed(node.args))


def _names(op: str, args: tuple[Node, ...], value: Value) -> frozenset[str]:
    if op == "name":
        return frozenset((str(value),))
    first, *others = [a.names for a in args] or [frozenset[str]()]
    return first.union(*others) if others else first


def _digest(node: Node) -> bytes:
    """The digest of a node whose arguments have theirs."""
    value = node.value.hex() if isinstance(node.value, float) else (node.value or "")
    h = hashlib.blake2b(f"{node.op}\0{value}\0{len(node.args)}\0".encode(), digest_size=16)
    for arg in node.args:
        h.update(arg.digest)
    return h.digest()


def const(value: float) -> Node:
    """A constant, held as float64."""
    return Node("const", value=float(value))


def name(identifier: str) -> Node:
    """A reference to a variable, buffer or hyperparameter."""
    return Node("name", value=identifier)


def names(node: Node) -> frozenset[str]:
    """The identifiers an expression refers to."""
    return node.names
