"""Single instructions of the population machine on special values, by whatever interpreter there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from evoptim.dsl import OPS, Buffer, Node, parse
from evoptim.dsl.node import name
from evoptim.runtime.bytecode import Bytecode, Code, Domain, Instruction, Section, Space, Value, instruction_set
from evoptim.runtime.bytecode.opcodes import SCALAR, VECTOR
from evoptim.runtime.interpreter import Member
from evoptim.runtime.schedules import constant

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-30, 1e-44, 88.0, 3e38, -3e38, np.inf, -np.inf, np.nan)
SLOTS = (Buffer("w"), Buffer("m"))
RULE = parse("def by_hand(w, g, m, *, lr=1, a=1, b=1, c=1):\n    return w - a * b * c * g * m, m")
PRIMITIVES = [o for o in instruction_set().opcodes if o.name in {op.name for op in OPS}]

Step = Callable[[Member, Tensor, Tensor], None]
"""Takes the first step of a rule's replicas, which stand in the first rows, from ``w`` and ``g`` [R, D]."""


def operands(form: str) -> tuple[Value, ...]:
    """Buffers for the vectors of a form, hyperparameters for its scalars."""
    spaces = (Space.PARAMETER, Space.GRADIENT, Space.STATE)
    vectors = (Value(s, Domain.TENSOR, k) for s, k in zip(spaces, "wgm", strict=True))
    scalars = (Value(Space.NUMBER, Domain.SCALAR, name(n)) for n in "abc")
    return tuple(next(vectors if f == VECTOR else scalars) for f in form)


def executed(op: str, form: str, dtype: torch.dtype, step: Step) -> tuple[np.ndarray, list[np.ndarray]]:
    """What one instruction makes of special values, ``[setting, entry]``, and its arguments, broadcast to that."""
    values = SPECIAL if len(form) < 3 else SPECIAL[::2]
    entries = np.array([*itertools.product(values, repeat=form.count(VECTOR))], NUMPY[dtype]).T
    settings = np.array([*itertools.product(values, repeat=form.count(SCALAR))], NUMPY[dtype])
    to = Value(Space.PARAMETER, Domain.TENSOR, "w")
    section = Section(Domain.TENSOR, (Instruction(op, form, to, operands(form)),), ())
    code = Code(SLOTS, ((section,),), lined=False)
    rows = [dict(zip("abc", map(float, row), strict=False)) for row in settings]
    member = Member(Bytecode(RULE, code, code, flat=True, shaped=False), (entries.shape[1:],), rows, 1, constant)
    stacked = [
        torch.from_numpy(x).repeat(len(rows), 1) for x in (*entries, *np.zeros((3, entries.shape[1]), NUMPY[dtype]))
    ]
    w, g, m = stacked[:3]
    member.start(w, g)
    assert member.state is not None
    member.state[:, : entries.shape[1]] = m
    step(member, w, g)
    vectors, scalars = iter(entries), iter(settings.T[:, :, None])
    return w.numpy(), [next(vectors if f == VECTOR else scalars) for f in form]


def meant(op: str, arguments: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """What the table says that an operation makes of arguments."""
    wide = [a.astype(np.float64) for a in arguments]
    if OPS[op].condition:
        wide[0] = wide[0] != 0
    meaning = OPS[op].meaning
    assert meaning is not None
    return np.broadcast_to(meaning(*wide), shape).astype(np.float64)


def assert_near(found: np.ndarray, expected: np.ndarray, units: float) -> None:
    """Assert agreement: the same NaN and infinities, and finite numbers so many units in the last place off at most."""
    rounded = expected.astype(found.dtype)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(found[~finite], rounded[~finite])
    difference = np.abs(found[finite].astype(np.longdouble) - expected[finite])
    assert (difference <= units * np.spacing(np.abs(rounded[finite]))).all()


def stepwise(node: Node, values: dict[str, np.ndarray]) -> np.ndarray:
    """An expression operation by operation, each rounded to the type of the values."""
    if node.op == "name":
        return values[str(node.value)]
    dtype = next(iter(values.values())).dtype
    if node.op == "const":
        return np.array(node.value, dtype)
    op = OPS[node.op]
    assert op.meaning is not None
    result = op.meaning(
        *[stepwise(a, values).astype(bool if op.condition and k == 0 else dtype) for k, a in enumerate(node.args)]
    )
    return np.asarray(result).astype(dtype)
