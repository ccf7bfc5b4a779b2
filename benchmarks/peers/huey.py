"""Huey on SQLite, with fsync: a job is gone when it is taken, at most once."""

from __future__ import annotations

from peers.base import BODY, versions
from sqlalchemy import make_url


class Peer:
    """What its consumer does: dequeue and execute."""

    batches = False

    def __init__(self, url: str, create: bool) -> None:
        from huey import SqliteHuey

        self.settings = versions("huey") + ", fsync=True"
        self._huey = SqliteHuey("bench", filename=make_url(url).database, fsync=True)

        @self._huey.task(name="bench")
        def bench(**_: str) -> None: ...

        self._task = bench

    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self._task(**BODY)

    def enqueue_many(self, count: int, batch: int) -> None:
        self.enqueue(count)  # it knows no batches

    def take(self, batch: int) -> int:
        task = self._huey.dequeue()
        if task is not None:
            self._huey.execute(task)
        return int(task is not None)

    def drain(self, count: int, batch: int) -> None:
        for _ in range(count):
            if not self.take(1):
                raise LookupError("there are fewer jobs than were enqueued")

    def close(self) -> None:
        self._huey.storage.close()
