"""Attempts: deliveries are counted; over `max_attempts` the job is dead."""

from __future__ import annotations

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, wait_for_state


def _assert_dead(queue: JobQueue, job_id: object, attempt: int) -> None:
    status = queue.status(job_id)  # type: ignore[arg-type]
    assert (status.state, status.attempt, status.canceled) == (JobState.FAILED, attempt, False)
    assert (status.reason or "").startswith("dead")
    assert status.finished is not None
    assert_nothing_ready(queue)


@pytest.mark.parametrize("delay", [0, 0.05])
@pytest.mark.parametrize("max_attempts", [1, 2, 4])
def test_requeue_with_the_attempts_used_up_is_dead(queue: JobQueue, max_attempts: int, delay: float) -> None:
    job_id = queue.enqueue("default", max_attempts=max_attempts)
    for attempt in range(1, max_attempts + 1):
        reservation = queue.reserve(10)
        assert reservation.attempt == attempt
        reservation.requeue(delay)
    _assert_dead(queue, job_id, max_attempts)


@pytest.mark.parametrize("max_attempts", [1, 2])
def test_expiry_with_the_attempts_used_up_ends_it_as_dead(make_queue: MakeQueue, max_attempts: int) -> None:
    queue = make_queue(lease=0.3)
    job_id = queue.enqueue("default", max_attempts=max_attempts)
    for _ in range(max_attempts):
        queue.reserve(15, renew=False)
    wait_for_state(queue, job_id, JobState.FAILED)
    _assert_dead(queue, job_id, max_attempts)


def test_a_consumer_that_waits_ends_dead_jobs_and_is_not_given_them(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.3), make_queue()
    job_id = queue.enqueue("default", max_attempts=1)
    queue.reserve(0, renew=False)
    assert_nothing_ready(other, 1.5)
    assert other.status(job_id).state is JobState.FAILED


def test_the_last_attempt_may_succeed(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", max_attempts=2)
    queue.reserve(0).requeue()
    queue.reserve(0).ack("well")
    assert queue.status(job_id).state is JobState.SUCCEEDED


def test_zero_is_unlimited(queue: JobQueue) -> None:
    queue.enqueue("default", max_attempts=0)
    for attempt in range(1, 31):
        reservation = queue.reserve(0)
        assert reservation.attempt == attempt
        reservation.requeue()


def test_without_its_own_limit_a_job_has_the_job_queues(make_queue: MakeQueue) -> None:
    queue = make_queue(max_attempts=1)
    limited, own, unlimited = JobMessage.new("default"), JobMessage.new("default"), JobMessage.new("default")
    queue.enqueue(limited)
    queue.enqueue("default", job_id=own.job_id, max_attempts=2)
    queue.enqueue_many([JobMessage(unlimited.job_id, max_attempts=0)])
    for reservation in queue.reserve_many(3, 0):
        reservation.requeue()
    states = [queue.status(job.job_id).state for job in (limited, own, unlimited)]
    assert states == ["failed", "ready", "ready"]
    assert queue.status(limited.job_id).max_attempts == 1


def test_closing_gives_back_without_losing_a_job_on_its_last_attempt(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    job_id = queue.enqueue("default", max_attempts=1)
    queue.reserve(0)
    queue.close()
    assert other.status(job_id).state in (JobState.READY, JobState.FAILED)


def test_a_dead_job_lets_dependents_run_that_want_it_finished(queue: JobQueue) -> None:
    first = queue.enqueue("first", max_attempts=1)
    second = queue.enqueue("second", depends_on=[first])
    strict = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded")
    queue.reserve(0, queues=["first"]).requeue()
    assert drain(queue, ["second"]) == [second]
    assert queue.status(strict).state is JobState.CANCELED


def test_a_job_dead_by_expiry_releases_its_dependents(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.3)
    first = queue.enqueue("first", max_attempts=1)
    second = queue.enqueue("second", depends_on=[first])
    strict = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded")
    queue.reserve(0, queues=["first"], renew=False)
    assert queue.reserve(15, queues=["second"]).job_id == second
    wait_for_state(queue, strict, JobState.CANCELED)


def test_a_dead_job_does_not_hold_up_the_next(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.3)
    queue.enqueue("default", "poison", max_attempts=1)
    good = queue.enqueue("default", "good")
    queue.reserve(0, renew=False)
    assert queue.reserve(10).job_id == good


def test_requeue_or_finish_of_a_job_without_attempts_left_ends_it(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", max_attempts=1)
    queue.reserve(0)
    assert queue.requeue_or_finish(job_id, 5) is False
    _assert_dead(queue, job_id, 1)


def test_requeue_or_finish_counts_retries_not_the_jobs_own_limit(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", max_attempts=10)
    queue.reserve(0)
    assert queue.requeue_or_finish(job_id, 1) is True
    queue.reserve(0)
    assert queue.requeue_or_finish(job_id, 1, "enough") is False
    assert queue.status(job_id).result == "enough"
