"""Workers that are processes of this machine, spoken to over pipes.

No call blocks for longer than it is told to: pipes are read and written as far as they are ready, and a worker that
does not heed is killed with all its descendants.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

from .workforce import Gone, Said

LONGEST_LINE = 64 << 20
"""Bytes of an answer; a worker that says more without an end of line is taken for mad."""

GRACE = 5.0
"""Seconds that a killed process is waited for."""


class _Process:
    """One worker: a process in a session of its own, so that Ctrl-C reaches the driver alone."""

    def __init__(self, command: Sequence[str]) -> None:
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.process = subprocess.Popen(  # noqa: S603 - the program's own command
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.input, False)
        os.set_blocking(self.output, False)
        self.unsent, self.unread = bytearray(), bytearray()

    def write(self) -> None:
        """Send as much as the pipe takes; that a worker has gone is seen where its output ends."""
        try:
            del self.unsent[: os.write(self.input, self.unsent)]
        except BrokenPipeError:
            self.unsent.clear()

    def read(self) -> list[str] | None:
        """The lines that have come to their end, or None where the worker has gone or is mad."""
        try:
            data = os.read(self.output, 1 << 20)
        except BlockingIOError:
            return []
        self.unread += data
        if not data or len(self.unread) > LONGEST_LINE:
            return None
        if b"\n" not in data:
            return []
        *lines, self.unread = self.unread.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def epitaph(self) -> str:
        """How a process ended that has closed its output or talks without end."""
        try:
            code = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "went on without answering"
        if code < 0:
            return f"was killed by signal {-code}"
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace").strip().splitlines()
        return f"ended with code {code}: {said[-1] if said else 'it said nothing':.200}"

    def kill(self) -> None:
        """End the process and its descendants, and close what it was spoken to over."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE)
        for pipe in (self.process.stdin, self.process.stdout, self.errors):
            assert pipe is not None
            pipe.close()


class Processes:
    """A crew of processes.

    Args:
        command: Starts a worker; one that calls `serve`.
        size: How many.
    """

    def __init__(self, command: Sequence[str], size: int) -> None:
        self.command, self.size = command, size
        self._running: dict[int, _Process] = {}
        self._ready = selectors.DefaultSelector()

    def start(self, worker: int) -> None:
        """Start a worker, in place of one that was there."""
        self.stop(worker)
        process = self._running[worker] = _Process(self.command)
        self._ready.register(process.output, selectors.EVENT_READ, worker)

    def stop(self, worker: int) -> None:
        """End a worker, if it is there."""
        process = self._running.pop(worker, None)
        if process is None:
            return
        self._ready.unregister(process.output)
        if process.unsent:
            self._ready.unregister(process.input)
        process.kill()

    def send(self, worker: int, line: str) -> None:
        """Say a line to a worker; it leaves as the pipe takes it."""
        process = self._running[worker]
        if not process.unsent:
            self._ready.register(process.input, selectors.EVENT_WRITE, worker)
        process.unsent += line.encode() + b"\n"

    def wait(self, seconds: float) -> list[Said | Gone]:
        """What the workers have said, and who has gone, as soon as there is something or the time is over."""
        events: list[Said | Gone] = []
        for key, _ in self._ready.select(seconds):
            worker: int = key.data
            process = self._running.get(worker)
            if process is None:
                continue  # gone a moment ago
            if key.fd == process.input:
                self._write(process)
            elif (lines := process.read()) is not None:
                events += [Said(worker, line) for line in lines]
            else:
                events.append(Gone(worker, process.epitaph()))
                self.stop(worker)
        return events

    def close(self) -> None:
        """End all of them."""
        for worker in list(self._running):
            self.stop(worker)
        self._ready.close()

    def _write(self, process: _Process) -> None:
        process.write()
        if not process.unsent:
            self._ready.unregister(process.input)
