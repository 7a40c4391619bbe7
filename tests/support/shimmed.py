"""The interpreter for GPUs on a machine without one: its CUDA C++, compiled with g++ against a small imitation."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from evoptim.runtime.bytecode import instruction_set
from evoptim.runtime.interpreter import SUFFIXES
from evoptim.runtime.interpreter import structures as c
from evoptim.runtime.interpreter.device import SHARED
from evoptim.runtime.interpreter.source import device_source

HERE = Path(__file__).parent / "cuda_shim"
COMPILER = shutil.which("g++")
_LAUNCH = """
extern "C" void launch(const Call* call, const int32_t jobs, const int64_t blocks) {
    launch_blocks(blocks, THREADS, [=] { KERNEL(*call, jobs); });
}
"""
_OPTIONS = "-O1 -std=c++20 -fPIC -shared -ffp-contract=off -pthread".split()


class ShimKernel:
    """The interpreter for GPUs on the CPU, with the interface of the real one.

    Args:
        dtype: float32 or float64.
        threads: Of a block.
        each: Entries that a thread has at a time.
        processors: How many the device pretends to have.
        options: More for the compiler.
    """

    def __init__(
        self, dtype: torch.dtype, threads: int = 8, each: int = 4, processors: int = 1, options: tuple[str, ...] = ()
    ) -> None:
        self.threads, self.each, self.processors = threads, each, processors
        self.launched: list[tuple[int, int]] = []  # jobs and blocks
        source = device_source(instruction_set(), threads, each)
        self.library = _compiled(source, SUFFIXES[dtype], options)

    def launch(self, call: c.Call, jobs: int, blocks: int, shared: int) -> None:
        """Run all blocks."""
        assert shared <= SHARED
        assert blocks > 0
        self.launched.append((jobs, blocks))
        self.library.launch(ctypes.byref(call), ctypes.c_int32(jobs), ctypes.c_int64(blocks))


@functools.cache
def _compiled(source: str, suffix: str, options: tuple[str, ...]) -> ctypes.CDLL:
    assert COMPILER is not None
    text = f'#include "cuda.h"\n{source}\n{_LAUNCH}'
    command = [COMPILER, *_OPTIONS, *options, f"-DUSE_{suffix}", f"-DKERNEL=step_{suffix}", f"-I{HERE}"]
    key = hashlib.sha256("\0".join([text, (HERE / "cuda.h").read_text(), *command]).encode()).hexdigest()[:32]
    folder = Path(os.environ["EVOPTIM_CACHE"])
    library = folder / f"shim-{key}.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            code, made = Path(work, "kernel.cpp"), Path(work, "kernel.so")
            code.write_text(text)
            subprocess.run([*command, str(code), "-o", str(made)], check=True)
            made.replace(library)
    return ctypes.CDLL(str(library))
