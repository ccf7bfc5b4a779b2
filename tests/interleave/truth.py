"""What must be true of the tables after any operations, and how a test moves time in them."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, update

from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.schema import EARLIEST, Tables

__all__ = ["Truth"]


class Truth:
    """Reads the tables through a connection of its own, in autocommit mode."""

    def __init__(self, connection: Connection, tables: Tables) -> None:
        self.connection, self.t = connection, tables

    def _all(self, statement: Any) -> list[Any]:
        return list(self.connection.execute(statement).all())

    def begin_anew(self, queues: list[MessageQueue]) -> None:
        """No jobs; only these JobQueues, which have never claimed."""
        t = self.t
        for table in (t.job, t.wait, t.done, t.dep, t.blocked, t.release, t.ended_body, t.consumer, t.subscription):
            self.connection.execute(table.delete())
        self.connection.execute(update(t.queue).values(arguments=None))
        for queue in queues:
            queue._keeper.held.clear()
            queue._keeper.alone.clear()
            queue._keeper._lost.clear()
            queue._keeper.registered = False
            queue._keeper.join()
            queue._cursors._empty = False

    # time

    def lapse(self, consumer: int) -> None:
        """A lease is over."""
        self._set(self.t.consumer, self.t.consumer.c.id == consumer, leased_until=EARLIEST)

    def expire(self, job_id: UUID) -> None:
        """The time of a ready job is over."""
        self._set(self.t.job, self.t.job.c.job_id == job_id, expires_at=EARLIEST)

    def due(self, job_id: UUID) -> None:
        """A delayed job is due."""
        self._set(self.t.wait, self.t.wait.c.job_id == job_id, due_at=EARLIEST)

    def out_of_time(self) -> None:
        """No record need be kept any longer."""
        self.connection.execute(update(self.t.done).values(keep_until=EARLIEST))

    def _set(self, table: Any, which: Any, **values: Any) -> None:
        assert self.connection.execute(update(table).where(which).values(**values)).rowcount == 1

    # truth

    def check(self, queue: MessageQueue) -> None:
        """No job is lost or doubled, no dependent stranded, every counter true."""
        t = self.t
        ids = Counter(i for table in (t.job, t.wait, t.done) for (i,) in self._all(select(table.c.job_id)))
        assert set(ids.values()) <= {1}, "a job is in two tables"
        assert not self._all(select(t.release)), "dependents were not told"
        blocked = {i for (i,) in self._all(select(t.wait.c.job_id).where(t.wait.c.due_at.is_(None)))}
        ends = dict(map(tuple, self._all(select(t.done.c.job_id, t.done.c.status))))
        unmet: Counter[UUID] = Counter()
        for job, dep, mask, met in self._all(select(t.dep.c.job_id, t.dep.c.dep_id, t.dep.c.policy, t.dep.c.met)):
            assert job in ids, "an edge of a job that is not there"
            if job in blocked and not met:
                assert dep in ids, "it waits for a job that is not there"
                unmet[job] += dep not in ends or not mask >> ends[dep] & 1
        counters = dict(map(tuple, self._all(select(t.blocked.c.job_id, t.blocked.c.pending))))
        assert counters == dict(unmet), "a dependent is stranded, or its counter is not true"
        assert set(counters) == blocked
        self._check_counts(queue)

    def _check_counts(self, queue: MessageQueue) -> None:
        hot, wait = self.t.job, self.t.wait
        rows = self._all(select(hot.c.queue_id, hot.c.consumer_id))
        waits = self._all(select(wait.c.queue_id, wait.c.due_at))
        names = {number: name for number, name in self._all(select(self.t.queue.c.id, self.t.queue.c.name))}
        for info in queue.queues():
            numbers = {number for number, name in names.items() if name == info.name}
            mine = [holder for number, holder in rows if number in numbers]
            due = [at for number, at in waits if number in numbers]
            found = (info.ready, info.leased, info.scheduled, info.blocked)
            held = sum(holder is not None for holder in mine)
            later = sum(at is not None for at in due)
            assert found == (len(mine) - held, held, later, len(due) - later), info.name
