"""A process that does what operators do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from program import CELERY, DOOMED, QUEUES, Program, Task

from kombu_depqueue import InvalidJob, NotExist, StorageError

__all__ = ["Operator"]


class Operator(Program):
    """Cancels, purges, pauses, and looks."""

    def __init__(self, task: Task) -> None:
        super().__init__("operator", task)
        self.jobs = self.queue()

    def run(self) -> None:
        for name in QUEUES:  # the one before may have been killed while one was paused
            self.on_queue("resume", name, self.jobs.resume)
        acts: list[Callable[[], None]] = [self.cancel, self.cancel, self.cancel, self.purge, self.pause, self.look]
        while not self.stopping.wait(self.chance.uniform(0.05, 0.4)):
            with contextlib.suppress(StorageError):
                self.chance.choice(acts)()
        self.jobs.close()

    def cancel(self) -> None:
        page = self.jobs.jobs(self.chance.choice(("ready", "blocked", "scheduled", "leased")), limit=20)
        native = [job for job in page.jobs if job.job_type != CELERY]
        if not native:
            return
        job_id = self.chance.choice(native).job_id
        op = self.history.invoke("cancel", id=str(job_id))
        try:
            op.ok(did=self.jobs.cancel(job_id))
        except StorageError as error:
            op.info(error=str(error)[:200])

    def purge(self) -> None:
        self.on_queue("purge", DOOMED, self.jobs.purge)

    def pause(self) -> None:
        name = self.chance.choice(QUEUES)
        self.on_queue("pause", name, self.jobs.pause)
        self.stopping.wait(self.chance.uniform(0.05, 0.3))
        self.on_queue("resume", name, self.jobs.resume)

    def on_queue(self, what: str, name: str, call: Callable[[str], object]) -> None:
        for _ in range(50):
            op = self.history.invoke(what, queue=name)
            try:
                call(name)
            except StorageError as error:
                op.info(error=str(error)[:200])
            else:
                op.ok()
                return

    def look(self) -> None:
        self.jobs.queues()
        for job in self.jobs.jobs(limit=20).jobs[:3]:
            with contextlib.suppress(NotExist, InvalidJob):
                self.jobs.why(job.job_id)
