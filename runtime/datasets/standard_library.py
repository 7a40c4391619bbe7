"""Program text: the modules of Python's own library."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from evoptim.dsl import UserError

from .dataset import Dataset


def _read() -> bytes:
    """The source of every top-level module of the standard library, by name."""
    folder = Path(sysconfig.get_path("stdlib"))
    modules = [file for file in sorted(folder.glob("*.py")) if file.stem in sys.stdlib_module_names]
    if not modules:
        raise UserError(f"this Python has no library source in {folder}", "use a Python that is installed as files")
    return b"\n".join(file.read_bytes() for file in modules)


def _parse(content: bytes) -> bytes:
    return content


STANDARD_LIBRARY = Dataset(
    name="standard_library",
    summary="source of the standard library's top-level modules, about 4.7 MB of Python",
    origin="the library folder of the running Python",
    licence="PSF",
    size=0,
    sha256="",
    read=_read,
    parse=_parse,
)
