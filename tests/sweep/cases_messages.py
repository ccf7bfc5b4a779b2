"""The sweep's cases: the message level, on which the transport and adapters build."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from sweep.case import native, same
from sweep.cases_jobs import awaited, check_awaited, three

from kombu_depqueue import JobState, Policy
from kombu_depqueue.dialects.steps import Claimed
from kombu_depqueue.entry import Entry

READY, LEASED, BLOCKED, RUNNING = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.RUNNING
SUCCEEDED, FAILED, CANCELED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED


def entry(**fields: Any) -> Entry:
    values = {"channel": "", "queue": "t", "body": b"1", "envelope": None, "rank": 255, "max_attempts": 0}
    return Entry(**{"job_id": uuid4(), "id_is_new": True, **values, **fields})


def claimed(queue: Any, count: int = 1, **fields: Any) -> list[Claimed]:
    """What this consumer was given."""
    for _ in range(count):
        queue.enqueue("t", **fields)
    return list(queue.claim(queue.numbers(["t"]), count))


def awaited_claim(queue: Any) -> tuple[Claimed, UUID]:
    """A message that this consumer was given, and a job that waits for it."""
    one = claimed(queue)[0]
    return one, queue.enqueue("then", depends_on=[one.job_id])


def states(queue: Any, *ids: Any) -> list[JobState]:
    return [queue.status(i).state for i in ids]


def token_of(queue: Any, one: Claimed) -> str:
    return str(queue.heartbeats(0)[0])


def success(queue: Any, result: bytes | None = None) -> Any:
    return queue.ending(SUCCEEDED, result=result)


def failure(queue: Any) -> Any:
    return queue.ending(FAILED, reason="so", meta=b"m")


MESSAGES = {
    "MessageQueue.publish": native(
        lambda q: [entry(), entry()],
        lambda q, es: q.publish(es),
        lambda q, es, _: same(states(q, *(e.job_id for e in es)), [READY, READY]),
    ),
    "MessageQueue.publish again": native(  # as Celery's retry does
        lambda q: entry(job_id=claimed(q)[0].job_id, id_is_new=False, supersedes=True, delay=60),
        lambda q, e: q.publish([e]),
        lambda q, e, _: same(states(q, e.job_id), [JobState.SCHEDULED]),
    ),
    "MessageQueue.numbers": native(
        lambda q: f"n{uuid4()}", lambda q, name: q.numbers([name]), lambda q, name, found: same(len(found), 1)
    ),
    "MessageQueue.claim": native(
        three, lambda q, n: q.claim(q.numbers(["t"]), 2), lambda q, n, found: same([c.attempt for c in found], [1, 1])
    ),
    "MessageQueue.ack_and_claim": native(
        lambda q: (c := claimed(q, 2), three(q), c)[2],
        lambda q, cs: q.ack_and_claim(cs, q.numbers(["t"]), 2),
        lambda q, cs, found: (
            same(states(q, *(c.job_id for c in cs)), [SUCCEEDED, SUCCEEDED]),
            same([c.attempt for c in found[1]], [1, 1]),
            same(len(q.heartbeats(0)), 2),
        ),
        in_parts=True,
    ),
    "MessageQueue.ack_messages": native(
        awaited_claim,
        lambda q, g: q.ack_messages([g[0]]),
        lambda q, g, _: same(states(q, g[0].job_id, g[1]), [SUCCEEDED, READY]),
        in_parts=True,
    ),
    "MessageQueue.ack_messages results": native(
        lambda q: claimed(q, 2),
        lambda q, cs: q.ack_messages(cs, {cs[0].seq: success(q, b"5")}),
        lambda q, cs, _: same([q.status(c.job_id).result for c in cs], [5, None]),
        in_parts=True,
    ),
    "MessageQueue.give_back": native(
        lambda q: claimed(q, 2),
        lambda q, cs: q.give_back(cs, seen=True),
        lambda q, cs, spent: (same(states(q, *(c.job_id for c in cs)), [READY, READY]), same(spent, [])),
    ),
    "MessageQueue.give_back unseen": native(
        lambda q: claimed(q, 2),
        lambda q, cs: q.give_back(cs, seen=False),
        lambda q, cs, _: same([q.status(c.job_id).attempt for c in cs], [0, 0]),
    ),
    "MessageQueue.reject": native(
        awaited_claim,
        lambda q, g: q.reject(g[0]),
        lambda q, g, done: (same(states(q, g[0].job_id, g[1]), [FAILED, READY]), same(done, True)),
    ),
    "MessageQueue.cut": native(
        three, lambda q, n: q.cut(q.numbers(["t"])[0], 1), lambda q, n, _: same(len(q.jobs("ready").jobs), 1)
    ),
    "MessageQueue.conclude": native(
        awaited,
        lambda q, g: q.conclude(g[0].job_id, success(q, b"5"), token=g[0].token),
        lambda q, g, done: (check_awaited(SUCCEEDED, READY)(q, g, done), same(done, True)),
    ),
    "MessageQueue.conclude failure": native(
        awaited,
        lambda q, g: q.conclude(g[0].job_id, failure(q), token=g[0].token),
        lambda q, g, done: (check_awaited(FAILED, READY)(q, g, done), same(done, True)),
    ),
    "MessageQueue.conclude by id": native(
        awaited,
        lambda q, g: q.conclude(g[0].job_id, success(q, b"5")),
        lambda q, g, done: (check_awaited(SUCCEEDED, READY)(q, g, done), same(done, True)),
    ),
    "MessageQueue.conclude unseen": native(
        lambda q: uuid4(),
        lambda q, i: q.conclude(i, success(q, b"5")),
        lambda q, i, done: (same(q.status(i).result, 5), same(done, True)),
    ),
    "MessageQueue.conclude_held": native(
        awaited_claim,
        lambda q, g: q.conclude_held(g[0], success(q)),
        lambda q, g, done: (same(states(q, g[0].job_id, g[1]), [SUCCEEDED, READY]), same(done, True)),
    ),
    "MessageQueue.revoke": native(
        lambda q: q.enqueue("t"),
        lambda q, i: q.revoke(i, "so"),
        lambda q, i, job: (same(states(q, i), [CANCELED]), same(job.job_id, i)),
    ),
    "MessageQueue.park": native(
        awaited,
        lambda q, g: q.park(g[0].job_id, g[0].token),
        lambda q, g, done: (check_awaited(RUNNING, BLOCKED)(q, g, done), same(done, True)),
    ),
    "MessageQueue.run_on": native(
        lambda q: claimed(q, 2),
        lambda q, cs: q.run_on(cs),
        lambda q, cs, _: same(states(q, *(c.job_id for c in cs)), [RUNNING, RUNNING]),
    ),
    "MessageQueue.note": native(
        lambda q: claimed(q)[0].job_id,
        lambda q, i: q.note(i, b"here"),
        lambda q, i, done: (same(q.outcomes([i])[i].meta, b"here"), same(done, True)),
    ),
    "MessageQueue.outcomes": native(
        awaited, lambda q, g: q.outcomes([g[1]]), lambda q, g, found: same(found[g[1]].state, None)
    ),
    "MessageQueue.outcomes_of_dependencies": native(
        awaited,
        lambda q, g: q.outcomes_of_dependencies(g[1]),
        lambda q, g, found: same([o.job_id for o in found], [g[0].job_id]),
    ),
    "MessageQueue.add_dependency": native(
        lambda q: (awaited(q)[1], q.enqueue("other")),
        lambda q, g: q.add_dependency(*g, Policy.FINISHED),
        lambda q, g, done: (same(q.status(g[0]).depends_on[1:], (g[1],)), same(done, True)),
    ),
    "MessageQueue.forget": native(
        lambda q: (g := awaited(q), g[0].ack(5), g)[2],
        lambda q, g: q.forget(g[0].job_id),
        lambda q, g, _: same(q.status(g[0].job_id).result, None),
    ),
    "MessageQueue.watch": native(
        lambda q: [q.enqueue("t"), q.enqueue("t")],
        lambda q, ids: q.watch(ids),
        lambda q, ids, ticket: same(states(q, *ids), [READY, READY]),
    ),
    "MessageQueue.keep_memo": native(
        lambda q: None, lambda q, _: q.keep_memo("m", b"1", 60), lambda q, *_: same(q.memo("m"), b"1")
    ),
    "MessageQueue.memo": native(
        lambda q: q.keep_memo("m", b"1", 60), lambda q, _: q.memo("m"), lambda q, _, found: same(found, b"1")
    ),
    "MessageQueue.drop_memo": native(
        lambda q: q.keep_memo("m", b"1", 60), lambda q, _: q.drop_memo("m"), lambda q, *_: same(q.memo("m"), None)
    ),
    "MessageQueue.dead": native(
        lambda q: (c := claimed(q)[0], q.reject(c))[0],
        lambda q, c: q.dead(5),
        lambda q, c, found: same([i for i, *_ in found], [c.job_id]),
    ),
    "MessageQueue.join": native(
        lambda q: _gone(q), lambda q, _: q.join(), lambda q, *_: same(q._keeper.registered, True)
    ),
    "Keeper.beat": native(
        lambda q: claimed(q)[0],
        lambda q, c: q._keeper.beat(),
        lambda q, c, _: same((q._keeper.renewals > 0, states(q, c.job_id)), (True, [LEASED])),
    ),
    "Keeper.beat late": native(
        lambda q: (claimed(q)[0], _gone(q, registered=True))[0],
        lambda q, c: q._keeper.beat(),
        lambda q, c, _: same(states(q, c.job_id), [LEASED]),
    ),
}


def _gone(queue: Any, *, registered: bool = False) -> None:
    """Others have taken this consumer for dead."""
    queue._keeper.join()
    queue._store.leave([queue.consumer])
    queue._keeper.registered = registered
