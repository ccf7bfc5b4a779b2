"""Oban (Python 3.12 or newer), through its psycopg pool: a producer takes as many jobs as it has room for."""

from __future__ import annotations

from peers.base import BODY, Asynchronous, plain_url, versions


class Peer(Asynchronous):
    """Its Query, as its producer calls it: it fetches many, and acks them one by one in one transaction."""

    batches = True

    def __init__(self, url: str, create: bool) -> None:
        from oban._executor import AckAction
        from oban._query import Query
        from oban.schema import install
        from psycopg_pool import AsyncConnectionPool

        super().__init__()
        self._action = AckAction
        self.settings = versions("oban", "psycopg")

        async def connect() -> AsyncConnectionPool:  # it looks for the running loop
            pool = AsyncConnectionPool(plain_url(url), min_size=1, max_size=4, open=False)
            await pool.open()
            if create:
                await install(pool)
            return pool

        self._pool = self.run(connect())
        self._query = Query(self._pool)

    def enqueue(self, count: int) -> None:
        from oban.job import Job

        async def work() -> None:
            for _ in range(count):
                await self._query.insert_jobs([Job(worker="bench", queue="bench", args=BODY)])

        self.run(work())

    def enqueue_many(self, count: int, batch: int) -> None:
        from oban.job import Job

        async def work() -> None:
            for _ in range(count // batch):
                await self._query.insert_jobs([Job(worker="bench", queue="bench", args=BODY) for _ in range(batch)])

        self.run(work())

    async def _take(self, batch: int) -> int:
        jobs = await self._query.fetch_jobs(batch, "bench", "node", "uuid")
        await self._query.ack_jobs([self._action(job=job, state="completed") for job in jobs])
        return len(jobs)

    def close(self) -> None:
        self.run(self._pool.close())
        self.close_loop()
