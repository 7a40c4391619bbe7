"""What a generated optimizer needs to run its rule in Triton on GPUs: kernels, launcher, and methods."""

from __future__ import annotations

from evoptim.dsl import OPS, Kind, Node, Reduce, Rule

from ...plan import Plan, Stage, class_plans
from ...signature import group_values
from .. import rows
from ..carried import carried, quoted, tuple_lines, tuple_text
from ..products import ProductsText
from ..statements import how
from . import launcher
from .kernel import Tables, is_big
from .printer import Parts, has_tile, parts_of, source, supported

_IMPORTS = (
    "import contextlib",
    "import functools",
    "import hashlib",
    "import importlib.util",
    "import linecache",
    "import operator",
    "import types",
    "import warnings",
    "from typing import Any, NamedTuple",
)


class TritonText:
    """The parts of a generated file that run a rule in Triton; ``supported`` says whether there are any."""

    call = "_gpu_step"
    tables_name = "_gpu"
    skips = True  # the kernels themselves heed a gradient that is not finite

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.plans = {label: p for label, p in class_plans(rule).items() if supported(p)}
        self.tables = {label: Tables(p) for label, p in self.plans.items()}
        self.globals: tuple[str, ...] = next((t.globals for t in self.tables.values() if t.globals), ())
        self.shared = any(p.shared for p in self.plans.values()) or bool(self.globals)
        if self.shared and len(rule.classes) > 1:  # what is the same for all parameters is computed in one place
            self.plans = {}
        self.products = {label: ProductsText(label, p) for label, p in self.plans.items() if p.products}
        self.imports: tuple[str, ...] = _IMPORTS
        self.uses: frozenset[str] = frozenset()

    @property
    def supported(self) -> bool:
        """Whether there is anything to compile."""
        return bool(self.plans)

    def parts(self) -> list[str]:
        """What stands at the top level of the file."""
        shapes = [self._shape(label, p) for label, p in self.plans.items()]
        table = ["_SHAPES = {", *(f'    "{label}": _{label.upper()},' for label in self.plans), "}"]
        kernels = self.kernels().replace('"""', "'''")
        products = [x.function for x in self.products.values()]
        return [*products, carried(rows), carried(launcher), *shapes, "\n".join(table), f'_TRITON = r"""\n{kernels}"""']

    def kernels(self) -> str:
        """The Triton module."""
        return source(self.rule, self.plans)

    # shapes

    def _shape(self, label: str, p: Plan) -> str:
        tables = self.tables[label]
        kinds = {b.kind for b in p.slots[1:]}
        buffers = [quoted(n) for n in tables.pointers if n not in ("w", "g")]
        fields = {
            "hosts": len(p.hosts),
            "known": len(tables.own),
            "shared": len(tables.over_all) + len(tables.globals),
            "lines": bool(kinds & {Kind.ROW, Kind.COL}),
            "scalars": Kind.SCALAR in kinds,
            "globals": Kind.GLOBAL in kinds,
        }
        stages = [line for stage in p.stages for line in self._stage(p, tables, stage)]
        lines = [
            f"_{label.upper()} = GpuShape(",
            f"    label={quoted(label)},",
            f"    flat={p.flat},",
            *tuple_lines("    buffers=", buffers, ","),
            *tuple_lines("    scratch=", map(quoted, self._scratch(p, tables)), ","),
            *(f"    {k}={v}," for k, v in fields.items()),
        ]
        return "\n".join([*lines, "    stages=(", *(f"        {line}" for line in stages), "    ),", ")"])

    def _scratch(self, p: Plan, tables: Tables) -> list[str]:
        """The memory that a parameter needs beside its buffers, in the order of the columns."""
        sizes = {Kind.ROW: "rows", Kind.COL: "cols"}
        results = [sizes.get(p.kinds[n], "planes") for n in tables.lines]
        return [
            *("elements" for _ in p.workspaces),
            *results,
            *(f"{sizes[p.kinds[n]][:3]} parts" for n in tables.parts),
        ]

    def _stage(self, p: Plan, tables: Tables, stage: Stage) -> list[str]:
        parts = parts_of(p, stage)
        rows = [self._line(tables, n) for n in parts.lines if p.kinds[n] == Kind.ROW]
        cols = [self._line(tables, n) for n in parts.lines if p.kinds[n] == Kind.COL]
        singles = [self._single(p, tables, n, parts) for n in (*parts.tile, *parts.small)]
        fields = {
            "tile": str(has_tile(stage, parts)),
            "lines": str(bool(parts.planes or parts.small)),
            "rows": tuple_text(rows),
            "cols": tuple_text(cols),
            "singles": tuple_text(singles),
        }
        out = ["GpuStage("]
        for name, text in fields.items():
            found = {"rows": rows, "cols": cols, "singles": singles}.get(name, [])
            several = [f"    {name}=(", *(f"        {f}," for f in found), "    ),"]
            out += several if len(found) > 1 else [f"    {name}={text},"]
        return [*out, "),"]

    @staticmethod
    def _line(tables: Tables, n: Node) -> str:
        entries = {"mean": "cols" if OPS[n.op].reduce is Reduce.ROW else "rows"}.get(how(n), "")
        part = tables.pointer_count + tables.parts.index(n)
        return f'Gathered("{how(n)}", "tile", {part}, "{entries}", {tables.place(f"#{tables.lines.index(n)}")})'

    @staticmethod
    def _single(p: Plan, tables: Tables, n: Node, parts: Parts) -> str:
        over_all = n in tables.over_all
        of = {Kind.TENSOR: "numel", Kind.ROW: "rows", Kind.COL: "cols", Kind.PLANE: "planes"}
        entries = of.get(p.kinds[n.args[0]], "tensors") if how(n) == "mean" else ""
        kernel, index = ("tile", parts.tile.index(n)) if is_big(p, n) else ("lines", parts.small.index(n))
        place = (tables.over_all if over_all else tables.own).index(n)
        more = ", over_all=True" if over_all else ""
        return f'Gathered("{how(n)}", "{kernel}", {index}, "{entries}", {place}{more})'

    # methods

    def methods(self) -> list[str]:
        """The methods of the class, without its indentation."""
        text = ["\n".join(lines) for lines in (self._step(), self._kind(), self._arrange(), self._values())]
        return [*text, *(x.method() for x in self.products.values())]

    def _step(self) -> list[str]:
        globals_hold = ""
        if self.globals:
            globals_hold = " and all(group.get(n) is x for _, group in pairs for n, x in self._gpu_globals.items())"
        return [
            "_gpu: tuple[list[GpuStep], Pairs, list[Any]] | None = None",
            "_gpu_captured: tuple[Any, ...] = ()",
            *(["_gpu_globals: dict[str, Tensor] = {}"] if self.globals else []),
            "",
            "def _gpu_step(self, pairs: Pairs) -> Pairs:",
            '    """Update on GPUs, all at once, the parameters that Triton\'s kernels take; returns the others."""',
            '    if "cpu" not in GPU_TYPES and not torch.cuda.is_initialized():  # then nothing is on a GPU',
            "        return pairs",
            "    if not any(p.device.type in GPU_TYPES for p, _ in pairs):",
            "        return pairs",
            "    known = [(id(p), id(group)) for p, group in pairs]",
            "    arranged = self._gpu",
            "    if (",
            "        arranged is None",
            "        or arranged[2] != known",
            "        or not all(x.fits(self.state) for step in arranged[0] for x in step.launches)",
            *([f"        or not (True{globals_hold})"] if globals_hold else []),
            "    ):",
            "        arranged = *self._gpu_arrange(pairs), known",
            "    for step in arranged[0]:",
            '        step.run(getattr(self, "grad_scale", None), getattr(self, "found_inf", None), self._gpu_values)',
            "    self._gpu = None if arranged[1] else arranged",
            "    if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():",
            "        self._gpu_captured += (arranged[0],)  # replays read its tables",
            "    return arranged[1]",
        ]

    def _kind(self) -> list[str]:
        label = '"matrix" if p.dim() >= 2 else "vector"' if len(self.rule.classes) > 1 else '"vector"'
        return [
            "def _gpu_kind(self, p: Tensor, group: dict[str, Any]) -> Any:",
            '    """What distinguishes launches, for a parameter that the kernels take; else None.',
            "",
            "    The first step of a parameter, which makes its state, is torch's.",
            '    """',
            "    part, state = _part(p, p), self.state.get(p)",
            "    if not state or part.device.type not in GPU_TYPES or not part.is_contiguous() or not part.numel():",
            "        return None",
            f"    label = {label}",
            "    types = (torch.float32, torch.float64, torch.bfloat16, torch.float16)",
            "    if p.dtype not in types or label not in _SHAPES:",
            "        return None",
            "    dtype = torch.promote_types(p.dtype, torch.float32)",
            "    for name, value in state.items():",
            '        if name == "step" or name[0] == "_":',
            "            continue",
            "        if value.dtype != dtype or value.device != part.device or not _part(value, p).is_contiguous():",
            "            return None",
            "    rows, cols = part.shape[-2:] if part.dim() >= 2 else (1, part.numel())",
            "    if not _SHAPES[label].flat and rows * cols < min(1024, part.numel()):  # many small matrices",
            "        return None",
            '    rounding = group["rounding"] if p.dtype == torch.bfloat16 else "nearest"',
            '    if {"kahan": "_rest", "stochastic": "_seed"}.get(rounding, "step") not in state:',
            "        return None",
            "    aligned = cols % 16 == 0 or _SHAPES[label].flat",
            "    return label, part.device, p.dtype, cols > 128, rounding, aligned",
        ]

    def _arrange(self) -> list[str]:
        lines = [
            "def _gpu_arrange(self, pairs: Pairs) -> tuple[list[GpuStep], Pairs]:",
            '    """Tables for the kernels, by device, and the parameters that they do not take."""',
            "    kinds = [self._gpu_kind(p, group) for p, group in pairs]",
        ]
        if self.shared:
            there = f" or any({quoted(self.globals[0])} not in group for _, group in pairs)" if self.globals else ""
            lines += [
                "    # what all parameters share is computed in one place and one type",
                "    alike = {(k[1], torch.promote_types(k[2], torch.float32)) for k in kinds if k}",
                f"    if not all(kinds) or len(alike) > 1{there}:",
                "        return [], pairs",
            ]
        lines += [
            "    kernels = load_triton(_TRITON) if any(kinds) else None",
            "    if kernels is None:",
            "        return [], pairs",
            "    launches: dict[Any, GpuLaunch] = {}",
            "    for (p, group), kind in zip(pairs, kinds, strict=True):",
            "        if kind is None:",
            "            continue",
            "        label, device, _, wide, rounding, aligned = kind",
            "        state = self.state[p]",
            '        for name in {"step", "_seed"} & state.keys():',
            "            state[name] = state[name].to(device=device, dtype=torch.float32)",
            "        row = Row(p, group, state, _SHAPES[label].buffers)",
            "        aligned = aligned and all(x % 16 == 0 for x in row.addresses())",
            "        key = (*kind[:-1], aligned)",
            "        if key not in launches:",
            "            launches[key] = GpuLaunch(kernels, _SHAPES[label], row.target, wide, rounding, aligned)",
            *(
                line
                for label, x in self.products.items()
                for line in (
                    f'        if label == "{label}":',
                    f"            launches[key].multiply = ({x.plan.products_at}, self._{label}_multiply)",
                )
            ),
            "        launches[key].add(row)",
            "    devices = dict.fromkeys(x.device for x in launches.values())",
            "    steps = [GpuStep([x for x in launches.values() if x.device == d], self.state) for d in devices]",
        ]
        if self.globals:
            first = len(next(iter(self.tables.values())).over_all)
            names = tuple_text(map(quoted, self.globals))
            lines += [
                "    shared = steps[0].launches[0].shared",
                f"    self._gpu_globals = {{n: shared[{first} + i] for i, n in enumerate({names})}}",
                "    for n, x in self._gpu_globals.items():",
                "        x.copy_(pairs[0][1][n])",
                "    for _, group in pairs:",
                "        group.update(self._gpu_globals)",
            ]
        return [*lines, "    return steps, [pair for pair, kind in zip(pairs, kinds, strict=True) if kind is None]"]

    def _values(self) -> list[str]:
        held = dict(group_values(self.rule))
        return [
            "def _gpu_values(self, group: dict[str, Any]) -> list[Any]:",
            '    """The sign of the gradient and the hyperparameters, in the rule\'s order."""',
            "    return [",
            '        -1.0 if group["maximize"] else 1.0,',
            *(f"        {held[h]}," for h in self.rule.hypers),
            "    ]",
        ]
