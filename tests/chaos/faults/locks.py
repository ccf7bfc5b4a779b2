"""Another process that has an SQLite file for itself for a while."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.base import Scene

from kombu_depqueue.testing.helpers import ChildProcess

__all__ = ["KINDS", "FileLocked", "Locker", "locker", "sqlite"]

KINDS = ("IMMEDIATE", "EXCLUSIVE")
"""As which transactions begin that hold the lock."""

PROGRAM = """
import sqlite3, sys, time
from kombu_depqueue.testing.helpers import hear, say
connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
while True:
    kind, seconds = hear()
    connection.execute("BEGIN " + kind)
    say("locked")
    time.sleep(seconds)
    connection.execute("ROLLBACK")
    say("free")
"""


class Locker:
    """The other process."""

    def __init__(self, path: Path | str) -> None:
        self._process = ChildProcess(PROGRAM, path)
        self._turn = threading.Lock()

    @contextmanager
    def locked(self, kind: str, seconds: float) -> Iterator[None]:
        """It has the lock when the block begins, and so many seconds from then; the block ends when it is free."""
        with self._turn:
            self._process.tell([kind, seconds])
            assert self._process.heard(60) == "locked"
            yield
            assert self._process.heard(seconds + 30) == "free"

    def lock_for_ever(self, kind: str) -> None:
        """Until it is killed."""
        self._process.tell([kind, 1e6])
        assert self._process.heard(60) == "locked"

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()

    def close(self) -> None:
        """End it."""
        self._process.close()


@dataclass
class FileLocked:
    """The other process holds the write lock."""

    locker: Locker
    longest: float = 1.0
    name: str = "file locked by another process"

    def inject(self, chance: random.Random) -> None:
        with self.locker.locked(chance.choice(KINDS), chance.uniform(0.05, self.longest)):
            pass


@contextmanager
def locker(path: Path | str) -> Iterator[Locker]:
    """Such a process, beside a file."""
    made = Locker(path)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def sqlite() -> Iterator[Scene]:
    """A file that another process locks now and then."""
    with TemporaryDirectory(prefix="depqueue-locks-") as directory:
        path = Path(directory) / "jobs.db"
        with locker(path) as made:
            yield Scene(f"sqlite:///{path}", f"sqlite:///{path}", [FileLocked(made)])
