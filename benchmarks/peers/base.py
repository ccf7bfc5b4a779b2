"""What a contender is: a native queue, which the groups drive, or a broker, which Celery and Kombu drive.

A new one is a file beside this and a line in `contenders.py`. Its library is imported when it is opened, so that
one that is not installed is left out, and said so; `Missing` says why else it cannot take part.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from sqlalchemy import make_url

__all__ = ["BODY", "TEXT", "Address", "Asynchronous", "Missing", "Native", "plain_url", "versions"]

BODY = {"pad": "x" * 480}
"""What each job carries: about 500 bytes."""
TEXT = json.dumps(BODY)
_PATIENCE = 30.0
"""Seconds in which a job that was enqueued must come."""


class Missing(Exception):
    """The contender cannot take part here; the message says why."""


class Native(Protocol):
    """A queue with an API of its own. What it has done is as durable as a commit when a method returns."""

    settings: str
    """Versions and settings that matter, for the report."""
    batches: bool
    """Whether a worker takes and settles several jobs at once; else it does so one by one, whatever it is told."""

    def enqueue(self, count: int) -> None:
        """Enqueue jobs one by one."""

    def enqueue_many(self, count: int, batch: int) -> None:
        """Enqueue jobs (a multiple of `batch`) in batches, where it has them; else one by one."""

    def take(self, batch: int) -> int:
        """Take and settle what is ready, at most so many jobs, as the library's own worker does; returns how many."""

    def drain(self, count: int, batch: int) -> None:
        """Take and settle so many jobs, in batches; waits for them."""

    def close(self) -> None:
        """Close what was opened."""


@dataclass(frozen=True, slots=True)
class Address:
    """A broker: where it is, and how Celery is told of it."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: str = ""
    preloads: bool = False
    """Its messages live in the process that published them: a worker must publish its own backlog."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What its workers are told beside."""


class Asynchronous:
    """A peer whose API is of coroutines, which run in a loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run one to its end."""
        return self._loop.run_until_complete(work)

    async def _take(self, batch: int) -> int:
        raise NotImplementedError

    def take(self, batch: int) -> int:
        """See `Native`."""
        return int(self.run(self._take(batch)))

    def drain(self, count: int, batch: int) -> None:
        """See `Native`; in one coroutine, since to start one for each job would cost what none of their workers pay."""

        async def work(left: int) -> None:
            until = time.monotonic() + _PATIENCE
            while left:
                taken = await self._take(min(batch, left))
                left -= taken
                if taken:
                    until = time.monotonic() + _PATIENCE
                elif time.monotonic() > until:
                    raise TimeoutError(f"{left} jobs did not come")
                else:
                    await asyncio.sleep(0.002)

        self.run(work(count))

    def close_loop(self) -> None:
        """After the last."""
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


def versions(*names: str) -> str:
    """The installed versions of these packages."""
    return ", ".join(f"{name} {version(name)}" for name in names)


def plain_url(url: str) -> str:
    """The URL as libpq knows it."""
    return make_url(url).set(drivername="postgresql", query={}).render_as_string(hide_password=False)
