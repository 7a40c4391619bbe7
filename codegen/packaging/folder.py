"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evoptim.dsl import UserError


@contextmanager
def new_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to fill, which takes its place when the block ends, and is gone if the block raises.

    Args:
        folder: Where it is to be; an empty folder there is replaced, the folder around it must exist.

    Raises:
        UserError: There is something else already, it is the current folder, or it cannot be written.
    """
    try:
        target = Path(os.path.realpath(folder))
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UserError(
                f"{os.fspath(folder)} exists and is not an empty folder", "choose another folder, or remove this one"
            )
        if target == Path.cwd():  # whoever stands in a folder that is replaced stands nowhere
            raise UserError("the current folder cannot be replaced", "name a new folder, such as ./lion-optimizer")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".", suffix=".tmp") as work:
            staging = Path(work) / "folder"  # made by mkdir, it has ordinary permissions
            staging.mkdir()
            yield staging
            if target.exists():
                target.rmdir()  # not every system renames onto an empty folder
            staging.rename(target)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {os.fspath(folder)}: {reason}", "choose a writable path") from error
