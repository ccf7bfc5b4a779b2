"""Other queues beside the native API: one by one and in batches. `python -m benchmarks` compares them in turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from contenders import NATIVE, natives
from measure import Others
from peers.base import Native
from scene import Scene

from kombu_depqueue.testing.servers import ServerMissing, postgresql

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own


@pytest.fixture(scope="module")
def server() -> Iterator[str | None]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(postgresql())
        except ServerMissing:
            found = None
        yield found


@pytest.fixture
def peer(request: pytest.FixtureRequest, server: str | None) -> Iterator[Native]:
    databases = ["sqlite"] if server is None else ["postgresql", "sqlite"]
    with natives(scene := Scene(databases, server, "usual", Others()), [request.param]) as found:
        if request.param not in found:
            pytest.skip(f"{request.param}: {scene.left_out[request.param]}")
        yield found[request.param][1]


@pytest.mark.parametrize("peer", NATIVE, indirect=True)
@pytest.mark.parametrize("size", [1, 100])
def test_enqueue(benchmark: Any, peer: Native, pick: Any, size: int) -> None:
    benchmark.group = f"enqueue by {size}"
    benchmark.extra_info["jobs"] = jobs = pick(200 if size == 1 else 2_000, size)
    benchmark.pedantic(_enqueue, (peer, jobs, size), rounds=pick(5, 1))


@pytest.mark.parametrize("peer", NATIVE, indirect=True)
@pytest.mark.parametrize("size", [1, 100])
def test_reserve_and_ack(benchmark: Any, peer: Native, pick: Any, size: int) -> None:
    benchmark.group = f"reserve and ack by {size}"
    benchmark.extra_info["jobs"] = jobs = pick(200 if size == 1 else 2_000, size)
    benchmark.pedantic(peer.drain, (jobs, size), setup=lambda: peer.enqueue(jobs), rounds=pick(5, 1))


def _enqueue(peer: Native, jobs: int, size: int) -> None:
    if size == 1:
        peer.enqueue(jobs)
    else:
        peer.enqueue_many(jobs, size)
