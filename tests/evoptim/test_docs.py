"""Every code block of the README and the docs runs, in order, in one directory per page.

Blocks with a title are written to a file of that name. Python blocks are executed, console blocks are run and their
output is compared; ``...`` stands for anything.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EVOPTIM = Path(sys.executable).with_name("evoptim")


def run(command: list[str], folder: Path) -> str:
    """What a command prints on both streams."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    return done.stdout


def run_console(block: str, folder: Path) -> None:
    """Run the commands of a console block and compare what they print."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        program, *arguments = shlex.split(line)
        assert program == "evoptim"
        printed = run([str(EVOPTIM), *arguments], folder)
        pattern = re.escape(expected.strip("\n")).replace(r"\.\.\.", "(?s:.*?)")
        assert re.fullmatch(pattern, printed.strip("\n")), f"$ {line}\n{printed}"


def run_python(blocks: list[str], folder: Path) -> None:
    """Run all Python blocks so far as one program: later ones build on earlier ones."""
    program = folder / "page.py"
    program.write_text("\n".join(blocks), encoding="utf-8")
    printed = run([sys.executable, str(program), "--finished"], folder)
    assert "Traceback" not in printed, printed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_block_runs(page: Path, tmp_path: Path) -> None:
    pending: list[str] = []
    for language, title, body in FENCE.findall(page.read_text(encoding="utf-8")):
        if title:
            (tmp_path / title).write_text(body, encoding="utf-8")
        elif language == "python":
            pending.append(body)
            run_python(pending, tmp_path)
        elif language == "console":
            run_console(body, tmp_path)
        elif language == "sh":
            for line in body.splitlines():
                assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for rule_file in tmp_path.glob("*.rule.py"):
        printed = run([str(EVOPTIM), "check", str(rule_file)], tmp_path)
        assert ("is a valid rule" in printed) == (rule_file.name != "wrong.rule.py"), printed


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
