"""Queues: what they hold; pause, resume, purge."""

from __future__ import annotations

import time

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.job import JobMessage, JobState, QueueInfo
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, in_threads, wait_for_state


def _info(queue: JobQueue, name: str, channel: str = "") -> QueueInfo:
    (info,) = [q for q in queue.queues() if (q.name, q.channel) == (name, channel)]
    return info


def test_an_empty_database_has_no_queues(queue: JobQueue) -> None:
    assert [q for q in queue.queues() if q.ready or q.leased or q.scheduled or q.blocked] == []


def test_each_queue_tells_what_it_holds(queue: JobQueue) -> None:
    ids = [queue.enqueue("mail", n) for n in range(3)]
    queue.enqueue("mail", delay=60)
    queue.enqueue("mail", depends_on=[ids[2]])
    queue.enqueue("mail", depends_on=[ids[2]], delay=60)
    queue.reserve(0, queues=["mail"])
    assert _info(queue, "mail") == QueueInfo("mail", "", False, ready=2, leased=1, scheduled=1, blocked=2)


def test_ended_jobs_are_counted_no_more(queue: JobQueue) -> None:
    ids = [queue.enqueue("mail", n) for n in range(3)]
    queue.reserve(0, queues=["mail"]).ack()
    queue.cancel(ids[1])
    queue.reserve(0, queues=["mail"]).reject()
    info = _info(queue, "mail")
    assert (info.ready, info.leased, info.scheduled, info.blocked) == (0, 0, 0, 0)


def test_queues_come_by_name_and_channel_apart(queue: JobQueue) -> None:
    for name, channel in [("b", ""), ("a", "x"), ("c", ""), ("a", "")]:
        queue.enqueue(name, channel=channel)
    queue.enqueue("a", channel="x")
    assert [(q.name, q.channel, q.ready) for q in queue.queues()] == [
        ("a", "", 1),
        ("a", "x", 2),
        ("b", "", 1),
        ("c", "", 1),
    ]


def test_counts_stop_at_ten_thousand_and_one(queue: JobQueue) -> None:
    queue.enqueue_many(JobMessage.new("many", n) for n in range(10_050))
    assert _info(queue, "many").ready == 10_001


def test_a_paused_queue_hands_out_nothing_to_anybody(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    job_id = queue.enqueue("default")
    queue.pause("default")
    assert _info(other, "default").paused is True
    assert_nothing_ready(queue)
    assert_nothing_ready(other, 0.3)
    other.resume("default")
    assert _info(queue, "default").paused is False
    assert queue.reserve(0).job_id == job_id


def test_a_pause_survives_closing(make_queue: MakeQueue) -> None:
    with make_queue() as first:
        first.enqueue("default")
        first.pause("default")
    second = make_queue()
    assert_nothing_ready(second)
    second.resume("default")
    second.reserve(0)


def test_a_paused_queue_takes_jobs_and_lets_running_ones_end(queue: JobQueue) -> None:
    queue.enqueue("default", 1)
    reservation = queue.reserve(0)
    queue.pause("default")
    second = queue.enqueue("default", 2)
    reservation.ack()
    assert_nothing_ready(queue)
    queue.resume("default")
    assert drain(queue) == [second]


def test_other_queues_and_channels_go_on(queue: JobQueue) -> None:
    queue.enqueue("a", "paused")
    free, channel = queue.enqueue("b"), queue.enqueue("a", channel="x")
    queue.pause("a")
    got = queue.reserve_many(9, 0, queues=["a", "b"], channels=["", "x"])
    assert [r.job_id for r in got] == [free, channel]


def test_one_channel_of_a_queue_can_be_paused(queue: JobQueue) -> None:
    plain, tenant = queue.enqueue("a"), queue.enqueue("a", channel="x")
    queue.pause("a", channel="x")
    assert _info(queue, "a", "x").paused
    assert not _info(queue, "a").paused
    assert [r.job_id for r in queue.reserve_many(9, 0, queues=["a"], channels=["", "x"])] == [plain]
    queue.resume("a", channel="x")
    assert queue.dequeue(["a"], 0, channels=["x"]).job_id == tenant


def test_a_queue_can_be_paused_before_it_is_used(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    queue.pause("later")
    job_id = other.enqueue("later")
    assert_nothing_ready(other, queues=["later"])
    queue.resume("later")
    assert drain(other, ["later"]) == [job_id]


def test_pausing_and_resuming_twice_is_once(queue: JobQueue) -> None:
    queue.resume("default")
    queue.pause("default")
    queue.pause("default")
    queue.enqueue("default")
    queue.resume("default")
    queue.resume("default")
    queue.reserve(0)


def test_a_waiting_consumer_gets_the_job_after_resume(make_queue: MakeQueue) -> None:
    consumer, operator = make_queue(), make_queue()
    job_id = operator.enqueue("default")
    operator.pause("default")

    def resume() -> None:
        time.sleep(0.5)
        operator.resume("default")

    got = in_threads([lambda: consumer.reserve(15).job_id, resume])
    assert got == [job_id, None]


def test_released_and_due_jobs_of_a_paused_queue_wait(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    released = queue.enqueue("default", depends_on=[first])
    delayed = queue.enqueue("default", delay=0.1)
    queue.pause("default")
    drain(queue, ["first"])
    wait_for_state(queue, delayed, JobState.READY)
    assert_nothing_ready(queue)
    queue.resume("default")
    assert set(drain(queue)) == {released, delayed}


def test_purge_cancels_all_that_is_pending_and_nothing_else(queue: JobQueue) -> None:
    running = queue.enqueue("default", "running")
    reservation = queue.reserve(0)
    other, tenant = queue.enqueue("other"), queue.enqueue("default", channel="x")
    pending = [
        queue.enqueue("default", "ready"),
        queue.enqueue("default", "scheduled", delay=60),
        queue.enqueue("default", "blocked", depends_on=[other]),
    ]
    assert queue.purge("default") == 3
    assert {queue.status(i).state for i in pending} == {JobState.CANCELED}
    assert {queue.status(i).reason is not None for i in pending} == {True}
    assert queue.status(running).state is JobState.LEASED
    reservation.ack()
    assert drain(queue, ["other"]) == [other]
    assert queue.dequeue(["default"], 0, channels=["x"]).job_id == tenant


@pytest.mark.parametrize("name", ["default", "never heard of"])
def test_purging_an_empty_queue_cancels_nothing(queue: JobQueue, name: str) -> None:
    drain(queue)
    assert queue.purge(name) == 0


def test_dependents_of_purged_jobs_follow_their_policy(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    canceled = queue.enqueue("default", "canceled", depends_on=[first])
    free = queue.enqueue("default", "free", depends_on=[first], dependency_policy="terminal")
    assert queue.purge("first") == 1
    assert queue.status(canceled).state is JobState.CANCELED
    assert str(first) in (queue.status(canceled).reason or "")
    assert drain(queue) == [free]


def test_a_purge_of_jobs_that_depend_on_each_other_ends_all_once(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", 0)]
    for n in range(1, 6):
        ids.append(queue.enqueue("default", n, depends_on=ids))
    assert queue.purge("default") == 6
    assert {queue.status(i).state for i in ids} == {JobState.CANCELED}


def test_a_purge_of_many_ends_all(queue: JobQueue) -> None:
    queue.enqueue_many([JobMessage.new("default", n, delay=60 if n % 2 else None) for n in range(2500)])
    assert queue.purge("default") == 2500
    info = _info(queue, "default")
    assert (info.ready, info.scheduled) == (0, 0)


def test_a_purged_queue_goes_on(queue: JobQueue) -> None:
    queue.enqueue("default", "old")
    queue.purge("default")
    job_id = queue.enqueue("default", "new")
    assert drain(queue) == [job_id]


@pytest.mark.parametrize("call", ["pause", "resume", "purge"])
def test_senseless_names_are_refused(queue: JobQueue, call: str) -> None:
    for name in ("a\0", "\ud800", "x" * 256, None, 7, b"a"):
        with pytest.raises(InvalidJob):
            getattr(queue, call)(name)
        with pytest.raises(InvalidJob):
            getattr(queue, call)("fine", channel=name)


def test_the_age_of_the_oldest_ready_job_counts_from_when_it_was_due(queue: JobQueue) -> None:
    begin = time.monotonic()
    queue.enqueue("mail", delay=0.3)
    assert _info(queue, "mail").oldest_ready_age is None
    queue.enqueue("mail", priority=7)
    time.sleep(0.5)
    age = _info(queue, "mail").oldest_ready_age
    assert age is not None
    assert 0.4 < age < 30
    queue.reserve(0, queues=["mail"])
    queue.maintain()
    left = _info(queue, "mail").oldest_ready_age
    assert left is not None
    assert left < time.monotonic() - begin - 0.3 + 0.05  # the delayed one, since it was due; two clocks


def test_dead_jobs_are_counted(queue: JobQueue) -> None:
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(3)])
    queue.reserve(0, queues=["mail"]).reject()
    queue.reserve(0, queues=["mail"]).fail("so")
    assert _info(queue, "mail").dead == 1
