"""A search in a process of its own that may kill itself: ``searcher.py CONFIG DIRECTORY [FUNCTION ENTRY COUNT]``.

Starts the search, or resumes it where there is an archive. With the last three arguments the process sends itself
SIGKILL at the COUNT-th call of anything after the ENTRY-th call of FUNCTION.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

from evoptim.dsl import UserError
from evoptim.search import load_config, resume_search, start_search
from evoptim.wiring import make_evaluator, make_laboratory


def arm(function: str, entry: int, count: int) -> None:
    """Count calls, and kill the process at the chosen one."""

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal entry, count
        if entry:
            entry -= event == "call" and frame.f_code.co_name == function
        elif count := count - 1:
            return
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)


def main(arguments: list[str]) -> int:
    config, directory, *where = arguments
    run = Path(directory)
    if where:
        arm(where[0], int(where[1]), int(where[2]))
    try:
        if (run / "archive.sqlite").exists():
            resume_search(run, make_evaluator, make_laboratory=make_laboratory)
        else:
            checked = load_config(config)
            start_search(checked, make_evaluator(checked), run, laboratory=make_laboratory(checked))
    except UserError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
