"""What a plan leaves to torch: matrix products, and everything that leads from one product to another.

Kernels stop before it and go on after it: it takes tensors that an earlier stage has left in memory, and leaves others
there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evoptim.dsl import OPS, Kind, Node


@dataclass(frozen=True, slots=True)
class Products:
    """The part of a plan that multiplies matrices.

    ``nodes`` are its values in the order of their computation. It reads ``inputs``: leaves, host scalars, reductions
    and other values with an entry per element; ``exports`` are the values that kernels read afterwards.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    exports: tuple[Node, ...]

    def tensors(self, kinds: Mapping[Node, Kind]) -> tuple[Node, ...]:
        """The inputs with an entry per element that have to be computed and kept."""
        return tuple(n for n in self.inputs if kinds[n] == Kind.TENSOR and n.op != "name")


def multiplies(n: Node) -> bool:
    """Whether a value is a matrix product or a transpose."""
    return n.op in OPS and OPS[n.op].kind is not None


def find_products(outputs: Iterable[Node], kinds: Mapping[Node, Kind]) -> Products | None:
    """The part of some values that is left to torch; None if there is none."""
    outputs = tuple(outputs)
    order = list(dict.fromkeys(n for root in outputs for n in root.walk()))
    after: set[Node] = set()  # what follows from a product
    for n in order:
        if multiplies(n) or any(a in after for a in n.args):
            after.add(n)
    if not after:
        return None
    inside: set[Node] = set()
    for n in reversed(order):  # from the outputs down
        if n in after and (n in inside or _needs_torch(n, kinds)):
            inside.add(n)
            inside.update(a for a in n.args if a in after)
    inside |= _absorbed(inside, kinds)
    inputs, small = _read(inside, kinds)
    read = {a for n in order if n not in inside for a in n.args} | set(outputs)
    return Products(
        nodes=tuple(n for n in order if n in inside or n in small),
        inputs=inputs,
        exports=tuple(n for n in order if n in inside and n in after and n in read),
    )


def _needs_torch(n: Node, kinds: Mapping[Node, Kind]) -> bool:
    return multiplies(n) or any(int(kinds[x]) > Kind.TENSOR for x in (n, *n.args))


def _is_input(n: Node, kinds: Mapping[Node, Kind]) -> bool:
    """Whether torch takes a value as it is: all but what is quickly computed from rows, columns and scalars."""
    is_reduction = n.op in OPS and OPS[n.op].reduce is not None
    return not n.args or kinds[n].number or is_reduction or kinds[n] == Kind.TENSOR


def _read(inside: set[Node], kinds: Mapping[Node, Kind]) -> tuple[tuple[Node, ...], set[Node]]:
    """What torch takes as it is, and the values of rows, columns and scalars that it computes on the way."""
    inputs: set[Node] = set()
    small: set[Node] = set()
    stack = [a for n in inside for a in n.args if a not in inside]
    while stack:
        n = stack.pop()
        if n.op == "const" or n in inputs or n in small:
            continue
        if _is_input(n, kinds):
            inputs.add(n)
        else:
            small.add(n)
            stack.extend(n.args)
    return tuple(sorted(inputs, key=lambda n: n.digest)), small


def _absorbed(inside: set[Node], kinds: Mapping[Node, Kind]) -> set[Node]:
    """Inputs that follow from other inputs: computing them again is cheaper than keeping them, too."""
    inputs, _ = _read(inside, kinds)
    computed = [n for n in inputs if kinds[n] == Kind.TENSOR and n.args]
    return {n for n in computed if all(a in inputs for a in n.args if kinds[a] == Kind.TENSOR)}


def fits_kernels(products: Products, kinds: Mapping[Node, Kind]) -> bool:
    """Whether kernels can work around the products: values come back per element, and nothing is shared by all."""
    if any(kinds[n] != Kind.TENSOR for n in products.exports):
        return False
    conditions = [n for n in products.inputs if n.op in OPS and OPS[n.op].comparison]
    reduces_all = [n for n in (*products.nodes, *products.inputs) if kinds[n] == Kind.GLOBAL]
    return not conditions and not reduces_all
