"""Searches in forks of one process that has imported all they need, so that hundreds of them are soon killed.

Every line read is JSON: the arguments of searcher.py, and after how many seconds to send SIGKILL, or null. The answer
is a line of JSON too: the exit code, negative for a signal, and what the search printed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import BinaryIO

from searcher import main


def run_and_exit(arguments: list[str], told: BinaryIO) -> None:
    """The child's part; it never returns."""
    code = 1
    try:
        os.dup2(told.fileno(), 1)
        os.dup2(told.fileno(), 2)
        code = main(arguments)
        sys.stdout.flush()
    except BaseException:  # a fork must not go on as its parent
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def serve() -> None:
    """Answer line by line."""
    for line in sys.stdin:
        arguments, delay = json.loads(line)
        with tempfile.TemporaryFile() as told:
            child = os.fork()
            if child == 0:
                run_and_exit(arguments, told)
            if delay is not None:
                time.sleep(delay)
                os.kill(child, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told.seek(0)
            print(json.dumps([code, told.read().decode()]), flush=True)


if __name__ == "__main__":
    serve()
