"""Enqueue: one, many, from a generator, in the caller's transaction, delayed, with a dependency."""

from __future__ import annotations

from typing import Any

import pytest
from scene import Site
from sqlalchemy import Engine

from kombu_depqueue import JobMessage


@pytest.mark.benchmark(group="enqueue")
def test_enqueue_one(benchmark: Any, site: Site) -> None:
    benchmark(site.queue.enqueue, "default", {"n": 1})


@pytest.mark.benchmark(group="enqueue")
def test_enqueue_one_with_a_dependency(benchmark: Any, site: Site) -> None:
    first = site.queue.enqueue("first")
    benchmark(lambda: site.queue.enqueue("default", depends_on=[first]))


@pytest.mark.benchmark(group="enqueue")
def test_enqueue_one_delayed(benchmark: Any, site: Site) -> None:
    benchmark(lambda: site.queue.enqueue("default", delay=3600))


@pytest.mark.benchmark(group="enqueue")
def test_enqueue_one_in_the_callers_transaction(benchmark: Any, site: Site, engine: Engine) -> None:
    def run() -> None:
        with engine.begin() as connection:
            site.queue.enqueue("default", connection=connection)

    benchmark(run)


@pytest.mark.benchmark(group="enqueue many")
@pytest.mark.parametrize("size", [10, 100, 1000])
@pytest.mark.parametrize("what", ["plain", "500 bytes", "headers", "delayed"])
def test_enqueue_many(benchmark: Any, site: Site, size: int, what: str) -> None:
    fields: dict[str, Any] = {
        "plain": {},
        "500 bytes": {"args": {"pad": "x" * 480}},
        "headers": {"headers": {"trace": "x" * 40}},
        "delayed": {"delay": 3600},
    }[what]
    benchmark.extra_info["jobs"] = size
    benchmark(lambda: site.queue.enqueue_many([JobMessage.new("default", **fields) for _ in range(size)]))


@pytest.mark.benchmark(group="enqueue many")
def test_enqueue_from_a_generator(benchmark: Any, site: Site, pick: Any) -> None:
    count = pick(20_000, 1_500)
    benchmark.extra_info["jobs"] = count
    benchmark.pedantic(
        lambda: site.queue.enqueue_many(JobMessage.new("default", n) for n in range(count)), rounds=pick(5, 1)
    )
