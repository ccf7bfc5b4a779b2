"""litequeue: a table in a SQLite file; put, pop, done."""

from __future__ import annotations

from peers.base import TEXT, versions
from sqlalchemy import make_url


class Peer:
    """Its LiteQueue, with `synchronous = FULL` as the others have."""

    batches = False

    def __init__(self, url: str, create: bool) -> None:
        from litequeue import LiteQueue

        self.settings = versions("litequeue") + ", synchronous=FULL"
        self._queue = LiteQueue(make_url(url).database)
        self._queue.conn.execute("PRAGMA synchronous = FULL")

    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self._queue.put(TEXT)

    def enqueue_many(self, count: int, batch: int) -> None:
        self.enqueue(count)  # it knows no batches

    def take(self, batch: int) -> int:
        message = self._queue.pop()
        if message is None:
            return 0
        fence = {"claim_id": message.claim_id} if hasattr(message, "claim_id") else {}  # since 0.10
        self._queue.done(message.message_id, **fence)
        return 1

    def drain(self, count: int, batch: int) -> None:
        for _ in range(count):
            if not self.take(1):
                raise LookupError("there are fewer jobs than were enqueued")

    def close(self) -> None:
        self._queue.conn.close()
