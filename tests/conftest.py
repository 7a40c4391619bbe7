"""Options, profiles and what several test files share."""

from __future__ import annotations

import getpass
import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread per process: the processes share the cores
# Programs that tests start import the installed package, not the folder of that name they are started in.
os.environ["PYTHONSAFEPATH"] = "1"
# Compiled kernels are kept between runs, apart from those of the user.
os.environ.setdefault("EVOPTIM_CACHE", str(Path(tempfile.gettempdir()) / f"evoptim-tests-{getpass.getuser()}"))
sys.path.insert(0, str(Path(__file__).parent / "support"))
# Triton decides when it is imported whether kernels are compiled or interpreted.
if not Path("/dev/nvidiactl").exists() and not Path("/dev/kfd").exists():
    os.environ["TRITON_INTERPRET"] = "1"

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", max_examples=300, deadline=None, suppress_health_check=_QUIET, derandomize=True)
settings.register_profile("nightly", max_examples=10_000, deadline=None, suppress_health_check=_QUIET)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--profile nightly`` runs the long forms; ``--update-golden`` rewrites golden files."""
    parser.addoption("--profile", default="ci", choices=("ci", "nightly"), help="how long the random tests run")
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files instead of comparing")


def pytest_configure(config: pytest.Config) -> None:
    """Load the chosen profile."""
    settings.load_profile(config.getoption("--profile"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip nightly tests in the ordinary profile."""
    if config.getoption("--profile") == "nightly":
        return
    skip = pytest.mark.skip(reason="runs with --profile nightly")
    for item in items:
        if item.get_closest_marker("nightly"):
            item.add_marker(skip)
