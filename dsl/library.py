"""The rules that come with evoptim, and loading a rule by name or path."""

from __future__ import annotations

import difflib
import os
from functools import cache
from importlib import resources
from pathlib import Path

from .errors import UserError
from .parse import parse, parse_file
from .rule import Rule

_ZOO = resources.files("evoptim.dsl") / "zoo"


@cache
def rule_names() -> tuple[str, ...]:
    """The names of the rules in the package, sorted."""
    return tuple(sorted(f.name.removesuffix(".py") for f in _ZOO.iterdir() if f.name.endswith(".py")))


@cache
def _library_rule(name: str) -> Rule:
    text = (_ZOO / f"{name}.py").read_text(encoding="utf-8")
    return parse(text, f"{name}.py")


def load(source: str | Path) -> Rule:
    """A rule by name (``"adamw"``) or from a file (``"my_rule.py"``).

    Raises:
        UserError: There is no such rule or file.
        RuleError: The file does not hold a valid rule.
    """
    text = str(source)
    if text in rule_names():
        return _library_rule(text)
    if os.path.isfile(text):  # False, not an error, for a path that cannot be
        return parse_file(text)
    if "." in text or os.sep in text:
        raise UserError(f"there is no file {text}", "check the path, or name a rule that `evoptim rules` lists")
    close = [text.lower()] if text.lower() in rule_names() else difflib.get_close_matches(text, rule_names(), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    remedy = f"{hint}`evoptim rules` lists the rules; a file is given by path"
    raise UserError(f"there is no rule named {text!r}", remedy)
