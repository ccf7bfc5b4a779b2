"""The sweep's cases: JobQueue and Reservation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sweep.case import Case, Subject, all_are, is_in, message, native, same

from kombu_depqueue import JobMessage, JobState
from kombu_depqueue.schema import EARLIEST

READY, LEASED, BLOCKED, SCHEDULED = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.SCHEDULED
SUCCEEDED, FAILED, CANCELED, EXPIRED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED


def some(count: int, **fields: Any) -> Callable[[Any], list[JobMessage]]:
    return lambda queue: [message(**fields) for _ in range(count)]


def three(queue: Any) -> int:
    return int(queue.enqueue_many([message() for _ in range(3)]))


def all_are_there(queue: Any, given: Any, count: int) -> None:
    assert count == len(given)
    (info,) = (i for i in queue.queues() if i.name == "t")
    assert (info.ready, info.leased, info.scheduled, info.blocked) == (count, 0, 0, 0)


def reserved(queue: Any, **fields: Any) -> Any:
    return queue.dequeue_by_id(queue.enqueue("t", **fields))


def awaited(queue: Any, **fields: Any) -> tuple[Any, UUID]:
    """A reservation, and a job that waits for it."""
    first = queue.enqueue("t", **fields)
    then = queue.enqueue("then", depends_on=[first])
    return queue.dequeue_by_id(first), then


def failed_with_dependent(queue: Any) -> tuple[Any, UUID]:
    first = queue.enqueue("t")
    then = queue.enqueue("then", depends_on=[first], dependency_policy="succeeded")
    reservation = queue.dequeue_by_id(first)
    reservation.fail("so")
    return reservation, then


def check_awaited(first: JobState, then: JobState) -> Callable[[Any, Any, Any], None]:
    def check(queue: Any, given: Any, result: Any) -> None:
        reservation, dependent = given
        assert queue.status(reservation.job_id).state is first
        assert queue.status(dependent).state is then

    return check


def check_reserved(queue: Any, given: Any, result: Any) -> None:
    """What is leased is what was returned, or will be given back at the next look."""
    assert len(result) == given
    assert {r.attempt for r in result} == {1}
    mine = {r.job_id for r in result}
    queue._keeper.join()
    hot = queue._database.dialect.tables.job
    with queue._database.dialect.engine.connect() as connection:
        rows = connection.execute(select(hot.c.job_id).where(hot.c.consumer_id.is_not(None)))
        assert set(rows.scalars()) == mine
    queue.ack_many(result)


def check_one(queue: Any, given: Any, result: Any) -> None:
    check_reserved(queue, 1, [result])


def purge_in_batches(queue: Any) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue._records, "purge", partial(queue._records.purge, limit=2))
        return int(queue.purge("t"))


def expire_all(queue: Any) -> None:
    """The time of all jobs in the hot table has passed."""
    hot = queue._database.dialect.tables.job
    with queue._database.dialect.engine.connect() as connection:
        connection.execute(update(hot).values(expires_at=EARLIEST))
        connection.commit()


def lapse(queue: Any, table: str, column: str) -> None:
    t = getattr(queue._database.dialect.tables, table)
    with queue._database.dialect.engine.connect() as connection:
        connection.execute(update(t).values({column: EARLIEST}))
        connection.commit()


def forged_job(queue: Any) -> UUID:
    """A job that somebody without a key has changed."""
    job = queue.enqueue("t", {"x": 1})
    hot = queue._database.dialect.tables.job
    with queue._database.dialect.engine.connect() as connection:
        connection.execute(update(hot).values(body=b'{"x": 2}'))
        connection.commit()
    return UUID(str(job))


def limited(queue: Any, **limits: Any) -> JobMessage:
    queue.limit("t", **limits)
    return message()


def worker(queue: Any) -> UUID:
    return UUID(str(queue.register_worker("w")))


def names_of_workers(queue: Any) -> list[str]:
    return [w.name for w in queue.workers() if w.name == "w"]


ENQUEUE = {
    "JobQueue.enqueue": native(lambda q: message(), lambda q, m: q.enqueue(m), is_in(READY)),
    "JobQueue.enqueue delayed": native(lambda q: message(delay=60), lambda q, m: q.enqueue(m), is_in(SCHEDULED)),
    "JobQueue.enqueue new": native(lambda q: None, lambda q, _: q.enqueue("t"), lambda q, _, i: is_in(READY)(q, i, _)),
    "JobQueue.enqueue blocked": native(
        lambda q: message(depends_on=[q.enqueue("first")]), lambda q, m: q.enqueue(m), is_in(BLOCKED)
    ),
    "JobQueue.enqueue hopeless": native(
        lambda q: message(depends_on=[failed_with_dependent(q)[1]]), lambda q, m: q.enqueue(m), is_in(CANCELED)
    ),
    "JobQueue.enqueue limited": native(
        lambda q: limited(q, max_length=3, max_body_bytes=1000), lambda q, m: q.enqueue(m), is_in(READY)
    ),
    "JobQueue.enqueue_many": native(some(5), lambda q, ms: q.enqueue_many(ms), all_are_there),
    "JobQueue.enqueue_many large": native(some(600), lambda q, ms: q.enqueue_many(ms), all_are_there),
    "JobQueue.enqueue_many new": native(
        lambda q: [JobMessage.new("t") for _ in range(5)], lambda q, ms: q.enqueue_many(ms), all_are_there
    ),
    "JobQueue.enqueue_many chain": native(
        lambda q: [first := message(), message(depends_on=[first.job_id])],
        lambda q, ms: q.enqueue_many(ms),
        lambda q, ms, n: (same(n, 2), is_in(READY)(q, ms[0], n), is_in(BLOCKED)(q, ms[1], n)),
    ),
}

RESERVE = {
    "JobQueue.reserve": native(three, lambda q, _: q.reserve(0, queues=["t"]), check_one),
    "JobQueue.reserve alone": native(three, lambda q, _: q.reserve(0, queues=["t"], renew=False), check_one),
    "JobQueue.dequeue": native(three, lambda q, _: q.dequeue(["t", "then"], 0), check_one),
    "JobQueue.reserve_many": native(
        lambda q: three(q) and 2, lambda q, _: q.reserve_many(2, 0, queues=["t"]), check_reserved
    ),
    "JobQueue.reserve_many expired": native(
        lambda q: (q.enqueue_many([message(), message()]), expire_all(q), q.enqueue("t"))[2],
        lambda q, _: q.reserve_many(2, 0, queues=["t"]),
        lambda q, _, found: check_reserved(q, 1, found),
        in_parts=True,
    ),
    "JobQueue.dequeue_by_id": native(
        lambda q: q.enqueue("t"), lambda q, i: q.dequeue_by_id(i), is_in(LEASED, attempt=1)
    ),
    "Reservation.extend": native(reserved, lambda q, r: r.extend(60), is_in(LEASED)),
    "Reservation.extend again": native(
        lambda q: (r := reserved(q), r.extend(60))[0], lambda q, r: r.extend(60), is_in(LEASED)
    ),
    "JobQueue.refresh_heartbeat": native(reserved, lambda q, r: q.refresh_heartbeat(r.token), is_in(LEASED)),
}

SETTLE = {
    "Reservation.ack": native(reserved, lambda q, r: r.ack(), is_in(SUCCEEDED)),
    "Reservation.ack result": native(reserved, lambda q, r: r.ack({"x": 1}), is_in(SUCCEEDED, result={"x": 1})),
    "Reservation.ack release": native(awaited, lambda q, g: g[0].ack(), check_awaited(SUCCEEDED, READY)),
    "JobQueue.ack_many": native(
        lambda q: [reserved(q), awaited(q)[0], reserved(q)],
        lambda q, rs: q.ack_many(rs),
        lambda q, rs, lost: (all_are(SUCCEEDED)(q, rs, lost), same(lost, [])),
        in_parts=True,
    ),
    "Reservation.fail": native(awaited, lambda q, g: g[0].fail("so"), check_awaited(FAILED, READY)),
    "Reservation.reject": native(reserved, lambda q, r: r.reject(), is_in(FAILED)),
    "Reservation.requeue": native(reserved, lambda q, r: r.requeue(), is_in(READY, attempt=1)),
    "Reservation.requeue later": native(reserved, lambda q, r: r.requeue(60), is_in(SCHEDULED)),
    "Reservation.requeue dead": native(
        lambda q: reserved(q, max_attempts=1), lambda q, r: r.requeue(60), is_in(FAILED)
    ),
    "JobQueue.finish": native(awaited, lambda q, g: q.finish(g[0].job_id, 1), check_awaited(SUCCEEDED, READY)),
    "JobQueue.fail_job": native(
        awaited, lambda q, g: q.fail_job(g[0].job_id, token=g[0].token), check_awaited(FAILED, READY)
    ),
    "JobQueue.requeue_or_finish": native(
        reserved,
        lambda q, r: q.requeue_or_finish(r.job_id, 3),
        lambda q, r, again: (is_in(READY)(q, r, again), same(again, True)),
    ),
    "JobQueue.requeue_or_finish dead": native(
        lambda q: reserved(q, max_attempts=1),
        lambda q, r: q.requeue_or_finish(r.job_id, 3),
        lambda q, r, again: (is_in(FAILED)(q, r, again), same(again, False)),
    ),
    "JobQueue.requeue_or_finish ended": native(
        reserved,
        lambda q, r: q.requeue_or_finish(r.job_id, 0),
        lambda q, r, again: (is_in(FAILED)(q, r, again), same(again, False)),
    ),
    "JobQueue.cancel": native(
        awaited,
        lambda q, g: q.cancel(g[0].job_id),
        lambda q, g, done: (check_awaited(CANCELED, CANCELED)(q, g, done), same(done, True)),
    ),
    "JobQueue.cancel blocked": native(
        awaited,
        lambda q, g: q.cancel(g[1]),
        lambda q, g, done: (check_awaited(LEASED, CANCELED)(q, g, done), same(done, True)),
    ),
}

OPERATE = {
    "JobQueue.retry": native(
        failed_with_dependent,
        lambda q, g: q.retry(g[0].job_id, subtree=True),
        lambda q, g, count: (check_awaited(READY, BLOCKED)(q, g, count), same(count, 2)),
    ),
    "JobQueue.purge": native(three, lambda q, _: q.purge("t"), lambda q, n, count: same(count, n), in_parts=True),
    "JobQueue.purge blocked": native(
        lambda q: q.enqueue("then", depends_on=[q.enqueue("t")]),
        lambda q, _: q.purge("t"),
        lambda q, i, count: (same(count, 1), is_in(CANCELED)(q, i, count)),
        in_parts=True,
    ),
    "JobQueue.purge batches": native(
        three, lambda q, _: purge_in_batches(q), lambda q, n, count: same(count, n), in_parts=True
    ),
    "JobQueue.delete_job": native(
        lambda q: q.enqueue("then", depends_on=[q.enqueue("t")]),
        lambda q, i: q.delete_job(i),
        lambda q, i, count: same((count, q.all_root_jobs()), (2, [])),
    ),
    "JobQueue.pause": native(
        three, lambda q, _: q.pause("t"), lambda q, n, _: same([i.paused for i in q.queues() if i.name == "t"], [True])
    ),
    "JobQueue.resume": native(
        lambda q: (three(q), q.pause("t"))[0],
        lambda q, _: q.resume("t"),
        lambda q, n, _: same([i.paused for i in q.queues() if i.name == "t"], [False]),
    ),
    "JobQueue.limit": native(
        lambda q: None, lambda q, _: q.limit("t", max_length=3), lambda q, _, __: same(q.limits("t"), (3, None))
    ),
    "JobQueue.register_worker": native(
        lambda q: None,
        lambda q, _: q.register_worker("w"),
        lambda q, _, i: same([w.worker_id for w in q.workers() if w.name == "w"], [i]),
    ),
    "JobQueue.refresh_worker": native(
        worker, lambda q, i: q.refresh_worker(i), lambda q, i, _: same(names_of_workers(q), ["w"])
    ),
    "JobQueue.delete_worker": native(
        worker, lambda q, i: q.delete_worker(i), lambda q, i, _: same(names_of_workers(q), [])
    ),
}


def due(queue: Any) -> UUID:
    job = queue.enqueue("t", delay=1000)
    lapse(queue, "wait", "due_at")
    return UUID(str(job))


def lapsed(queue: Any, **fields: Any) -> tuple[Any, UUID]:
    """A job whose holder has died, and one that waits for it."""
    first = queue.enqueue("t", **fields)
    then = queue.enqueue("then", depends_on=[first])
    held = queue.dequeue_by_id(first, renew=False)
    consumers = queue._database.dialect.tables.consumer
    with queue._database.dialect.engine.connect() as connection:
        values = update(consumers).where(consumers.c.id != queue._keeper.consumer).values(leased_until=EARLIEST)
        connection.execute(values)
        connection.commit()
    return held, then


def out_of_time(queue: Any) -> UUID:
    job = queue.enqueue("t", expires_in=1000)
    lapse(queue, "job", "expires_at")
    return UUID(str(job))


def prunable(queue: Any) -> UUID:
    held = reserved(queue)
    held.ack()
    lapse(queue, "done", "keep_until")
    return UUID(str(held.job_id))


def left_over(queue: Any) -> tuple[Any, UUID]:
    """A finish that has told the first of the dependents, and no more."""
    held, then = awaited(queue)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue._store, "release_pending", lambda released, seconds=0.5: None)
        patch.setattr("kombu_depqueue.store.RELEASE_LIMIT", 0)
        patch.setattr("kombu_depqueue.releases.RELEASE_LIMIT", 0)
        queue.finish(held.job_id)
    return held, then


TIME = {
    "JobQueue.maintain": native(three, lambda q, _: q.maintain(), lambda q, n, _: same(q.purge("t"), n)),
    "JobQueue.maintain due": native(due, lambda q, _: q.maintain(), is_in(READY)),
    "JobQueue.maintain lapsed": native(lapsed, lambda q, _: q.maintain(), check_awaited(READY, BLOCKED)),
    "JobQueue.maintain lapsed dead": native(
        lambda q: lapsed(q, max_attempts=1), lambda q, _: q.maintain(), check_awaited(FAILED, READY)
    ),
    "JobQueue.maintain expired": native(out_of_time, lambda q, _: q.maintain(), is_in(EXPIRED)),
    "JobQueue.maintain prune": native(
        prunable, lambda q, _: q.maintain(), lambda q, i, _: same(q.jobs(limit=10).jobs, ())
    ),
    "JobQueue.maintain release": native(left_over, lambda q, _: q.maintain(), check_awaited(SUCCEEDED, READY)),
}

READ = {
    "JobQueue.heartbeats": native(reserved, lambda q, r: q.heartbeats(0), lambda q, r, found: same(found, [r.token])),
    "JobQueue.job_id_of": native(
        reserved, lambda q, r: q.job_id_of(r.token), lambda q, r, found: same(found, r.job_id)
    ),
    "JobQueue.status": native(
        awaited, lambda q, g: q.status(g[1]), lambda q, g, found: same(found.depends_on, (g[0].job_id,))
    ),
    "JobQueue.dependencies_of": native(
        awaited, lambda q, g: q.dependencies_of(g[1]), lambda q, g, found: same(found, (g[0].job_id,))
    ),
    "JobQueue.results_of_dependencies": native(
        awaited, lambda q, g: q.results_of_dependencies(g[1]), lambda q, g, found: same(found[0].state, LEASED)
    ),
    "Reservation.results_of_dependencies": native(
        lambda q: (g := awaited(q), g[0].ack(5), q.dequeue_by_id(g[1]))[2],
        lambda q, r: r.results_of_dependencies(),
        lambda q, r, found: same(found[0].result, 5),
    ),
    "Reservation.depends_on": native(
        lambda q: (g := awaited(q), g[0].ack(), (g[0].job_id, q.dequeue_by_id(g[1])))[2],
        lambda q, g: g[1].depends_on,
        lambda q, g, found: same(found, (g[0],)),
    ),
    "Reservation.message": native(
        lambda q: (g := awaited(q), g[0].ack(), q.dequeue_by_id(g[1]))[2],
        lambda q, r: r.message,
        lambda q, r, found: same(found.depends_on, r.depends_on),
    ),
    "JobQueue.why": native(
        awaited, lambda q, g: q.why(g[1]), lambda q, g, why: same([d.job_id for d in why.unmet], [g[0].job_id])
    ),
    "JobQueue.all_root_jobs": native(awaited, lambda q, g: q.all_root_jobs(), lambda q, g, found: same(found, [g[1]])),
    "JobQueue.jobs": native(
        reserved, lambda q, r: q.jobs("leased").jobs, lambda q, r, found: same([j.job_id for j in found], [r.job_id])
    ),
    "JobQueue.message_of": native(
        lambda q: q.enqueue("t", 7), lambda q, i: q.message_of(i), lambda q, i, found: same(found.args, 7)
    ),
    "JobQueue.prunable": native(prunable, lambda q, _: q.prunable(), lambda q, _, found: same(found, 1)),
    "JobQueue.queues": native(three, lambda q, _: q.queues(), lambda q, n, found: all_are_there(q, "abc", 3)),
    "JobQueue.workers": native(
        worker, lambda q, i: q.workers(), lambda q, i, found: same(i in [w.worker_id for w in found], True)
    ),
    "JobQueue.limits": native(
        lambda q: q.limit("t", max_length=3), lambda q, _: q.limits("t"), lambda q, _, found: same(found, (3, None))
    ),
    "JobQueue.figures": native(three, lambda q, _: q.figures(), lambda q, n, found: same(found is None, False)),
    "JobQueue.examine": native(  # it looks at the catalog through SQLAlchemy
        three, lambda q, _: q.examine(), lambda q, n, found: same(found is None, False), reported=True
    ),
    "JobQueue.settings_of_database": native(
        lambda q: None, lambda q, _: q.settings_of_database(), lambda q, n, found: same(bool(found), True)
    ),
}

SIGNED = {
    f"{name} signed": case
    for name, case in {**ENQUEUE, **RESERVE, **SETTLE}.items()
    if name.split()[-1] in ("delayed", "blocked", "chain", "later", "JobQueue.reserve", "JobQueue.dequeue_by_id")
} | {
    "JobQueue.reserve_many forged": native(
        lambda q: (forged_job(q), q.enqueue("t"))[0],
        lambda q, _: q.reserve_many(2, 0, queues=["t"]),
        lambda q, bad, found: (is_in(FAILED)(q, bad, found), same([r.attempt for r in found], [1])),
        in_parts=True,
    ),
    "JobQueue.retry signed": OPERATE["JobQueue.retry"],
}


def closed(s: Subject) -> Any:
    """Another JobQueue, which holds a job."""
    assert s.open_another is not None
    other = s.open_another()
    return other, other.queue.dequeue_by_id(s.queue.enqueue("t")).job_id


CLOSE = {
    "JobQueue.close": Case(  # if that is told to have failed, the leases expire by themselves
        closed,
        lambda s, g: g[0].queue.close(),
        lambda s, g, _: is_in(READY)(s.queue, g[1], _),
        in_parts=True,
    ),
}
