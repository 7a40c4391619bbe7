"""The checks that run on GPUs hold in Triton's interpreter, as far as they do not need a GPU."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from interpreted import GPU, send_cpu_tensors_to_triton

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "gpu"))
import checks


@pytest.mark.parametrize("name", ["lion", "adafactor"])
def test_checks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SEEDS", (name,))
    monkeypatch.setattr(checks, "SHAPES", ((), (3,), (40, 50), (2, 30, 40)))
    if GPU == "cpu":
        send_cpu_tensors_to_triton(monkeypatch)
    with np.errstate(all="ignore"):
        said = checks.run_all(GPU, [name])
    assert len(said) == 6
    assert all(text.startswith("ok") for text in said.values()), said
