"""why: everything that keeps a job from running, in one answer."""

from __future__ import annotations

from uuid import uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import NotExist
from kombu_depqueue.job import JobMessage, JobState, Why
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import end_job


def test_of_an_unknown_job_there_is_no_why(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        queue.why(uuid4())


def test_a_blocked_job_waits_for_its_unmet_dependencies(queue: JobQueue) -> None:
    ids = [queue.enqueue("first", n) for n in range(4)]
    job_id = queue.enqueue("default", depends_on=ids[::-1])
    end_job(queue, ids[2], "succeeded")
    queue.dequeue_by_id(ids[0])
    why = queue.why(job_id)
    assert isinstance(why, Why)
    assert (why.job_id, why.state, why.never) == (job_id, JobState.BLOCKED, ())
    stand = {d.job_id: d.state for d in why.unmet}
    assert stand == {ids[3]: "ready", ids[1]: "ready", ids[0]: "leased"}
    assert (why.run_at, why.holder, why.ahead, why.paused) == (None, None, None, False)
    assert "3 dependencies" in str(why)


def test_a_scheduled_job_waits_for_its_time(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=60)
    why = queue.why(job_id)
    assert (why.state, why.run_at, why.unmet) == (JobState.SCHEDULED, queue.status(job_id).run_at, ())
    assert why.run_at is not None
    assert why.run_at.isoformat() in str(why)


def test_all_reasons_come_in_one_answer(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first], delay=60)
    queue.pause("default")
    why = queue.why(job_id)
    assert why.state is JobState.BLOCKED
    assert [d.job_id for d in why.unmet] == [first]
    assert why.run_at is not None
    assert why.paused is True


def test_a_leased_job_is_held_by_a_named_job_queue_until_a_time(make_queue: MakeQueue) -> None:
    worker, operator = make_queue(name="worker-7 in Zürich"), make_queue()
    job_id = worker.enqueue("default")
    worker.reserve(0)
    why = operator.why(job_id)
    assert (why.state, why.holder) == (JobState.LEASED, "worker-7 in Zürich")
    assert why.leased_until is not None
    assert why.leased_until > operator.status(job_id).queued
    assert "worker-7 in Zürich" in str(why)


def test_a_lease_without_renewal_has_a_holder_and_an_end_too(make_queue: MakeQueue) -> None:
    queue = make_queue(name="me", lease=50)
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    until = queue.why(job_id).leased_until
    started = queue.status(job_id).started
    assert until is not None
    assert started is not None
    assert 40 < (until - started).total_seconds() < 60
    reservation.extend(500)
    longer = queue.why(job_id).leased_until
    assert longer is not None
    assert (longer - until).total_seconds() > 400


def test_a_ready_job_knows_how_many_come_before_it(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(5)]
    urgent = queue.enqueue("default", priority=9)
    queue.enqueue("other")
    assert queue.why(urgent).ahead == 0
    assert queue.why(ids[0]).ahead == 1
    assert queue.why(ids[4]).ahead == 5
    queue.reserve(0)
    queue.reserve(0)
    assert queue.why(ids[4]).ahead == 3
    assert "3 jobs" in str(queue.why(ids[4]))


def test_a_ready_job_in_a_paused_queue_says_so(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    assert queue.why(job_id).paused is False
    queue.pause("default")
    why = queue.why(job_id)
    assert (why.state, why.paused) == (JobState.READY, True)
    assert "paused" in str(why)


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead", "canceled"])
def test_a_finished_job_says_why_it_ended_so(queue: JobQueue, end: str) -> None:
    job_id = queue.enqueue("default")
    end_job(queue, job_id, end)
    why, status = queue.why(job_id), queue.status(job_id)
    assert (why.state, why.reason) == (status.state, status.reason)
    assert (why.unmet, why.never, why.holder, why.ahead) == ((), (), None, None)


def test_a_job_canceled_by_its_dependency_names_it(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first])
    queue.cancel(first)
    assert str(first) in str(queue.why(job_id))


def test_a_job_that_can_never_run_says_so(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first], on_unmet="hold")
    queue.cancel(first)
    text = str(queue.why(job_id))
    assert str(first) in text
    assert "never" in text


def test_at_most_a_thousand_unmet_dependencies_are_listed(queue: JobQueue) -> None:
    jobs = [JobMessage.new("first", n) for n in range(1100)]
    queue.enqueue_many(jobs)
    job_id = queue.enqueue("default", depends_on=[job.job_id for job in jobs])
    assert len(queue.why(job_id).unmet) == 1000
