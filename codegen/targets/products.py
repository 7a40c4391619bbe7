"""The matrix products of a rule as torch code, between two stages of kernels."""

from __future__ import annotations

from collections import Counter

from evoptim.dsl import Kind, Node
from evoptim.dsl.node import name

from ..plan import Plan
from ..products import Products
from .carried import tuple_text
from .statements import Columns, Names, in_memory
from .torch_eager.printer import Printer

_TAKEN = ("torch", "math", "float")
_VIEWS = {
    Kind.TENSOR: "shape",
    Kind.ROW: "(*shape[:-1], 1)",
    Kind.COL: "(*shape[:-2], 1, shape[-1])",
    Kind.PLANE: "(*shape[:-2], 1, 1)",
}


class ProductsText:
    """The function that computes the products of one class of parameters, and the method that calls it."""

    def __init__(self, label: str, plan: Plan) -> None:
        assert plan.products is not None
        self.label, self.plan, self.products = label, plan, plan.products
        self.columns = Columns(plan)
        self.names = Names(plan, _TAKEN)
        self.inputs: dict[Node, str] = {n: self.names(n) for n in self.products.inputs}
        self.function = self._function(self.products)

    def _function(self, products: Products) -> str:
        printer = Printer(self.plan.rule)
        written: dict[Node, Node] = {n: name(text) for n, text in self.inputs.items()}
        for n, text in self.inputs.items():
            kind = self.plan.kinds[n]
            printer.kinds[text] = Kind.SCALAR if kind.number else kind
        uses = Counter(a for n in products.nodes for a in n.args) + Counter(products.exports)
        for n in products.nodes:
            written[n] = Node(n.op, tuple(written.get(a, a) for a in n.args))
            if uses[n] > 1 or n in products.exports or n in self.plan.names:
                text = self.names(n)
                printer.assign(text, written[n])
                written[n] = name(text)
        made = [str(written[n].value) for n in products.exports]
        return "\n".join(
            [
                f"def _{self.label}_products(",
                *(f"    {text}: Tensor," for text in self.inputs.values()),
                ") -> tuple[Tensor, ...]:",
                '    """What torch multiplies, from what a stage has left in memory to what the next one reads."""',
                *(f"    {line}" for line in printer.lines),
                f"    return ({', '.join(made)},)" if len(made) == 1 else f"    return {', '.join(made)}",
            ]
        )

    def method(self) -> str:
        """The method that multiplies for tensor i of a launch."""
        places = [self.plan.workspaces.index(n) for n in self.products.exports]
        lines = [
            f"def _{self.label}_multiply(self, launch: Any, i: int) -> None:",
            '    """The matrix products of one parameter, between two stages."""',
            "    row = launch.rows[i]",
            "    shape = row.target.shape",
            f"    made = _{self.label}_products(",
            *(f"        {self._argument(n)}," for n in self.products.inputs),
            "    )",
            f"    for place, value in zip({tuple_text(map(str, places))}, made, strict=True):",
            "        launch.memory[i][place].copy_(value.reshape(-1))",
        ]
        return "\n".join(lines)

    def _argument(self, n: Node) -> str:
        """An input as a tensor that broadcasts against the parameter."""
        kind = self.plan.kinds[n]
        if kind.number:
            return f"launch.host(i, {self.plan.hosts.index(n) + 1})"
        held = in_memory(self.plan, self.plan.products_at)
        if n.op == "name":
            return self._leaf(str(n.value))
        if n in held:
            slot = held[n]
            if not slot.startswith("%"):
                return self._leaf(slot)
            return f"launch.memory[i][{slot[1:]}].view(shape)"
        if n in self.columns.lines:
            place = len(self.plan.workspaces) + self.columns.lines.index(n)
            return f"launch.memory[i][{place}].view({_VIEWS[kind]})"
        return f"launch.single(i, {self.columns.known.index(n)})"

    @staticmethod
    def _leaf(slot: str) -> str:
        if slot == "w":
            return "row.parameter(launch.dtype)"
        if slot == "g":
            return "launch.host(i, 0) * row.incoming(launch.dtype)"
        return f'_part(row.state["{slot}"], row.p)'
