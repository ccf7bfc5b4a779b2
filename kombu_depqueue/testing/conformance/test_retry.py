"""Retry: an ended job is made pending again, with what it took down."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import NotExist, NotPending
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job


@pytest.mark.parametrize("end", ["failed", "dead", "canceled", "expired"])
def test_an_ended_job_runs_again_with_all_it_had(queue: JobQueue, end: str) -> None:
    expires_in = 0.3 if end == "expired" else None
    fields: dict[str, Any] = {"channel": "acme", "priority": 4, "headers": {"h": [1]}, "max_attempts": 5}
    job_id = queue.enqueue("resize", {"w": 1}, expires_in=expires_in, **fields)
    end_job(queue, job_id, end)
    assert queue.retry(job_id) == 1
    status = queue.status(job_id)
    assert (status.state, status.attempt, status.finished) == (JobState.READY, 0, None)
    assert (status.result, status.reason, status.canceled) == (None, None, False)
    reservation = queue.dequeue(["resize"], 0, channels=["acme"])
    message = reservation.message
    assert (reservation.job_id, reservation.args, reservation.attempt) == (job_id, {"w": 1}, 1)
    assert (message.priority, message.headers, message.max_attempts) == (4, {"h": [1]}, 5)
    reservation.ack("at last")
    assert queue.status(job_id).result == "at last"


def test_bytes_are_kept_for_the_retry(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", body=b"\0\xff" * 500, content_type="a/b")
    end_job(queue, job_id, "dead")
    queue.retry(str(job_id))
    message = queue.reserve(0).message
    assert (message.body, message.content_type) == (b"\0\xff" * 500, "a/b")


def test_a_job_canceled_while_it_ran_can_be_retried(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", "again")
    queue.reserve(0)
    queue.cancel(job_id)
    assert queue.retry(job_id) == 1
    assert queue.reserve(0).args == "again"


def test_an_unknown_job_cannot_be_retried(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        queue.retry(uuid4())


@pytest.mark.parametrize("stage", ["ready", "scheduled", "blocked", "leased", "succeeded"])
def test_a_live_or_succeeded_job_cannot_be_retried(queue: JobQueue, stage: str) -> None:
    depends_on = [queue.enqueue("first")] if stage == "blocked" else []
    job_id = queue.enqueue("default", delay=60 if stage == "scheduled" else None, depends_on=depends_on)
    if stage == "leased":
        queue.reserve(0)
    if stage == "succeeded":
        end_job(queue, job_id, "succeeded")
    before = queue.status(job_id)
    with pytest.raises(NotPending) as refused:
        queue.retry(job_id)
    assert refused.value.job_id == job_id
    assert queue.status(job_id) == before


def test_attempts_are_counted_anew(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", max_attempts=2)
    for _ in range(2):
        queue.reserve(0).requeue()
    assert queue.status(job_id).state is JobState.FAILED
    queue.retry(job_id)
    first = queue.reserve(0)
    assert first.attempt == 1
    first.requeue()
    second = queue.reserve(0)
    assert second.attempt == 2
    second.requeue()
    assert queue.status(job_id).state is JobState.FAILED
    assert queue.retry(job_id) == 1


def test_a_retried_job_keeps_its_dependencies_and_their_results(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first])
    queue.reserve(0, queues=["first"]).ack("result")
    end_job(queue, job_id, "failed")
    queue.retry(job_id)
    reservation = queue.reserve(0)
    assert reservation.depends_on == (first,)
    assert [r.result for r in reservation.results_of_dependencies()] == ["result"]


def test_a_job_canceled_while_blocked_is_blocked_again_by_a_retry(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first])
    queue.cancel(job_id)
    assert queue.retry(job_id) == 1
    assert queue.status(job_id).state is JobState.BLOCKED
    assert_nothing_ready(queue)
    end_job(queue, first, "succeeded")
    assert drain(queue) == [job_id]


def test_a_job_whose_dependency_ended_meanwhile_is_ready_after_a_retry(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    job_id = queue.enqueue("default", depends_on=[first])
    queue.cancel(job_id)
    end_job(queue, first, "succeeded")
    queue.retry(job_id)
    assert drain(queue) == [job_id]


def test_subtree_reopens_all_that_the_failure_took_down(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded")
    third = queue.enqueue("third", depends_on=[second])
    side = queue.enqueue("third", depends_on=[first, second])
    end_job(queue, first, "failed")
    assert {queue.status(i).state for i in (second, third, side)} == {JobState.CANCELED}
    assert queue.retry(first, subtree=True) == 4
    assert queue.status(first).state is JobState.READY
    assert {queue.status(i).state for i in (second, third, side)} == {JobState.BLOCKED}
    assert queue.status(third).depends_on == (second,)
    order = drain(queue, ["third", "second", "first"])
    assert order[:2] == [first, second]
    assert set(order[2:]) == {third, side}


def test_without_subtree_only_the_job_itself_is_reopened(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    queue.cancel(first)
    assert queue.retry(first) == 1
    assert queue.status(second).state is JobState.CANCELED
    assert drain(queue, ["first"]) == [first]
    assert_nothing_ready(queue, queues=["second"])


def test_subtree_leaves_what_was_canceled_by_hand(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    by_hand = queue.enqueue("second", depends_on=[first])
    by_rule = queue.enqueue("second", depends_on=[first])
    queue.cancel(by_hand)
    queue.cancel(first)
    assert queue.retry(first, subtree=True) == 2
    assert queue.status(by_hand).state is JobState.CANCELED
    assert queue.status(by_rule).state is JobState.BLOCKED


def test_subtree_leaves_what_ran_already(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    ran = queue.enqueue("second", depends_on=[first])
    strict = queue.enqueue("third", depends_on=[first], dependency_policy="succeeded")
    end_job(queue, first, "failed")
    end_job(queue, ran, "succeeded")
    assert queue.retry(first, subtree=True) == 2
    assert queue.status(ran).state is JobState.SUCCEEDED
    end_job(queue, first, "succeeded")
    assert drain(queue, ["second", "third"]) == [strict]


def test_a_reopened_job_still_waits_for_its_other_dependencies(queue: JobQueue) -> None:
    first, other = queue.enqueue("first"), queue.enqueue("other")
    job_id = queue.enqueue("last", depends_on=[first, other])
    queue.cancel(first)
    assert queue.retry(first, subtree=True) == 2
    end_job(queue, first, "succeeded")
    assert queue.status(job_id).state is JobState.BLOCKED
    end_job(queue, other, "succeeded")
    assert drain(queue, ["last"]) == [job_id]


def test_a_retry_that_fails_again_takes_the_subtree_down_again(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded")
    for _ in range(3):
        end_job(queue, first, "failed")
        assert queue.status(second).state is JobState.CANCELED
        assert queue.retry(first, subtree=True) == 2
    end_job(queue, first, "succeeded")
    assert drain(queue, ["second"]) == [second]


def test_a_retried_job_can_be_depended_on(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    end_job(queue, first, "canceled")
    queue.retry(first)
    second = queue.enqueue("second", depends_on=[first])
    assert queue.status(second).state is JobState.BLOCKED
    assert drain(queue, ["first"]) == [first]
    assert drain(queue, ["second"]) == [second]


def test_a_retry_wakes_a_waiting_consumer(make_queue: MakeQueue) -> None:
    queue, consumer = make_queue(), make_queue()
    job_id = queue.enqueue("default")
    end_job(queue, job_id, "failed")
    assert_nothing_ready(consumer, 0.1)
    queue.retry(job_id)
    assert consumer.reserve(10).job_id == job_id
