"""Loggers that are told how a search goes, behind one small interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from evoptim.dsl import UserError
from evoptim.search import SearchConfig

from .ml_flow import MlFlow
from .tensor_board import TensorBoard
from .tracker import Tracker, Trackers, package
from .weights_biases import WeightsBiases

_MAKERS: dict[str, Callable[[Path, SearchConfig], Tracker]] = {
    "tensorboard": lambda directory, config: TensorBoard(directory),
    "wandb": lambda directory, config: WeightsBiases(directory, config.model_dump(), config.tracking.wandb_online),
    "mlflow": lambda directory, config: MlFlow(directory, _flat(config.model_dump()), config.tracking.mlflow_uri),
}

NAMES = tuple(_MAKERS)
"""What ``--log`` takes; each is a key of ``[tracking]`` too, and the name of a package."""

LONGEST = 500
"""Characters that MLflow takes as the value of a parameter."""


def make_trackers(config: SearchConfig, names: Sequence[str], directory: Path) -> Trackers:
    """The loggers that the configuration or ``names`` ask for; nothing is written before they are told something.

    Raises:
        UserError: There is no logger of a name, or its package is not installed.
    """
    if unknown := [name for name in names if name not in _MAKERS]:
        raise UserError(f"there is no logger {unknown[0]!r}", f"the loggers are {', '.join(NAMES)}")
    wanted = [name for name in NAMES if name in names or getattr(config.tracking, name)]
    for name in wanted:
        package(name, name)
    return Trackers({name: partial(_MAKERS[name], directory, config) for name in wanted})


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, with dotted keys."""
    out: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            out |= _flat(cast("dict[str, Any]", value), f"{prefix}{key}.")
        else:
            out[prefix + key] = str(value)[:LONGEST]
    return out


__all__ = ["NAMES", "Tracker", "Trackers", "make_trackers"]
