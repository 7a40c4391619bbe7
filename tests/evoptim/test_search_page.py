"""docs/search.md has every key of search.toml, as the configuration describes it."""

from __future__ import annotations

import tomllib

import pytest
from search_page import PAGE, keys, sections, updated

from evoptim.cli.searching import template
from evoptim.search import SearchConfig, make_config


def test_the_page_is_up_to_date(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text(encoding="utf-8")
    if request.config.getoption("--update-golden"):
        PAGE.write_text(updated(text), encoding="utf-8")
    remedy = "run pytest tests/evoptim/test_search_page.py --update-golden"
    assert PAGE.read_text(encoding="utf-8") == updated(text), remedy


def test_every_key_is_described() -> None:
    text = keys()
    for _, model in sections():
        assert model.__doc__
        for key, field in model.model_fields.items():
            assert f"`{key}`" in text or f"[{key}]" in text
            assert field.description or f"[{key}]" in text, key


def test_the_template_is_the_default_configuration_with_every_key_told() -> None:
    text = template()
    assert make_config(tomllib.loads(text)) == SearchConfig()
    assert all(line == "" or "#" in line or line.startswith("[") for line in text.splitlines())
