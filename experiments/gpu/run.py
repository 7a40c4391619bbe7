"""All that is to be checked and measured on a GPU, in one program: ``python run.py [OUTPUT.json]``, about 5 minutes.

It needs torch, triton, numpy and a wheel of evoptim, no network and no other package. It tries other sizes of tiles,
times steps next to torch's fused AdamW and to a copy of memory, checks (checks.py), writes one JSON file, anew after
every part, and prints tables.

The device is kept busy while Python launches a step, as the backward pass does in a training: what is timed is the
device's work. ``milliseconds_from_idle`` is the same step on a device that waits for its launches.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import checks
import torch
import triton
import triton.language as tl
from collecting import collect

from evoptim.codegen import compile_rule, plan
from evoptim.dsl import load
from evoptim.stepping import alternate

HERE = Path(__file__).parent
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TENSORS, SIDE = 16, 2560
"""16 tensors of 2,560 x 2,560: 105 million parameters."""

ELEMENTS = TENSORS * SIDE * SIDE
ROUNDS = 15
CYCLES = 2e9
"""More than the device's clock counts in a second."""

SWEEP_SECONDS = 90.0
Step = Callable[[], Any]


def parameters(count: int, dtype: torch.dtype, *shape: int) -> list[torch.nn.Parameter]:
    """Parameters with gradients."""
    torch.manual_seed(0)
    out = [torch.nn.Parameter(torch.randn(shape, device="cuda").to(dtype)) for _ in range(count)]
    for p in out:
        p.grad = torch.randn(shape, device="cuda").to(dtype)
    return out


def timed(steps: Mapping[Any, Step], rounds: int = ROUNDS, idle: bool = False) -> dict[Any, list[float]]:
    """Milliseconds of the device by contender, taking turns, after three to warm up.

    The device is busy until all of a step is launched, unless it is to be ``idle``.
    """
    times: dict[Any, list[float]] = {name: [] for name in steps}
    launching = dict.fromkeys(steps, 0.0)
    for k in range(rounds + 3):
        for name, step in steps.items():
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            if k and not idle:
                torch.cuda._sleep(int(CYCLES * min(2 * launching[name] + 2e-4, 0.1)))
            begin.record()
            began = time.perf_counter()
            step()
            launching[name] = min(launching[name] or 1.0, time.perf_counter() - began)
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


def moved_per_element(rule: str, dtype: str) -> int:
    """Bytes that a step has to move for an element of a matrix."""
    return plan(load(rule), load(rule).classes[-1]).element_bytes(torch.finfo(DTYPES[dtype]).bits // 8, 4)


def large(rule: str, dtype: str, copied: float) -> dict[str, Any]:
    """A rule next to torch's fused AdamW, by the bytes that each has to move."""
    size = torch.finfo(DTYPES[dtype]).bits // 8
    ours = compile_rule(load(rule), target="triton")(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE))
    rival = torch.optim.AdamW(parameters(TENSORS, DTYPES[dtype], SIDE, SIDE), fused=True)
    times = timed({rule: ours.step, "torch": rival.step})
    idle = timed({rule: ours.step, "torch": rival.step}, 7, idle=True)
    moved = {rule: moved_per_element(rule, dtype) * ELEMENTS, "torch": 7 * size * ELEMENTS}
    rates = {n: moved[n] / (1e-3 * statistics.median(t)) for n, t in times.items()}
    first = ours.state[next(iter(ours.state))]
    assert all(v.dtype == torch.float32 for v in first.values())
    return {
        "rule": rule,
        "dtype": dtype,
        "milliseconds": round(statistics.median(times[rule]), 4),
        "milliseconds_from_idle": round(statistics.median(idle[rule]), 4),
        "bytes_per_parameter": moved[rule] // ELEMENTS,
        "of_copy_bandwidth": round(rates[rule] / copied, 4),
        "torch_fused_adamw_milliseconds": round(statistics.median(times["torch"]), 4),
        "torch_fused_adamw_milliseconds_from_idle": round(statistics.median(idle["torch"]), 4),
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


# --- a sweep over the sizes of tiles


@triton.jit
def _streams(a, b, c, d, e, reads: tl.constexpr, writes: tl.constexpr, block: tl.constexpr):
    """The sum of 3 to 5 tensors; the first 2 or 3 of them are written in place."""
    j = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    x = tl.load(a + j)
    y = tl.load(b + j)
    z = x + y + tl.load(c + j)
    if reads > 3:
        z += tl.load(d + j)
    if reads > 4:
        z += tl.load(e + j)
    tl.store(a + j, z)
    tl.store(b + j, z - x)
    if writes > 2:
        tl.store(c + j, z - y)


def streams(copied: float) -> list[dict[str, Any]]:
    """What kernels reach that move in float32 what Lion, AdamW and more do, and compute next to nothing."""
    tensors = [torch.randn(ELEMENTS, device="cuda") * 1e-9 for _ in range(5)]
    choices = [(reads, writes, block) for reads, writes in ((3, 2), (4, 3), (5, 3)) for block in (512, 1024, 2048)]
    steps: dict[Any, Step] = {}
    for choice in choices:
        named = dict(zip(("reads", "writes", "block"), choice, strict=True))
        steps[choice] = partial(_streams[(ELEMENTS // choice[2],)], *tensors, **named, num_warps=4)
    out: list[dict[str, Any]] = []
    for (reads, writes, block), times in timed(steps, 7).items():
        rate = 4 * (reads + writes) * ELEMENTS / (1e-3 * statistics.median(times))
        out.append({"reads": reads, "writes": writes, "block": block, "of_copy_bandwidth": round(rate / copied, 4)})
    return out


@dataclass(frozen=True, slots=True)
class Choice:
    """Sizes of tiles by the names of the launcher's constants."""

    sizes: tuple[tuple[str, Any], ...]

    @contextlib.contextmanager
    def made(self, cls: Any) -> Iterator[None]:
        """What of a class first steps in here keeps this choice."""
        module: Any = sys.modules[cls.__module__]
        before = {name: getattr(module, name) for name, _ in self.sizes}
        vars(module).update(self.sizes)
        try:
            yield
        finally:
            vars(module).update(before)

    def step(self, cls: Any, params: list[torch.nn.Parameter], state: Mapping[Any, Any]) -> Step:
        """The step of an optimizer made by this choice, on the state of another."""
        optimizer = cls(params)
        for p in params:
            optimizer.state[p] = state[p]
        with self.made(cls):
            optimizer.step()
        return optimizer.step

    def trained(self, cls: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        """Small tensors after three large steps, with whole tiles and others."""
        params = [p for shape in ((64, 512), (304, 160), (1, 8240)) for p in parameters(1, dtype, *shape)]
        optimizer = cls(params, lr=1.0)
        with self.made(cls):
            for _ in range(3):
                optimizer.step()
                for p in params:
                    assert p.grad is not None
                    p.grad *= -0.7
        return [p.detach().double() for p in params]


def flat(chunk: int, block: int, warps: int) -> Choice:
    """A choice for rules that see vectors."""
    return Choice((("CHUNK", chunk), ("BLOCK", block), ("WARPS", warps)))


def strip(down: int, across: int, rows: int, warps: int) -> Choice:
    """A choice for rules that see rows and columns."""
    return Choice((("WIDE", (down, across)), ("STRIP", rows), ("WARPS", warps)))


FLAT = (
    *(flat(chunk, 512, 4) for chunk in (2048, 512, 1024, 4096, 8192)),
    *(flat(chunk, 1024, 8) for chunk in (1024, 2048, 4096)),
    *(flat(chunk, 256, 2) for chunk in (1024, 2048)),
    *(flat(chunk, 1024, 4) for chunk in (2048, 8192)),
)
STRIPS = (
    *(strip(8, 128, rows, 4) for rows in (128, 64, 256)),
    *(strip(4, 128, rows, 4) for rows in (64, 128)),
    *(strip(1, 512, rows, 4) for rows in (32, 64)),
    strip(16, 128, 128, 4),
    strip(4, 512, 128, 4),
    strip(8, 128, 64, 8),
)
SWEPT = (
    *((rule, dtype, FLAT) for rule in ("adamw", "lion", "adan", "adaxw") for dtype in DTYPES),
    *(("adafactor", dtype, STRIPS) for dtype in DTYPES),
)


def sweep(copied: float, seconds: float = SWEEP_SECONDS) -> list[dict[str, Any]]:
    """Rules with other sizes of tiles, on the same tensors, taking turns.

    ``differs`` is how far small tensors end from where the first choice leaves them, relative to the largest entry.
    A case may take its share of the time and what those before it left; choices beyond that are not tried.
    """
    out: list[dict[str, Any]] = []
    until, total = time.perf_counter(), sum(len(choices) for _, _, choices in SWEPT)
    for rule, dtype, choices in SWEPT:
        until += seconds * len(choices) / total
        cls = compile_rule(load(rule), target="triton")
        params = parameters(TENSORS, DTYPES[dtype], SIDE, SIDE)
        first = cls(params)
        first.step()
        expected = choices[0].trained(cls, DTYPES[dtype])
        steps: dict[Choice, Step] = {}
        rows: list[dict[str, Any]] = []
        for choice in choices:
            if time.perf_counter() > until:
                break
            pairs = zip(choice.trained(cls, DTYPES[dtype]), expected, strict=True)
            differs = f"{max(((p - e).abs().max() / e.abs().max()).item() for p, e in pairs):.0e}"
            rows.append({"rule": rule, "dtype": dtype, **dict(choice.sizes), "differs": differs})
            steps[choice] = choice.step(cls, params, first.state)
        for row, times in zip(rows, timed(steps, 9).values(), strict=True):
            median = statistics.median(times)
            rate = moved_per_element(rule, dtype) * ELEMENTS / (1e-3 * median)
            out.append(row | {"milliseconds": round(median, 4), "of_copy_bandwidth": round(rate / copied, 4)})
        print_best(out, rule, dtype, len(choices))
    return out


def print_best(rows: list[dict[str, Any]], rule: str, dtype: str, wanted: int, most: int = 100) -> None:
    """The choices that were tried for a rule, best first."""
    found = [r for r in rows if (r["rule"], r["dtype"]) == (rule, dtype)]
    print(f"{rule} {dtype}: {len(found)} of {wanted} choices")
    for row in sorted(found, key=lambda r: -r["of_copy_bandwidth"])[:most]:
        print("  " + "  ".join(f"{k} {v}" for k, v in row.items() if k not in ("rule", "dtype")), flush=True)


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
    yield "streams", lambda: streams(copied)
    yield "sweep", lambda: sweep(copied)
    yield "large", lambda: [large(rule, d, copied) for rule in ("adamw", "lion", "adan", "adaxw") for d in DTYPES]
    yield "adafactor", lambda: [adafactor(d, copied) for d in DTYPES]
    yield "small_300_tensors_milliseconds", small
    yield "checks", lambda: checks.run_all("cuda")


def show(result: dict[str, Any]) -> None:
    """The table."""
    failed = {n: t for n, t in result["checks"].items() if not t.startswith("ok")}
    print(f"{result['device']}, {result['versions']}, copy {result['copy_bytes_per_second'] / 1e12:.2f} TB/s")
    print(f"{len(result['checks'])} checks, {len(failed)} not ok")
    for name, text in failed.items():
        print(f"  {name}: {text}")
    for row in [*result["large"], *result["adafactor"]]:
        print("  " + "  ".join(f"{k} {v}" for k, v in row.items()))
    for row in result["streams"]:
        print(f"  {row}")
    for rule, dtype, choices in SWEPT:
        print_best(result["sweep"], rule, dtype, len(choices), 5)


if __name__ == "__main__":
    main()
