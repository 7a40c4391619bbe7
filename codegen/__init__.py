"""A rule made to run: the text of a ``torch.optim.Optimizer``, compiled or exported."""

from .build import compile_rule, export, source
from .traffic import Traffic, traffic

__all__ = ["Traffic", "compile_rule", "export", "source", "traffic"]
