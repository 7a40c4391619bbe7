"""Steps that a GPU repeats by itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch

WARM = 2
"""Steps taken as they are before one is captured: libraries prepare themselves on first use."""


class Replay:
    """Calls one function without arguments again and again, over tensors that stay where they are.

    On CUDA its kernels are captured as a graph after `WARM` calls and replayed from then on; elsewhere, and where
    they cannot be captured, of which there is one warning, the function is called as it is. Whatever changes from call
    to call is in memory of the device.

    Args:
        device: Where the tensors are.
        warm: Whether libraries have prepared themselves already.
    """

    def __init__(self, device: torch.device, warm: bool = False) -> None:
        self.captures = device.type == "cuda"
        self.left = 0 if warm else WARM
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, function: Callable[[], None]) -> None:
        """Call the function, always the same, one way or another."""
        if self.captures and self.graph is None and self.left == 0:
            self.graph = self._captured(function)
        if self.graph is not None:
            self.graph.replay()
        else:
            function()
            self.left = max(0, self.left - 1)

    def _captured(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph | None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                function()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(f"steps are launched one by one, since they cannot be captured: {error}", stacklevel=2)
            self.captures = False
            return None
        return graph
