"""Layers written out in matrix products, so that they stack over replicas under ``torch.func.vmap``."""

from .attention import Attention, Block
from .convolution import Convolution, Halving
from .gru import GRU
from .transformer import Transformer
from .vision_transformer import VisionTransformer

__all__ = ["GRU", "Attention", "Block", "Convolution", "Halving", "Transformer", "VisionTransformer"]
