"""Makes both_ways.py importable for the tests of the generated code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

_QUICK = ("lion", "adafactor")
"""Rules whose promises are tried on Triton's interpreter in the ordinary profile; it is slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave most of what runs in Triton's interpreter to the nightly profile."""
    for item in items:
        names = set(re.findall(r"[a-z_0-9]+", item.name.partition("[")[2]))
        if item.path.name == "test_contract_on_triton.py" and not names & {*_QUICK}:
            item.add_marker(pytest.mark.nightly)
