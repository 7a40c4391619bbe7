"""All that is to be checked and measured on a GPU, in one program: ``python run.py [OUTPUT.json]``, about 5 minutes.

It needs torch, triton, numpy and a wheel of evoptim, no network and no other package. It checks (checks.py), times
steps next to torch's fused AdamW and to a copy of memory, tries other tile sizes, writes one JSON file, anew after
every part, and prints one table.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import checks
import torch
import triton
from collecting import collect

from evoptim.codegen import compile_rule, plan
from evoptim.dsl import load
from evoptim.stepping import alternate

HERE = Path(__file__).parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TENSORS, SIDE = 16, 2560
"""16 tensors of 2,560 x 2,560: 105 million parameters."""

ROUNDS = 15
Step = Callable[[], Any]


def parameters(count: int, dtype: torch.dtype, *shape: int) -> list[torch.nn.Parameter]:
    """Parameters with gradients."""
    torch.manual_seed(0)
    out = [torch.nn.Parameter(torch.randn(shape, device="cuda").to(dtype)) for _ in range(count)]
    for p in out:
        p.grad = torch.randn(shape, device="cuda").to(dtype)
    return out


def timed(steps: Mapping[str, Step], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Milliseconds of the device by contender, taking turns, after three to warm up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for k in range(rounds + 3):
        for name, step in steps.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            begin.record()
            step()
            end.record()
            end.synchronize()
            if k >= 3:
                times[name].append(begin.elapsed_time(end))
    return times


def on_host(steps: Mapping[str, Step]) -> dict[str, list[float]]:
    """Milliseconds until the device is done, by the host's clock: what many small tensors cost."""

    def ten(step: Step) -> Step:
        return lambda: ([step() for _ in range(10)], torch.cuda.synchronize())

    times = alternate({name: ten(step) for name, step in steps.items()}, ROUNDS)
    return {name: [1e2 * seconds for seconds in found] for name, found in times.items()}


def copy_bandwidth() -> float:
    """Bytes per second of a large copy on the device, read and written."""
    x, y = torch.randn(2**29, device="cuda"), torch.empty(2**29, device="cuda")
    [milliseconds] = timed({"copy": lambda: y.copy_(x)}).values()
    return 2 * 4 * 2**29 / (1e-3 * statistics.median(milliseconds))


def graphed(optimizer: Any) -> Step:
    """The replay of a captured step."""
    for _ in range(3):
        optimizer.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    return lambda: (graph.replay(), optimizer)  # the optimizer lives as long as its graph


def large(rule: str, dtype: str, copied: float) -> dict[str, Any]:
    """A rule next to torch's fused AdamW, by the bytes that each has to move."""
    size = torch.finfo(DTYPES[dtype]).bits // 8
    ours = compile_rule(load(rule), target="triton")(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE))
    rival = torch.optim.AdamW(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE), fused=True)
    times = timed({rule: ours.step, "torch": rival.step})
    elements = TENSORS * SIDE * SIDE
    the_plan = plan(load(rule), load(rule).classes[-1])
    moved = {rule: the_plan.element_bytes(size, 4) * elements, "torch": 7 * size * elements}
    rates = {n: moved[n] / (1e-3 * statistics.median(t)) for n, t in times.items()}
    first = ours.state[next(iter(ours.state))]
    assert all(v.dtype == torch.float32 for v in first.values())
    return {
        "rule": rule,
        "dtype": dtype,
        "milliseconds": round(statistics.median(times[rule]), 4),
        "bytes_per_parameter": moved[rule] // elements,
        "of_copy_bandwidth": round(rates[rule] / copied, 4),
        "torch_fused_adamw_milliseconds": round(statistics.median(times["torch"]), 4),
        "torch_of_copy_bandwidth": round(rates["torch"] / copied, 4),
    }


def adafactor(dtype: str, copied: float) -> dict[str, Any]:
    """Adafactor next to torch's and to its floor: 24 bytes a parameter in float32, streamed."""
    row = large("adafactor", dtype, copied)
    rival = torch.optim.Adafactor(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE))
    ours = compile_rule(load("adafactor"), target="triton")(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE))
    times = timed({"ours": ours.step, "torch": rival.step}, 7)
    ratio = statistics.median(b / a for a, b in zip(times["ours"], times["torch"], strict=True))
    return row | {"times_torch_adafactor": round(ratio, 3), "times_floor": round(1 / row["of_copy_bandwidth"], 3)}


def small() -> dict[str, Any]:
    """300 tensors of 1,000 elements: steps from Python, and graphs."""
    params = [parameters(300, torch.float32, 1000) for _ in range(4)]
    cls = compile_rule(load("adamw"), target="triton")
    steps = {
        "ours": cls(params[0]).step,
        "torch_fused": torch.optim.AdamW(params[1], fused=True).step,
        "ours_graph": graphed(cls(params[2], capturable=True)),
        "torch_fused_graph": graphed(torch.optim.AdamW(params[3], fused=True, capturable=True)),
    }
    return {name: round(statistics.median(t), 4) for name, t in on_host(steps).items()}


def tiles(copied: float) -> list[dict[str, Any]]:
    """AdamW and Adafactor with other sizes of chunks, tiles and programs."""
    out: list[dict[str, Any]] = []
    choices = [(c, b, w) for c in (4096, 8192, 16384, 65536) for b, w in ((512, 4), (1024, 4), (2048, 4), (2048, 8))]
    for rule, dtype in (("adamw", "float32"), ("adamw", "bfloat16"), ("adan", "float32")):
        cls = compile_rule(load(rule), target="triton")
        module: Any = sys.modules[cls.__module__]
        before = module.CHUNK, module.BLOCK, module.WARPS
        params = parameters(TENSORS, DTYPES[dtype], SIDE, SIDE)
        for choice in choices:
            module.CHUNK, module.BLOCK, module.WARPS = choice
            optimizer = cls(params)
            [times] = timed({"step": optimizer.step}, 7).values()
            size = torch.finfo(DTYPES[dtype]).bits // 8
            rate = plan(load(rule)).element_bytes(size, 4) * TENSORS * SIDE * SIDE / (1e-3 * statistics.median(times))
            named = dict(zip(("chunk", "block", "warps"), choice, strict=True))
            out.append({"rule": rule, "dtype": dtype, **named, "of_copy_bandwidth": round(rate / copied, 4)})
            del optimizer
        module.CHUNK, module.BLOCK, module.WARPS = before
    return out


def main() -> None:
    """Check, measure, print, write."""
    if not torch.cuda.is_available():
        sys.exit("run.py: no CUDA device")
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name(),
        "versions": {"torch": torch.__version__, "triton": triton.__version__, "evoptim": version("evoptim")},
    }
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "result.json"
    well = collect(result, parts(), output)
    if not result["failed"]:
        show(result)
    sys.exit(not well)


def parts() -> Iterator[tuple[str, Step]]:
    """What is measured and checked, by name."""
    copied = copy_bandwidth()
    yield "copy_bytes_per_second", lambda: copied
    yield "large", lambda: [large(rule, d, copied) for rule in ("adamw", "lion", "adan", "adaxw") for d in DTYPES]
    yield "adafactor", lambda: [adafactor(d, copied) for d in DTYPES]
    yield "small_300_tensors_milliseconds", small
    yield "checks", lambda: checks.run_all("cuda")
    yield "tiles", lambda: tiles(copied)


def show(result: dict[str, Any]) -> None:
    """The table."""
    failed = {n: t for n, t in result["checks"].items() if not t.startswith("ok")}
    print(f"{result['device']}, {result['versions']}, copy {result['copy_bytes_per_second'] / 1e12:.2f} TB/s")
    print(f"{len(result['checks'])} checks, {len(failed)} not ok")
    for name, text in failed.items():
        print(f"  {name}: {text}")
    for row in [*result["large"], *result["adafactor"]]:
        print("  " + "  ".join(f"{k} {v}" for k, v in row.items()))
    for row in sorted(result["tiles"], key=lambda r: -r["of_copy_bandwidth"])[:12]:
        print(f"  {row}")


if __name__ == "__main__":
    main()
