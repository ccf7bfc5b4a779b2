"""What the tables of a cell say: once nobody works, and in the end, when all is worked off."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from book import Book, JobStory
from checker import Record, Violation
from history import OK
from sqlalchemy import Connection, Table, func, select

from kombu_depqueue import JobQueue
from kombu_depqueue.dialects.steps import STATUS

__all__ = ["at_rest", "business_of", "final", "records_of"]

STATES = {number: state.value for state, number in STATUS.items()}


def records_of(queue: JobQueue) -> dict[str, Record]:
    """The records of all ended jobs."""
    done = queue._database.dialect.tables.done
    columns = (done.c.job_id, done.c.status, done.c.attempt, done.c.reason, done.c.result)
    with queue._database.opened() as connection:
        rows = connection.execute(select(*columns)).all()
    return {str(i): Record(STATES[s], a, why, None if r is None else json.loads(r)) for i, s, a, why, r in rows}


def _live(connection: Connection, queue: JobQueue) -> Counter[str]:
    """How many rows each job has among those that have not ended."""
    tables = queue._database.dialect.tables
    found: Counter[str] = Counter()
    for table in (tables.job, tables.wait):
        found.update(str(i) for (i,) in connection.execute(select(table.c.job_id)) if i is not None)
    return found


# while nobody works


def at_rest(queue: JobQueue) -> list[Violation]:
    """I7, I12: counters and counts are those that the rows give. Nobody else may be at work."""
    while queue._store.release_any() is not None:  # what those who were killed had not done yet
        queue.maintain()
    with queue._database.opened() as connection:
        return [*_counters(connection, queue), *_counts(connection, queue)]


def _counters(connection: Connection, queue: JobQueue) -> Iterator[Violation]:
    t = queue._database.dialect.tables
    ended = select(t.done.c.job_id).where(t.done.c.job_id == t.dep.c.dep_id).exists()
    unmet = (
        select(func.count())
        .select_from(t.dep)
        .where(t.dep.c.job_id == t.blocked.c.job_id, t.dep.c.met.is_(False), ~ended)
        .scalar_subquery()
    )
    rows = connection.execute(select(t.blocked.c.job_id, t.blocked.c.pending, unmet)).all()
    for job_id, pending, counted in rows:
        if pending != counted:
            yield Violation(
                "I7 counter", str(job_id), f"waits for {pending}, its unfinished dependencies are {counted}"
            )


def _counts(connection: Connection, queue: JobQueue) -> Iterator[Violation]:
    t = queue._database.dialect.tables
    names = dict(connection.execute(select(t.queue.c.id, t.queue.c.name)).all())

    def counted(table: Table, *where: Any) -> dict[str, int]:
        rows = connection.execute(select(table.c.queue_id, func.count()).where(*where).group_by(table.c.queue_id))
        return {names[number]: count for number, count in rows}

    ready, leased = counted(t.job, t.job.c.consumer_id.is_(None)), counted(t.job, t.job.c.consumer_id.is_not(None))
    delayed, blocked = counted(t.wait, t.wait.c.due_at.is_not(None)), counted(t.wait, t.wait.c.due_at.is_(None))
    for info in queue.queues():
        says = (info.ready, info.leased, info.scheduled, info.blocked)
        is_so = tuple(some.get(info.name, 0) for some in (ready, leased, delayed, blocked))
        if says != is_so:
            yield Violation("I12 counts", "-", f"queue {info.name} is said to hold {says}, and holds {is_so}")


# in the end


def final(queue: JobQueue, book: Book, records: Mapping[str, Record], business: set[str]) -> list[Violation]:
    """I1, I7: what was acknowledged is there, nothing is left, and each end has a reason."""
    t = queue._database.dialect.tables
    found: list[Violation] = []
    with queue._database.opened() as connection:
        live = _live(connection, queue)
        left = {
            table.name: connection.scalar(select(func.count()).select_from(table)) for table in (t.blocked, t.release)
        }
    for job_id, rows in live.items():
        if rows > 1 or job_id in records:
            found.append(Violation("I3 doubled", job_id, f"{rows} live rows, ended: {job_id in records}"))
        else:
            found.append(Violation("I7 stuck", job_id, f"nobody disturbs any more, and {_why(queue, job_id)}"))
    for name, count in left.items():
        if count:
            found.append(Violation("I7 counter", "-", f"{count} rows left in {name}"))
    for job in book.jobs.values():
        found += _fate(job, book, records, job.id in live)
    for job_id in records.keys() - book.jobs.keys():
        found.append(Violation("I2 phantom", job_id, "there is a record of it, and nobody had published it"))
    found += _torn(book, records.keys() | live.keys(), business)
    return found


def _why(queue: JobQueue, job_id: str) -> str:
    """What stands in its way, and its row, if that is hot: who holds it may be gone."""
    t = queue._database.dialect.tables
    row = (t.job.c.consumer_id, t.consumer.c.kind, t.consumer.c.leased_until, t.job.c.attempt, t.job.c.flags)
    held = select(*row).select_from(t.job).outerjoin(t.consumer, t.consumer.c.id == t.job.c.consumer_id)
    with queue._database.opened() as connection:
        found = connection.execute(held.where(t.job.c.job_id == UUID(job_id))).all()
    return f"{queue.why(UUID(job_id))}; {[tuple(r) for r in found]}"


def _fate(job: JobStory, book: Book, records: Mapping[str, Record], live: bool) -> Iterator[Violation]:
    record = records.get(job.id)
    if record is None:
        if job.acked and not live:
            yield Violation("I1 lost", job.id, "acknowledged, and gone")
        return
    if not any(p.perhaps for p in job.publishes):
        yield Violation("I2 phantom", job.id, "there is a record of it, and each publish was refused")
    if record.state == "succeeded" and not job.runs and not any(s.perhaps for s in job.settles):
        yield Violation("I1 lost", job.id, "ended as succeeded, and nobody had it")
    if record.state == "canceled" and not _may_be_canceled(job, book, records):
        yield Violation("I1 lost", job.id, f"canceled by nobody: {record.reason}")
    if record.state == "failed" and not _may_have_failed(job):
        yield Violation("I1 lost", job.id, f"failed, and nobody said so: {record.reason}")
    if record.state == "expired":
        yield Violation("I1 lost", job.id, "expired, and had no limit")


def _may_be_canceled(job: JobStory, book: Book, records: Mapping[str, Record]) -> bool:
    asked = any(c.perhaps for c in job.cancels)
    purged = any(window.perhaps for p in job.publishes for window in book.purges.get(p.queue, ()))
    deps = [dep for p in job.publishes for dep in p.deps]
    return asked or purged or any(dep in records and records[dep].state == "canceled" for dep in deps)


def _may_have_failed(job: JobStory) -> bool:
    return any(p.most for p in job.publishes) or any(s.perhaps and s.how in ("fail", "reject") for s in job.settles)


def _torn(book: Book, there: set[str], business: set[str]) -> Iterator[Violation]:
    """Jobs that were enqueued in a transaction with a business row: both, or neither."""
    for job_id in business:
        if job_id not in there:
            yield Violation("I1 torn", job_id, "its business row was committed, and the job was not")
    for job in book.jobs.values():
        joined = any("business" in line for _, line in job.lines)
        if joined and job.id in there and job.id not in business:
            yield Violation("I1 torn", job.id, "the job was committed, and its business row was not")


def business_of(connection: Connection, table: Table) -> set[str]:
    """The ids of the business rows."""
    return {str(i) for (i,) in connection.execute(select(table.c.id))}


def acked(book: Book) -> int:
    """How many jobs were acknowledged."""
    return sum(any(p.outcome == OK for p in job.publishes) for job in book.jobs.values())
