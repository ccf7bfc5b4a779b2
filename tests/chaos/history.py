"""What the programs of a cell did and were told: one file for each process, which is only ever appended to.

An operation is two lines: one before the call ("invoke"), one when it has returned ("is"):

    ok      it took place
    fail    it did not, and never will
    info    it may have (the connection broke while the answer was awaited)

A process that was killed leaves an operation without its second line: that is `info` too. A line is one `write`
to a file opened with O_APPEND, so that kill -9 loses none. Times are nanoseconds of CLOCK_MONOTONIC, which is one
for all processes of a machine; no order is read from them but that of [invoke, complete] windows which do not overlap.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

__all__ = ["FAIL", "INFO", "OK", "History", "Operation", "Reader", "now"]

OK, FAIL, INFO = "ok", "fail", "info"


def now() -> int:
    """Nanoseconds of the clock that all processes of this machine share."""
    return time.monotonic_ns()


class History:
    """This process's file; any thread writes."""

    def __init__(self, folder: Path, program: str) -> None:
        self.path = folder / f"{program}-{os.getpid()}-{now()}.jsonl"
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._numbers = count()
        self._pid = os.getpid()

    @property
    def is_mine(self) -> bool:
        """False in a child that was forked since."""
        return self._pid == os.getpid()

    def invoke(self, op: str, **facts: Any) -> Operation:
        """Note that an operation is about to begin."""
        number = next(self._numbers)
        self.write(n=number, at=now(), op=op, **facts)
        return Operation(self, number)

    def write(self, **line: Any) -> None:
        """Append one line."""
        os.write(self._file, (json.dumps(line, separators=(",", ":")) + "\n").encode())

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)


class Operation:
    """One that was invoked; to be told how it went."""

    __slots__ = ("_history", "_number")

    def __init__(self, history: History, number: int) -> None:
        self._history, self._number = history, number

    def ok(self, **facts: Any) -> None:
        """It took place."""
        self._end(OK, facts)

    def fail(self, **facts: Any) -> None:
        """It did not take place."""
        self._end(FAIL, facts)

    def info(self, **facts: Any) -> None:
        """It may have taken place."""
        self._end(INFO, facts)

    def _end(self, how: str, facts: dict[str, Any]) -> None:
        self._history.write(n=self._number, at=now(), **{"is": how}, **facts)


class Reader:
    """All files of a folder, each read on from where it was left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offsets: dict[Path, int] = {}
        self._lock = threading.Lock()

    def new(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What was written since the last call: (name of the process, line); in order for each process."""
        with self._lock:
            for path in sorted(self._folder.glob("*.jsonl")):
                yield from self._of(path)

    def _of(self, path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            for line in file:
                if not line.endswith(b"\n"):
                    break  # being written: the next look begins with it
                self._offsets[path] = self._offsets.get(path, 0) + len(line)
                yield path.stem, json.loads(line)

    def forget(self, keep: set[str]) -> None:
        """Delete the files of processes that are gone and were read to the end, but for those of `keep`."""
        for path, offset in list(self._offsets.items()):
            if path.stem not in keep and path.stat().st_size == offset:
                path.unlink()
                del self._offsets[path]
