"""A rule made to run: its plan, and the text of a ``torch.optim.Optimizer``, compiled, exported or packaged."""

from .build import TARGETS, compile_rule, export, kernel_source, source
from .packaging import export_package
from .plan import Plan, Stage, plan
from .traffic import Traffic, traffic

__all__ = [
    "TARGETS",
    "Plan",
    "Stage",
    "Traffic",
    "compile_rule",
    "export",
    "export_package",
    "kernel_source",
    "plan",
    "source",
    "traffic",
]
