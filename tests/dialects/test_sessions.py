"""PostgreSQL shows which sessions have ended: a killed process's jobs come back long before its lease ends."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import Engine, select, text

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.errors import Empty
from kombu_depqueue.maintenance import COME_BACK, LOOK
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import assert_nothing_ready, wait_until

pytestmark = pytest.mark.only("postgresql")

LEASE = 120.0
SOON = 5.0


def _session(queue: JobQueue) -> str | None:
    """The session that the queue's row names."""
    consumer = queue._database.dialect.tables.consumer
    with queue._database.dialect.engine.connect() as connection:
        found = connection.execute(select(consumer.c.session).where(consumer.c.id == queue._keeper.consumer))
        return found.scalar_one_or_none()


def _sessions(queue: JobQueue) -> list[str]:
    consumer = queue._database.dialect.tables.consumer
    with queue._database.dialect.engine.connect() as connection:
        return list(connection.execute(select(consumer.c.session).where(consumer.c.session.is_not(None))).scalars())


def _end(engine: Engine, *sessions: str | None) -> None:
    """End sessions, as a firewall or an administrator does."""
    with engine.connect() as connection:
        for session in sessions:
            assert session is not None
            connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": int(session.split()[0])})


@pytest.mark.parametrize("waits", [False, True], ids=["busy", "waiting"])
def test_a_killed_process_gives_way_within_five_seconds(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str, waits: bool
) -> None:
    queue = make_queue(lease=LEASE)
    queue.enqueue_many(JobMessage.new("default", n) for n in range(3))
    worker = run_process(programs.hold, database_url, {"lease": LEASE, "poll_interval": 0.1}, 3)
    assert len(worker.heard()) == 3
    wait_until(lambda: _sessions(queue))
    if waits:
        assert_nothing_ready(queue)
    worker.kill()
    begin = time.monotonic()
    assert [r.attempt for r in queue.reserve_many(3, 20)] == [2, 2, 2]
    assert time.monotonic() - begin < SOON + 1


def test_who_has_got_a_job_tells_of_its_session_soon(make_queue: MakeQueue) -> None:
    """Though it never waits, and has nothing to look for: who is killed before is dead at the end of its lease only."""
    holder = make_queue(lease=LEASE, poll_interval=60.0)
    holder.enqueue("default")
    holder.reserve(0)
    begin = time.monotonic()
    wait_until(lambda: _session(holder) is not None)
    assert time.monotonic() - begin < 0.9


def test_a_reconnect_is_no_death(make_queue: MakeQueue, engine: Engine) -> None:
    holder, other = make_queue(lease=LEASE), make_queue(lease=LEASE)
    holder.enqueue("default")
    reservation = holder.reserve()
    assert_nothing_ready(other)  # it looks after others from now on
    seen = set()
    until = time.monotonic() + 7
    while time.monotonic() < until:
        wait_until(lambda: _session(holder) not in seen | {None})
        seen.add(session := _session(holder))
        _end(engine, session)
        with pytest.raises(Empty):
            other.reserve(1.2)
    assert len(seen) >= 4
    reservation.ack()
    assert holder.status(reservation.job_id).attempt == 1


def test_a_consumer_without_a_session_has_its_lease(make_queue: MakeQueue, engine: Engine) -> None:
    """It cannot listen any more, but it lives and says so."""
    holder, other = make_queue(lease=LEASE), make_queue(lease=LEASE)
    holder.enqueue("default")
    reservation = holder.reserve()
    wait_until(lambda: _session(holder))
    session, waiter = _session(holder), holder._waiter
    waiter._watch.close()  # type: ignore[union-attr]
    wait_until(lambda: _session(holder) is None)
    assert session is not None
    assert_nothing_ready(other, 5.0)
    reservation.ack()


def test_sessions_lost_all_at_once_are_no_deaths(make_queue: MakeQueue, engine: Engine) -> None:
    """As when the server has crashed: whoever lost a session lately accuses nobody."""
    queues = [make_queue(lease=LEASE) for _ in range(3)]
    queues[0].enqueue_many(JobMessage.new("default", n) for n in range(3))
    held = [queue.reserve() for queue in queues]
    wait_until(lambda: len(_sessions(queues[0])) == 3)
    for _ in range(2):
        gone = _sessions(queues[0])
        _end(engine, *gone)
        wait_until(lambda gone=gone: all(q._waiter.session and q._waiter.session not in gone for q in queues))
        assert not any(q._waiter.sees_sessions for q in queues)  # nobody accuses anybody for a while
        wait_until(lambda gone=gone: len(set(_sessions(queues[0])) - set(gone)) == 3)
    time.sleep(COME_BACK + LOOK)
    for reservation in held:
        reservation.ack()
    assert {queues[0].status(r.job_id).attempt for r in held} == {1}


def test_a_session_is_told_apart_from_a_later_one_with_its_pid(make_queue: MakeQueue) -> None:
    holder, other = make_queue(lease=LEASE), make_queue(lease=LEASE)
    holder.enqueue("default")
    holder.reserve()
    wait_until(lambda: _session(holder))
    database = other._database
    assert database.read(database.dialect.ended_sessions) == []
    pid, _, server = str(_session(holder)).split()
    other._store.set_session(holder._keeper.consumer, f"{pid} 12345.678 {server}")
    assert [i for i, *_ in database.read(database.dialect.ended_sessions)] == [holder._keeper.consumer]


def test_a_session_with_another_server_says_nothing_of_its_consumer(make_queue: MakeQueue) -> None:
    """After a failover no session is where it was; who has one with the new server by now must accuse nobody."""
    holder, other = make_queue(lease=LEASE), make_queue(lease=LEASE)
    holder.enqueue("default")
    holder.reserve()
    wait_until(lambda: _session(holder))
    other._store.set_session(holder._keeper.consumer, "1 12345.678 12345.678")
    assert other._database.read(other._database.dialect.ended_sessions) == []
