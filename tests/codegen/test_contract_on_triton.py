"""The promises of an optimizer, kept by Triton's kernels: tests of other files once more, with CPU tensors in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
from interpreted import GPU, teach_interpreter
from test_contract import *  # noqa: F403
from test_torch_suite import *  # noqa: F403

from evoptim.codegen import build

pytestmark = pytest.mark.skipif(GPU != "cpu", reason="where there is a GPU, its tensors go to Triton anyway")


@pytest.fixture(autouse=True)
def _cpu_tensors_go_to_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    teach_interpreter()
    made = build._module

    def module(name: str, text: str) -> object:
        return made(name, text.replace('GPU_TYPES = ("cuda",)', 'GPU_TYPES = ("cuda", "cpu")'))

    monkeypatch.setattr(build, "_module", module)
    for name, present in sys.modules.items():
        if name.startswith("evoptim.codegen.generated_") and "GPU_TYPES" in vars(present):
            monkeypatch.setattr(present, "GPU_TYPES", ("cuda", "cpu"))
    with np.errstate(all="ignore"):
        yield
