"""Claim and ack in tens, with much in the tables."""

from __future__ import annotations

from typing import Any

import pytest
from scene import Site

from kombu_depqueue import JobMessage


@pytest.mark.benchmark(group="backlog")
@pytest.mark.parametrize("kind", ["empty", "ready", "delayed", "blocked", "leased"])
def test_claim_and_ack_in_tens(benchmark: Any, site: Site, pick: Any, kind: str) -> None:
    rows, count = pick(100_000 if kind == "leased" else 1_000_000, 500), pick(1_000, 20)
    if kind != "empty":
        getattr(site.filler, kind)(rows)
    site.filler.settle()
    benchmark.extra_info.update(jobs=count, rows=rows)

    def setup() -> None:
        site.queue.enqueue_many(JobMessage.new("default", {"pad": "x" * 480}) for _ in range(count))

    benchmark.pedantic(site.drain, (count, 10), setup=setup, rounds=pick(10, 1), warmup_rounds=pick(1, 0))


@pytest.mark.benchmark(group="backlog")
def test_queues_beside_a_backlog(benchmark: Any, site: Site, pick: Any) -> None:
    rows = pick(1_000_000, 500)
    site.filler.ready(rows)
    site.filler.delayed(rows)
    site.filler.settle()
    benchmark(site.queue.queues)
