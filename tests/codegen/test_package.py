"""An exported package installs and passes its own tests where evoptim is not; its card says what was measured."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from evoptim.cli import app
from evoptim.codegen import export_package, source
from evoptim.codegen.packaging import golden as golden_module
from evoptim.codegen.packaging import verification
from evoptim.codegen.packaging.card import card
from evoptim.codegen.packaging.files import golden_text, project_text
from evoptim.codegen.packaging.folder import new_folder
from evoptim.codegen.packaging.golden import golden, other_value
from evoptim.codegen.packaging.names import choose_names
from evoptim.codegen.packaging.trial import difference
from evoptim.dsl import Domain, Hyper, Rule, UserError, load, parse, parse_file, rule_names

OWN = """
def soft_sign(w, g, m, s: scalar, q: global_, *, lr=1e-3, beta=0.9, weight_decay=0):
    '''Momentum through a *soft* sign of `m`: see arXiv:2302.06675.'''
    m = ema(m, g, beta)
    s = ema(s, rms(g), beta)
    q = ema(q, global_norm(g), beta)
    w = w - lr * (m / (abs(m) + s + q + 1e-12) + weight_decay * w)
    return w, m, s, q
"""
RULES = {"lion": load("lion"), "adafactor": load("adafactor"), "soft_sign": parse(OWN)}
PLAIN = parse("def plain(w, g, m, *, lr=0.1):\n    m = ema(m, g, 0.9)\n    return w - lr * m, m")
RUFF = (sys.executable, "-m", "ruff")
EVERY = pytest.mark.parametrize("name", RULES)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package of every rule."""
    folder = tmp_path_factory.mktemp("packages")
    for name, rule in RULES.items():
        export_package(rule, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the wheels of all packages are installed."""
    work = tmp_path_factory.mktemp("wheels")
    quiet = ("-m", "pip", "--quiet", "--disable-pip-version-check")
    built = tuple(shutil.copytree(packages / name, work / name) for name in RULES)  # a build leaves files behind
    run(*quiet, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", work / "dist", *built)
    run(*quiet, "install", "--no-deps", "--target", work / "installed", *(work / "dist").glob("*.whl"))
    return work / "installed"


def run(*arguments: Any, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A Python program that ends well."""
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


ALONE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "evoptim":
            raise ImportError("blocked")
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])
import pytest
code = pytest.main(["-q", "-W", "error", "-p", "no:cacheprovider", "--import-mode=importlib", *sys.argv[2:]])
assert not any(m.partition(".")[0] == "evoptim" for m in sys.modules)
sys.exit(code)
"""


def run_its_tests(installed: Path, *tests: Any) -> subprocess.CompletedProcess[str]:
    """The tests of packages in a process that cannot import evoptim."""
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-I", "-c", ALONE, installed, *tests]
    return subprocess.run([*map(str, command)], env=environment, cwd=installed, capture_output=True, text=True)


# --- installed ------------------------------------------------------------------------------------------


def test_its_tests_pass_where_evoptim_is_not(packages: Path, installed: Path) -> None:
    done = run_its_tests(installed, *(packages / name / "tests" for name in RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d{3} passed in", done.stdout, re.MULTILINE), done.stdout  # none skipped


WRONG = {
    "lion": ("beta1 * m + (1 - beta1) * g", "beta2 * m + (1 - beta2) * g"),
    "adafactor": ("w = w * (1 - lr * weight_decay)", "w = w * 1.0"),
    "soft_sign": ('s"], p).copy_(s)', 's"], p).copy_(0 * s)'),
}


def test_its_tests_notice_a_wrong_optimizer(packages: Path, installed: Path, tmp_path: Path) -> None:
    for name, (right, wrong) in WRONG.items():
        module = f"{name}_optimizer"
        shutil.copytree(installed / module, tmp_path / module)
        path = tmp_path / module / f"{name}.py"
        text = path.read_text()
        assert right in text
        path.write_text(text.replace(right, wrong))
    tests = (packages / name / "tests" for name in RULES)
    done = run_its_tests(tmp_path, *tests, "-k", "reference and eager and float64")
    for name in RULES:
        assert re.search(rf"^FAILED .*test_{name}\.py", done.stdout, re.MULTILINE), done.stdout + done.stderr


@EVERY
def test_what_is_installed(name: str, installed: Path) -> None:
    folder = installed / f"{name}_optimizer"
    files = {p.name for p in folder.iterdir() if p.is_file()}
    assert files == {"__init__.py", f"{name}.py", f"{name}.rule.py", "py.typed"}
    assert parse_file(folder / f"{name}.rule.py") == RULES[name]
    assert (folder / f"{name}.py").read_text(encoding="utf-8") == source(RULES[name])
    metadata = (installed / f"{name}_optimizer-0.1.0.dist-info" / "METADATA").read_text(encoding="utf-8")
    assert f"Name: {name.replace('_', '-')}-optimizer\n" in metadata
    assert "Requires-Dist: torch>=2.11\n" in metadata
    assert "License" not in metadata.partition("\n\n")[0]


# --- what the folder holds ------------------------------------------------------------------------------


@EVERY
def test_the_folder_is_clean(name: str, packages: Path) -> None:
    for command in (("check",), ("format", "--check")):
        run(*RUFF[1:], *command, "--no-cache", ".", folder=packages / name)


@EVERY
def test_its_tests_import_only_torch_and_pytest(name: str, packages: Path) -> None:
    tree = ast.parse((packages / name / "tests" / f"test_{name}.py").read_text(encoding="utf-8"))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    others = {i.partition(".")[0] for i in imported} - sys.stdlib_module_names
    assert others == {"torch", "pytest", f"{name}_optimizer"}


@EVERY
def test_the_example_of_the_card_runs(name: str, packages: Path, installed: Path, monkeypatch: Any) -> None:
    monkeypatch.syspath_prepend(str(installed))
    text = (packages / name / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"## Use\n\n```python\n(.*?)```", text, re.DOTALL)
    exec(example, {})


@EVERY
def test_the_card_says_what_was_measured(name: str, packages: Path) -> None:
    text = (packages / name / "README.md").read_text(encoding="utf-8")
    rule = RULES[name]
    assert rule.text in text
    assert "[arXiv:" in text
    assert f"torch {torch.__version__}" in text
    for hyper in rule.hypers:
        assert re.search(rf"^\| `({hyper.name}|betas\[\d\])` +\| `", text, re.MULTILINE)
    measured = verification.verify(rule, None, "auto", golden(rule))
    assert set(measured.differences) >= {"eager torch on the CPU", "compiled C++ on the CPU"}
    for way, found in measured.differences.items():
        figures = " *\\| ".join(f"{d:.0e}" if d else "0" for d in found.values())
        assert re.search(rf"^\| {re.escape(way)} +\| {figures} *\|$", text, re.MULTILINE), text
        assert found["float64"] < 1e-13
        assert found["float32"] < 1e-5
    assert max(map(len, text.splitlines())) < 160


def test_costs_are_those_of_the_plan(packages: Path) -> None:
    assert "| all parameters | 4     | 20                       | 14 " in (packages / "lion" / "README.md").read_text()
    text = (packages / "adafactor" / "README.md").read_text()
    assert re.search(r"^\| matrices +\| 0 +\| 12 \(24\) ", text, re.MULTILINE)
    assert re.search(r"^\| other parameters +\| 4 +\| 20 ", text, re.MULTILINE)


def test_limits_are_those_of_the_rule(packages: Path) -> None:
    assert "Complex parameters are updated" in (packages / "lion" / "README.md").read_text()
    assert "Complex parameters are refused" in (packages / "adafactor" / "README.md").read_text()


DOCS = [
    "",
    'It says "so"',
    "back\\slash",
    "a `code` and *not*",
    "# no title",
    "control \x07 \u2028 \r",
    "``` fence",
    "é中",
]


@pytest.mark.parametrize("doc", DOCS)
def test_any_docstring_makes_valid_files(doc: str) -> None:
    rule = PLAIN.replace(doc=doc)
    names = choose_names(rule, None, "0.1.0", None)
    project = tomllib.loads(project_text(rule, names, "import torch"))["project"]
    assert project["description"].isprintable()
    assert project["description"]
    assert project["optional-dependencies"] == {"test": ["pytest>=8"]}
    data = golden(rule)
    text = card(rule, names, "", data, verification.verify(rule, None, "torch", data))
    inside = re.search(r"^(`{3,})python\n(def .*?)^\1$", text, re.MULTILINE | re.DOTALL)
    assert inside
    assert inside[2] == rule.text
    assert not re.search(r"^# (?!plain-optimizer$)", text, re.MULTILINE)


def test_a_package_whose_optimizer_imports_triton_has_an_extra_for_it() -> None:
    names = choose_names(PLAIN, None, "0.1.0", None)
    extras = tomllib.loads(project_text(PLAIN, names, "    import triton\n"))["project"]["optional-dependencies"]
    assert extras["gpu"] == ["triton>=3.6; platform_system == 'Linux'"]
    data = golden(PLAIN)
    measured = verification.verify(PLAIN, None, "torch", data)
    assert "pip install '.[gpu]'" in card(PLAIN, names, "import triton", data, measured)
    assert "[gpu]" not in card(PLAIN, names, "import torch", data, measured)


# --- golden numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rule_names()[::6])
def test_golden_numbers_are_finite_exact_json(name: str) -> None:
    rule = load(name)
    data = golden(rule)
    text = golden_text(rule, data, {})
    assert json.loads(text) == {"rule hash": json.loads(text)["rule hash"], **data, "training": {}}
    assert max(map(len, text.splitlines())) <= 120
    assert data["settings"][0]["tolerance"]["float64"] < 1e-6
    for tensor in [*data["parameters"], *(t for step in data["gradients"] for t in step)]:
        values = torch.tensor(tensor, dtype=torch.float64)
        assert (values != 0).all()
        for dtype in golden_module.DTYPES:
            assert torch.equal(values.to(dtype).double(), values)


def test_every_hyperparameter_has_another_value_in_its_domain() -> None:
    for hyper in (h for name in rule_names() for h in load(name).hypers):
        value = other_value(hyper)
        assert value != hyper.default, hyper
        if hyper.name != "lr":
            low, high = min(hyper.domain.values), max(hyper.domain.values)
            assert low <= value <= high, hyper
            assert value < 1 or hyper.domain.scale != "one_minus_log", hyper
    assert other_value(Hyper("k", 2, Domain("choice", (2, 5)))) == 5
    assert other_value(Hyper("k", 2, Domain("choice", (2,)))) == 2


def test_differences_are_relative_to_the_tensor() -> None:
    def off(*found: float) -> float:
        return difference({"w 0": torch.tensor(found)}, {"w 0": [0.0, 4.0]})

    assert off(0, 4) == 0
    assert off(0, 3) == 0.25
    assert off(1, 4) == 0.25
    assert off(float("nan"), 4) > 1e300
    assert off(0, float("inf")) > 1e300
    assert difference({"m 0": torch.tensor(0.5)}, {"m 0": 0.0}) == 0.5
    with pytest.raises(AssertionError, match="m 0"):
        difference({"w 0": torch.zeros(())}, {"w 0": 0.0, "m 0": 0.0})
    with pytest.raises(AssertionError, match="w 0"):
        difference({"w 0": torch.zeros(1)}, {"w 0": 0.0})


def test_what_rounding_decides_is_not_compared(tmp_path: Path) -> None:
    """In bfloat16 the parameter cannot hold the counts that this rule amplifies."""
    rule = parse("def fine(w, g, *, lr=0.1):\n    return w - lr * sin(30 * w) * g")
    tolerance = golden(rule)["settings"][0]["tolerance"]
    assert "float64" in tolerance
    assert "bfloat16" not in tolerance
    folder = export_package(rule, tmp_path / "fine", target="torch")
    text = (folder / "README.md").read_text()
    assert "rounding decides what comes out on these data" in text
    assert re.search(r"\| the tests allow +\| \de-\d+ +\|.*\| - +\|", text)


@pytest.mark.parametrize("update", ["exp(1e3 + g)", "sin(1e18 * (w + g))"])
def test_a_rule_that_cannot_be_verified_is_refused(update: str, tmp_path: Path) -> None:
    rule = parse(f"def wild(w, g, *, lr=0.1):\n    return where(lr > 0, w - lr * {update}, w)")
    with pytest.raises(UserError, match="'wild' cannot be verified"):
        export_package(rule, tmp_path / "wild")
    assert not list(tmp_path.iterdir())


def test_an_optimizer_that_is_not_its_rule_is_our_defect() -> None:
    data = golden(PLAIN)
    data["settings"][0]["expected"]["m 1"][0] += 1e-3
    with pytest.raises(RuntimeError, match=r"'plain' in float64 .* is off by .*: this is a defect"):
        verification.verify(PLAIN, None, "torch", data)


def test_a_rule_that_does_not_train_is_said_to(tmp_path: Path) -> None:
    rule = parse("def still(w, g, *, lr=0.1):\n    return w - 0 * lr * g")
    folder = export_package(rule, tmp_path / "still", target="torch")
    assert "With none of several constant learning rates" in (folder / "README.md").read_text()
    assert json.loads((folder / "tests" / "golden.json").read_text())["training"] == {}


# --- names ----------------------------------------------------------------------------------------------


def named(rule: Rule = PLAIN, project: str | None = None, version: str = "0.1.0", cls: str | None = None) -> Any:
    return choose_names(rule, project, version, cls)


def test_names() -> None:
    names = named()
    assert (names.project, names.module) == ("plain-optimizer", "plain_optimizer")
    assert (names.rule, names.optimizer) == ("plain", "Plain")
    names = named(project="My.Fine-one", version="2.0rc1", cls="Fine")
    assert (names.project, names.version, names.module) == ("My.Fine-one", "2.0rc1", "my_fine_one")
    assert named(PLAIN.replace(name="a__b_"), cls="A").project == "a-b-optimizer"


@pytest.mark.parametrize("project", ["", "-x", "x-", "two words", "a/b", "../x", "2fast", "é", "class", "x\n"])
def test_names_that_cannot_be_installed_are_refused(project: str) -> None:
    with pytest.raises(UserError, match="cannot name a package"):
        named(project=project)


@pytest.mark.parametrize("project", ["torch", "Torch", "json", "pytest", "triton"])
def test_names_that_would_hide_a_module_are_refused(project: str) -> None:
    with pytest.raises(UserError, match="would hide a module"):
        named(project=project)


@pytest.mark.parametrize("version", ["", "one", "1.", "v1", "1.0-beta", "1.0\n"])
def test_versions_are_checked(version: str) -> None:
    with pytest.raises(UserError, match="is no version"):
        named(version=version)


def test_the_class_may_be_named(tmp_path: Path) -> None:
    folder = export_package(PLAIN, tmp_path / "p", name="fine", version="1.2", class_name="plain", target="torch")
    assert (folder / "src/fine/__init__.py").read_text().endswith('from .plain import plain\n\n__all__ = ["plain"]\n')
    assert tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"] == "1.2"


@pytest.mark.parametrize("name", ["__init__", "__main__"])
def test_rules_named_as_modules_of_python_are_refused(name: str) -> None:
    with pytest.raises(UserError, match="rename the rule"):
        named(PLAIN.replace(name=name), cls="Fine")


# --- writing --------------------------------------------------------------------------------------------


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path: Path) -> None:
    place = tmp_path / "here"
    place.mkdir()
    with new_folder(place) as folder:
        (folder / "file").write_text("new")
        assert not list(place.iterdir())
    assert (place / "file").read_text() == "new"
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        export_package(PLAIN, place)
    with pytest.raises(UserError, match="exists and is not an empty folder"), new_folder(place / "file"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize(
    ("target", "reason"), [("missing/x", "No such file"), ("nu\0ll", "null"), ("x" * 300, "too long")]
)
def test_bad_places_are_refused(tmp_path: Path, target: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"(?s)cannot write .*{reason}.*choose a writable path"):
        export_package(PLAIN, f"{tmp_path}/{target}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("defect")])
def test_a_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("evoptim.codegen.packaging.package.verify", fail)
    with pytest.raises(UserError if isinstance(error, OSError) else type(error)):
        export_package(PLAIN, tmp_path / "package")
    assert not list(tmp_path.iterdir())


def test_the_current_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the current folder cannot be replaced"):
        export_package(PLAIN, ".")


def test_unfit_rules_are_not_packaged(tmp_path: Path) -> None:
    rule = parse("def r(w, g, m, *, lr=0.1):\n    u = g / abs(g)\n    return w - lr * u, m")
    with pytest.raises(UserError, match="not fit for export"):
        export_package(rule, tmp_path / "r")
    assert not list(tmp_path.iterdir())


# --- command line ---------------------------------------------------------------------------------------


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    options = ("--name", "fine-sgd", "--release", "3.1", "--target", "torch")
    app(["export", "sgd", "--package", "out", *options], standalone_mode=False)
    assert capsys.readouterr().out == "wrote out: pip install ./out, then from fine_sgd import SGD\n"
    assert (tmp_path / "out" / "src" / "fine_sgd" / "sgd.py").exists()
    app(["export", "sgd", "--package", str(tmp_path / "b"), "--target", "torch"], standalone_mode=False)
    assert f"pip install {tmp_path}/b, then from sgd_optimizer import SGD" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} == {"out", "b"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "either a file or a package"),
        (("-o", "a.py", "--package", "b"), "either a file or a package"),
        (("-o", "a.py", "--name", "b"), "only a package has a name"),
        (("-o", "a.py", "--release", "1"), "only a package has a name"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        app(["export", "sgd", *options], standalone_mode=False)
    assert not list(tmp_path.iterdir())
