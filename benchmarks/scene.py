"""Where and how thoroughly the figures are taken."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from measure import Others
from server import place

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fill import Filler

__all__ = ["Scene", "Site"]


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
    """The databases to measure on, and whether it must be quick."""

    databases: Sequence[str]
    server: str | None
    quick: bool
    others: Others

    def pick(self, thorough: int, quick: int) -> int:
        """A number of rounds, rows or seconds."""
        return quick if self.quick else thorough

    @contextmanager
    def site(self, database: str) -> Iterator[Site]:
        """A fresh place on a database."""
        gc.collect()
        with place(database, self.server) as where:
            filler = Filler(where)
            with JobQueue(where.url) as queue:
                yield Site(queue, filler)
