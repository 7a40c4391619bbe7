"""The program that checks and measures populations on GPUs runs to its end on an imitation of one."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from shimmed import COMPILER

from evoptim.dsl import parse
from evoptim.runtime.datasets import DATASETS

pytest.importorskip("sklearn")
sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "gpu"))
import carried
import collecting
import population
import population_checks as checks


@pytest.mark.skipif(COMPILER is None, reason="needs g++")
def test_the_whole_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = parse("def random_0(w, g, m, *, lr=0.1):\n    m = ema(m, g, 0.5)\n    return w - lr * tanh(m), m\n")
    monkeypatch.setattr(checks, "BESIDE", ("adamw", "adafactor"))
    monkeypatch.setattr(checks, "SHAPES", ((), (4, 5), (70,)))
    monkeypatch.setattr(checks, "SIZE", 91)
    checks.expected.cache_clear()
    with population.imitated([rule]) as (place, make):
        sizes = dataclasses.replace(population.DRY, checked=(("adamw", "lamb"), ("digits_mlp", "graph_atlas")))
        result, well = population.report(place, sizes, make, tmp_path / "result.json")
    checks.expected.cache_clear()
    assert well, result
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(result))
    assert len(result["checks"]) == 11
    assert all(text.startswith("ok") for text in result["checks"].values()), result["checks"]
    assert result["population"]["statuses"] == {"ok": 8}
    assert result["shares"]["launches_of_the_update"] == 1
    assert len(result["large"]) == 3
    assert len(result["blocks"]) == len(sizes.blocks)
    assert set(result["passes_microseconds digits_mlp"]) == {"4 x 1", "4 x 2", "8 x 1"}


def test_parts_that_fail_say_so_and_the_others_run_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    result: dict[str, Any] = {}
    parts = {"first": fail, "checks": lambda: {"one": "ok", "two": "FAILED"}, "last": lambda: 3}
    assert not collecting.collect(result, parts.items(), tmp_path / "result.json")
    assert (result["failed"], result["first"], result["last"]) == (["first"], "FAILED ValueError: no", 3)
    assert not collecting.collect({}, [("checks", parts["checks"])], None)
    assert collecting.collect({}, [("last", parts["last"])], None)


def test_data_are_carried(tmp_path: Path) -> None:
    carried.prepare(tmp_path / "data.npz", 3)
    before = {name: dataset.read for name, dataset in DATASETS.items()}
    try:
        carried.use(tmp_path / "data.npz")
        assert all(DATASETS[name].read() == read() for name, read in before.items())
    finally:
        for name, read in before.items():
            object.__setattr__(DATASETS[name], "read", read)
    assert [rule.name for rule in carried.random_rules(2, tmp_path / "data.npz")] == ["random_0", "random_1"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device; --dry runs on the CPU"):
        population.main([])
