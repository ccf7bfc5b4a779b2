"""Transactions: jobs and business rows commit together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, Engine, Table, func, insert, select
from sqlalchemy.orm import Session

from kombu_depqueue import JobQueue, enlist
from kombu_depqueue.errors import Duplicate, InvalidJob, LeaseLost, NotExist
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, in_threads

Open = Callable[[Engine], Any]
either = pytest.mark.parametrize("open_", [Engine.connect, Session], ids=["Connection", "Session"])
how_joined = pytest.mark.parametrize("join", ["argument", "enlist"])


def _rows(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _known(queue: JobQueue, job_id: UUID) -> bool:
    try:
        return bool(queue.status(job_id))
    except NotExist:
        return False


@either
@how_joined
@pytest.mark.parametrize("committed", [True, False], ids=["commit", "rollback"])
def test_job_and_business_row_share_their_fate(
    queue: JobQueue, engine: Engine, business: Table, open_: Open, join: str, committed: bool
) -> None:
    queue.queues()
    with open_(engine) as mine:
        mine.execute(insert(business).values(id=1, name="order"))
        if join == "argument":
            job_id = queue.enqueue("default", {"order": 1}, connection=mine)
        else:
            with enlist(mine):
                job_id = queue.enqueue("default", {"order": 1})
        assert not _known(queue, job_id)
        if committed:
            mine.commit()
        else:
            mine.rollback()
    assert _rows(engine, business) == int(committed)
    assert _known(queue, job_id) is committed
    assert drain(queue) == ([job_id] if committed else [])


def test_the_first_use_of_a_job_queue_may_be_in_a_transaction(
    make_queue: MakeQueue, engine: Engine, business: Table
) -> None:
    queue = make_queue(deadline=5.0)
    with engine.begin() as connection:
        connection.execute(insert(business).values(id=1, name="order"))
        job_id = queue.enqueue("default", connection=connection)
    assert _rows(engine, business) == 1
    assert drain(queue) == [job_id]


@either
def test_an_exception_inside_takes_everything_back(
    queue: JobQueue, engine: Engine, business: Table, open_: Open
) -> None:
    queue.queues()
    ids: list[UUID] = []

    def work() -> None:
        with open_(engine) as mine, mine.begin() as transaction:
            mine.execute(insert(business).values(id=1, name="order"))
            with enlist(mine):
                ids.append(queue.enqueue("default"))
                ids.append(queue.enqueue("default", depends_on=ids[:1]))
            del transaction
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert _rows(engine, business) == 0
    assert not any(_known(queue, i) for i in ids)


@how_joined
def test_a_whole_graph_commits_or_vanishes(queue: JobQueue, engine: Engine, join: str) -> None:
    outside = queue.enqueue("default", "outside")
    for committed in (False, True):
        with engine.connect() as mine, enlist(mine) if join == "enlist" else nullcontext():
            fields: dict[str, Any] = {} if join == "enlist" else {"connection": mine}
            first = queue.enqueue("default", 1, depends_on=[outside], **fields)
            second = queue.enqueue("default", 2, depends_on=[first, outside], **fields)
            batch = [JobMessage.new("default", n, depends_on=[second]) for n in range(3)]
            assert queue.enqueue_many(batch, **fields) == 3
            if committed:
                mine.commit()
            else:
                mine.rollback()
        assert (queue.status(outside).dependents == ()) is not committed
    assert drain(queue) == [outside, first, second, *(job.job_id for job in batch)]


def test_a_dependency_enqueued_in_the_transaction_of_a_finished_one(queue: JobQueue, engine: Engine) -> None:
    ended = queue.enqueue("default")
    drain(queue)
    with engine.begin() as mine:
        job_id = queue.enqueue("default", depends_on=[ended], connection=mine)
    assert queue.reserve(0).job_id == job_id


def test_after_enlist_ends_enqueues_commit_on_their_own(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue(deadline=5.0)
    queue.queues()
    with engine.connect() as mine:
        with enlist(mine):
            inside = queue.enqueue("default", "inside")
        mine.rollback()
        outside = queue.enqueue("default", "outside")
        assert (_known(queue, inside), _known(queue, outside)) == (False, True)


def test_enlist_ends_with_an_exception_too(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue(deadline=5.0)
    queue.queues()
    with engine.connect() as mine, pytest.raises(KeyError), enlist(mine):
        raise KeyError
    assert _known(queue, queue.enqueue("default"))


def test_enlist_is_a_matter_of_its_thread(make_queue: MakeQueue, engine: Engine) -> None:
    queue = make_queue()
    queue.queues()
    with engine.connect() as mine, enlist(mine):
        (outside,) = in_threads([lambda: queue.enqueue("default", "another thread")])
        inside = queue.enqueue("default", "this thread")
        mine.rollback()
    assert _known(queue, outside)  # type: ignore[arg-type]
    assert not _known(queue, inside)


def test_enlist_covers_every_job_queue_on_that_database(make_queue: MakeQueue, engine: Engine) -> None:
    queues = [make_queue(), make_queue()]
    for queue in queues:
        queue.queues()
    with engine.connect() as mine, enlist(mine):
        ids = [queue.enqueue("default") for queue in queues]
        mine.rollback()
    assert [_known(queues[0], i) for i in ids] == [False, False]


def test_enlists_nest_and_the_innermost_counts(queue: JobQueue, engine: Engine) -> None:
    queue.queues()
    with engine.connect() as outer, enlist(outer):
        with engine.connect() as inner, enlist(inner):
            rolled_back = queue.enqueue("default", 1)
            inner.rollback()
        kept = queue.enqueue("default", 2)
        outer.commit()
    assert (_known(queue, rolled_back), _known(queue, kept)) == (False, True)


def test_a_savepoint_rolled_back_takes_its_job_along(queue: JobQueue, engine: Engine, business: Table) -> None:
    queue.queues()
    with engine.begin() as mine:
        mine.execute(insert(business).values(id=1, name="order"))
        kept = queue.enqueue("default", "kept", connection=mine)
        savepoint = mine.begin_nested()
        gone = queue.enqueue("default", "gone", connection=mine)
        savepoint.rollback()
        after = queue.enqueue("default", "after", connection=mine)
    assert _rows(engine, business) == 1
    assert not _known(queue, gone)
    assert drain(queue) == [kept, after]


REFUSED: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "invalid": ({"priority": 256}, InvalidJob),
    "unknown dependency": ({"depends_on": [uuid4()]}, NotExist),
    "duplicate": ({"job_id": UUID(int=7)}, Duplicate),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_refused_job_leaves_the_callers_transaction_as_it_was(
    queue: JobQueue, engine: Engine, business: Table, wrong: str
) -> None:
    queue.enqueue("other", job_id=UUID(int=7))
    fields, error = REFUSED[wrong]
    with engine.begin() as mine:
        mine.execute(insert(business).values(id=1, name="order"))
        first = queue.enqueue("default", 1, connection=mine)
        with pytest.raises(error):
            queue.enqueue("default", connection=mine, **fields)
        second = queue.enqueue("default", 2, connection=mine)
    assert _rows(engine, business) == 1
    assert drain(queue) == [first, second]


def test_a_queue_first_used_in_a_rolled_back_transaction_works_afterwards(
    make_queue: MakeQueue, engine: Engine
) -> None:
    queue, other = make_queue(), make_queue()
    queue.queues()
    with engine.connect() as mine:
        queue.enqueue("brand new", connection=mine, channel="x")
        queue.enqueue_many([JobMessage.new("newer")], connection=mine)
        mine.rollback()
    jobs = [queue.enqueue("brand new", channel="x"), queue.enqueue("newer")]
    got = other.reserve_many(9, 5, queues=["brand new", "newer"], channels=["", "x"])
    assert [r.job_id for r in got] == jobs
    assert [(r.job_type, r.message.channel) for r in got] == [("brand new", "x"), ("newer", "")]
    assert {q.name for q in other.queues()} == {"brand new", "newer"}


def test_a_long_transaction_holds_up_nobody_else(make_queue: MakeQueue, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    queue, other = make_queue(), make_queue(deadline=15.0)
    ended, live = queue.enqueue("default"), queue.enqueue("live")
    drain(queue)
    with engine.connect() as mine:
        inside = queue.enqueue("brand new", depends_on=[ended, live], connection=mine)
        outside = other.enqueue("brand new")
        assert other.reserve(5, queues=["brand new"]).job_id == outside
        third = other.enqueue("brand new", depends_on=[outside])
        assert drain(other, ["brand new"]) == []
        other.finish(outside)
        assert drain(other, ["brand new"]) == [third]
        mine.commit()
    assert drain(other, ["live"]) == [live]
    assert drain(other, ["brand new"]) == [inside]


def test_an_id_twice_in_one_transaction_is_a_duplicate(queue: JobQueue, engine: Engine) -> None:
    queue.queues()
    with engine.begin() as mine:
        job_id = queue.enqueue("default", 1, connection=mine)
        with pytest.raises(Duplicate):
            queue.enqueue("default", 2, job_id=job_id, connection=mine)
    assert drain(queue) == [job_id]


@either
@pytest.mark.parametrize("how", ["ack", "finish"])
def test_finishing_in_a_transaction_takes_effect_at_its_commit(
    queue: JobQueue, engine: Engine, business: Table, how: str, open_: Open
) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    reservation = queue.reserve(0, queues=["first"])
    with open_(engine) as mine:
        mine.execute(insert(business).values(id=1, name="result"))
        if how == "ack":
            reservation.ack("result", connection=mine)
        else:
            queue.finish(first, "result", connection=mine)
        assert queue.status(first).state is JobState.LEASED
        assert queue.status(second).state is JobState.BLOCKED
        mine.commit()
    assert _rows(engine, business) == 1
    assert (queue.status(first).state, queue.status(first).result) == (JobState.SUCCEEDED, "result")
    assert drain(queue, ["second"]) == [second]


@pytest.mark.parametrize("then", ["ack", "requeue", "fail"])
def test_an_ack_rolled_back_never_was(queue: JobQueue, engine: Engine, business: Table, then: str) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    reservation = queue.reserve(0, queues=["first"])
    with engine.connect() as mine:
        mine.execute(insert(business).values(id=1, name="result"))
        reservation.ack("lost", connection=mine)
        mine.rollback()
    assert _rows(engine, business) == 0
    assert queue.status(first).state is JobState.LEASED
    assert queue.status(second).state is JobState.BLOCKED
    getattr(reservation, then)()
    assert queue.status(first).state == {"ack": "succeeded", "requeue": "ready", "fail": "failed"}[then]
    assert queue.status(first).result is None


def test_a_rolled_back_ack_leaves_the_lease_renewed(make_queue: MakeQueue, engine: Engine) -> None:
    queue, other = make_queue(lease=0.8), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0)
    with engine.connect() as mine:
        reservation.ack(connection=mine)
        mine.rollback()
    assert_nothing_ready(other, 1.8)
    reservation.ack("done")
    assert queue.status(reservation.job_id).attempt == 1


@pytest.mark.parametrize("how", ["ack", "ack_many", "fail"])
def test_asked_again_when_the_record_of_a_committed_ack_is_gone(queue: JobQueue, engine: Engine, how: str) -> None:
    """The hand-out itself knows of its ack; that it has failed is not true, and is not taken."""
    queue.enqueue("default")
    reservation = queue.reserve(0)
    with engine.begin() as mine:
        reservation.ack(connection=mine)
    queue.delete_job(reservation.job_id)
    if how == "ack":
        reservation.ack()
    elif how == "ack_many":
        assert queue.ack_many([reservation]) == []
    else:
        with pytest.raises(LeaseLost):
            reservation.fail("so")


def test_an_ack_and_the_next_job_in_one_transaction(queue: JobQueue, engine: Engine) -> None:
    first = queue.enqueue("default", 1)
    reservation = queue.reserve(0)
    with engine.begin() as mine:
        reservation.ack("one", connection=mine)
        second = queue.enqueue("default", 2, depends_on=[first], connection=mine)
    got = queue.reserve(0)
    assert got.job_id == second
    assert [r.result for r in got.results_of_dependencies()] == ["one"]


def test_a_lost_lease_is_refused_in_a_transaction_and_leaves_it_usable(
    make_queue: MakeQueue, engine: Engine, business: Table
) -> None:
    queue, winner = make_queue(lease=0.3), make_queue()
    queue.enqueue("default")
    stale = queue.reserve(0, renew=False)
    current = winner.reserve(15)
    with engine.begin() as mine:
        mine.execute(insert(business).values(id=1, name="note"))
        with pytest.raises(LeaseLost):
            stale.ack("stale", connection=mine)
    assert _rows(engine, business) == 1
    current.ack("current")
    assert queue.status(stale.job_id).result == "current"


def test_a_waiting_consumer_gets_the_job_after_the_commit(make_queue: MakeQueue, engine: Engine) -> None:
    queue, consumer = make_queue(), make_queue()
    queue.queues()
    with engine.begin() as mine:
        job_id = queue.enqueue("default", connection=mine)
    assert consumer.reserve(10).job_id == job_id


@pytest.mark.parametrize("connection", ["text", 5, 1j])
def test_what_is_no_connection_is_refused(queue: JobQueue, connection: Any) -> None:
    with pytest.raises(InvalidJob):
        queue.enqueue("default", connection=connection)
    assert_nothing_ready(queue)


def test_the_connection_stays_open_and_the_callers(queue: JobQueue, engine: Engine) -> None:
    queue.queues()
    with engine.connect() as mine:
        assert isinstance(mine, Connection)
        queue.enqueue("default", connection=mine)
        assert mine.in_transaction()
        assert not mine.closed
        mine.commit()
