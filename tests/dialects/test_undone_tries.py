"""A try that was undone, and what others did before the next one: it is not taken for done. PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from kombu_depqueue import JobQueue, JobState, LeaseLost, NotExist, NotRunning
from kombu_depqueue.entry import Entry
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import MakeQueue, Place

pytestmark = pytest.mark.only("postgresql")


@pytest.fixture
def queue(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    return make_queue(notify=False, lease=1000, deadline=20)


def break_once(queue: JobQueue, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """The next COMMIT does not take place, and before the next try others do something."""
    dialect = queue._database.dialect
    commit = dialect.commit

    def broken(cursor: Any) -> None:
        monkeypatch.setattr(dialect, "commit", commit)
        cursor.connection.close()
        meanwhile()
        raise psycopg.OperationalError("the connection broke")

    queue.queues()
    monkeypatch.setattr(dialect, "commit", broken)


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
    meanwhile, operation, expected = MEANWHILE[name]
    other = make_queue(create=False, notify=False)
    reservation = queue.dequeue_by_id(queue.enqueue("t"))
    if name == "purge":
        reservation.requeue()
    break_once(queue, monkeypatch, lambda: meanwhile(other, reservation))
    if isinstance(expected, type):
        with pytest.raises(expected):
            operation(queue, reservation)
    else:
        assert operation(queue, reservation) == expected


@pytest.mark.parametrize("held", [False, True])
def test_a_retry_of_celery_is_stored_though_the_older_delivery_has_its_id(
    held: bool, place: Place, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id alone, found at the second try, was once taken for the first one's success: the retry was lost."""
    messages = MessageQueue(place.url, notify=False, lease=1000, deadline=20)
    job, values = uuid4(), {"channel": "", "queue": "t", "envelope": None, "rank": 255, "max_attempts": 0}
    try:
        messages.publish([Entry(job_id=job, id_is_new=False, supersedes=True, body=b"1", **values)])
        if held:
            assert messages.claim(messages.numbers(["t"]), 1)
        time.sleep(0.05)  # between a publication and its retry the task has run
        break_once(messages, monkeypatch, lambda: None)
        messages.publish([Entry(job_id=job, id_is_new=False, supersedes=True, body=b"2", delay=60, **values)])
        assert messages.status(job).state is JobState.SCHEDULED
        message = messages.message_of(job)
        assert message is not None
        assert message.args == 2
    finally:
        messages.close()


def test_a_task_that_was_run_before_its_publisher_heard_of_it_is_not_published_again(
    place: Place, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left then that could be compared with what is to be stored: it was stored, and run, twice."""
    messages = MessageQueue(place.url, notify=False, lease=1000, deadline=20)
    job, values = uuid4(), {"channel": "", "queue": "t", "envelope": None, "rank": 255, "max_attempts": 0}
    insert = messages._database.dialect.insert_jobs

    def run_and_lose_answer(tx: Any, rows: Any) -> None:
        insert(tx, rows)
        monkeypatch.undo()
        queue.dequeue_by_id(job).ack()
        tx.connection.close()
        raise psycopg.OperationalError("the connection broke")

    try:
        messages.numbers(["t"])
        monkeypatch.setattr(messages._database.dialect, "insert_jobs", run_and_lose_answer)
        messages.publish([Entry(job_id=job, id_is_new=False, supersedes=True, body=b"1", **values)])
        assert messages.status(job).state is JobState.SUCCEEDED
        assert not messages.claim(messages.numbers(["t"]), 1)
    finally:
        messages.close()


def lose_answer(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next COMMIT takes place, and nobody hears of it."""
    dialect = queue._database.dialect
    commit = dialect.commit

    def broken(cursor: Any) -> None:
        monkeypatch.setattr(dialect, "commit", commit)
        commit(cursor)
        cursor.connection.close()
        raise psycopg.OperationalError("the connection broke")

    queue.queues()
    monkeypatch.setattr(dialect, "commit", broken)


def test_a_worker_that_was_deleted_is_not_said_to_be_unknown(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = queue.register_worker("w")
    lose_answer(queue, monkeypatch)
    queue.delete_worker(worker)
    with pytest.raises(NotExist):
        queue.delete_worker(worker)


def test_a_consumer_is_counted_once_though_the_answer_was_lost(
    place: Place, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted up at each try, it was two; counted down, another one of the same process was none."""
    messages = MessageQueue(place.url, notify=False, lease=1000, deadline=20)
    try:
        number, topology = messages.numbers(["t"])[0], messages.topology
        lose_answer(messages, monkeypatch)
        topology.subscribe(number, messages.consumer, "one")
        assert topology.consumers(number) == 1
        topology.subscribe(number, messages.consumer, "two")
        lose_answer(messages, monkeypatch)
        assert topology.unsubscribe(number, messages.consumer, "one") == 1
    finally:
        messages.close()
