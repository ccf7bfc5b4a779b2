"""The worker processes, seen from outside: start, kill, end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

__all__ = ["LEASE", "THREADS", "WorkerProcess", "Workers"]

LEASE = 2.0
"""Seconds until the jobs of a killed worker are handed out again: short, so that one can watch it."""
THREADS = 3
"""Jobs that each worker runs at once."""
PATIENCE = 10.0
"""Seconds a worker gets to end the jobs under way before it is killed."""


class WorkerProcess:
    """One running worker; what it complains of goes into a file."""

    def __init__(self, name: str, url: str, directory: Path) -> None:
        self.name, self.killed = name, False
        self._log = directory / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kombu_depqueue.demo.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for whoever started us; it ends us in order
            )
        told = {"url": url, "name": name, "lease": LEASE, "threads": THREADS}
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):  # it has ended already: `ended` and `complaints` tell
            self._process.stdin.write(json.dumps(told).encode() + b"\n")
            self._process.stdin.flush()

    @property
    def ended(self) -> bool:
        """Whether it is gone, and not because we killed it."""
        return not self.killed and self._process.poll() is not None

    @property
    def complaints(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-2000:].strip()

    def kill(self) -> None:
        """End it with SIGKILL (kill -9): it can tell nobody, give nothing back, close nothing."""
        self.killed = True
        self._process.kill()
        self._process.wait()

    def ask_to_stop(self) -> None:
        """Send SIGTERM: it ends the jobs under way and takes no more."""
        if self._process.poll() is None:
            self._process.terminate()

    def close(self, until: float) -> None:
        """Wait for its end until this moment of the monotonic clock, then kill it."""
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            if self._process.stdin is not None:
                with suppress(BrokenPipeError):
                    self._process.stdin.close()


class Workers:
    """All worker processes of one run; as a context manager it leaves none behind."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url, self._directory = url, directory
        self.all: list[WorkerProcess] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def start(self) -> WorkerProcess:
        """Start one more."""
        worker = WorkerProcess(f"worker-{len(self.all) + 1}", self._url, self._directory)
        self.all.append(worker)
        return worker

    def named(self, name: str) -> WorkerProcess | None:
        """Find one that runs by its name."""
        return next((w for w in self.all if w.name == name and not w.killed), None)

    def close(self) -> None:
        """End all in order; kill those that do not end in time."""
        try:
            for worker in self.all:
                worker.ask_to_stop()
            until = time.monotonic() + PATIENCE
            for worker in self.all:
                worker.close(until)
        finally:
            for worker in self.all:  # a second Ctrl-C came while we waited
                worker.close(0.0)
            self.all.clear()
