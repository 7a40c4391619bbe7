"""Triton without a GPU: kernels run in Triton's interpreter on CPU tensors, with numpy for CUDA's math library.

The interpreter has to be asked for before Triton is imported, with ``TRITON_INTERPRET=1``: conftest does where there is
no GPU.
"""

from __future__ import annotations

import functools
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from evoptim.codegen import build

FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(np, name) for name in "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh tanh".split()
} | {
    "pow": np.power,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
}


def _interpreted(function: Callable[..., Any]) -> Callable[..., Any]:
    from triton import language as tl
    from triton.runtime.interpreter import TensorHandle

    def call(*arguments: Any) -> Any:
        scalar = arguments[0].type.scalar
        data = np.asarray(function(*(a.handle.data for a in arguments))).astype(arguments[0].handle.data.dtype)
        blocks = [a for a in arguments if a.type.is_block()]
        kind = tl.block_type(scalar, list(data.shape)) if blocks else scalar
        return tl.tensor(TensorHandle(data, scalar), kind)

    return call


def _converted(otherwise: Callable[..., Any], values: Any, source: Any, target: Any, mode: Any) -> Any:
    """Conversions to bfloat16 round to the nearest, as on GPUs; the interpreter's own truncate."""
    if str(source) == "fp32" and str(target) == "bf16":
        rounded = torch.from_numpy(np.ascontiguousarray(values).view(np.float32)).to(torch.bfloat16)
        return rounded.view(torch.uint16).numpy().reshape(values.shape)
    return otherwise(values, source, target, mode)


@functools.cache
def teach_interpreter() -> None:
    """Give the interpreter the functions of libdevice, which it lacks, and the rounding of GPUs."""
    pytest.importorskip("triton")
    from triton.language.extra import libdevice
    from triton.runtime import interpreter

    convert = interpreter._convert_float
    interpreter._convert_float = functools.partial(_converted, convert)
    for name, function in FUNCTIONS.items():
        setattr(libdevice, name, _interpreted(function))


def send_cpu_tensors_to_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one test, let all generated classes take CPU tensors for those of a GPU, the ones it compiles too."""
    teach_interpreter()
    made = build._module

    def module(name: str, text: str) -> types.ModuleType:
        new = made(name, text)
        monkeypatch.setattr(new, "GPU_TYPES", ("cuda", "cpu"), raising=False)
        return new

    monkeypatch.setattr(build, "_module", module)
    for name, present in sys.modules.items():
        if name.startswith("evoptim.codegen.generated_") and "GPU_TYPES" in vars(present):
            monkeypatch.setattr(present, "GPU_TYPES", ("cuda", "cpu"))


GPU = "cuda" if torch.cuda.is_available() else "cpu"
"""Where tests of Triton's kernels put their tensors."""


def on_gpu(optimizer_class: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Let a generated class take CPU tensors for those of a GPU where there is none."""
    if GPU == "cpu":
        teach_interpreter()
        sys.modules[optimizer_class.__module__].GPU_TYPES = ("cuda", "cpu")  # type: ignore[attr-defined]
    return optimizer_class
