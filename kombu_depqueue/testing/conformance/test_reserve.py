"""Reserve: the next ready job, to one holder at a time, and never given up early."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Empty, InvalidJob, QueueClosed
from kombu_depqueue.job import JobState
from kombu_depqueue.ports import Reservation
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, in_threads


def test_an_empty_queue_with_timeout_zero_is_empty_at_once(queue: JobQueue) -> None:
    queue.queues()
    begin = time.monotonic()
    with pytest.raises(Empty):
        queue.reserve(timeout=0)
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize("timeout", [0.05, 0.4, 1.1])
def test_waiting_never_ends_before_the_timeout(queue: JobQueue, timeout: float) -> None:
    queue.queues()
    begin = time.monotonic()
    with pytest.raises(Empty):
        queue.reserve(timeout)
    assert timeout <= time.monotonic() - begin < timeout + 5


def test_a_reservation_tells_what_it_holds(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", {"a": 1})
    reservation = queue.reserve(0)
    assert isinstance(reservation, Reservation)
    assert (reservation.job_id, reservation.job_type, reservation.args) == (job_id, "default", {"a": 1})
    assert (reservation.depends_on, reservation.attempt, reservation.redelivered) == ((), 1, False)
    assert isinstance(reservation.token, str)
    assert len(reservation.token) >= 16
    assert queue.status(job_id).state is JobState.LEASED


def test_a_reserved_job_is_given_to_nobody_else(make_queue: MakeQueue) -> None:
    first, second = make_queue(), make_queue()
    first.enqueue("default")
    reservation = first.reserve(0)
    assert_nothing_ready(first)
    assert_nothing_ready(second, 0.2)
    reservation.ack()
    assert_nothing_ready(second)


def test_only_the_default_queue_is_asked_unless_told_otherwise(queue: JobQueue) -> None:
    other = queue.enqueue("other")
    assert_nothing_ready(queue)
    assert drain(queue, ["other"]) == [other]


def test_a_queue_nobody_has_used_is_empty(queue: JobQueue) -> None:
    assert_nothing_ready(queue, queues=["never", "heard", "of"])


def test_a_queue_may_be_waited_for_before_it_is_used(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(), make_queue()
    got = in_threads(
        [
            lambda: consumer.reserve(15, queues=["brand", "new"]).job_type,
            lambda: (time.sleep(0.3), producer.enqueue("new"), "")[2],
        ]
    )
    assert got == ["new", ""]


def test_reserve_without_timeout_waits_for_the_job(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(), make_queue()
    got: list[Reservation] = []
    thread = threading.Thread(target=lambda: got.append(consumer.reserve()), daemon=True)
    thread.start()
    time.sleep(0.3)
    assert got == []
    job_id = producer.enqueue("default")
    thread.join(15)
    assert [r.job_id for r in got] == [job_id]


def test_two_waiting_consumers_get_one_job_each(make_queue: MakeQueue) -> None:
    consumers = [make_queue(), make_queue()]
    producer = make_queue()

    def produce() -> object:
        time.sleep(0.3)
        return [producer.enqueue("default", n) for n in (1, 2)]

    def consume(consumer: JobQueue) -> object:
        return consumer.reserve(15).args

    got = in_threads([*(partial(consume, c) for c in consumers), produce])
    assert sorted(got[:2]) == [1, 2]  # type: ignore[type-var]


def test_every_hand_out_has_a_token_of_its_own(queue: JobQueue) -> None:
    for n in range(5):
        queue.enqueue("default", n)
    held = queue.reserve_many(5, 0)
    tokens = {r.token for r in held}
    for reservation in held:
        reservation.requeue()
    tokens |= {r.token for r in queue.reserve_many(5, 0)}
    assert len(tokens) == 10


def test_reserve_many_takes_up_to_its_limit_in_order(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(7)]
    assert [r.job_id for r in queue.reserve_many(3, 0)] == ids[:3]
    assert [r.job_id for r in queue.reserve_many(10, 5)] == ids[3:]


def test_reserve_many_waits_only_for_the_first(queue: JobQueue) -> None:
    queue.enqueue("default")
    begin = time.monotonic()
    assert len(queue.reserve_many(10, 20)) == 1
    assert time.monotonic() - begin < 10


def test_reserve_many_of_nothing_is_empty(queue: JobQueue) -> None:
    begin = time.monotonic()
    with pytest.raises(Empty):
        queue.reserve_many(10, 0.3)
    assert time.monotonic() - begin >= 0.3


def test_reserve_many_takes_from_several_queues_and_channels(queue: JobQueue) -> None:
    ids = [queue.enqueue(t, channel=c) for t, c in [("a", ""), ("b", "x"), ("c", ""), ("a", "x"), ("b", "")]]
    got = queue.reserve_many(10, 0, queues=["b", "a"], channels=["", "x"])
    assert [r.job_id for r in got] == [ids[0], ids[1], ids[3], ids[4]]


def test_many_reservations_can_be_held_and_settled_in_any_order(queue: JobQueue) -> None:
    for n in range(30):
        queue.enqueue("default", n)
    held = queue.reserve_many(30, 0)
    for reservation in reversed(held[::2]):
        reservation.ack()
    assert queue.ack_many(held) == []
    assert {queue.status(r.job_id).state for r in held} == {JobState.SUCCEEDED}


def test_status_tells_when_a_job_was_handed_out(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    assert queue.status(job_id).started is None
    queue.reserve(0)
    status = queue.status(job_id)
    assert status.attempt == 1
    assert status.started is not None
    assert status.started >= status.queued


def test_a_closed_job_queue_gives_nothing_and_takes_nothing(make_queue: MakeQueue) -> None:
    queue = make_queue()
    queue.enqueue("default")
    queue.close()
    with pytest.raises(QueueClosed):
        queue.reserve(0)
    with pytest.raises(QueueClosed):
        queue.enqueue("default")


@pytest.mark.parametrize("timeout", [-1.0, float("nan"), "5"])
def test_a_senseless_timeout_is_refused(queue: JobQueue, timeout: float) -> None:
    with pytest.raises(InvalidJob):
        queue.reserve(timeout)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_senseless_limit_is_refused(queue: JobQueue, limit: int) -> None:
    with pytest.raises(InvalidJob):
        queue.reserve_many(limit, 0)


def test_one_text_in_place_of_a_list_of_queues_is_refused(queue: JobQueue) -> None:
    queue.enqueue("mail")
    with pytest.raises(InvalidJob):
        queue.reserve(0, queues="mail")
    with pytest.raises(InvalidJob):
        queue.dequeue("mail", 0)
