"""The configuration of a search: frozen, validated at the door, stored with the results."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias, cast, get_args

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from evoptim.dsl import UserError

from .sections import (
    Budget,
    Economy,
    Evaluation,
    Mutation,
    Population,
    Positive,
    Restarts,
    Section,
    Seed,
    Selection,
    Start,
    Tracking,
    Workers,
)
from .tiers import Monitor, Sealed, Stage


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
    economy: Economy = Economy()
    restarts: Restarts = Restarts()
    budget: Budget = Budget()
    selection: Selection = Selection()
    funnel: Annotated[tuple[Stage, ...], Field(strict=False)] = Field(
        default=(), description="stages that a winner must pass, each a table [[funnel]]"
    )
    monitor: Monitor = Monitor()
    sealed: Sealed = Sealed()
    tracking: Tracking = Tracking()
    workers: Workers = Workers()

    @field_validator("economy")
    @classmethod
    def _enough_seeds(cls, value: Economy, info: ValidationInfo) -> Economy:
        """A hurdle or a race that could never spare a training is a mistake."""
        evaluation = info.data.get("evaluation")
        cells = _cells(evaluation, evaluation.seeds) if evaluation else 100
        if value.hurdle and cells < 2:
            raise ValueError("a hurdle needs two evaluation.seeds or more")
        if value.race and cells <= (decisive := _decisive(value.race)):
            raise ValueError(f"a race at the level {value.race:g} needs {decisive + 1} evaluation.seeds or more")
        return value

    @field_validator("selection")
    @classmethod
    def _fresh(cls, value: Selection, info: ValidationInfo) -> Selection:
        _refuse_shared([("seeds", value.seeds)], _seeds(info.data))
        evaluation = info.data.get("evaluation")
        cells = _cells(evaluation, value.seeds) if evaluation else 100
        if value.race and cells <= (decisive := _decisive(value.race)):
            raise ValueError(f"a race at the level {value.race:g} needs {decisive + 1} seeds or more")
        return value

    @field_validator("funnel")
    @classmethod
    def _fresh_and_decisive(cls, value: tuple[Stage, ...], info: ValidationInfo) -> tuple[Stage, ...]:
        """Every stage has seeds of its own, enough of them for its confidence."""
        before = _seeds(info.data)
        for number, stage in enumerate(value, 1):
            own = [(f"{key} of stage {number}", s) for key, s in _of_stage(stage)]
            _refuse_shared(own, before)
            before += own
            evaluation = info.data.get("evaluation")
            tasks = len(stage.tasks) or (1 + len(evaluation.tasks) if evaluation else 100)
            decisive = -(-_decisive(1 - stage.confidence) // tasks)
            if len(stage.seeds) < decisive:
                raise ValueError(
                    f"a confidence of {stage.confidence:g} needs {decisive} seeds of stage {number} or more"
                )
        return value

    @field_validator("monitor")
    @classmethod
    def _apart(cls, value: Monitor, info: ValidationInfo) -> Monitor:
        """Meta-validation sees neither seeds nor tasks of the search."""
        if not value.every:
            return value
        if not value.tasks:
            raise ValueError("tasks needs at least one name")
        _refuse_shared([("seeds", value.seeds)], _seeds(info.data))
        evaluation = info.data.get("evaluation")
        shared = {evaluation.task, *evaluation.tasks} & {*value.tasks} if evaluation else ()
        if shared:
            raise ValueError(f"the search itself sees {min(shared)}: choose other tasks")
        return value

    @field_validator("sealed")
    @classmethod
    def _never_seen(cls, value: Sealed, info: ValidationInfo) -> Sealed:
        if not value.tasks:
            raise ValueError("tasks needs at least one name")
        _refuse_shared([("tuning_seeds", value.tuning_seeds), ("seeds", value.seeds)], _seeds(info.data))
        return value


_Named: TypeAlias = tuple[str, tuple[int, ...]]
"""Seeds, and what they are called."""


def _seeds(data: Mapping[str, Any]) -> list[_Named]:
    """The seeds of the sections that are valid so far."""
    out = [(f"{key}.seeds", data[key].seeds) for key in ("evaluation", "selection") if key in data]
    for number, stage in enumerate(data.get("funnel", ()), 1):
        out += [(f"{key} of the funnel's stage {number}", seeds) for key, seeds in _of_stage(stage)]
    if "monitor" in data and data["monitor"].every:
        out.append(("monitor.seeds", data["monitor"].seeds))
    return out


def _of_stage(stage: Stage) -> list[_Named]:
    return [("tuning_seeds", stage.tuning_seeds), ("seeds", stage.seeds)]


def _refuse_shared(own: Sequence[_Named], before: Sequence[_Named]) -> None:
    """Seeds must differ from those before them, and from each other."""
    known = [*before]
    for name, seeds in own:
        for other, theirs in known:
            if shared := {*seeds} & {*theirs}:
                raise ValueError(f"{name} must not share seed {min(shared)} with {other}")
        known.append((name, seeds))


def _cells(evaluation: Evaluation, seeds: Sequence[int]) -> int:
    """Pairs of a task of the search and a seed."""
    return len(seeds) * (1 + len(evaluation.tasks))


def _decisive(level: float) -> int:
    """How many pairs the paired test needs at least to reach a level."""
    return math.ceil(-math.log2(level) - 1e-9)


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
        if isinstance(part, int):
            continue  # of a table among several of one name
        annotation = model.model_fields[str(part)].annotation
        for kind in (annotation, *get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                model = kind
    return list(model.model_fields)


def to_toml(config: SearchConfig) -> str:
    """The configuration with every default spelled out and explained."""
    lines: list[str] = []
    sections: list[tuple[str, BaseModel]] = []
    for key in SearchConfig.model_fields:
        value = getattr(config, key)
        if isinstance(value, BaseModel):
            sections.append((f"[{key}]", value))
        elif key == "funnel" and value:
            sections += [(f"[[{key}]]", stage) for stage in value]
        else:
            lines.append(_line(config, key))
    for header, section in sections:
        lines += ["", f"# {(type(section).__doc__ or '').strip()}", header]
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
        case bool():
            return "true" if value else "false"
        case _:
            return repr(value)
