"""The language's transforms as mutations: applied to a free program as they are, to a framed one with u as its step."""

from __future__ import annotations

from evoptim.dsl import Assign, Node, Rule, Statement, const, derive, name
from evoptim.dsl.derived import substitute
from evoptim.dsl.rule import with_values

from .program import Program, applied, flatten

IN_FRAME = (
    "clipping:by=value",
    "clipping:by=norm",
    "clipping:by=rms",
    "clipping:by=global_norm",
    "nesterov",
    "caution",
    "layer_adaptation",
)
"""Transforms of the gradient or of the step; others change the parameter in a way that the frame keeps to itself."""

FREE = (*IN_FRAME, "centralization", "lookahead", "lazy")

_STEP = Node("sub", (name("w"), name("u")))
"""What a framed program does to the parameter with lr = 1 and without decay."""


def derived(program: Program) -> Rule | None:
    """The program under a random transform, its new hyperparameters constants where it is framed."""
    rule = program.rule
    description = program.random.choice(IN_FRAME if program.framed else FREE)
    program.told = description
    changed = _framed(rule, description) if program.framed else derive(rule, description)
    return changed and flatten(changed.replace(name=rule.name, doc=rule.doc), free=not program.framed)


def _framed(rule: Rule, description: str) -> Rule | None:
    """A framed program under a transform; None where the result is not a step of the frame.

    The transform sees ``w = w - u``. What it does before that stays as it is; after that, the old parameter less the
    new one is u in real arithmetic, and a new parameter that is the old one less x makes x the new u.
    """
    *genome, frame = rule.body
    step = Assign("w", _STEP)
    whole = derive(rule.replace(body=(*genome, step)), description)
    added = {h.name: const(h.default) for h in whole.hypers if h not in rule.hypers} | {"lr": const(1.0)}
    body = with_values(whole.body, lambda value: substitute(value, added, applied))
    end = body.index(step)
    begin = end - len(genome)
    old = {s.target: name("w") for s in body[:begin] if isinstance(s, Assign) and s.value is name("w")}
    before = [s for s in body[:begin] if not (isinstance(s, Assign) and s.target in old)]
    after = _steps(body[end + 1 :], old)
    if after is None:
        return None
    return whole.replace(body=(*before, *body[begin:end], *after, frame), hypers=rule.hypers)


def _steps(tail: tuple[Statement, ...], old: dict[str, Node]) -> list[Statement] | None:
    """The statements after the step, in terms of u."""
    now = old | {"w": _STEP}
    out: list[Statement] = []
    for statement in tail:
        assert isinstance(statement, Assign)
        value = substitute(statement.value, now, _cancelled)
        if statement.target != "w":
            out.append(Assign(statement.target, value))
        elif value.op == "sub" and value.args[0] is name("w"):
            out.append(Assign("u", value.args[1]))
        else:
            return None
    return out


def _cancelled(op: str, args: tuple[Node, ...]) -> Node:
    """An op, but x for ``w - (w - x)``."""
    inner = args[1] if op == "sub" else None
    if inner is not None and inner.op == "sub" and args[0] is name("w") and inner.args[0] is name("w"):
        return inner.args[1]
    return applied(op, args)
