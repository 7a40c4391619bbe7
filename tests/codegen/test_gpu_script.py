"""The checks that run on GPUs hold in Triton's interpreter, as far as they do not need a GPU."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from interpreted import GPU, teach_interpreter

from evoptim.codegen import build

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "gpu"))
import checks


@pytest.mark.parametrize("name", ["lion", "adafactor"])
def test_checks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "SEEDS", (name,))
    monkeypatch.setattr(checks, "SHAPES", ((), (3,), (40, 50), (2, 30, 40)))
    if GPU == "cpu":
        teach_interpreter()
        made = build._module

        def module(label: str, text: str) -> Any:
            return made(f"{label}_gpu", text.replace('GPU_TYPES = ("cuda",)', 'GPU_TYPES = ("cuda", "cpu")'))

        monkeypatch.setattr(build, "_module", module)
    with np.errstate(all="ignore"):
        said = checks.run_all(GPU, [name])
    assert len(said) == 6
    assert all(text.startswith("ok") for text in said.values()), said
