"""What only PostgreSQL's own statements do."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from kombu_depqueue import JobMessage, JobQueue, JobState
from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import STATUS
from kombu_depqueue.store import Acks
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import overheard, wait_until

pytestmark = pytest.mark.only("postgresql")


def ended_before(queue: JobQueue, job: Any) -> None:
    """Leave the record of an end, as a job has that is published again in the very moment of its end."""
    number = queue._store.queue_ids([("", "default")])[0]
    status = queue.status(job)
    record = {
        "p_job_id": job,
        "p_queue_id": number,
        "p_status": STATUS[JobState.FAILED],
        "p_flags": 0,
        "p_attempt": 1,
        "p_created_at": status.queued,
        "p_started_at": None,
        "p_reason": "before",
        "p_result": None,
        "p_meta": None,
        "p_keep": 3600.0,
    }

    def work(tx: Tx) -> None:
        tx.run(queue._database.dialect.sql.add_done, **record)

    queue._database.write(work)


def test_a_batch_of_acks_replaces_the_record_of_an_earlier_end(make_queue: MakeQueue) -> None:
    queue = make_queue()
    jobs = [queue.enqueue("default", n) for n in range(3)]
    dependent = queue.enqueue("then", depends_on=[jobs[1]])
    held = queue.reserve_many(3, 0)
    ended_before(queue, jobs[0])
    assert queue.ack_many(held) == []
    for job in jobs:
        status = queue.status(job)
        assert (status.state, status.reason) == (JobState.SUCCEEDED, None)
    assert queue.status(dependent).state is JobState.READY
    assert [q.ready + q.leased for q in queue.queues() if q.name == "default"] == [0]


def test_what_is_sent_together_fails_as_a_whole(make_queue: MakeQueue) -> None:
    """The edges of a dependent are sent with the dependent, and are refused with it."""
    queue = make_queue()
    first = queue.enqueue("default")
    message = JobMessage.new("default", depends_on=[first])
    edges = queue._database.dialect.tables.dep.fullname
    with queue._database.dialect.engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {edges} ADD CONSTRAINT none CHECK (ordinal < 0)")
        with pytest.raises(Exception, match="violates check constraint"):
            queue.enqueue(message)
        connection.exec_driver_sql(f"ALTER TABLE {edges} DROP CONSTRAINT none")
    queue.enqueue(message)
    assert queue.status(message.job_id).state is JobState.BLOCKED
    queue.reserve(0).ack()
    assert queue.status(message.job_id).state is JobState.READY


def test_only_hints_do_not_wait_for_the_disk(
    make_queue: MakeQueue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim does: if a crash took it back, another would be given what its holder is still working on."""

    def soon(*words: str) -> set[bool]:
        """Whether these did not wait, of all that was sent since."""
        sent = said[:]
        del said[: len(sent)]  # what is just being sent stays for the next look
        return {"synchronous_commit" in sql for sql in sent if all(word in sql for word in words)}

    queue = make_queue()
    queue.enqueue_many([JobMessage.new("default", n) for n in range(4)])
    said = overheard(monkeypatch)
    held = queue.reserve_many(2, 0)
    assert soon("UPDATE", "lease_token") == {False}
    held[0].ack()
    assert soon("DELETE") == {False}
    key = held[1].key
    acks = Acks([(key, held[1].job_id)])
    assert len(queue._store.claim(queue._keeper.consumer, 7, 1, queues=[key.queue_id], acks=acks)) == 1
    assert soon("DELETE", "lease_token") == {False}
    queue._store.set_waiting(queue._keeper.consumer, True)
    queue._notifier.hint([key.queue_id])
    wait_until(lambda: soon("pg_notify") == {True})
    with engine.begin() as connection:
        queue.enqueue("default", connection=connection)
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
    fairy = queue._database.connect()  # of the hint, perhaps
    assert fairy.dbapi_connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    fairy.close()
