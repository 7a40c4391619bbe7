"""One self-contained page about a run: `evoptim report`."""

from .facts import Facts, collect
from .page import write_report

__all__ = ["Facts", "collect", "write_report"]
