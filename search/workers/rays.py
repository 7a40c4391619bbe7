"""Workers that are Ray actors, here or on a cluster: plain ones, no Tune, and nothing but lines in and out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from evoptim.dsl import UserError

from ..evaluator import Evaluator
from .messages import READY
from .server import Answering
from .workforce import Gone, Said


class _Actor(Answering):
    """What runs in the actor's process."""

    def ready(self) -> str:
        """Called once, when the actor has been started."""
        return READY


class RayActors:
    """A crew of Ray actors. One that dies is not restarted by Ray, nor is a call made twice: the workforce does both.

    Args:
        make: Makes the evaluator of a job from the job's text; a function of a module, known to Ray by its name.
        address: Of a cluster; ``"auto"`` for the one that this machine belongs to, ``"local"`` for one made here.
        size: How many actors; None for as many as the cluster has room for.
        cpus: Cores of each.
        gpus: Part of a GPU of each.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(
        self,
        make: Callable[[str], Evaluator],
        address: str,
        size: int | None = None,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
    ) -> None:
        self.make, self.cpus, self.gpus = make, cpus, gpus
        try:
            self._ray: Any = import_module("ray")
        except ImportError as error:
            raise UserError("Ray is not installed", "pip install 'evoptim[ray]', or search with --workers") from error
        try:
            self._ray.init(address=address, log_to_driver=False, include_dashboard=False, logging_level="error")
        except (ConnectionError, ValueError) as error:
            raise UserError(f"there is no Ray cluster at {address!r}: {error}", "start one with `ray start`") from error
        self.size = size or self._room()
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, int] = {}

    def _room(self) -> int:
        """How many actors the cluster has cores, and GPUs where they need them, for."""
        there = self._ray.cluster_resources()
        needs = [("CPU", self.cpus), *([("GPU", self.gpus)] if self.gpus else [])]
        return max(1, min(int(there.get(kind, 0.0) / each) for kind, each in needs))

    def start(self, worker: int) -> None:
        """Start an actor, in place of one that was there."""
        self.stop(worker)
        remote = self._ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_restarts=0, max_task_retries=0)(_Actor)
        actor = self._actors[worker] = remote.remote(self.make)
        self._calls[actor.ready.remote()] = worker

    def stop(self, worker: int) -> None:
        """End an actor, if it is there; what it was asked is forgotten."""
        actor = self._actors.pop(worker, None)
        if actor is not None:
            self._calls = {call: w for call, w in self._calls.items() if w != worker}
            self._ray.kill(actor, no_restart=True)

    def send(self, worker: int, line: str) -> None:
        """Call an actor with a line."""
        self._calls[self._actors[worker].answer.remote(line)] = worker

    def wait(self, seconds: float) -> list[Said | Gone]:
        """The calls that have come to an end, well or not."""
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=min(seconds, 3600.0))
        return [self._outcome(call) for call in done]

    def close(self) -> None:
        """End all actors and the connection."""
        for worker in list(self._actors):
            self.stop(worker)
        self._ray.shutdown()

    def _outcome(self, call: Any) -> Said | Gone:
        worker = self._calls.pop(call)
        try:
            return Said(worker, self._ray.get(call))
        except self._ray.exceptions.RayError as error:
            self.stop(worker)
            reason = " ".join(str(error).split()[-30:])
            return Gone(worker, f"failed: {type(error).__name__}: {reason:.200}")
