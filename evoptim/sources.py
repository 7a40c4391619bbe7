"""What a user may write where a rule is wanted: a name, a file, or a program of a run."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from evoptim.dsl import Rule, UserError
from evoptim.dsl import load as load_rule


def resolve(source: str | PathLike[str]) -> Rule:
    """A rule by name, by path, or from a run: ``runs/demo#best``, ``runs/demo#17``.

    Raises:
        UserError: There is no such rule, file, run or program.
    """
    text = fspath(source)
    directory, mark, program = text.rpartition("#")
    if not mark:
        return load_rule(text)
    return _from_run(Path(directory), program)


def _from_run(directory: Path, program: str) -> Rule:
    from evoptim.search import Archive, stored_run, winner_rule

    with Archive(directory / "archive.sqlite", create=False) as archive:
        config, _, _ = stored_run(archive)
        if program.isdigit():
            return winner_rule(archive, config, int(program))
        if program != "best":
            raise UserError(f"{program!r} names no program of a run", "write #best, or the number of a program")
        winner = archive.meta("winner")
        if winner is None:
            index = next((row[0] for row in archive.best()), None)
            if index is None:
                raise UserError(f"{directory} has no program that trained", "resume the search first")
            return winner_rule(archive, config, index)
        return winner_rule(archive, config, int(winner))
