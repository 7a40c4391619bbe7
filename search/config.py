"""The configuration of a search: frozen, validated at the door, stored with the results."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, cast

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
)


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

    @field_validator("economy")
    @classmethod
    def _enough_seeds(cls, value: Economy, info: ValidationInfo) -> Economy:
        """A hurdle or a race that could never spare a training is a mistake."""
        seeds = len(info.data["evaluation"].seeds) if "evaluation" in info.data else 100
        if value.hurdle and seeds < 2:
            raise ValueError("a hurdle needs two evaluation.seeds or more")
        decisive = math.ceil(-math.log2(value.race)) if value.race else 0
        if value.race and seeds <= decisive:
            raise ValueError(f"a race at the level {value.race:g} needs {decisive + 1} evaluation.seeds or more")
        return value

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
        case bool():
            return "true" if value else "false"
        case _:
            return repr(value)
