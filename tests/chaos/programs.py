"""The processes of a cell: each is an ordinary user of the library that writes down what it does.

Each gets a `Task`: where the database is, and how to behave. They go on until SIGTERM (or kill -9).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from history import History, Operation
from sqlalchemy import Column, Engine, MetaData, String, Table, create_engine, insert, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kombu_depqueue import (
    Canceled,
    DepQueueError,
    Duplicate,
    Empty,
    InvalidJob,
    JobMessage,
    JobQueue,
    LeaseLost,
    NotExist,
    NotRunning,
    QueueClosed,
    Reservation,
    StorageError,
    enlist,
)

__all__ = ["DOOMED", "PROGRAMS", "QUEUES", "Task", "business_table", "engine_of"]

QUEUES = ("work", "more")
DOOMED = "doomed"
"""A queue that is purged now and then."""
CELERY = "celery"


@dataclass(frozen=True)
class Task:
    """What a process is to do."""

    url: str
    folder: str
    seed: str
    engine_url: str
    """Of the application's own engine on the same database."""
    schema: str | None = None
    prefix: str = ""
    broker: str | None = None
    """For Celery, where it takes part."""
    rate: float = 30.0
    """Jobs a second that a publisher tries to publish."""
    lease: float = 3.0
    delays: float = 0.3
    """Share of the jobs that are delayed."""
    plain: bool = False
    """Nothing but jobs that are ready at once: for what is about their order."""
    calm: bool = False
    """Only ack what there is: the end of the cell."""
    options: dict[str, Any] = field(default_factory=dict)


class Program:
    """What all have in common."""

    def __init__(self, name: str, task: Task) -> None:
        self.task = task
        self.chance = random.Random(f"{task.seed}-{name}-{os.getpid()}")
        self.history = History(Path(task.folder), name)
        self.stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stopping.set())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        cell = multiprocessing.parent_process()
        while cell is None or cell.is_alive():
            time.sleep(2)
        os._exit(3)

    def queue(self, **options: Any) -> JobQueue:
        """A JobQueue as the cell wants it."""
        return JobQueue(self.task.url, lease=self.task.lease, **{**self.task.options, **options})

    def settle(self, op: Operation, call: Callable[[], object]) -> str:
        """Do it, and write down how it went: "ok", "lost" or "info"."""
        try:
            call()
        except (LeaseLost, Canceled, NotRunning, NotExist) as error:
            op.fail(error=type(error).__name__)
            return "lost"
        except (StorageError, QueueClosed) as error:
            op.info(error=str(error)[:200])
            return "info"
        op.ok()
        return "ok"


def business_table(task: Task) -> Table:
    """An application's own table beside the jobs."""
    name = f"{task.prefix}business" if task.prefix else "business"
    return Table(name, MetaData(schema=task.schema), Column("id", String(36), primary_key=True))


def engine_of(url: str) -> Engine:
    """An application's own engine."""
    options: dict[str, Any] = (
        {"isolation_level": "READ COMMITTED"} if make_url(url).get_backend_name() == "mysql" else {}
    )
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 20}
    return create_engine(url, poolclass=NullPool, **options)


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


class Worker(Program):
    """Reserves and settles in every way."""

    name = "worker"

    def __init__(self, task: Task) -> None:
        super().__init__(self.name, task)
        self.jobs = self.queue()
        self.late: list[tuple[float, Reservation]] = []
        """Held beyond their lease, which nobody renews."""

    def run(self) -> None:
        """Work until told to stop, then give back what is held."""
        queues = [QUEUES[0]] if self.task.plain else [*QUEUES, DOOMED]
        while not self.stopping.is_set():
            renew = self.task.plain or self.task.calm or self.chance.random() < 0.93
            for reservation in self.reserve(queues, renew):
                if not renew:
                    self.late.append((time.monotonic() + self.task.lease * self.chance.uniform(0.5, 2), reservation))
            self.settle_late()
        op = self.history.invoke("close")
        self.jobs.close()
        op.ok()

    def reserve(self, queues: Sequence[str], renew: bool) -> list[Reservation]:
        limit = self.chance.choice((1, 1, 5, 10)) if renew else 1
        op = self.history.invoke("reserve", limit=limit)
        try:
            found = self.jobs.reserve_many(limit, 0.5, queues=queues, renew=renew)
        except Empty:
            op.ok()
            return []
        except StorageError as error:
            op.info(error=str(error)[:200])
            self.stopping.wait(0.05)
            return []
        op.ok(jobs=[[str(r.job_id), r.token, r.attempt, int(r.redelivered)] for r in found])
        if renew:
            self.work(found)
        return found

    def work(self, held: list[Reservation]) -> None:
        if len(held) > 1 and self.chance.random() < 0.5:
            self.ack_many(held)
            return
        for reservation in held:
            if not self.task.calm and self.chance.random() < 0.5:
                time.sleep(self.chance.uniform(0, 0.04))
            self.end(reservation)

    def items(self, *held: Reservation) -> list[list[str]]:
        return [[str(r.job_id), r.token] for r in held]

    def ack_many(self, held: list[Reservation]) -> None:
        for _ in range(20):
            op = self.history.invoke("settle", how="ack", items=self.items(*held))
            try:
                lost = self.jobs.ack_many(held)
            except StorageError as error:
                op.info(error=str(error)[:200])
                self.stopping.wait(0.05)
                continue
            op.ok(lost=[str(r.job_id) for r in lost])
            return

    def end(self, reservation: Reservation) -> None:
        dice = self.chance.random()
        result = {"by": reservation.token}
        if self.task.plain or self.task.calm or dice < 0.6:
            how, facts, call = "ack", {"result": result}, lambda: reservation.ack(result)
        elif dice < 0.68:
            how, facts, call = "finish", {"result": result}, self.finishing(reservation, result)
        elif dice < 0.74:
            how, facts, call = "fail", {"result": result}, lambda: reservation.fail("wanted", result)
        elif dice < 0.78:
            how, facts, call = "reject", {}, lambda: reservation.reject("wanted")
        elif dice < 0.86:
            how, facts, call = "requeue", {}, reservation.requeue
        elif dice < 0.92:
            delay = round(self.chance.uniform(0.1, 1.5), 3)
            how, facts, call = "requeue", {"delay": delay}, lambda: reservation.requeue(delay)
        else:
            self.extend(reservation)
            how, facts, call = "ack", {"result": result}, lambda: reservation.ack(result)
        self.repeat(reservation, how, facts, call)

    def finishing(self, reservation: Reservation, result: Any) -> Callable[[], object]:
        return lambda: self.jobs.finish(reservation.job_id, result, token=reservation.token)

    def extend(self, reservation: Reservation) -> None:
        op = self.history.invoke("settle", how="extend", items=self.items(reservation))
        self.settle(op, lambda: reservation.extend(self.task.lease * 2))

    def repeat(self, reservation: Reservation, how: str, facts: dict[str, Any], call: Callable[[], object]) -> None:
        """Ask until there is an answer; now and then once more after it."""
        for _ in range(20):
            op = self.history.invoke("settle", how=how, items=self.items(reservation), **facts)
            said = self.settle(op, call)
            if said != "info":
                break
            self.stopping.wait(0.05)
        if said == "ok" and how != "requeue" and self.chance.random() < 0.1:
            again = self.history.invoke("again", id=str(reservation.job_id), token=reservation.token)
            self.settle(again, self.finishing(reservation, {"by": "nobody"}))

    def settle_late(self) -> None:
        due = [r for at, r in self.late if at <= time.monotonic()]
        self.late = [(at, r) for at, r in self.late if at > time.monotonic()]
        for reservation in due:
            self.end(reservation)


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


class Veteran(Worker):
    """A worker that nobody kills: to see what a long life does to it."""

    name = "veteran"


PROGRAMS: dict[str, Callable[[Task], Any]] = {
    "publisher": Publisher,
    "worker": Worker,
    "operator": Operator,
    "veteran": Veteran,
}


def main(name: str, task: Task, log: str) -> None:
    """The entry of a process."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(file, stream.fileno())
    PROGRAMS[name](task).run()
