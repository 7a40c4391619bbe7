"""The page about a run: that it is sound HTML, loads nothing, says what the archive says, and is quick."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evoptim.dsl import UserError, load, parse, rule_names
from evoptim.report import write_report
from evoptim.report.differences import difference
from evoptim.report.facts import collect
from evoptim.report.markup import Html, number, signed, tag
from evoptim.report.mathml import mathml
from evoptim.report.page import page
from evoptim.report.plot import Scale
from evoptim.search import Archive, make_config, start_search
from evoptim.search.records.archive import StoredTrial
from evoptim.search.records.journal import COMPARISON, EXTENSION, FUNNEL, META, POISON, SEALED, SIMPLIFY, TUNING
from evoptim.wiring import make_evaluator, make_laboratory

EVIL = '<img src=x onerror="alert(1)">'
CONFIG: dict[str, Any] = {
    "name": "reported",
    "batch": 4,
    "start": {"rule": "adam"},
    "population": {"size": 8},
    "evaluation": {"task": "noisy_quadratic", "steps": 20, "batch_size": 8, "learning_rates": [0.01, 0.1]},
    "economy": {"fingerprint": True, "vetoes": True, "hurdle": 0.6, "hurdle_window": 8},
    "budget": {"evaluations": 60},
    "selection": {"finalists": 3, "seeds": [10, 11]},
}


class Sound(HTMLParser):
    """Keeps what elements there are, and makes sure that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Sound:
    """A page, taken apart."""
    sound = Sound()
    sound.feed(text)
    sound.close()
    assert sound.open == []
    return sound


def headings(sound: Sound) -> list[str]:
    return [str(attributes["id"]) for name, attributes in sound.seen if name == "section"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    config = make_config(CONFIG)
    directory = tmp_path_factory.mktemp("runs") / "run"
    start_search(config, make_evaluator(config), directory)
    return directory


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(run, tmp_path / "copy")
    return tmp_path / "copy"


def test_the_page_is_sound_and_loads_nothing(run: Path, tmp_path: Path) -> None:
    path = write_report(collect(run), tmp_path / "page.html")
    text = path.read_text(encoding="utf-8")
    sound = read(text)
    names = {name for name, _ in sound.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "base", "form"}
    for name, attributes in sound.seen:
        assert not {"src", "srcset", "style", "onclick", "onload"} & set(attributes), name
        assert str(attributes.get("href", "#")).startswith("#")
    assert "url(" not in text
    assert "@import" not in text
    policy = next(a["content"] for n, a in sound.seen if n == "meta" and "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'")
    links = {str(a["href"])[1:] for n, a in sound.seen if n == "a"}
    assert links == set(headings(sound))


def test_it_says_what_the_archive_says(run: Path) -> None:
    facts = collect(run)
    text = " ".join("".join(read(page(facts)).text).split())
    with Archive(run / "archive.sqlite", create=False) as archive:
        counts, winner = archive.counts(), archive.meta("winner")
    assert f"{counts['generated']:,} programs were generated and {counts['evaluated']:,} distinct ones" in text
    assert facts.winner == int(winner or -1)
    assert facts.rule is not None
    for line in facts.rule.text.splitlines():
        assert " ".join(line.split()) in text
    assert facts.loss is not None
    assert facts.fresh_loss is not None
    assert number(facts.loss) in text
    assert number(facts.fresh_loss) in text
    assert all(f"#{step.program} {step.mutation}" in text for step in facts.lineage)
    assert all(f"#{member.program}" in text for member in facts.front)
    assert f"{counts['vetoed']:,}" in text
    assert "class Found(" in text  # the exported code
    assert r"\begin{aligned}" in text
    assert "seeds 0, 1 alone" in text
    assert facts.complete


def test_only_what_there_is_has_a_chapter(run: Path) -> None:
    keys = headings(read(page(collect(run))))
    assert keys == ["question", "winner", "course", "lineage", "front", "economy", "caveats"]


def verdict(program: int, passed: bool) -> dict[str, Any]:
    return {
        "round": 0, "stage": 1, "stages": 1, "tasks": ["digits_mlp"], "steps": 1000, "program": program, "hash": "ab",
        "settings": {}, "losses": [], "loss": 0.25, "baseline": "adamw", "baseline_settings": {}, "baseline_losses": [],
        "baseline_loss": 0.5, "p": 0.03, "confidence": 0.95, "passed": passed, "reason": "" if passed else EVIL,
    }  # fmt: skip


def look(evaluated: int, meta: float | None, since: int | None = None) -> dict[str, Any]:
    return {
        "evaluated": evaluated, "program": 1, "hash": "ab", "loss": 0.9, "meta_loss": meta,
        "overfitting": since is not None, "since": since,
    }  # fmt: skip


SEALED_TERMS = {"tasks": ["sealed_task"], "baselines": ["adamw"], "seeds": [1, 2], "tuning_seeds": [3], "steps": 5}


def examined(rule: str, program: int | None) -> dict[str, Any]:
    return {
        "event": "result", "rule": rule, "program": program, "task": "sealed_task", "setting": {"lr": 0.1},
        "losses": [0.5, 0.25], "loss": 0.375, "reason": "",
    }  # fmt: skip


def compared(*names: str) -> dict[str, Any]:
    """An entry on two tasks; the last rule diverges on each."""
    ranges = [{"mean": 0.5, "low": 0.25, "high": 0.75}] * (len(names) - 1) + [{"mean": None, "low": None, "high": None}]
    rules = [
        {"name": n, "lr": 0.1, "lr_at_edge": False, "setting": {"lr": 0.1}, "losses": [], "loss": r, "difference": r,
         "verdict": "worse"} for n, r in zip(names, ranges, strict=True)
    ]  # fmt: skip
    task = {"steps": 20, "trials": 3, "tuning_seeds": [1], "seeds": [2, 3], "rules": rules, "envelope": ""}
    summary = [
        {"name": n, "rule": "", "ratio": r, "worst_task": "b", "worst_ratio": None, "speedups": [], "speedup": None,
         "profile": [0.5, 1.0], "state_bytes": 8, "step_seconds": None} for n, r in zip(names, ranges, strict=True)
    ]  # fmt: skip
    tasks = [task | {"task": name} for name in ("a", "b")]
    return {"sources": list(names), "tuner": "lr", "tasks": tasks, "taus": [1.0, 2.0], "summary": summary}


def test_what_came_after_is_told_and_escaped(copy: Path) -> None:
    with Archive(copy / "archive.sqlite", create=False) as archive:
        stage = {"tasks": ["digits_mlp"], "steps": 1000, "tuning_seeds": [20], "seeds": [30, 31, 32, 33, 34]}
        later = {"funnel": [stage], "monitor": {"every": 20, "tasks": ["digits_mlp"], "steps": 5}}
        archive.set_meta({"config": make_config(CONFIG | later).model_dump_json()})
        archive.append((FUNNEL, verdict(7, True)), (FUNNEL, verdict(8, False)))
        archive.append((META, look(1, 1.0)), (META, look(20, None)), (META, look(40, 0.9)), (META, look(60, 1.1, 40)))
        opening = {"event": "opened", "program": 1, "hash": "ab", "terms": SEALED_TERMS}
        archive.append((SEALED, opening), (SEALED, examined("adamw", None)), (SEALED, examined("found", 1)))
        archive.append((COMPARISON, compared("adamw", EVIL)))
        which = {"source": EVIL, "program": "ab", "task": "digits_mlp"}
        trial = {"event": "trial", **which, "number": 0, "setting": {"lr": 0.1}, "seeds": [1], "losses": [0.5]}
        archive.append((TUNING, trial | {"loss": 0.5, "best": 0.5}))
        ended = {"event": "ended", **which, "trials": 1, "setting": {"lr": 0.1}, "loss": 0.5, "default_loss": 0.75}
        archive.append((TUNING, ended | {"at_edge": [], "notes": [EVIL], "importance": {}, "rule": "def r(w, g): ..."}))
        taken = {"before": f"sqrt{EVIL}", "after": "", "cost": 0.001, "p": 0.4}
        archive.append((SIMPLIFY, {"event": "begun", "source": "run#1", "task": EVIL}))
        archive.append((SIMPLIFY, {"event": "round", "round": 0, "tried": 3, "removed": taken}))
        result = {"size_before": 40, "size_after": 20, "before": 0.5, "after": 0.51, "rule": f"def r(w): {EVIL}"}
        archive.append((SIMPLIFY, {"event": "ended", **result}))
        archive.append((EXTENSION, {"from": {}, "to": {}, "evaluated": 30, "winner": 5}), (POISON, {"hash": "x"}))
    text = page(collect(copy))
    sound = read(text)
    told = " ".join("".join(sound.text).split())
    assert EVIL not in text
    assert told.count(EVIL) >= 5
    assert {"funnel", "monitor", "sealed", "comparison", "tuning", "simplified"} <= set(headings(sound))
    assert "passed" in told
    assert "0.5000 [0.250, 0.750]" in told
    assert told.count("diverged") >= 3
    assert "overfits since 40 evaluations" in told
    assert "sealed_task" in told
    assert "extended after 30 evaluations; program 5 had been chosen" in told
    assert "The sealed tasks are open" in told


def test_names_of_files_and_folders_are_escaped(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / EVIL.replace("/", "")
    shutil.copytree(run, folder)
    assert EVIL not in page(collect(folder))


def test_losses_of_several_tasks_are_relative(tmp_path: Path) -> None:
    tasks = {"evaluation": CONFIG["evaluation"] | {"tasks": ["rosenbrock"]}, "budget": {"evaluations": 12}}
    config = make_config(CONFIG | tasks)
    result = start_search(config, make_evaluator(config), tmp_path / "run", laboratory=make_laboratory(config))
    facts = collect(tmp_path / "run")
    assert facts.start_loss == pytest.approx(1.0)
    assert result.winner is not None
    assert facts.fresh_loss == pytest.approx(result.winner.loss)
    assert facts.fresh_start_loss == pytest.approx(result.winner.start_loss)
    assert "a relative loss of" in page(facts)


def test_a_run_that_has_not_ended_says_so(tmp_path: Path) -> None:
    config = make_config(CONFIG)
    start_search(config, make_evaluator(config), tmp_path / "run", should_stop=lambda: True)
    facts = collect(tmp_path / "run")
    told = "".join(read(page(facts)).text)
    assert not facts.finished
    assert "not finished" in told
    assert "no fresh seed has confirmed that" in told


def test_what_is_no_run_is_refused(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(UserError, match="there is no archive"):
        collect(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        write_report(collect(copy), tmp_path / "nowhere" / "page.html")
    (copy / "pareto.csv").write_text("program,loss\nx,y\n")
    with pytest.raises(UserError, match="is not as the search wrote it"):
        write_report(collect(copy))
    (copy / "pareto.csv").unlink()
    assert "front" not in headings(read(write_report(collect(copy)).read_text(encoding="utf-8")))


# --- the parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", rule_names())
def test_every_rule_of_the_zoo_is_well_formed_mathml(name: str) -> None:
    rule = load(name)
    root = ElementTree.fromstring(mathml(rule))  # noqa: S314 - our own text
    rows = list(root.iter("mtr"))
    statements = len(list(rule.assigns()))
    assert len(rows) >= statements
    assert all(len(row) in (1, 3) for row in rows)
    assert all(len(e) == 2 for e in root.iter() if e.tag in ("mfrac", "msup", "msub", "mroot"))


MATHEMATICS = [
    ("w - lr * g", "theta t-1 - eta g t"),
    ("w - (lr - g)", "theta t-1 - ( eta - g t )"),
    ("(w + g) * g", "( theta t-1 + g t ) g t"),
    ("-(w + g)", "- ( theta t-1 + g t )"),
    ("ema(m, g, 0.9)", "0.9 m t-1 + ( 1 - 0.9 ) g t"),
    ("m * 1e-8", "m t-1 . 10 -8"),
    ("ema(-2.0, g, -0.5)", "- 0.5 ( - 2 ) + ( 1 - ( - 0.5 ) ) g t"),
    ("w - -3.0 - -(g * m)", "theta t-1 - ( - 3 ) - ( - g t m t-1 )"),
    ("(w + g)**2", "( theta t-1 + g t ) 2"),
    ("sign(g) * 3", "sign ( g t ) . 3"),
    ("where(w < g, m, 2.5e-4)", "where ( theta t-1 < g t , m t-1 , 2.5 . 10 -4 )"),
]
PLAIN = {"\N{MINUS SIGN}": "-", "\N{MIDDLE DOT}": ".", "\N{INVISIBLE TIMES}": "", "θ": "theta", "η": "eta"}


@pytest.mark.parametrize(("expression", "wanted"), MATHEMATICS)
def test_mathematics(expression: str, wanted: str) -> None:
    rule = parse(f"def r(w, g, m, *, lr=1):\n    w = {expression}\n    return w, m\n")
    row = next(ElementTree.fromstring(mathml(rule)).iter("mtr"))  # noqa: S314 - our own text
    words = " ".join(" ".join(row[2].itertext()).split())
    for sign, plain in PLAIN.items():
        words = words.replace(sign, plain)
    words = re.sub(r"t - 1\b", "t-1", re.sub(r"10 - ", "10 -", " ".join(words.split())))
    assert words == wanted


def test_a_difference_holds_both_texts() -> None:
    before = "def r(w, g):\n    a = sqrt(g)\n    b = a * 2\n    c = b + a\n    return w - c\n"
    after = "def r(w, g):\n    x = max(1, g)\n    a = sqrt(x)\n    b = a * 3\n    return w - b * a\n"
    rows = re.findall(r'<span class="(gone|new)">(.*?)</span>', difference(before, after))
    plain = {kind: [re.sub(r"<[^>]*>", "", row)[2:] for k, row in rows if k == kind] for kind in ("gone", "new")}
    old, new = before.splitlines(), after.splitlines()
    assert plain["gone"] == [line for line in old if line not in new]
    assert plain["new"] == [line for line in new if line not in old]
    assert "<del>2</del>" in difference(before, after)
    assert "no effect" in difference(before, before)
    assert "<b>" not in difference("a = 1", f"a = {Html('<b>')}")


@pytest.mark.parametrize(
    "scale", [Scale(0.13, 0.27, 0, 1), Scale(0.01, 40, 0, 1, True), Scale(1, 3e5, 0, 1, True), Scale(-3, 9e4, 0, 1)]
)
def test_ticks_are_round_few_and_within(scale: Scale) -> None:
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 14
    assert all(0 <= scale(value) <= 1 + 1e-9 for value, _ in ticks)
    assert len({words for _, words in ticks}) == len(ticks)
    for value, words in ticks:
        assert float(words.replace(",", "").replace("\N{MINUS SIGN}", "-")) == pytest.approx(value)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [(0.12345, "0.1235"), (12.0, "12.00"), (1e-8, "1e-08"), (-0.5, "\N{MINUS SIGN}0.5000"), (None, "\N{EN DASH}"),
     (float("inf"), "\N{EN DASH}"), (0.0, "0.000"), (123456.0, "1.235e+05")],
)  # fmt: skip
def test_numbers(value: float | None, wanted: str) -> None:
    assert number(value) == wanted


def test_signs_and_markup() -> None:
    assert (signed(0.5), signed(-0.5), signed(0.0)) == ("+0.500", "\N{MINUS SIGN}0.500", "\N{PLUS-MINUS SIGN}0")
    assert tag("a", "<b>", Html("<i>"), class_='"') == '<a class="&quot;">&lt;b&gt;<i></a>'


# --- size and browsers ----------------------------------------------------------------------------------


@pytest.mark.nightly
def test_a_run_of_lions_size_is_quick_and_small(copy: Path) -> None:
    """300,000 programs, of which one in nine was trained ten times."""
    path = copy / "archive.sqlite"
    with Archive(path, create=False) as archive:
        (count,) = archive._db.execute("SELECT COUNT(*) FROM programs").fetchone()
        text, digest, *_ = archive.program(count - 1)
        with archive._transaction():
            for i in range(count, 300_000):
                known = int(i % 9 != 0)
                own = digest if known else f"{i:032x}"
                row = (i, 1, i - 1, own, text, "modify", 0, "ok", known, 5.0 + i % 97, '{"lr": 0.1}', "")
                archive._insert("programs", [row])
                if not known:
                    trials = [StoredTrial({"lr": 0.1 * k}, s, "ok", 5.0) for k in range(5) for s in (0, 1)]
                    archive._trainings("search", {own: trials}, "e")
    began = time.process_time()  # other work on the machine is not ours
    written = write_report(collect(copy))
    assert time.process_time() - began < 20
    assert written.stat().st_size < 2_000_000
    read(written.read_text(encoding="utf-8"))


def test_a_browser_draws_it(run: Path, tmp_path: Path) -> None:
    names = ("chromium", "chromium-headless-shell", "google-chrome", "chrome-headless-shell")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium here")
    page_, shot = write_report(collect(run), tmp_path / "page.html"), tmp_path / "page.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    probe = [*command, "--window-size=900,1200", f"--screenshot={shot}", page_.as_uri()]
    subprocess.run(probe, check=True, capture_output=True, timeout=120)
    assert shot.stat().st_size > 20_000


def test_json_and_text_write_no_page(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from evoptim.cli.app import report

    report(copy, text=True)
    report(copy, as_json=True)
    *_, last = capsys.readouterr().out.partition("\n{")
    assert json.loads("{" + last)["finished"] is True
    assert not (copy / "report.html").exists()
    report(copy)
    assert capsys.readouterr().out.endswith(f"wrote {copy / 'report.html'}\n")
    with pytest.raises(UserError, match="--output with --text"):
        report(copy, output=copy / "x.html", text=True)
