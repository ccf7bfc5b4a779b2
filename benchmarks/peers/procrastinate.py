"""Procrastinate, through its own psycopg pool: a worker takes and finishes one job at a time."""

from __future__ import annotations

from typing import Any

from peers.base import BODY, Asynchronous, plain_url, versions


class Peer(Asynchronous):
    """Its JobManager, as its Worker calls it; finished jobs are kept, as by default."""

    batches = False

    def __init__(self, url: str, create: bool) -> None:
        from procrastinate import App, PsycopgConnector
        from procrastinate.jobs import Status

        super().__init__()
        self._succeeded = Status.SUCCEEDED
        self.settings = versions("procrastinate", "psycopg")
        self._app = App(connector=PsycopgConnector(conninfo=plain_url(url)))

        @self._app.task(name="bench", queue="bench")
        async def bench(**_: Any) -> None: ...

        self._task = bench
        self.run(self._app.open_async())
        if create:
            self.run(self._app.schema_manager.apply_schema_async())
        self._worker = self.run(self._app.job_manager.register_worker())

    def enqueue(self, count: int) -> None:
        async def work() -> None:
            for _ in range(count):
                await self._task.defer_async(**BODY)

        self.run(work())

    def enqueue_many(self, count: int, batch: int) -> None:
        async def work() -> None:
            for _ in range(count // batch):
                await self._task.batch_defer_async(*[BODY] * batch)

        self.run(work())

    async def _take(self, batch: int) -> int:
        job = await self._app.job_manager.fetch_job(["bench"], self._worker)
        if job is not None:
            await self._app.job_manager.finish_job(job, self._succeeded, delete_job=False)
        return int(job is not None)

    def close(self) -> None:
        self.run(self._app.close_async())
        self.close_loop()
