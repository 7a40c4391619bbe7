"""The interpreter on NVIDIA GPUs: compiled by NVRTC, loaded and launched through the driver's API."""

from __future__ import annotations

import ctypes
import functools
import warnings
from typing import Any

import torch

from ..bytecode import instruction_set
from . import structures as c
from .launcher import SUFFIXES
from .nvrtc import OPTIONS, CompilerError, cached_cubin, find_nvrtc
from .source import device_source

THREADS, EACH = 128, 4
"""Threads of a block, and entries that each has at a time."""


class DriverError(Exception):
    """A call of the driver failed."""


class CudaKernel:
    """The compiled interpreter on a GPU.

    Args:
        dtype: float32 or float64.
        device: The GPU.
        threads: Of a block, a power of two.
        each: Entries that a thread has at a time.

    Raises:
        OSError: The driver or NVRTC is not there, or the cache cannot be written.
        CompilerError: The interpreter does not compile.
        DriverError: The driver does not take it.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device, threads: int = THREADS, each: int = EACH) -> None:
        self.threads, self.each, self.device = threads, each, device
        properties = torch.cuda.get_device_properties(device)
        self.processors: int = properties.multi_processor_count
        source = device_source(instruction_set(), threads, each)
        options = (*OPTIONS, f"--gpu-architecture=sm_{properties.major}{properties.minor}", f"-DUSE_{SUFFIXES[dtype]}")
        code = cached_cubin(source, options, find_nvrtc(str(torch.version.cuda)))
        self.driver = ctypes.CDLL("libcuda.so.1")
        torch.zeros(1, device=device)  # from now on the device has a context
        with torch.cuda.device(device):
            module, self.function = ctypes.c_void_p(), ctypes.c_void_p()
            self._call("cuModuleLoadData", ctypes.byref(module), code)
            name = f"step_{SUFFIXES[dtype]}".encode()
            self._call("cuModuleGetFunction", ctypes.byref(self.function), module, name)

    def launch(self, call: c.Call, jobs: int, blocks: int, shared: int) -> None:
        """Run on the current stream, in so many blocks with so many bytes of shared memory each."""
        number = ctypes.c_int32(jobs)
        pointers = [ctypes.cast(ctypes.byref(x), ctypes.c_void_p) for x in (call, number)]
        stream = ctypes.c_void_p(torch.cuda.current_stream(self.device).cuda_stream)
        sizes = (ctypes.c_uint(n) for n in (blocks, 1, 1, self.threads, 1, 1, shared))
        with torch.cuda.device(self.device):
            self._call("cuLaunchKernel", self.function, *sizes, stream, (ctypes.c_void_p * 2)(*pointers), None)

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.driver, function)(*arguments)
        if status:
            name = ctypes.c_char_p()
            self.driver.cuGetErrorName(status, ctypes.byref(name))
            raise DriverError(f"{function}: {(name.value or b'unknown error').decode()}")


@functools.cache
def load_kernel(dtype: torch.dtype, device: torch.device) -> CudaKernel | None:
    """The interpreter for float32 or float64 on a GPU; None, with one warning, if it cannot be had."""
    if torch.version.cuda is None or device.type != "cuda":
        return None
    try:
        return CudaKernel(dtype, device)
    except (OSError, CompilerError, DriverError) as error:
        warnings.warn(f"updates run in eager torch, since the interpreter cannot be had: {error}", stacklevel=2)
        return None
