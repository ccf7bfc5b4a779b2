"""Operations that may collide, two (or three) at a time: what may come of them, in whatever order they go.

Each function prepares what its operations need, and gives them with a check of their outcomes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from interleave.truth import Truth

from kombu_depqueue import (
    Canceled,
    Dependency,
    Duplicate,
    Empty,
    JobMessage,
    JobState,
    LeaseLost,
    NotExist,
    NotPending,
    NotRunning,
    Policy,
)
from kombu_depqueue.entry import Entry
from kombu_depqueue.messages import MessageQueue

READY, LEASED, BLOCKED, SCHEDULED = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.SCHEDULED
SUCCEEDED, FAILED, CANCELED, EXPIRED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.EXPIRED


@dataclass
class Scene:
    """Three JobQueues on one database."""

    a: MessageQueue
    b: MessageQueue
    c: MessageQueue
    truth: Truth

    def state(self, job: Any) -> JobState:
        return self.a.status(getattr(job, "job_id", job)).state

    def lapse(self, queue: MessageQueue) -> None:
        """The leases of a JobQueue are over."""
        self.truth.lapse(queue._keeper.consumer)


Check = Callable[[list[Any]], None]
Pair = Callable[[Scene], tuple[list[Callable[[], Any]], Check]]
PAIRS: dict[str, Pair] = {}


def pair(function: Pair) -> Pair:
    PAIRS[function.__name__] = function
    return function


def message(*deps: Any, name: str = "d", **fields: Any) -> JobMessage:
    return JobMessage.new(name, depends_on=list(deps), **fields)


def failed(outcome: Any, *kinds: type[Exception]) -> bool:
    """Whether it is one of these errors; no other is expected."""
    if isinstance(outcome, Exception):
        assert isinstance(outcome, kinds), repr(outcome)
        return True
    return False


def follows(s: Scene, x: Any, d: Any) -> None:
    """The dependent is as its dependency says, whatever the order was."""
    end = s.state(x)
    wanted = READY if end in (SUCCEEDED, FAILED) else CANCELED if end in (CANCELED, EXPIRED) else BLOCKED
    assert s.state(d) is wanted, (end, s.state(d))


def held(s: Scene, **fields: Any) -> Any:
    return s.a.dequeue_by_id(s.a.enqueue("x", **fields))


def work(queue: MessageQueue, name: str = "x") -> Any:
    """Reserve and ack; None: there was nothing."""
    try:
        reservation = queue.dequeue([name], 0)
    except Empty:
        return None
    reservation.ack(str(queue))
    return reservation.job_id


# -- enqueue with a dependency, and what becomes of that ------------------------


def dependent_of(s: Scene, x: Any, other: Callable[[], Any], *errors: type[Exception], **fields: Any) -> Any:
    d = message(getattr(x, "job_id", x), **fields)

    def check(outcomes: list[Any]) -> None:
        if not failed(outcomes[1], *errors):
            follows(s, x, d)
        failed(outcomes[0], *errors)

    return [other, lambda: s.b.enqueue(d)], check


@pair
def ack_and_enqueue(s: Scene) -> Any:
    x = held(s)
    return dependent_of(s, x, x.ack)


@pair
def fail_and_enqueue(s: Scene) -> Any:
    x = held(s)
    return dependent_of(s, x, x.fail)


@pair
def finish_and_enqueue_many(s: Scene) -> Any:
    x = held(s)
    ds = [message(x.job_id), message(x.job_id)]

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [None, 2]
        for d in ds:
            follows(s, x, d)

    return [lambda: s.c.finish(x.job_id, 1), lambda: s.b.enqueue_many(ds)], check


@pair
def cancel_and_enqueue(s: Scene) -> Any:
    x = s.a.enqueue("x")
    return dependent_of(s, x, lambda: s.a.cancel(x))


@pair
def requeue_and_enqueue(s: Scene) -> Any:
    x = held(s)
    return dependent_of(s, x, lambda: x.requeue(600))


@pair
def expire_and_enqueue(s: Scene) -> Any:
    x = s.a.enqueue("x", expires_in=1000)
    s.truth.expire(x)
    return dependent_of(s, x, s.a._store.expire)


@pair
def lapse_and_enqueue(s: Scene) -> Any:
    x = held(s, max_attempts=1)
    s.lapse(s.a)
    return dependent_of(s, x, lambda: s.c._store.rescue(1000))


@pair
def due_and_enqueue(s: Scene) -> Any:
    x = s.a.enqueue("x", delay=1000)
    s.truth.due(x)
    return dependent_of(s, x, s.a._store.promote)


@pair
def purge_and_enqueue(s: Scene) -> Any:
    x = s.a.enqueue("x")
    return dependent_of(s, x, lambda: s.a.purge("x"))


@pair
def retry_and_enqueue(s: Scene) -> Any:
    x = held(s)
    x.fail()
    d = message(Dependency(x.job_id, Policy.SUCCEEDED))

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [1, d.job_id]
        assert s.state(x) is READY
        assert s.state(d) in (BLOCKED, CANCELED), "canceled, if it came before the retry"

    return [lambda: s.c.retry(x.job_id), lambda: s.b.enqueue(d)], check


@pair
def prune_and_enqueue(s: Scene) -> Any:
    x = held(s)
    x.ack()
    s.truth.out_of_time()
    d = message(x.job_id)

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[0])
        if not failed(outcomes[1], NotExist):
            assert s.state(d) is READY

    return [s.a._store.prune, lambda: s.b.enqueue(d)], check


@pair
def delete_and_enqueue(s: Scene) -> Any:
    x = s.a.enqueue("x")
    d = message(x)

    def check(outcomes: list[Any]) -> None:
        deleted = not failed(outcomes[0], NotPending)
        refused = failed(outcomes[1], NotExist)
        assert deleted is refused, "a dependency was deleted under its dependent, or neither was done"

    return [lambda: s.a.delete_job(x), lambda: s.b.enqueue(d)], check


@pair
def enqueue_and_enqueue_in_opposite_orders(s: Scene) -> Any:
    x, y = s.a.enqueue("x"), s.a.enqueue("x")
    d, e = message(x, y), message(y, x)

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [d.job_id, e.job_id]
        assert (s.state(d), s.state(e)) == (BLOCKED, BLOCKED)

    return [lambda: s.a.enqueue(d), lambda: s.b.enqueue(e)], check


# -- an end, and somebody who looks between its statements ------------------------


def nothing_half_done(s: Scene, x: Any, end: Callable[[], Any]) -> Any:
    """Nobody sees an end without what it releases: no crash there needs somebody to mend it."""
    x = getattr(x, "job_id", x)
    d = s.a.enqueue("d", depends_on=[x])
    t = s.b._database.dialect.tables
    ended, waiting = (f"(SELECT count(*) FROM {u} WHERE job_id = '{i}')" for u, i in ((t.done, x), (t.wait, d)))

    def look(tx: Any) -> Any:
        tx.cursor.execute(f"SELECT {ended}, {waiting}")
        return tx.cursor.fetchall()[0]

    def check(outcomes: list[Any]) -> None:
        assert outcomes[1] in ((0, 1), (1, 0)), "it has ended, and its dependent still waits"
        follows(s, x, d)

    return [end, lambda: s.b._database.read(look)], check


@pair
def ack_and_look(s: Scene) -> Any:
    x = held(s)
    return nothing_half_done(s, x, x.ack)


@pair
def fail_and_look(s: Scene) -> Any:
    x = held(s)
    return nothing_half_done(s, x, x.fail)


@pair
def cancel_and_look(s: Scene) -> Any:
    x = s.a.enqueue("x")
    return nothing_half_done(s, x, lambda: s.c.cancel(x))


# -- the ends of one job --------------------------------------------------------


@pair
def work_and_cancel(s: Scene) -> Any:
    x = s.a.enqueue("x")
    d = s.a.enqueue("d", depends_on=[x])

    def check(outcomes: list[Any]) -> None:
        acked = outcomes[0] == x
        failed(outcomes[0], Canceled, LeaseLost)
        assert acked + (outcomes[1] is True) == 1, "exactly one of finish and cancel wins"
        follows(s, x, d)

    return [lambda: work(s.a), lambda: s.b.cancel(x)], check


@pair
def ack_and_finish(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        lost = [failed(o, LeaseLost, NotRunning) for o in outcomes]
        assert sum(lost) == 1, "one of them has ended it"
        assert s.state(x) is SUCCEEDED
        assert s.a.status(x.job_id).result == (1 if lost[1] else 2)
        follows(s, x, d)

    return [lambda: x.ack(1), lambda: s.b.finish(x.job_id, 2)], check


@pair
def ack_and_lapse(s: Scene) -> Any:
    x = held(s)
    d = s.b.enqueue("d", depends_on=[x.job_id])
    s.lapse(s.a)

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[1])
        assert s.state(x) is (READY if failed(outcomes[0], LeaseLost) else SUCCEEDED)
        follows(s, x, d)

    return [x.ack, lambda: s.b._store.rescue(1000)], check


@pair
def ack_and_lapse_and_work(s: Scene) -> Any:
    x = held(s)
    s.lapse(s.a)

    def check(outcomes: list[Any]) -> None:
        stale = failed(outcomes[0], LeaseLost)
        worked = outcomes[1] == x.job_id
        assert not failed(outcomes[1])
        assert worked is False or stale, "two holders"
        assert s.state(x) is (READY if stale and not worked else SUCCEEDED)

    def rescue_and_work() -> Any:
        s.b._store.rescue(1000)
        return work(s.b)

    return [x.ack, rescue_and_work], check


@pair
def extend_and_lapse(s: Scene) -> Any:
    x = held(s)
    s.lapse(s.a)

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[1])
        assert s.state(x) is (READY if failed(outcomes[0], LeaseLost) else LEASED)

    return [lambda: x.extend(600), lambda: s.b._store.rescue(1000)], check


@pair
def requeue_and_cancel(s: Scene) -> Any:
    x = held(s)

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[0], Canceled)
        assert outcomes[1] is True
        assert s.state(x) is CANCELED

    return [lambda: x.requeue(600), lambda: s.b.cancel(x.job_id)], check


@pair
def requeue_and_work(s: Scene) -> Any:
    x = held(s)

    def check(outcomes: list[Any]) -> None:
        assert outcomes[0] is None
        assert s.state(x) is (SUCCEEDED if outcomes[1] else READY)
        assert s.a.status(x.job_id).attempt == (2 if outcomes[1] else 1)

    return [x.requeue, lambda: work(s.b)], check


@pair
def reject_to_dead_letters_and_enqueue(s: Scene) -> Any:
    s.a.topology.declare_queue("letters", auto_delete=False, owner=None, arguments={})
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "letters"}
    s.a.topology.declare_queue("x", auto_delete=False, owner=None, arguments=letters, anew=True)
    x = held(s)
    d = message(x.job_id)

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [True, d.job_id]
        assert (s.a.status(x.job_id).job_type, s.state(x), s.state(d)) == ("letters", READY, BLOCKED)

    return [lambda: s.a.reject(x._claimed), lambda: s.b.enqueue(d)], check


@pair
def cancel_and_cancel(s: Scene) -> Any:
    x = s.a.enqueue("x")
    d = s.a.enqueue("d", depends_on=[x])

    def check(outcomes: list[Any]) -> None:
        assert sorted(outcomes) == [False, True]
        follows(s, x, d)

    return [lambda: s.a.cancel(x), lambda: s.b.cancel(x)], check


@pair
def cancel_of_a_job_and_of_its_dependent(s: Scene) -> Any:
    x = s.a.enqueue("x")
    d = s.a.enqueue("d", depends_on=[x])

    def check(outcomes: list[Any]) -> None:
        assert outcomes[0] is True
        assert not failed(outcomes[1])
        assert (s.state(x), s.state(d)) == (CANCELED, CANCELED)

    return [lambda: s.a.cancel(x), lambda: s.b.cancel(d)], check


@pair
def ack_of_a_job_and_cancel_of_its_dependent(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [None, True]
        assert (s.state(x), s.state(d)) == (SUCCEEDED, CANCELED)

    return [x.ack, lambda: s.b.cancel(d)], check


# -- dependencies that end at the same moment -----------------------------------


@pair
def ack_and_ack_of_all_dependencies(s: Scene) -> Any:
    x, y = held(s), held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id, y.job_id])

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [None, None]
        assert s.state(d) is READY

    return [lambda: s.b.finish(x.job_id, token=x.token), lambda: s.c.finish(y.job_id, token=y.token)], check


@pair
def ack_and_cancel_of_dependencies(s: Scene) -> Any:
    x, y = held(s), held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id, y.job_id])

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [None, True]
        assert s.state(d) is CANCELED

    return [x.ack, lambda: s.b.cancel(y.job_id)], check


@pair
def ack_many_and_finishes_in_opposite_order(s: Scene) -> Any:
    x, y = held(s), held(s)
    ds = [s.a.enqueue("d", depends_on=[one.job_id]) for one in (x, y)]

    def check(outcomes: list[Any]) -> None:
        lost = {r.job_id for r in outcomes[0]}
        assert not failed(outcomes[1])
        assert lost == set(outcomes[1])
        for one, d in zip((x, y), ds, strict=True):
            assert s.state(one) is SUCCEEDED
            follows(s, one, d)

    def finish_both() -> list[UUID]:
        done = []
        for one in (y, x):
            try:
                s.b.finish(one.job_id, "theirs")
                done.append(one.job_id)
            except NotRunning:
                pass
        return done

    return [lambda: s.a.ack_many([x, y]), finish_both], check


@pair
def add_dependency_and_ack(s: Scene) -> Any:
    x, y = held(s), held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        assert outcomes[0] is None
        added = outcomes[1]
        assert not failed(added)
        assert s.state(d) is (BLOCKED if added else READY)

    return [x.ack, lambda: s.b.add_dependency(d, y.job_id, Policy.FINISHED)], check


# -- whoever takes jobs, and whoever takes them away ----------------------------


@pair
def reserve_and_reserve(s: Scene) -> Any:
    ids = [s.a.enqueue("x") for _ in range(2)]

    def check(outcomes: list[Any]) -> None:
        got = [o for o in outcomes if o is not None and not failed(o)]
        assert len(set(got)) == len(got) >= 1, "one job twice, or none at all"
        assert {s.state(i) for i in got} == {SUCCEEDED}
        assert [s.state(i) for i in ids if i not in got] == [READY] * (2 - len(got))

    return [lambda: work(s.a), lambda: work(s.b)], check


@pair
def finish_and_claim_and_cancel(s: Scene) -> Any:
    x = s.a.enqueue("x")

    def check(outcomes: list[Any]) -> None:
        acked = outcomes[:2].count(x)
        refused = sum(failed(o, Canceled, LeaseLost) for o in outcomes[:2])
        assert acked + refused <= 1, "handed out twice"
        assert acked + (outcomes[2] is True) == 1, "exactly one of finish and cancel wins"
        assert s.state(x) is (SUCCEEDED if acked else CANCELED)

    return [lambda: work(s.a), lambda: work(s.b), lambda: s.c.cancel(x)], check


@pair
def reserve_and_purge(s: Scene) -> Any:
    x = s.a.enqueue("x")

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[0])
        assert not failed(outcomes[1])
        assert (outcomes[0] == x) + outcomes[1] == 1
        assert s.state(x) is (SUCCEEDED if outcomes[0] else CANCELED)

    return [lambda: work(s.a), lambda: s.b.purge("x")], check


@pair
def reserve_and_expire(s: Scene) -> Any:
    x = s.a.enqueue("x", expires_in=1000)
    s.truth.expire(x)

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[0])
        assert not failed(outcomes[1])
        assert (outcomes[0], s.state(x)) == (None, EXPIRED)

    return [lambda: work(s.a), s.b._store.expire], check


@pair
def reserve_and_cut(s: Scene) -> Any:
    ids = [s.a.enqueue("x") for _ in range(2)]
    number = s.b.numbers(["x"])[0]

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[1])
        assert not failed(outcomes[0])
        states = [s.state(i) for i in ids]
        assert READY in states or states.count(FAILED) <= 1, "more was cut than was too much"
        assert set(states) <= {READY, FAILED, SUCCEEDED}

    return [lambda: work(s.a), lambda: s.b.cut(number, 1)], check


@pair
def reserve_and_revoke(s: Scene) -> Any:
    x = s.a.enqueue("x")

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[0])
        assert not failed(outcomes[1])
        assert (outcomes[0] == x) is (outcomes[1] is None)
        assert s.state(x) is (SUCCEEDED if outcomes[0] else CANCELED)

    return [lambda: work(s.a), lambda: s.b.revoke(x, "so")], check


@pair
def reserve_and_delete(s: Scene) -> Any:
    x = s.a.enqueue("x")

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[0], LeaseLost)
        assert outcomes[1] == 1
        assert s.a.jobs(queue="x").jobs == ()

    return [lambda: work(s.a), lambda: s.b.delete_job(x)], check


@pair
def beat_and_claim_of_what_had_lapsed(s: Scene) -> Any:
    x = held(s)
    s.lapse(s.a)
    s.b._store.rescue(1000)

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[0])
        worked = not failed(outcomes[1]) and outcomes[1] == x.job_id
        assert s.state(x) is (SUCCEEDED if worked else LEASED)

    return [s.a._keeper.beat, lambda: work(s.b)], check


@pair
def lapse_and_lapse(s: Scene) -> Any:
    x, y = held(s), held(s, max_attempts=1)
    s.lapse(s.a)

    def check(outcomes: list[Any]) -> None:
        assert not any(map(failed, outcomes))
        assert (s.state(x), s.state(y)) == (READY, FAILED)
        assert s.a.status(x.job_id).attempt == 1

    return [lambda: s.b._store.rescue(1000), lambda: s.c._store.rescue(1000)], check


@pair
def due_and_cancel(s: Scene) -> Any:
    x = s.a.enqueue("x", delay=1000)
    s.truth.due(x)

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[0])
        assert outcomes[1] is True
        assert s.state(x) is CANCELED

    return [s.a._store.promote, lambda: s.b.cancel(x)], check


# -- one id, several deliveries -------------------------------------------------


@pair
def enqueue_and_enqueue_of_one_id(s: Scene) -> Any:
    one = JobMessage(uuid4(), job_type="x")
    later = JobMessage(one.job_id, job_type="x", delay=600)

    def check(outcomes: list[Any]) -> None:
        refused = [failed(o, Duplicate) for o in outcomes]
        assert sum(refused) == 1, "one is stored"
        assert s.state(one) is (SCHEDULED if refused[0] else READY)

    return [lambda: s.a.enqueue(one), lambda: s.b.enqueue(later)], check


def entry(job_id: UUID, **fields: Any) -> Entry:
    values = {"channel": "", "queue": "x", "body": b"1", "envelope": None, "rank": 255, "max_attempts": 0}
    return Entry(**{"job_id": job_id, "id_is_new": False, "supersedes": True, **values, **fields})


@pair
def ack_and_celerys_retry(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[0], LeaseLost)
        assert not failed(outcomes[1])
        assert s.state(x) is SCHEDULED, "the retry was lost"
        assert s.state(d) is (BLOCKED if failed(outcomes[0], LeaseLost) else READY)

    return [x.ack, lambda: s.b.publish([entry(x.job_id, delay=600)])], check


@pair
def cancel_and_celerys_retry(s: Scene) -> Any:
    x = held(s)

    def check(outcomes: list[Any]) -> None:
        assert outcomes[0] is True
        assert not failed(outcomes[1])
        assert s.state(x) in (CANCELED, SCHEDULED)

    return [lambda: s.a.cancel(x.job_id), lambda: s.b.publish([entry(x.job_id, delay=600)])], check


@pair
def outcome_and_publish(s: Scene) -> Any:
    """What a task came to is told before it is there.

    The message may come to stand beside the end that it did not see: a lock for this alone would cost every publish
    of Celery more than it is worth. It is run as any other message, and then there is one record, of its last run.
    """
    x = uuid4()
    told = s.a.ending(FAILED, reason="so")

    def check(outcomes: list[Any]) -> None:
        assert not any(map(failed, outcomes))
        assert s.state(x) in (FAILED, READY)
        waited = s.state(x) is READY
        assert not waited or work(s.c) == x
        assert s.state(x) is (SUCCEEDED if waited else FAILED)

    return [lambda: s.a.conclude(x, told), lambda: s.b.publish([entry(x)])], check


@pair
def outcome_and_ack(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])
    failure = s.b.ending(FAILED, reason="so")

    def check(outcomes: list[Any]) -> None:
        lost = failed(outcomes[0], LeaseLost)
        assert not failed(outcomes[1])
        assert s.state(x) is (FAILED if lost else SUCCEEDED)
        follows(s, x, d)

    return [x.ack, lambda: s.b.conclude(x.job_id, failure)], check


# -- operators ------------------------------------------------------------------


@pair
def retry_and_retry(s: Scene) -> Any:
    x = held(s)
    x.fail()

    def check(outcomes: list[Any]) -> None:
        refused = [failed(o, NotPending) for o in outcomes]
        assert sum(refused) == 1
        assert s.state(x) is READY

    return [lambda: s.a.retry(x.job_id), lambda: s.b.retry(x.job_id)], check


@pair
def retry_and_prune(s: Scene) -> Any:
    x = held(s)
    x.fail()
    s.truth.out_of_time()

    def check(outcomes: list[Any]) -> None:
        assert not failed(outcomes[1])
        if not failed(outcomes[0], NotPending, NotExist):
            assert s.state(x) is READY

    return [lambda: s.a.retry(x.job_id), s.b._store.prune], check


@pair
def retry_and_ack_of_another_dependency(s: Scene) -> Any:
    x, y = held(s), held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id, y.job_id], dependency_policy="succeeded")
    x.fail()

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [2, None]
        assert (s.state(x), s.state(y), s.state(d)) == (READY, SUCCEEDED, BLOCKED)

    return [lambda: s.b.retry(x.job_id, subtree=True), y.ack], check


@pair
def publish_and_delete_of_the_queue(s: Scene) -> Any:
    facts = s.a.topology.declare_queue("gone", auto_delete=False, owner=None, arguments={})
    m = JobMessage.new("gone")

    def check(outcomes: list[Any]) -> None:
        assert not any(map(failed, outcomes))
        assert s.state(m) in (READY, CANCELED), "it is lost"

    return [lambda: s.a.topology.delete_queue(facts.number, "gone"), lambda: s.b.enqueue(m)], check


@pair
def purge_and_ack_of_a_dependency(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        assert outcomes[0] is None
        assert not failed(outcomes[1])
        # It may move from table to table between two looks of the purge, as if it had come after it.
        assert (s.state(x), s.state(d)) == (SUCCEEDED, CANCELED if outcomes[1] else READY)

    return [x.ack, lambda: s.b.purge("d")], check


@pair
def delete_of_a_root_and_ack_of_its_dependency(s: Scene) -> Any:
    x = held(s)
    d = s.a.enqueue("d", depends_on=[x.job_id])

    def check(outcomes: list[Any]) -> None:
        failed(outcomes[0], LeaseLost, NotExist)
        assert outcomes[1] in (1, 2)

    return [x.ack, lambda: s.b.delete_job(d)], check


@pair
def limit_and_enqueue(s: Scene) -> Any:
    m = JobMessage.new("x")

    def check(outcomes: list[Any]) -> None:
        assert outcomes == [None, m.job_id]
        assert s.state(m) is READY

    return [lambda: s.a.limit("x", max_length=5), lambda: s.b.enqueue(m)], check
