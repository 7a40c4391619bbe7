"""The text of the interpreter: its fixed part, and the operations as the op table has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files

from evoptim.codegen.targets.cpp.printer import PRELUDE

from ..bytecode.opcodes import EXPAND, REDUCTIONS, VECTOR, InstructionSet, Opcode
from .tables import TILE, UNIT

_FOLDER = "evoptim.runtime.interpreter"
_FILES = ("functions.cpp", "interpreter.cpp")
_OPERATIONS = "// operations\n"
_TYPES = {"f32": "float", "f64": "double"}


@lru_cache(maxsize=1)
def interpreter_source(instructions: InstructionSet) -> str:
    """The C++ file: a function ``run_f32`` or ``run_f64``, whichever of ``USE_f32`` and ``USE_f64`` is defined."""
    functions, fixed = (files(_FOLDER).joinpath(n).read_text(encoding="utf-8") for n in _FILES)
    before, after = fixed.split(_OPERATIONS)
    cases = "".join(_case(k, o) for k, o in enumerate(instructions.opcodes))
    numbers = {
        "TILE": TILE,
        "UNIT": UNIT,
        "REDUCE": instructions.number(REDUCTIONS[0], VECTOR),
        "EXPAND": instructions.number(EXPAND, VECTOR),
    }
    head = "".join(f"constexpr int64_t {n} = {v};\n" for n, v in numbers.items())
    return f"{_HEAD}{PRELUDE}\n{functions}\n{head}{before}{cases}{after}\n}}  // namespace\n\n{''.join(_exports())}"


_VECTORISED = re.compile(r"std::(exp|exp2|expm1|log|log2|log10|log1p|atan|tanh|pow)\(")
"""Functions that functions.cpp has for float."""
_HEAD = "#include <cfloat>\n#ifdef _OPENMP\n#include <omp.h>\n#endif\n"


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


def _own(call: re.Match[str]) -> str:
    return f"{call[1]}_("


def _exports() -> Iterator[str]:
    for suffix, number in _TYPES.items():
        function = f'extern "C" void run_{suffix}(const Batch* batch) {{ run_batch<{number}>(*batch); }}'
        yield f"#ifdef USE_{suffix}\n{function}\n#endif\n"
