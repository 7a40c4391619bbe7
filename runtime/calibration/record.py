"""Measured calibrations as they lie in the package: one JSON file a task."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evoptim.dsl import UserError

from ..task import Task
from ..tasks import get_task
from .envelope import Envelope
from .tuning import DECAY_ROUNDS, FRESH_SEEDS, TUNING_SEEDS, Tuned

FOLDER = Path(__file__).with_name("data")
FORMAT = 1
ENVELOPE_RULE = "adamw"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a calibration comes from.

    Attributes:
        date: Day it was finished, UTC.
        command: What was typed.
        versions: Of Python and of the packages that its numbers hang on.
        machine: Processor architecture and operating system, and the GPU where one was trained on.
        seconds: Time it took.
        schedule: Learning-rate schedule of every training.
        tuning_seeds: Seeds that settings were chosen on.
        fresh_seeds: Seeds of the losses that are kept.
        decay_rounds: Weight decays that tuning added to the first ones; files of before it did say nothing.
    """

    date: str
    command: str
    versions: Mapping[str, str]
    machine: str
    seconds: float
    schedule: str
    tuning_seeds: tuple[int, ...]
    fresh_seeds: tuple[int, ...]
    decay_rounds: int = 0

    @classmethod
    def here(cls, task: Task, command: str, seconds: float, decay_rounds: int = DECAY_ROUNDS) -> Provenance:
        """Of a measurement that ends now, on the task's device."""
        versions = {"python": platform.python_version()} | {n: version(n) for n in ("evoptim", "torch", "numpy")}
        return cls(
            date=datetime.now(UTC).date().isoformat(),
            command=command,
            versions=versions,
            machine=f"{platform.machine()} {platform.system()}{_gpu(task.device)}",
            seconds=seconds,
            schedule="linear",
            tuning_seeds=TUNING_SEEDS,
            fresh_seeds=FRESH_SEEDS,
            decay_rounds=decay_rounds,
        )

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What results must have in common to stand in one calibration."""
        return dict(self.versions), self.machine, self.schedule, self.tuning_seeds, self.fresh_seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What tuned baselines reach on a task.

    Attributes:
        task: Name of the task.
        sha256: Hash of its data.
        steps: The task's own length of a training.
        batch_size: Examples per update.
        results: AdamW at several lengths, and every other baseline at the task's own.
        provenance: Where the numbers come from.
        caveat: What a reader must know: that the data here are others than the measured ones. Mostly empty.
    """

    task: str
    sha256: str
    steps: int
    batch_size: int
    results: tuple[Tuned, ...]
    provenance: Provenance
    caveat: str = ""

    @property
    def baselines(self) -> dict[str, Tuned]:
        """Every baseline at the task's own length, by the name of its rule."""
        return {r.rule: r for r in self.results if r.steps == self.steps}

    @property
    def envelope(self) -> Envelope:
        """AdamW at all lengths."""
        rows = sorted((r for r in self.results if r.rule == ENVELOPE_RULE), key=lambda r: r.steps)
        return Envelope(np.array([r.steps for r in rows]), np.array([r.losses for r in rows]))

    def dump(self) -> str:
        """The file's text, a line for each result: numbers with six digits, null where a training diverged."""
        content = _rounded({"format": FORMAT} | asdict(self))
        del content["caveat"]
        lines = [f'"{key}": {json.dumps(value)}' for key, value in content.items() if key != "results"]
        results = ",\n".join(json.dumps(row) for row in content["results"])
        return "{\n" + ",\n".join([*lines, f'"results": [\n{results}\n]']) + "\n}\n"


def load_calibration(task: str | Task, folder: Path = FOLDER) -> Calibration:
    """The calibration of a task that comes with evoptim.

    Where the task's data change with Python's version, others than the measured ones are no error: then ``caveat`` of
    the result says so.

    Args:
        task: A task or its name.
        folder: Where the files lie.

    Raises:
        UserError: There is no such task, it has no calibration, or its data are not the ones that were measured.
    """
    problem = get_task(task) if isinstance(task, str) else task
    file = folder / f"{problem.name}.json"
    if not file.is_file():
        known = ", ".join(sorted(f.stem for f in folder.glob("*.json"))) or "none"
        raise UserError(
            f"the task {problem.name} has no calibration",
            f"choose one that has ({known}), or run experiments/calibration/calibrate.py {problem.name}",
        )
    content = json.loads(file.read_text(encoding="utf-8"))
    if (found := content.pop("format")) != FORMAT:
        raise UserError(f"{file.name} has format {found}, expected {FORMAT}", "use the evoptim that wrote it")
    return _parse(content | {"caveat": _caveat(problem, content["sha256"])})


def _caveat(task: Task, measured: str) -> str:
    if task.sha256 == measured:
        return ""
    what = f"the data of {task.name} have sha256 {task.sha256[:12]}, its calibration was measured on {measured[:12]}"
    if task.dataset is not None and not task.dataset.sha256:
        return f"{what}: they change with Python's version, so scores are approximate"
    raise UserError(what, f"calibrate again: experiments/calibration/calibrate.py {task.name}")


def _parse(content: Mapping[str, Any]) -> Calibration:
    results = tuple(Tuned(**{k: _tuple(v) for k, v in row.items()}) for row in content["results"])
    provenance = Provenance(**{k: _tuple(v) for k, v in content["provenance"].items()})
    return Calibration(**{**content, "results": results, "provenance": provenance})


def _gpu(device: torch.device) -> str:
    return f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""


def _tuple(value: Any) -> Any:
    """Lists as tuples, and infinite losses where null stands for them."""
    if isinstance(value, list):
        return tuple(map(_tuple, value))
    return np.inf if value is None else value


def _rounded(value: Any) -> Any:
    """Numbers with six digits, and null for infinite ones, which JSON does not have."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
