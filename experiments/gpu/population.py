"""Populations on a GPU, checked and measured in one program, under 8 minutes.

    python population.py --prepare         # here: writes population_data.npz, which travels with this folder
    python population.py [OUTPUT.json]     # there
    python population.py --dry             # anywhere with g++: the same program over an imitation of a GPU, tiny

It needs torch, numpy and a wheel of evoptim, no network, no compiler and no other package; the programs that are
trained are those of ``experiments/population_training``. It checks (population_checks.py) and measures

- trainings per second of 64 programs x 64 trials of digits_mlp, 200 steps at batch 64, next to an eager loop with
  ``torch.optim.AdamW``, as it comes and fused, on the same machine;
- how that time is shared by the update, the forward and backward passes and the batch, and launches per step;
- a large model: few replicas of ten million parameters, by the bytes that the update has to move;
- other sizes of blocks and of chunks of the forward and backward passes.

It writes one JSON file and prints it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import population_checks as checks
import torch

from evoptim.codegen import plan
from evoptim.dsl import Rule, load, parse
from evoptim.runtime import machines, memory, train_population
from evoptim.runtime.bytecode import compile_bytecode
from evoptim.runtime.gradients import Gradients, flatten
from evoptim.runtime.interpreter import DeviceInterpreter, Member
from evoptim.runtime.interpreter.cuda import EACH, THREADS, CudaKernel
from evoptim.runtime.interpreter.device import Kernel
from evoptim.runtime.interpreter.runner import device_runner
from evoptim.runtime.schedules import constant, linear
from evoptim.runtime.tasks.digits_mlp import DigitsMLP

HERE = Path(__file__).parent
DATA = HERE / "population_data.npz"
PROGRAMS = HERE.parent / "population_training" / "programs.json"
TESTS = HERE.parents[1] / "tests" / "support"
Step = Callable[[], Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    programs: int = 64
    rates: int = 16
    seeds: int = 4
    steps: int = 200
    batch: int = 64
    eager: int = 3
    rounds: int = 5
    large: tuple[int, ...] = (1024, 9766)
    replicas: tuple[int, ...] = (1, 4)
    blocks: tuple[tuple[int, int], ...] = ((64, 4), (128, 4), (128, 8), (256, 2), (256, 4), (512, 2))
    chunks: tuple[int, ...] = (128, 256, 512, 1024, 2048)


DRY = Sizes(2, 2, 2, 4, 16, 1, 1, (9, 31), (2,), ((8, 4), (4, 2)), (4,))


class CarriedDigits(DigitsMLP):
    """digits_mlp with its data from a file, where scikit-learn is not installed."""

    def examples(self) -> tuple[Any, ...]:
        """Images and labels."""
        with np.load(DATA) as file:
            return file["images"], file["labels"]


# --- preparing ------------------------------------------------------------------------------------------


def prepare() -> None:
    """Write what the other machine lacks: the digits, and random rules, which hypothesis draws."""
    sys.path.insert(0, str(TESTS))
    from hypothesis import given, settings
    from strategies import rules

    images, labels = DigitsMLP().examples()
    found: dict[str, None] = {}

    @settings(max_examples=200, database=None, derandomize=True, deadline=None)
    @given(rule=rules(tame=True))
    def collect(rule: Rule) -> None:
        hypers = rule.hypers if "lr" in rule.defaults else (*rule.hypers, load("sgd").hypers[0])
        if compile_bytecode(rule):
            found[rule.replace(name=f"random_{len(found)}", hypers=hypers).text] = None

    collect()
    np.savez_compressed(DATA, images=images, labels=labels, rules=np.array([*found]))
    print(f"{DATA}: {len(labels)} digits, {len(found)} random rules")


def random_rules(count: int) -> list[Rule]:
    """Those of the file."""
    with np.load(DATA) as file:
        return [parse(str(text)) for text in file["rules"][:count]]


def programs(count: int) -> list[Rule]:
    """The programs that are trained."""
    return [parse(text) for text in json.loads(PROGRAMS.read_text())[:count]]


# --- measuring ------------------------------------------------------------------------------------------


def timed(step: Step, place: checks.Place, rounds: int, calls: int = 1) -> float:
    """Seconds of a call, the median over some rounds, after one to warm up; the device is done when time is taken."""
    found = []
    for _ in range(rounds + 1):
        _wait(place)
        began = time.perf_counter()
        for _ in range(calls):
            step()
        _wait(place)
        found.append((time.perf_counter() - began) / calls)
    return statistics.median(found[1:])


def _wait(place: checks.Place) -> None:
    if place.device.type == "cuda":
        torch.cuda.synchronize()


def eager(place: checks.Place, sizes: Sizes, **options: Any) -> float:
    """Trainings per second, one after another, the way a user would write it."""
    task = place.digits(torch.float32)

    def train() -> None:
        module = task.module(0)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3, **options)
        for k, draw in enumerate(task.order(0, sizes.steps, sizes.batch)):
            optimizer.param_groups[0]["lr"] = 1e-3 * linear(k, sizes.steps)
            optimizer.zero_grad()
            task.objective(module, task.batch(draw)).backward()
            optimizer.step()
        with torch.no_grad():
            task.objective(module, task.validation()).item()

    return 1 / timed(train, place, sizes.eager)


def population(place: checks.Place, sizes: Sizes) -> dict[str, Any]:
    """Trainings per second of the population, everything included; what ended how."""
    rules = programs(sizes.programs)
    settings = [{"lr": float(lr)} for lr in np.geomspace(1e-4, 3e-3, sizes.rates)]
    results = []

    def train() -> None:
        task = place.digits(torch.float32)
        results.append(train_population(rules, task, settings, range(sizes.seeds), sizes.steps, batch_size=sizes.batch))

    seconds = timed(train, place, sizes.rounds)
    first = results[0]
    assert all(np.array_equal(first.val_loss, other.val_loss) for other in results[1:]), "runs differ"
    return {
        "replicas": first.val_loss.size,
        "seconds": round(seconds, 4),
        "trainings_per_second": round(first.val_loss.size / seconds, 1),
        "batches": first.batches,
        "statuses": {str(s): int((first.status == s).sum()) for s in np.unique(first.status)},
    }


class Parts:
    """The parts of a step of the population, over the same memory."""

    def __init__(self, place: checks.Place, sizes: Sizes, kernel: Kernel) -> None:
        self.task = place.digits(torch.float32)
        rules, trials = programs(sizes.programs), sizes.rates * sizes.seeds
        layout, settings = tuple(self.task.shapes.values()), [{"lr": 1e-3}] * trials
        members = [Member(checks.code_of(r), layout, settings, 1000, constant) for r in rules]
        places = np.split(np.arange(len(rules) * trials), len(rules))
        self.interpreter = DeviceInterpreter(members, places, torch.float32, kernel, place.device)
        self.seed_of = torch.arange(len(rules) * trials, device=place.device) % sizes.seeds
        self.w = torch.stack([flatten(self.task.init(s)) for s in range(sizes.seeds)])[self.seed_of].contiguous()
        self.g = torch.full_like(self.w, 1e-3)
        self.order = torch.stack([self.task.order(s, 1, sizes.batch)[0] for s in range(sizes.seeds)])
        self.interpreter.step(self.w, self.g, 1)

    def update(self) -> None:
        """The interpreter's launches."""
        self.interpreter.launch(self.w, self.g)

    def differentiated(self, chunk: int) -> Step:
        """Forward and backward passes, and the batches that they gather."""
        gradients = Gradients(self.task, chunk, chunk, whole=True)
        return lambda: gradients(self.w, self.task.batch(self.order), self.seed_of, self.g)


def graphed(step: Step, place: checks.Place, calls: int = 1) -> Step:
    """Replays of so many calls, where there are graphs."""
    if place.device.type != "cuda":
        return lambda: [step() for _ in range(calls)]
    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            step()
    return lambda: (graph.replay(), step)  # what the step works with lives as long as its graph


def shares(place: checks.Place, sizes: Sizes, seconds_a_step: float) -> dict[str, Any]:
    """Milliseconds of the parts of a step, each replayed by itself, and their shares of a whole one."""
    parts = Parts(place, sizes, place.kernel(torch.float32))
    calls = 10
    update = timed(graphed(parts.update, place, calls), place, sizes.rounds) / calls
    chunk = min(memory.DEVICE_CHUNK, len(parts.w))
    passes = timed(graphed(parts.differentiated(chunk), place), place, sizes.rounds)
    moved = sum(_bytes(rule) for rule in programs(sizes.programs)) / sizes.programs * parts.w.numel()
    return {
        "step_milliseconds": round(1e3 * seconds_a_step, 4),
        "update_milliseconds": round(1e3 * update, 4),
        "passes_milliseconds": round(1e3 * passes, 4),
        "update_share": round(update / seconds_a_step, 4),
        "passes_share": round(passes / seconds_a_step, 4),
        "launches_of_the_update": parts.interpreter.launches,
        "update_bytes_per_second": round(moved / update),
    }


def _bytes(rule: Rule) -> float:
    return plan(rule, rule.classes[-1]).element_bytes(4, 4)


def large(place: checks.Place, sizes: Sizes, kernel: Kernel, name: str, replicas: int) -> dict[str, Any]:
    """The update of a few replicas of one large matrix."""
    rule = load(name)
    layout = (sizes.large,)
    member = Member(checks.code_of(rule), layout, [{"lr": 1e-3}] * replicas, 1000, constant)
    made = DeviceInterpreter([member], [np.arange(replicas)], torch.float32, kernel, place.device)
    w = torch.randn(replicas, int(np.prod(sizes.large)), device=place.device)
    g = torch.randn_like(w)
    made.step(w, g, 1)
    seconds = timed(graphed(partial(made.launch, w, g), place), place, sizes.rounds)
    return {
        "rule": name,
        "replicas": replicas,
        "parameters": w.shape[1],
        "launches": made.launches,
        "milliseconds": round(1e3 * seconds, 4),
        "bytes_per_second": round(_bytes(rule) * w.numel() / seconds),
    }


def copy_bandwidth(place: checks.Place, sizes: Sizes) -> float:
    """Bytes per second of a large copy on the device, read and written."""
    x = torch.randn(2**28 if place.device.type == "cuda" else 2**16, device=place.device)
    y = torch.empty_like(x)
    return 8 * x.numel() / timed(lambda: y.copy_(x), place, sizes.rounds)


def blocks(place: checks.Place, sizes: Sizes, make: Callable[[int, int], Kernel]) -> list[dict[str, Any]]:
    """The update of the population and that of a large model with other sizes of blocks."""
    out = []
    for threads, each in sizes.blocks:
        began = time.perf_counter()
        kernel = make(threads, each)
        built = time.perf_counter() - began
        parts = Parts(place, sizes, kernel)
        found = timed(graphed(parts.update, place), place, sizes.rounds)
        big = large(place, sizes, kernel, "adamw", sizes.replicas[-1])
        row = {"threads": threads, "each": each, "population_milliseconds": round(1e3 * found, 4)}
        out.append({**row, "large_milliseconds": big["milliseconds"], "seconds_to_build": round(built, 1)})
    return out


def chunks(place: checks.Place, sizes: Sizes) -> dict[int, float]:
    """Milliseconds of the forward and backward passes by how many replicas a call has."""
    parts = Parts(place, sizes, place.kernel(torch.float32))
    out = {}
    for chunk in sizes.chunks:
        out[chunk] = round(1e3 * timed(graphed(parts.differentiated(chunk), place), place, sizes.rounds), 4)
    return out


# --- the program ----------------------------------------------------------------------------------------


def measure(place: checks.Place, sizes: Sizes, make: Callable[[int, int], Kernel]) -> dict[str, Any]:
    """Everything."""
    loops = {name: eager(place, sizes, **o) for name, o in (("as_it_comes", {}), ("fused", {"fused": True}))}
    ours = population(place, sizes)
    rates = {f"times_eager_{name}": round(ours["trainings_per_second"] / rate, 1) for name, rate in loops.items()}
    kernel = place.kernel(torch.float32)
    return {
        "copy_bytes_per_second": round(copy_bandwidth(place, sizes)),
        "eager_trainings_per_second": {name: round(rate, 3) for name, rate in loops.items()},
        "population": ours | rates,
        "shares": shares(place, sizes, ours["seconds"] / sizes.steps),
        "large": [large(place, sizes, kernel, n, r) for n in ("adamw", "lamb", "adafactor") for r in sizes.replicas],
        "blocks": blocks(place, sizes, make),
        "chunks_milliseconds": chunks(place, sizes),
    }


def on_gpu() -> tuple[checks.Place, Callable[[int, int], Kernel]]:
    """The first GPU."""
    if not torch.cuda.is_available():
        sys.exit("population.py: no CUDA device; --dry runs on the CPU")
    device = torch.device("cuda", 0)
    kernel = cache(lambda dtype: CudaKernel(dtype, device))
    place = checks.Place(device, kernel, lambda dtype: CarriedDigits(device, dtype), random_rules(200))
    return place, lambda threads, each: CudaKernel(torch.float32, device, threads, each)


@contextmanager
def imitated() -> Iterator[tuple[checks.Place, Callable[[int, int], Kernel]]]:
    """The CPU, with the kernels compiled for it; populations run in them."""
    sys.path.insert(0, str(TESTS))
    from shimmed import ShimKernel

    device, original = torch.device("cpu"), machines.find_runner
    kernel = cache(lambda dtype: ShimKernel(dtype, 8, 4, 0))
    machines.find_runner = lambda where, dtype, threads: device_runner(kernel(dtype), where, dtype)
    try:
        place = checks.Place(device, kernel, lambda dtype: CarriedDigits(device, dtype), random_rules(8))
        yield place, lambda threads, each: ShimKernel(torch.float32, threads, each, 0)
    finally:
        machines.find_runner = original


def report(place: checks.Place, sizes: Sizes, make: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Check and measure."""
    began = time.perf_counter()
    said = checks.run_all(place, names)
    found = measure(place, sizes, make)
    name = torch.cuda.get_device_name() if place.device.type == "cuda" else "an imitation on the CPU"
    return {
        "date": date.today().isoformat(),
        "device": name,
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "evoptim": version("evoptim")},
        "block": {"threads": THREADS, "each": EACH},
        "checks": said,
        **found,
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, or check, measure, print and write."""
    parser = argparse.ArgumentParser(description="populations on a GPU, checked and measured")
    parser.add_argument("output", nargs="?", type=Path, default=HERE / "population_result.json")
    parser.add_argument("--prepare", action="store_true", help="write the data that the other machine lacks")
    parser.add_argument("--dry", action="store_true", help="the same program on the CPU, tiny; nothing is written")
    options = parser.parse_args(arguments)
    if options.prepare:
        prepare()
        return 0
    if options.dry:
        with imitated() as (place, make):
            result = report(place, DRY, make, ["adamw", "lamb", "adafactor", "prodigy"])
    else:
        place, make = on_gpu()
        result = report(place, Sizes(), make)
        options.output.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return any(text.startswith("FAILED") for text in result["checks"].values())


if __name__ == "__main__":
    sys.exit(main())
