"""Checks and measurements part by part, so that what is known is kept whatever comes later."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np


def collect(result: dict[str, Any], parts: Iterable[tuple[str, Callable[[], Any]]], output: Path | None) -> bool:
    """Add what the parts give to a result by their names, printing and writing it after each; whether all is well.

    A part that raises says so in its place, and the others run on. Checks are a part that gives a text for each check,
    beginning with ``FAILED`` where it did.
    """
    failed: list[str] = []
    result |= {"failed": failed, "seconds": {}}
    for name, part in parts:
        began = time.perf_counter()
        try:
            result[name] = part()
        except Exception as error:  # is a result
            failed.append(name)
            result[name] = f"FAILED {type(error).__name__}: {str(error)[:300]}"
            traceback.print_exc(limit=-6, file=sys.stderr)
        result["seconds"][name] = round(time.perf_counter() - began, 1)
        print(f"{name}, {result['seconds'][name]} s: {json.dumps(result[name])}", flush=True)
        if output:
            output.write_text(json.dumps(result, indent=2) + "\n")
    checks = result.get("checks", {})
    return not failed and not any(text.startswith("FAILED") for text in checks.values())


def outcome(check: Callable[[], float | None]) -> str:
    """What a check says: ``ok``, the difference found, or its failure, which is a result, so that others run on."""
    try:
        found = check()
    except Exception as error:
        traceback.print_exc(limit=4, file=sys.stderr)
        return f"FAILED {type(error).__name__}: {str(error)[:300]}"
    return "ok" if found is None else f"ok, off by {found:.1e}"


def off(found: Any, wanted: Any) -> float:
    """The largest difference relative to the largest entry; infinite where only one of them is not finite."""
    if (np.isfinite(found) != np.isfinite(wanted)).any():
        return float("inf")
    finite = np.isfinite(wanted)
    return float(np.abs(found - wanted)[finite].max(initial=0) / max(np.abs(wanted[finite]).max(initial=0), 1e-30))
