"""This library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peers.base import BODY, Address, versions
from sqlalchemy import make_url

from kombu_depqueue import Empty, JobMessage, JobQueue

if TYPE_CHECKING:
    from scene import Scene

JOB = "default"


class Peer:
    """The native API with its defaults."""

    batches = True

    def __init__(self, url: str, create: bool) -> None:
        self.settings = versions("kombu-depqueue", "sqlalchemy", "psycopg")
        self.queue = JobQueue(url, create=create)
        self.queue.resume(JOB)

    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self.queue.enqueue(JOB, BODY)

    def enqueue_many(self, count: int, batch: int) -> None:
        for _ in range(count // batch):
            self.queue.enqueue_many([JobMessage.new(JOB, BODY) for _ in range(batch)])

    def take(self, batch: int) -> int:
        try:
            got = self.queue.reserve_many(batch, 0)
        except Empty:
            return 0
        return len(got) - len(self.queue.ack_many(got))

    def drain(self, count: int, batch: int) -> None:
        if batch == 1:
            for _ in range(count):
                self.queue.reserve(10).ack()
            return
        while count:
            got = self.queue.reserve_many(min(batch, count), 10)
            count -= len(got) - len(self.queue.ack_many(got))

    def close(self) -> None:
        self.queue.close()


@contextmanager
def broker(scene: Scene, database: str, *, adapter: bool = False, synced: bool = True) -> Iterator[Address]:
    """The same through Kombu. `synced=False`: commits do not wait for the disk, as Redis with everysec does not."""
    environment = {} if adapter else {"BENCH_PLAIN": "1"}  # it is installed here; few who change their URL have it
    with scene.place(database) as where:
        JobQueue(where.url, create=True).close()
        url = make_url(f"depqueue+{where.url}")
        url = url if synced else url.update_query_dict({"options": "-c synchronous_commit=off"})
        settings = versions("kombu-depqueue", *["kombu-depqueue-celery"] * adapter)
        settings += "" if synced else ", synchronous_commit off"
        yield Address(url.render_as_string(hide_password=False), {}, settings, environment=environment)
