"""What an exported package and its parts are called."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass

from evoptim.dsl import Rule, UserError

from ..signature import class_name as pick_class_name

_PROJECT = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?")
_NEEDED = frozenset(("torch", "triton", "pytest"))
"""What a package or its tests import: it cannot bear these names itself."""
_NO_MODULES = frozenset(("__init__", "__main__"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The names of a package: as installed, as imported, of the rule's module, and of the optimizer's class."""

    project: str
    version: str
    module: str
    rule: str
    optimizer: str


def choose_names(rule: Rule, project: str | None, version: str, class_name: str | None) -> Names:
    """The names of a rule's package; the project is ``<rule>-optimizer`` unless given.

    Raises:
        UserError: A name cannot be installed, imported or published, or the version is none.
    """
    wanted = re.sub(r"_+", "-", rule.name).strip("-") + "-optimizer" if project is None else project
    module = re.sub(r"[-_.]+", "_", wanted).lower()
    if not _PROJECT.fullmatch(wanted) or not module.isidentifier() or keyword.iskeyword(module):
        raise UserError(
            f"{wanted!r} cannot name a package",
            "begin with a letter and use letters, digits and -, as in lion-optimizer",
        )
    if module in sys.stdlib_module_names | _NEEDED:
        raise UserError(f"a package named {wanted!r} would hide a module that it needs", "give it another name")
    if rule.name in _NO_MODULES:
        raise UserError(f"no module of a package can be named {rule.name!r}", "rename the rule")
    if not _VERSION.fullmatch(version):
        raise UserError(f"{version!r} is no version of a package", "write one such as 0.1.0 or 1.0rc1")
    optimizer = pick_class_name(rule, class_name)
    return Names(project=wanted, version=version, module=module, rule=rule.name, optimizer=optimizer)
