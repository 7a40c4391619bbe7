"""The text of the interpreter: its fixed part, and the operations as the op table has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files

from evoptim.codegen.targets.cpp.printer import PRELUDE

from ..bytecode.opcodes import EXPAND, REDUCTIONS, VECTOR, InstructionSet, Opcode
from .tables import TILE, UNIT

DESK = 128
"""Bytes of a block's shared memory before the operands, beside 8 for each thread."""

_FOLDER = "evoptim.runtime.interpreter"
_OPERATIONS = "// operations\n"
_TYPES = {"f32": "float", "f64": "double"}


@lru_cache(maxsize=1)
def interpreter_source(instructions: InstructionSet) -> str:
    """The C++ file: a function ``run_f32`` or ``run_f64``, whichever of ``USE_f32`` and ``USE_f64`` is defined."""
    cases = "".join(_case(k, o) for k, o in enumerate(instructions.opcodes))
    body = _body(instructions, "interpreter.cpp", cases, {"UNIT": UNIT})
    return f"{_HEAD}{PRELUDE}\n{body}\n}}  // namespace\n\n{''.join(_exports(_RUN))}"


@lru_cache(maxsize=8)
def device_source(instructions: InstructionSet, threads: int, each: int) -> str:
    """The CUDA C++ file: a kernel ``step_f32`` or ``step_f64``, whichever of ``USE_f32`` and ``USE_f64`` is defined.

    Args:
        instructions: What the interpreter knows.
        threads: Of a block, a power of two.
        each: Entries that a thread has at a time.
    """
    cases = "".join(_device_case(k, o) for k, o in enumerate(instructions.opcodes))
    numbers = {"THREADS": threads, "EACH": each, "DESK": 8 * threads + DESK}
    body = _body(instructions, "interpreter.cu", cases, numbers)
    functions = "\n".join(_ELEMENTARY.findall(PRELUDE)).replace("inline", "DEVICE inline")
    text = f"namespace {{\n\n{functions}\n\n{body}\n}}  // namespace\n\n{''.join(_exports(_STEP))}"
    return _DEVICE_HEAD + text.replace("std::", "")


def _body(instructions: InstructionSet, name: str, cases: str, numbers: Mapping[str, int]) -> str:
    """Functions, constants, what interpreters have in common, and one of them with its operations."""
    functions, common, fixed = (_text(n) for n in ("functions.cpp", "common.cpp", name))
    before, after = fixed.split(_OPERATIONS)
    reduce, expand = instructions.number(REDUCTIONS[0], VECTOR), instructions.number(EXPAND, VECTOR)
    constants = {"TILE": TILE, **numbers, "REDUCE": reduce, "EXPAND": expand}
    head = "".join(f"constexpr int64_t {n} = {v};\n" for n, v in constants.items())
    return f"{functions}\n{head}\n{common}\n{before}{cases}{after}"


def _text(name: str) -> str:
    return files(_FOLDER).joinpath(name).read_text(encoding="utf-8")


_VECTORISED = re.compile(r"std::(exp|exp2|expm1|log|log2|log10|log1p|atan|tanh|pow)\(")
"""Functions that functions.cpp has for float."""
_ELEMENTARY = re.compile(r"^template <typename A> inline A \w+_\(.*$", re.MULTILINE)
"""Functions of the prelude that operations call."""
_HEAD = "#include <cfloat>\n#ifdef _OPENMP\n#include <omp.h>\n#endif\n#define DEVICE\n"
_DEVICE_HEAD = """\
#define ON_DEVICE
#define DEVICE __device__
#ifdef __CUDACC_RTC__
typedef int int32_t;
typedef unsigned uint32_t;
typedef long long int64_t;
#define INFINITY __int_as_float(0x7f800000)
#else
#include <cstdint>
#include <math.h>
#endif

extern __shared__ __align__(16) double pool[];

"""
_RUN = 'extern "C" void run_{0}(const Batch* batch) {{ run_batch<{1}>(*batch); }}'
_STEP = """\
extern "C" __global__ void __launch_bounds__(THREADS, 1024 / THREADS) step_{0}(const Call call, const int32_t jobs) {{
    run_block(call, *reinterpret_cast<Desk<{1}>*>(pool), jobs);
}}"""


def _case(number: int, opcode: Opcode) -> str:
    """One case of the switch: a loop over the entries of a tile."""
    lines = [f"case {number}: {{  // {opcode.name} {opcode.form}"]
    inner = []
    for k, form in enumerate(opcode.form):
        if form == VECTOR:
            lines.append(f"    const A* const p{k} = at[c->x[{k}]];")
            inner.append(f"const A x{k} = p{k}[i];")
        else:
            lines.append(f"    const A x{k} = *at[c->x[{k}]];")
    lines += [
        "    A* const to = at[c->to];",
        "#pragma omp simd",
        "    for (int64_t i = 0; i < n; ++i) {",
        f"        {' '.join(inner)}",
        f"        to[i] = {_VECTORISED.sub(_own, opcode.text)};",
        "    }",
        "    break;",
        "}",
    ]
    return "".join(f"{line if line.startswith('#') else '        ' + line}\n" for line in lines)


def _device_case(number: int, opcode: Opcode) -> str:
    """One case of the switch: what is done to an entry, as a function of its arguments."""
    names = ", ".join(f"const A x{k}" for k in range(len(opcode.form)))
    vectors = sum(1 << k for k, form in enumerate(opcode.form) if form == VECTOR)
    function = f"[]({names}) -> A {{ return {_VECTORISED.sub(_own, opcode.text)}; }}"
    call = f"entries<{len(opcode.form)}, {vectors}>(desk, c, begin, n, {function});"
    return f"        case {number}:  // {opcode.name} {opcode.form}\n            {call}\n            break;\n"


def _own(call: re.Match[str]) -> str:
    return f"{call[1]}_("


def _exports(template: str) -> Iterator[str]:
    for suffix, number in _TYPES.items():
        yield f"#ifdef USE_{suffix}\n{template.format(suffix, number)}\n#endif\n"
