"""The files of a package but for the optimizer and its card: project description, face, golden numbers, tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from evoptim.dsl import Rule, canonical_hash

from .names import Names

_MARKER = "# --- carried by exported packages from here on\n"
_LONGEST = 120


def project_text(rule: Rule, names: Names, module_text: str) -> str:
    """``pyproject.toml``."""
    extras = {"test": ["pytest>=8"]}
    if imports_triton(module_text):
        extras["gpu"] = ["triton>=3.6; platform_system == 'Linux'"]
    return f"""\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = {_toml(names.project)}
version = {_toml(names.version)}
description = {_toml(_summary(rule, names))}
readme = "README.md"
requires-python = ">=3.11"
# No license is set: that is for you as the author to choose, before you give this package to others.
# Add a file LICENSE, and here, for example: license = "Apache-2.0"
dependencies = ["torch>=2.11"]

[project.optional-dependencies]
{"".join(f"{extra} = {_toml_list(needed)}{chr(10)}" for extra, needed in extras.items())}
[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
{names.module} = ["py.typed", "*.rule.py"]

[tool.pytest.ini_options]
testpaths = ["tests"]

[tool.ruff]
line-length = {_LONGEST}
extend-exclude = ["*.rule.py", "README.md"] # the language of rules is not Python, though it looks alike
lint.select = ["B", "E", "F", "I", "UP", "W"]
lint.ignore = ["E741"] # names are those of the rule
"""


def imports_triton(module_text: str) -> bool:
    """Whether a generated optimizer has kernels for GPUs."""
    return re.search(r"^\s*(import|from) triton\b", module_text, re.MULTILINE) is not None


def face_text(names: Names) -> str:
    """``__init__.py``."""
    return (
        f'"""{names.optimizer}, a PyTorch optimizer."""\n\n'
        f"{_import(f'.{names.rule}', names.optimizer)}\n\n"
        f'__all__ = ["{names.optimizer}"]\n'
    )


def golden_text(rule: Rule, data: dict[str, Any], training: dict[str, float]) -> str:
    """``golden.json``: what the tests compare with."""
    return _json({"rule hash": canonical_hash(rule), **data, "training": training}, "") + "\n"


def _json(value: Any, indent: str, key: str = "") -> str:
    """JSON with as much in a line as fits after its key."""
    line = json.dumps(value, allow_nan=False)
    if len(indent) + len(key) + len(line) < _LONGEST or not isinstance(value, dict | list):
        return line
    deeper = indent + " "
    if isinstance(value, dict):
        keys = [f"{json.dumps(key)}: " for key in value]
        items = [k + _json(item, deeper, k) for k, item in zip(keys, value.values(), strict=True)]
    else:
        items = [_json(item, deeper) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return f"{first}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{last}"


def tests_text(names: Names) -> str:
    """The tests: the text of `checks` with the package's own class in place of the one that stands for it."""
    _, imports, checks = _parts("checks")
    own = _import(names.module, f"{names.optimizer} as UnderTest")
    imports = re.sub(r"^from torch\.optim import .* as UnderTest\n", "", imports, flags=re.MULTILINE)
    imports = re.sub(r"^from \.trial import .*$", lambda _: own, imports, flags=re.MULTILINE)
    head = (
        f'"""{names.optimizer} where it is installed: these tests need torch and pytest alone.\n\n'
        "The numbers in golden.json are those of evoptim's reference, which runs the rule statement by statement in\n"
        'numpy float64 and uses nothing of what the optimizer is made of.\n"""'
    )
    return "\n\n".join([head, imports.strip("\n")]) + "\n\n\n" + _parts("trial")[2] + "\n\n\n" + checks + "\n"


def _parts(module: str) -> tuple[str, str, str]:
    """The docstring, the imports, and what follows the marker, in the text of a module of this folder."""
    text = Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    before, _, carried = text.partition(_MARKER)
    docstring, _, imports = before.partition("from __future__")
    return docstring, f"from __future__{imports}", carried.strip("\n")


def _import(module: str, what: str) -> str:
    """An import statement as ruff lays it out."""
    line = f"from {module} import {what}"
    return line if len(line) <= _LONGEST else f"from {module} import (\n    {what},\n)"


def _summary(rule: Rule, names: Names) -> str:
    first = "".join(c if c.isprintable() else " " for c in rule.doc.split("\n")[0])
    return " ".join(first.split()) or f"{names.optimizer}, a PyTorch optimizer"


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _toml_list(items: list[str]) -> str:
    return f"[{', '.join(map(_toml, items))}]"
