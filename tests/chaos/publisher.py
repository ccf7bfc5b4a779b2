"""A process that publishes through both doors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

from program import CELERY, DOOMED, QUEUES, Program, Task, business_table, engine_of
from sqlalchemy import insert
from sqlalchemy.exc import SQLAlchemyError

from kombu_depqueue import DepQueueError, Duplicate, JobMessage, NotExist, StorageError, enlist

__all__ = ["Publisher"]


class Publisher(Program):
    """Publishes jobs in every way, by ids of its own; what is unsure it publishes again by the same id."""

    def __init__(self, task: Task) -> None:
        super().__init__("publisher", task)
        self.jobs = self.queue()
        self.known: list[str] = []
        """Ids that may be depended on."""
        self.engine = engine_of(task.engine_url)
        self.business = business_table(task)
        self.app: Any = None
        if task.broker:
            from celery_app import make_app

            self.app = make_app(task.broker)

    def run(self) -> None:
        """Publish, at the given rate."""
        ways: list[tuple[Callable[[], int], float]] = [(self.one, 4), (self.several, 2)]
        if not self.task.plain:
            ways.append((self.joined, 1))
        if self.app is not None:
            ways.append((self.celery, 5))
        calls, weights = [w for w, _ in ways], [n for _, n in ways]
        due = time.monotonic()
        while not self.stopping.is_set():
            due = max(due, time.monotonic() - 1.0)  # after an outage not all at once
            made = self.chance.choices(calls, weights)[0]()
            due += made / self.task.rate
            self.stopping.wait(max(0.0, due - time.monotonic()))
        self.jobs.close()

    def message(self, known: Sequence[str]) -> dict[str, Any]:
        """One job as the history has it."""
        dice, job = self.chance, {"id": str(uuid4()), "queue": self.chance.choice(QUEUES)}
        if self.task.plain:
            return {**job, "queue": QUEUES[0]}
        if dice.random() < self.task.delays:
            job["delay"] = round(dice.uniform(0.05, 2.0), 3)
        if known and dice.random() < 0.35:
            job["deps"] = dice.sample(known, min(len(known), dice.choice((1, 1, 2, 3))))
        if dice.random() < 0.1:
            job["most"] = dice.choice((2, 3))
        if dice.random() < 0.05:
            job["queue"] = DOOMED
        return job

    def as_message(self, job: dict[str, Any]) -> JobMessage:
        return JobMessage(
            UUID(job["id"]),
            job_type=job["queue"],
            args=job["id"],
            delay=job.get("delay"),
            depends_on=job.get("deps", ()),
            max_attempts=job.get("most"),
        )

    def remember(self, jobs: Sequence[dict[str, Any]]) -> None:
        # A job with few attempts may end without anybody saying so.
        self.known += [job["id"] for job in jobs if "most" not in job]
        del self.known[:-40]

    def one(self) -> int:
        job = self.message(self.known)
        self.surely([job], lambda: self.jobs.enqueue(self.as_message(job)))
        return 1

    def several(self) -> int:
        jobs: list[dict[str, Any]] = []
        for _ in range(self.chance.randint(2, 10)):
            jobs.append(self.message([*self.known[-20:], *(j["id"] for j in jobs if "most" not in j)]))
        self.surely(jobs, lambda: self.jobs.enqueue_many([self.as_message(job) for job in jobs]))
        return len(jobs)

    def surely(self, jobs: list[dict[str, Any]], call: Callable[[], object]) -> None:
        """Publish; while it is unsure, or surely not done, again."""
        while True:
            op = self.history.invoke("publish", jobs=jobs)
            try:
                call()
            except Duplicate:
                op.fail(error="Duplicate")
                self.confirm(jobs)
                return
            except NotExist as error:  # a dependency of which it was unsure whether it is there
                op.fail(error=type(error).__name__)
                return
            except StorageError as error:
                (op.info if error.maybe_committed else op.fail)(error=str(error)[:200])
                if self.stopping.wait(0.05):
                    return
                continue
            op.ok()
            self.remember(jobs)
            return

    def confirm(self, jobs: list[dict[str, Any]]) -> None:
        """A duplicate is there already: that is an acknowledgement too."""
        self.history.invoke("publish", jobs=jobs, confirms=True).ok()
        self.remember(jobs)

    def joined(self) -> int:
        """In the caller's transaction, which is sometimes rolled back."""
        job = self.message(self.known)
        op = self.history.invoke("publish", jobs=[job], business=True)
        committing = False
        try:
            with self.engine.connect() as connection, enlist(connection):
                connection.execute(insert(self.business).values(id=job["id"]))
                self.jobs.enqueue(self.as_message(job))
                if self.chance.random() < 0.3:
                    connection.rollback()
                    op.fail(error="rolled back")
                    return 1
                committing = True
                connection.commit()
        except (SQLAlchemyError, DepQueueError) as error:
            (op.info if committing else op.fail)(error=str(error)[:200])
            return 1
        op.ok()
        self.remember([job])
        return 1

    def celery(self) -> int:
        """A task, which may depend on jobs of the other door, and they on it."""
        job = {"id": str(uuid4()), "queue": CELERY}
        options: dict[str, Any] = {}
        if self.chance.random() < self.task.delays:
            job["delay"] = options["countdown"] = round(self.chance.uniform(0.05, 2.0), 3)
        if self.known and self.chance.random() < 0.3:
            job["deps"] = options["depends_on"] = self.chance.sample(self.known, min(2, len(self.known)))
        op = self.history.invoke("publish", jobs=[job])
        try:
            self.app.send_task("t.work", [job["id"]], task_id=job["id"], retry=False, **options)
        except NotExist:
            op.fail(error="NotExist")
        except Exception as error:  # Kombu has names of its own for ours
            op.info(error=repr(error)[:200])
            self.stopping.wait(0.05)
        else:
            op.ok()
            self.remember([job])
        return 1
