"""The statements of Triton kernels: what a tile loads, computes and stores."""

from __future__ import annotations

import re

from evoptim.dsl import OPS, Kind, Node, Op, Reduce
from evoptim.dsl.kinds import FACTS

from ...plan import Plan
from ..statements import Columns, Statements

_TAKEN = frozenset(
    "tl triton libdevice quotient root sign_of larger smaller sigmoid softplus dithered joined reduced combine_lines "
    "combine_all chunks pointers sizes hosts known shared partial skip values facts groups going grad_scale P A ALIGN "
    "LANES ROUND CHUNK BLOCK STRIP DOWN ACROSS LINES START HOW i j k y c q h at begin end start whole inside in_rows "
    "in_cols plane planes rows cols across left down first step t factor v f float range print len int min max abs sum "
    "new".split()
)
_LARGEST = 3.4028234e38


def is_big(plan: Plan, n: Node) -> bool:
    """Whether a reduction goes over elements, and not over rows, columns or single values."""
    return plan.kinds[n.args[0]] == Kind.TENSOR


class Tables(Columns):
    """The columns of a launch's tables: beside those of all targets, partial lines and the step count."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.parts: tuple[Node, ...] = tuple(n for n in self.lines if is_big(plan, n))
        self.own: tuple[Node, ...] = tuple(n for n in self.known if OPS[n.op].reduce is not Reduce.GLOBAL)
        self.over_all: tuple[Node, ...] = tuple(n for n in self.known if OPS[n.op].reduce is Reduce.GLOBAL)

    @property
    def step(self) -> int:
        """The column of the step count; those of the rest and the seed of rounding follow."""
        return self.pointer_count + len(self.parts)

    @property
    def width(self) -> int:
        """Pointers per tensor: also what is left of rounding, and the seed of random rounding, where they exist."""
        return self.step + 3


class Kernel(Statements):
    """The statements of a kernel: once a program, once a column or row of it, once a tile."""

    def __init__(self, plan: Plan, stops: dict[Node, str]) -> None:
        super().__init__(plan, stops, _TAKEN)
        self.columns = self.tables = Tables(plan)
        self.head: list[str] = []
        self.body: list[str] = []
        self.pointers: dict[str, tuple[str, str]] = {}
        self.scalars: list[str] = []  # the names of what stands in the head

    @property
    def innermost(self) -> list[str]:
        """The statements of a tile."""
        return self.body

    def lines(self, n: Node) -> list[str]:
        """Where a value is computed."""
        kind = self.plan.kinds[n]
        return self.body if kind == Kind.TENSOR or kind.has_rows or kind.has_cols else self.head

    def constant(self, value: float, operand: bool) -> str:
        """A number: with its type where no operator would give it the other operand's."""
        if abs(value) > _LARGEST or 0 < abs(value) < 1e-37 or value != value:
            return f"tl.full([], {_python(value)}, tl.float64).to(A)"
        return repr(value) if operand else f"tl.full([], {value!r}, A)"

    def form(self, op: Op) -> str:
        """An operation in Triton."""
        return op.triton

    def declared(self, n: Node, text: str) -> str:
        """The statement that gives a value its name."""
        if self.lines(n) is self.head:
            self.scalars.append(self.names(n))
        return f"{self.names(n)} = {text}"

    def _in_head(self, n: Node, text: str) -> str:
        self.head.append(f"{self.names(n)} = {text}")
        self.scalars.append(self.names(n))
        return self.names(n)

    def host(self, n: Node) -> str:
        """The name of a host scalar."""
        condition = " != 0" if n.op in OPS and OPS[n.op].comparison else ""
        return self._in_head(n, f"tl.load(h + {self.plan.hosts.index(n) + 1}){condition}")

    def single(self, n: Node, index: int) -> str:
        """The name of a value that the tensor knows, or that all share."""
        tables = self.tables
        if n in tables.own:
            return self._in_head(n, f"tl.load(known + i * {len(tables.own)} + {tables.own.index(n)})")
        if n in tables.over_all:
            return self._in_head(n, f"tl.load(shared + {tables.over_all.index(n)})")
        return self._in_head(n, f"tl.load(shared + {len(tables.over_all) + tables.globals.index(str(n.value))})")

    def loaded(self, n: Node, slot: str) -> str:
        """A load from a buffer, under a name."""
        kind = self.plan.kinds[n]
        mask = self.mask(kind)
        text = f"tl.load({self.pointer(slot)} + {self.index(kind)}{f', {mask}' if mask else ''}).to(A)"
        if self.lines(n) is self.head:
            return self._in_head(n, text)
        self.lines(n).append(f"{self.names(n)} = {'factor * ' if slot == 'g' else ''}{text}")
        if slot == "w":  # with what rounding has left
            rest = self._more("rest", 1, "P")
            self.lines(n).append('if ROUND == "kahan":')
            self.lines(n).append(f"    {self.names(n)} += tl.load({rest} + {self.index(kind)}, {mask}).to(A)")
        return self.names(n)

    def _more(self, name: str, offset: int, type_: str) -> str:
        """The variable that points to something beside a tensor's buffers: its step count, rest or seed."""
        key = f"_{name}"  # no name of a rule begins so
        if key not in self.pointers:
            self._point(key, f"{name}_p", self.tables.step + offset, type_, aligned=name == "rest")
        return self.pointers[key][0]

    def _point(self, key: str, wanted: str, place: int, type_: str, aligned: bool = True) -> None:
        variable = self.names.fresh(wanted)
        address = f"tl.load(at + {place}).to(tl.pointer_type({type_}))"
        line = f"{variable} = tl.multiple_of({address}, ALIGN)" if aligned else f"{variable} = {address}"
        self.pointers[key] = variable, line

    def index(self, kind: Kind) -> str:
        """Where the values of a tile stand in a buffer of a kind."""
        if kind == Kind.TENSOR:
            return "j"
        if kind == Kind.SCALAR or self.plan.flat:
            return "0"
        return {Kind.ROW: "plane * rows + y", Kind.COL: "plane * cols + k"}.get(kind, "plane")

    def mask(self, kind: Kind) -> str:
        """Which of the values of a tile exist; empty where all do."""
        return {Kind.TENSOR: "inside", Kind.ROW: "in_rows", Kind.COL: "in_cols"}.get(kind, "")

    def pointer(self, slot: str, column: int | None = None) -> str:
        """The variable that points to a slot, a workspace (``%0``), a result (``#0``) or another column."""
        if slot not in self.pointers:
            wanted = (
                f"{slot}_p" if slot.isidentifier() else {"%": "kept", "#": "line", "*": "parts"}[slot[0]] + slot[1:]
            )
            place = self.columns.place(slot) if column is None else column
            self._point(slot, wanted, place, "P" if slot in ("w", "g") else "A")
        return self.pointers[slot][0]

    def rows_of_tables(self) -> list[str]:
        """The rows of the tables that belong to tensor i."""
        return [
            f"at = pointers + i * {self.tables.width}",
            *(line for _, line in self.pointers.values()),
            f"h = hosts + i * {len(self.plan.hosts) + 1}",
        ]

    def store(self, slot: str, kind: Kind, value: str) -> str:
        """The statement that stores a value."""
        mask = self.mask(kind)
        type_ = "P" if slot == "w" else "A"
        return f"tl.store({self.pointer(slot)} + {self.index(kind)}, {cast(value, type_)}{f', {mask}' if mask else ''})"

    def stores_of_w(self, value: str) -> list[str]:
        """The statements that store a parameter, rounded as its group says."""
        new, rest = self.names.fresh("new"), self._more("rest", 1, "P")
        step, seed = self._more("step", 0, "tl.float32"), self._more("seed", 2, "tl.float32")
        return [
            f"{new} = {cast(value, 'A')}",
            'if ROUND == "stochastic":',
            f"    {new} = dithered({new}, j, {step}, {seed})",
            self.store("w", Kind.TENSOR, new),
            'if ROUND == "kahan":',
            f"    tl.store({rest} + j, ({new} - {new}.to(P).to(A)).to(P), inside)",
        ]


class Strip(Kernel):
    """The statements of a kernel over strips of rows: also once a column."""

    def __init__(self, plan: Plan, stops: dict[Node, str]) -> None:
        super().__init__(plan, stops)
        self.columns_first: list[str] = []

    def lines(self, n: Node) -> list[str]:
        """Where a value is computed."""
        return self.columns_first if self.plan.kinds[n] == Kind.COL else super().lines(n)


class Lines(Kernel):
    """The statements of a kernel over the lines of a plane: one loop over rows, and one over columns."""

    def __init__(self, plan: Plan, stops: dict[Node, str]) -> None:
        super().__init__(plan, stops)
        self.down: list[str] = []
        self.across: list[str] = []

    def lines(self, n: Node) -> list[str]:
        """Where a value is computed."""
        return self.lines_of(self.plan.kinds[n])

    def lines_of(self, kind: Kind) -> list[str]:
        """Where values of a kind are computed."""
        return {Kind.ROW: self.down, Kind.COL: self.across}.get(kind, self.head)


class Prologue(Kernel):
    """The statements that compute host scalars, in float64."""

    def is_host(self, n: Node) -> bool:
        """Nothing is computed before this."""
        return False

    def lines(self, n: Node) -> list[str]:
        """All are computed once."""
        return self.body

    def constant(self, value: float, operand: bool) -> str:
        """A number, in float64."""
        return repr(value) if operand and abs(value) < _LARGEST else f"tl.full([], {_python(value)}, tl.float64)"

    def loaded(self, n: Node, slot: str) -> str:
        """What the step, the hyperparameters and the shape say."""
        return slot if slot == "t" else self._named(n, slot)

    def _named(self, n: Node, slot: str) -> str:
        if slot in FACTS:
            self.body.append(f"{self.names(n)} = tl.load(f + {[*FACTS].index(slot)})")
        else:
            index = [h.name for h in self.plan.rule.hypers].index(slot)
            self.body.append(f"{self.names(n)} = tl.load(v + {index + 1})")
        return self.names(n)


def cast(value: str, type_: str) -> str:
    """A value converted to a type."""
    simple = value.isidentifier() or re.fullmatch(r"[\w.]+\([^()]*\)", value)
    return f"{value}.to({type_})" if simple else f"({value}).to({type_})"


def _python(value: float) -> str:
    return f'float("{value!r}")' if value != value or abs(value) == float("inf") else repr(value)
