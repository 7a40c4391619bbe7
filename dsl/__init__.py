"""What a rule is: the language, its types, rewriting and printing. Needs numpy, never torch.

Example:
    >>> from evoptim.dsl import load
    >>> print(load("lion").text)  # doctest: +ELLIPSIS
    def lion(w, g, m, *, lr=1e-4, beta1=0.9, beta2=0.99, weight_decay=0):
        ...
"""

from .algebra import from_sympy, rule_from_sympy, rule_to_sympy, to_sympy
from .canonical import canonical_hash, canonicalize, hash_and_live, live_names
from .check import check, is_valid
from .domains import Domain
from .equality import Counterexample, Verdict, equal
from .errors import Problem, RuleError, Span, UserError
from .gate import zero_gradient_problem
from .infer import elementwise, kind_of, live_statements, reduces
from .kinds import Kind, Type
from .latex import latex
from .library import GROUPS, library_text, load, rule_group, rule_names
from .lower import Graph, lower
from .naming import absorb_factor, name_constants
from .node import Node, const, name
from .ops import OPS, Op, Reduce
from .parse import parse, parse_assignment, parse_file, rule
from .reference import Reference
from .rule import Assign, Buffer, Hyper, If, Rule, Statement
from .simplification import Simplification, Step, simplify_rule
from .sympy_form import simplified_by_sympy
from .transforms import (
    derive,
    with_accumulation,
    with_averaging,
    with_caution,
    with_centralization,
    with_clipping,
    with_layer_adaptation,
    with_lazy,
    with_lookahead,
    with_nesterov,
    with_schedule,
    with_weight_decay,
)

__all__ = [
    "GROUPS",
    "OPS",
    "Assign",
    "Buffer",
    "Counterexample",
    "Domain",
    "Graph",
    "Hyper",
    "If",
    "Kind",
    "Node",
    "Op",
    "Problem",
    "Reduce",
    "Reference",
    "Rule",
    "RuleError",
    "Simplification",
    "Span",
    "Statement",
    "Step",
    "Type",
    "UserError",
    "Verdict",
    "absorb_factor",
    "canonical_hash",
    "canonicalize",
    "check",
    "const",
    "derive",
    "elementwise",
    "equal",
    "from_sympy",
    "hash_and_live",
    "is_valid",
    "kind_of",
    "latex",
    "library_text",
    "live_names",
    "live_statements",
    "load",
    "lower",
    "name",
    "name_constants",
    "parse",
    "parse_assignment",
    "parse_file",
    "reduces",
    "rule",
    "rule_from_sympy",
    "rule_group",
    "rule_names",
    "rule_to_sympy",
    "simplified_by_sympy",
    "simplify_rule",
    "to_sympy",
    "with_accumulation",
    "with_averaging",
    "with_caution",
    "with_centralization",
    "with_clipping",
    "with_layer_adaptation",
    "with_lazy",
    "with_lookahead",
    "with_nesterov",
    "with_schedule",
    "with_weight_decay",
    "zero_gradient_problem",
]
