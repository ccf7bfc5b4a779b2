"""PgQueuer, through asyncpg as its README has it: a worker takes a batch and logs a batch."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

from peers.base import TEXT, Asynchronous, plain_url, versions

JOB = "bench"


class Peer(Asynchronous):
    """Its `Queries`, as its QueueManager calls them."""

    batches = True

    def __init__(self, url: str, create: bool) -> None:
        import asyncpg
        from pgqueuer.db import AsyncpgDriver
        from pgqueuer.queries import EntrypointExecutionParameter, Queries

        super().__init__()
        self.settings = versions("pgqueuer", "asyncpg")
        self._connection = self.run(asyncpg.connect(plain_url(url)))
        self._queries = Queries(AsyncpgDriver(self._connection))
        self._entrypoints = {JOB: EntrypointExecutionParameter(0)}
        self._manager = uuid4()
        if create:
            self.run(self._queries.install())

    def enqueue(self, count: int) -> None:
        async def work() -> None:
            for _ in range(count):
                await self._queries.enqueue(JOB, TEXT.encode())

        self.run(work())

    def enqueue_many(self, count: int, batch: int) -> None:
        async def work() -> None:
            for _ in range(count // batch):
                await self._queries.enqueue([JOB] * batch, [TEXT.encode()] * batch, [0] * batch)

        self.run(work())

    async def _take(self, batch: int) -> int:
        jobs = await self._queries.dequeue(
            batch_size=batch,
            entrypoints=self._entrypoints,
            queue_manager_id=self._manager,
            global_concurrency_limit=None,
            heartbeat_timeout=timedelta(seconds=30),
        )
        await self._queries.log_jobs([(job, "successful", None) for job in jobs])
        return len(jobs)

    def close(self) -> None:
        self.run(self._connection.close())
        self.close_loop()
