"""Rule -> folder of an installable Python package."""

from __future__ import annotations

import os
from pathlib import Path

from evoptim.dsl import Rule

from ..build import export
from .card import card
from .files import face_text, golden_text, project_text, tests_text
from .folder import new_folder
from .golden import golden
from .names import choose_names
from .verification import verify


def export_package(
    rule: Rule,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    version: str = "0.1.0",
    class_name: str | None = None,
    target: str = "auto",
) -> Path:
    """Write the optimizer as a package to install: with its tests and a card that says what was verified here.

    The folder appears in one step or not at all. ``src/<module>/<rule>.py`` is what `source` gives, and needs torch
    alone; the tests need pytest besides.

    Args:
        rule: A valid rule.
        folder: The folder to make, or an empty one.
        name: What to install it by; by default the rule's name, as in ``lion-optimizer``. The module to import is the
            same with underscores.
        version: The package's version.
        class_name: The class's name.
        target: One of `TARGETS`.

    Returns:
        The folder.

    Raises:
        UserError: The rule is not fit for export or cannot be verified, a name cannot be used, or the folder cannot be
            written or is not empty.
        RuntimeError: The optimizer is farther from the reference than rounding explains: a defect of evoptim.
    """
    names = choose_names(rule, name, version, class_name)
    with new_folder(folder) as root:
        module, tests = root / "src" / names.module, root / "tests"
        module.mkdir(parents=True)
        tests.mkdir()
        optimizer = export(rule, module / f"{names.rule}.py", class_name, target).read_text(encoding="utf-8")
        data = golden(rule)
        verification = verify(rule, class_name, target, data)
        texts = {
            root / "pyproject.toml": project_text(rule, names, optimizer),
            root / "README.md": card(rule, names, optimizer, data, verification),
            module / "__init__.py": face_text(names),
            module / "py.typed": "",
            module / f"{names.rule}.rule.py": rule.text,
            tests / f"test_{names.rule}.py": tests_text(names),
            tests / "golden.json": golden_text(rule, data, verification.training),
        }
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8", newline="\n")
    return Path(folder)
