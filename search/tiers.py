"""The sections for what follows rung 0: the funnel, meta-validation and the sealed tasks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .sections import Names, Positive, Rates, Section, Seeds

Widen = Annotated[int, Field(ge=0, le=20)]
Confidence = Annotated[float, Field(ge=0.5, lt=1)]


class Stage(Section):
    """A stage of the funnel: to go on, a candidate must beat a baseline that is tuned like itself."""

    tasks: Names = Field(default=(), description="names of tasks; by default those of [evaluation]")
    steps: Positive = Field(description="updates per training: ten times those of the stage before, say")
    batch_size: Positive | None = Field(default=None, description="examples per update; by default each task's own")
    learning_rates: Rates | None = Field(default=None, description="the first grid; by default that of [evaluation]")
    widen: Widen = Field(default=3, description="how often that grid is continued where the best lies on its edge")
    tuning_seeds: Seeds = Field(description="seeds on which settings are chosen; no other section may have them")
    seeds: Seeds = Field(description="fresh seeds on which candidate and baseline are compared")
    candidates: Positive = Field(default=8, description="how many enter at most, the best ones first")
    baseline: str = Field(default="adamw", description="name of a rule, or the path of a rule file")
    confidence: Confidence = Field(
        default=0.95, description="of the paired one-sided test (Wilcoxon); 0.95 needs 5 seeds, on each task counted"
    )


class Monitor(Section):
    """Whether what the search finds is better elsewhere too: the best so far, trained on tasks that it never sees."""

    every: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        default=0, description="evaluations from one look to the next; 0: off"
    )
    tasks: Names = Field(default=("digits_vit", "ngram_embedding"), description="tasks of meta-validation")
    steps: Positive | None = Field(default=None, description="updates per training; by default each task's own")
    batch_size: Positive | None = Field(default=None, description="examples per update; by default each task's own")
    seeds: Seeds = Field(default=(300, 301), description="seeds that nothing else uses")
    widen: Widen = Field(default=1, description="how often the grid of [evaluation] is continued at an edge")
    patience: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=5, description="looks without a new best there, while the search went on improving, before a warning"
    )


class Sealed(Section):
    """The last examination, once per run, by `evoptim sealed RUN --open`: winner and baselines on sealed tasks."""

    tasks: Names = Field(default=("mnist_vit", "bytes_lm_large"), description="names of tasks")
    steps: Positive | None = Field(default=None, description="updates per training; by default each task's own")
    batch_size: Positive | None = Field(default=None, description="examples per update; by default each task's own")
    learning_rates: Rates | None = Field(default=None, description="the first grid; by default that of [evaluation]")
    widen: Widen = Field(default=3, description="how often that grid is continued where the best lies on its edge")
    tuning_seeds: Seeds = Field(default=(90_000, 90_001), description="seeds on which settings are chosen")
    seeds: Seeds = Field(
        default=(91_000, 91_001, 91_002, 91_003, 91_004), description="fresh seeds that the results are of"
    )
    baselines: Names = Field(default=("adamw",), description="rules tuned and trained beside the winner")
