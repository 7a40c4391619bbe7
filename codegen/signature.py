"""How a rule looks as a ``torch.optim.Optimizer``: class name, constructor arguments, limits."""

from __future__ import annotations

import builtins
import keyword
from collections.abc import Iterator
from dataclasses import dataclass

from evoptim.dsl import Hyper, Rule, UserError
from evoptim.dsl.printer import number


@dataclass(frozen=True, slots=True)
class Argument:
    """One constructor argument and group key: a hyperparameter, or the tuple ``betas`` of several."""

    name: str
    members: tuple[Hyper, ...]

    @property
    def is_tuple(self) -> bool:
        """Whether it is the tuple ``betas``."""
        return self.name == "betas"

    @property
    def default(self) -> str:
        """Its default as Python text."""
        values = [python_number(h.default) for h in self.members]
        return f"({', '.join(values)})" if self.is_tuple else values[0]

    @property
    def annotation(self) -> str:
        """Its type as Python text."""
        if self.is_tuple:
            return f"tuple[{', '.join(['float'] * len(self.members))}]"
        return "float | Tensor" if self.name == "lr" else "float"


def python_number(value: float) -> str:
    """A float literal: 0.0 and not 0, so that a reader sees the type."""
    text = number(value)
    return f"{text}.0" if text.lstrip("-").isdigit() else text


def arguments(rule: Rule) -> tuple[Argument, ...]:
    """The constructor's arguments, ``lr`` first; ``beta1, beta2, ...`` become torch's ``betas``."""
    betas = _betas(rule)
    out: list[Argument] = []
    for hyper in sorted(rule.hypers, key=lambda h: h.name != "lr"):
        if hyper not in betas:
            out.append(Argument(hyper.name, (hyper,)))
        elif hyper is betas[0]:
            out.append(Argument("betas", betas))
    return tuple(out)


def group_values(rule: Rule) -> Iterator[tuple[Hyper, str]]:
    """Where a parameter group of the generated class holds each hyperparameter of a rule, as Python text."""
    for argument in arguments(rule):
        for i, hyper in enumerate(argument.members):
            yield hyper, f'group["betas"][{i}]' if argument.is_tuple else f'group["{hyper.name}"]'


def _betas(rule: Rule) -> tuple[Hyper, ...]:
    """The hyperparameters beta1, beta2, ... where there are two or more in an unbroken row."""
    by_name = {h.name: h for h in rule.hypers}
    out: list[Hyper] = []
    while (hyper := by_name.get(f"beta{len(out) + 1}")) is not None:
        out.append(hyper)
    return tuple(out) if len(out) > 1 else ()


def requirements(argument: Argument) -> Iterator[tuple[str, str, str]]:
    """What the constructor refuses: the condition that must hold, what to call the value, the value."""
    for index, hyper in enumerate(argument.members):
        value = f"betas[{index}]" if argument.is_tuple else hyper.name
        if hyper.name.startswith("beta") and hyper.name[4:].isdigit():
            what = f"beta parameter at index {index}" if argument.is_tuple else f"{hyper.name} value"
            yield f"0.0 <= {value} < 1.0", what, value
        elif hyper.name == "lr":
            yield "0.0 <= lr", "learning rate", "lr"
        elif hyper.name in ("weight_decay", "momentum") or hyper.name.startswith("eps"):
            label = {"eps": "epsilon"}.get(hyper.name, hyper.name)
            yield f"0.0 <= {value}", f"{label} value", value
        else:
            yield f"math.isfinite({value})", f"{hyper.name} value", value


_IMPORTED = frozenset(
    (
        "annotations math torch Any Callable Generator Iterable Optimizer Tensor sys ctypes functools hashlib os "
        "importlib operator platform shutil subprocess tempfile warnings Path Launch Row Pairs contextlib linecache "
        "types NamedTuple Gathered GpuStage GpuShape GpuLaunch GpuStep"
    ).split()
)
_KEPT_BY_TORCH = frozenset("param_names initial_lr".split())
_EXAMPLE = "class_name='MyOptimizer'"
_CALLED = frozenset("super len isinstance ValueError Tensor".split())


def refuse_names(rule: Rule) -> None:
    """Refuse hyperparameters that the constructor, or torch in parameter groups, knows as something else.

    Raises:
        UserError: There is such a name.
    """
    for hyper in rule.hypers:
        if hyper.name in _CALLED | _KEPT_BY_TORCH:
            raise UserError(
                f"hyperparameter {hyper.name!r} has another meaning in a torch optimizer", "rename it in the rule"
            )


def class_name(rule: Rule, wanted: str | None = None) -> str:
    """The class's name: as the docstring begins (``AdamW (Loshchilov ...)``) if that spells the rule's name.

    Raises:
        UserError: The name is no identifier, or the generated file needs it for something else.
    """
    name = _own_name(rule) if wanted is None else wanted
    if not (name.isidentifier() and name.isascii()) or keyword.iskeyword(name) or name.startswith("_"):
        raise UserError(f"{name!r} cannot name a class", f"give it a class name, such as {_EXAMPLE}")
    if name in _IMPORTED or hasattr(builtins, name) or name == function_name(rule):
        raise UserError(
            f"a class named {name!r} would hide what the generated file needs",
            f"give it a class name, such as {_EXAMPLE}",
        )
    return name


def function_name(rule: Rule) -> str:
    """The name of the function that holds the rule in the generated file."""
    return f"{rule.name}_update"


def _own_name(rule: Rule) -> str:
    first = rule.doc.split(" ", 1)[0].rstrip(":,.")
    if first.isidentifier() and first.casefold() == rule.name.replace("_", "").casefold() and first[:1].isupper():
        return first
    return "".join(part[:1].upper() + part[1:] for part in rule.name.split("_"))
