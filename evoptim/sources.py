"""What a user may write where a rule is wanted: a name, a file, or a program of a run."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from evoptim.dsl import Rule, UserError, parse_file
from evoptim.dsl import load as load_rule

SIMPLIFIED = "simplified.rule"
"""The file in a run directory that `evoptim simplify` writes."""


def resolve(source: str | PathLike[str]) -> Rule:
    """A rule by name, by path, or from a run: ``runs/demo#best``, ``runs/demo#17``, ``runs/demo#simplified``.

    Raises:
        UserError: There is no such rule, file, run or program.
    """
    text = fspath(source)
    directory, mark, program = text.rpartition("#")
    if not mark:
        return load_rule(text)
    if program == "simplified":
        return _simplified(Path(directory))
    return _from_run(Path(directory), program)


def run_of(source: str | PathLike[str]) -> Path | None:
    """The run directory that a source is in; None where it is a rule by name or path."""
    directory, mark, _ = fspath(source).rpartition("#")
    return Path(directory) if mark else None


def _simplified(directory: Path) -> Rule:
    path = directory / SIMPLIFIED
    if not path.is_file():
        raise UserError(f"{directory} has no simplified program", f"make one with evoptim simplify {directory}#best")
    return parse_file(path)


def _from_run(directory: Path, program: str) -> Rule:
    from evoptim.search import Archive, stored_run, winner_rule

    with Archive(directory / "archive.sqlite", create=False) as archive:
        config, _, _ = stored_run(archive)
        if program.isdigit():
            return winner_rule(archive, config, int(program))
        if program != "best":
            raise UserError(f"{program!r} names no program of a run", "write #best, #simplified or a program's number")
        winner = archive.meta("winner")
        if winner is None:
            index = next((row[0] for row in archive.best()), None)
            if index is None:
                raise UserError(f"{directory} has no program that trained", "resume the search first")
            return winner_rule(archive, config, index)
        return winner_rule(archive, config, int(winner))
