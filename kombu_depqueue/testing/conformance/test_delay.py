"""Delays: never before its time by the database's clock, soon after it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import NotPending
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, wait_for_state

LATE = 5.0  # seconds: generous, machines are slow


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize("delay", [0.6, 1.0])
@pytest.mark.parametrize("given", ["delay", "run_at"])
def test_a_delayed_job_comes_not_early_and_not_much_late(queue: JobQueue, given: str, delay: float) -> None:
    queue.queues()
    begin = time.monotonic()
    job_id = queue.enqueue("default", **({"delay": delay} if given == "delay" else {"run_at": _in(delay)}))  # type: ignore[arg-type]
    assert queue.status(job_id).state is JobState.SCHEDULED
    assert_nothing_ready(queue)
    assert queue.reserve(15).job_id == job_id
    assert delay - 0.02 <= time.monotonic() - begin < delay + LATE


@pytest.mark.parametrize(("delay", "run_at"), [(0.8, 0.1), (0.1, 0.8), (0.8, -3600)], ids=["delay", "run_at", "past"])
def test_of_delay_and_run_at_the_later_counts(queue: JobQueue, delay: float, run_at: float) -> None:
    begin = time.monotonic()
    queue.enqueue("default", delay=delay, run_at=_in(run_at))
    queue.reserve(15)
    assert time.monotonic() - begin >= 0.78


@pytest.mark.parametrize("fields", [{"delay": 0}, {"delay": 0.0}, {"run_at": datetime(1999, 1, 1, tzinfo=UTC)}])
def test_a_job_that_is_due_already_is_ready_at_once(queue: JobQueue, fields: dict[str, Any]) -> None:
    job_id = queue.enqueue("default", **fields)
    assert queue.status(job_id).state is JobState.READY
    assert queue.reserve(0).job_id == job_id


@pytest.mark.parametrize(
    "fields",
    [{"delay": 10 * 365 * 86400}, {"run_at": datetime(2100, 1, 1, tzinfo=UTC)}],
    ids=["ten years", "the year 2100"],
)
def test_a_job_of_the_far_future_waits_quietly(queue: JobQueue, fields: dict[str, Any]) -> None:
    job_id = queue.enqueue("default", **fields)
    assert_nothing_ready(queue, 0.2)
    due = queue.status(job_id).run_at
    assert due is not None
    assert due > _in(9 * 365 * 86400)
    assert queue.cancel(job_id)


def test_run_at_is_kept_to_the_microsecond(queue: JobQueue) -> None:
    due = _in(3600).replace(microsecond=123457)
    assert queue.status(queue.enqueue("default", run_at=due)).run_at == due


def test_a_delay_is_counted_from_the_enqueue(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=100)
    status = queue.status(job_id)
    assert status.run_at is not None
    assert abs((status.run_at - status.queued).total_seconds() - 100) < 5


@pytest.mark.parametrize("gap", [0, 0.1], ids=["at once", "a little later"])
def test_a_consumer_hears_of_a_delayed_job_between_two_reserves(make_queue: MakeQueue, gap: float) -> None:
    consumer, producer = make_queue(poll_interval=10), make_queue()
    assert_nothing_ready(consumer, 0.2)
    producer.enqueue("default", delay=0.8)
    time.sleep(gap)
    begin = time.monotonic()
    consumer.reserve(15)
    assert time.monotonic() - begin < 0.8 + LATE


def test_a_sooner_job_overtakes_a_later_one(queue: JobQueue) -> None:
    later = queue.enqueue("default", "later", delay=60)
    sooner = queue.enqueue("default", "sooner", delay=0.3)
    assert queue.reserve(15).job_id == sooner
    assert queue.status(later).state is JobState.SCHEDULED


def test_a_scheduled_job_cannot_be_dequeued_by_id(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=60)
    with pytest.raises(NotPending):
        queue.dequeue_by_id(job_id)


def test_a_scheduled_job_survives_closing(make_queue: MakeQueue) -> None:
    with make_queue() as first:
        job_id = first.enqueue("default", {"kept": True}, delay=0.5)
    second = make_queue()
    reservation = second.reserve(15)
    assert (reservation.job_id, reservation.args, reservation.redelivered) == (job_id, {"kept": True}, False)


def test_a_scheduled_job_can_be_canceled(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=0.2)
    other = queue.enqueue("other", delay=0.3)
    assert queue.cancel(job_id)
    wait_for_state(queue, other, JobState.READY)
    assert_nothing_ready(queue, 0.1)
    assert queue.status(job_id).state is JobState.CANCELED


def test_many_jobs_due_at_once_all_come_each_once(queue: JobQueue) -> None:
    due = _in(0.5)
    jobs = [JobMessage.new("default", n, run_at=due) for n in range(1500)]
    queue.enqueue_many(jobs)
    got = []
    while len(got) < 1500:
        batch = queue.reserve_many(500, 10)
        assert queue.ack_many(batch) == []
        got += [r.job_id for r in batch]
    assert sorted(got) == sorted(job.job_id for job in jobs)
    assert_nothing_ready(queue)


def test_several_delays_each_end_in_time(queue: JobQueue) -> None:
    delays = [0.9, 0.3, 0.6]
    begin = time.monotonic()
    for delay in delays:
        queue.enqueue("default", delay, delay=delay)
    for _ in delays:
        reservation = queue.reserve(15)
        waited = time.monotonic() - begin
        assert reservation.args - 0.02 <= waited < reservation.args + LATE
        reservation.ack()


def test_maintain_makes_due_jobs_ready_without_a_consumer(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=0.1)
    wait_for_state(queue, job_id, JobState.READY)
    assert drain(queue) == [job_id]
