"""The native API: `pytest benchmarks` measures, `pytest benchmarks --benchmark-disable` runs each once.

Rates are jobs per second of the median; compare them within one run only. `figures.py` has the
figures that are quoted.
"""

from __future__ import annotations

from typing import Any

import pytest

from kombu_depqueue import JobMessage, JobQueue

BATCH = 100


def messages(count: int) -> list[JobMessage]:
    return [JobMessage.new("bench", n) for n in range(count)]


@pytest.mark.benchmark(group="enqueue one")
def test_enqueue_one(benchmark: Any, queue: JobQueue) -> None:
    benchmark(queue.enqueue, "bench", {"n": 1})


@pytest.mark.benchmark(group="enqueue a batch of 100")
def test_enqueue_a_batch(benchmark: Any, queue: JobQueue) -> None:
    benchmark.pedantic(queue.enqueue_many, setup=lambda: ((messages(BATCH),), {}), rounds=50)


@pytest.mark.benchmark(group="reserve and ack")
@pytest.mark.parametrize("limit", [1, 10, 100])
def test_reserve_and_ack(benchmark: Any, queue: JobQueue, limit: int) -> None:
    rounds = 50

    def run() -> None:
        assert queue.ack_many(queue.reserve_many(limit, 0, queues=["bench"])) == []

    queue.enqueue_many(messages(limit * (rounds + 1)))
    benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)


@pytest.mark.benchmark(group="chain of dependencies")
def test_a_chain_of_ten(benchmark: Any, queue: JobQueue) -> None:
    def run() -> None:
        before: list[Any] = []
        for _ in range(10):
            before = [queue.enqueue("bench", depends_on=before)]
        for _ in range(10):
            queue.dequeue(["bench"], 0).ack()

    benchmark.pedantic(run, rounds=20)
