"""The text of a complete ``torch.optim.Optimizer`` class that runs a rule in eager torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from evoptim.dsl import Buffer, Kind, Reduce, Rule, elementwise, live_statements, reduces
from evoptim.dsl.infer import aliases, buffers_read

from ...signature import Argument, arguments, function_name, group_values, requirements
from .printer import Printer

_WIDTH = 116
"""The length of a line inside a class."""


class Compiled(Protocol):
    """What a target with compiled kernels adds to the file: the class hands it parameters and updates the others."""

    imports: tuple[str, ...]
    """Import statements, of the standard library alone."""
    uses: frozenset[str]
    """Helpers it calls: ``math``, ``_float64``."""
    call: str
    """The method that updates what the kernels take and returns the other pairs."""
    tables_name: str
    """The attribute that keeps tables between steps."""
    skips: bool
    """Whether the kernels change nothing by themselves where GradScaler met a gradient that is not finite."""

    def parts(self) -> list[str]:
        """What stands before the class."""
        ...

    def methods(self) -> list[str]:
        """Methods, the one to call among them, without indentation."""
        ...


class OptimizerText:
    """Collects what the printed class needs to know about a rule."""

    def __init__(self, rule: Rule, class_name: str, compiled: Sequence[Compiled] = ()) -> None:
        self.source = rule
        self.compiled = tuple(compiled)
        self.rule = live_statements(rule)
        self.class_name = class_name
        self.function = function_name(rule)
        self.arguments: tuple[Argument, ...] = arguments(rule)
        self.axes = reduces(self.rule)
        self.together = Reduce.GLOBAL in self.axes or bool(self.shared)
        self.elementwise = elementwise(self.rule)
        self.printer = Printer(self.rule)
        self.update = self._update_function(self.printer, "One step of the rule for one parameter")
        self.device_printer = Printer(self.rule, on_device=ON_DEVICE)
        self.device_update = self._update_function(
            self.device_printer, "The same with step and learning rate on the device"
        )

    @property
    def tensors(self) -> tuple[Buffer, ...]:
        """Buffers kept per parameter."""
        return tuple(b for b in self.rule.buffers if b.kind != Kind.GLOBAL)

    @property
    def shared(self) -> tuple[Buffer, ...]:
        """Buffers kept once for all parameters, in the parameter groups."""
        return tuple(b for b in self.rule.buffers if b.kind == Kind.GLOBAL)

    def module(self, header: str) -> str:
        """The whole file."""
        parts = [header, self._imports(), self.update]
        if not self.alike:
            parts.append(self.device_update)
        parts += [_SCALAR, _ROUNDING, _DISTRIBUTED]
        if not self.elementwise:
            parts.append(_IS_WHOLE)
        if self.printer.uses_float64 or self.device_printer.uses_float64 or self._is_used("_float64"):
            parts.append(_FLOAT64)
        if self.together:
            parts.append(_TOGETHER)
        for compiled in self.compiled:
            parts += [part for part in compiled.parts() if part not in parts]
        parts.append(self._class())
        header, *code = (p.strip("\n") for p in parts)
        return header + "\n\n" + "\n\n\n".join(code) + "\n"

    def _is_used(self, helper: str) -> bool:
        return any(helper in compiled.uses for compiled in self.compiled)

    def _imports(self) -> str:
        needed = {"import sys", "from typing import Any"}
        conditions = [c for a in self.arguments for c, _, _ in requirements(a)]
        if "math." in "".join([self.update, self.device_update, *conditions]) or self._is_used("math"):
            needed.add("import math")
        types = ("Callable", *(["Generator"] if self.together else []), "Iterable")
        needed.add(f"from collections.abc import {', '.join(types)}")
        needed |= {line for compiled in self.compiled for line in compiled.imports}
        if "from typing import Any, NamedTuple" in needed:
            needed.remove("from typing import Any")
        lines = ["from __future__ import annotations", "", *sorted(needed, key=lambda x: (x.startswith("from"), x))]
        lines += ["", "import torch", "from torch import Tensor", "from torch.optim.optimizer import Optimizer"]
        return "\n".join([*lines, "", f'__all__ = ["{self.class_name}"]'])

    # the rule

    @property
    def alike(self) -> bool:
        """Whether the rule reads the same with Python numbers and with tensors."""
        bodies = [text.rpartition('"""')[2] for text in (self.update, self.device_update)]
        return bodies[0] == bodies[1]

    def _update_function(self, printer: Printer, what: str) -> str:
        rule = self.rule
        printer.body()
        copied = set(aliases(rule))
        optional = buffers_read(rule, True) ^ buffers_read(rule, False)
        slots = zip(("w", *(b.name for b in rule.buffers)), rule.returns, strict=True)
        returns = [printer.result(node, i in copied, n in optional) for i, (n, node) in enumerate(slots)]
        number = "float | Tensor" if printer is self.printer else "Tensor"
        typed = [f"{n}: {number if n == 't' else 'Tensor'}" for n in ("w", "g", *rule.positional)]
        hypers = [f"{h.name}: {number if h.name == 'lr' else 'float'}" for h in rule.hypers]
        if rule.branches:
            hypers.insert(0, "matrix: bool")
        parameters = typed + (["*", *hypers] if hypers else [])
        value = "tuple[Tensor, ...]"
        pauses = Reduce.GLOBAL in self.axes
        result = f"Generator[tuple[str, Tensor], Tensor, {value}]" if pauses else value
        doc = f"{what}: the new parameter, then its new buffers."
        if pauses:
            doc += "\n\n    Pauses with a reduction and its argument wherever a value over all parameters is needed."
        name = self.function if printer is self.printer else f"{self.function}_on_device"
        out = [f"def {name}(", *(f"    {p}," for p in parameters), f") -> {result}:"]
        out += [f'    """{doc}"""' if "\n" not in doc else f'    """{doc}\n    """']
        out += [f"    {line}" for line in printer.lines]
        values = ", ".join(returns) if len(returns) > 1 else f"({returns[0]},)"
        return "\n".join([*out, f"    return {values}"])

    # the class

    def _class(self) -> str:
        body = [self._class_head(), _AMP, self._init(), self._setstate(), self._load(), self._step(), self._one()]
        methods = dict.fromkeys(m for compiled in self.compiled for m in compiled.methods())
        body += [_indent(m.split("\n")) for m in methods]
        return "\n\n".join(part.strip("\n") for part in body)

    def _class_head(self) -> str:
        text = _docstring(self.source.doc) or f"The update rule {self.rule.name}."
        first, *rest = text.split("\n")
        lines = [first, *rest, "", *([] if self.elementwise else [*_WHOLE, ""]), "Args:"]
        lines.append("    params: Parameters, or dicts that define parameter groups, as for every torch optimizer.")
        lines += [f"    {a.name}: {_describe(a)} (default: {a.default})" for a in self.arguments]
        lines.append("    maximize: Ascend instead of descend.")
        lines += _CAPTURABLE
        body = "\n".join(f"    {line}" if line else "" for line in lines)
        return f'class {self.class_name}(Optimizer):\n    """{body.strip()}\n    """'

    def _init(self) -> str:
        parameters = [f"{a.name}: {a.annotation} = {a.default}" for a in self.arguments]
        out = ["def __init__(", "    self,", "    params: Iterable[Any],"]
        out += [f"    {p}," for p in parameters]
        out += ["    *,", "    maximize: bool = False,", "    capturable: bool = False,"]
        out += ['    rounding: str = "nearest",', ") -> None:"]
        for argument in self.arguments:
            out += [f"    {line}" for line in _validation(argument)]
        out += ['    if rounding not in ("nearest", "stochastic", "kahan"):']
        out += ['        raise ValueError(f"Invalid rounding: {rounding!r}, expected nearest, stochastic or kahan")']
        entries = [f"{_quoted(name)}: {name}" for name in self._keys()]
        line = f"    super().__init__(params, {{{', '.join(entries)}}})"
        if len(line) > _WIDTH:
            out += ["    defaults = {", *(f"        {entry}," for entry in entries), "    }"]
            line = "    super().__init__(params, defaults)"
        return _indent([*out, line])

    def _keys(self) -> list[str]:
        """What every parameter group has beside its parameters."""
        return [*(a.name for a in self.arguments), "maximize", "capturable", "rounding"]

    def _setstate(self) -> str:
        return _indent(
            [
                "def __setstate__(self, state: dict[str, Any]) -> None:",
                "    super().__setstate__(state)",
                *(f"    self.{tables} = None" for compiled in self.compiled for tables in [compiled.tables_name]),
                "    for group in self.param_groups:  # checkpoints of older versions may lack a key",
                *self._loop_over_keys(),
                "            group.setdefault(key, self.defaults[key])",
                '        for p in group["params"]:  # or count steps with a number',
                "            state = self.state.get(p, {})",
                '            if "step" in state and not isinstance(state["step"], Tensor):',
                '                state["step"] = torch.tensor(float(state["step"]), dtype=torch.float32, device="cpu")',
            ]
        )

    def _loop_over_keys(self) -> list[str]:
        """The head of a loop over the keys of a group, in one line if it fits."""
        keys = [*map(_quoted, self._keys())]
        line = f"        for key in ({', '.join(keys)}):"
        return (
            [line]
            if len(line) <= _WIDTH
            else ["        for key in (", *(f"            {k}," for k in keys), "        ):"]
        )

    def _load(self) -> str:
        return _indent(
            [
                "def load_state_dict(self, state_dict: dict[str, Any]) -> None:",
                '    """Load a state dict; buffers keep the dtype they were saved with (torch casts them)."""',
                "    final: dict[str, Any] = {}  # what the hooks of others made of it",
                "    before = self.register_load_state_dict_pre_hook(lambda _, given: final.update(given))",
                "    after = self.register_load_state_dict_post_hook(lambda _: self._restore(final), prepend=True)",
                "    try:",
                "        super().load_state_dict(state_dict)",
                "    finally:",
                "        before.remove()",
                "        after.remove()",
                "",
                "def _restore(self, state_dict: dict[str, Any]) -> None:",
                '    keys = [key for group in state_dict["param_groups"] for key in group["params"]]',
                '    group_of = {p: group for group in self.param_groups for p in group["params"]}',
                "    for key, p in zip(keys, group_of, strict=True):",
                '        for name, saved in state_dict["state"].get(key, {}).items():',
                "            if isinstance(saved, Tensor):",
                '                device = "cpu" if name == "step" and not group_of[p]["capturable"] else p.device',
                "                value = saved.detach().to(device=device, copy=True)",
                '                self.state[p][name] = value if name == "step" else _placed(value, p)',
            ]
        )

    def _step(self) -> str:
        out = [
            "@torch.no_grad()",
            "def step(self, closure: Callable[[], Any] | None = None) -> Any:",
            '    """Update all parameters that have a gradient; returns what ``closure`` returns."""',
            "    loss = None",
            "    if closure is not None:",
            "        with torch.enable_grad():",
            "            loss = closure()",
        ]
        skipping = [c for c in self.compiled if c.skips]
        found_inf = [
            f'    if {"pairs and " if skipping else ""}getattr(self, "found_inf", None):  '
            "# GradScaler met a gradient that is not finite: change nothing",
            "        return loss",
        ]
        out += [
            *([] if skipping else found_inf),
            '    pairs = [(p, group) for group in self.param_groups for p in group["params"] if p.grad is not None]',
            "    for p, _ in pairs:  # before anything is written",
            "        if p.grad.layout != torch.strided:",
            f'            raise RuntimeError("{self.class_name} does not support sparse gradients")',
            "        if not (p.is_floating_point() or p.is_complex()):",
            f'            raise RuntimeError(f"{self.class_name} needs floating-point parameters, got {{p.dtype}}")',
        ]
        if self.elementwise:
            out += [
                "        if _is_distributed(p) and any(x.is_partial() for x in p.placements):",
                f'            raise RuntimeError("{self.class_name} does not take partial sums as parameters")',
            ]
        else:
            out += [
                "        if torch.is_complex(p):",
                f'            raise RuntimeError("{self.class_name} does not take complex parameters")',
                "        if not _is_whole(p):",
                "            raise RuntimeError(",
                f'                "{self.class_name} computes with whole parameters and cannot update shards: "',
                '                "do not shard those it is given, or take an elementwise optimizer, such as AdamW"',
                "            )",
            ]
        if self.compiled:
            out.append("    if not torch.compiler.is_compiling():  # then torch makes kernels of its own")
        out += [f"        pairs = self.{c.call}(pairs)" for c in skipping]
        if skipping:
            out += found_inf
        others = [c for c in self.compiled if not c.skips]
        if others and skipping:
            out.append("    if not torch.compiler.is_compiling():")
        out += [f"        pairs = self.{c.call}(pairs)" for c in others]
        if self.together:
            out.append("    _run_together([self._update(p, group) for p, group in pairs])")
        else:
            out += ["    for p, group in pairs:", "        self._update(p, group)"]
        return _indent([*out, "    return loss"])

    def _one(self) -> str:
        """The method that updates one parameter."""
        head = "def _update(self, p: Tensor, group: dict[str, Any]) -> " + (
            "Generator[tuple[str, Tensor], Tensor, None]:" if self.together else "None:"
        )
        out = [head, *self._gradient(), *self._state(), *self._call(), *self._store()]
        return _indent(out)

    def _gradient(self) -> list[str]:
        out = ["    assert p.grad is not None", "    target, grad = _part(p, p), _part(p.grad, p)"]
        if self.elementwise:
            out += [
                "    if torch.is_complex(target):  # two real numbers each",
                "        target, grad = torch.view_as_real(target), torch.view_as_real(grad.resolve_conj())",
            ]
        return [
            *out,
            "    dtype = torch.promote_types(target.dtype, torch.float32)  # bfloat16 and float16 compute in float32",
            "    w, g = target.to(dtype), grad.to(dtype)",
            '    if getattr(self, "grad_scale", None) is not None:  # GradScaler leaves the division to the step',
            "        g = g / torch.as_tensor(self.grad_scale, device=g.device).reshape(())",
            '    if group["maximize"]:',
            "        g = -g",
        ]

    def _state(self) -> list[str]:
        out = ["    state = self.state[p]", "    if not state:"]
        out.append('        place = w.device if group["capturable"] else "cpu"')
        out.append('        state["step"] = torch.zeros((), dtype=torch.float32, device=place)')
        vector, matrix = buffers_read(self.rule, False), buffers_read(self.rule, True)
        start = {b.name: f'state["{b.name}"] = {_start(b)}' for b in self.tensors}
        out += [f"        {line}" for name, line in start.items() if name in vector & matrix]
        only = [
            [f"            {line}" for n, line in start.items() if n in kind]
            for kind in (matrix - vector, vector - matrix)
        ]
        for condition, lines in zip(("w.dim() >= 2", "w.dim() < 2"), only, strict=True):
            out += [f"        if {condition}:", *lines] if lines else []
        for buffer in self.shared:
            out += [
                f'    if "{buffer.name}" not in group:  # one value for all parameters, those of later groups too',
                f'        others = [other["{buffer.name}"] for other in self.param_groups if "{buffer.name}" in other]',
                f'        group["{buffer.name}"] = others[0] if others else w.new_zeros(())',
            ]
        return [
            *out,
            '    rounding = group["rounding"] if p.dtype == torch.bfloat16 else "nearest"',
            '    if rounding == "kahan" and "_rest" not in state:',
            '        state["_rest"] = _like(torch.zeros_like(target), p)',
            '    if rounding == "stochastic" and "_seed" not in state:',
            '        state["_seed"] = torch.full_like(state["step"], len(self.state))',
            '    state["step"] += 1',
            "    if p.numel() == 0:",
            "        return",
            '    if rounding == "kahan":  # what rounding has left so far',
            '        w = w + _part(state["_rest"], p)',
        ]

    def _call(self) -> list[str]:
        values: list[str] = ["w", "g"]
        conditional = buffers_read(self.rule, False) != buffers_read(self.rule, True)
        for positional in self.rule.positional:
            if positional == "t":
                values.append('_scalar(state["step"], w, group["capturable"])')
            elif positional in {b.name for b in self.shared}:
                values.append(f'group["{positional}"].to(w.device, copy=True)')
            elif conditional:
                values.append(f'_part(state["{positional}"], p) if "{positional}" in state else None')
            else:
                values.append(f'_part(state["{positional}"], p)')
        if self.rule.branches:
            values.append("matrix=w.dim() >= 2")
        for hyper, held in group_values(self.source):
            if hyper in self.rule.hypers:
                text = f'_scalar({held}, w, group["capturable"])' if hyper.name == "lr" else held
                values.append(f"{hyper.name}={text}")
        names = ", ".join(["w", *map(self._local, self.rule.buffers)])
        left = names if self.rule.buffers else "(w,)"
        pauses = Reduce.GLOBAL in self.axes
        choice = f'    update = {self.function}_on_device if group["capturable"] else {self.function}'
        out = [
            *([] if self.alike else [choice]),
            f"    {left} = {'yield from ' if pauses else ''}{self.function if self.alike else 'update'}(",
            *(f"        {v}," for v in values),
            "    )",
        ]
        if self.shared and not pauses:
            out.append('    yield "sum", w.new_zeros(1)  # all read the shared buffers before the first writes them')
        return out

    def _local(self, buffer: Buffer) -> str:
        """What the new value of a buffer is called where a parameter is updated."""
        taken = {"p", "target", "grad", "dtype", "update", "rounding", "getattr", self.function}
        taken |= {b.name for b in self.rule.buffers if b != buffer}
        name = buffer.name
        while name in taken:
            name += "_"
        return name

    def _store(self) -> list[str]:
        out = [
            '    if rounding == "stochastic":',
            '        w = _dithered(w, state["step"], state["_seed"])',
            "    target.copy_(w)",
            '    if rounding == "kahan":',
            '        _part(state["_rest"], p).copy_(w - target)',
        ]
        conditional = buffers_read(self.rule, False) != buffers_read(self.rule, True)
        for buffer in self.tensors:
            line = f'_part(state["{buffer.name}"], p).copy_({self._local(buffer)})'
            out += [f'    if "{buffer.name}" in state:', f"        {line}"] if conditional else [f"    {line}"]
        out += [f'    group["{b.name}"].copy_({self._local(b)})' for b in self.shared]
        return out


def _start(buffer: Buffer) -> str:
    if buffer.init:
        return f"_like({buffer.init}.clone(), p)"
    match buffer.kind:
        case Kind.ROW:
            return "w.new_zeros((*w.shape[:-1], 1))"
        case Kind.COL:
            return "w.new_zeros((*w.shape[:-2], 1, w.shape[-1]))"
        case Kind.SCALAR:
            return "w.new_zeros(())"
        case _:
            return "_like(torch.zeros_like(w), p)"


_MEANINGS = {
    "lr": "Learning rate.",
    "betas": "Decay rates, in the rule's order.",
    "weight_decay": "Weight decay.",
    "momentum": "Momentum.",
}


def _describe(argument: Argument) -> str:
    if argument.name.startswith("eps"):
        return "Small constant against division by zero."
    return _MEANINGS.get(argument.name, f"The rule's {argument.name}.")


def _validation(argument: Argument) -> list[str]:
    out: list[str] = []
    if argument.name == "lr":
        out += [
            "if isinstance(lr, Tensor) and lr.numel() != 1:",
            '    raise ValueError("Tensor lr must be 1-element")',
        ]
    if argument.is_tuple:
        n = len(argument.members)
        out += [f"if len(betas) != {n}:", f'    raise ValueError(f"Expected {n} betas, got {{len(betas)}}")']
    for condition, what, value in requirements(argument):
        out += [f"if not {condition}:", f'    raise ValueError(f"Invalid {what}: {{{value}}}")']
    return out


def _quoted(name: str) -> str:
    return f'"{name}"'


def _docstring(text: str) -> str:
    """A text as it stands between triple quotes, so that it reads as the same text again."""
    plain = text.encode(errors="backslashreplace").decode().replace("\\", "\\\\")  # no class takes a surrogate
    printable = "".join(c if c == "\n" or c.isprintable() else ascii(c)[1:-1] for c in plain)
    return re.sub('"{3,}', lambda quotes: '\\"' * len(quotes[0]), printable)


def _indent(lines: list[str]) -> str:
    return "\n".join(f"    {line}" if line else "" for line in lines)


_AMP = "    _step_supports_amp_scaling = True  # the step reads what torch.amp.GradScaler sets: grad_scale, found_inf"

_WHOLE = (
    "It computes with whole parameters and refuses sharded ones (DTensor, FSDP2). Flattened shards, as ZeRO and FSDP1",
    "make them, look like vectors and cannot be refused: do not give it any.",
)

ON_DEVICE = frozenset({"t", "lr"})
"""What ``capturable`` keeps on the device."""

_CAPTURABLE = (
    "    capturable: Keep step counts and learning rate on the device, so that CUDA graphs can capture the step and",
    "        torch.compile need not compile it again when they change.",
    "    rounding: How new values of bfloat16 parameters are rounded: ``nearest``; ``stochastic``, up or down so that",
    "        the mean is kept; or ``kahan``, which keeps the rest in a buffer and adds it in the next step.",
)

_SCALAR = '''
def _scalar(value: Any, w: Tensor, on_device: bool) -> Any:
    """A step count or learning rate as a Python number, or in float64 where ``w`` is."""
    if not on_device:
        return float(value)
    dtype = torch.float32 if w.device.type == "mps" else torch.float64
    if not isinstance(value, Tensor):
        return torch.full((), value, dtype=dtype, device=w.device)
    return value.detach().to(device=w.device, dtype=dtype).reshape(())
'''

_ROUNDING = '''
def _dithered(w: Tensor, step: Tensor, seed: Tensor) -> Tensor:
    """Float32 values with random bits added below those of bfloat16, a function of place, step and seed alone.

    What is cut off after that rounds up or down with probabilities that keep the mean.
    """
    key = step.to(w.device, torch.int64) * 0x9E3779B1 + seed.to(w.device, torch.int64) * 0x85EBCA77
    x = torch.arange(w.numel(), device=w.device) ^ key
    x = (x ^ (x >> 32)) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):  # a hash of 32 bits
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    noise = ((x ^ (x >> 16)) & 0xFFFF).to(torch.int32).view(w.shape)
    dithered = ((w.contiguous().view(torch.int32) + noise) & -0x10000).view(torch.float32)
    return torch.where(torch.isfinite(w), dithered, w)
'''

_DISTRIBUTED = '''
def _is_distributed(x: Tensor) -> bool:
    """Whether a tensor is a DTensor; there is none before their module is imported."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(x, module.DTensor)


def _part(x: Any, p: Any) -> Tensor:
    """What this process holds of a DTensor that is shared out as ``p`` is; any other tensor as it is."""
    if not _is_distributed(x):
        return x
    if x.placements != p.placements:  # such as a gradient still to be summed
        x = x.redistribute(p.device_mesh, p.placements)
    return x.to_local()


def _like(part: Tensor, p: Any) -> Tensor:
    """A buffer as a DTensor, so that checkpoints know it for a part, if that is what ``p`` is."""
    if not _is_distributed(p):
        return part
    shape = torch.Size((*p.shape, *part.shape[p.dim() :]))  # complex numbers have one dimension more
    stride = torch.empty(shape, device="meta").stride()
    return type(p.data).from_local(part, p.device_mesh, p.placements, shape=shape, stride=stride)


def _placed(x: Any, p: Any) -> Tensor:
    """A loaded buffer, shared out or gathered if the run that saved it was not distributed as ``p`` is."""
    if _is_distributed(x) and not _is_distributed(p):
        return x.full_tensor()
    if not _is_distributed(p) or _is_distributed(x) or x.shape[: p.dim()] != p.shape:
        return x
    distribute = sys.modules["torch.distributed.tensor"].distribute_tensor
    return distribute(x, p.device_mesh, p.placements, src_data_rank=None)
'''

_IS_WHOLE = '''
def _is_whole(p: Any) -> bool:
    """Whether every process holds all of a parameter."""
    if not _is_distributed(p):
        return True
    return all(x.is_replicate() or n == 1 for x, n in zip(p.placements, p.device_mesh.shape, strict=True))
'''

_FLOAT64 = '''
def _float64(function: Callable[..., Tensor], *values: float) -> float:
    """A function of float64 scalars with IEEE results (infinity, NaN) where Python would raise."""
    return float(function(*(torch.tensor(v, dtype=torch.float64) for v in values)))
'''

_TOGETHER = '''
def _run_together(updates: list[Generator[tuple[str, Tensor], Tensor, None]]) -> None:
    """Advance the updates of all parameters side by side, exchanging the values they share."""
    value: Tensor | None = None
    while updates:
        paused = []
        for update in updates:
            try:
                paused.append(update.send(value))  # type: ignore[arg-type]
            except StopIteration:
                continue
        if not paused:
            return
        value = _over_all(paused[0][0], [tensor for _, tensor in paused])


def _over_all(reduction: str, tensors: list[Tensor]) -> Tensor:
    """A reduction over the entries of all tensors together."""
    device = tensors[0].device
    if reduction in ("sum", "mean"):
        total = torch.stack([t.sum().to(device) for t in tensors]).sum()
        return total / sum(t.numel() for t in tensors) if reduction == "mean" else total
    parts = torch.stack([(t.amax() if reduction == "amax" else t.amin()).to(device) for t in tensors])
    return parts.amax() if reduction == "amax" else parts.amin()
'''
