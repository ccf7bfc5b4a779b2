"""Several processes: how long a job needs from one to another, and how they share a database."""

from __future__ import annotations

import time
from typing import Any

import programs
import pytest
from scene import Site

from kombu_depqueue.testing.fixtures import RunProcess


@pytest.mark.benchmark(group="latency")
def test_a_job_there_and_a_job_back(benchmark: Any, site: Site, run_process: RunProcess, pick: Any) -> None:
    child = run_process(programs.answer, site.url)
    assert child.heard(60) == "ready"

    def setup() -> None:
        time.sleep(0.05)  # so that both wait

    def run() -> None:
        site.queue.enqueue("there")
        site.queue.reserve(10, queues=["back"]).ack()

    benchmark.pedantic(run, setup=setup, rounds=pick(100, 2), warmup_rounds=pick(5, 0))


@pytest.mark.benchmark(group="processes")
@pytest.mark.parametrize("processes", [1, 2, 8])
def test_processes_that_enqueue_and_ack(
    benchmark: Any, site: Site, run_process: RunProcess, pick: Any, processes: int
) -> None:
    seconds = pick(10, 1) / pick(1, 5)
    children = [run_process(programs.compete, site.url, seconds, 1) for _ in range(min(processes, pick(8, 2)))]
    for child in children:
        assert child.heard(60) == "ready"

    def run() -> list[int]:
        start = time.monotonic() + 0.2
        for child in children:
            child.tell(start)
        return [child.heard(seconds + 60)[0] for child in children]

    done = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(jobs_per_second=sum(done) / seconds, slowest_to_fastest=min(done) / max(done))
