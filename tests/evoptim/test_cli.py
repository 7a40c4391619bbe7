"""The command line: what it prints, what it returns, and that a mistake is one message with a remedy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from evoptim.cli.durations import minutes
from evoptim.dsl import GROUPS, UserError, load, parse, rule_names

EVOPTIM = str(Path(sys.executable).with_name("evoptim"))
COMMANDS = (
    "rules",
    "ops",
    "tasks",
    "show",
    "check",
    "export",
    "simplify",
    "tune",
    "compare",
    "search",
    "report",
    "sealed",
)


def run(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """One call of the installed command."""
    return subprocess.run([EVOPTIM, *arguments], capture_output=True, text=True, cwd=folder, timeout=300)


def as_json(*arguments: str, folder: Path | None = None) -> Any:
    """What a command prints with --json."""
    done = run(*arguments, "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_help_names_every_command() -> None:
    text = run("--help").stdout
    assert all(c in text for c in COMMANDS)
    assert run().returncode != 0  # no command: the help, as an error


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "Usage: evoptim" in done.stdout


def test_version() -> None:
    assert re.fullmatch(r"evoptim \d+\.\d+\.\d+\n", run("--version").stdout)


def test_rules_lists_the_zoo() -> None:
    assert sorted(r["name"] for r in as_json("rules")) == list(rule_names())
    assert [*dict.fromkeys(r["group"] for r in as_json("rules"))] == [*GROUPS.values()]
    plain = run("rules").stdout
    assert all(n in plain for n in rule_names())


def test_ops_and_tasks() -> None:
    assert {"sqrt", "ema", "where", "global_norm"} <= {o["name"] for o in as_json("ops")}
    assert {"digits_mlp", "bytes_lm", "noisy_quadratic"} <= {t["name"] for t in as_json("tasks")}
    assert "ema(x, y, beta)" in run("ops").stdout


def test_show_prints_text_that_reads_back() -> None:
    assert parse(run("show", "adan").stdout) == load("adan")
    assert parse(run("show", "adan", "--canonical").stdout).name == "adan"
    assert r"\begin{aligned}" in run("show", "adafactor", "--latex").stdout
    compile(run("show", "lion", "--code").stdout, "lion.py", "exec")
    assert as_json("show", "lion")["hyperparameters"]["lr"] == 1e-4


def test_check_reports_kinds_and_memory() -> None:
    found = as_json("check", "adafactor")
    assert found["kinds"]["r"] == "row"
    assert found["bytes_per_parameter"]["matrix"] == {"state": 0, "moved": 12}
    assert as_json("check", "adan")["bytes_per_parameter"]["vector"] == {"state": 16, "moved": 44}
    assert "zero gradient with lr 0: nothing moves" in run("check", "adamw").stdout


def test_check_warns_of_what_has_no_influence_and_of_unfit_rules(tmp_path: Path) -> None:
    (tmp_path / "r.py").write_text("def r(w, g, m, *, lr=1e-3, c=1):\n    return w - lr * g / abs(g), m\n")
    text = run("check", "r.py", folder=tmp_path).stdout
    assert "without influence on w: m, c" in text
    assert "not fit for export: a zero gradient with lr 0 changes parameters" in text
    refused = run("export", "r.py", "-o", "r_out.py", folder=tmp_path)
    assert refused.returncode == 2
    assert not (tmp_path / "r_out.py").exists()


def test_export_writes_an_importable_file(tmp_path: Path) -> None:
    done = run("export", "lion", "-o", "my_lion.py", "--class-name", "MyLion", folder=tmp_path)
    assert done.stdout == "wrote my_lion.py: from my_lion import MyLion\n"
    check = "import torch, my_lion; my_lion.MyLion([torch.nn.Parameter(torch.zeros(2))], lr=0.1)"
    subprocess.run([sys.executable, "-c", check], env=os.environ | {"PYTHONPATH": str(tmp_path)}, check=True)


MISTAKES = [
    (["equal", "adam", "adamw", "--set", "weight"], "'weight' sets no hyperparameter", "write it as weight_decay=0"),
    (["equal", "adam", "adamw", "--set", "beta9=1"], "neither rule has a hyperparameter 'beta9'", "one that they have"),
    (["bench", "adam", "--device", "tpu"], "no device 'tpu' here", "take cpu, or cuda"),
    (["bench", "adam", "--dtype", "int8"], "there is no dtype 'int8'", "the dtypes are float32"),
    (["simplify", "adam", "--upto", "all"], "there is no grade 'all'", "the grades are exact, real, assumed"),
    (["show", "adamx"], "there is no rule named 'adamx'", "did you mean 'adamax'"),
    (["show", "AdamW"], "there is no rule named 'AdamW'", "did you mean 'adamw'"),
    (["check", "nowhere/rule.py"], "there is no file nowhere/rule.py", "check the path"),
    (["check", "bad.py"], "bad.py:2:5: a loop", "straight-line"),
    (["export", "lion", "-o", "nowhere/lion.py"], "cannot write nowhere/lion.py", "writable"),
    (["export", "lion", "-o", "l.py", "--target", "cuda"], "there is no target 'cuda'", "auto, torch, cpp"),
    (["export", "lion", "-o", "l.py", "--class-name", "2x"], "'2x' cannot name a class", "class name"),
    (["search"], "give either a configuration or --resume", "evoptim search search.toml"),
    (["search", "nowhere.toml"], "cannot read nowhere.toml", "check the path"),
    (["search", "wrong.toml"], "unknown key 'populaton'", "did you mean 'population'"),
    (["search", "negative.toml"], "population.size", "correct the value"),
    (["search", "no_task.toml"], "there is no task named 'mnist'", "digits_mlp"),
    (["search", "bad_start.toml"], "bad.py:2:5: a loop", "straight-line"),
    (["search", "no_start.toml"], "there is no rule named 'adamx'", "did you mean 'adamax'"),
    (["search", "no_lr.toml"], "rule 'still' has no lr", "add lr to its hyperparameters"),
    (["search", "shared.toml"], "seeds must not share seed 100 with evaluation.seeds", "correct the value"),
    (["search", "hurdle.toml"], "a hurdle needs two evaluation.seeds or more", "correct the value"),
    (["search", "good.toml", "--time", "soon"], "'soon' is not a duration", "write it as 90s, 15m, 2h or 1h30m"),
    (["search", "good.toml", "--evaluations", "0"], "budget.evaluations", "correct the value"),
    (["search", "good.toml", "--log", "stone"], "there is no logger 'stone'", "tensorboard, wandb, mlflow"),
    (["search", "good.toml", "-o", "run"], "run is not empty", "choose another run directory"),
    (["search", "--resume", "run"], "run holds no search", "give the directory that"),
    (["search", "--resume", "nowhere", "-o", "x"], "--output with --resume", "stays in its directory"),
    (["search", "--resume", "nowhere"], "there is no run directory nowhere", "evoptim search"),
    (["report", "nowhere"], "there is no archive nowhere/archive.sqlite", "run directory"),
    (["show", "nowhere#best"], "there is no archive nowhere/archive.sqlite", "run directory"),
    (["compare", "adamw", "--task", "mnist"], "there is no task named 'mnist'", "digits_mlp"),
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "bad.py").write_text("def bad(w, g, *, lr=1):\n    for i in x: pass\n    return w\n")
    (folder / "wrong.toml").write_text("[populaton]\nsize = 3\n")
    (folder / "negative.toml").write_text("[population]\nsize = -3\n")
    (folder / "no_task.toml").write_text('[evaluation]\ntask = "mnist"\n')
    (folder / "good.toml").write_text("")
    (folder / "bad_start.toml").write_text('[start]\nrule = "bad.py"\n')
    (folder / "no_start.toml").write_text('[start]\nrule = "adamx"\n')
    (folder / "no_lr.toml").write_text('[start]\nrule = "still.py"\nframe = "free"\n')
    (folder / "still.py").write_text("def still(w, g):\n    return w - g\n")
    (folder / "shared.toml").write_text("[evaluation]\nseeds = [1, 100]\n")
    (folder / "hurdle.toml").write_text("[evaluation]\nseeds = [1]\n[economy]\nhurdle = 0.5\n")
    (folder / "run").mkdir()
    (folder / "run" / "thesis.txt").write_text("do not touch")
    return folder


@pytest.mark.parametrize(("arguments", "message", "remedy"), MISTAKES, ids=lambda x: str(x)[:30])
def test_a_mistake_is_one_message_with_a_remedy(
    workplace: Path, arguments: list[str], message: str, remedy: str
) -> None:
    before = sorted(workplace.rglob("*"))
    done = run(*arguments, folder=workplace)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert remedy in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(workplace.rglob("*")) == before


SEARCH = """
name = "small"
batch = 4
[start]
rule = "lion"
[population]
size = 5
[evaluation]
task = "noisy_quadratic"
steps = 20
batch_size = 8
learning_rates = [0.01, 0.1]
[budget]
evaluations = 9
[selection]
finalists = 2
seeds = [100, 101]
"""


def test_a_search_from_file_to_export(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SEARCH)
    done = run("search", "s.toml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "9/9 evaluated" in done.stdout
    (directory,) = (tmp_path / "runs").iterdir()
    assert directory.name.endswith("-small")
    assert {"archive.sqlite", "search.toml", "best.rule", "pareto.csv", "progress.jsonl"} <= {
        p.name for p in directory.iterdir()
    }
    report = as_json("report", str(directory))
    assert report["finished"] is True
    assert report["counts"]["evaluated"] == 9
    assert report["winner"]["lineage"][0]["mutation"] == "start"
    assert report["winner"]["text"] in done.stdout
    assert 0 <= report["savings"]["dead_statements"] < 1
    assert report["savings"]["trainings"] == report["savings"]["trainings_without_stops"] > 0
    shown = run("report", str(directory))
    assert shown.returncode == 0
    assert f"{report['counts']['duplicates']} programs by hash" in shown.stdout
    assert run("export", f"{directory}#best", "-o", "found.py", folder=tmp_path).returncode == 0
    assert parse(run("show", f"{directory}#0").stdout).name == "found"
    for bad, message in (("#99999", "no program 99999"), ("#x", "'x' names no program")):
        refused = run("show", f"{directory}{bad}")
        assert (refused.returncode, message in refused.stderr) == (2, True)
    again = run("search", "--resume", str(directory))
    assert again.returncode == 0
    assert report["winner"]["text"] in again.stdout
    occupied = run("search", "s.toml", "-o", str(directory), folder=tmp_path)
    assert occupied.returncode == 2
    assert "is not empty" in occupied.stderr


def test_a_search_told_in_json_lines(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SEARCH)
    done = run("search", "s.toml", "--json", "-o", "run", folder=tmp_path)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["winner"]["text"].startswith("def found(")
    assert lines[-2]["evaluated"] == 9


def test_a_search_with_limits_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(SEARCH)
    done = run("search", "s.toml", "-o", "run", "--evaluations", "5", "--time", "1h30m", folder=tmp_path)
    assert "5/5 evaluated" in done.stdout
    budget = tomllib.loads((tmp_path / "run" / "search.toml").read_text())["budget"]
    assert (budget["evaluations"], budget["minutes"]) == (5, 90.0)
    longer = run("search", "--resume", "run", "--evaluations", "9", folder=tmp_path)
    assert "9/9 evaluated" in longer.stdout
    assert len((tmp_path / "run" / "progress.jsonl").read_text().splitlines()) == 3
    refused = run("search", "--resume", "run", "--evaluations", "6", folder=tmp_path)
    assert (refused.returncode, "9 are spent" in refused.stderr) == (2, True)


def test_init_prints_a_search_that_runs(tmp_path: Path) -> None:
    text = run("search", "--init").stdout
    assert text.startswith("# A search of evoptim")
    (tmp_path / "s.toml").write_text(text)
    done = run("search", "s.toml", "-o", "run", "--time", "0.001s", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("text", "wanted"), [("90s", 1.5), ("15m", 15), ("2h", 120), ("1h30m", 90), ("1d", 1440)])
def test_durations(text: str, wanted: float) -> None:
    assert minutes(text) == wanted


@pytest.mark.parametrize("text", ["", "0s", "90", "h", "-2h", "2h 30m", "2H", "1e3s", "9" * 400 + "d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UserError, match="is not a duration"):
        minutes(text)


def test_what_is_spared_is_told(tmp_path: Path) -> None:
    economy = "[economy]\nfingerprint = true\nvetoes = true\nhurdle = 0.3\nhurdle_window = 6\n"
    text = SEARCH.replace("evaluations = 9", "evaluations = 30") + economy
    (tmp_path / "s.toml").write_text(text)
    done = run("search", "s.toml", "-o", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    report = as_json("report", str(tmp_path / "run"))
    counts, savings = report["counts"], report["savings"]
    line = done.stdout.split("30/30 evaluated")[1].splitlines()[0]
    for key, what in (("fingerprints", "alike"), ("vetoed", "vetoed"), ("stopped", "stopped")):
        assert (f", {counts[key]} {what}, " in line) == (counts[key] > 0)
    assert counts["vetoed"] > 0
    assert savings["trainings"] <= savings["trainings_without_stops"] - 2 * counts["stopped"]


def test_compare_in_json() -> None:
    found = as_json(
        "compare", "sgd", "sgd", "--task", "noisy_quadratic", "--trials", "3", "--seeds", "2", "--steps", "9"
    )
    assert [r["verdict"] for r in found["rules"]] == ["same", "same"]
    assert found["rules"][0]["losses"] == found["rules"][1]["losses"]


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from evoptim.cli import app\n"
        "import evoptim.dsl\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
        "assert 'sympy' not in sys.modules, 'sympy'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")


RAW_LION = """
def lion_raw(w, g, m, v, *, lr=1):
    g = arcsin(clip(g, -lr, lr))
    m = lerp(g, v, 0.899)
    v = lerp(g, m, 1.109)
    u = m / sqrt(m * m) + w * 0.4602
    m = cosh(u)
    w = w - u * lr * 0.0002
    return w, m, v
"""


def test_simplify_names_justifies_and_grades_each_step(tmp_path: Path) -> None:
    path = tmp_path / "raw.py"
    path.write_text(RAW_LION)
    text = run("simplify", str(path)).stdout
    for part in ("exact: the same bits", "buffer m  dropped", "sqrt(square(m))  ->  abs(m)", "merged interpolations"):
        assert part in text
    assert text.index("exact:") < text.index("real:") < text.index("assumed:")
    assert "sign(ema(v, g, 0.899))" in text
    kept = run("simplify", str(path), "--upto", "real").stdout
    assert "arcsin" in kept
    assert "assumed" not in kept
    found = as_json("simplify", str(path))
    assert {s["grade"] for s in found["steps"]} == {"exact", "real", "assumed"}
    assert parse(found["rule"])


def test_equal_says_what_is_known() -> None:
    assert run("equal", "adam", "adam").stdout.startswith("proved: one canonical form")
    assert run("equal", "adam", "adamw", "--set", "weight_decay=0").stdout.startswith("proved: sympy")
    refuted = run("equal", "adam", "adamw").stdout
    assert refuted.startswith("refuted: ")
    assert "g1 = " in refuted
    assert as_json("equal", "adam", "adamw")["example"]["gradients"]
    assert as_json("equal", "sgd_nesterov", "agd_ii")["status"] == "not decided"


def test_bench_times_rules_next_to_torch() -> None:
    small = ("--tensors", "2", "--rows", "8", "--cols", "8", "--rounds", "2")
    found = as_json("bench", "adamw", "lion", *small)
    assert [t["name"] for t in found["times"]] == ["adamw", "torch AdamW fused", "lion"]
    assert [t["bytes"] for t in found["times"]] == [28 * 128, 28 * 128, 20 * 128]
    assert found["times"][1]["ratio"] > 0
    assert "of a copy" in run("bench", "sgd", *small).stdout
