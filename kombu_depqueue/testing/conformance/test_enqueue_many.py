"""enqueue_many: a list is all or nothing, a stream is written as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import DepQueueError, Duplicate, InvalidJob, NotExist
from kombu_depqueue.job import Dependency, JobMessage, JobState, Policy
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, wait_until


def _jobs(count: int, **fields: Any) -> list[JobMessage]:
    return [JobMessage.new("default", n, **fields) for n in range(count)]


def _delivered(queue: JobQueue) -> list[UUID]:
    ids = []
    while queue.queues() and sum(q.ready for q in queue.queues()):
        batch = queue.reserve_many(1000, 0)
        ids += [r.job_id for r in batch]
        assert queue.ack_many(batch) == []
    return ids


@pytest.mark.parametrize("count", [0, 1, 2, 7, 500, 501, 1300])
def test_a_list_arrives_whole_and_in_order(queue: JobQueue, count: int) -> None:
    jobs = _jobs(count)
    assert queue.enqueue_many(jobs) == count
    assert _delivered(queue) == [job.job_id for job in jobs]


def test_a_tuple_is_as_good_as_a_list(queue: JobQueue) -> None:
    jobs = tuple(_jobs(3))
    assert queue.enqueue_many(jobs) == 3
    assert drain(queue) == [job.job_id for job in jobs]


def test_all_fields_are_kept(queue: JobQueue) -> None:
    jobs = [
        JobMessage.new("a", {"n": 1}, priority=3, headers={"h": 1}),
        JobMessage.new("b", body=b"\0\xff", content_type="application/x-own"),
        JobMessage.new("a", channel="acme", max_attempts=4),
        JobMessage.new("a", delay=60),
        JobMessage.new("a", run_at=datetime(2021, 1, 1, tzinfo=UTC)),
    ]
    assert queue.enqueue_many(jobs) == 5
    assert queue.status(jobs[3].job_id).state is JobState.SCHEDULED
    by_id = {r.job_id: r for r in queue.reserve_many(9, 0, queues=["a", "b"], channels=["", "acme"])}
    assert set(by_id) == {jobs[i].job_id for i in (0, 1, 2, 4)}
    first = by_id[jobs[0].job_id].message
    assert (first.args, first.priority, first.headers) == ({"n": 1}, 3, {"h": 1})
    second = by_id[jobs[1].job_id].message
    assert (second.job_type, second.body, second.content_type) == ("b", b"\0\xff", "application/x-own")
    third = by_id[jobs[2].job_id].message
    assert (third.channel, third.max_attempts) == ("acme", 4)
    assert by_id[jobs[4].job_id].message.run_at == jobs[4].run_at


def test_messages_without_a_type_go_to_the_default_queue(make_queue: MakeQueue) -> None:
    queue = make_queue(queue="mail")
    queue.enqueue_many([JobMessage(uuid4()), JobMessage(uuid4())])
    assert len(drain(queue, ["mail"])) == 2


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("wrong", ["invalid", "duplicate", "unknown dependency"])
def test_one_wrong_job_in_a_list_and_nothing_is_kept(queue: JobQueue, wrong: str, at: int) -> None:
    taken = queue.enqueue("other")
    bad, error = {
        "invalid": (JobMessage.new("default", priority=256), InvalidJob),
        "duplicate": (JobMessage(taken, job_type="default"), Duplicate),
        "unknown dependency": (JobMessage.new("default", depends_on=[uuid4()]), NotExist),
    }[wrong]
    jobs = _jobs(2)
    jobs.insert(at, bad)
    with pytest.raises(error):
        queue.enqueue_many(jobs)
    assert queue.all_root_jobs() == [taken]
    assert_nothing_ready(queue)


def test_an_id_twice_in_a_list_is_a_duplicate(queue: JobQueue) -> None:
    jobs = _jobs(3)
    with pytest.raises(Duplicate) as refused:
        queue.enqueue_many([*jobs, jobs[1]])
    assert jobs[1].job_id in refused.value.job_ids
    assert queue.all_root_jobs() == []


def test_something_that_is_no_job_message_is_refused(queue: JobQueue) -> None:
    with pytest.raises(InvalidJob):
        queue.enqueue_many([JobMessage.new("default"), "default"])  # type: ignore[list-item]
    assert queue.all_root_jobs() == []


def test_a_stream_arrives_whole_and_in_order(queue: JobQueue) -> None:
    jobs = _jobs(2500)
    assert queue.enqueue_many(job for job in jobs) == 2500
    assert _delivered(queue) == [job.job_id for job in jobs]


def test_an_empty_stream_is_no_job(queue: JobQueue) -> None:
    assert queue.enqueue_many(iter(())) == 0
    assert queue.all_root_jobs() == []


def test_a_stream_is_read_as_it_is_written(make_queue: MakeQueue) -> None:
    queue, reader = make_queue(), make_queue()
    reader.queues()
    seen: list[bool] = []

    def stream() -> Iterator[JobMessage]:
        first = JobMessage.new("default", 0)
        yield first
        for n in range(1, 2100):
            yield JobMessage.new("default", n)
        seen.append(reader.status(first.job_id).state is JobState.READY)

    assert queue.enqueue_many(stream()) == 2100
    assert seen == [True]


@pytest.mark.parametrize("wrong", ["invalid", "duplicate", "unknown dependency"])
def test_what_a_stream_had_written_stays_and_the_error_says_how_many(queue: JobQueue, wrong: str) -> None:
    jobs = _jobs(1500)
    bad = {
        "invalid": JobMessage.new("default", delay=-1),
        "duplicate": JobMessage(jobs[3].job_id),
        "unknown dependency": JobMessage.new("default", depends_on=[uuid4()]),
    }[wrong]

    def stream() -> Iterator[JobMessage]:
        yield from jobs
        yield bad

    with pytest.raises(DepQueueError) as stopped:
        queue.enqueue_many(stream())
    written = stopped.value.enqueued  # type: ignore[attr-defined]
    assert written == 1000
    assert _delivered(queue) == [job.job_id for job in jobs[:written]]


def test_an_error_of_the_stream_itself_is_passed_on(queue: JobQueue) -> None:
    def stream() -> Iterator[JobMessage]:
        yield from _jobs(1200)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        queue.enqueue_many(stream())
    assert len(_delivered(queue)) == 1000


@pytest.mark.parametrize("kind", [list, iter])
def test_a_job_may_depend_on_jobs_before_it_in_the_call(queue: JobQueue, kind: Any) -> None:
    first = JobMessage.new("default", 1)
    second = JobMessage.new("default", 2, depends_on=[first.job_id])
    edges = [first.job_id, Dependency(second.job_id, Policy.SUCCEEDED)]
    third = JobMessage.new("default", 3, depends_on=edges)
    assert queue.enqueue_many(kind([first, second, third])) == 3
    reservation = queue.reserve(0)
    assert reservation.job_id == first.job_id
    assert_nothing_ready(queue)
    reservation.ack()
    assert drain(queue) == [second.job_id, third.job_id]


def test_a_stream_may_depend_on_jobs_of_an_earlier_transaction(queue: JobQueue) -> None:
    first = JobMessage.new("first")
    last = JobMessage.new("last", depends_on=[first.job_id])
    assert queue.enqueue_many(iter([first, *_jobs(1500), last])) == 1502
    assert queue.status(last.job_id).state is JobState.BLOCKED
    assert drain(queue, ["first"]) == [first.job_id]
    assert drain(queue, ["last"]) == [last.job_id]


def test_a_job_may_not_depend_on_jobs_after_it_in_the_call(queue: JobQueue) -> None:
    second = JobMessage.new("default", 2)
    first = JobMessage.new("default", 1, depends_on=[second.job_id])
    with pytest.raises(NotExist) as refused:
        queue.enqueue_many([first, second])
    assert refused.value.job_ids == (second.job_id,)
    assert queue.all_root_jobs() == []


def test_ended_live_and_new_dependencies_can_be_mixed(queue: JobQueue) -> None:
    ended = queue.enqueue("default")
    drain(queue)
    live = queue.enqueue("other")
    new = JobMessage.new("default", "new")
    mixed = JobMessage.new("default", "mixed", depends_on=[ended, new.job_id, live])
    free = JobMessage.new("default", "free", depends_on=[ended])
    assert queue.enqueue_many([new, mixed, free]) == 3
    assert drain(queue) == [new.job_id, free.job_id]
    assert drain(queue, ["other"]) == [live]
    assert drain(queue) == [mixed.job_id]


def test_a_dependency_that_ended_badly_cancels_at_once(queue: JobQueue) -> None:
    canceled = queue.enqueue("default")
    queue.cancel(canceled)
    jobs = [JobMessage.new("default", depends_on=[canceled]), JobMessage.new("default")]
    jobs.append(JobMessage.new("default", depends_on=[jobs[0].job_id]))
    assert queue.enqueue_many(jobs) == 3
    assert [queue.status(j.job_id).state for j in jobs] == ["canceled", "ready", "canceled"]
    assert str(canceled) in (queue.status(jobs[0].job_id).reason or "")


@pytest.mark.parametrize("committed", [True, False], ids=["commit", "rollback"])
def test_with_a_connection_all_are_part_of_the_callers_transaction(
    queue: JobQueue, engine: Engine, committed: bool
) -> None:
    queue.queues()
    jobs = _jobs(30)
    jobs.append(JobMessage.new("default", depends_on=[jobs[0].job_id]))
    with engine.connect() as connection, connection.begin() as transaction:
        assert queue.enqueue_many(jobs, connection=connection) == 31
        with pytest.raises(NotExist):
            queue.status(jobs[0].job_id)
        if not committed:
            transaction.rollback()
    assert len(drain(queue)) == (31 if committed else 0)


def test_a_waiting_consumer_is_woken_by_a_batch(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(), make_queue()
    producer.enqueue_many([JobMessage.new("default", n) for n in range(600)])
    got = wait_until(lambda: consumer.reserve_many(10, 5))
    assert [r.args for r in got] == list(range(10))
