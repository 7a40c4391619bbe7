"""Hypothesis strategies that draw random well-typed rules.

`rules` builds a `Rule` as IR, by construction from kinds: an expression is asked to fit a kind, and every
leaf, operation and reduction in it is chosen so that it does. So ``check(rule) == []`` holds for every rule
drawn, and nothing is filtered away. What a name stands for after ``if matrix:`` may differ between the two
classes of parameters, so kinds are kept three times: as the checker sees them, for matrices, for the others.

Example:
    >>> from hypothesis import given
    >>> @given(rules(branches=False, tame=True))
    ... def test_something(rule): ...
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from evoptim.dsl import OPS, Assign, Buffer, Domain, Hyper, If, Kind, Node, Op, Reduce, Rule, const, kind_of, load, name
from evoptim.dsl.check import derived_kind, reduction_of
from evoptim.dsl.derived import expand
from evoptim.dsl.kinds import STATE_KINDS

T = TypeVar("T")
Draw = Callable[[st.SearchStrategy[T]], T]

FACTORED = (Kind.ROW, Kind.COL, Kind.PLANE)
BUFFERS = ("m", "v", "exp_avg", "x1", "w_new", "n2")  # two of them look like names that canonicalisation makes up
HYPERS = ("lr", "beta1", "beta2", "eps", "weight_decay", "gain")
VARIABLES = ("u", "d", "s", "z", "x2", "m_new")
DOCS = ("", "One line.", "A title.\n\nAnd more:\n    indented", 'It says "so"', "back\\slash and é\u4e2d")

EDGES = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 3.0, 1e-8, -1e-8, 1e-30, 5e-324, 1e300, -1e300, 0.1, 1024.0)
TAME = (0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 0.1, -0.25, 1e-8, 0.9)

TAME_OPS = (
    *(
        "add",
        "sub",
        "mul",
        "neg",
        "abs",
        "max",
        "min",
        "where",
        "square",
        "ema",
        "lerp",
        "tanh",
        "arctan",
        "sin",
        "cos",
    ),
    *("sigmoid", "softplus", "erf", "safe_sqrt", "log1p", "div", "sqrt", "power", "sign"),
)
TAME_REDUCTIONS = ("sum", "mean", "amax", "amin", "norm", "rms", "dot", "max", "min")


def _reduction(op: Op) -> Reduce | None:
    """What an op reduces its arguments over; None where the result has their kind."""
    if op.derived and derived_kind(op, (Kind.TENSOR,) * op.arity) == Kind.TENSOR:
        return None
    return op.reduce or (reduction_of(op) if op.derived else None)


def _elementwise(op: Op) -> bool:
    return op.reduce is None and op.kind is None and not op.comparison and not (op.derived and reduction_of(op))


@dataclass
class _Scope:
    """What the names stand for: the kinds the checker knows, and those of each class of parameters."""

    known: dict[str, Kind]
    matrix: dict[str, Kind]
    vector: dict[str, Kind]
    conditions: tuple[str, ...] = ()  # names that stand for conditions
    given: bool = True  # whether g is still the gradient as it came
    mode: str = "both"  # or "matrix", "vector": inside a branch

    def views(self) -> list[dict[str, Kind]]:
        """The kinds that matter where a statement stands."""
        classes = {"both": [self.matrix, self.vector], "matrix": [self.matrix], "vector": [self.vector]}
        return [self.known, *classes[self.mode]]

    def usable(self, target: Kind, conditions: bool = False) -> list[str]:
        """Names that may stand in an expression of a kind."""
        names = [n for n, k in self.known.items() if k.fits(target)]
        if self.mode != "matrix":
            names = [n for n in names if self.vector[n] not in FACTORED]
        return [n for n in names if (n in self.conditions) == conditions]

    def anchors(self, allowed: Sequence[Kind], target: Kind) -> list[str]:
        """Names that have one of the kinds, however one looks at it."""
        return [n for n in self.usable(target) if all(v[n] in allowed for v in self.views())]

    def assign(self, target: str, value: Node) -> None:
        """Note what a name stands for after an assignment."""
        kinds = [kind_of(value, view) for view in self.views()]
        for view, kind in zip(self.views(), kinds, strict=True):
            view.pop(target, None)  # the newest stands last
            view[target] = kind
        self.given = self.given and target != "g"

    def branch(self, mode: str) -> _Scope:
        """The scope inside a branch."""
        kinds = dict(self.known), dict(self.matrix), dict(self.vector)
        return _Scope(*kinds, conditions=self.conditions, given=self.given, mode=mode)

    def merge(self, then: _Scope, other: _Scope, assigned: set[str]) -> None:
        """What the branches leave behind: names that both of them know."""
        self.matrix, self.vector = then.matrix, other.vector
        self.given = then.given and other.given
        self.known = {
            n: kind | other.known[n] | (Kind.SCALAR if n in assigned else Kind.HOST)
            for n, kind in then.known.items()
            if n in other.known
        }


@dataclass
class _Builder:
    """Draws the parts of one rule."""

    draw: Draw
    reductions: bool
    branches: bool
    globals_: bool
    tame: bool

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))

    def chance(self, percent: int) -> bool:
        return self.draw(st.integers(0, 99)) < percent

    # the signature

    def buffers(self) -> tuple[Buffer, ...]:
        names = self.draw(st.lists(st.sampled_from(BUFFERS), unique=True, max_size=4))
        return tuple(self.buffer(n) for n in names)

    def buffer(self, identifier: str) -> Buffer:
        kinds = [Kind.TENSOR, *STATE_KINDS.values()]
        kinds = [k for k in kinds if (self.branches or k not in FACTORED) and (self.globals_ or k != Kind.GLOBAL)]
        kind = self.pick(kinds)
        init = self.pick(("", "", "g", "w")) if kind == Kind.TENSOR else ""
        return Buffer(identifier, kind, init, output=kind == Kind.TENSOR and self.chance(10))

    def hypers(self) -> tuple[Hyper, ...]:
        names = self.draw(st.lists(st.sampled_from(HYPERS), unique=True, max_size=3))
        return tuple(self.hyper(n) for n in names)

    def hyper(self, identifier: str) -> Hyper:
        default = self.pick((0.001, 0.5, 0.9, 0.999)) if self.tame or self.chance(70) else self.constant()
        domains = [
            None,
            Domain("uniform", (default - 1, default + 1)) if abs(default) < 1e9 else None,
            Domain("choice", (default, 0.25)),
            Domain("log", (default / 2, default * 2)) if 1e-30 < default < 1e30 else None,
            Domain("one_minus_log", (-1, 0.9999)) if 0 <= default < 0.9999 else None,
        ]
        return Hyper(identifier, default, self.pick(domains))

    def constant(self) -> float:
        if self.tame:
            return self.pick(TAME)
        return self.draw(st.sampled_from(EDGES) | st.floats(allow_nan=False, allow_infinity=False))

    # expressions

    def expression(self, scope: _Scope, target: Kind, depth: int) -> Node:
        """A number of a kind that fits the target."""
        if depth == 0 or self.chance(20):
            return self.leaf(scope, target)
        if self.reductions and scope.mode == "matrix" and self.chance(10) and Kind.SCALAR.fits(target):
            made = self.product(scope, target)
            if made is not None:
                return made
        reduced = self.reduced(scope, target, depth) if self.reductions and self.chance(30) else None
        return reduced or self.applied(scope, target, depth)

    def product(self, scope: _Scope, target: Kind) -> Node | None:
        """Matrix products; on each other, on what they are made of, or reduced to one number. None without a matrix."""
        names = scope.anchors((Kind.TENSOR,), Kind.TENSOR)
        if not names:
            return None
        x, y, z = (name(self.pick(names)) for _ in range(3))  # a product stands often in what is made of it
        gram = Node("matmul", (x, Node("transpose", (y,))))
        if self.tame:
            gram = Node("div", (gram, name("cols")))
        if not Kind.TENSOR.fits(target):
            return Node(self.pick(("mean", "norm", "rms")), (gram,))
        if self.chance(30):
            gram = Node("sub", (gram, Node("matmul", (gram, gram))))
        if self.chance(30):
            inner = Node("matmul", (Node("transpose", (gram,)), z))
            return Node("transpose", (Node("transpose", (inner,)),))
        return Node("matmul", (gram, z))

    def leaf(self, scope: _Scope, target: Kind) -> Node:
        if self.reductions and Kind.STATIC.fits(target) and self.chance(5):
            facts = ("ndim", "numel", "rows", "cols") if scope.mode == "matrix" else ("ndim", "numel")
            return name(self.pick(facts))
        names = scope.usable(target)
        names = names[-3:] if self.chance(50) else names  # what is new is read more often
        return name(self.pick(names)) if names and self.chance(75) else const(self.constant())

    def applied(self, scope: _Scope, target: Kind, depth: int) -> Node:
        """An elementwise operation."""
        ops = TAME_OPS if self.tame else [o.name for o in OPS if _elementwise(o)]
        op = OPS[self.pick(ops)]
        if self.tame and op.name in ("div", "sqrt", "log1p", "power", "sign"):
            return self.guarded(op.name, scope, target, depth)
        if op.condition:
            chosen = [self.expression(scope, target, depth - 1) for _ in range(2)]
            return Node(op.name, (self.condition(scope, target, depth - 1), *chosen))
        args = tuple(self.expression(scope, target, depth - 1) for _ in op.args)
        if op.name == "neg" and args[0].op == "const":
            return const(-float(args[0].value or 0.0))  # what the text of neg(const) reads as
        return Node(op.name, args)

    def guarded(self, op: str, scope: _Scope, target: Kind, depth: int) -> Node:
        """An operation kept away from where it is steep."""
        inner = self.expression(scope, target, depth - 1)
        match op:
            case "div":
                divisor = self.expression(scope, target, depth - 1)
                return Node("div", (inner, Node("add", (Node("abs", (divisor,)), const(0.5)))))
            case "sqrt":
                return Node("sqrt", (Node("add", (Node("square", (inner,)), const(0.01))),))
            case "log1p":
                return Node("log1p", (Node("abs", (inner,)),))
            case "sign":
                return Node("sign", (name("g"),)) if self.steady(scope, target) else inner
            case _:
                decay = Node("power", (const(0.9), name("t")))
                return decay if "t" in scope.known else Node("power", (inner, const(2.0)))

    def steady(self, scope: _Scope, target: Kind) -> bool:
        """Whether g is still the gradient as given: what jumps may only look at what no rounding has touched."""
        return scope.given and "g" in scope.usable(target)

    def condition(self, scope: _Scope, target: Kind, depth: int) -> Node:
        """A condition of a kind that fits the target."""
        op = self.pick([o.name for o in OPS if o.comparison])
        if self.tame:
            left = name("g") if self.steady(scope, target) else const(0.5)
            return Node(op, (left, const(self.constant())))
        stored = scope.usable(target, conditions=True)
        if stored and self.chance(50):
            return name(self.pick(stored))
        return Node(op, tuple(self.expression(scope, target, max(0, depth)) for _ in range(2)))

    # reductions

    def reduced(self, scope: _Scope, target: Kind, depth: int) -> Node | None:
        """A reduction whose result fits the target; None where there is nothing to reduce."""
        rows = [o for o in OPS if (axis := _reduction(o)) is not None and self.allowed(o, axis, scope, target)]
        if not rows:
            return None
        op = self.pick(rows)
        choices = self.reducible(_reduction(op), target)
        found = [(kinds, names) for kinds in choices if (names := scope.anchors(kinds, kinds[0]))]
        if not found:
            return None
        kinds, names = self.pick(found)
        return Node(op.name, tuple(self.anchored(scope, names, kinds[0], depth - 1) for _ in op.args))

    def allowed(self, op: Op, axis: Reduce, scope: _Scope, target: Kind) -> bool:
        short = op.name.removeprefix(f"{axis.value}_")
        if self.tame and short not in TAME_REDUCTIONS:
            return False
        match axis:
            case Reduce.GLOBAL:
                return self.globals_ and scope.mode == "both" and Kind.GLOBAL.fits(target)
            case Reduce.TENSOR:
                return Kind.SCALAR.fits(target)
            case _:
                return scope.mode == "matrix" and Kind.PLANE.fits(target)

    def reducible(self, axis: Reduce | None, target: Kind) -> list[tuple[Kind, ...]]:
        """The kinds an argument may have, widest first."""
        match axis:
            case Reduce.GLOBAL:
                return [(Kind.TENSOR, Kind.SCALAR)]
            case Reduce.TENSOR:
                return [(Kind.TENSOR,), (Kind.ROW,), (Kind.COL,)]
            case Reduce.ROW:
                return [*([(Kind.TENSOR,)] if Kind.ROW.fits(target) else []), (Kind.COL,)]
            case _:
                return [*([(Kind.TENSOR,)] if Kind.COL.fits(target) else []), (Kind.ROW,)]

    def anchored(self, scope: _Scope, names: Sequence[str], kind: Kind, depth: int) -> Node:
        """An expression that is sure to vary as one of the names does."""
        anchor = name(self.pick(names))
        if depth <= 0 or self.chance(40):
            return anchor
        return Node(self.pick(("add", "sub", "mul", "max")), (anchor, self.expression(scope, kind, depth)))

    # statements

    def update(self, scope: _Scope) -> Assign:
        """The new parameter: it reads some of what there is, so that not everything before it is dead."""
        value = self.expression(scope, Kind.TENSOR, 3)
        for known in self.draw(st.lists(st.sampled_from(scope.usable(Kind.TENSOR)), max_size=3)):
            value = Node(self.pick(("add", "sub", "mul", "max")), (value, name(known)))
        return self.assign(scope, "w", Kind.TENSOR, value)

    def assign(self, scope: _Scope, target: str, kind: Kind, value: Node | None = None) -> Assign:
        value = value or self.expression(scope, kind, 3)
        if self.tame and value.args:
            value = Node("clip", (value, const(-2.0), const(2.0)))
        scope.assign(target, value)
        return Assign(target, value)

    def compare(self, scope: _Scope) -> Assign:
        """A condition with a name."""
        value = self.condition(scope, Kind.TENSOR, 2)
        scope.assign("k", value)
        scope.conditions = ("k",)
        return Assign("k", value)

    def kind(self, scope: _Scope) -> Kind:
        kinds = [Kind.TENSOR, Kind.TENSOR, Kind.TENSOR, Kind.SCALAR, Kind.GLOBAL, Kind.HOST]
        return self.pick([*kinds, Kind.ROW, Kind.COL] if scope.mode == "matrix" else kinds)

    def targets(self, rule: Rule) -> list[str]:
        return [*VARIABLES, "w", "g", *(b.name for b in rule.buffers)]

    def statement(self, rule: Rule, scope: _Scope) -> Assign | If:
        if self.branches and self.chance(25):
            return self.branch(rule, scope)
        if not self.tame and self.chance(10):
            return self.compare(scope)
        return self.assign(scope, self.pick(self.targets(rule)), self.kind(scope))

    def branch(self, rule: Rule, scope: _Scope) -> If:
        then, other = scope.branch("matrix"), scope.branch("vector")
        both = self.draw(st.lists(st.sampled_from(self.targets(rule)), unique=True, max_size=2))
        blocks = tuple(self.block(rule, s, both) for s in (then, other))
        scope.merge(then, other, {a.target for block in blocks for a in block})
        return If(*blocks)

    def block(self, rule: Rule, scope: _Scope, both: list[str]) -> tuple[Assign, ...]:
        alone = self.draw(st.lists(st.sampled_from(self.targets(rule)), max_size=2))
        factored = [b for b in rule.buffers if b.kind in FACTORED and scope.mode == "matrix" and self.chance(60)]
        assigns = [self.assign(scope, target, self.kind(scope)) for target in (*alone, *both)]
        return (*assigns, *(self.assign(scope, b.name, b.kind) for b in factored))

    def returned(self, scope: _Scope, slot: Buffer) -> Node:
        """A new value for a buffer; rows and columns are handed on by name."""
        if slot.kind in (Kind.ROW, Kind.COL):
            names = [n for n, k in scope.known.items() if k.fits(slot.kind) and n not in scope.conditions]
        else:
            names = scope.usable(slot.kind)
        if slot.name in names and self.chance(70):
            return name(slot.name)
        if names and self.chance(50):
            return name(self.pick(names))
        value = self.expression(scope, slot.kind, 2)
        return Node("clip", (value, const(-2.0), const(2.0))) if self.tame and value.args else value

    def rule(self) -> Rule:
        t = self.chance(50)
        rule = Rule(self.pick(("r", "my_rule2")), self.pick(DOCS), self.buffers(), self.hypers(), (), (), t)
        if t and self.chance(40):
            names = [b.name for b in rule.buffers]
            names.insert(self.draw(st.integers(0, len(names))), "t")
            rule = rule.replace(order=() if tuple(names) == rule.positional else tuple(names))
        kinds = {n: leaf.kind for n, leaf in rule.leaves.items()}
        scope = _Scope(dict(kinds), dict(kinds), dict(kinds))
        body = [self.statement(rule, scope) for _ in range(self.draw(st.integers(0, 6)))]
        body.append(self.update(scope))
        slots = (Buffer("w"), *rule.buffers)
        return rule.replace(body=tuple(body), returns=tuple(self.returned(scope, s) for s in slots))


@st.composite
def rules(
    draw: Draw, *, reductions: bool = True, branches: bool = True, globals_: bool = True, tame: bool = False
) -> Rule:
    """Random valid rules.

    Args:
        draw: Given by hypothesis.
        reductions: Sums, means, norms over tensors, and over rows and columns inside branches.
        branches: ``if matrix:`` and row and column buffers.
        globals_: Global buffers, and reductions over all parameters where there are reductions.
        tame: Only operations that are smooth and of moderate size: nothing overflows, and conditions and signs
            look at the gradient as it came. Two executors in float64 agree within rounding on such rules.
    """
    return _Builder(draw, reductions, branches, globals_, tame).rule()


def with_lr_last(rule: Rule) -> Rule:
    """The rule with SGD's learning rate behind its hyperparameters, if it has none: what is trained has one."""
    return rule if "lr" in rule.defaults else rule.replace(hypers=(*rule.hypers, load("sgd").hypers[0]))


def primitive_ops(rule: Rule) -> set[str]:
    """The ops of a rule with derived ops expanded, to see what a strategy reaches."""
    roots = [*(a.value for a in rule.assigns()), *rule.returns]
    return {n.op for root in roots for n in expand(root).walk()}
