"""The directory of a run: what lies in it, who may write there, and writing so that no file is ever half there."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from evoptim.dsl import UserError

ARCHIVE, CONFIG, BEST, FRONT, LOCK = "archive.sqlite", "search.toml", "best.rule", "pareto.csv", ".lock"
TRACE = "progress.jsonl"
REPORT = "report.html"


def make_directory(directory: Path) -> None:
    """Make the directory of a run.

    Raises:
        UserError: It cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {directory}: {error.strerror or error}", "choose another directory") from error


def refuse_occupied(directory: Path) -> None:
    """Make sure that nothing is there yet.

    Raises:
        UserError: There is something, or it cannot be read.
    """
    try:
        occupied = any(p.name != LOCK for p in directory.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {directory}: {error.strerror or error}", "choose another directory") from error
    if occupied:
        raise UserError(f"{directory} is not empty", "resume it with --resume, or choose another run directory")


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Hold the run directory against other processes; the lock ends with the process, however it ends.

    Raises:
        UserError: Another process holds it, or the file system has no locks.
    """
    try:
        file = open(directory / LOCK, "a")  # noqa: SIM115 - closed below, and its errors are not those of the run
    except OSError as error:
        raise _unwritable(directory / LOCK, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{directory} is in use by another process", "wait for it, or stop it first") from error
        except OSError as error:
            raise UserError(
                f"cannot lock {directory}: {error.strerror or error}", "choose a directory on a local disk"
            ) from error
        yield


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path}: {error.strerror or error}", "free disk space or mend the permissions, then --resume"
    )


def write(path: Path, text: str) -> None:
    """Replace a file as a whole, or leave it.

    Raises:
        UserError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error


def append(path: Path, line: str) -> None:
    """Add a line in one piece: readers and a process that is killed see it whole or not at all.

    Raises:
        UserError: It cannot be written.
    """
    data = line.encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            written = os.write(descriptor, data)
        finally:
            os.close(descriptor)
        if written < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise _unwritable(path, error) from error
