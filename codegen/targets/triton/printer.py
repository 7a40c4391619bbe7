"""A plan as Triton kernels: one for its host scalars, one a stage, and small ones for what has a value per line.

A *stage* kernel passes over the elements of all tensors in chunks that a table lists. Where nothing in a plan runs
along rows or columns it sees tensors as vectors, whole tiles of which need no mask; else it goes over strips of rows.
What a stage reduces leaves a partial result per chunk, strip or column of tiles, which `combine_lines` and
`combine_all` bring together in a fixed order. *Lines* are rows, columns and planes: values of which there are few.

``P`` is the type of parameters and gradients, ``A`` that of arithmetic and state. Host scalars are computed in float64
by one thread per tensor, which counts the tensor's steps as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from evoptim.dsl import OPS, Kind, Node, Rule
from evoptim.dsl.kinds import FACTS

from ...plan import Plan, Stage
from ..statements import folded, how, in_memory, indented, outputs, printed
from .kernel import Kernel, Lines, Prologue, Strip, cast, is_big
from .prelude import PRELUDE

_START = {"sum": "0.0", "amax": 'float("-inf")', "amin": 'float("inf")'}


def start_of(n: Node) -> tuple[str, str]:
    """How a reduction brings partial results together, and the text of what it starts from."""
    way = "sum" if how(n) == "mean" else how(n)
    return way, _START[way]


def supported(plan: Plan) -> bool:
    """Whether a plan can be printed: torch's matrix products leave it tensors, and every operation has a Triton form.

    Values over all parameters are exchanged stage by stage, so vectors and matrices must be cut alike: a rule that has
    both such values and branches is left to torch.
    """
    if not plan.fits_kernels or (plan.shared and len(plan.rule.classes) > 1):
        return False
    return all(OPS[n.op].triton or OPS[n.op].reduce for n in (*printed(plan), *_nodes(plan.hosts)) if n.args)


def _nodes(roots: Iterable[Node]) -> set[Node]:
    return {n for root in roots for n in root.walk()}


@dataclass(frozen=True, slots=True)
class Parts:
    """Which reductions of a stage leave partial results, in which order, by the kernel that finds them."""

    lines: tuple[Node, ...]
    """Rows and columns of elements: partial lines."""
    tile: tuple[Node, ...]
    """One value per chunk."""
    planes: tuple[Node, ...]
    """One value of a plane, of what has a value per line: final."""
    small: tuple[Node, ...]
    """One value per plane, on the way to one per tensor or over all of them."""


def parts_of(plan: Plan, stage: Stage) -> Parts:
    """The reductions of a stage by what they leave."""
    big = [n for n in stage.reductions if is_big(plan, n)]
    small = [n for n in stage.reductions if not is_big(plan, n)]
    return Parts(
        lines=tuple(n for n in big if plan.kinds[n].needs_matrix),
        tile=tuple(n for n in big if not plan.kinds[n].needs_matrix),
        planes=tuple(n for n in small if plan.kinds[n].needs_matrix),
        small=tuple(n for n in small if not plan.kinds[n].needs_matrix),
    )


def has_tile(stage: Stage, parts: Parts) -> bool:
    """Whether a stage passes over elements at all."""
    return bool(parts.lines or parts.tile or stage.writes or stage.keeps)


def source(rule: Rule, plans: Mapping[str, Plan]) -> str:
    """The Triton module of some plans by label: kernels ``vector_stage_0``, ``matrix_hosts`` and so on."""
    kernels: list[str] = []
    for label, plan in plans.items():
        kernels.append(_hosts(rule, plan, f"{label}_hosts"))
        for k, stage in enumerate(plan.stages):
            parts = parts_of(plan, stage)
            if has_tile(stage, parts):
                kernels += _flat_stage(plan, k, label) if plan.flat else [_strip_stage(plan, k, label)]
            if parts.planes or parts.small:
                kernels.append(_lines_kernel(plan, f"{label}_stage_{k}_lines", k, parts))
        slots = {b.name: b.kind for b in plan.slots[1:]}
        if any(k in (Kind.ROW, Kind.COL) for k in slots.values()):
            kernels.append(_lines_kernel(plan, f"{label}_lines"))
        for kind, name in ((Kind.SCALAR, "scalars"), (Kind.GLOBAL, "globals")):
            if kind in slots.values():
                kernels.append(_single_values(plan, f"{label}_{name}", kind))
    return "\n\n\n".join(part.strip("\n") for part in (PRELUDE, *kernels)) + "\n"


def _function(name: str, doc: str, parameters: Iterable[str], body: Iterable[str]) -> str:
    """A kernel as text."""
    head = [f"def {name}({', '.join(parameters)}):"]
    if len(head[0]) > 116:
        head = [f"def {name}(", *(f"    {p}," for p in parameters), "):"]
    lines = ["@triton.jit", *head, f'    """{doc}"""', *indented(body)]
    return "\n".join(part for line in lines for part in _readable(line))


def _readable(line: str) -> list[str]:
    """A line, or several: a long expression stands in parentheses, so that it may be broken."""
    if len(line) <= 116:
        return [line]
    target, equals, value = line.partition(" = ")
    if equals and target.strip().isidentifier():
        return folded(f"{target} = ({value})")
    return folded(line)


_SKIP = ["if tl.load(skip) != 0:", "    return"]
_NONE_IF_SKIPPED = "end = tl.where(tl.load(skip) == 0, end, begin)"
"""No elements: unlike a return, it lets a kernel's other loads begin without waiting for this one."""


def _wanted(f: Kernel, stage: Stage, parts: Parts) -> list[Node]:
    """Count what a stage computes; returns the arguments of its reductions over elements."""
    new = outputs(f.plan)
    arguments = [n.args[0] for n in (*parts.lines, *parts.tile)]
    f.count([*arguments, *stage.keeps, *(new[w] for w in stage.writes)])
    return arguments


def _stores(f: Kernel, stage: Stage) -> list[str]:
    """What a stage keeps and writes; all values are computed before the first is stored."""
    new = outputs(f.plan)
    kept = [(f"%{f.plan.workspaces.index(n)}", f.value(n)) for n in stage.keeps]
    written = [(w, f.value(new[w])) for w in stage.writes]
    out: list[str] = []
    for slot, text in (*kept, *written):
        out += f.stores_of_w(text) if slot == "w" else [f.store(slot, Kind.TENSOR, text)]
    return out


_COMMON = ["pointers", "sizes", "hosts", "known", "shared", "partial", "skip"]
_TYPES = ["P: tl.constexpr", "A: tl.constexpr", "ALIGN: tl.constexpr"]


def _flat_stage(plan: Plan, k: int, label: str) -> list[str]:
    """A stage that sees tensors as vectors: the function of a tile, and the kernel that calls it."""
    stage = plan.stages[k]
    parts = parts_of(plan, stage)
    f = Kernel(plan, in_memory(plan, k))
    arguments = _wanted(f, stage, parts)
    results: list[str] = []
    for n, argument in zip(parts.tile, arguments, strict=True):
        name = f.names.fresh(f"found_{parts.tile.index(n)}")
        f.body.append(f"{name} = {f.value(argument)}")
        results += [name]
    f.body += _stores(f, stage)
    for n, name in zip(parts.tile, results, strict=True):
        f.body += ["if inside is not None:", f"    {name} = tl.where(inside, {name}, {start_of(n)[1]})"]
    if results:
        f.body.append(f"return {', '.join(results)}")
    name = f"{label}_stage_{k}"
    read = set(re.findall(r"\w+", " ".join(f.body)))
    needed = [x for x in (*(v for v, _ in f.pointers.values()), "factor", *f.scalars) if x in read]
    tile = _function(
        f"{name}_tile",
        "The elements j of one tensor; inside says which of them exist, None that all do.",
        ["j", "inside", *needed, "P: tl.constexpr", "A: tl.constexpr", "ROUND: tl.constexpr"],
        f.body,
    )
    call = f"{name}_tile({{}}, {', '.join([*needed, 'P', 'A', 'ROUND'])})"
    return [tile, _flat_kernel(f, name, parts.tile, results, call)]


def _flat_kernel(f: Kernel, name: str, reductions: tuple[Node, ...], results: list[str], call: str) -> str:
    """The kernel that cuts a chunk of a tensor into tiles."""
    totals = [f.names.fresh(f"total_{i}") for i in range(len(reductions))]
    assign = f"{', '.join(results)} = " if results else ""
    adds = [
        f'{total} = joined({total}, {found}, "{start_of(n)[0]}")'
        for n, total, found in zip(reductions, totals, results, strict=True)
    ]
    body = [
        "i = tl.load(chunks + 2 * tl.program_id(0))",
        "begin = tl.load(chunks + 2 * tl.program_id(0) + 1) * CHUNK",
        "end = tl.minimum(begin + CHUNK, tl.load(sizes + i))",
        _NONE_IF_SKIPPED,
        *f.rows_of_tables(),
        "factor = tl.load(h)",
        *f.head,
        *(f"{t} = tl.full([BLOCK], {start_of(n)[1]}, A)" for n, t in zip(reductions, totals, strict=True)),
        "whole = begin + (end - begin) // BLOCK * BLOCK",
        "for start in range(begin, whole, BLOCK):",
        f"    {assign}{call.format('start + tl.arange(0, BLOCK), None')}",
        *indented(adds),
        "if whole < end:",
        "    j = whole + tl.arange(0, BLOCK)",
        f"    {assign}{call.format('j, j < end')}",
        *indented(adds),
        *(
            f'tl.store(partial + tl.program_id(0) * {len(totals)} + {x}, reduced({t}, "{start_of(n)[0]}", 0))'
            for x, (n, t) in enumerate(zip(reductions, totals, strict=True))
        ),
    ]
    sizes = ["CHUNK: tl.constexpr", "BLOCK: tl.constexpr", "ROUND: tl.constexpr"]
    doc = "One chunk of one tensor, tile by tile."
    return _function(name, doc, ["chunks", *_COMMON, *_TYPES, *sizes], body)


def _strip_stage(plan: Plan, k: int, label: str) -> str:
    """A stage with rows and columns: a program takes a strip of rows, some columns wide."""
    stage = plan.stages[k]
    parts = parts_of(plan, stage)
    f = Strip(plan, in_memory(plan, k))
    arguments = _wanted(f, stage, parts)
    before: list[str] = []
    after: list[str] = []
    for n, argument in zip((*parts.lines, *parts.tile), arguments, strict=True):
        _accumulate(f, n, f.value(argument), before, after, parts)
    f.body += _stores(f, stage)
    body = [
        "i = tl.load(chunks + 2 * tl.program_id(0))",
        "q = tl.load(chunks + 2 * tl.program_id(0) + 1).to(tl.int32)",
        "rows = tl.load(sizes + 3 * i + 1)",
        "cols = tl.multiple_of(tl.load(sizes + 3 * i + 2), LANES)",
        *(["planes = tl.load(sizes + 3 * i)"] if parts.lines else []),
        "across = tl.cdiv(cols, ACROSS).to(tl.int32)",
        "down = tl.cdiv(rows, STRIP).to(tl.int32)",
        "plane = (q // (across * down)).to(tl.int64)",
        "begin = (q // across % down).to(tl.int64) * STRIP",
        "end = tl.minimum(begin + STRIP, rows)",
        _NONE_IF_SKIPPED,
        *f.rows_of_tables(),
        "factor = tl.load(h)",
        *f.head,
        "left = (q % across).to(tl.int64) * ACROSS",
        "k = (left + tl.arange(0, ACROSS))[None, :]",
        "in_cols = k < cols",
        *f.columns_first,
        *before,
        "for start in range(begin, end, DOWN):",
        "    y = (start + tl.arange(0, DOWN))[:, None]",
        "    in_rows = y < end",
        "    inside = in_rows & in_cols",
        "    j = (plane * rows + y) * cols + k",
        *indented(f.body),
        *after,
    ]
    sizes = [f"{n}: tl.constexpr" for n in ("LANES", "STRIP", "DOWN", "ACROSS", "ROUND")]
    doc = "One strip of rows of one tensor, tile by tile."
    return _function(f"{label}_stage_{k}", doc, ["chunks", *_COMMON, *_TYPES, *sizes], body)


def _accumulate(f: Kernel, n: Node, value: str, before: list[str], after: list[str], parts: Parts) -> None:
    """Statements that reduce a value of a tile: before the loop, in it, after it."""
    way, first = start_of(n)
    kind = f.plan.kinds[n]
    found = f.names.fresh("found")
    f.body.append(f"{found} = tl.where(inside, {value}, {first})")
    if kind == Kind.ROW:
        place = f.pointer(f"*{f.tables.parts.index(n)}", f.tables.pointer_count + f.tables.parts.index(n))
        at = f"{place} + (q % across) * (planes * rows) + plane * rows + start + tl.arange(0, DOWN)"
        f.body.append(f'tl.store({at}, reduced({found}, "{way}", 1), start + tl.arange(0, DOWN) < end)')
        return
    total = f.names.fresh("total")
    before.append(f"{total} = tl.full([DOWN, ACROSS], {first}, A)")
    f.body.append(f'{total} = joined({total}, {found}, "{way}")')
    if kind == Kind.COL:
        place = f.pointer(f"*{f.tables.parts.index(n)}", f.tables.pointer_count + f.tables.parts.index(n))
        column = "left + tl.arange(0, ACROSS)"
        at = f"{place} + (q // across % down) * (planes * cols) + plane * cols + {column}"
        after.append(f'tl.store({at}, reduced({total}, "{way}", 0), {column} < cols)')
        return
    index = parts.tile.index(n)
    after.append(
        f"tl.store(partial + tl.program_id(0) * {len(parts.tile)} + {index}, "
        f'reduced(reduced({total}, "{way}", 1), "{way}", 0))'
    )


def _lines_kernel(plan: Plan, name: str, k: int | None = None, parts: Parts | None = None) -> str:
    """A kernel over rows, columns and planes: the reductions of stage k of such values, or else new states."""
    new = outputs(plan)
    f = Lines(plan, in_memory(plan, len(plan.stages) if k is None else k))
    states = [b for b in plan.slots[1:] if b.kind in (Kind.ROW, Kind.COL)] if parts is None else []
    reductions = (*parts.planes, *parts.small) if parts else ()
    f.count([*(n.args[0] for n in reductions), *(new[b.name] for b in states)])
    before: list[str] = []
    after: list[str] = []
    for n in reductions:
        assert parts is not None
        _over_lines(f, n, before, after, parts)
    texts = [f.value(new[b.name]) for b in states]  # all before the first is stored
    for b, text in zip(states, texts, strict=True):
        f.lines_of(b.kind).append(f.store(b.name, b.kind, text))
    body = [
        *_SKIP,
        "i = tl.load(chunks + 2 * tl.program_id(0))",
        "plane = tl.load(chunks + 2 * tl.program_id(0) + 1)",
        *([] if plan.flat else ["rows = tl.load(sizes + 3 * i + 1)", "cols = tl.load(sizes + 3 * i + 2)"]),
        *f.rows_of_tables(),
        *f.head,
        *before,
        *_loop("y", "rows", "in_rows", f.down),
        *_loop("k", "cols", "in_cols", f.across),
        *after,
    ]
    doc = "The rows and columns of one plane of one tensor."
    return _function(name, doc, ["chunks", *_COMMON, *_TYPES, "LINES: tl.constexpr"], body)


def _loop(index: str, length: str, mask: str, body: list[str]) -> list[str]:
    """A loop over lines in blocks, if there is anything to do in it."""
    if not body:
        return []
    head = [f"{index} = start + tl.arange(0, LINES)", f"{mask} = {index} < {length}"]
    return [f"for start in range(0, {length}, LINES):", *indented([*head, *body])]


def _over_lines(f: Lines, n: Node, before: list[str], after: list[str], parts: Parts) -> None:
    """Statements that reduce a value per line, or one of which there is one per plane or tensor."""
    way, first = start_of(n)
    kind = f.plan.kinds[n.args[0]]
    value = f.value(n.args[0])
    if kind in (Kind.ROW, Kind.COL):
        total = f.names.fresh("total")
        before.append(f"{total} = tl.full([LINES], {first}, A)")
        kept = f"tl.where({f.mask(kind)}, {value}, {first})"
        f.lines_of(kind).append(f'{total} = joined({total}, {kept}, "{way}")')
        value = f'reduced({total}, "{way}", 0)'
    if n in parts.planes:
        entries = {Kind.ROW: "rows", Kind.COL: "cols"}.get(kind)
        if how(n) == "mean" and entries:
            value = f"quotient({value}, {entries}.to(A))"
        after.append(f"tl.store({f.pointer(f'#{f.columns.lines.index(n)}')} + plane, {value})")
        return
    after.append(f"tl.store(partial + tl.program_id(0) * {len(parts.small)} + {parts.small.index(n)}, {value})")


def _single_values(plan: Plan, name: str, kind: Kind) -> str:
    """The new states of which a tensor has one, or of which all tensors have one: a program each."""
    new = outputs(plan)
    f = Kernel(plan, in_memory(plan, len(plan.stages)))
    buffers = [b for b in plan.slots[1:] if b.kind == kind]
    f.count(new[b.name] for b in buffers)
    texts = [(b.name, f.value(new[b.name])) for b in buffers]
    if kind == Kind.SCALAR:
        stores = [f.store(b, kind, text) for b, text in texts]
    else:
        first = len(f.tables.over_all)
        stores = [f"tl.store(shared + {first + f.tables.globals.index(b)}, {cast(text, 'A')})" for b, text in texts]
    body = [*_SKIP, "i = tl.program_id(0).to(tl.int64)", *f.rows_of_tables(), *f.head, *stores]
    return _function(name, "Values of which there is one.", [*_COMMON, *_TYPES], body)


def _hosts(rule: Rule, plan: Plan, name: str) -> str:
    """The kernel that counts the step of a tensor and computes its host scalars."""
    f = Prologue(plan, {})
    f.count(plan.hosts)
    texts = [f.value(n) for n in plan.hosts]
    stores = [f"tl.store(h + {x}, {cast(text, 'A')})" for x, text in enumerate(texts, start=1)]
    body = [
        "i = tl.program_id(0).to(tl.int64)",
        "going = tl.load(skip) == 0",
        f"step = tl.load(pointers + i * {f.tables.width} + {f.tables.step}).to(tl.pointer_type(tl.float32))",
        "t = tl.load(step) + 1",
        "tl.store(step, t, going)",
        "t = t.to(tl.float64)",
        f"v = values + tl.load(groups + i) * {len(rule.hypers) + 1}",
        f"f = facts + i * {len(FACTS)}",
        *f.body,
        f"h = hosts + i * {len(plan.hosts) + 1}",
        "tl.store(h, quotient(tl.load(v), tl.load(grad_scale).to(tl.float64)).to(A))",
        *stores,
    ]
    doc = "One tensor's step count, the factor of its gradient, and what follows from hyperparameters and step alone."
    parameters = ["pointers", "groups", "values", "facts", "hosts", "grad_scale", "skip", "A: tl.constexpr"]
    return _function(name, doc, parameters, body)
