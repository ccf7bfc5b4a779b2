"""Limits of queues: how many jobs, how big."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kombu_depqueue import JobMessage, JobQueue, QueueFull
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain, wait_until


def test_a_full_queue_takes_no_more(queue: JobQueue) -> None:
    queue.limit("mail", max_length=3)
    for n in range(3):
        queue.enqueue("mail", n)
    with pytest.raises(QueueFull) as caught:
        queue.enqueue("mail", 3)
    assert (caught.value.queue, caught.value.channel, caught.value.max_length) == ("mail", "", 3)
    queue.enqueue("other")  # is another's business
    assert len(drain(queue, ["mail"])) == 3
    queue.enqueue("mail", 4)


def test_all_jobs_that_have_not_ended_count(queue: JobQueue) -> None:
    queue.limit("mail", max_length=4)
    first = queue.enqueue("mail")
    held = queue.reserve(0, queues=["mail"])
    queue.enqueue("mail", delay=60)
    queue.enqueue("mail", depends_on=[first])
    queue.enqueue("mail")
    for fields in ({}, {"delay": 60}, {"depends_on": [first]}):
        with pytest.raises(QueueFull):
            queue.enqueue("mail", **fields)
    held.requeue()  # is there already
    queue.reserve(5, queues=["mail"]).ack()
    queue.enqueue("mail")


def test_several_are_all_refused_or_none(queue: JobQueue) -> None:
    queue.limit("mail", max_length=5)
    queue.enqueue("mail")
    with pytest.raises(QueueFull):
        queue.enqueue_many([JobMessage.new("other"), *(JobMessage.new("mail", n) for n in range(5))])
    assert drain(queue, ["other"]) == []
    assert queue.enqueue_many([JobMessage.new("mail", n) for n in range(4)]) == 4
    assert len(drain(queue, ["mail"])) == 5


def test_a_big_payload_is_refused(queue: JobQueue) -> None:
    queue.limit("mail", max_body_bytes=2000)
    queue.enqueue("mail", "x" * 50)
    for fields in ({"args": "x" * 2000}, {"args": 1, "headers": {"x": "y" * 2000}}):
        with pytest.raises(InvalidJob, match="2,000"):
            queue.enqueue("mail", fields.pop("args"), **fields)
    queue.enqueue("other", "x" * 3000)


def test_limits_are_known_to_all_and_last(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make_queue(), make_queue()
    other.enqueue("mail")
    one.limit("mail", max_length=1)

    def is_full() -> bool:
        try:
            other.enqueue("mail")
        except QueueFull:
            return True
        return False

    wait_until(is_full, 30)
    assert make_queue().limits("mail") == (1, None)
    one.limit("mail")
    assert one.limits("mail") == (None, None)
    wait_until(lambda: not is_full(), 30)


def test_limits_are_those_of_a_channel(queue: JobQueue) -> None:
    queue.limit("mail", max_length=0, channel="x")
    with pytest.raises(QueueFull, match="channel 'x'"):
        queue.enqueue("mail", channel="x")
    queue.enqueue("mail")


@pytest.mark.parametrize("bad", [-1, True, 1.5, "3", 2**31])
def test_limits_that_are_none(queue: JobQueue, bad: Any) -> None:
    for field in ("max_length", "max_body_bytes"):
        with pytest.raises(InvalidJob):
            queue.limit("mail", **{field: bad})
    with pytest.raises(InvalidJob):
        queue.limit("", max_length=3)


def test_while_there_is_room_not_every_enqueue_counts(queue: JobQueue) -> None:
    """Within a second a tenth of the room may be filled; the limit itself is never passed by one producer."""
    queue.limit("mail", max_length=200)
    made, until = 0, time.monotonic() + 60
    while time.monotonic() < until:
        try:
            queue.enqueue("mail", made)
        except QueueFull:
            break
        made += 1
    assert made == 200


@pytest.mark.native
def test_the_callers_transaction_is_left_alone(queue: JobQueue, engine: Any) -> None:
    queue.limit("mail", max_length=1)
    queue.enqueue("mail")
    with engine.begin() as connection:
        with pytest.raises(QueueFull):
            queue.enqueue("mail", connection=connection)
        queue.enqueue("other", connection=connection)
    assert len(drain(queue, ["other"])) == 1


@pytest.mark.native
def test_what_the_callers_transaction_has_enqueued_counts(queue: JobQueue, engine: Any) -> None:
    queue.limit("mail", max_length=20)
    with engine.begin() as connection:
        for n in range(20):
            queue.enqueue("mail", n, connection=connection)
        with pytest.raises(QueueFull):
            queue.enqueue("mail", 20, connection=connection)
    assert len(drain(queue, ["mail"])) == 20
