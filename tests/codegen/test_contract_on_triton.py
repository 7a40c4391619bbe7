"""The promises of an optimizer, kept by Triton's kernels: tests of other files once more, with CPU tensors in them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from interpreted import GPU, send_cpu_tensors_to_triton
from test_contract import *  # noqa: F403
from test_torch_suite import *  # noqa: F403

pytestmark = pytest.mark.skipif(GPU != "cpu", reason="where there is a GPU, its tensors go to Triton anyway")


@pytest.fixture(autouse=True)
def _cpu_tensors_go_to_triton(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    send_cpu_tensors_to_triton(monkeypatch)
    with np.errstate(all="ignore"):
        yield
