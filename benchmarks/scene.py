"""Where and how thoroughly is measured."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import server
from measure import Others

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fill import Filler
from kombu_depqueue.testing.fixtures import Place

__all__ = ["SIZES", "Scene", "Site"]

SIZES = ("smoke", "quick", "usual", "long")


@dataclass(frozen=True, slots=True)
class Site:
    """A fresh place with a JobQueue on it and a Filler for it."""

    queue: JobQueue
    filler: Filler

    @property
    def url(self) -> str:
        """The URL for further JobQueues."""
        return self.filler.place.url

    def drain(self, count: int, batch: int) -> None:
        """Reserve and ack so many jobs."""
        for _ in range(count // batch):
            self.queue.ack_many(self.queue.reserve_many(batch, 10))

    def drain_singly(self, count: int) -> None:
        """Reserve and ack so many jobs one by one."""
        for _ in range(count):
            self.queue.reserve(10).ack()


@dataclass(frozen=True, slots=True)
class Scene:
    """The databases to measure on, and how much to do there."""

    databases: Sequence[str]
    server: str | None
    size: str
    others: Others
    left_out: dict[str, str] = field(default_factory=dict)
    """Which contenders take no part, and why."""
    settings: dict[str, str] = field(default_factory=dict)
    """What the contenders said of their versions and settings."""

    def few(self, names: Iterable[str]) -> list[str]:
        """All, or in a smoke test only the first: where each costs a process."""
        return list(names)[: self.pick(99, 99, 1)]

    def pick(self, usual: int, quick: int, smoke: int, long: int | None = None) -> int:
        """A number of rounds, rows or seconds."""
        return dict(zip(SIZES, (smoke, quick, usual, usual if long is None else long), strict=True))[self.size]

    @contextmanager
    def site(self, database: str) -> Iterator[Site]:
        """A fresh place on a database, with a JobQueue."""
        gc.collect()
        with self.place(database) as where:
            filler = Filler(where)
            with JobQueue(where.url) as queue:
                yield Site(queue, filler)

    def place(self, database: str) -> AbstractContextManager[Place]:
        """A file, or a schema on the server."""
        return server.place(database, self.server)

    def empty(self, database: str) -> AbstractContextManager[str]:
        """A file, or a database on the server."""
        return server.empty(database, self.server)

    def admin(self, url: str) -> Any:
        """A psycopg connection in autocommit mode."""
        return server.admin(url)

    def leave_out(self, name: str, why: str) -> None:
        """Say once that a contender takes no part."""
        if name not in self.left_out:
            self.left_out[name] = why
            print(f"{name} is left out: {why}", file=sys.stderr)
