"""A plan as C++: one function a stage and one for the small states, without any headers but the standard library's.

Every function takes the tensors of one launch as tables. ``P`` is the type of parameters and gradients, ``A`` that of
arithmetic and state. Sums are taken over short blocks in A, over blocks and chunks in double precision and in order, so
that a result does not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evoptim.dsl import OPS, Kind, Node, Op, Reduce

from ...plan import Plan, Stage
from ..statements import Columns, Statements, folded, how, in_memory, indented, outputs, printed

DTYPES = {"f32": ("float", "float"), "f64": ("double", "double"), "bf16": ("bf16", "float"), "f16": ("f16", "float")}
"""Suffix of a function: the types P and A."""

_TAKEN = frozenset(
    "alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double "
    "else enum explicit extern false float for friend goto if inline int long mutable namespace new not operator or "
    "private protected public register return short signed sizeof static struct switch template this throw true try "
    "typedef typename union unsigned using virtual void volatile while xor std load store tensors sizes pointers hosts "
    "known found globals threads first chunks partial begin end at h k j c i r rows cols plane planes parts part wide "
    "b until factor at_row chunks_of host_rows bf16 f16 P A".split()
)

PRELUDE = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int64_t CHUNK = 65536, BLOCK = 1024, CACHE = 8 << 20;

// Into how many parts of whole rows a matrix is cut: about CHUNK elements each, and not more than 256 parts.
inline int64_t chunks_of(const int64_t rows, const int64_t cols) {
    const int64_t wanted = (rows * cols + CHUNK - 1) / CHUNK;
    return std::max<int64_t>(1, std::min<int64_t>(std::min<int64_t>(wanted, rows), 256));
}

struct bf16 { uint16_t bits; };
typedef _Float16 f16;

template <typename A> inline A load(const float x) { return A(x); }
template <typename A> inline A load(const double x) { return A(x); }
template <typename A> inline A load(const f16 x) { return A(float(x)); }
template <typename A> inline A load(const bf16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, 4);
    return A(value);
}
inline void store(float& to, const float x) { to = x; }
inline void store(double& to, const double x) { to = x; }
inline void store(f16& to, const float x) { to = f16(x); }
inline void store(bf16& to, const float x) {  // to the nearest, ties to even; NaN stays NaN
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    to.bits = uint16_t(x != x ? 0x7fc0u : rounded);
}

template <typename A> inline A sign_(const A x) { return A(x > 0) - A(x < 0); }
template <typename A> inline A max_(const A x, const A y) { return (x > y || x != x) ? x : y; }
template <typename A> inline A min_(const A x, const A y) { return (x < y || x != x) ? x : y; }
template <typename A> inline A sigmoid_(const A x) { return A(1) / (A(1) + std::exp(-x)); }
template <typename A> inline A softplus_(const A x) { return max_(x, A(0)) + std::log1p(std::exp(-std::fabs(x))); }
"""


def supported(plan: Plan) -> bool:
    """Whether a plan can be printed: torch's matrix products leave it tensors, and every operation has a C++ form.

    Values over all parameters are exchanged between launches stage by stage, so vectors and matrices must be cut alike:
    a rule that has both such values and branches is left to torch.
    """
    if not plan.fits_kernels or (plan.shared and len(plan.rule.classes) > 1):
        return False
    return all(OPS[n.op].cpp or OPS[n.op].reduce for n in printed(plan) if n.args)


def source(plans: Mapping[str, Plan]) -> str:
    """The C++ file of some plans by label: functions ``vector_stage_0_f32``, ``matrix_small_bf16`` and so on.

    What is compiled are the functions of the dtype for which a macro such as ``USE_f32`` is defined.
    """
    functions: list[str] = []
    names: list[str] = []
    for label, plan in plans.items():
        stages = range(len(plan.stages))
        functions += [_stage(plan, k, f"{label}_stage_{k}") for k in stages]
        names += [f"{label}_stage_{k}" for k in stages]
        if plan.small:
            functions.append(_small(plan, f"{label}_small"))
            names.append(f"{label}_small")
        if runs_alone(plan):
            functions.append(_step(plan, label))
            names.append(f"{label}_step")
    exports = ["\n".join([f"#ifdef USE_{suffix}", *(_export(n, suffix) for n in names), "#endif"]) for suffix in DTYPES]
    text = "\n".join([PRELUDE, *functions, "}  // namespace", "", *exports])
    return "\n".join(part for line in text.split("\n") for part in folded(line)) + "\n"


def runs_alone(plan: Plan) -> bool:
    """Whether tensors can go through all stages without the others: there are several, and they exchange nothing."""
    return len(plan.stages) > 1 and not (plan.shared or plan.multiplies or Columns(plan).globals)


_ARGUMENTS = (
    "const int64_t tensors, const int64_t* sizes, void* const* pointers, const int64_t* host_rows,\n"
    "    const double* hosts, const double* known, double* found, const int threads"
)


def _export(function: str, suffix: str) -> str:
    p, a = DTYPES[suffix]
    call = "tensors, sizes, pointers, host_rows, hosts, known, found, threads"
    return f'extern "C" void {function}_{suffix}(\n    {_ARGUMENTS}) {{\n    {function}<{p}, {a}>({call});\n}}'


_TERMS = {"sum": "{0} += {1};", "mean": "{0} += {1};", "amax": "{0} = max_({1}, {0});", "amin": "{0} = min_({1}, {0});"}
_START = {"sum": "0", "mean": "0", "amax": "-INFINITY", "amin": "INFINITY"}


class _Function(Statements):
    """The statements of one function, by how often they run: once a chunk, once a row, once an element."""

    def __init__(self, plan: Plan, stops: dict[Node, str]) -> None:
        super().__init__(plan, stops, _TAKEN)
        self.head: list[str] = []
        self.row: list[str] = []
        self.body: list[str] = []
        self.pointers: dict[str, tuple[str, str]] = {}

    @property
    def innermost(self) -> list[str]:
        """The statements of the loop over elements."""
        return self.body

    def lines(self, n: Node) -> list[str]:
        """Where a value is computed."""
        kind = self.plan.kinds[n]
        if kind == Kind.ROW:
            return self.row
        return self.body if kind.has_rows or kind == Kind.TENSOR else self.head

    def constant(self, value: float, operand: bool) -> str:
        """A number of type A."""
        return f"A({value!r})"

    def form(self, op: Op) -> str:
        """An operation in C++."""
        return op.cpp

    def declared(self, n: Node, text: str) -> str:
        """The statement that gives a value its name."""
        return f"const {'bool' if OPS[n.op].comparison else 'A'} {self.names(n)} = {text};"

    def host(self, n: Node) -> str:
        """The name of a host scalar."""
        index = self.plan.hosts.index(n) + 1  # the first one is the factor of the gradient
        if n.op in OPS and OPS[n.op].comparison:
            self.head.append(f"const bool {self.names(n)} = h[{index}] != 0;")
        else:
            self.head.append(f"const A {self.names(n)} = A(h[{index}]);")
        return self.names(n)

    def single(self, n: Node, index: int) -> str:
        """The name of a value that the tensor knows."""
        self.head.append(f"const A {self.names(n)} = A(k[{index}]);")
        return self.names(n)

    def loaded(self, n: Node, slot: str) -> str:
        """A load from a buffer, under a name."""
        factor = "factor * " if slot == "g" else ""
        place = f"{self.pointer(slot)}[{self.index(self.plan.kinds[n])}]"
        self.lines(n).append(f"const A {self.names(n)} = {factor}load<A>({place});")
        return self.names(n)

    def index(self, kind: Kind) -> str:
        """Where the value of the present element, row or plane stands in a buffer of a kind."""
        if not self.plan.matrix or kind == Kind.SCALAR:
            return "j" if kind == Kind.TENSOR else "0"
        return {Kind.TENSOR: "at_row + j", Kind.ROW: "plane * rows + r", Kind.COL: "plane * cols + j"}.get(
            kind, "plane"
        )

    def pointer(self, slot: str) -> str:
        """The variable that points to a slot's or a workspace's memory."""
        if slot not in self.pointers:
            variable = (
                f"{slot}_p" if slot.isidentifier() else f"kept_{slot[1:]}" if slot[0] == "%" else f"line_{slot[1:]}"
            )
            variable = self.names.fresh(variable)
            kind = {"w": "P", "g": "const P"}.get(slot, "A")
            line = f"{kind}* const __restrict {variable} = static_cast<{kind}*>(at[{self.columns.place(slot)}]);"
            self.pointers[slot] = variable, line
        return self.pointers[slot][0]

    def tables(self) -> Iterator[str]:
        """The rows of the tables that belong to tensor i."""
        yield f"void* const* const at = pointers + i * {self.columns.pointer_count};"
        yield f"const double* const h = hosts + host_rows[i] * {len(self.plan.hosts) + 1};"
        yield f"const double* const k = known + i * {self.columns.known_count};"
        yield "const A factor = A(h[0]);"
        yield "(void)at, (void)k, (void)factor;"
        yield from (line for _, line in self.pointers.values())


def _stage(plan: Plan, k: int, function: str) -> str:
    stage, new = plan.stages[k], outputs(plan)
    f = _Function(plan, in_memory(plan, k))
    f.count([*(n.args[0] for n in stage.reductions), *stage.keeps, *(new[w] for w in stage.writes)])
    sums = _Sums(plan, stage)
    for n in stage.reductions:
        sums.accumulate(f, n)
    for n in stage.keeps:
        text = f.value(n)
        f.body.append(f"store({f.pointer(f'%{plan.workspaces.index(n)}')}[{f.index(Kind.TENSOR)}], {text});")
    values = [(w, f.value(new[w])) for w in stage.writes]  # all before the first is stored
    f.body += [f"store({f.pointer(w)}[{f.index(Kind.TENSOR)}], {text});" for w, text in values]
    results = {n: f.pointer(f"#{f.columns.lines.index(n)}") for n in sums.rows}
    loops = _matrix_loops(f, sums, results) if plan.matrix else _flat_loop(f, sums)
    chunk = [
        "const int64_t i = std::upper_bound(first.begin(), first.end(), c) - first.begin() - 1;",
        *f.tables(),
        *_bounds(plan),
        *sums.starts(),
        *f.head,
        *loops,
        *sums.ends(),
    ]
    text = [
        "template <typename P, typename A>",
        f"void {function}(\n    {_ARGUMENTS}) {{",
        "    std::vector<int64_t> first(tensors + 1, 0);  // the first chunk of each tensor",
        f"    for (int64_t i = 0; i < tensors; ++i) first[i + 1] = first[i] + {_chunks(plan)};",
        "    const int64_t chunks = first[tensors];",
        *indented(sums.storage()),
        "#pragma omp parallel for schedule(static) num_threads(threads) if (chunks > 1)",
        "    for (int64_t c = 0; c < chunks; ++c) {",
        *indented(chunk, 2),
        "    }",
        *indented(sums.combined(f)),
        "}",
        "",
    ]
    return "\n".join(text)


def _step(plan: Plan, label: str) -> str:
    """All stages, for as many tensors at a time as stay in a cache until the last one; ``found`` is ``known``."""
    columns = Columns(plan)
    elements = "sizes[3 * {0}] * sizes[3 * {0} + 1] * sizes[3 * {0} + 2]" if plan.matrix else "sizes[{0}]"
    states = sum(b.kind == Kind.TENSOR for b in plan.slots[1:]) + len(plan.workspaces)
    tables = f"sizes + {3 if plan.matrix else 1} * begin, pointers + {columns.pointer_count} * begin, host_rows + begin"
    known = f"known + {columns.known_count} * begin"
    body = [
        f"const int64_t bytes = 2 * sizeof(P) + {states} * sizeof(A);",
        "std::vector<double> results;",
        "for (int64_t begin = 0, end = 0; begin < tensors; begin = end) {",
        "    int64_t taken = 0;",
        "    do {",
        f"        taken += bytes * ({elements.format('end')});",
        f"    }} while (++end < tensors && taken + bytes * ({elements.format('end')}) <= CACHE);",
        "    const int64_t count = end - begin;",
    ]
    first = 0
    for k, stage in enumerate(plan.stages):
        width = sum(n in columns.known for n in stage.reductions)
        place = "results.data()" if width else "nullptr"
        body += [f"    results.assign(count * {width}, 0);"] if width else []
        body.append(f"    {label}_stage_{k}<P, A>(count, {tables}, hosts, {known}, {place}, threads);")
        if width:
            body += [
                "    for (int64_t i = 0; i < count; ++i)",
                f"        for (int64_t c = 0; c < {width}; ++c)",
                f"            found[(begin + i) * {columns.known_count} + {first} + c] = results[i * {width} + c];",
            ]
        first += width
    if plan.small:
        body.append(f"    {label}_small<P, A>(count, {tables}, hosts, {known}, nullptr, threads);")
    head = f"void {label}_step(\n    {_ARGUMENTS}) {{"
    return "\n".join(["template <typename P, typename A>", head, "    (void)found;", *indented(body), "    }", "}", ""])


def _chunks(plan: Plan) -> str:
    """The number of chunks of tensor i."""
    if not plan.matrix:
        return "(sizes[i] + CHUNK - 1) / CHUNK"
    return "sizes[3 * i] * chunks_of(sizes[3 * i + 1], sizes[3 * i + 2])"


def _bounds(plan: Plan) -> list[str]:
    """What chunk c of tensor i spans: elements, or rows of one plane."""
    if not plan.matrix:
        return ["const int64_t begin = (c - first[i]) * CHUNK, end = std::min(begin + CHUNK, sizes[i]);", "(void)end;"]
    return [
        "const int64_t rows = sizes[3 * i + 1], cols = sizes[3 * i + 2], parts = chunks_of(rows, cols);",
        "const int64_t plane = (c - first[i]) / parts, part = (c - first[i]) % parts;",
        "const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;",
    ]


def _elements(f: _Function, sums: _Sums, begin: str, end: str) -> list[str]:
    """The loop over elements: vectorised, sums in blocks that are short enough for the type A."""
    if not f.body:
        return []
    inner = sums.inner()
    added = [sums.part(n) for n in inner if how(n) in ("sum", "mean")]
    clause = f" reduction(+ : {', '.join(added)})" if added else ""
    simd = [f"#pragma omp simd{clause}"] if sums.simple else []
    if not inner:
        return [*simd, f"for (int64_t j = {begin}; j < {end}; ++j) {{", *indented(f.body), "}"]
    return [
        f"for (int64_t b = {begin}; b < {end}; b += BLOCK) {{",
        f"    const int64_t until = std::min<int64_t>(b + BLOCK, {end});",
        *indented(f"A {sums.part(n)} = {_START[how(n)]};" for n in inner),
        *indented([*simd, "for (int64_t j = b; j < until; ++j) {", *indented(f.body), "}"]),
        *indented(_TERMS[how(n)].format(sums.name(n), f"double({sums.part(n)})") for n in inner),
        "}",
    ]


def _flat_loop(f: _Function, sums: _Sums) -> list[str]:
    return _elements(f, sums, "begin", "end")


def _matrix_loops(f: _Function, sums: _Sums, results: dict[Node, str]) -> list[str]:
    row = list(f.row)
    row += [f"double {sums.name(n)} = {_START[how(n)]};" for n in sums.rows]
    row += _elements(f, sums, "0", "cols")
    for n in sums.rows:
        mean = " / double(cols)" if how(n) == "mean" else ""
        row.append(f"store({results[n]}[plane * rows + r], A({sums.name(n)}{mean}));")
    if not row:
        return []
    head = ["const int64_t at_row = (plane * rows + r) * cols;", "(void)at_row;"]
    return ["for (int64_t r = begin; r < end; ++r) {", *indented([*head, *row]), "}"]


class _Sums:
    """The reductions of a stage: where they accumulate, and how the chunks' results come together."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        self.plan = plan
        self.all = stage.reductions
        self.rows = [n for n in self.all if plan.kinds[n] == Kind.ROW]
        self.cols = [n for n in self.all if plan.kinds[n] == Kind.COL]
        self.single = [n for n in self.all if n not in self.rows and n not in self.cols]  # one value a chunk
        self.simple = all(how(n) in ("sum", "mean") for n in self.all)

    def name(self, n: Node) -> str:
        """The accumulator of a reduction."""
        return f"found_{self.all.index(n)}"

    def part(self, n: Node) -> str:
        """What a block of elements contributes to a reduction."""
        return f"part_{self.all.index(n)}"

    def inner(self) -> list[Node]:
        """Reductions to one value in the loop over elements."""
        return [n for n in (*self.single, *self.rows) if self._by_element(n)]

    def _by_element(self, n: Node) -> bool:
        kind = self.plan.kinds[n.args[0]]
        return kind.has_rows if self.plan.matrix else kind == Kind.TENSOR

    def accumulate(self, f: _Function, n: Node) -> None:
        """The statement that adds a value to its reduction, where that value is computed."""
        kind = self.plan.kinds[n.args[0]]
        inside = n in self.cols or self._by_element(n)
        text = f"A({f.value(n.args[0])})" if inside else f"double({f.value(n.args[0])})"
        target = f"{self.name(n)}[j]" if n in self.cols else self.part(n) if inside else self.name(n)
        if kind.has_rows and not kind.has_cols:  # a column's value comes by in every row: it counts once
            text = f"(r == 0 ? {text} : A({_START[how(n)]}))"
        line = _TERMS[how(n)].format(target, text)
        if kind.has_rows:
            f.body.append(line)
        elif kind.has_cols:
            f.row.append(line)
        else:
            f.head.append(f"if ({self._first_chunk(kind)}) {line}")

    def _first_chunk(self, kind: Kind) -> str:
        """Whether a chunk is the one in which a value of a kind counts."""
        if not self.plan.matrix or kind.needs_matrix:
            return "begin == 0"
        return "begin == 0 && plane == 0"

    def storage(self) -> Iterator[str]:
        """Memory for the chunks' results."""
        if self.single:
            yield f"std::vector<double> partial(chunks * {len(self.single)});"
        if self.cols:
            yield "std::vector<int64_t> wide(chunks + 1, 0);  // the first column of each chunk"
            yield "for (int64_t i = 0; i < tensors; ++i)"
            yield "    for (int64_t c = first[i]; c < first[i + 1]; ++c) wide[c + 1] = wide[c] + sizes[3 * i + 2];"
        for n in self.cols:
            yield f"std::vector<A> partial_{self.all.index(n)}(wide[chunks], A({_START[how(n)]}));"

    def starts(self) -> Iterator[str]:
        """The accumulators at the beginning of a chunk."""
        yield from (f"double {self.name(n)} = {_START[how(n)]};" for n in self.single)
        for n in self.cols:
            yield f"A* const __restrict {self.name(n)} = partial_{self.all.index(n)}.data() + wide[c];"

    def ends(self) -> Iterator[str]:
        """Keeping what a chunk has found."""
        for i, n in enumerate(self.single):
            yield f"partial[c * {len(self.single)} + {i}] = {self.name(n)};"

    def combined(self, f: _Function) -> Iterator[str]:
        """The chunks' values together, tensor by tensor and in order."""
        if not self.single and not self.cols:
            yield "(void)found;"
            return
        known = [n for n in self.all if n in f.columns.known]
        yield "(void)found;"
        yield "for (int64_t i = 0; i < tensors; ++i) {"
        if len(known) < len(self.single) + len(self.cols):
            yield from indented([f"void* const* const at = pointers + i * {f.columns.pointer_count};"])
        if self.plan.matrix:
            line = "const int64_t planes = sizes[3 * i], rows = sizes[3 * i + 1], cols = sizes[3 * i + 2];"
            yield from indented([line, "const int64_t parts = chunks_of(rows, cols);", "(void)planes, (void)parts;"])
        for index, n in enumerate(self.single):
            term = f"partial[c * {len(self.single)} + {index}]"
            if n in known:
                slot = f"found[i * {len(known)} + {known.index(n)}]"
                yield from indented(self._over(n, "first[i]", "first[i + 1]", term, f"{slot} = {{0}};"))
            else:
                place = f"static_cast<A*>(at[{f.columns.place(f'#{f.columns.lines.index(n)}')}])[plane]"
                inner = self._over(
                    n, "first[i] + plane * parts", "first[i] + (plane + 1) * parts", term, f"store({place}, A({{0}}));"
                )
                yield from indented(["for (int64_t plane = 0; plane < planes; ++plane) {", *indented(inner), "}"])
        for n in self.cols:
            place = f"static_cast<A*>(at[{f.columns.place(f'#{f.columns.lines.index(n)}')}])[plane * cols + j]"
            term = f"double(partial_{self.all.index(n)}[wide[c] + j])"
            inner = self._over(
                n, "first[i] + plane * parts", "first[i] + (plane + 1) * parts", term, f"store({place}, A({{0}}));"
            )
            loops = ["for (int64_t plane = 0; plane < planes; ++plane)", "    for (int64_t j = 0; j < cols; ++j) {"]
            yield from indented([*loops, *indented(inner, 2), "    }"])
        yield "}"

    def _over(self, n: Node, begin: str, end: str, term: str, store: str) -> list[str]:
        """A loop over chunks that gives one value."""
        value = f"value_{self.all.index(n)}"
        divisor = self._entries(n) if how(n) == "mean" and OPS[n.op].reduce is not Reduce.GLOBAL else ""
        return [
            f"double {value} = {_START[how(n)]};",
            f"for (int64_t c = {begin}; c < {end}; ++c) {_TERMS[how(n)].format(value, term)}",
            store.format(f"{value} / double({divisor})" if divisor else value),
        ]

    def _entries(self, n: Node) -> str:
        """How many values a mean is taken of."""
        argument, result = self.plan.kinds[n.args[0]], self.plan.kinds[n]
        if not self.plan.matrix:
            return "sizes[i]"
        factors = [
            "planes" if argument.needs_matrix or argument == Kind.TENSOR else "",
            "rows" if argument.has_cols else "",
            "cols" if argument.has_rows else "",
        ]
        if result.needs_matrix:
            factors[0] = ""
        if result.has_cols:
            factors[1] = ""
        if result.has_rows:
            factors[2] = ""
        return " * ".join(filter(None, factors)) or "1"


def _small(plan: Plan, function: str) -> str:
    """The states with less than one value per element: after the last stage."""
    new = outputs(plan)
    f = _Function(plan, {})
    f.count(new[s] for s in plan.small)
    ends: list[str] = []
    states = [b for b in plan.slots[1:] if b.name in plan.small]
    texts = [f.value(new[b.name]) for b in states]  # all before the first is stored
    for buffer, text in zip(states, texts, strict=True):
        if buffer.name in f.columns.globals:
            index = f.columns.globals.index(buffer.name)
            ends.append(f"found[i * {len(f.columns.globals)} + {index}] = double({text});")
            continue
        line = f"store({f.pointer(buffer.name)}[{f.index(buffer.kind)}], {text});"
        last = (
            "if (plane == planes - 1) " if plan.matrix and buffer.kind == Kind.SCALAR else ""
        )  # others read the old one
        {Kind.ROW: f.row, Kind.COL: f.body}.get(buffer.kind, ends).append(last + line)
    inner = [*f.tables()]
    if plan.matrix:
        inner.append("const int64_t planes = sizes[3 * i], rows = sizes[3 * i + 1], cols = sizes[3 * i + 2];")
        loops = ["for (int64_t r = 0; r < rows; ++r) {", *indented(f.row), "}"] if f.row else ["(void)rows;"]
        loops += ["for (int64_t j = 0; j < cols; ++j) {", *indented(f.body), "}"] if f.body else ["(void)cols;"]
        inner += ["for (int64_t plane = 0; plane < planes; ++plane) {", *indented([*f.head, *loops, *ends]), "}"]
    else:
        inner += [*f.head, *ends]
    return "\n".join(
        [
            "template <typename P, typename A>",
            f"void {function}(\n    {_ARGUMENTS}) {{",
            "    (void)sizes, (void)found, (void)threads;",
            "    for (int64_t i = 0; i < tensors; ++i) {",
            *indented(inner, 2),
            "    }",
            "}",
            "",
        ]
    )
