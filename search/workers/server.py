"""The worker's side: requests in, answers out, until the driver goes away."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable
from typing import TextIO

from evoptim.dsl import UserError, parse

from ..evaluator import Evaluator
from .messages import READY, answer, refusal


class Answering:
    """Answers requests with evaluators, each made once per job.

    Args:
        make: Makes the evaluator of a job from the job's text.
    """

    def __init__(self, make: Callable[[str], Evaluator]) -> None:
        self.make = make
        self._evaluators: dict[str, Evaluator] = {}

    def answer(self, line: str) -> str:
        """The answer to a request, as a line without its end."""
        request = json.loads(line)
        what = request["job"]
        try:
            if what not in self._evaluators:
                self._evaluators[what] = self.make(what)
        except UserError as error:
            return refusal(request["lease"], error)
        evaluator = self._evaluators[what]
        results = evaluator.evaluate([parse(t) for t in request["rules"]], request["settings"], request["seeds"])
        return answer(request["lease"], evaluator.version, request["rules"], results)


def serve(make: Callable[[str], Evaluator]) -> None:
    """Answer requests on standard input until it ends.

    Standard output is kept for the answers: what anything else prints goes to standard error. When the input ends the
    process ends at once, also in the midst of a training: nobody waits for it any more.
    """
    lines = queue.SimpleQueue[str]()
    threading.Thread(target=_listen, args=(sys.stdin, lines), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)
        answering = Answering(make)
        print(READY, file=out, flush=True)
        while True:
            print(answering.answer(lines.get()), file=out, flush=True)


def _listen(source: TextIO, lines: queue.SimpleQueue[str]) -> None:
    for line in source:
        lines.put(line)
    os._exit(0)
