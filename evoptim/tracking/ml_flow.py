"""MLflow: a run in a database in the run directory, or wherever it is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .tracker import package


class MlFlow:
    """One run per session, in the experiment ``evoptim``.

    Args:
        directory: The run directory, whose name the run bears.
        parameters: Keys and values of the configuration.
        uri: Where MLflow keeps its runs; empty for ``mlflow.db`` in the run directory.

    Raises:
        UserError: mlflow is not installed.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, str], uri: str) -> None:
        mlflow: Any = package("mlflow", "mlflow")
        self._metric = mlflow.entities.Metric
        place = directory.resolve()
        self._client = mlflow.MlflowClient(tracking_uri=uri or f"sqlite:///{place / 'mlflow.db'}")
        experiment = self._client.get_experiment_by_name("evoptim")
        number = self._client.create_experiment("evoptim") if experiment is None else experiment.experiment_id
        self._run: str = self._client.create_run(number, run_name=place.name).info.run_id
        for name, value in parameters.items():
            self._client.log_param(self._run, name, value)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """All numbers at one step."""
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def finish(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._run)
