"""Waking up: who waits gets a job soon, not at the next poll."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from kombu_depqueue import JobQueue, waiting
from kombu_depqueue.job import JobMessage
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import end_job, in_threads, wait_until

POLL = 20.0  # seconds: long enough to see that nobody relies on it
SOON = 5.0  # seconds: generous, machines are slow

EVENTS: dict[str, Callable[[JobQueue], Callable[[], object]]] = {
    "enqueue": lambda q: lambda: q.enqueue("default"),
    "enqueue_many": lambda q: lambda: q.enqueue_many([JobMessage.new("default")]),
    "a short delay": lambda q: lambda: q.enqueue("default", delay=0.3),
}


def _waiting(queue: JobQueue, name: str) -> bool:
    return name in [w.name for w in queue.workers()]


def _time_to_wake(consumer: JobQueue, event: Callable[[], object]) -> float:
    """Reserve in one thread, let the event happen in another, return the seconds in between."""
    moments: dict[str, float] = {}

    def consume() -> None:
        consumer.reserve(2 * SOON).ack()
        moments["got"] = time.monotonic()

    def happen() -> None:
        time.sleep(0.6)  # so that it waits
        event()
        moments["done"] = time.monotonic()

    results = in_threads([consume, happen])
    assert results == [None, None]
    return moments["got"] - moments["done"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("where", ["the same", "another"])
def test_a_waiting_consumer_is_woken_by(make_queue: MakeQueue, event: str, where: str) -> None:
    consumer = make_queue(poll_interval=POLL)
    producer = consumer if where == "the same" else make_queue(poll_interval=POLL)
    producer.queues()
    assert _time_to_wake(consumer, EVENTS[event](producer)) < SOON


def test_a_waiting_consumer_is_woken_when_the_dependency_ends(make_queue: MakeQueue) -> None:
    consumer, other = make_queue(poll_interval=POLL), make_queue(poll_interval=POLL)
    first = other.enqueue("first")
    other.enqueue("default", depends_on=[first])
    assert _time_to_wake(consumer, lambda: end_job(other, first, "succeeded")) < SOON


def test_a_waiting_consumer_is_woken_by_a_requeue(make_queue: MakeQueue) -> None:
    consumer, other = make_queue(poll_interval=POLL), make_queue(poll_interval=POLL)
    other.enqueue("default")
    reservation = other.reserve(0)
    assert _time_to_wake(consumer, reservation.requeue) < SOON


def test_a_waiting_consumer_is_woken_when_a_holder_closes(make_queue: MakeQueue) -> None:
    consumer, other = make_queue(poll_interval=POLL), make_queue(poll_interval=POLL)
    other.enqueue("default")
    other.reserve(0)
    assert _time_to_wake(consumer, other.close) < SOON


def test_a_waiting_consumer_is_woken_by_resume(make_queue: MakeQueue) -> None:
    consumer, other = make_queue(poll_interval=POLL), make_queue(poll_interval=POLL)
    other.enqueue("default")
    other.pause("default")
    assert _time_to_wake(consumer, lambda: other.resume("default")) < SOON


def test_a_consumer_in_another_process_is_woken(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str
) -> None:
    queue = make_queue()
    queue.queues()
    child = run_process(programs.wait_for_jobs, database_url, {"poll_interval": POLL}, 3)
    assert child.heard() == "ready"
    for n in range(3):
        time.sleep(0.4)  # so that it waits again
        begin = time.monotonic()
        queue.enqueue("default", n)
        assert child.heard() - begin < SOON
    child.wait()


def test_a_producer_in_another_process_wakes(make_queue: MakeQueue, run_process: RunProcess, database_url: str) -> None:
    consumer = make_queue(poll_interval=POLL)
    consumer.queues()
    child = run_process(programs.enqueue_when_told, database_url)
    assert child.heard() == "ready"
    for n in range(3):
        child.tell(n)
        consumer.reserve(2 * SOON).ack()
        assert time.monotonic() - child.heard() < SOON
    child.tell(None)
    child.wait()


def test_a_hint_shortly_after_another_is_sent_too(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "COALESCE", 0.5)  # hints are collected for so long
    consumer, producer = make_queue(poll_interval=POLL), make_queue(poll_interval=POLL)

    def twice() -> None:
        producer.enqueue("other")
        time.sleep(0.1)  # its hint is on its way
        producer.enqueue("default")

    assert _time_to_wake(consumer, twice) < SOON


@pytest.mark.parametrize("gap", [0.0, 0.02, 0.1])
def test_two_jobs_shortly_after_each_other_both_start_promptly(make_queue: MakeQueue, gap: float) -> None:
    consumers = [make_queue(poll_interval=POLL) for _ in range(2)]
    producer = make_queue()
    producer.queues()
    done: list[float] = []
    got: list[float] = []

    def consume(queue: JobQueue) -> None:
        reservation = queue.reserve(POLL * 2)
        got.append(time.monotonic())
        time.sleep(0.3)  # busy: the second job is for the other consumer
        reservation.ack()

    def produce() -> None:
        time.sleep(0.8)
        for n in range(2):
            producer.enqueue("default", n)
            done.append(time.monotonic())
            time.sleep(gap)

    assert in_threads([lambda: consume(consumers[0]), lambda: consume(consumers[1]), produce]) == [None] * 3
    assert max(g - d for g, d in zip(got, done, strict=True)) < SOON


def test_many_waiting_threads_of_one_job_queue_are_all_served(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(poll_interval=POLL, name="busy"), make_queue()
    producer.queues()

    def produce() -> float:
        wait_until(lambda: _waiting(producer, "busy"))
        time.sleep(0.3)
        for n in range(6):
            producer.enqueue("default", n)
        return time.monotonic()

    def consume() -> float:
        consumer.reserve(POLL * 2)
        return time.monotonic()

    *got, done = in_threads([*[consume] * 6, produce])
    assert max(got) - done < SOON  # type: ignore[type-var,operator]


def test_a_consumer_that_found_work_goes_on_without_waiting(make_queue: MakeQueue) -> None:
    consumer, producer = make_queue(poll_interval=POLL), make_queue()
    producer.enqueue_many([JobMessage.new("default", n) for n in range(20)])
    begin = time.monotonic()
    for _ in range(20):
        consumer.reserve(POLL).ack()
    assert time.monotonic() - begin < SOON


def test_an_expired_lease_wakes_a_waiting_consumer(make_queue: MakeQueue) -> None:
    holder, consumer = make_queue(lease=1.0), make_queue()
    holder.enqueue("default")
    holder.reserve(0, renew=False)
    begin = time.monotonic()
    consumer.reserve(20)
    assert time.monotonic() - begin < 1.0 + 1.0 + SOON
