"""Clocks that are wrong, by libfaketime: the server's, which jumps while it runs; and those of the programs.

Only what time it is is faked, not how much goes by: sleeping and waiting take as long as ever.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.base import Scene
from faults.servers import OwnServer, running_postgresql

from kombu_depqueue.testing.servers import ServerMissing

__all__ = ["JUMPS", "Clock", "ClockJump", "postgresql", "programs_clock", "shifted_programs", "ticking_postgresql"]

JUMPS = (7200.0, -3600.0)
"""Seconds: two hours forward, one back."""
ALIKE = {"DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
SHIFTED = Path(__file__).parent / "shifted"
"""A folder for `PYTHONPATH`, without which shifted programs cannot sleep."""


def library() -> str:
    """Where libfaketime is, that for programs with threads. Raises ServerMissing."""
    for place in ("/usr/lib", "/usr/local/lib"):
        for path in sorted(Path(place).glob("**/faketime/libfaketimeMT.so.1")):
            return str(path)
    raise ServerMissing("libfaketime is not installed", expected=False)


class Clock:
    """The clock of a server: how many seconds it is off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """Have it jump, at once."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{seconds:+.0f}\n")
        new.chmod(0o644)
        os.replace(new, self._path)  # the server reads it whenever it wants to know the time

    @property
    def environment(self) -> dict[str, str]:
        """For the server."""
        return {**ALIKE, "LD_PRELOAD": library(), "FAKETIME_TIMESTAMP_FILE": str(self._path), "FAKETIME_NO_CACHE": "1"}


@dataclass
class ClockJump:
    """The database's clock jumps, and after a while back to what is right."""

    clock: Clock
    longest: float = 2.0
    name: str = "clock jumps"

    def inject(self, chance: random.Random) -> None:
        self.clock.set(chance.choice(JUMPS))
        try:
            time.sleep(chance.uniform(0.2, self.longest))
        finally:
            self.clock.set(0.0)


@contextmanager
def ticking_postgresql() -> Iterator[tuple[OwnServer, Clock]]:
    """A server, and its clock. Raises ServerMissing."""
    library()
    with TemporaryDirectory(prefix="depqueue-clock-") as directory:
        Path(directory).chmod(0o755)
        clock = Clock(Path(directory) / "clock")
        with running_postgresql(environment=clock.environment) as server:
            yield server, clock


@contextmanager
def postgresql() -> Iterator[Scene]:
    """A PostgreSQL server whose clock jumps."""
    with ticking_postgresql() as (server, clock):
        yield Scene(server.url, server.url, [ClockJump(clock)])


def programs_clock(seconds: float) -> dict[str, str]:
    """The environment of a Python program whose clock is off by that. Raises ServerMissing."""
    path = os.pathsep.join([str(SHIFTED), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**ALIKE, "LD_PRELOAD": library(), "FAKETIME": f"{seconds:+.0f}", "PYTHONPATH": path}


@contextmanager
def shifted_programs(seconds: float = 3600.0) -> Iterator[Scene]:
    """A PostgreSQL server whose clock is right, and programs whose clocks are not."""
    environment = programs_clock(seconds)
    with running_postgresql() as server:
        yield Scene(server.url, server.url, [], environment)
