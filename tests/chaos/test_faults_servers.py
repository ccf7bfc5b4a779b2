"""Servers that freeze, die and come back: what happens to them, and what a JobQueue makes of it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from faults import servers
from faults.base import Scene
from faults.needs import had
from faults.servers import OwnServer, family, own_server

from kombu_depqueue import DepQueueError, Empty, JobMessage, JobQueue, StorageError
from kombu_depqueue.testing.helpers import drain, in_threads, wait_until

pytestmark = pytest.mark.xdist_group("own servers")  # each is started once

SLACK = 3.0
"""Seconds beyond a deadline that a loaded machine may take."""
SOON = 5.0
"""Seconds from a server's return to the first delivery."""
MAKERS = {"postgresql": servers.postgresql, "mysql": servers.mariadb}


@pytest.fixture(scope="module", params=MAKERS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with had(MAKERS[request.param]()) as made:
        yield made


@pytest.fixture
def server(scene: Scene) -> Iterator[OwnServer]:
    found = own_server(scene)
    yield found
    found.thaw()
    found.start()


@pytest.fixture
def make(scene: Scene, server: OwnServer) -> Iterator[Callable[..., JobQueue]]:
    with ExitStack() as opened:

        def made(**options: Any) -> JobQueue:
            options = {"create": True, "poll_interval": 0.1, **options}
            return opened.enter_context(JobQueue(scene.url, **options))

        yield made
        server.thaw()
        server.start()
        with JobQueue(scene.url) as queue:
            for name in ("t", "default"):
                queue.purge(name)


def test_a_frozen_server_is_an_error_within_the_deadline_and_goes_on_afterwards(
    server: OwnServer, make: Callable[..., JobQueue]
) -> None:
    queue = make(deadline=1.5, lease=60.0)
    queue.enqueue("t", 1)
    held = queue.reserve(0, queues=["t"])
    message = JobMessage(uuid4(), job_type="t")
    server.freeze()
    states = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in family(server.process.pid)}
    assert states == {"T"}
    begin = time.monotonic()
    (error,) = in_threads([lambda: queue.enqueue(message)], timeout=30)
    assert isinstance(error, StorageError), repr(error)
    assert time.monotonic() - begin < 1.5 + SLACK
    server.thaw()

    def acked() -> bool:
        with suppress(StorageError):
            held.ack()
            return True
        return False

    wait_until(acked)
    with suppress(DepQueueError):  # it may be there
        queue.enqueue(message)
    assert drain(queue, ["t"]) == [message.job_id]
    assert queue.status(held.job_id).attempt == 1


class Flow:
    """Producers who note what was acknowledged, and a consumer; each asks again until there is an answer."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self.acked: set[UUID] = set()
        self.errors = 0
        self.stall = 0.0
        """Seconds: the longest time between two publishes that were acknowledged."""
        self.delivered: dict[UUID, float] = {}
        """When, the last time."""
        self._producing = threading.Event()
        self._producing.set()
        self._threads = [threading.Thread(target=call, daemon=True) for call in (self._produce, self._consume)]

    def _insist(self, call: Callable[[], object]) -> None:
        while True:
            try:
                call()
            except StorageError:
                self.errors += 1
                continue
            except DepQueueError:
                return
            return

    def _produce(self) -> None:
        before = time.monotonic()
        while self._producing.is_set():
            message = JobMessage(uuid4(), job_type="t")
            self._insist(lambda message=message: self._queue.enqueue(message))
            self.acked.add(message.job_id)
            took, before = time.monotonic() - before, time.monotonic()
            self.stall = max(self.stall, took)
            time.sleep(0.002)

    def _consume(self) -> None:
        while self._threads[0].is_alive() or self.acked - self.delivered.keys():
            with suppress(Empty, StorageError):
                reservation = self._queue.reserve(0.2, queues=["t"])
                self.delivered[reservation.job_id] = time.monotonic()
                self._insist(reservation.ack)

    def __enter__(self) -> Flow:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._producing.clear()
        for thread in self._threads:
            thread.join(30)


def test_a_server_that_dies_loses_no_job_and_is_in_use_within_five_seconds_of_its_return(
    server: OwnServer,
    make: Callable[..., JobQueue],
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    ends = [server.kill, server.end_at_once]
    queue = make(deadline=3.0, lease=20.0)
    with Flow(queue) as flow:
        for end in ends if full else [random.Random(seed).choice(ends)]:
            wait_until(lambda: len(flow.delivered) > 20)
            first, gone = server.process.pid, time.monotonic()
            end()
            flow.stall = 0.0
            assert not os.path.exists(f"/proc/{first}")
            time.sleep(1.0)
            before = len(flow.delivered)
            server.start()
            gone = time.monotonic() - gone
            assert server.process.pid != first
            wait_until(lambda before=before: len(flow.delivered) > before, SOON)
            wait_until(lambda before=before: len(flow.delivered) > before + 20)
            wait_until(lambda: flow.stall, SOON)
            said = f"the server was away for {gone:.1f} s, the longest wait of a publish was {flow.stall:.1f} s; {flow.errors} errors"
            record_property("tally", f"{end.__name__}: {said}")
            assert flow.stall < gone + SOON
    assert flow.acked <= flow.delivered.keys()
    assert drain(queue, ["t"]) == []
    wait_until(lambda: not any(q.leased for q in queue.queues() if q.name == "t"), 10)
