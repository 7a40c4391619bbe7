"""A rule made to run: the text of a ``torch.optim.Optimizer``, compiled or exported."""

from .build import compile_rule, export, source

__all__ = ["compile_rule", "export", "source"]
