"""Breast tumours by logistic regression, a convex problem."""

from __future__ import annotations

from torch import nn

from ..datasets import BREAST_CANCER
from .kinds import Classification


class BreastCancer(Classification):
    """A linear layer from 30 features to 2 classes: 455 tumours to train on, 114 to validate."""

    name = "breast_cancer"
    level = 0
    summary = "logistic regression on 30 features of breast tumours"
    dataset = BREAST_CANCER
    batch_size = 32
    steps = 200
    train_size = 455

    def build(self) -> nn.Module:
        return nn.Linear(30, 2)
