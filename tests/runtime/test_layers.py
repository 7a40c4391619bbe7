"""Layers of the proxy tasks against torch's own, and what their models may and may not see."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from evoptim.runtime import get_task
from evoptim.runtime.tasks.layers import GRU, Attention, Convolution, Halving


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_convolution_is_torch_s(kernel: int) -> None:
    layer = Convolution(3, 4, kernel).double()
    with torch.no_grad():
        layer.initialize(torch.Generator().manual_seed(1))
    x = normal(2, 3, 6, 5)
    weight = layer.weight.view(4, 3, kernel, kernel)
    torch.testing.assert_close(layer(x), functional.conv2d(x, weight, layer.bias, padding="same"))


def test_halving_is_torch_s_average_pooling() -> None:
    x = normal(2, 3, 6, 4)
    torch.testing.assert_close(Halving()(x), functional.avg_pool2d(x, 2))


def test_gru_is_torch_s() -> None:
    layer, reference = GRU(3, 5).double(), nn.GRU(3, 5, batch_first=True).double()
    with torch.no_grad():
        for own, theirs in ((layer.inputs, "ih"), (layer.state, "hh")):
            getattr(reference, f"weight_{theirs}_l0").copy_(own.weight)
            getattr(reference, f"bias_{theirs}_l0").copy_(own.bias)
    x = normal(4, 7, 3)
    torch.testing.assert_close(layer(x), reference(x)[0])


@pytest.mark.parametrize("causal", [True, False])
def test_attention_is_torch_s(causal: bool) -> None:
    layer = Attention(8, 2, causal).double()
    x = normal(3, 5, 8)
    q, k, v = (part.view(3, 5, 2, 4).transpose(1, 2) for part in layer.inputs(x).chunk(3, dim=-1))
    heads = functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(layer(x), layer.output(heads.transpose(1, 2).reshape(3, 5, 8)))


@pytest.mark.parametrize("name", ["bytes_lm", "bytes_lm_medium", "bytes_gru"])
def test_language_models_see_nothing_of_the_future(name: str) -> None:
    task = get_task(name)
    module, (tokens, targets) = task.module(0), task.batch(task.order(0, 1, 2)[0])
    assert torch.equal(tokens[:, 1:], targets[:, :-1])
    changed = tokens.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 256
    difference = (module(tokens) - module(changed)).abs().amax(dim=(0, 2))
    assert difference[:20].max() < 1e-5
    assert difference[20] > 1e-4


def test_rows_of_the_table_follow_from_the_bytes_before_and_not_from_the_target() -> None:
    task = get_task("ngram_embedding")
    rows, target = task.batch(torch.arange(20_000))
    text = task.data
    assert bytes(target[:, 0].tolist()) == text[5:20_005]
    for length in range(1, 6):
        row_of: dict[bytes, int] = {}
        for place, row in enumerate(rows[:, 0, length - 1].tolist()):
            sequence = text[place + 5 - length : place + 5]
            assert row_of.setdefault(sequence, row) == row
            assert (length - 1) * 4096 <= row < length * 4096
        expected = 4096 * (1 - math.exp(-len(row_of) / 4096))  # by a random assignment
        assert len(set(row_of.values())) > 0.9 * expected


def test_most_rows_of_the_table_have_no_gradient() -> None:
    task = get_task("ngram_embedding")
    module = task.module(0)
    task.objective(module, task.batch(task.order(0, 1, task.batch_size)[0])).backward()
    gradient = module.get_parameter("table.weight").grad
    assert gradient is not None
    assert 0 < (gradient != 0).any(dim=1).sum() < 0.05 * len(gradient)


def test_a_graph_s_prediction_does_not_depend_on_the_order_of_its_nodes() -> None:
    task = get_task("graph_atlas", dtype=torch.float64)
    module, (graphs, _) = task.module(0), task.validation()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(module(graphs[:, order][:, :, order]), module(graphs))
    assert module(graphs).unique().numel() > 100
