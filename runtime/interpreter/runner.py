"""Which interpreter there is for a population."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .cuda import load_kernel
from .device import DeviceInterpreter, Kernel, fits_device
from .launcher import SUFFIXES, Interpreter, load_interpreter
from .replicas import Member
from .tables import Tables

Places: TypeAlias = Sequence[NDArray[np.int64]]
"""For each rule, the rows of its replicas in the population."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Starts an interpreter of rules that fit it."""

    start: Callable[[Sequence[Member], Places], Interpreter | DeviceInterpreter]
    fits: Callable[[Tables], bool]


def find_runner(device: torch.device, dtype: torch.dtype, threads: int) -> Runner | None:
    """That of a device and a type: compiled C++ on the CPU, a kernel on NVIDIA GPUs; None where there is none."""
    if dtype not in SUFFIXES:
        return None
    if device.type == "cpu":
        library = load_interpreter(dtype)
        return library and Runner(lambda members, places: Interpreter(members, places, dtype, library, threads), _all)
    kernel = load_kernel(dtype, device)
    return kernel and device_runner(kernel, device, dtype)


def device_runner(kernel: Kernel, device: torch.device, dtype: torch.dtype) -> Runner:
    """The interpreter of a compiled kernel."""
    return Runner(lambda members, places: DeviceInterpreter(members, places, dtype, kernel, device), fits_device)


def _all(tables: Tables) -> bool:
    return True
