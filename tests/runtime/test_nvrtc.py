"""The CUDA C++ of the interpreter as machine code, and the cache that keeps it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import torch

from evoptim.runtime.bytecode import instruction_set
from evoptim.runtime.interpreter.cuda import EACH, THREADS
from evoptim.runtime.interpreter.nvrtc import OPTIONS, CompilerError, Nvrtc, cached_cubin, find_nvrtc
from evoptim.runtime.interpreter.source import device_source

NVCC = shutil.which("nvcc")


def source() -> str:
    return device_source(instruction_set(), THREADS, EACH)


def test_the_source_takes_nothing_from_the_standard_library() -> None:
    """NVRTC has no headers; what includes there are lie where it does not look."""
    text = source()
    assert "std::" not in text
    hidden = text[text.index("#ifdef __CUDACC_RTC__") : text.index("#else")]
    assert "#include" not in hidden
    assert text.count("#include") == 2


def doubles(text: str) -> Counter[str]:
    """Instructions of PTX that compute in float64 or convert to it, or from it."""
    return Counter(re.findall(r"(?:add|sub|mul|fma|div|sqrt|rcp|cvt)\.[\w.]*f64[\w.]*", text))


@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
def test_operations_of_float_stay_in_float(tmp_path: Path) -> None:
    """But for the sines of large arguments, which CUDA reduces by a product of two doubles."""
    text = source()
    found = []
    for k, code in enumerate((text, re.sub(r"            entries<.*\n", "            ;\n", text))):
        file = tmp_path / f"{k}.cu"
        file.write_text(code)
        options = ["-ptx", "-arch=sm_90", *OPTIONS, "-DUSE_f32", str(file), "-o", str(tmp_path / f"{k}.ptx")]
        subprocess.run([NVCC, *options], check=True, capture_output=True)
        found.append(doubles((tmp_path / f"{k}.ptx").read_text()))
    whole, without = found
    assert without
    assert {n for n, count in whole.items() if count > without[n]} <= {"cvt.rn.f64.s64", "mul.rn.f64", "cvt.rn.f32.f64"}


@pytest.mark.nightly
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("suffix", ["f32", "f64"])
@pytest.mark.skipif(NVCC is None, reason="needs nvcc")
def test_registers_suffice(arch: str, suffix: str, tmp_path: Path) -> None:
    """1,024 threads share a multiprocessor's registers, and the loops over entries spill none of float32's."""
    file = tmp_path / "kernel.cu"
    file.write_text(source())
    options = ["-cubin", f"-arch={arch}", *OPTIONS, f"-DUSE_{suffix}", "-Xptxas", "-v", str(file)]
    done = subprocess.run(
        [NVCC, *options, "-o", str(tmp_path / "kernel.cubin")], capture_output=True, text=True, check=True
    )
    used = re.search(r"Used (\d+) registers", done.stderr)
    assert used
    assert int(used[1]) <= 64
    spilt = re.search(r"run_unit\S*\n\s*\d+ bytes stack frame, (\d+) bytes spill stores", done.stderr)
    assert spilt
    assert int(spilt[1]) <= (64 if suffix == "f32" else 256)


# --- the cache ------------------------------------------------------------------------------------------


class Fake(Nvrtc):
    """Counts how often it compiles."""

    def __init__(self, version: str = "13.0") -> None:
        self.version, self.compiled = version, 0

    def compile(self, source: str, options: object) -> bytes:
        if source == "broken":
            raise CompilerError("nvrtcCompileProgram: a line and what is wrong with it")
        self.compiled += 1
        return f"{source} for {options}".encode()


def test_what_was_compiled_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path))
    nvrtc = Fake()
    first = cached_cubin("text", ("-a",), nvrtc)
    assert cached_cubin("text", ("-a",), nvrtc) == first
    assert nvrtc.compiled == 1
    for other in (("other", ("-a",), nvrtc), ("text", ("-b",), nvrtc)):
        assert cached_cubin(*other) != first
    cached_cubin("text", ("-a",), newer := Fake("13.1"))
    assert newer.compiled == 1
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_file_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVOPTIM_CACHE", str(tmp_path))
    nvrtc = Fake()
    first = cached_cubin("text", (), nvrtc)
    [file] = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    assert cached_cubin("text", (), nvrtc) == first
    assert nvrtc.compiled == 2
    with pytest.raises(CompilerError, match="what is wrong"):
        cached_cubin("broken", (), nvrtc)
    assert list(tmp_path.iterdir()) == [file]


def test_without_nvrtc_there_is_an_error_that_says_so() -> None:
    with pytest.raises(OSError, match=r"no NVRTC for CUDA 1\.0"):
        find_nvrtc("1.0")


def available() -> Nvrtc | None:
    try:
        return find_nvrtc(torch.version.cuda or "13.0")
    except OSError:
        return None


@pytest.mark.skipif(available() is None, reason="needs NVRTC")
def test_nvrtc_says_what_is_wrong_and_compiles_what_is_right() -> None:
    nvrtc = available()
    assert nvrtc is not None
    with pytest.raises(CompilerError, match=r"interpreter.cu\(1\): error"):
        nvrtc.compile("nonsense", OPTIONS)
    code = nvrtc.compile(source(), (*OPTIONS, "--gpu-architecture=sm_80", "-DUSE_f32"))
    assert code[:4] == b"\x7fELF"
