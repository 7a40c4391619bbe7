"""The sections of a search's configuration: frozen, each key validated and described."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[int, Field(gt=0, lt=2**63)]  # what TOML and SQLite call an integer
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Frozen; refuses keys it does not know, and ``true`` or ``"3"`` where a number is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def _not_twice(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) != len(value):
        raise ValueError("values must differ")
    return value


def _not_empty_not_twice(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("needs at least one value")
    return _not_twice(value)


Rates = Annotated[tuple[Rate, ...], Field(strict=False), AfterValidator(_not_empty_not_twice)]
Weights = Annotated[tuple[Weight, ...], Field(strict=False), AfterValidator(_not_twice)]
Names = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_not_twice)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False), AfterValidator(_not_empty_not_twice)]


class Start(Section):
    """Where the search begins."""

    rule: str = Field(default="adamw", description="name of a rule, or the path of a rule file")
    frame: Literal["update", "free"] = Field(
        default="update",
        description='"update": only what computes the update u is mutated; "free": everything is',
    )
    buffers: Annotated[int, Field(ge=0, le=16)] = Field(
        default=2, description="state buffers the programs may use, at least"
    )


class Population(Section):
    """Who the parents are. Aging evolution (Real et al. 2019), as in Lion's search, keeps the youngest."""

    kind: Literal["aging", "mu_plus_lambda", "nsga2"] = Field(
        default="aging",
        description='"aging": the youngest stay; "mu_plus_lambda": the best stay; '
        '"nsga2": the best in loss, state bytes and statements stay',
    )
    size: Annotated[int, Field(gt=0, le=1_000_000)] = Field(default=100, description="individuals alive")
    tournament: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=2, description="individuals compared to choose a parent"
    )
    islands: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=1, description="populations of that size that evolve apart but for migration"
    )
    migrate_every: Positive = Field(
        default=1000, description="programs after which every island sends its best to the next one"
    )


class Restarts(Section):
    """Beginning anew where the search has come to a standstill."""

    plateau: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        default=0, description="programs without improvement before a restart; 0: never"
    )
    source: Literal["start", "best"] = Field(
        default="start", description='what the population is filled with again: the "start" rule, or the "best" so far'
    )


class Mutation(Section):
    """How children differ from their parents: weights of the mutations, the first three being Lion's, and limits."""

    insert: Weight = Field(default=1.0, description="weight of inserting a statement")
    delete: Weight = Field(default=1.0, description="weight of deleting a statement")
    modify: Weight = Field(default=1.0, description="weight of changing one argument of a statement")
    swap: Weight = Field(default=0.0, description="weight of putting another operation of its kind in a statement")
    splice: Weight = Field(default=0.0, description="weight of taking over statements from another program")
    transform: Weight = Field(
        default=0.0, description="weight of applying a transform: clipping, Nesterov, caution, layer adaptation, ..."
    )
    promote: Weight = Field(default=0.0, description="weight of making a constant a hyperparameter")
    constant: Weight = Field(default=0.0, description="weight of changing a constant or a default and nothing else")
    demote: Weight = Field(default=0.0, description="weight of making a hyperparameter a constant again")
    max_statements: Positive = Field(default=40, description="longest program, redundant statements included")
    max_buffers: Annotated[int, Field(ge=0, le=64)] = Field(
        default=6, description="most state buffers that a transform may lead to"
    )

    @field_validator("demote")
    @classmethod
    def _some_weight(cls, value: float, info: ValidationInfo) -> float:
        others = ("insert", "delete", "modify", "swap", "splice", "transform", "promote", "constant")
        if value + sum(info.data.get(k, 1.0) for k in others) <= 0:  # 1: refused on its own account
            raise ValueError(f"at least one of the weights {', '.join(others)} and demote must be above 0")
        return value


class Evaluation(Section):
    """How a candidate is judged: trained with every learning rate on every seed."""

    task: str = Field(default="digits_mlp", description="name of a task")
    tasks: Names = Field(
        default=(),
        description="further tasks, cheap ones first; then a loss is the geometric mean over all tasks, relative to "
        "the start rule's",
    )
    steps: Positive = Field(default=100, description="updates per training")
    batch_size: Positive = Field(default=64, description="examples per update")
    learning_rates: Rates = Field(default=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1), description="the grid tried by each")
    weight_decay: Weight = Field(default=0.0, description="decoupled weight decay during the search")
    weight_decays: Weights = Field(
        default=(), description="further weight decays; each is tried with every learning rate"
    )
    seeds: Seeds = Field(default=(0, 1), description="seeds of initialisation and data order")
    schedule: Literal["linear", "cosine", "constant"] = Field(default="linear", description="learning-rate schedule")
    widen: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="how often a grid whose best learning rate or weight decay lies on its edge is continued by one",
    )

    device: str = Field(default="cpu", description='where to train: "cpu" or "cuda"')
    threads: Positive = Field(
        default=1, description="threads of the CPU that share forward and backward passes; losses do not depend on it"
    )
    memory: Positive | None = Field(
        default=None,
        description="MiB the trainings may take, half of what is available by default; losses do not depend on it",
    )
    time_limit: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="seconds after which a batch of trainings is given up; none by default, because results would "
        "depend on how fast the machine is",
    )

    @field_validator("tasks")
    @classmethod
    def _other_tasks(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("task") in value:
            raise ValueError("must not repeat evaluation.task")
        return value

    @field_validator("weight_decays")
    @classmethod
    def _other_decays(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        if info.data.get("weight_decay") in value:
            raise ValueError("must not repeat evaluation.weight_decay")
        return value


class Economy(Section):
    """What is not trained, or not to the end."""

    hash_cache: bool = Field(
        default=True, description="programs of one canonical form share a result; false: for studies of what that saves"
    )
    strip: bool = Field(default=True, description="train programs without their dead statements")
    fingerprint: bool = Field(
        default=False, description="programs that do the same to a few synthetic gradients share a result"
    )
    forget: Positive = Field(
        default=5000, description="evaluations after which a fingerprint is forgotten, so that its result is drawn anew"
    )
    vetoes: bool = Field(
        default=False,
        description="refuse untrained what goes uphill at the first step or moves without gradient at lr 0",
    )
    hurdle: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="quantile of recent losses on the first seed above which no other seed follows; 0: off"
    )
    hurdle_window: Annotated[int, Field(ge=4, le=1_000_000)] = Field(
        default=100, description="how many recent losses that quantile is of"
    )
    race: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0,
        description="level of a paired test (Wilcoxon) against the best at which a program is stopped; "
        "needs 6 seeds or more at 0.05; 0: off",
    )


class Budget(Section):
    """When the search ends: at whichever comes first."""

    evaluations: Positive = Field(default=400, description="distinct programs trained")
    programs: Positive | None = Field(default=None, description="programs generated; no limit by default")
    minutes: Annotated[float, Field(gt=0)] | None = Field(default=None, description="wall-clock limit; none by default")


class Tracking(Section):
    """Who else is told how the search goes; each needs its package. What they write lies in the run directory."""

    tensorboard: bool = Field(default=False, description="event files for `tensorboard --logdir RUN`")
    wandb: bool = Field(default=False, description="a run of Weights & Biases")
    wandb_online: bool = Field(
        default=False, description="send it at once; otherwise `wandb sync` can later, and no network is needed"
    )
    mlflow: bool = Field(default=False, description="a run of MLflow")
    mlflow_uri: str = Field(default="", description="where MLflow keeps it; by default mlflow.db in the run directory")


class Selection(Section):
    """How the winner is chosen: the best of the search are trained again on fresh seeds."""

    finalists: Positive = Field(default=8, description="how many are trained again")
    seeds: Seeds = Field(default=(100, 101, 102, 103), description="seeds that the search did not see")
    race: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.0,
        description="level of a paired test (Wilcoxon) against the best finalist at which another one is stopped; "
        "needs 6 seeds or more at 0.05; 0: off",
    )


class Workers(Section):
    """Who trains. Losses do not depend on it."""

    processes: Annotated[int, Field(ge=0, le=4096)] = Field(
        default=0, description="processes that share every batch; 0: the search trains by itself"
    )
    lease_seconds: Annotated[float, Field(gt=0, le=1e6)] = Field(
        default=600.0, description="what a worker may take for its part of a batch before it is taken for dead"
    )
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=2, description="further workers that get a program alone with which one has died"
    )
    cores: Rate = Field(default=1.0, description="with --ray: cores of each actor")
    gpus: Weight = Field(default=0.0, description="with --ray: part of a GPU of each actor")
