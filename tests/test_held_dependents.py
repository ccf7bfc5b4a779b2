"""Dependents that are held because a job failed, when Celery publishes it again."""

from __future__ import annotations

from uuid import uuid4

from kombu_depqueue import JobState
from kombu_depqueue.entry import Entry
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import Place


def test_a_held_dependent_is_told_of_the_end_of_a_job_that_was_published_again(place: Place) -> None:
    """The end record's flag that somebody waits was lost with it, and the next end told nobody."""
    queue = MessageQueue(place.url, create=True, notify=False)
    job, values = uuid4(), {"channel": "", "queue": "t", "envelope": None, "rank": 255, "max_attempts": 0}
    try:
        queue.publish([Entry(job_id=job, id_is_new=False, supersedes=True, body=b"1", **values)])
        held = queue.enqueue("d", depends_on=[job], dependency_policy="succeeded", on_unmet="hold")
        queue.dequeue(["t"], 0).fail()
        assert queue.status(held).state is JobState.BLOCKED
        queue.publish([Entry(job_id=job, id_is_new=False, supersedes=True, body=b"2", **values)])
        queue.dequeue(["t"], 0).ack()
        assert queue.status(held).state is JobState.READY
    finally:
        queue.close()
