"""The program that checks and measures populations on GPUs runs to its end on an imitation of one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from shimmed import COMPILER

from evoptim.runtime.tasks.digits_mlp import DigitsMLP

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "gpu"))
import population
import population_checks as checks


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
def test_the_whole_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = DigitsMLP().examples()
    rule = "def random_0(w, g, m, *, lr=0.1):\n    m = ema(m, g, 0.5)\n    return w - lr * tanh(m), m\n"
    np.savez(tmp_path / "data.npz", images=images, labels=labels, rules=np.array([rule]))
    monkeypatch.setattr(population, "DATA", tmp_path / "data.npz")
    monkeypatch.setattr(checks, "BESIDE", ("adamw", "adafactor"))
    monkeypatch.setattr(checks, "SHAPES", ((), (4, 5), (70,)))
    monkeypatch.setattr(checks, "SIZE", 91)
    checks.expected.cache_clear()
    with population.imitated() as (place, make):
        result = population.report(place, population.DRY, make, ["adamw", "lamb"])
    checks.expected.cache_clear()
    json.dumps(result)
    assert len(result["checks"]) == 10
    assert all(text.startswith("ok") for text in result["checks"].values()), result["checks"]
    assert result["population"]["statuses"] == {"ok": 8}
    assert result["shares"]["launches_of_the_update"] == 1
    assert len(result["large"]) == 3
    assert len(result["blocks"]) == len(population.DRY.blocks)


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device; --dry runs on the CPU"):
        population.main([])
