"""SAQ on PostgreSQL: a worker takes and finishes one job at a time."""

from __future__ import annotations

from peers.base import BODY, Asynchronous, plain_url, versions


class Peer(Asynchronous):
    """Its PostgresQueue, as its Worker calls it."""

    batches = False

    def __init__(self, url: str, create: bool) -> None:
        from saq import Queue
        from saq.job import Status

        super().__init__()
        self._complete = Status.COMPLETE
        self.settings = versions("saq", "psycopg")

        async def connect() -> Queue:  # it looks for the running loop
            queue = Queue.from_url(plain_url(url))
            await queue.connect()
            return queue

        self._queue = self.run(connect())

    def enqueue(self, count: int) -> None:
        async def work() -> None:
            for _ in range(count):
                await self._queue.enqueue("bench", **BODY)

        self.run(work())

    def enqueue_many(self, count: int, batch: int) -> None:
        self.enqueue(count)  # it knows no batches

    async def _take(self, batch: int) -> int:
        job = await self._queue.dequeue(timeout=0.2)
        if job is not None:
            await job.finish(self._complete)
        return int(job is not None)

    def close(self) -> None:
        self.run(self._queue.disconnect())
        self.close_loop()
