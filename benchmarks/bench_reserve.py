"""Reserve and settle: one by one and in batches."""

from __future__ import annotations

from typing import Any

import pytest
from scene import Site

from kombu_depqueue import JobMessage


def _fill(site: Site, count: int) -> None:
    site.queue.enqueue_many(JobMessage.new("default", n) for n in range(count))


@pytest.mark.benchmark(group="reserve + ack")
@pytest.mark.parametrize("size", [1, 10, 100, 1000])
def test_reserve_and_ack(benchmark: Any, site: Site, pick: Any, size: int) -> None:
    count = pick(max(300, 20 * size), 2 * size)
    benchmark.extra_info["jobs"] = count
    work = site.drain_singly if size == 1 else site.drain
    arguments = (count,) if size == 1 else (count, size)
    benchmark.pedantic(work, arguments, setup=lambda: _fill(site, count), rounds=pick(10, 1))


@pytest.mark.benchmark(group="reserve + ack")
def test_reserve_and_ack_with_a_result(benchmark: Any, site: Site, pick: Any) -> None:
    count = pick(300, 3)
    benchmark.extra_info["jobs"] = count

    def run() -> None:
        for _ in range(count):
            site.queue.reserve(10).ack({"sum": 1})

    benchmark.pedantic(run, setup=lambda: _fill(site, count), rounds=pick(10, 1))


@pytest.mark.benchmark(group="reserve + ack")
def test_reserve_and_requeue(benchmark: Any, site: Site) -> None:
    site.queue.enqueue()
    benchmark(lambda: site.queue.reserve(10).requeue())


@pytest.mark.benchmark(group="reserve + ack")
def test_ack_100_without_statistics(benchmark: Any, site: Site, pick: Any) -> None:
    _fill(site, pick(20_000, 300))
    benchmark.pedantic(site.queue.ack_many, setup=lambda: ((site.queue.reserve_many(100, 10),), {}), rounds=pick(20, 2))


@pytest.mark.benchmark(group="reserve + ack")
def test_reserve_finds_nothing(benchmark: Any, site: Site) -> None:
    from kombu_depqueue import Empty

    def run() -> None:
        with pytest.raises(Empty):
            site.queue.reserve(0)

    benchmark(run)
