# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# sympy has no annotations.
"""A rule as sympy would write it. Imports sympy when called."""

from __future__ import annotations

from .algebra import rule_from_sympy, rule_to_sympy
from .canonical import canonicalize
from .check import check
from .errors import UserError
from .rule import Rule

LARGEST = 80
"""Operations, as sympy counts them, of an expression that it is asked to simplify: beyond, it may take minutes."""


def simplified_by_sympy(rule: Rule) -> Rule | None:
    """A rule whose outputs sympy has simplified: equal in real arithmetic, where rounding may differ.

    Args:
        rule: A valid rule.

    Returns:
        The rule in canonical form; None where it treats matrices differently, an expression is too long, or what
        sympy makes of it cannot be said in the language.
    """
    import sympy

    if len(rule.classes) > 1:
        return None
    outputs = rule_to_sympy(rule)
    if any(sympy.count_ops(e) > LARGEST for e in outputs.values()):
        return None
    try:
        made = rule_from_sympy({n: sympy.simplify(e) for n, e in outputs.items()}, rule)
    except UserError:  # a function of sympy that is no operation: the rule stays as it is
        return None
    made = made.replace(hypers=rule.hypers)
    return None if check(made) else canonicalize(made)
