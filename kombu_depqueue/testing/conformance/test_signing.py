"""With `signing_keys` nothing is run that is not as somebody with a key enqueued it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, delete, insert, select, update

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Empty, InvalidJob, NotPending
from kombu_depqueue.job import Dependency, JobMessage, JobState, Policy
from kombu_depqueue.schema import Flag
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain, wait_for_state, wait_until


def new_key() -> str:
    return f"hmac:{base64.b64encode(secrets.token_bytes(32)).decode()}"


KEY, OTHER = f"a={new_key()}", f"b={new_key()}"
MICRO = timedelta(microseconds=1)


@pytest.fixture
def signing(make_queue: MakeQueue) -> JobQueue:
    return make_queue(signing_keys=KEY)


def tamper(engine: Engine, queue: JobQueue, job_id: UUID, table: str = "job", /, **values: Any) -> None:
    """Change a stored job as somebody with the right to UPDATE would."""
    where = getattr(queue._database.dialect.tables, table)
    with engine.begin() as connection:
        assert connection.execute(update(where).where(where.c.job_id == job_id).values(**values)).rowcount == 1


def assert_refused(queue: JobQueue, *ids: UUID) -> None:
    """They are dead with the reason, and what comes behind them is delivered."""
    good = queue.enqueue("t", "good")
    assert queue.reserve(30, queues=["t"]).job_id == good
    for job_id in ids:
        status = queue.status(job_id)
        assert (status.state, status.reason) == (JobState.FAILED, "dead: bad-signature")
    assert {job.job_id for job in queue.jobs("dead").jobs} == set(ids)


def test_what_is_signed_is_delivered(signing: JobQueue) -> None:
    """Whatever the fields."""
    first = signing.enqueue("t", {"a": 1})
    ids = [
        first,
        signing.enqueue("t", headers={"h": "ü"}, priority=0),
        signing.enqueue("t", body=b"\0\xff", content_type="a/b"),
        signing.enqueue("t", delay=0.01, max_attempts=3),
        signing.enqueue("t", run_at=datetime.now(UTC) - timedelta(days=1)),
        signing.enqueue("t", expires_in=3600),
        signing.enqueue("t", depends_on=[Dependency(first, Policy.TERMINAL)], on_unmet="hold"),
    ]
    signing.enqueue_many([JobMessage.new("t", n) for n in range(20)])
    done: list[UUID] = []
    while len(done) < 27:
        reservation = signing.reserve(30, queues=["t"])
        done.append(reservation.job_id)
        if reservation.job_id == ids[1]:
            assert reservation.message.headers == {"h": "ü"}
        if reservation.job_id == ids[2]:
            assert (reservation.body, reservation.content_type) == (b"\0\xff", "a/b")
        reservation.ack()
    assert set(ids) <= set(done)
    assert signing.jobs("dead").jobs == ()


def test_envelopes_show_no_signature(signing: JobQueue) -> None:
    signing.enqueue("t", {"a": 1})
    reservation = signing.reserve(30, queues=["t"])
    assert (reservation.args, reservation.headers, reservation.message.headers) == ({"a": 1}, {}, None)


COLUMNS: dict[str, Callable[[Any], Any]] = {
    "body": lambda body: bytes(body)[:-1] + b"9",
    "envelope": lambda envelope: bytes(envelope).replace(b"quiet", b"loud!"),
    "rank": lambda rank: rank - 1,
    "max_attempts": lambda most: most + 1,
    "run_at": lambda moment: datetime(2020, 1, 1, tzinfo=UTC),
    "flags": lambda flags: flags | Flag.HOLD,
    "job_id": lambda job_id: uuid4(),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_never_run(signing: JobQueue, engine: Engine, column: str) -> None:
    job_id = signing.enqueue("t", 1, headers={"voice": "quiet"}, priority=3, max_attempts=5)
    job = signing._database.dialect.tables.job
    with engine.connect() as connection:
        was = connection.execute(select(job.c[column]).where(job.c.job_id == job_id)).scalar_one()
    changed = COLUMNS[column](was)
    assert changed != was
    tamper(engine, signing, job_id, **{column: changed})
    assert_refused(signing, changed if column == "job_id" else job_id)


def test_a_job_moved_to_another_queue_is_never_run(signing: JobQueue, engine: Engine) -> None:
    there = signing.enqueue("t")
    job_id = signing.enqueue("low", {"rm": "-rf"})
    job = signing._database.dialect.tables.job
    with engine.connect() as connection:
        number = connection.execute(select(job.c.queue_id).where(job.c.job_id == there)).scalar_one()
    assert drain(signing, ["t"]) == [there]
    tamper(engine, signing, job_id, queue_id=number)
    assert_refused(signing, job_id)


def test_renamed_queues_deceive_nobody(signing: JobQueue, engine: Engine) -> None:
    """The name that counts is the one that the consumer asked for."""
    assert drain(signing, ["t"]) == []
    job_id = signing.enqueue("low")
    queues, job = signing._database.dialect.tables.queue, signing._database.dialect.tables.job
    with engine.begin() as connection:
        low = connection.execute(select(queues.c.id).where(queues.c.name == "low")).scalar_one()
        high = connection.execute(select(queues.c.id).where(queues.c.name == "t")).scalar_one()
        for number, name in ((low, "x"), (high, "low"), (low, "t")):
            connection.execute(update(queues).where(queues.c.id == number).values(name=name))
        connection.execute(update(job).where(job.c.job_id == job_id).values(queue_id=high))
    with pytest.raises(Empty):
        signing.reserve(0, queues=["t"])
    assert signing.status(job_id).reason == "dead: bad-signature"


def test_an_earlier_time_is_no_way_round_the_clock(signing: JobQueue, engine: Engine) -> None:
    """`due_at` says when the database hands it out; the signature knows when it may be."""
    later = datetime.now(UTC) + timedelta(hours=1)
    delayed, timed, both = (
        signing.enqueue("t", delay=3600),
        signing.enqueue("t", run_at=later),
        signing.enqueue("t", run_at=later),
    )
    past = datetime(2020, 1, 1, tzinfo=UTC)
    tamper(engine, signing, delayed, "wait", due_at=past)
    tamper(engine, signing, timed, "wait", due_at=past)
    tamper(engine, signing, both, "wait", due_at=past, run_at=past)
    signing.maintain()
    assert_refused(signing, delayed, timed, both)


EDGES: dict[str, Callable[[Any, UUID, UUID], Any]] = {
    "left out": lambda dep, job_id, first: delete(dep).where(dep.c.job_id == job_id, dep.c.dep_id == first),
    "another": lambda dep, job_id, first: (
        update(dep).where(dep.c.job_id == job_id, dep.c.dep_id == first).values(dep_id=uuid4())
    ),
    "another policy": lambda dep, job_id, first: (
        update(dep).where(dep.c.job_id == job_id, dep.c.dep_id == first).values(policy=2)
    ),
    "another order": lambda dep, job_id, first: (
        update(dep).where(dep.c.job_id == job_id, dep.c.dep_id == first).values(ordinal=7)
    ),
    "one more": lambda dep, job_id, first: insert(dep).values(
        job_id=job_id, dep_id=uuid4(), ordinal=9, policy=30, met=True
    ),
}


@pytest.mark.parametrize("change", EDGES)
def test_changed_dependencies_are_never_run(signing: JobQueue, engine: Engine, change: str) -> None:
    first, second = signing.enqueue("d"), signing.enqueue("d")
    job_id = signing.enqueue("t", depends_on=[first, second])
    assert drain(signing, ["d"]) == [first, second]
    with engine.begin() as connection:
        changed = connection.execute(EDGES[change](signing._database.dialect.tables.dep, job_id, first))
        assert changed.rowcount in (1, -1)  # of an INSERT SQLAlchemy may not say
    assert_refused(signing, job_id)


def test_what_nobody_signed_is_never_run(make_queue: MakeQueue, signing: JobQueue) -> None:
    plain, other = make_queue(), make_queue(signing_keys=OTHER)
    ids = [plain.enqueue("t", 1), plain.enqueue("t", 1, headers={"h": 1}), other.enqueue("t", 1)]
    assert_refused(signing, *ids)


def test_forged_ones_by_the_thousand_stop_nobody(make_queue: MakeQueue, signing: JobQueue) -> None:
    make_queue().enqueue_many([JobMessage.new("t", n) for n in range(1200)])
    good = signing.enqueue("t", "good")
    assert signing.reserve(60, queues=["t"]).job_id == good


def test_this_very_job_is_refused_too(make_queue: MakeQueue, signing: JobQueue) -> None:
    job_id = make_queue().enqueue("t", 1)
    with pytest.raises(NotPending, match="bad-signature"):
        signing.dequeue_by_id(job_id)
    assert signing.status(job_id).state is JobState.FAILED


def test_signed_jobs_are_run_by_those_who_check_nothing(make_queue: MakeQueue, signing: JobQueue) -> None:
    job_id = signing.enqueue("t", {"a": 1}, headers={"h": 1})
    reservation = make_queue().reserve(30, queues=["t"])
    assert (reservation.job_id, reservation.args, reservation.headers) == (job_id, {"a": 1}, {"h": 1})


def test_keys_are_rotated_by_their_ids(make_queue: MakeQueue, signing: JobQueue) -> None:
    """The first signs, all verify."""
    both = make_queue(signing_keys=f"{OTHER},{KEY}")
    old, new = signing.enqueue("t"), both.enqueue("t")
    assert drain(both, ["t"]) == [old, new]
    late = both.enqueue("t")
    assert_refused(signing, late)


def test_private_keys_sign_and_public_ones_verify(make_queue: MakeQueue) -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    private = ed25519.Ed25519PrivateKey.generate()
    pair = (private.private_bytes_raw(), private.public_key().public_bytes_raw())
    texts = [base64.b64encode(key).decode() for key in pair]
    publisher = make_queue(signing_keys=f"e=ed25519:{texts[0]}")
    consumer = make_queue(signing_keys=f"e=ed25519-public:{texts[1]}")
    ids = [publisher.enqueue("t", n) for n in range(2)]
    assert drain(consumer, ["t"]) == ids
    with pytest.raises(InvalidJob, match="public"):
        consumer.enqueue("t")
    plain = make_queue().enqueue("t")
    with pytest.raises(Empty):
        consumer.reserve(0, queues=["t"])
    assert consumer.status(plain).reason == "dead: bad-signature"


def test_what_happens_to_a_job_leaves_its_signature_good(make_queue: MakeQueue) -> None:
    """Requeued, redelivered, failed, dead, canceled, retried."""
    signing = make_queue(signing_keys=KEY, lease=1.0)
    dep = signing.enqueue("d")
    job_id = signing.enqueue("t", 1, depends_on=[dep], max_attempts=9, priority=2)
    assert drain(signing, ["d"]) == [dep]
    signing.reserve(30, queues=["t"]).requeue()
    signing.reserve(30, queues=["t"]).requeue(0.01)
    signing.reserve(30, queues=["t"], renew=False)  # and its lease expires
    signing.reserve(30, queues=["t"]).reject()
    signing.retry(job_id)
    signing.reserve(30, queues=["t"]).fail("once more")
    signing.retry(job_id)
    signing.cancel(job_id)
    make_queue().retry(job_id)  # whoever retries it needs no key
    assert signing.reserve(30, queues=["t"]).job_id == job_id
    assert signing.jobs("dead").jobs == ()


def test_a_retried_job_still_waits_for_its_signed_time(signing: JobQueue) -> None:
    """Else who may cancel and retry could run it earlier."""
    moment = datetime.now(UTC) + timedelta(hours=1)
    job_id = signing.enqueue("t", run_at=moment)
    signing.cancel(job_id)
    signing.retry(job_id)
    assert wait_for_state(signing, job_id, JobState.SCHEDULED) is JobState.SCHEDULED
    found = signing.status(job_id).run_at
    assert found is not None
    assert abs(found - moment) < MICRO * 2


def test_a_delayed_job_is_signed_in_the_callers_transaction_too(signing: JobQueue, engine: Engine) -> None:
    signing.queues()
    with engine.begin() as connection:
        job_id = signing.enqueue("t", delay=0.05, connection=connection)
    assert wait_until(lambda: drain(signing, ["t"])) == [job_id]


def test_dependents_of_a_forged_job_follow_their_policy(make_queue: MakeQueue, signing: JobQueue) -> None:
    forged = make_queue().enqueue("t")
    on_success = signing.enqueue("d", depends_on=[Dependency(forged, Policy.SUCCEEDED)])
    on_any_end = signing.enqueue("d", depends_on=[forged])
    assert_refused(signing, forged)
    assert signing.status(on_success).state is JobState.CANCELED
    assert drain(signing, ["d"]) == [on_any_end]


@pytest.mark.native
@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("", "no key"),
        ("a", "entry 1"),
        ("a=hmac:", "entry 1"),
        (f"a=hmac:{base64.b64encode(b'S3CRET').decode()}", "6 bytes"),
        ("a=hmac:S3CRET!!", "base64"),
        (f"a=rot13:{base64.b64encode(b'S3CRET').decode()}", "none of"),
        (f"a=ed25519:{base64.b64encode(b'S3CRET').decode()}", "6 bytes"),
        (f"{KEY} {KEY}", "entry 2"),
        ("file:/nowhere/S3CRET-not", "cannot be read"),
        ("env:NO_SUCH_VARIABLE_HERE", "NO_SUCH_VARIABLE_HERE"),
        (7, "text"),
    ],
    ids=range(11),
)
def test_keys_that_are_none_are_refused_and_not_shown(make_queue: MakeQueue, keys: Any, problem: str) -> None:
    with pytest.raises(InvalidJob, match=problem) as caught:
        make_queue(signing_keys=keys, create=False)
    assert caught.value.field == "signing_keys"
    if "file:" not in str(keys):
        assert "S3CRET" not in str(caught.value)
    assert KEY.partition(":")[2] not in str(caught.value)
    assert caught.value.__cause__ is None
