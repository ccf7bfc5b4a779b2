"""Fan-in, fan-out, chains."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from scene import Site

from kombu_depqueue import JobMessage, Reservation


@pytest.mark.benchmark(group="dependencies")
def test_enqueue_a_fan_in(benchmark: Any, site: Site, pick: Any) -> None:
    jobs = [JobMessage.new("default", n) for n in range(pick(10_000, 50))]
    site.queue.enqueue_many(jobs)
    ids = [j.job_id for j in jobs]
    benchmark.pedantic(lambda: site.queue.enqueue("last", depends_on=ids), rounds=pick(5, 1))


@pytest.mark.benchmark(group="dependencies")
def test_finish_before_a_fan_out(benchmark: Any, site: Site, pick: Any) -> None:
    count = pick(10_000, 50)

    def setup() -> tuple[tuple[Reservation], dict[str, Any]]:
        first = site.queue.enqueue("first")
        site.queue.enqueue_many([JobMessage.new("default", n, depends_on=[first]) for n in range(count)])
        return (site.queue.reserve(10, queues=["first"]),), {}

    benchmark.extra_info["jobs"] = count
    benchmark.pedantic(lambda first: first.ack(), setup=setup, rounds=pick(5, 1))


@pytest.mark.benchmark(group="dependencies")
def test_run_a_chain(benchmark: Any, site: Site, pick: Any) -> None:
    length = pick(200, 5)

    def setup() -> None:
        before: UUID | None = None
        jobs = []
        for n in range(length):
            jobs.append(JobMessage.new("default", n, depends_on=[before] if before else ()))
            before = jobs[-1].job_id
        site.queue.enqueue_many(jobs)

    benchmark.extra_info["jobs"] = length
    benchmark.pedantic(site.drain_singly, (length,), setup=setup, rounds=pick(5, 1))
