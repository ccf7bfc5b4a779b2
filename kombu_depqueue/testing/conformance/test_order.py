"""Order: first in first out, bigger priority first, over several queues the oldest first."""

from __future__ import annotations

import random
import time
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, wait_for_state


def _enqueue(queue: JobQueue, count: int, **fields: object) -> list[UUID]:
    return [queue.enqueue("default", n, **fields) for n in range(count)]  # type: ignore[arg-type]


def test_jobs_come_out_as_they_went_in(queue: JobQueue) -> None:
    ids = _enqueue(queue, 30)
    assert drain(queue) == ids


def test_jobs_of_several_producers_come_out_as_they_went_in(make_queue: MakeQueue) -> None:
    producers, consumer = [make_queue() for _ in range(3)], make_queue()
    ids = [producers[n % 3].enqueue("default", n) for n in range(30)]
    assert drain(consumer) == ids


def test_more_than_a_hundred_pending_jobs_block_nobody(queue: JobQueue) -> None:
    ids = _enqueue(queue, 150)
    blocked = [queue.enqueue("default", depends_on=[ids[-1]]) for _ in range(150)]
    assert drain(queue) == ids + blocked


@pytest.mark.parametrize("priorities", [(0, 1), (0, 255), (254, 255), (5, 9)])
def test_the_bigger_priority_comes_first(queue: JobQueue, priorities: tuple[int, int]) -> None:
    low = queue.enqueue("default", priority=priorities[0])
    high = queue.enqueue("default", priority=priorities[1])
    assert drain(queue) == [high, low]


def test_without_a_priority_it_is_zero(queue: JobQueue) -> None:
    none = queue.enqueue("default")
    zero = queue.enqueue("default", priority=0)
    assert queue.status(none).priority == 0
    assert drain(queue) == [none, zero]


def test_within_a_priority_first_in_is_first_out(queue: JobQueue) -> None:
    shuffled = [n % 4 * 80 for n in range(40)]
    random.Random(7).shuffle(shuffled)
    jobs = [(queue.enqueue("default", priority=p), p) for p in shuffled]
    expected = [job_id for job_id, _ in sorted(jobs, key=lambda job: -job[1])]
    assert drain(queue) == expected


def test_every_priority_from_0_to_255_has_its_place(queue: JobQueue) -> None:
    order = list(range(256))
    random.Random(3).shuffle(order)
    jobs = {p: JobMessage.new("default", priority=p) for p in order}
    queue.enqueue_many([jobs[p] for p in order])
    got: list[UUID] = []
    while len(got) < 256:
        batch = queue.reserve_many(60, 0)
        queue.ack_many(batch)
        got += [r.job_id for r in batch]
    assert got == [jobs[p].job_id for p in range(255, -1, -1)]


@pytest.mark.parametrize("asked", [("a", "b", "c"), ("c", "b", "a")])
def test_over_several_queues_the_oldest_comes_first(queue: JobQueue, asked: tuple[str, ...]) -> None:
    ids = [queue.enqueue("abc"[n * 7 % 3]) for n in range(12)]
    assert drain(queue, asked) == ids


@pytest.mark.parametrize("names", ["ba", "bab", "cabbac"])
def test_one_call_keeps_its_order_over_several_queues(queue: JobQueue, names: str) -> None:
    jobs = [JobMessage.new(name, n, max_attempts=n % 2) for n, name in enumerate(names)]
    queue.enqueue_many(jobs)
    assert drain(queue, ["a", "b", "c"]) == [job.job_id for job in jobs]


def test_a_full_queue_does_not_starve_another(queue: JobQueue) -> None:
    many = [JobMessage.new("full", n) for n in range(300)]
    queue.enqueue_many(many[:200])
    one = queue.enqueue("small")
    queue.enqueue_many(many[200:])
    assert drain(queue, ["full", "small"]).index(one) == 200


def test_a_requeued_job_keeps_its_place(queue: JobQueue) -> None:
    ids = _enqueue(queue, 4)
    held = queue.reserve_many(2, 0)
    held[1].requeue()
    held[0].requeue()
    assert drain(queue) == ids


def test_a_job_whose_lease_expired_keeps_its_place(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.3)
    ids = _enqueue(queue, 3)
    queue.reserve(0, renew=False)
    wait_for_state(queue, ids[0], JobState.READY)
    assert drain(queue) == ids


def test_jobs_given_back_by_closing_keep_their_places(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    ids = _enqueue(queue, 6)
    for _ in range(3):
        queue.reserve(0)
    queue.close()
    assert drain(other) == ids


def test_a_requeued_job_keeps_its_priority(queue: JobQueue) -> None:
    high = queue.enqueue("default", priority=9)
    reservation = queue.reserve(0)
    low = queue.enqueue("default", priority=1)
    reservation.requeue()
    assert drain(queue) == [high, low]


def test_a_delayed_job_takes_its_place_when_it_is_due(queue: JobQueue) -> None:
    delayed = queue.enqueue("default", "delayed", delay=0.3)
    before = queue.enqueue("default", "before")
    wait_for_state(queue, delayed, JobState.READY)
    after = queue.enqueue("default", "after")
    assert drain(queue) == [before, delayed, after]


def test_delayed_jobs_become_ready_in_the_order_of_their_times(queue: JobQueue) -> None:
    delays = [0.5, 0.3, 0.4, 0.2]
    ids = dict(zip(delays, [queue.enqueue("default", delay=d) for d in delays], strict=True))
    time.sleep(0.6)
    got = []
    for _ in delays:
        reservation = queue.reserve(10)
        got.append(reservation.job_id)
        reservation.ack()
    assert got == [ids[d] for d in sorted(delays)]


def test_a_job_requeued_with_a_delay_takes_its_place_when_it_is_due(queue: JobQueue) -> None:
    first, second = _enqueue(queue, 2)
    queue.reserve(0).requeue(0.3)
    wait_for_state(queue, first, JobState.READY)
    third = queue.enqueue("default")
    assert drain(queue) == [second, first, third]


def test_a_blocked_job_takes_its_place_when_it_is_released(queue: JobQueue) -> None:
    dependency = queue.enqueue("other")
    blocked = queue.enqueue("default", depends_on=[dependency])
    before = queue.enqueue("default")
    end_job(queue, dependency, "succeeded")
    after = queue.enqueue("default")
    assert drain(queue) == [before, blocked, after]


def test_jobs_released_together_come_out_as_they_went_in(queue: JobQueue) -> None:
    dependency = queue.enqueue("other")
    ids = [queue.enqueue("default", n, depends_on=[dependency]) for n in range(20)]
    end_job(queue, dependency, "succeeded")
    assert drain(queue) == ids


def test_a_released_job_keeps_its_priority(queue: JobQueue) -> None:
    dependency = queue.enqueue("other")
    blocked = queue.enqueue("default", depends_on=[dependency], priority=5)
    delayed = queue.enqueue("default", delay=0.2, priority=7)
    low = queue.enqueue("default", priority=4)
    end_job(queue, dependency, "succeeded")
    wait_for_state(queue, delayed, JobState.READY)
    assert drain(queue) == [delayed, blocked, low]


def test_one_future_job_holds_up_nobody(queue: JobQueue) -> None:
    queue.enqueue("default", delay=60, priority=255)
    queue.enqueue("default", depends_on=[queue.enqueue("other")], priority=255)
    ids = _enqueue(queue, 3)
    assert drain(queue) == ids
    assert_nothing_ready(queue)
