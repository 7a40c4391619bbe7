"""The generated part of docs/search.md: every key of search.toml, from the configuration's own descriptions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from evoptim.search import SearchConfig

PAGE = Path(__file__).parents[2] / "docs" / "search.md"
BEGIN, END = "<!-- begin keys -->\n", "<!-- end keys -->\n"


def updated(text: str) -> str:
    """The page with its generated part written anew."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + keys() + END + tail


def sections() -> list[tuple[str, type[BaseModel]]]:
    """Heading and model of everything that has keys: the top, ``[section]`` and ``[[repeated section]]``."""
    found: list[tuple[str, type[BaseModel]]] = [("", SearchConfig)]
    for key, field in SearchConfig.model_fields.items():
        if (model := _model(field.annotation)) is not None:
            found.append((f"[{key}]", model))
        elif (model := next(filter(None, map(_model, get_args(field.annotation))), None)) is not None:
            found.append((f"[[{key}]]", model))
    return found


def _model(annotation: Any) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def keys() -> str:
    """A table per section."""
    return "\n\n".join(_section(heading, model).rstrip("\n") for heading, model in sections()) + "\n\n"


def _section(heading: str, model: type[BaseModel]) -> str:
    inner = {key.strip("[]") for key, _ in sections()}
    schema = model.model_json_schema()["properties"]
    rows = [
        f"| `{key}` | {_values(schema[key])} | {_default(field)} | {(field.description or '').replace('|', '/')} |"
        for key, field in model.model_fields.items()
        if model is not SearchConfig or key not in inner
    ]
    title = f"## `{heading}`" if heading else "## At the top"
    doc = (model.__doc__ or "").strip()
    return "\n".join([title, "", doc, "", "| key | values | default | meaning |", "|---|---|---|---|", *rows, ""])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    return f"`{json.dumps(value)}`"


def _values(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_values(s) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(v)}`" for v in schema["enum"])
    if schema["type"] == "array":
        return "a list of: " + _values(schema.get("items", {"type": "any"}))
    return _range(schema, {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false"})


def _range(schema: dict[str, Any], words: dict[str, str]) -> str:
    bounds = []
    for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<")):
        if key in schema and schema[key] != 2**63:
            bounds.append(f"{sign} {schema[key]:,.15g}")
    return " ".join([words.get(schema["type"], schema["type"]), ", ".join(bounds)]).strip()
