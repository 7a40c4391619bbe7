"""Compiles the Triton kernels of rules to machine code, on any machine, and counts what they do; prints JSON.

A program of its own, since Triton decides when it is imported whether it compiles or interprets kernels:
``python ptx.py '[["lion", "fp32", "sm_90"], ...]'``.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from evoptim.codegen.targets.triton import launcher
from evoptim.codegen.targets.triton.optimizer import TritonText
from evoptim.dsl import live_statements, load

TARGETS = {
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_80": GPUTarget("cuda", 80, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
TYPES = {"fp32": tl.float32, "bf16": tl.bfloat16, "fp16": tl.float16, "fp64": tl.float64}
TILES: dict[str, Any] = {"CHUNK": launcher.CHUNK, "STRIP": launcher.STRIP, "PARTS": launcher.PARTS}
TILES |= dict(zip(("DOWN", "ACROSS"), launcher.WIDE, strict=True))
TILES |= {"ALIGN": 16, "LANES": 16, "HOW": "sum", "ROUND": "nearest", "START": 0.0}
POINTERS = dict.fromkeys(("chunks", "pointers", "sizes", "groups", "jobs"), "*i64")
POINTERS |= {"values": "*fp64", "facts": "*fp64", "skip": "*fp32", "grad_scale": "*fp32"}


def compiled(kernel: Any, parameter: str, target: GPUTarget) -> Any:
    """A kernel as machine code, with pointers aligned as torch's allocations are."""
    arithmetic = "fp64" if parameter == "fp64" else "fp32"
    names = list(inspect.signature(kernel.fn).parameters)
    pointers = POINTERS | dict.fromkeys(("hosts", "known", "shared", "partial"), f"*{arithmetic}")
    block = launcher.BLOCK * target.warp_size // 32
    lines = launcher.LINES if kernel.fn.__name__ == "combine_lines" else launcher.MANY
    constants = TILES | {"P": TYPES[parameter], "A": TYPES[arithmetic], "BLOCK": block, "LINES": lines}
    source = ASTSource(
        fn=kernel,
        signature={n: pointers.get(n, "constexpr") for n in names},
        constexprs={n: constants[n] for n in names if n not in pointers},
        attrs={(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n in pointers},
    )
    return triton.compile(source, target=target, options={"num_warps": launcher.WARPS, "enable_fp_fusion": False})


def counts(kernel: Any) -> dict[str, Any]:
    """Instructions of a compiled kernel by what they do to memory, and what it keeps in local memory."""
    text = kernel.asm.get("ptx") or kernel.asm["amdgcn"]
    pattern = r"(?:ld|st)\.global[\w.:]*" if "ptx" in kernel.asm else r"(?:global|buffer)_(?:load|store)_\w+"
    arithmetic = re.findall(r"(?:add|sub|mul|fma|div|sqrt|rcp)\.[\w.]*f64|v_\w+_f64", text)
    out: dict[str, Any] = {"instructions": Counter(re.findall(pattern, text)), "float64": len(arithmetic)}
    out["local"] = len(re.findall(r"(?:ld|st)\.local|scratch_(?:load|store)", text))
    if "cubin" in kernel.asm:
        out |= _resources(kernel.asm["cubin"])
    return out


def _resources(machine_code: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(machine_code)
        file.flush()
        told = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    assert found, told
    return {"registers": int(found[1]), "stack": int(found[2])}


def main() -> None:
    """Compile what the command line names."""
    out = []
    for rule, parameter, target in json.loads(sys.argv[1]):
        text = TritonText(live_statements(load(rule)))
        module = launcher.load_triton(text.kernels())
        kernels = {n: k for n, k in vars(module).items() if n.startswith((*text.plans, "combine")) and "_tile" not in n}
        found = {n: counts(compiled(k, parameter, TARGETS[target])) for n, k in kernels.items()}
        out.append({"rule": rule, "parameter": parameter, "target": target, "kernels": found})
    print(json.dumps(out))


if __name__ == "__main__":
    main()
