"""Dequeue: by job type, by channel, by id."""

from __future__ import annotations

import threading
import time
from functools import partial
from uuid import uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Empty, InvalidJob, NotExist, NotPending, QueueClosed
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import end_job, in_threads


def test_only_jobs_of_the_types_asked_for_are_given(queue: JobQueue) -> None:
    queue.enqueue("build")
    osbuild = queue.enqueue("osbuild")
    with pytest.raises(Empty):
        queue.dequeue(["depsolve", "koji"], 0)
    reservation = queue.dequeue(["depsolve", "osbuild"], 0)
    assert (reservation.job_id, reservation.job_type) == (osbuild, "osbuild")


def test_a_dequeue_tells_id_dependencies_type_and_arguments(queue: JobQueue) -> None:
    ids = [queue.enqueue("a", n) for n in range(3)]
    for _ in ids:
        queue.dequeue(["a"], 0).ack()
    job_id = queue.enqueue("b", {"image": "f40"}, depends_on=ids[::-1])
    got = queue.dequeue(["b"], 0)
    assert (got.job_id, got.depends_on) == (job_id, tuple(ids[::-1]))
    assert (got.job_type, got.args) == ("b", {"image": "f40"})


def test_a_type_named_twice_is_one_type(queue: JobQueue) -> None:
    job_id = queue.enqueue("a")
    assert queue.dequeue(["a", "b", "a"], 0).job_id == job_id


@pytest.mark.parametrize("types", [[], ["a\0"], [None], ["x" * 256]])
def test_senseless_types_are_refused(queue: JobQueue, types: list[str]) -> None:
    with pytest.raises(InvalidJob):
        queue.dequeue(types, 0)


def test_channels_are_apart(queue: JobQueue) -> None:
    ids = {c: queue.enqueue("a", channel=c) for c in ("", "x", "y")}
    assert queue.dequeue(["a"], 0, channels=["y"]).job_id == ids["y"]
    assert queue.dequeue(["a"], 0).job_id == ids[""]
    with pytest.raises(Empty):
        queue.dequeue(["a"], 0, channels=["", "y", "z"])
    assert queue.dequeue(["a"], 0, channels=["z", "x"]).job_id == ids["x"]


def test_over_several_channels_the_oldest_comes_first(queue: JobQueue) -> None:
    ids = [queue.enqueue("ab"[n % 2], channel="xyz"[n % 3]) for n in range(9)]
    got = [queue.dequeue(["b", "a"], 0, channels=["z", "y", "x"]).job_id for _ in ids]
    assert got == ids


@pytest.mark.parametrize("channels", [[], "x", ["\0"], [None]])
def test_senseless_channels_are_refused(queue: JobQueue, channels: list[str]) -> None:
    with pytest.raises(InvalidJob):
        queue.dequeue(["a"], 0, channels=channels)


def test_waiting_for_several_types_ends_with_the_first_job_of_any(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(), make_queue()
    got = in_threads(
        [
            lambda: consumer.dequeue(["a", "b"], 15, channels=["", "x"]).args,
            lambda: [time.sleep(0.3), producer.enqueue("c", 1), producer.enqueue("b", 2, channel="x")],
        ]
    )
    assert got[0] == 2


def test_dequeue_gives_up_only_after_its_timeout(queue: JobQueue) -> None:
    queue.enqueue("other")
    begin = time.monotonic()
    with pytest.raises(Empty):
        queue.dequeue(["a", "b"], 0.4)
    assert time.monotonic() - begin >= 0.4


def test_closing_ends_a_dequeue_that_waits(make_queue: MakeQueue) -> None:
    queue = make_queue()
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            queue.dequeue(["a"])
        except QueueClosed as error:
            raised.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    time.sleep(0.4)
    queue.close()
    thread.join(10)
    assert len(raised) == 1


def test_dequeue_by_id_takes_this_very_job_whatever_its_queue_and_channel(queue: JobQueue) -> None:
    queue.enqueue("a")
    job_id = queue.enqueue("b", "this", channel="x", priority=0)
    reservation = queue.dequeue_by_id(job_id)
    assert (reservation.job_id, reservation.args, reservation.attempt) == (job_id, "this", 1)
    assert queue.status(job_id).state is JobState.LEASED
    reservation.ack("taken")
    assert queue.status(job_id).result == "taken"


def test_dequeue_by_id_accepts_the_id_as_text(queue: JobQueue) -> None:
    job_id = queue.enqueue("a")
    assert queue.dequeue_by_id(str(job_id)).job_id == job_id


def test_dequeue_by_id_of_an_unknown_job_does_not_exist(queue: JobQueue) -> None:
    with pytest.raises(NotExist) as refused:
        queue.dequeue_by_id(uuid4())
    assert len(refused.value.job_ids) == 1


def test_dequeue_by_id_of_a_leased_job_is_not_pending(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    job_id = queue.enqueue("a")
    reservation = queue.dequeue_by_id(job_id)
    for someone in (queue, other):
        with pytest.raises(NotPending) as refused:
            someone.dequeue_by_id(job_id)
        assert refused.value.job_id == job_id
    reservation.ack()


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead", "canceled"])
def test_dequeue_by_id_of_a_finished_job_is_not_pending(queue: JobQueue, end: str) -> None:
    job_id = queue.enqueue("a")
    end_job(queue, job_id, end)
    with pytest.raises(NotPending):
        queue.dequeue_by_id(job_id)


def test_dequeue_by_id_of_a_paused_queue_is_not_pending(queue: JobQueue) -> None:
    job_id = queue.enqueue("a")
    queue.pause("a")
    with pytest.raises(NotPending):
        queue.dequeue_by_id(job_id)
    queue.resume("a")
    assert queue.dequeue_by_id(job_id).job_id == job_id


def test_dequeue_by_id_gives_a_requeued_job_again(queue: JobQueue) -> None:
    job_id = queue.enqueue("a")
    first = queue.dequeue_by_id(job_id)
    first.requeue()
    second = queue.dequeue_by_id(job_id)
    assert (second.attempt, second.redelivered) == (2, True)


def test_of_many_who_dequeue_one_id_one_gets_it(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    for _ in range(5):
        job_id = queues[0].enqueue("a")
        got = in_threads([partial(q.dequeue_by_id, job_id) for q in queues * 3])
        assert sum(isinstance(g, NotPending) for g in got) == 5
        (winner,) = [g for g in got if not isinstance(g, Exception)]
        winner.ack()


def test_dequeue_without_renewal_expires(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.3)
    job_id = queue.enqueue("a")
    queue.dequeue(["a"], 0, renew=False)
    again = queue.dequeue(["a"], 15)
    assert (again.job_id, again.attempt) == (job_id, 2)
