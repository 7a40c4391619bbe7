"""Runs the interpreter for GPUs on rules of all kinds, its threads those of the system: ``python sanitized.py OPTION``.

A program of its own, since a sanitizer's library has to be loaded before everything else; the option is the compiler's,
such as ``-fsanitize=thread``. Accesses that are wrong end the program with a report and another status than 0.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from shimmed import ShimKernel

from evoptim.dsl import load
from evoptim.runtime.bytecode import compile_bytecode
from evoptim.runtime.interpreter import DeviceInterpreter, Member
from evoptim.runtime.schedules import constant

NAMES = ("adamw", "lamb", "adafactor", "prodigy", "came", "sm3", "lion")
SHAPES = ((), (3,), (4, 5), (2, 3, 4), (9, 31))


def main(option: str) -> None:
    """A block for each replica, then several."""
    size = sum(int(np.prod(s)) for s in SHAPES)
    for processors, unit in ((0, 1 << 14), (4, 10)):
        kernel = ShimKernel(torch.float32, 4, 2, processors, ("-DSHIM_THREADS", "-w", option))
        members = []
        for name in NAMES:
            code = compile_bytecode(load(name))
            assert code is not None
            members.append(Member(code, SHAPES, [{"lr": 1e-3}], 4, constant, unit))
        made = DeviceInterpreter(members, np.split(np.arange(7), 7), torch.float32, kernel, torch.device("cpu"))
        w = torch.randn(len(NAMES), size)
        for t in (1, 2):
            made.step(w, torch.randn(len(NAMES), size), t)
        assert torch.isfinite(w).all()
    print("no report")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
