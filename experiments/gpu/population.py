"""Populations on a GPU, checked and measured in one program, under 8 minutes.

    python population.py --prepare         # here: writes data.npz, which travels with this folder
    python population.py [OUTPUT.json]     # there
    python population.py --dry             # anywhere with g++: the same program over an imitation of a GPU, tiny

It needs torch, numpy and a wheel of evoptim, no network, no compiler and no other package; the programs that are
trained are those of ``experiments/population_training``. It checks (population_checks.py) and measures

- trainings per second of 64 programs x 64 trials of digits_mlp, 200 steps at batch 64, next to an eager loop with
  ``torch.optim.AdamW`` on the same machine: on the GPU as it comes and fused, on its CPU with one thread and with all;
- how that time is shared by the update, the forward and backward passes and the batch, and launches per step;
- a large model: few replicas of ten million parameters, by the bytes that the update has to move;
- other sizes of blocks, and of chunks of the forward and backward passes of many tasks.

It prints how it goes and writes one JSON file, anew after every part. A part that fails says so in its place.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import carried
import numpy as np
import population_checks as checks
import torch
from collecting import collect

from evoptim.codegen import plan
from evoptim.dsl import Rule, load, parse
from evoptim.runtime import Task, get_task, machines, memory, train_population
from evoptim.runtime.gradients import Gradients, Streams, flatten
from evoptim.runtime.interpreter import DeviceInterpreter, Member
from evoptim.runtime.interpreter.cuda import EACH, THREADS, CudaKernel
from evoptim.runtime.interpreter.device import Kernel
from evoptim.runtime.interpreter.runner import device_runner
from evoptim.runtime.schedules import constant, linear

HERE = Path(__file__).parent
PROGRAMS = HERE.parent / "population_training" / "programs.json"
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
    chunks: tuple[int, ...] = (32, 64, 128, 256, 512)
    streams: tuple[int, ...] = (1, 4, 8, 16)
    tasks: Mapping[str, int] = field(
        default_factory=lambda: {
            "digits_mlp": 4096,
            **dict.fromkeys(("mnist_mlp", "bytes_lm", "digits_conv", "ngram_embedding", "mnist_autoencoder"), 1024),
            **dict.fromkeys(("digits_vit", "mnist1d_gru", "mnist_conv"), 512),
            **dict.fromkeys(("bytes_gru", "bytes_lm_medium"), 128),
        }
    )
    checked: tuple[Sequence[str], Sequence[str]] | None = None
    """Rules and tasks; None stands for all."""


DRY = Sizes(
    *(2, 2, 2, 4, 16, 1, 1, (9, 31), (2,), ((8, 4), (4, 2)), (4, 8), (1, 2), {"digits_mlp": 8, "graph_atlas": 4}),
    checked=(("adamw", "lamb", "adafactor", "prodigy"), ("digits_mlp", "graph_atlas")),
)


def programs(count: int) -> list[Rule]:
    """The programs that are trained."""
    return [parse(text) for text in json.loads(PROGRAMS.read_text())[:count]]


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


def eager(task: Task, place: checks.Place, sizes: Sizes, threads: int = 1, **options: Any) -> float:
    """Trainings per second, one after another, the way a user would write it."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)

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

    try:
        return 1 / timed(train, place, sizes.eager)
    finally:
        torch.set_num_threads(before)


def loops(place: checks.Place, sizes: Sizes) -> dict[str, float]:
    """Trainings per second of the loops that the population is compared with."""
    there, here = place.task("digits_mlp", torch.float32), get_task("digits_mlp")
    cores = os.cpu_count() or 1
    return {
        "as_it_comes": eager(there, place, sizes),
        "fused": eager(there, place, sizes, fused=True),
        "cpu_1_thread": eager(here, place, sizes),
        f"cpu_{cores}_threads": eager(here, place, sizes, cores),
    }


def population(place: checks.Place, sizes: Sizes, rivals: Mapping[str, float]) -> dict[str, Any]:
    """Trainings per second of the population, everything included, over those of its rivals; what ended how."""
    rules = programs(sizes.programs)
    settings = [{"lr": float(lr)} for lr in np.geomspace(1e-4, 3e-3, sizes.rates)]
    results = []

    def train() -> None:
        task = place.task("digits_mlp", torch.float32)
        results.append(train_population(rules, task, settings, range(sizes.seeds), sizes.steps, batch_size=sizes.batch))

    seconds = timed(train, place, sizes.rounds)
    first = results[0]
    assert all(np.array_equal(first.val_loss, other.val_loss) for other in results[1:]), "runs differ"
    rate = first.val_loss.size / seconds
    return {
        "replicas": first.val_loss.size,
        "seconds": round(seconds, 4),
        "trainings_per_second": round(rate, 1),
        "times_eager": {name: round(rate / rival, 1) for name, rival in rivals.items()},
        "batches": first.batches,
        "statuses": {str(s): int((first.status == s).sum()) for s in np.unique(first.status)},
    }


class Passes:
    """Forward and backward passes of so many replicas of a task, and the batches that they gather."""

    def __init__(self, place: checks.Place, name: str, replicas: int, sizes: Sizes) -> None:
        self.task, self.device = place.task(name, torch.float32), place.device
        self.seed_of = torch.arange(replicas, device=place.device) % sizes.seeds
        self.w = torch.stack([flatten(self.task.init(s)) for s in range(sizes.seeds)])[self.seed_of].contiguous()
        self.g = torch.full_like(self.w, 1e-3)
        self.order = torch.stack([self.task.order(s, 1, self.task.batch_size)[0] for s in range(sizes.seeds)])

    def step(self, chunk: int, streams: int) -> Step:
        """All of them, so many replicas a call and so many calls side by side."""
        work = Streams(self.device, streams) if self.device.type == "cuda" and streams > 1 else map
        gradients = Gradients(self.task, chunk, chunk, work, whole=True)
        return lambda: gradients(self.w, self.task.batch(self.order), self.seed_of, self.g)


class Update:
    """The update of the population."""

    def __init__(self, place: checks.Place, sizes: Sizes, kernel: Kernel) -> None:
        rules, trials = programs(sizes.programs), sizes.rates * sizes.seeds
        replicas = len(rules) * trials
        passes = Passes(place, "digits_mlp", replicas, sizes)
        layout, settings = tuple(passes.task.shapes.values()), [{"lr": 1e-3}] * trials
        members = [Member(checks.code_of(r), layout, settings, 1000, constant) for r in rules]
        places = np.split(np.arange(replicas), len(rules))
        self.w, self.g = passes.w, passes.g
        self.interpreter = DeviceInterpreter(members, places, torch.float32, kernel, place.device)
        self.interpreter.step(self.w, self.g, 1)

    def step(self) -> None:
        """The interpreter's launches."""
        self.interpreter.launch(self.w, self.g)


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
    updating, calls = Update(place, sizes, place.kernel(torch.float32)), 10
    update = timed(graphed(updating.step, place, calls), place, sizes.rounds) / calls
    together = Passes(place, "digits_mlp", len(updating.w), sizes).step(memory.DEVICE_CHUNKS[0][0], memory.STREAMS)
    passes = timed(graphed(together, place), place, sizes.rounds)
    moved = sum(_bytes(rule) for rule in programs(sizes.programs)) / sizes.programs * updating.w.numel()
    return {
        "step_milliseconds": round(1e3 * seconds_a_step, 4),
        "update_milliseconds": round(1e3 * update, 4),
        "passes_milliseconds": round(1e3 * passes, 4),
        "update_share": round(update / seconds_a_step, 4),
        "passes_share": round(passes / seconds_a_step, 4),
        "launches_of_the_update": updating.interpreter.launches,
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
        found = timed(graphed(Update(place, sizes, kernel).step, place), place, sizes.rounds)
        big = large(place, sizes, kernel, "adamw", sizes.replicas[-1])
        row = {"threads": threads, "each": each, "population_milliseconds": round(1e3 * found, 4)}
        out.append({**row, "large_milliseconds": big["milliseconds"], "seconds_to_build": round(built, 1)})
    return out


def passes(place: checks.Place, sizes: Sizes, name: str, replicas: int) -> dict[str, float]:
    """Microseconds a replica of a task's forward and backward passes, by replicas a call x calls side by side."""
    found: dict[str, float] = {}
    made = Passes(place, name, replicas, sizes)
    for chunk in sizes.chunks:
        for streams in sizes.streams:
            if chunk * streams <= replicas:
                step = graphed(made.step(chunk, streams), place)
                found[f"{chunk} x {streams}"] = round(1e6 * timed(step, place, sizes.rounds) / replicas, 3)
    return found


def parts(place: checks.Place, sizes: Sizes, make: Callable[[int, int], Kernel]) -> Iterator[tuple[str, Step]]:
    """What is checked and measured, by name, in the order in which it matters."""
    rivals: dict[str, float] = {}
    ours: dict[str, Any] = {}
    kernel = place.kernel(torch.float32)
    yield "eager_trainings_per_second", lambda: rivals.update(loops(place, sizes)) or rivals
    yield "population", lambda: ours.update(population(place, sizes, rivals)) or ours
    yield "shares", lambda: shares(place, sizes, ours["seconds"] / sizes.steps)
    yield "checks", lambda: checks.run_all(place, *(sizes.checked or ()))
    yield "copy_bytes_per_second", lambda: round(copy_bandwidth(place, sizes))
    large_ones = [(n, r) for n in ("adamw", "lamb", "adafactor") for r in sizes.replicas]
    yield "large", lambda: [large(place, sizes, kernel, n, r) for n, r in large_ones]
    yield "blocks", lambda: blocks(place, sizes, make)
    for name, replicas in sizes.tasks.items():
        yield f"passes_microseconds {name}", partial(passes, place, sizes, name, replicas)


def on_gpu() -> tuple[checks.Place, Callable[[int, int], Kernel]]:
    """The first GPU."""
    if not torch.cuda.is_available():
        sys.exit("population.py: no CUDA device; --dry runs on the CPU")
    device = torch.device("cuda", 0)
    kernel = cache(lambda dtype: CudaKernel(dtype, device))
    carried.use()
    place = checks.Place(device, kernel, partial(get_on, device), carried.random_rules(200))
    return place, lambda threads, each: CudaKernel(torch.float32, device, threads, each)


def get_on(device: torch.device, name: str, dtype: torch.dtype) -> Task:
    """A task there."""
    return get_task(name, device, dtype)


@contextmanager
def imitated(rules: Sequence[Rule]) -> Iterator[tuple[checks.Place, Callable[[int, int], Kernel]]]:
    """The CPU, with the kernels compiled for it; populations run in them."""
    sys.path.insert(0, str(carried.TESTS))
    from shimmed import ShimKernel

    device, original = torch.device("cpu"), machines.find_runner
    kernel = cache(lambda dtype: ShimKernel(dtype, 8, 4, 0))
    machines.find_runner = lambda where, dtype, threads: device_runner(kernel(dtype), where, dtype)
    try:
        place = checks.Place(device, kernel, partial(get_on, device), rules)
        yield place, lambda threads, each: ShimKernel(torch.float32, threads, each, 0)
    finally:
        machines.find_runner = original


def report(
    place: checks.Place,
    sizes: Sizes,
    make: Callable[[int, int], Kernel],
    output: Path | None = None,
) -> tuple[dict[str, Any], bool]:
    """Check and measure; whether all is well."""
    result: dict[str, Any] = {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if place.device.type == "cuda" else "an imitation on the CPU",
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda, "evoptim": version("evoptim")},
        "block": {"threads": THREADS, "each": EACH},
        "chunks": memory.DEVICE_CHUNKS,
        "streams": memory.STREAMS,
    }
    return result, collect(result, parts(place, sizes, make), output)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare, or check, measure, print and write."""
    parser = argparse.ArgumentParser(description="populations on a GPU, checked and measured")
    parser.add_argument("output", nargs="?", type=Path, default=HERE / "population_result.json")
    parser.add_argument("--prepare", action="store_true", help="write the data that the other machine lacks")
    parser.add_argument("--dry", action="store_true", help="the same program on the CPU, tiny; nothing is written")
    options = parser.parse_args(arguments)
    if options.prepare:
        carried.prepare()
        return 0
    if options.dry:
        rules = [parse(text) for text in carried.drawn(8)]
        with imitated(rules) as (place, make):
            _, well = report(place, DRY, make)
    else:
        place, make = on_gpu()
        _, well = report(place, Sizes(), make, options.output)
    return not well


if __name__ == "__main__":
    sys.exit(main())
