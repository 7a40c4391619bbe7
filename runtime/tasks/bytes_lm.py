"""A small transformer that predicts the next byte of English text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..task import Batch, Task, linear_, uniform_


@cache
def _corpus() -> bytes:
    """CPython's own documentation of its topics, about 465 kB; it changes with Python's version."""
    from pydoc_data.topics import topics

    return "\n".join(topics[key] for key in sorted(topics)).encode()


class Attention(nn.Module):
    """Causal self-attention written out, so that it stacks over replicas."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        split = self.inputs(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        weights = torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
        return self.output((weights @ v).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Pre-norm transformer block with a GELU perceptron four times as wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Byte-level language model; the input embedding is also the output layer."""

    def __init__(self, width: int = 32, heads: int = 2, layers: int = 1, context: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.zeros(context, width))
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens) + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.embedding.weight.T


class BytesLM(Task):
    """One-layer transformer of width 32 on windows of 32 bytes of CPython's documentation."""

    name = "bytes_lm"
    level = 0
    summary = "one-layer transformer on the bytes of CPython's documentation"
    source = "pydoc_data.topics of the running Python (PSF licence)"
    batch_size = 16
    context = 32

    def __init__(self, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> None:
        super().__init__(device, dtype)
        text = torch.frombuffer(bytearray(_corpus()), dtype=torch.uint8).to(self.device, torch.long)
        self._split = len(text) * 9 // 10
        self._text = text

    def build(self) -> nn.Module:
        return Transformer(context=self.context)

    def initialize(self, module: nn.Module, generator: torch.Generator) -> None:
        for child in module.modules():
            if isinstance(child, nn.Linear):
                linear_(child, generator)
            elif isinstance(child, nn.Embedding):
                child.weight.copy_(torch.randn(child.weight.shape, generator=generator) * 0.1)
            elif isinstance(child, Transformer):
                uniform_(child.position, 0.05, generator)

    def objective(self, model: Callable[..., Tensor], batch: Batch) -> Tensor:
        inputs, targets = batch
        return functional.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    def draw(self, generator: torch.Generator, steps: int, batch_size: int) -> Tensor:
        """Where the windows begin."""
        return torch.randint(self._split - self.context - 1, (steps, batch_size), generator=generator)

    def batch(self, draw: Tensor) -> Batch:
        window = self._text[draw[..., None] + torch.arange(self.context + 1, device=self.device)]
        return window[..., :-1], window[..., 1:]

    def validation(self) -> Batch:
        """64 windows spread evenly over the last tenth of the text."""
        last = len(self._text) - self.context - 2
        return self.batch(torch.linspace(self._split, last, 64, device=self.device).long())

    @property
    def data(self) -> bytes:
        return _corpus()
