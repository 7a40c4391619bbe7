"""The proxy tasks, one file each; a new one is a file and a row in `TASKS`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import torch

from evoptim.dsl import UserError

from ..task import Task
from ..variants import VARIANTS
from .breast_cancer import BreastCancer
from .bytes_gru import BytesGRU
from .bytes_lm import BytesLM
from .bytes_lm_large import BytesLMLarge
from .bytes_lm_medium import BytesLMMedium
from .deep_linear import DeepLinear
from .diamonds import Diamonds
from .digits_autoencoder import DigitsAutoencoder
from .digits_conv import DigitsConv
from .digits_mlp import DigitsMLP
from .digits_vit import DigitsViT
from .graph_atlas import GraphAtlas
from .matrix_factorization import MatrixFactorization
from .mnist1d_gru import Mnist1dGRU
from .mnist1d_mlp import Mnist1dMLP
from .mnist_autoencoder import MnistAutoencoder
from .mnist_conv import MnistConv
from .mnist_mlp import MnistMLP
from .mnist_vit import MnistViT
from .ngram_embedding import NgramEmbedding
from .noisy_quadratic import NoisyQuadratic
from .rosenbrock import NoisyRosenbrock

SEALED_LEVEL = 3

TASKS: dict[str, type[Task]] = {
    t.name: t
    for t in (
        *(DigitsMLP, BytesLM, NoisyQuadratic),
        *(DigitsConv, DigitsAutoencoder, BreastCancer, Mnist1dMLP, GraphAtlas),
        *(MatrixFactorization, DeepLinear, NoisyRosenbrock),
        *(DigitsViT, MnistMLP, Mnist1dGRU, Diamonds, NgramEmbedding),
        *(MnistConv, MnistAutoencoder, BytesLMMedium, BytesGRU),
        *(MnistViT, BytesLMLarge),
    )
}
"""Every task by name, level by level."""


def get_task(
    name: str, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32, *, unseal: bool = False
) -> Task:
    """A task by name.

    Args:
        name: A name in `TASKS`, and after it any of `VARIANTS`, such as ``digits_mlp+small_batch``.
        device: Where data and parameters live.
        dtype: Floating-point type of data and parameters.
        unseal: Give a task of level 3 too. Such a task measures what a search has found; one that a search, or a
            choice between its results, has seen measures nothing any more.

    Raises:
        UserError: There is no task or variant of that name, its data are missing or wrong, it is sealed, or there is
            no such device.
    """
    kind = task_type(name)
    if kind.level == SEALED_LEVEL and not unseal:
        raise UserError(
            f"{kind.name} is a sealed target: it measures results, and nothing may be searched or tuned on it",
            f"for a final measurement pass get_task({name!r}, unseal=True) in place of the name",
        )
    task = kind(_available(device), dtype)
    for variant in name.split("+")[1:]:
        task = VARIANTS[_known(variant, VARIANTS, "variant of a task")](task)
    return task


def task_type(name: str) -> type[Task]:
    """The class of a task, whose attributes describe it without its data; a variant's is that of the task it varies.

    Raises:
        UserError: There is no task of that name.
    """
    return TASKS[_known(name.split("+")[0], TASKS, "task")]


def _available(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"torch knows no device {name!r}", "name one such as cpu, cuda or cuda:1") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"the device {str(device)!r} is not available", "torch finds no GPU here: take device cpu")
    return device


def _known(name: str, table: Mapping[str, object], kind: str) -> str:
    if name in table:
        return name
    close = difflib.get_close_matches(name, table, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    known = ", ".join(table)
    raise UserError(f"there is no {kind} named {name!r}", f"{hint}the {kind.split()[0]}s are {known}")
