"""Compiles C++ once per machine and loads it. Generated optimizers carry the text of the functions below."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

# --- carried by generated files from here on


@functools.cache
def load_kernels(source: str, dtype: str) -> ctypes.CDLL | None:
    """The kernels of one dtype, such as ``f32``: from the user's cache, or compiled now.

    None, with one warning, if that cannot be done.

    The cache (``$EVOPTIM_CACHE``, else ``evoptim`` in the user's cache folder) is shared safely by processes: a file is
    named by what went into it, appears in one step, and is used only if its checksum is right.
    """
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++", "c++"))), None)
    if compiler is None:
        warnings.warn(
            "no C++ compiler found, so updates run in eager torch: install one for a several times faster step "
            "(Debian, Ubuntu: apt install g++; macOS: xcode-select --install)",
            stacklevel=2,
        )
        return None
    key = hashlib.sha256(
        "\0".join((source, dtype, compiler, str(os.stat(compiler).st_mtime_ns), _processor())).encode()
    )
    try:
        return _cached(source, [compiler, f"-DUSE_{dtype}"], key.hexdigest()[:32])
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        warnings.warn(f"updates run in eager torch, since {compiler} did not work: {reason}", stacklevel=2)
        return None


def _processor() -> str:
    """What machine code for this processor depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.system()} {platform.machine()} {flags}"


def _cached(source: str, compiler: list[str], key: str) -> ctypes.CDLL:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("EVOPTIM_CACHE") or os.path.join(home, "evoptim"))
    library, checksum = folder / f"{key}.so", folder / f"{key}.sha256"
    try:
        if hashlib.sha256(library.read_bytes()).hexdigest() == checksum.read_text():
            return ctypes.CDLL(str(library))
    except OSError:
        pass  # not there yet, or not readable: it is made anew
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        code, made, told = (os.path.join(work, n) for n in ("kernels.cpp", "kernels.so", "checksum"))
        Path(code).write_text(source)
        options = ["-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math"]
        options.append("-ffp-contract=off")  # every operation rounds by itself, as in torch
        command = [*compiler, *options, "-fopenmp", code, "-o", made]
        if subprocess.run(command, capture_output=True, check=False).returncode:  # without OpenMP: one thread
            command.remove("-fopenmp")
            subprocess.run([*command, "-Wno-unknown-pragmas"], capture_output=True, text=True, check=True)
        Path(told).write_text(hashlib.sha256(Path(made).read_bytes()).hexdigest())
        os.replace(told, checksum)
        os.replace(made, library)
    return ctypes.CDLL(str(library))
