"""A database that does not answer: an error in time, nothing half done, and on it goes afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, inspect

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import StorageError
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.ports import Reservation
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import drain, in_threads

pytestmark = pytest.mark.native

DEADLINE = 1.0
SLACK = 4.0  # seconds: generous, machines are slow


@contextmanager
def _everything_locked(engine: Engine, place: Place) -> Iterator[None]:
    """Hold locks that every writer has to wait for."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        elif engine.dialect.name == "postgresql":
            for table in inspect(engine).get_table_names(schema=place.schema):
                connection.exec_driver_sql(f"LOCK TABLE {place.schema}.{table} IN EXCLUSIVE MODE")
        elif engine.dialect.name == "mysql":
            names = [t for t in inspect(engine).get_table_names() if t.startswith(place.prefix)]
            connection.exec_driver_sql(f"LOCK TABLES {', '.join(f'{name} READ' for name in names)}")
        else:
            pytest.skip(f"no way is known to lock everything on {engine.dialect.name}")
        yield
        connection.rollback()
        if engine.dialect.name == "mysql":
            connection.exec_driver_sql("UNLOCK TABLES")


WRITES: dict[str, Callable[[JobQueue, Reservation], object]] = {
    "enqueue": lambda q, _: q.enqueue("default"),
    "enqueue with a dependency": lambda q, r: q.enqueue("default", depends_on=[r.job_id]),
    "enqueue_many": lambda q, _: q.enqueue_many([JobMessage.new("default") for _ in range(3)]),
    "ack": lambda _, r: r.ack(),
    "requeue": lambda _, r: r.requeue(),
    "cancel": lambda q, r: q.cancel(r.job_id),
}


@pytest.mark.parametrize("operation", WRITES)
def test_an_operation_gives_up_at_its_deadline_and_nothing_is_half_done(
    make_queue: MakeQueue, engine: Engine, place: Place, operation: str
) -> None:
    queue = make_queue(deadline=DEADLINE, lease=60)
    job_id = queue.enqueue("other")
    reservation = queue.reserve(0, queues=["other"])
    with _everything_locked(engine, place):
        begin = time.monotonic()
        with pytest.raises(StorageError) as failed:
            WRITES[operation](queue, reservation)
        assert time.monotonic() - begin < DEADLINE + SLACK
    assert failed.value.__cause__ is not None
    assert queue.status(job_id).state is JobState.LEASED
    assert queue.status(job_id).dependents == ()
    assert drain(queue) == []
    reservation.ack("after all")
    assert queue.status(job_id).result == "after all"
    assert queue.enqueue("default") == queue.reserve(0).job_id


def test_a_short_lock_is_waited_for(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    queue = make_queue(deadline=20)
    queue.enqueue("default", 1)

    def lock() -> None:
        with _everything_locked(engine, place):
            time.sleep(0.6)

    def produce() -> object:
        time.sleep(0.2)
        return queue.enqueue("default", 2)

    _, second = in_threads([lock, produce])
    assert drain(queue)[1:] == [second]


def test_what_was_reserved_during_an_outage_is_not_lost(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    queue, other = make_queue(deadline=DEADLINE, lease=0.6), make_queue()
    ids = [queue.enqueue("default", n) for n in range(3)]
    held = queue.reserve(0)
    with _everything_locked(engine, place), pytest.raises(StorageError):
        queue.enqueue("default", "not now")
    got = [held.job_id]
    while len(got) < 3:  # the lease of `held` may have expired meanwhile: its holder was cut off
        reservation = other.reserve(10)
        reservation.ack()
        if reservation.job_id not in got:
            got.append(reservation.job_id)
    assert sorted(got) == sorted(ids)
