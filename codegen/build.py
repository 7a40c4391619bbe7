"""Rule -> optimizer class, and rule -> file. One text serves both."""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
import tempfile
import textwrap
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch

from evoptim.dsl import Rule, UserError, canonical_hash, live_statements, zero_gradient_problem

from .signature import class_name as pick_class_name
from .signature import refuse_names
from .targets.cpp.optimizer import CompiledText
from .targets.torch_eager.optimizer import Compiled, OptimizerText
from .targets.triton.optimizer import TritonText

TARGETS = ("auto", "torch", "cpp", "triton")
"""``torch`` runs everywhere; ``cpp`` adds compiled C++ for the CPU and ``triton`` kernels for GPUs; ``auto`` adds
whatever a rule has."""

_KERNELS: dict[str, tuple[type[TritonText] | type[CompiledText], str]] = {
    "triton": (TritonText, "Triton"),
    "cpp": (CompiledText, "C++"),
}


def source(rule: Rule, class_name: str | None = None, target: str = "auto") -> str:
    """The generated Python file for a rule, which imports torch and nothing else but the standard library.

    Args:
        rule: A valid rule.
        class_name: The class's name; by default as the rule's docstring or name has it.
        target: One of `TARGETS`. Every file runs in eager torch where its kernels do not fit.

    Raises:
        UserError: There is no such target, or the rule cannot be compiled to it.
    """
    _refuse_unfit(rule)
    name = pick_class_name(rule, class_name)
    compiled = _compiled(rule, target)
    return OptimizerText(rule, name, [*compiled.values()]).module(_header(rule, name, compiled))


def _compiled(rule: Rule, target: str) -> dict[str, Compiled]:
    """The targets with kernels that a file is to have."""
    if target not in TARGETS:
        raise UserError(f"there is no target {target!r}", f"the targets are {', '.join(TARGETS)}")
    wanted = {"auto": [*_KERNELS], "torch": list[str]()}.get(target, [target])
    texts = {t: _KERNELS[t][0](live_statements(rule)) for t in wanted}
    if target in _KERNELS and not texts[target].supported:
        raise UserError(
            f"rule {rule.name!r} has no {_KERNELS[target][1]} form: it has an operation without one, "
            "or values over all parameters beside branches",
            'take target "auto" or "torch"',
        )
    return {t: text for t, text in texts.items() if text.supported}


def kernel_source(rule: Rule, target: str = "cpp") -> str:
    """The kernels of a rule for a target, as compiled on first use.

    Raises:
        UserError: The target has no kernels, or the rule has none in it.
    """
    if target not in _KERNELS:
        raise UserError(f"there are no kernels for {target!r}", f"there are for {' and '.join(_KERNELS)}")
    text = _compiled(rule, target)[target]
    assert isinstance(text, TritonText | CompiledText)
    return text.kernels()


def compile_rule(rule: Rule, class_name: str | None = None, target: str = "auto") -> type[torch.optim.Optimizer]:
    """Turn a rule into a ``torch.optim.Optimizer`` subclass; ``target`` is one of `TARGETS`.

    The class comes from the same text that `export` writes: tracebacks show its lines, and instances pickle.

    Raises:
        UserError: The rule has no learning rate, a name in it or the class name is taken, or there is no such target.
    """
    text = source(rule, class_name, target)
    name = pick_class_name(rule, class_name)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    module_name = f"evoptim.codegen.generated_{digest}"
    module = sys.modules.get(module_name)
    if module is None:
        module = _module(module_name, text)
    return getattr(module, name)


def _module(module_name: str, text: str) -> ModuleType:
    filename = f"<{module_name}>"
    module = ModuleType(module_name)
    module.__file__ = filename
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    exec(compile(text, filename, "exec"), module.__dict__)
    sys.modules[module_name] = module
    return module


def export(rule: Rule, path: str | os.PathLike[str], class_name: str | None = None, target: str = "auto") -> Path:
    """Write the optimizer as one importable file; an existing file is replaced in one step or not at all.

    Args:
        rule: A valid rule.
        path: The file to write, such as ``lion.py``.
        class_name: The class's name in it.
        target: One of `TARGETS`.

    Returns:
        The path written.

    Raises:
        UserError: A zero gradient with lr 0 changes parameters or breaks the state, or the file cannot be written.
    """
    problem = zero_gradient_problem(rule)
    if problem:
        raise UserError(
            f"rule {rule.name!r} is not fit for export: {problem}",
            "guard its divisions, as in x / (sqrt(v) + eps) or safe_div(x, y), and multiply decay by lr",
        )
    text = source(rule, class_name, target)
    try:
        _write(Path(os.path.realpath(path)), text)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {os.fspath(path)}: {reason}", "choose a writable path") from error
    return Path(path)


def _write(target: Path, text: str) -> None:
    """Write a file in one step or not at all."""
    if target.exists() and not target.is_file():
        raise OSError("it exists and is no file")
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _refuse_unfit(rule: Rule) -> None:
    if not any(h.name == "lr" for h in rule.hypers):
        raise UserError(
            f"rule {rule.name!r} has no learning rate",
            "add lr to its hyperparameters, as in *, lr=1e-3: schedulers and torch itself expect it",
        )
    refuse_names(rule)


def _header(rule: Rule, name: str, compiled: dict[str, Compiled]) -> str:
    release = version("evoptim")
    how = {
        "": "This file needs torch alone.",
        "cpp": f"This file needs torch alone. {_ON_CPU}",
        "triton": "This file needs torch, and on GPUs triton, in which it runs there; elsewhere in eager torch.",
        "triton cpp": f"This file needs torch, and on GPUs triton, in which it runs there. {_ON_CPU}",
    }[" ".join(compiled)]
    told = textwrap.fill(f"{how} {_ARITHMETIC}", 110)
    return (
        f'"""{name}: a PyTorch optimizer, generated by evoptim {release} from this rule.\n\n{_quoted(rule)}\n'
        f'rule hash: {canonical_hash(rule)}\n{told}\n"""'
    )


_ON_CPU = (
    "On the CPU it runs in C++, compiled on first use with the system's compiler, where there is one; "
    "elsewhere in eager torch."
)
_ARITHMETIC = "Arithmetic and state are float32 for float32, bfloat16 and float16 parameters, float64 for float64."


def _quoted(rule: Rule) -> str:
    """The text of a rule for a docstring: its own docstring in single quotes, or else every quote escaped."""
    text = rule.text
    if "\\" in text or "'''" in text or rule.doc.endswith("'"):
        return text.replace("\\", "\\\\").replace('"', '\\"')
    return text.replace('"""', "'''")
