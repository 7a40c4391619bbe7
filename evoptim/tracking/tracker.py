"""What the search tells loggers, and how a logger that fails is left behind."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Protocol

from evoptim.dsl import UserError


class Tracker(Protocol):
    """A logger of numbers over steps."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take in finite numbers by name.

        Args:
            step: Programs evaluated so far; it never goes back within a session.
            numbers: What they are.
        """
        ...

    def finish(self) -> None:
        """Write what is still held back, and close."""
        ...


class Trackers:
    """Several loggers as one, each opened when there is something to tell: the run directory exists by then.

    A logger that raises is named once and left out from then on; the search goes on.

    Args:
        makers: What opens each, by name.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tracker]]) -> None:
        self._makers = dict(makers)
        self._open: dict[str, Tracker] = {}

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Tell everybody; what is not finite is left out."""
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        for name in list(self._makers):
            self._guarded(name, lambda name=name: self._opened(name).log(step, finite))

    def finish(self) -> None:
        """Close everybody."""
        for name, tracker in list(self._open.items()):
            self._guarded(name, tracker.finish)

    def _opened(self, name: str) -> Tracker:
        if name not in self._open:
            self._open[name] = self._makers[name]()
        return self._open[name]

    def _guarded(self, name: str, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # whatever a logger does, hours of search must not end for it
            del self._makers[name]
            self._open.pop(name, None)
            print(f"warning: {name} failed and is told no more: {type(error).__name__}: {error}", file=sys.stderr)


def package(name: str, install: str, needs: Sequence[str] = ()) -> ModuleType:
    """Import an optional package.

    Args:
        name: The module.
        install: What pip installs it as.
        needs: Other modules that it cannot do without here.

    Raises:
        UserError: It is not installed.
    """
    try:
        for other in needs:
            import_module(other)
        return import_module(name)
    except ImportError as error:
        raise UserError(f"{install} is not installed here: {error}", f"pip install {install}") from error
