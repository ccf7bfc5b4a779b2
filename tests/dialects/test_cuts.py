"""Connections that break: before or after any statement of any operation, PostgreSQL.

Each operation is run once to count its statements, then once for each place where its
connection can break, and must do what it would have done: the library tries again by itself,
nothing is lost or doubled, and no error reaches the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, select, text

from kombu_depqueue import JobMessage, JobQueue, JobState, LeaseLost, NotRunning, limits
from kombu_depqueue.dialects.lean import LeanCursor
from kombu_depqueue.dialects.postgresql import PostgreSQL
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.testing.fixtures import MakeQueue

pytestmark = pytest.mark.only("postgresql")


class Cuts:
    """Breaks a JobQueue's connection at the n-th statement, once."""

    def __init__(self, admin: Connection) -> None:
        self.admin = admin
        self.count = 0
        self.at: int | None = None
        self.after = False
        """Whether the statement takes place and only its answer is lost."""

    def arm(self, at: int | None, after: bool = False) -> None:
        self.count, self.at, self.after = 0, at, after

    def step(self, connection: psycopg.Connection[Any], execute: Callable[[], Any]) -> Any:
        self.count += 1
        if self.at != self.count:
            return execute()
        self.at = None
        if self.after:
            execute()
        self.kill(connection)
        if self.after:
            raise psycopg.OperationalError("the connection broke")
        return execute()

    def kill(self, connection: psycopg.Connection[Any]) -> None:
        pid = connection.info.backend_pid
        self.admin.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        if self.after:
            connection.close()


@pytest.fixture
def cuts(engine: Engine) -> Iterator[Cuts]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        yield Cuts(admin)


@pytest.fixture
def queue(make_queue: MakeQueue, cuts: Cuts, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """A JobQueue whose every statement goes through `cuts`; no other thread speaks to the database."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    make_queue().close()  # makes the tables
    queue = make_queue(create=False, notify=False, lease=1000, deadline=20)

    class CuttingCursor(psycopg.Cursor[Any]):
        def execute(self, *args: Any, **options: Any) -> Any:
            return cuts.step(self.connection, lambda: super(CuttingCursor, self).execute(*args, **options))

        def executemany(self, *args: Any, **options: Any) -> Any:
            return cuts.step(self.connection, lambda: super(CuttingCursor, self).executemany(*args, **options))

    class CuttingLean(LeanCursor):
        def execute(self, *args: Any, **options: Any) -> Any:
            return cuts.step(self.connection, lambda: super(CuttingLean, self).execute(*args, **options))

    dialect = queue._database.dialect
    assert isinstance(dialect, PostgreSQL)
    pipelined = dialect.pipelined

    @contextmanager
    def pipelined_and_cut(connection: Any) -> Iterator[None]:
        with pipelined(connection):
            yield
        cuts.step(connection, lambda: None)  # all was sent and done, and the answer is lost

    monkeypatch.setattr(dialect, "pipelined", pipelined_and_cut)

    @event.listens_for(dialect.engine, "connect")
    def use(connection: Any, record: object) -> None:
        connection.cursor_factory, connection.lean_factory = CuttingCursor, CuttingLean

    monkeypatch.setattr(limits, "FRESH", 1e9)  # else the first of several enqueues would take a statement more
    queue.limits("t")
    return queue


# -- the operations -------------------------------------------------------------


@dataclass
class Case:
    """An operation: `prepare` what it needs, then `run`; `check` what came of it."""

    prepare: Callable[[JobQueue], Any]
    run: Callable[[JobQueue, Any], Any]
    check: Callable[[JobQueue, Any, Any], None]


def message(**fields: Any) -> JobMessage:
    """A job with an id given by the caller."""
    return JobMessage(uuid4(), job_type="t", **fields)


def is_in(state: JobState, **more: Any) -> Callable[[JobQueue, Any, Any], None]:
    """Check the state of the one job that `prepare` returned (id, message or reservation)."""

    def check(queue: JobQueue, given: Any, result: Any) -> None:
        status = queue.status(given if isinstance(given, UUID) else given.job_id)
        assert status.state is state
        for name, value in more.items():
            assert getattr(status, name) == value

    return check


def all_are(state: JobState) -> Callable[[JobQueue, Any, Any], None]:
    def check(queue: JobQueue, given: Any, result: Any) -> None:
        assert {queue.status(one.job_id).state for one in given[:10]} == {state}

    return check


def all_are_there(queue: JobQueue, given: Any, count: int) -> None:
    assert count == len(given)
    (info,) = (i for i in queue.queues() if i.name == "t")
    assert (info.ready, info.leased, info.scheduled, info.blocked) == (count, 0, 0, 0)


def with_dependency(queue: JobQueue) -> JobMessage:
    return message(depends_on=[queue.enqueue("first")])


def reserved(queue: JobQueue, **fields: Any) -> Any:
    return queue.dequeue_by_id(queue.enqueue("t", **fields))


def awaited(queue: JobQueue, **fields: Any) -> tuple[Any, UUID]:
    """A reservation, and a job that waits for it."""
    first = queue.enqueue("t", **fields)
    then = queue.enqueue("then", depends_on=[first])
    return queue.dequeue_by_id(first), then


def check_awaited(first: JobState, then: JobState) -> Callable[[JobQueue, Any, Any], None]:
    def check(queue: JobQueue, given: Any, result: Any) -> None:
        reservation, dependent = given
        assert queue.status(reservation.job_id).state is first
        assert queue.status(dependent).state is then

    return check


def check_reserved(queue: JobQueue, given: Any, result: Any) -> None:
    """What is leased is what was returned, or will be given back at the next look."""
    assert len(result) == given
    assert {r.attempt for r in result} == {1}
    mine = {r.job_id for r in result}
    queue._keeper.join()
    with queue._database.dialect.engine.connect() as connection:
        hot = queue._database.dialect.tables.job
        rows = connection.execute(select(hot.c.job_id).where(hot.c.consumer_id.is_not(None)))
        assert set(rows.scalars()) == mine
    queue.ack_many(result)


def three(queue: JobQueue) -> int:
    return queue.enqueue_many([message() for _ in range(3)])


def failed_with_dependent(queue: JobQueue) -> tuple[Any, UUID]:
    first = queue.enqueue("t")
    then = queue.enqueue("then", depends_on=[first], dependency_policy="succeeded")
    reservation = queue.dequeue_by_id(first)
    reservation.fail("so")
    return reservation, then


def purge_in_batches(queue: JobQueue) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue._records, "purge", partial(queue._records.purge, limit=2))
        return queue.purge("t")


def some(count: int) -> Callable[[JobQueue], list[JobMessage]]:
    return lambda queue: [message() for _ in range(count)]


READY, LEASED, BLOCKED = JobState.READY, JobState.LEASED, JobState.BLOCKED
SUCCEEDED, FAILED, CANCELED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED

CASES = {
    "enqueue": Case(lambda q: message(), lambda q, m: q.enqueue(m), is_in(READY)),
    "enqueue-delayed": Case(lambda q: message(delay=60), lambda q, m: q.enqueue(m), is_in(JobState.SCHEDULED)),
    "enqueue-blocked": Case(with_dependency, lambda q, m: q.enqueue(m), is_in(BLOCKED)),
    "enqueue_many": Case(some(5), lambda q, ms: q.enqueue_many(ms), all_are_there),
    "enqueue_many-copy": Case(some(600), lambda q, ms: q.enqueue_many(ms), all_are_there),
    "enqueue_many-new": Case(
        lambda q: [JobMessage.new("t") for _ in range(5)], lambda q, ms: q.enqueue_many(ms), all_are_there
    ),
    "reserve": Case(lambda q: three(q) and 1, lambda q, _: q.reserve_many(1, 0, queues=["t"]), check_reserved),
    "reserve_many": Case(lambda q: three(q) and 2, lambda q, _: q.reserve_many(2, 0, queues=["t"]), check_reserved),
    "dequeue_by_id": Case(lambda q: q.enqueue("t"), lambda q, i: q.dequeue_by_id(i), is_in(LEASED, attempt=1)),
    "ack": Case(reserved, lambda q, r: r.ack(), is_in(SUCCEEDED)),
    "ack-result": Case(reserved, lambda q, r: r.ack({"x": 1}), is_in(SUCCEEDED, result={"x": 1})),
    "ack-release": Case(awaited, lambda q, g: g[0].ack(), check_awaited(SUCCEEDED, READY)),
    "ack_many": Case(
        lambda q: [reserved(q), awaited(q)[0], reserved(q)],
        lambda q, rs: q.ack_many(rs),
        lambda q, rs, lost: (all_are(SUCCEEDED)(q, rs, lost), _same(lost, [])),
    ),
    "fail": Case(awaited, lambda q, g: g[0].fail("so"), check_awaited(FAILED, READY)),
    "reject": Case(reserved, lambda q, r: r.reject(), is_in(FAILED)),
    "requeue": Case(reserved, lambda q, r: r.requeue(), is_in(READY, attempt=1)),
    "requeue-delay": Case(reserved, lambda q, r: r.requeue(60), is_in(JobState.SCHEDULED)),
    "requeue-dead": Case(lambda q: reserved(q, max_attempts=1), lambda q, r: r.requeue(60), is_in(FAILED)),
    "extend": Case(reserved, lambda q, r: r.extend(60), is_in(LEASED)),
    "finish": Case(awaited, lambda q, g: q.finish(g[0].job_id, 1), check_awaited(SUCCEEDED, READY)),
    "fail_job": Case(awaited, lambda q, g: q.fail_job(g[0].job_id, token=g[0].token), check_awaited(FAILED, READY)),
    "requeue_or_finish": Case(
        reserved,
        lambda q, r: q.requeue_or_finish(r.job_id, 3),
        lambda q, r, again: (is_in(READY)(q, r, again), _same(again, True)),
    ),
    "requeue_or_finish-dead": Case(
        lambda q: reserved(q, max_attempts=1),
        lambda q, r: q.requeue_or_finish(r.job_id, 3),
        lambda q, r, again: (is_in(FAILED)(q, r, again), _same(again, False)),
    ),
    "requeue_or_finish-finish": Case(
        reserved,
        lambda q, r: q.requeue_or_finish(r.job_id, 0),
        lambda q, r, again: (is_in(FAILED)(q, r, again), _same(again, False)),
    ),
    "cancel": Case(
        awaited,
        lambda q, g: q.cancel(g[0].job_id),
        lambda q, g, done: (check_awaited(CANCELED, CANCELED)(q, g, done), _same(done, True)),
    ),
    "retry": Case(
        failed_with_dependent,
        lambda q, g: q.retry(g[0].job_id, subtree=True),
        lambda q, g, count: (check_awaited(READY, BLOCKED)(q, g, count), _same(count, 2)),
    ),
    "purge": Case(three, lambda q, _: q.purge("t"), lambda q, n, count: _same(count, n)),
    "purge-batches": Case(three, lambda q, _: purge_in_batches(q), lambda q, n, count: _same(count, n)),
    "delete_job": Case(
        lambda q: q.enqueue("then", depends_on=[q.enqueue("t")]),
        lambda q, i: q.delete_job(i),
        lambda q, i, count: _same((count, q.all_root_jobs()), (2, [])),
    ),
    "pause": Case(
        three, lambda q, _: q.pause("t"), lambda q, n, _: _same([i.paused for i in q.queues() if i.name == "t"], [True])
    ),
    "register_worker": Case(
        lambda q: None,
        lambda q, _: q.register_worker("w"),
        lambda q, _, i: _same([w.worker_id for w in q.workers() if w.name == "w"], [i]),
    ),
    "maintain": Case(three, lambda q, _: q.maintain(), lambda q, n, _: _same(q.purge("t"), n)),
}


def _same(found: Any, expected: Any) -> None:
    assert found == expected


def check_tables(queue: JobQueue) -> None:
    """Each job is in one table, once; nothing is left over."""
    t = queue._database.dialect.tables
    with queue._database.dialect.engine.connect() as connection:
        ids = Counter(
            i for table in (t.job, t.wait, t.done) for i in connection.execute(select(table.c.job_id)).scalars()
        )
        assert not connection.execute(select(t.release)).all()
        pending = dict(map(tuple, connection.execute(select(t.blocked))))
        blocked = connection.execute(select(t.wait.c.job_id).where(t.wait.c.due_at.is_(None)))
        assert set(pending) == set(blocked.scalars())
    assert set(ids.values()) <= {1}


@pytest.mark.parametrize("name", CASES)
def test_operation_survives_a_broken_connection(name: str, queue: JobQueue, cuts: Cuts) -> None:
    dialect = queue._database.dialect
    assert isinstance(dialect, PostgreSQL)
    for pooled in (False, True):
        dialect.pooled = pooled  # statement by statement instead of in pipelines
        empty_tables(queue)
        run_with_all_cuts(queue, cuts, CASES[name])


def run_with_all_cuts(queue: JobQueue, cuts: Cuts, case: Case) -> None:
    queue.purge("t")  # a first use, so that no statement is about the schema or the queue's number
    given = case.prepare(queue)
    queue._keeper.join()
    cuts.arm(None)
    result = case.run(queue, given)
    statements = cuts.count
    case.check(queue, given, result)
    places = [(at, after) for at in range(1, statements + 1) for after in (False, True)]
    broken = [problem for place in places if (problem := run_with_cut(queue, cuts, case, *place))]
    assert not broken, f"of {statements} statements\n" + "\n".join(broken)


def run_with_cut(queue: JobQueue, cuts: Cuts, case: Case, at: int, after: bool) -> str | None:
    """Run the operation in empty tables with a cut; return what went wrong."""
    empty_tables(queue)
    given = case.prepare(queue)
    cuts.arm(at, after)
    try:
        result = case.run(queue, given)
        assert cuts.at is None, "it took fewer statements than the first time"
        case.check(queue, given, result)
        check_tables(queue)
    except Exception as error:
        return f"{'after' if after else 'before'} statement {at}: {type(error).__name__}: {error}"
    finally:
        cuts.arm(None)
    return None


def empty_tables(queue: JobQueue) -> None:
    t = queue._database.dialect.tables
    with queue._database.dialect.engine.connect() as connection:
        for table in (t.job, t.wait, t.done, t.dep, t.blocked, t.release, t.ended_body):
            connection.execute(table.delete())
        connection.execute(t.consumer.delete().where(t.consumer.c.id != queue._keeper.consumer))
        connection.commit()
    queue.resume("t")
    queue._keeper.held.clear()
    queue._keeper._lost.clear()


# -- what others did meanwhile --------------------------------------------------


def finished_by(other: JobQueue, reservation: Any) -> None:
    other.finish(reservation.job_id, "theirs", token=reservation.token)


def handed_out_by(other: JobQueue, reservation: Any) -> None:
    """The lease is gone, and another has the job."""
    other._store.give_back(reservation.key, 0)
    other.dequeue_by_id(reservation.job_id)


MEANWHILE: dict[str, tuple[Any, Any, Any]] = {
    "finish": (finished_by, lambda q, r: q.finish(r.job_id, "mine", token=r.token), NotRunning),
    "fail_job": (finished_by, lambda q, r: q.fail_job(r.job_id, token=r.token), NotRunning),
    "finish-lost": (handed_out_by, lambda q, r: q.finish(r.job_id, "mine", token=r.token), LeaseLost),
    "cancel": (finished_by, lambda q, r: q.cancel(r.job_id), False),
    "purge": (handed_out_by, lambda q, r: q.purge("t"), 0),
}


@pytest.mark.parametrize("name", MEANWHILE)
def test_a_try_that_was_undone_is_not_taken_for_done(
    name: str, queue: JobQueue, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks before COMMIT, and before the next try another does something to the job."""
    meanwhile, operation, expected = MEANWHILE[name]
    other = make_queue(create=False, notify=False)
    dialect = queue._database.dialect
    commit = dialect.commit
    reservation = reserved(queue)
    if name == "purge":
        reservation.requeue()

    def break_once(cursor: Any) -> None:
        monkeypatch.setattr(dialect, "commit", commit)
        cursor.connection.close()
        meanwhile(other, reservation)
        raise psycopg.OperationalError("the connection broke")

    queue.queues()
    monkeypatch.setattr(dialect, "commit", break_once)
    if isinstance(expected, type):
        with pytest.raises(expected):
            operation(queue, reservation)
    else:
        assert operation(queue, reservation) == expected
