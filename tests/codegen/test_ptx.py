"""What Triton makes of the kernels, read without a GPU: wide loads and stores, and no more bytes than the plan has."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from rules import SEEDS

from evoptim.codegen import kernel_source
from evoptim.codegen.plan import Plan, class_plans
from evoptim.codegen.targets.triton import launcher
from evoptim.codegen.targets.triton.printer import supported
from evoptim.dsl import Kind, live_statements, load, rule_names

pytest.importorskip("triton")
CASES = [(rule, parameter, "sm_90") for rule in SEEDS for parameter in ("fp32", "bf16")]
ELSEWHERE = [(rule, "fp32", target) for rule in SEEDS for target in ("sm_80", "gfx942")]
THREADS, TILE = 32 * launcher.WARPS, launcher.BLOCK
DOWN, ACROSS = launcher.WIDE
LINE = 4 * ACROSS if ACROSS >= 4 * THREADS else 0
"""Bytes of a tile's values by column that move in wide accesses: none where a thread has one of them."""
BYTES = {"b8": 1, "b16": 2, "b32": 4, "b64": 8}


def compile_all(cases: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    program = [sys.executable, str(Path(__file__).with_name("ptx.py")), json.dumps(cases)]
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@cache
def everything() -> dict[tuple[str, str, str], dict[str, Any]]:
    """All cases, compiled in one go."""
    cases = [*CASES, *ELSEWHERE]
    return {case: found["kernels"] for case, found in zip(cases, compile_all(cases), strict=True)}


def plans(rule: str) -> dict[str, Plan]:
    return {label: p for label, p in class_plans(live_statements(load(rule))).items() if supported(p)}


def wide(kernel: dict[str, Any], what: str) -> int:
    """Bytes that a thread moves in loads (``ld``) or stores (``st``) of several values."""
    found = re.compile(rf"{what}\.global[\w.:]*\.v(\d)\.(b\d+)")
    matches = ((found.fullmatch(name), times) for name, times in kernel["instructions"].items())
    return sum(int(m[1]) * BYTES[m[2]] * times for m, times in matches if m)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_the_main_path_moves_the_bytes_of_the_plan_in_wide_accesses(case: tuple[str, str, str]) -> None:
    rule, parameter, _ = case
    size = {"w": 2, "g": 2} if parameter == "bf16" else {}
    checked = 0
    for label, plan in plans(rule).items():
        for k, stage in enumerate(plan.stages):
            kernel = everything()[case].get(f"{label}_stage_{k}")
            if kernel is None:
                continue
            loads = sum(size.get(str(n.value), 4) for n in stage.loads)
            stores = sum(size.get(slot, 4) for slot in stage.writes) + 4 * len(stage.keeps)
            tile = TILE if plan.flat else DOWN * ACROSS
            columns = _loads_of_columns(rule, f"{label}_stage_{k}") if not plan.flat else 0
            assert wide(kernel, "ld") * THREADS == loads * tile + columns * LINE
            parts = sum(plan.kinds[n] == Kind.COL for n in stage.reductions if plan.kinds[n.args[0]] == Kind.TENSOR)
            assert wide(kernel, "st") * THREADS == stores * tile + parts * LINE
            checked += 1
    assert checked


def _loads_of_columns(rule: str, kernel: str) -> int:
    """How many values per column a kernel loads."""
    text = kernel_source(load(rule), "triton").partition(f"def {kernel}(")[2].partition("@triton.jit")[0]
    return len(re.findall(r"tl\.load\(\w+ \+ [^\n]*, in_cols\)", text))


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_nothing_spills_and_elements_meet_no_float64(case: tuple[str, str, str]) -> None:
    for name, kernel in everything()[case].items():
        assert (kernel["local"], kernel["stack"]) == (0, 0), name
        assert name.endswith("_hosts") or kernel["float64"] == 0, name


@pytest.mark.parametrize("case", ELSEWHERE, ids="-".join)
def test_other_processors(case: tuple[str, str, str]) -> None:
    kernels = everything()[case]
    for name, kernel in kernels.items():
        assert kernel["local"] == 0, name
    main = next(k for n, k in kernels.items() if n.endswith("_stage_0"))
    loads = " ".join(main["instructions"])
    assert "ld.global.v4.b32" in loads or "load_dwordx4" in loads


@pytest.mark.nightly
@pytest.mark.parametrize("parameter", ["fp32", "bf16", "fp16", "fp64"])
def test_the_whole_zoo_compiles(parameter: str) -> None:
    compile_all([(name, parameter, "sm_90") for name in rule_names() if plans(name)])
