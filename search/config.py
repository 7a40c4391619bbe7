"""The configuration of a search: frozen, validated at the door, stored with the results."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from evoptim.dsl import UserError

Positive = Annotated[int, Field(gt=0, lt=2**63)]  # what TOML and SQLite call an integer
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Frozen; refuses keys it does not know, and ``true`` or ``"3"`` where a number is wanted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)


def _not_empty_not_twice(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("needs at least one value")
    if len(set(value)) != len(value):
        raise ValueError("values must differ")
    return value


Rates = Annotated[tuple[Rate, ...], Field(strict=False), AfterValidator(_not_empty_not_twice)]
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
    """Aging evolution (Real et al. 2019), as in Lion's search."""

    size: Annotated[int, Field(gt=0, le=1_000_000)] = Field(default=100, description="individuals alive")
    tournament: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=2, description="individuals compared to choose a parent"
    )


class Mutation(Section):
    """How children differ from their parents; the first three are weights."""

    insert: Weight = Field(default=1.0, description="weight of inserting a statement")
    delete: Weight = Field(default=1.0, description="weight of deleting a statement")
    modify: Weight = Field(default=1.0, description="weight of changing one argument of a statement")
    max_statements: Positive = Field(default=40, description="longest program, redundant statements included")

    @field_validator("modify")
    @classmethod
    def _some_weight(cls, value: float, info: ValidationInfo) -> float:
        if value + sum(info.data.get(k, 1.0) for k in ("insert", "delete")) <= 0:  # 1: refused on its own account
            raise ValueError("at least one of the weights insert, delete and modify must be above 0")
        return value


class Evaluation(Section):
    """How a candidate is judged: trained with every learning rate on every seed."""

    task: str = Field(default="digits_mlp", description="name of a task")
    steps: Positive = Field(default=100, description="updates per training")
    batch_size: Positive = Field(default=64, description="examples per update")
    learning_rates: Rates = Field(default=(1e-3, 3e-3, 1e-2, 3e-2, 1e-1), description="the grid tried by each")
    weight_decay: Weight = Field(default=0.0, description="decoupled weight decay during the search")
    seeds: Seeds = Field(default=(0, 1), description="seeds of initialisation and data order")
    schedule: Literal["linear", "cosine", "constant"] = Field(default="linear", description="learning-rate schedule")


class Budget(Section):
    """When the search ends: at whichever comes first."""

    evaluations: Positive = Field(default=400, description="distinct programs trained")
    minutes: Annotated[float, Field(gt=0)] | None = Field(default=None, description="wall-clock limit; none by default")


class Selection(Section):
    """How the winner is chosen: the best of the search are trained again on fresh seeds."""

    finalists: Positive = Field(default=8, description="how many are trained again")
    seeds: Seeds = Field(default=(100, 101, 102, 103), description="seeds that the search did not see")


class SearchConfig(Section):
    """A whole search."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")] = Field(
        default="search", description="names the run directory"
    )
    seed: Seed = Field(default=0, description="seed of all random choices of the search")
    batch: Positive = Field(default=16, description="candidates trained together")
    start: Start = Start()
    population: Population = Population()
    mutation: Mutation = Mutation()
    evaluation: Evaluation = Evaluation()
    budget: Budget = Budget()
    selection: Selection = Selection()

    @field_validator("selection")
    @classmethod
    def _fresh(cls, value: Selection, info: ValidationInfo) -> Selection:
        evaluation = info.data.get("evaluation")
        shared = set(value.seeds) & set(evaluation.seeds if evaluation else ())
        if shared:
            raise ValueError(f"seeds must not share seed {min(shared)} with evaluation.seeds")
        return value


def load_config(path: str | Path) -> SearchConfig:
    """Read ``search.toml``.

    Raises:
        UserError: The file cannot be read, is not TOML, or a key or value is wrong; all of these at once.
    """
    try:
        with open(path, "rb") as file:
            data = tomllib.load(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}", "check the path") from error
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, a number too long, too deep a nesting
        raise UserError(f"{path} is not valid TOML: {error}", "see docs/tutorial.md for an example") from error
    return make_config(data, str(path))


def make_config(data: dict[str, Any], where: str = "configuration") -> SearchConfig:
    """Validate a configuration; every mistake is told at once.

    Raises:
        UserError: A key is unknown or a value is not allowed.
    """
    try:
        return SearchConfig.model_validate(data)
    except ValidationError as error:
        problems = [_explain(e) for e in error.errors()]
        raise UserError(
            f"{where}: " + "; ".join(p for p, _ in problems),
            "; ".join(dict.fromkeys(r for _, r in problems if r)) or "see `evoptim search --help`",
        ) from error


def _explain(error: Any) -> tuple[str, str]:
    """One pydantic error as (what is wrong, remedy)."""
    location = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _keys(error["loc"][:-1])
        close = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the keys there are {', '.join(known)}"
        return f"unknown key {location!r}", hint
    message = error["msg"].removeprefix("Value error, ")
    return f"{location or 'everything'}: {message} (got {_shown(error['input'])})", "correct the value"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a very long number"


def _keys(location: tuple[Any, ...]) -> list[str]:
    model: type[BaseModel] = SearchConfig
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def to_toml(config: SearchConfig) -> str:
    """The configuration with every default spelled out and explained."""
    lines: list[str] = []
    sections: list[tuple[str, BaseModel]] = []
    for key in SearchConfig.model_fields:
        value = getattr(config, key)
        if isinstance(value, BaseModel):
            sections.append((key, value))
        else:
            lines.append(_line(config, key))
    for key, section in sections:
        lines += ["", f"# {(type(section).__doc__ or '').strip()}", f"[{key}]"]
        lines += [_line(section, k) for k in type(section).model_fields]
    return "\n".join(lines) + "\n"


def _line(model: BaseModel, key: str) -> str:
    value, description = getattr(model, key), type(model).model_fields[key].description
    if value is None:
        return f"# {key} =    # {description}"
    return f"{key} = {_toml(value)}    # {description}"


def _toml(value: object) -> str:
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # the one where JSON differs
        case tuple():
            return f"[{', '.join(map(_toml, cast('tuple[object, ...]', value)))}]"
        case _:
            return repr(value)
