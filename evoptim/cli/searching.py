"""``evoptim search``: runs or resumes a search and shows how it goes."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.syntax import Syntax
from rich.table import Table

from evoptim.dsl import UserError
from evoptim.search import (
    Evaluator,
    Laboratory,
    Limits,
    Progress,
    SearchConfig,
    SearchResult,
    load_config,
    resume_search,
    start_search,
    to_toml,
)
from evoptim.search.workers import PoisonList

from ..tracking import Trackers, make_trackers
from ..wiring import search_bench
from ..workers import Staff, working
from .tables import finite

HEAD = """\
# A search of evoptim: run it with `evoptim search search.toml`.
# Every key may be left out; what stands here are the defaults. docs/search.md says more.

"""


def template() -> str:
    """A configuration to start from: every key with its default and what it means."""
    return HEAD + to_toml(SearchConfig())


def run_search(
    config: Path | None,
    resume: Path | None,
    output: Path | None,
    limits: Limits,
    loggers: list[str],
    staff: Staff,
    as_json: bool,
    console: Console,
) -> None:
    """The whole command.

    Raises:
        UserError: Neither or both of a configuration and a run to resume are given, or one of them is wrong.
    """
    if (config is None) == (resume is None):
        raise UserError("give either a configuration or --resume", "evoptim search search.toml")
    if resume is not None and output is not None:
        raise UserError("--output with --resume", "a resumed search stays in its directory")
    with _stopping() as should_stop, _display(console, as_json) as show, ExitStack() as stack:
        session = _Session(stack, show, should_stop, loggers, staff)
        if resume is not None:
            result = session.resume(resume, limits)
        else:
            assert config is not None
            checked = load_config(config)
            checked = limits.applied(checked) if limits else checked
            result = session.start(checked, output or _fresh_directory(checked.name))
    _conclude(result, as_json, console)


class _Session:
    """One call of the command: who trains, who is told, and when to stop.

    Args:
        stack: Closes workers and loggers, however the search ends.
        show: Shows progress to the person.
        should_stop: Whether the person has asked for an end.
        loggers: Those asked for on the command line.
        staff: Who is to train, where the command line says so.
    """

    def __init__(
        self,
        stack: ExitStack,
        show: Callable[[Progress], None],
        should_stop: Callable[[], bool],
        loggers: list[str],
        staff: Staff,
    ) -> None:
        self.stack, self.show, self.should_stop, self.loggers, self.staff = stack, show, should_stop, loggers, staff
        self.poison = PoisonList()
        self.trackers = Trackers({})
        self._benches: Laboratory | None = None

    def start(self, config: SearchConfig, directory: Path) -> SearchResult:
        """Run a search in a new directory."""
        evaluator = self._wired(config, directory)
        return start_search(
            config,
            evaluator,
            directory,
            laboratory=self._laboratory(config),
            report=self._report,
            should_stop=self.should_stop,
            poison=self.poison,
        )

    def resume(self, directory: Path, limits: Limits) -> SearchResult:
        """Go on with one."""
        return resume_search(
            directory,
            lambda stored: self._wired(stored, directory),
            make_laboratory=self._laboratory,
            report=self._report,
            should_stop=self.should_stop,
            limits=limits,
            poison=self.poison,
        )

    def _wired(self, config: SearchConfig, directory: Path) -> Evaluator:
        """Look for the loggers, before anything is written, and then for those who train."""
        self.trackers = make_trackers(config, self.loggers, directory)
        self.stack.callback(self.trackers.finish)
        return self._laboratory(config)(search_bench(config))

    def _laboratory(self, config: SearchConfig) -> Laboratory:
        """The one laboratory of the session; another budget changes nothing about it."""
        if self._benches is None:
            self._benches = self.stack.enter_context(working(config, self.poison, self.staff))
        return self._benches

    def _report(self, p: Progress) -> None:
        self.show(p)
        numbers = {k: v for k, v in dataclasses.asdict(p).items() if isinstance(v, int | float)}
        self.trackers.log(p.evaluated, numbers)


def _fresh_directory(name: str) -> Path:
    stem = f"{datetime.now():%Y-%m-%d}-{name}"
    candidates = (Path("runs") / (stem if i == 1 else f"{stem}-{i}") for i in range(1, 10_000))
    return next(c for c in candidates if not c.exists())


@contextmanager
def _stopping() -> Generator[Callable[[], bool]]:
    """The first Ctrl-C asks the search to end after its batch, the second ends it at once; nothing is lost."""
    asked: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(signum)
        print("finishing the batch; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _display(console: Console, as_json: bool) -> Generator[Callable[[Progress], None]]:
    """A live table on a terminal, a line per batch elsewhere, JSON lines on request."""
    if as_json:
        yield lambda p: print(json.dumps(progress_json(p)), flush=True)
    elif console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=False) as live:
            yield lambda p: live.update(_panel(p))
    else:
        yield lambda p: print(_line(p), flush=True)


def progress_json(p: Progress) -> dict[str, Any]:
    """A progress report without infinities."""
    return {k: finite(v) if isinstance(v, float) else v for k, v in dataclasses.asdict(p).items()}


def _line(p: Progress) -> str:
    stage = "" if p.stage == "search" else f"{p.stage}: "
    return (
        f"{stage}{p.evaluated}/{p.target} evaluated, {p.generated} generated, {p.cache_hits} cache hits, "
        f"{_spared(p)}{p.diverged} diverged, best {p.best_loss:.4f} (start {p.start_loss:.4f}), "
        f"{_rate(p.session_trainings, p)} trainings/s, {_left(p)} left{_warning(p)}"
    )


def _warning(p: Progress) -> str:
    """What meta-validation has to say against going on."""
    if p.overfitting is None:
        return ""
    return f"; overfitting: nothing found since {p.overfitting} evaluations is better in meta-validation"


def _spared(p: Progress) -> str:
    """What the economies that are on have done so far."""
    counts = {
        "alike": p.fingerprint_hits,
        "vetoed": p.vetoed,
        "stopped": p.stopped,
        "trainings spared": p.spared_trainings,
        "trainings beyond the grid": p.widened_trainings,
        "restarts": p.restarts,
    }
    return "".join(f"{n} {what}, " for what, n in counts.items() if n)


def _rate(count: int, p: Progress) -> str:
    return f"{count / p.session_seconds:.0f}" if p.session_seconds > 0 else "-"


def _left(p: Progress) -> str:
    if p.remaining is None:
        return "?"
    minutes, seconds = divmod(round(p.remaining), 60)
    return f"{minutes}:{seconds:02d}"


def _panel(p: Progress) -> Group:
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(6):
        table.add_column(justify="right")
        table.add_column(style="bold")
    share = f"{p.cache_hits} ({p.cache_hits / max(1, p.generated):.0%})"
    table.add_row("generated", str(p.generated), "distinct", str(p.distinct), "evaluated", f"{p.evaluated}/{p.target}")
    table.add_row("cache hits", share, "diverged", str(p.diverged), "failed", str(p.failed))
    table.add_row("alike", str(p.fingerprint_hits), "vetoed", str(p.vetoed), "stopped", str(p.stopped))
    spared, beyond = str(p.spared_trainings), str(p.widened_trainings)
    table.add_row("by hurdle", str(p.hurdle_stops), "by race", str(p.race_stops), "trainings spared", spared)
    table.add_row("dead code", f"{p.dead_statements:.0%}", "invalid", str(p.invalid), "restarts", str(p.restarts))
    table.add_row(
        "programs/s",
        _rate(p.session_generated, p),
        "trainings/s",
        _rate(p.session_trainings, p),
        "left",
        _left(p),
    )
    if p.widened_trainings or p.overfitting is not None:
        since = "-" if p.overfitting is None else f"since {p.overfitting} evaluations"
        table.add_row("beyond the grid", beyond, "overfitting", since)
    table.add_row("best loss", f"{p.best_loss:.4f}", "start", f"{p.start_loss:.4f}", "stage", p.stage)
    return Group(table, Syntax(p.best_text.rstrip("\n"), "python", background_color="default", word_wrap=True))


def _conclude(result: SearchResult, as_json: bool, console: Console) -> None:
    winner = result.winner
    if as_json:
        found = winner and {
            "text": winner.rule.text,
            "program": winner.index,
            "loss": finite(winner.loss),
            "start_loss": finite(winner.start_loss),
            "passed": winner.passed,
        }
        print(json.dumps({"directory": str(result.directory), "winner": found}))
        return
    if winner is None:
        print(f"stopped; go on with: evoptim search --resume {shlex.quote(str(result.directory))}")
        return
    if result.progress.exhausted:
        p = result.progress
        print(f"ended after {p.evaluated} of {p.target} evaluations: no mutation gives a new program any more")
    title = "the winner"
    if winner.passed is False:
        title = "winner: none, for no program passed the funnel; the best of the selection"
    console.print(f"\n{title}, program {winner.index}:\n", soft_wrap=True)
    print(winner.rule.text)
    directory = shlex.quote(str(result.directory))
    print(
        f"validation loss on the selection's fresh seeds: {winner.loss:.4f}, the start rule's {winner.start_loss:.4f}\n"
        f"report:  evoptim report {directory}\n"
        f"export:  evoptim export {directory}#best -o found.py"
    )
