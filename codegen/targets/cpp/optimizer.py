"""What a generated optimizer needs to run its rule in compiled C++ on the CPU: kernels, loader, and methods."""

from __future__ import annotations

from collections import Counter

from evoptim.dsl import OPS, Kind, Node, Reduce, Rule
from evoptim.dsl.kinds import FACTS
from evoptim.dsl.node import name

from ...plan import Plan, class_plans
from ...signature import group_values
from .. import rows
from ..carried import carried, quoted, tuple_lines, tuple_text
from ..products import ProductsText
from ..statements import Columns
from ..torch_eager.printer import Printer
from . import launcher, loader
from .printer import source, supported

_IMPORTS = (
    "import ctypes",
    "import functools",
    "import hashlib",
    "import operator",
    "import os",
    "import platform",
    "import shutil",
    "import subprocess",
    "import tempfile",
    "import warnings",
    "from pathlib import Path",
)


class CompiledText:
    """The parts of a generated file that run a rule in C++; ``supported`` says whether there are any."""

    call = "_compiled_step"
    tables_name = "_arrangement"
    skips = False

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.plans = {label: p for label, p in class_plans(rule).items() if supported(p)}
        self.columns = {label: Columns(p) for label, p in self.plans.items()}
        shared = any(p.shared or self.columns[n].globals for n, p in self.plans.items())
        if shared and len(rule.classes) > 1:  # what is the same for all parameters is computed in one place
            self.plans = {}
        self.shared = shared
        self.products = {label: ProductsText(label, p) for label, p in self.plans.items() if p.products}
        self.imports: tuple[str, ...] = _IMPORTS
        self.host_functions = [self._hosts(label, p) for label, p in self.plans.items()]
        host_code = "".join(self.host_functions)
        self.uses: frozenset[str] = frozenset(n for n in ("math", "_float64") if n in host_code)

    @property
    def supported(self) -> bool:
        """Whether there is anything to compile."""
        return bool(self.plans)

    def parts(self) -> list[str]:
        """What stands at the top level of the file."""
        return [
            *self.host_functions,
            *(x.function for x in self.products.values()),
            carried(loader),
            carried(rows),
            carried(launcher),
            f'_KERNELS = r"""\n{self.kernels()}"""',
        ]

    def kernels(self) -> str:
        """The C++ file."""
        return source(self.plans)

    def methods(self) -> list[str]:
        """The methods of the class, without its indentation."""
        per_label = [m for label, p in self.plans.items() for m in (self._add(label, p), self._scalars(label, p))]
        text = ["\n".join(lines) for lines in (self._kind(), self._compiled_step(), self._arranged(), *per_label)]
        return [*text, *(x.method() for x in self.products.values())]

    # host scalars

    def _hosts(self, label: str, p: Plan) -> str:
        """The host scalars of a step as a function: the kernels' table has them in this order."""
        printer = Printer(self.rule)
        written = _named_once(printer, p)
        values = [self._host(printer, written[n], n) for n in p.hosts]  # statements before it where it is too long
        parameters = [f"{n}: float" for n in ("t", *self._facts(p))]
        if self.rule.hypers:
            parameters += ["*", *(f"{h.name}: float" for h in self.rule.hypers)]
        lines = [f"def _{label}_hosts(", *(f"    {q}," for q in parameters), ") -> tuple[float, ...]:"]
        lines.append('    """What follows from hyperparameters, step and shape alone, in float64."""')
        lines += [f"    {line}" for line in printer.lines]
        return "\n".join([*lines, *_wrapped("return", values)])

    @staticmethod
    def _host(printer: Printer, written: Node, node: Node) -> str:
        text = printer.expression(printer.short(written, 12))
        condition = node.op in OPS and OPS[node.op].comparison
        return f"float({text})" if condition else text

    def _facts(self, p: Plan) -> list[str]:
        """The facts of a parameter's shape that its host scalars depend on."""
        read = {n for node in p.hosts for n in node.names}
        return [f for f in FACTS if f in read]

    # methods

    def _kind(self) -> list[str]:
        label = '"matrix" if p.dim() >= 2 else "vector"' if len(self.rule.classes) > 1 else '"vector"'
        only = next(iter(self.plans)) if len(self.rule.classes) > 1 and len(self.plans) == 1 else ""
        return [
            "def _kind(self, p: Tensor, group: dict[str, Any]) -> str:",
            '    """The kernels that take a parameter and its state, such as ``vector_f32``; empty if none do.',
            "",
            "    The first step of a parameter, which makes its state, is torch's.",
            '    """',
            '    suffixes = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16"}',
            "    part, state = _part(p, p), self.state.get(p)",
            '    if not state or p.dtype not in suffixes or part.device.type != "cpu" or not part.is_contiguous():',
            '        return ""',
            "    dtype = torch.promote_types(p.dtype, torch.float32)",
            "    for name, value in state.items():",
            '        fits = name == "step" or name[0] == "_" or value.dtype == dtype',
            "        if not fits or not _part(value, p).is_contiguous():",
            '            return ""',
            '    if p.dtype == torch.bfloat16 and group["rounding"] != "nearest":',
            '        return ""',
            f"    label = {label}",
            *([f'    if label != "{only}" or not part.numel():'] if only else ["    if not part.numel():"]),
            '        return ""',
            '    return f"{label}_{suffixes[p.dtype]}"',
        ]

    def _compiled_step(self) -> list[str]:
        shared = next((c.globals for c in self.columns.values() if c.globals), ())
        values = f"[float(row.group[n]) for n in {tuple_text(map(quoted, shared))}]" if shared else "[]"
        lines = [
            "def _compiled_step(self, pairs: Pairs) -> Pairs:",
            '    """Update, all at once, the parameters that the compiled kernels take; returns the others."""',
            "    arranged = self._arrangement",
            "    if arranged is None or not self._still_arranged(pairs, *arranged):",
            "        arranged = self._arrange(pairs)",
            "    launches, left = arranged",
            "    for launch in launches:",
            "        hosts = []",
            "        for row in launch.heads:",
            "            t = row.t + launch.done + 1",
            *self._choice(),
            f"        shared = [{values} for row in launch.rows]" if shared else "        shared = [[]] * launch.count",
            "        launch.advance(hosts, shared)",
            "    if launches:",
            "        run_launches(launches)",
        ]
        if shared:
            lines += [
                "    for launch in launches:",
                "        for row, values in zip(launch.rows, launch.shared, strict=True):",
                *(
                    f'            row.group["{n}"] = row.group["{n}"].new_tensor(values[{i}])'
                    for i, n in enumerate(shared)
                ),
            ]
        return [*lines, "    self._arrangement = None if left else arranged", "    return left"]

    def _choice(self) -> list[str]:
        """The statement that takes the host scalars of a row, by its class if there are two."""
        calls = [f"hosts.append(self._{label}_scalars(row, t))" for label in self.plans]
        if len(calls) == 1:
            return [f"            {calls[0]}"]
        first = next(iter(self.plans))
        return [
            f'            if launch.kind.startswith("{first}"):',
            f"                {calls[0]}",
            "            else:",
            f"                {calls[1]}",
        ]

    def _arranged(self) -> list[str]:
        shared = next((c.globals for c in self.columns.values() if c.globals), ())
        lines = [
            "_arrangement: tuple[list[Launch], Pairs] | None = None",
            "",
            "def _still_arranged(self, pairs: Pairs, launches: list[Launch], left: Pairs) -> bool:",
            '    """Whether the tables of the last step serve this one too."""',
            "    rows = [row for launch in launches for row in launch.rows]",
            "    given = {id(p): group for p, group in pairs}",
            "    same = len(rows) == len(pairs) and all(given.get(id(row.p)) is row.group for row in rows)",
            "    return same and not left and all(launch.fits(self.state) for launch in launches)",
            "",
            "def _arrange(self, pairs: Pairs) -> tuple[list[Launch], Pairs]:",
            '    """Tables for the kernels, and the parameters that they do not take."""',
            "    kinds = [self._kind(p, group) for p, group in pairs]",
        ]
        if self.shared:
            there = f' or any("{shared[0]}" not in group for _, group in pairs)' if shared else ""
            lines.append("    # what all parameters share is computed in one place")
            lines += [f"    if not all(kinds){there}:", "        return [], pairs"]
        lines += [
            '    libraries = {k: load_kernels(_KERNELS, k.split("_")[1]) for k in dict.fromkeys(kinds) if k}',
            "    if None in libraries.values():",
            "        return [], pairs",
            "    launches: dict[str, Launch] = {}",
            "    for (p, group), kind in zip(pairs, kinds, strict=True):",
        ]
        for label, p in self.plans.items():
            lines += [
                f'        if kind.startswith("{label}"):',
                "            if kind not in launches:",
                f"                stages = {self._stage_table(label, p)}",
                f"                launches[kind] = Launch(libraries[kind], kind, stages, {bool(p.small)})",
                *(
                    [f"                launches[kind].multiply = ({p.products_at}, self._{label}_multiply)"]
                    if p.products
                    else []
                ),
                f"            self._add_{label}(launches[kind], p, group)",
            ]
        return [
            *lines,
            "    for launch in launches.values():",
            "        launch.prepare(self.state)",
            "    return list(launches.values()), [pair for pair, kind in zip(pairs, kinds, strict=True) if not kind]",
        ]

    def _add(self, label: str, p: Plan) -> list[str]:
        columns = self.columns[label]
        buffers = tuple_text(quoted(n) for n in columns.pointers if n not in ("w", "g"))
        scratch = self._scratch(p, columns)
        lines = [
            f"def _add_{label}(self, launch: Launch, p: Tensor, group: dict[str, Any]) -> None:",
            '    """Add a row for one parameter to the tables of its launch."""',
            f"    row = Row(p, group, self.state[p], {buffers})",
        ]
        if p.matrix or scratch or self._facts(p):
            lines.append("    target = row.target")
        if p.matrix:
            lines += ["    *_, rows, cols = target.shape", "    planes = target.numel() // (rows * cols)"]
        if scratch:
            lines += [
                "    dtype = torch.promote_types(p.dtype, torch.float32)",
                *tuple_lines("    counts = ", scratch),
                "    scratch = [target.new_empty(n, dtype=dtype) for n in counts]",
            ]
        spans = "(planes, rows, cols)" if p.matrix else "(row.size,)"
        shape = ", target.shape" if self._facts(p) else ""
        key = f"(id(group), float(row.step){shape})"
        return [*lines, f"    launch.add(row, {'scratch' if scratch else '[]'}, {spans}, {key})"]

    def _scalars(self, label: str, p: Plan) -> list[str]:
        """The method that gives the host scalars of a row, the factor of the gradient first."""
        facts = {"ndim": "float(row.target.dim())", "numel": "float(row.size)"}
        facts |= {"rows": "float(row.target.shape[-2])", "cols": "float(row.target.shape[-1])"}
        return [
            f"def _{label}_scalars(self, row: Row, t: float) -> tuple[float, ...]:",
            '    """The host scalars of a row at step t, after the factor of its gradient."""',
            "    group = row.group",
            '    scale = 1.0 if getattr(self, "grad_scale", None) is None else float(self.grad_scale)',
            f"    values = _{label}_hosts(",
            "        t,",
            *(f"        {facts[f]}," for f in self._facts(p)),
            *(f"        {hyper.name}=float({held})," for hyper, held in group_values(self.rule)),
            "    )",
            '    return (-1.0 if group["maximize"] else 1.0) / scale, *values',
        ]

    def _scratch(self, p: Plan, columns: Columns) -> list[str]:
        sizes = {Kind.ROW: "planes * rows", Kind.COL: "planes * cols"}
        return [
            *("target.numel()" for _ in p.workspaces),
            *(sizes.get(p.kinds[n], "planes") for n in columns.lines),
        ]

    def _stage_table(self, label: str, p: Plan) -> str:
        """How each value that a stage reduces comes together over all tensors, as text."""
        known = self.columns[label].known
        return tuple_text(tuple_text(quoted(_together(p, n)) for n in s.reductions if n in known) for s in p.stages)


def _named_once(printer: Printer, p: Plan) -> dict[Node, Node]:
    """Every host value in terms of names: what is read more than once gets a statement."""
    uses: Counter[Node] = Counter(p.hosts)
    order = list(dict.fromkeys(n for root in p.hosts for n in root.walk()))
    for n in order:
        uses.update(n.args)
    taken = {*p.rule.leaves, *FACTS, "t"}
    written: dict[Node, Node] = {}
    for n in order:
        written[n] = Node(n.op, tuple(written[a] for a in n.args)) if n.args else n
        if n.args and uses[n] > 1 and not OPS[n.op].comparison:
            wanted = p.names.get(n, "h")
            target = next(c for c in (wanted, *(f"{wanted}{i}" for i in range(1, 999))) if c not in taken and c != "h")
            taken.add(target)
            printer.assign(target, written[n])
            written[n] = name(target)
    return written


def _together(p: Plan, n: Node) -> str:
    row = OPS[n.op]
    if row.reduce is not Reduce.GLOBAL:
        return ""
    if row.torch == "mean" and p.kinds[n.args[0]] != Kind.TENSOR:
        return "mean_of_tensors"
    return row.torch


def _wrapped(word: str, values: list[str]) -> list[str]:
    """A statement with a tuple, one value a line."""
    return [f"    {word} (", *(f"        {v}," for v in values), "    )"] if values else [f"    {word} ()"]
