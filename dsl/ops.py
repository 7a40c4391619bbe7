# pyright: reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false
# sympy has no annotations, so what the table says about it cannot be checked.
"""The op table: every operation of the language, one row each.

A row gives the op's name, arguments and meaning (numpy, float64), how it changes the kind of a value,
its algebraic laws, and how it is written: in the language, in torch, on the host and in sympy. A *derived*
op is defined by rule text in terms of other ops, and every executor gets it for free. Rewriting laws that
need a pattern stand in `dsl.laws`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UserError
from .kinds import FACTS, Kind, join


class Reduce(enum.Enum):
    """What a reduction runs over: the entries of a tensor, of each row or column, or of all tensors."""

    TENSOR = "tensor"
    ROW = "row"
    COL = "col"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation of the language.

    ``meaning`` maps float64 numpy arrays to a float64 (or bool) array, elementwise; for a reduction it
    maps ``(array, axis)`` with ``keepdims`` semantics. ``torch`` and ``host`` are templates with ``{0}``,
    ``{1}`` for the arguments; ``host`` is for Python floats, ``cpp`` for C++ numbers of type ``A``, ``triton`` for
    Triton's blocks (an op without one of them runs in torch there). ``kind`` is given where the kind of a result is not
    the join of the arguments' kinds: it returns None for arguments that the op does not take, and the op is one
    on matrices (the last two axes), of no use outside ``if matrix:``. ``derived`` is the op's definition as rule
    text over its argument names, and then nothing else is needed.
    """

    name: str
    args: tuple[str, ...]
    doc: str
    meaning: Callable[..., Any] | None = None
    torch: str = ""
    host: str = ""
    cpp: str = ""
    triton: str = ""
    sympy: Callable[..., Any] | None = None
    symbol: str = ""
    precedence: int = 100
    commutative: bool = False
    descending: bool = False  # canonical order of commutative arguments: larger terms first
    comparison: bool = False  # yields a condition
    condition: bool = False  # takes a condition as its first argument
    reduce: Reduce | None = None
    kind: Callable[[list[Kind]], Kind | None] | None = None
    derived: str = ""
    keep: bool = False  # a derived op that the canonical form keeps as it is

    @property
    def arity(self) -> int:
        """How many arguments it takes."""
        return len(self.args)

    @property
    def signature(self) -> str:
        """Its call as a reader sees it, such as ``ema(x, y, beta)``."""
        return f"{self.name}({', '.join(self.args)})"


class OpTable:
    """The ops by name. Registering a name twice raises and says who has it."""

    def __init__(self) -> None:
        self._rows: dict[str, Op] = {}
        self.version = 0
        """Counts the changes of the table: what has been computed from an older one is void."""
        self.check_definition: Callable[[Op], None] | None = None
        """Raises for a derived op whose definition cannot be read; set by the module that reads definitions."""

    def register(self, op: Op) -> Op:
        """Add a row after probing it.

        Raises:
            UserError: The name is taken, or neither a meaning nor a definition is given.
        """
        if op.name in self._rows:
            raise UserError(f"an op named {op.name!r} exists already: {self._rows[op.name].doc}", "choose another name")
        if (op.meaning is None) == (not op.derived):
            raise UserError(f"op {op.name!r} needs either a meaning or a definition", "give exactly one")
        if not op.name.isidentifier() or op.name in FACTS:
            raise UserError(f"{op.name!r} cannot name an op", "choose an identifier that says what it does")
        if op.meaning is not None:
            _probe(op)
        elif self.check_definition is not None:
            self.check_definition(op)
        self._rows[op.name] = op
        self.version += 1
        return op

    def unregister(self, name: str) -> None:
        """Take a row out again (tests and notebooks)."""
        del self._rows[name]
        self.version += 1

    def __getitem__(self, name: str) -> Op:
        return self._rows[name]

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def __iter__(self) -> Iterator[Op]:
        return iter(self._rows.values())

    def get(self, name: str) -> Op | None:
        """The row, or None."""
        return self._rows.get(name)


_PROBES = np.array([1.0, 0.0, -0.0, -1.0, 0.5, -2.5, 1e-300, 1e300, -1e300, np.inf, -np.inf, np.nan])


def _probe(op: Op) -> None:
    """Run the meaning on ones, zeros, negatives, extremes, NaN and infinities: it must keep the shape."""
    assert op.meaning is not None
    grids = np.meshgrid(*[_PROBES] * max(2, op.arity))[: op.arity]
    try:
        result, expected = _probed(op, grids)
    except TypeError as error:
        raise UserError(f"op {op.name!r}: its meaning does not take {op.signature}: {error}", "correct one") from error
    if np.shape(result) != expected:
        raise UserError(
            f"op {op.name!r} turns shape {grids[0].shape} into {np.shape(result)}, expected {expected}",
            "an elementwise meaning keeps the shape; a reduction keeps the reduced axes with length 1",
        )


def _probed(op: Op, grids: Sequence[Any]) -> tuple[Any, tuple[int, ...]]:
    """What the meaning makes of the probes, and the shape it must have."""
    assert op.meaning is not None
    with np.errstate(all="ignore"):
        if op.reduce is not None:
            result = op.meaning(grids[0], (0,))
            expected: tuple[int, ...] = (1, *grids[0].shape[1:])
        else:
            arguments = [g > 0 if op.condition and i == 0 else g for i, g in enumerate(grids)]
            result = op.meaning(*arguments)
            expected = grids[0].shape
    return result, expected


OPS = OpTable()
"""The table every part of evoptim reads."""

MATRIX_REDUCTIONS = (Reduce.ROW, Reduce.COL)


def result_kind(op: Op, kinds: list[Kind]) -> Kind | None:
    """The kind of a result: the join of the arguments, less the axes a reduction removes; None if there is none."""
    if op.kind is not None:
        return op.kind(kinds)
    joined = join(kinds)
    if not joined.valid:
        return None
    if op.reduce is None:
        return joined
    match op.reduce:
        case Reduce.TENSOR:
            return Kind.SCALAR
        case Reduce.GLOBAL:
            return Kind.GLOBAL
        case Reduce.ROW:
            return joined.without_rows()
        case Reduce.COL:
            return joined.without_cols()


def reducible(op: Op, kind: Kind) -> bool:
    """Whether a reduction has anything to reduce in a value of this kind."""
    match op.reduce:
        case None:
            return True
        case Reduce.TENSOR:
            return not kind.fits(Kind.SCALAR)
        case Reduce.GLOBAL:
            return not kind.fits(Kind.GLOBAL)
        case Reduce.ROW:
            return kind.has_rows
        case Reduce.COL:
            return kind.has_cols


# --- meanings that numpy does not have as one function -------------------------------------------------


def _maximum(a: Any, b: Any) -> Any:
    both_zero = (a == 0) & (b == 0)
    return np.where(both_zero, a + b, np.maximum(a, b))  # IEEE 754-2019: -0 < +0


def _minimum(a: Any, b: Any) -> Any:
    return -_maximum(np.negative(a), np.negative(b))


def _power(x: Any, y: Any) -> Any:
    x = np.asarray(x, dtype=np.float64)
    return np.where(np.equal(y, 2), x * x, np.power(x, y))  # pow(x, 2) of some libraries is off by one bit


def _sign(x: Any) -> Any:
    return np.where(np.isnan(x), 0.0, np.sign(x))


def _sigmoid(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.float64)))


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0.0)


def _erf(x: Any) -> Any:
    import math

    return np.vectorize(math.erf, otypes=[np.float64])(x)


# --- the rows -------------------------------------------------------------------------------------------


def _infix(name: str, symbol: str, precedence: int, meaning: Any, doc: str, **more: Any) -> None:
    text = f"{{0}} {symbol} {{1}}"
    OPS.register(
        Op(
            name=name,
            args=("x", "y"),
            doc=doc,
            meaning=meaning,
            torch=text,
            host=text,
            cpp="std::pow({0}, {1})" if symbol == "**" else text,
            triton={"**": "libdevice.pow({0}, {1})", "/": "quotient({0}, {1})"}.get(symbol, text),
            symbol=symbol,
            precedence=precedence,
            **more,
        )
    )


_infix("add", "+", 4, np.add, "sum", commutative=True, descending=True, sympy=lambda s, x, y: x + y)
_infix("sub", "-", 4, np.subtract, "difference", sympy=lambda s, x, y: x - y)
_infix("mul", "*", 5, np.multiply, "product", commutative=True, sympy=lambda s, x, y: x * y)
_infix("div", "/", 5, np.divide, "quotient; x/0 is infinite or NaN, as IEEE has it", sympy=lambda s, x, y: x / y)
_infix("power", "**", 7, _power, "x to the power y", sympy=lambda s, x, y: x**y)
for _name, _symbol, _function, _relation in (
    ("less", "<", np.less, "Lt"),
    ("less_equal", "<=", np.less_equal, "Le"),
    ("greater", ">", np.greater, "Gt"),
    ("greater_equal", ">=", np.greater_equal, "Ge"),
    ("equal", "==", np.equal, "Eq"),
    ("not_equal", "!=", np.not_equal, "Ne"),
):
    _infix(
        _name,
        _symbol,
        3,
        _function,
        f"condition x {_symbol} y, for where(); false for NaN except with !=",
        comparison=True,
        sympy=lambda s, x, y, _r=_relation: getattr(s, _r)(x, y),
    )

OPS.register(
    Op(
        name="neg",
        args=("x",),
        doc="-x",
        meaning=np.negative,
        torch="-{0}",
        host="-{0}",
        cpp="-{0}",
        triton="-{0}",
        symbol="-",
        precedence=6,
        sympy=lambda s, x: -x,
    )
)


def _unary(
    name: str, meaning: Any, doc: str, sympy: Any, torch: str = "", host: str = "", cpp: str = "", triton: str = ""
) -> None:
    OPS.register(
        Op(
            name=name,
            args=("x",),
            doc=doc,
            meaning=meaning,
            torch=torch or f"torch.{name}({{0}})",
            host=host or f"math.{name}({{0}})",
            cpp=cpp or (host or f"math.{name}({{0}})").replace("math.", "std::"),
            triton=triton or (host or f"math.{name}({{0}})").replace("math.", "libdevice."),
            sympy=sympy,
        )
    )


_unary("abs", np.abs, "|x|", lambda s, x: s.Abs(x), host="abs({0})", cpp="std::fabs({0})", triton="tl.abs({0})")
_unary(
    "sign",
    _sign,
    "-1, 0 or 1; 0 for NaN, as torch has it",
    lambda s, x: s.sign(x),
    host="(({0} > 0) - ({0} < 0))",
    cpp="sign_({0})",
    triton="sign_of({0})",
)
_unary(
    "floor",
    np.floor,
    "the largest integer not above x",
    lambda s, x: s.floor(x),
    host="float(math.floor({0}))",
    cpp="std::floor({0})",
    triton="tl.floor({0})",
)
_unary("sqrt", np.sqrt, "square root; NaN below zero", lambda s, x: s.sqrt(x), triton="root({0})")
_unary("exp", np.exp, "e to the x", lambda s, x: s.exp(x))
_unary("exp2", np.exp2, "2 to the x", lambda s, x: 2**x)
_unary("expm1", np.expm1, "e to the x, less 1, exact near 0", lambda s, x: s.exp(x) - 1)
_unary("log", np.log, "natural logarithm; NaN below zero", lambda s, x: s.log(x))
_unary("log2", np.log2, "logarithm to base 2", lambda s, x: s.log(x, 2))
_unary("log10", np.log10, "logarithm to base 10", lambda s, x: s.log(x, 10))
_unary("log1p", np.log1p, "log(1 + x), exact near 0", lambda s, x: s.log(1 + x))
_unary("sin", np.sin, "sine", lambda s, x: s.sin(x))
_unary("cos", np.cos, "cosine", lambda s, x: s.cos(x))
_unary("tan", np.tan, "tangent", lambda s, x: s.tan(x))
_unary("arcsin", np.arcsin, "inverse sine", lambda s, x: s.asin(x), host="math.asin({0})")
_unary("arccos", np.arccos, "inverse cosine", lambda s, x: s.acos(x), host="math.acos({0})")
_unary("arctan", np.arctan, "inverse tangent", lambda s, x: s.atan(x), host="math.atan({0})")
_unary("sinh", np.sinh, "hyperbolic sine", lambda s, x: s.sinh(x))
_unary("cosh", np.cosh, "hyperbolic cosine", lambda s, x: s.cosh(x))
_unary("tanh", np.tanh, "hyperbolic tangent", lambda s, x: s.tanh(x))
_unary("arcsinh", np.arcsinh, "inverse hyperbolic sine", lambda s, x: s.asinh(x), host="math.asinh({0})")
_unary("arccosh", np.arccosh, "inverse hyperbolic cosine", lambda s, x: s.acosh(x), host="math.acosh({0})")
_unary("arctanh", np.arctanh, "inverse hyperbolic tangent", lambda s, x: s.atanh(x), host="math.atanh({0})")
_unary("erf", _erf, "error function", lambda s, x: s.erf(x))
_unary(
    "sigmoid",
    _sigmoid,
    "1 / (1 + exp(-x))",
    lambda s, x: 1 / (1 + s.exp(-x)),
    host="1 / (1 + math.exp(-{0}))",
    cpp="sigmoid_({0})",
    triton="sigmoid({0})",
)
_unary(
    "softplus",
    _softplus,
    "log(1 + exp(x))",
    lambda s, x: s.log(1 + s.exp(x)),
    torch="torch.logaddexp({0}, torch.zeros_like({0}))",
    host="max({0}, 0.0) + math.log1p(math.exp(-abs({0})))",
    cpp="softplus_({0})",
    triton="softplus({0})",
)

OPS.register(
    Op(
        name="max",
        args=("x", "y"),
        doc="the larger; NaN if either is",
        meaning=_maximum,
        torch="torch.maximum({0}, {1})",
        host="max({0}, {1})",
        cpp="max_({0}, {1})",
        triton="larger({0}, {1})",
        commutative=True,
        sympy=lambda s, x, y: s.Max(x, y),
    )
)
OPS.register(
    Op(
        name="min",
        args=("x", "y"),
        doc="the smaller; NaN if either is",
        meaning=_minimum,
        torch="torch.minimum({0}, {1})",
        host="min({0}, {1})",
        cpp="min_({0}, {1})",
        triton="smaller({0}, {1})",
        commutative=True,
        sympy=lambda s, x, y: s.Min(x, y),
    )
)
OPS.register(
    Op(
        name="where",
        args=("condition", "x", "y"),
        doc="x where the condition holds, else y, element by element",
        meaning=np.where,
        torch="torch.where({0}, {1}, {2})",
        host="({1} if {0} else {2})",
        cpp="({0} ? {1} : {2})",
        triton="tl.where({0}, {1}, {2})",
        condition=True,
        sympy=lambda s, c, x, y: s.Piecewise((x, c), (y, True)),
    )
)


def _derived(name: str, args: str, definition: str, doc: str, *, keep: bool = False, torch: str = "") -> None:
    OPS.register(Op(name=name, args=tuple(args.split()), doc=doc, derived=definition, keep=keep, torch=torch))


_derived("square", "x", "x * x", "x * x", keep=True, torch="torch.square({0})")
_derived("cube", "x", "x * x * x", "x * x * x")
_derived("reciprocal", "x", "1 / x", "1 / x")
_derived("cbrt", "x", "sign(x) * abs(x) ** (1 / 3)", "real cube root")
_derived("exp10", "x", "10 ** x", "10 to the x")
_derived(
    "ema",
    "x y beta",
    "beta * x + (1 - beta) * y",
    "exponential moving average: beta * x + (1 - beta) * y",
    keep=True,
)
_derived("lerp", "x y s", "x + s * (y - x)", "linear interpolation from x (s = 0) to y (s = 1)")
_derived("clip", "x lo hi", "min(max(x, lo), hi)", "x kept within lo and hi")
_derived("safe_div", "x y", "x / (abs(y) + 1e-8) * where(y < 0, -1, 1)", "x / y, bounded near y = 0")
_derived("safe_reciprocal", "x", "safe_div(1, x)", "1 / x, bounded near x = 0")
_derived("safe_log", "x", "log(abs(x) + 1e-8)", "log(|x| + 1e-8)")
_derived("safe_sqrt", "x", "sqrt(abs(x))", "sqrt(|x|)")
_derived("safe_power", "x y", "abs(x) ** y", "|x| to the power y")

OPS.register(
    Op(
        name="matmul",
        args=("x", "y"),
        doc="matrix product over the last two dimensions",
        meaning=np.matmul,
        torch="torch.matmul({0}, {1})",
        kind=lambda kinds: kinds[0].times(kinds[1]),
        sympy=lambda s, x, y: s.Function("matmul")(x, y),
    )
)
OPS.register(
    Op(
        name="transpose",
        args=("x",),
        doc="the last two dimensions exchanged",
        meaning=lambda x: np.swapaxes(x, -1, -2),
        torch="{0}.mT",
        kind=lambda kinds: kinds[0].transposed() if kinds[0].has_rows or kinds[0].has_cols else None,
        sympy=lambda s, x: s.Function("transpose")(x),
    )
)

_REDUCED = {
    Reduce.TENSOR: ("", "over all entries of one parameter"),
    Reduce.ROW: ("row_", "over each row (the last dimension): one value per row"),
    Reduce.COL: ("col_", "over each column (the last but one dimension): one value per column"),
    Reduce.GLOBAL: ("global_", "over all entries of all parameters"),
}

for _axis, (_prefix, _over) in _REDUCED.items():
    for _name, _function, _doc in (
        ("sum", np.sum, "sum"),
        ("max", np.max, "largest entry"),
        ("min", np.min, "smallest entry"),
    ):
        _full = f"{_prefix}{_name}" if _prefix or _name == "sum" else f"a{_name}"
        OPS.register(
            Op(
                name=_full,
                args=("x",),
                doc=f"{_doc} {_over}",
                meaning=lambda x, axis, _f=_function: _f(x, axis=axis, keepdims=True),
                torch=_name if _name == "sum" else f"a{_name}",
                reduce=_axis,
                sympy=lambda s, x, _n=_full: s.Function(_n)(x),
            )
        )
    OPS.register(
        Op(
            name=f"{_prefix}mean",
            args=("x",),
            doc=f"mean {_over}",
            meaning=lambda x, axis: np.mean(x, axis=axis, keepdims=True),
            torch="mean",
            reduce=_axis,
            sympy=lambda s, x, _n=f"{_prefix}mean": s.Function(_n)(x),
        )
    )
    _derived(f"{_prefix}norm", "x", f"sqrt({_prefix}sum(square(x)))", f"Euclidean norm {_over}")
    _derived(f"{_prefix}rms", "x", f"sqrt({_prefix}mean(square(x)))", f"root mean square {_over}")
    _derived(f"{_prefix}dot", "x y", f"{_prefix}sum(x * y)", f"inner product {_over}")
    _derived(
        f"{_prefix}cosine",
        "x y",
        f"{_prefix}dot(x, y) / ({_prefix}norm(x) * {_prefix}norm(y) + 1e-8)",
        f"cosine of the angle between x and y, {_over}",
    )

_derived(
    "clip_by_global_norm",
    "x limit",
    "x * min(1, limit / (global_norm(x) + 1e-6))",
    "x, scaled down where its norm over all parameters exceeds the limit, as torch.nn.utils.clip_grad_norm_ does",
)
