"""Status: what is known of a job, at every stage of its life."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import NotExist
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain, end_job, wait_for_state


def test_an_unknown_job_does_not_exist(queue: JobQueue) -> None:
    job_id = uuid4()
    with pytest.raises(NotExist) as refused:
        queue.status(job_id)
    assert (refused.value.job_id, refused.value.job_ids) == (job_id, (job_id,))
    assert str(job_id) in str(refused.value)


def test_a_fresh_job(queue: JobQueue) -> None:
    job_id = queue.enqueue("resize", 1, priority=3, channel="acme", max_attempts=4)
    status = queue.status(str(job_id))
    assert (status.job_id, status.job_type, status.channel) == (job_id, "resize", "acme")
    assert (status.state, status.attempt, status.max_attempts, status.priority) == (JobState.READY, 0, 4, 3)
    assert (status.started, status.finished, status.canceled) == (None, None, False)
    assert (status.result, status.reason, status.depends_on, status.dependents) == (None, None, (), ())


def test_times_are_aware_utc_and_rise(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    queue.reserve(0).ack()
    status = queue.status(job_id)
    assert status.started is not None
    assert status.finished is not None
    times = [status.queued, status.started, status.finished]
    assert times == sorted(times)
    assert {t.utcoffset() for t in times} == {timedelta(0)}
    assert abs(datetime.now(UTC) - times[0]) < timedelta(minutes=10)


def test_the_states_of_a_life(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first], delay=3.0)
    seen = [queue.status(job_id).state]
    end_job(queue, first, "succeeded")
    seen.append(queue.status(job_id).state)
    seen.append(wait_for_state(queue, job_id, JobState.READY))
    reservation = queue.reserve(0)
    seen.append(queue.status(job_id).state)
    reservation.requeue(60)
    seen.append(queue.status(job_id).state)
    queue.cancel(job_id)
    seen.append(queue.status(job_id).state)
    assert seen == ["blocked", "scheduled", "ready", "leased", "scheduled", "canceled"]


def test_started_and_attempt_are_those_of_the_last_hand_out(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    started = []
    for attempt in (1, 2, 3):
        reservation = queue.reserve(0)
        status = queue.status(job_id)
        assert status.attempt == attempt == reservation.attempt
        started.append(status.started)
        reservation.requeue(0.01)  # SQLite's clock counts milliseconds
        wait_for_state(queue, job_id, JobState.READY)
    assert None not in started
    assert started == sorted(set(started))  # type: ignore[type-var]
    assert queue.status(job_id).started == started[-1]


def test_queued_stays_the_moment_of_the_enqueue(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first], delay=0.1)
    queued = queue.status(job_id).queued
    end_job(queue, first, "succeeded")
    wait_for_state(queue, job_id, JobState.READY)
    reservation = queue.reserve(0)
    reservation.requeue(0.05)
    wait_for_state(queue, job_id, JobState.READY)
    queue.reserve(0).ack()
    assert queue.status(job_id).queued == queued


def test_dependencies_and_dependents_are_listed_at_every_stage(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    third = queue.enqueue("third", depends_on=[second, first])
    for _ in range(2):
        assert set(queue.status(first).dependents) == {second, third}
        assert queue.status(second).depends_on == (first,)
        assert queue.status(second).dependents == (third,)
        assert queue.status(third).depends_on == (second, first)
        assert queue.status(third).dependents == ()
        assert drain(queue, ["first", "second", "third"]) in ([first, second, third], [])


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead", "canceled", "expired"])
def test_an_ended_job_keeps_what_was_known(queue: JobQueue, end: str) -> None:
    expires_in = 0.3 if end == "expired" else None
    job_id = queue.enqueue("resize", 1, channel="acme", priority=5, max_attempts=3, expires_in=expires_in)
    before = queue.status(job_id)
    end_job(queue, job_id, end)
    status = queue.status(job_id)
    assert status.state == ("failed" if end == "dead" else end)
    assert status.state.is_finished
    assert (status.job_id, status.job_type, status.channel) == (job_id, "resize", "acme")
    assert (status.queued, status.canceled) == (before.queued, end == "canceled")
    assert status.attempt == (0 if end in ("canceled", "expired") else 1)
    assert status.finished is not None
    assert status.finished >= status.queued


def test_another_job_queue_sees_the_same(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    job_id = queue.enqueue("default", depends_on=[queue.enqueue("first")])
    assert queue.status(job_id) == other.status(job_id)
    drain(queue, ["first"])
    queue.reserve(0).ack([1])
    assert queue.status(job_id) == other.status(job_id)
