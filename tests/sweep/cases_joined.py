"""The sweep's cases: in a transaction of the caller's, who is told of whatever fails, and rolls back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection
from sweep.case import Case, Subject, is_in, message
from sweep.cases_channel import all_of, publish
from sweep.cases_jobs import BLOCKED, READY, SCHEDULED, SUCCEEDED, all_are_there, awaited, check_awaited, reserved, some

from kombu_depqueue import StorageError, enlist


@contextmanager
def transaction(s: Subject) -> Iterator[Connection]:
    """Commits, as the application would; else it ends the connection, whose rollback would fail as well."""
    assert s.theirs is not None
    with s.theirs.connect() as connection:
        try:
            yield connection
        except StorageError:
            connection.invalidate()
            raise
        connection.commit()


def joined(
    prepare: Callable[[Any], Any], run: Callable[[Any, Any, Connection], Any], check: Callable[[Any, Any, Any], object]
) -> Case:
    """A case that looks at the JobQueue only, and commits by itself."""

    def committed(s: Subject, given: Any) -> Any:
        with transaction(s) as connection:
            return run(s.queue, given, connection)

    return Case(
        lambda s: prepare(s.queue),
        committed,
        lambda s, given, result: check(s.queue, given, result),
        reported=True,
    )


def published(s: Subject, given: Any) -> Any:
    """Publish through Kombu, twice, in one transaction."""
    channel, name, ids = given
    del ids[:]  # of a try that was rolled back
    with transaction(s) as connection, enlist(connection):
        ids.extend([publish(channel, name), publish(channel, name, depends_on=[])])
    return ids


def a_queue(s: Subject) -> Any:
    channel, name = s.channel(), s.name()
    channel.queue_declare(name)
    return channel, name, []


def enqueue_two(queue: Any, messages: Any, connection: Connection) -> None:
    with enlist(connection):
        for one in messages:
            queue.enqueue(one)


def after(queue: Any, given: Any, result: Any) -> None:
    """The first of two is ready, and the second waits for it."""
    is_in(READY)(queue, given[0], result)
    is_in(BLOCKED)(queue, given[1], result)


def pair(queue: Any) -> Any:
    first = message()
    return [first, message(depends_on=[first.job_id])]


JOINED = {
    "JobQueue.enqueue joined": joined(lambda q: message(), lambda q, m, c: q.enqueue(m, connection=c), is_in(READY)),
    "JobQueue.enqueue joined, delayed": joined(
        lambda q: message(delay=60), lambda q, m, c: q.enqueue(m, connection=c), is_in(SCHEDULED)
    ),
    "JobQueue.enqueue joined, blocked": joined(
        lambda q: message(depends_on=[q.enqueue("first")]), lambda q, m, c: q.enqueue(m, connection=c), is_in(BLOCKED)
    ),
    "JobQueue.enqueue joined, two": joined(pair, enqueue_two, after),
    "JobQueue.enqueue_many joined": joined(some(5), lambda q, ms, c: q.enqueue_many(ms, connection=c), all_are_there),
    "JobQueue.finish joined": joined(
        awaited, lambda q, g, c: q.finish(g[0].job_id, {"a": 1}, connection=c), check_awaited(SUCCEEDED, READY)
    ),
    "Reservation.ack joined": joined(
        awaited, lambda q, g, c: g[0].ack({"a": 1}, connection=c), check_awaited(SUCCEEDED, READY)
    ),
    "Reservation.ack joined, alone": joined(reserved, lambda q, r, c: r.ack(connection=c), is_in(SUCCEEDED)),
    "Channel.basic_publish joined": Case(a_queue, published, all_of(READY), reported=True),
}
