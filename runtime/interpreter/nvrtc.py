"""NVIDIA's runtime compiler by ctypes: CUDA C++ to machine code, once per machine."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

OPTIONS = ("-std=c++17", "-fmad=false")  # every operation rounds by itself, as on the CPU


class CompilerError(Exception):
    """What kept a kernel from being compiled."""


class Nvrtc:
    """The compiler.

    Args:
        library: Where it is.

    Raises:
        OSError: It cannot be loaded.
    """

    def __init__(self, library: str) -> None:
        self.library = ctypes.CDLL(library)
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("Version", ctypes.byref(major), ctypes.byref(minor))
        self.version = f"{major.value}.{minor.value}"

    def compile(self, source: str, options: Sequence[str]) -> bytes:
        """The machine code of a CUDA C++ file.

        Raises:
            CompilerError: It does not compile.
        """
        program = ctypes.c_void_p()
        created = ctypes.byref(program), source.encode(), b"interpreter.cu", 0, None, None
        self._call("CreateProgram", *created)
        try:
            given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            try:
                self._call("CompileProgram", program, len(options), given)
            except CompilerError as error:
                raise CompilerError(f"{error}: {self._text('ProgramLog', program).decode()[:2000]}") from None
            return self._text("CUBIN", program)
        finally:
            self._call("DestroyProgram", ctypes.byref(program))

    def _text(self, what: str, program: ctypes.c_void_p) -> bytes:
        size = ctypes.c_size_t()
        self._call(f"Get{what}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self._call(f"Get{what}", program, buffer)
        return buffer.raw

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self.library, f"nvrtc{function}")(*arguments)
        if status:
            raise CompilerError(f"nvrtc{function}: {self.library.nvrtcGetErrorString(status).decode()}")


@functools.cache
def find_nvrtc(cuda: str) -> Nvrtc:
    """The compiler of a CUDA version such as ``"13.0"``: that of torch's process, of its packages, or the system's.

    Raises:
        OSError: There is none.
    """
    for name in _candidates(f"libnvrtc.so.{cuda.split('.')[0]}"):
        try:
            return Nvrtc(name)
        except OSError:
            continue
    raise OSError(f"there is no NVRTC for CUDA {cuda}")


def _candidates(name: str) -> Iterator[str]:
    yield name
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        yield from map(str, sorted(Path(folder).glob(f"*/lib/{name}")))


def cached_cubin(source: str, options: Sequence[str], nvrtc: Nvrtc) -> bytes:
    """Machine code from the user's cache, or compiled now.

    The cache is that of the generated C++ (``$EVOPTIM_CACHE``, else ``evoptim`` in the user's cache folder): a file is
    named by what went into it, appears in one step, and is used only if its checksum is right.

    Raises:
        CompilerError: The source does not compile.
        OSError: The cache cannot be written.
    """
    key = hashlib.sha256("\0".join((source, *options, nvrtc.version)).encode()).hexdigest()[:32]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("EVOPTIM_CACHE") or os.path.join(home, "evoptim"))
    file = folder / f"{key}.cubin"
    if file.exists():
        checksum, code = file.read_bytes()[:32], file.read_bytes()[32:]
        if hashlib.sha256(code).digest() == checksum:
            return code
    code = nvrtc.compile(source, options)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        made = Path(work, "kernel.cubin")
        made.write_bytes(hashlib.sha256(code).digest() + code)
        made.replace(file)
    return code
