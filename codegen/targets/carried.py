"""Text of generated files that comes from modules of this package, and pieces of Python text."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from types import ModuleType

_MARKER = "# --- carried by generated files from here on\n"


def carried(module: ModuleType) -> str:
    """The text of a module from its marker on."""
    return inspect.getsource(module).partition(_MARKER)[2].strip("\n")


def tuple_text(items: Iterable[str]) -> str:
    """A tuple of printed values."""
    found = list(items)
    return f"({found[0]},)" if len(found) == 1 else f"({', '.join(found)})"


def tuple_lines(head: str, items: Iterable[str], tail: str = "") -> list[str]:
    """A tuple after ``head``, in one line if that can be read, else with a line per value."""
    found = list(items)
    line = f"{head}{tuple_text(found)}{tail}"
    if len(line) <= 100 or len(found) < 2:
        return [line]
    indent = " " * (len(head) - len(head.lstrip()))
    return [f"{head}(", *(f"{indent}    {item}," for item in found), f"{indent}){tail}"]


def quoted(text: str) -> str:
    """A string that needs no escapes."""
    return f'"{text}"'
