"""What a step of a rule must move through memory, and what its state occupies: counted, not measured."""

from __future__ import annotations

from dataclasses import dataclass

from evoptim.dsl import Kind, Rule, live_statements
from evoptim.dsl.infer import buffers_read


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes per parameter element in float32 for one class of parameters.

    ``moved`` counts the parameter and each buffer read and written, and the gradient read, each once. Row,
    column and single values count as nothing beside a large tensor.
    """

    state: int
    moved: int


def traffic(rule: Rule, matrix: bool) -> Traffic:
    """State and traffic of a rule for matrices, or for vectors."""
    rule = live_statements(rule)
    used = buffers_read(rule, matrix)
    tensors = sum(b.name in used and b.kind == Kind.TENSOR for b in rule.buffers)
    return Traffic(state=4 * tensors, moved=12 + 8 * tensors)
