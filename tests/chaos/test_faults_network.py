"""A disturbed network: what happens on the wire, and what a JobQueue makes of it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from uuid import uuid4

import pytest
from faults.base import Scene
from faults.network import BlackHole, Refusal, SlowNetwork, proxied
from faults.proxy import Proxy, When
from sqlalchemy import Engine, text

from kombu_depqueue import DepQueueError, Empty, JobMessage, JobQueue, JobState, StorageError, create_tables
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.testing.fixtures import Database, MakeQueue, Place
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, in_threads, wait_until

pytestmark = pytest.mark.only("postgresql", "mysql")

SLACK = 3.0
"""Seconds beyond a deadline that a loaded machine may take."""


@pytest.fixture
def scene(place: Place) -> Iterator[Scene]:
    """Before `make_queue`, so that queues are closed before the proxy is."""
    create_tables(place.url)
    with proxied(place.url) as (made, _):
        yield made


@pytest.fixture
def proxy(scene: Scene) -> Proxy:
    return scene.faults[0].proxy  # type: ignore[attr-defined]


@pytest.fixture
def queue(scene: Scene, proxy: Proxy, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """A JobQueue through the proxy, connected, the queue "t" known; no thread of its own speaks to the database."""
    monkeypatch.setattr(Keeper, "_run", lambda self: None)
    made = make_queue(url=scene.url, create=False, notify=False, lease=600.0, deadline=20.0)
    made.enqueue("t")
    drain(made, ["t"])
    return made


@pytest.fixture
def quiet(scene: Scene, make_queue: MakeQueue) -> JobQueue:
    return make_queue(url=scene.quiet_url, create=False)


# -- where connections are cut --------------------------------------------------------


def rows(queue: JobQueue, engine: Engine) -> int:
    job = queue._database.dialect.tables.job.fullname
    with engine.connect() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {job}")).scalar_one())


@pytest.mark.parametrize("when", When)
def test_a_cut_happens_where_it_is_said(
    when: When, queue: JobQueue, quiet: JobQueue, proxy: Proxy, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen with the library's own second try taken away: the row is there, or is not."""
    cut = proxy.cut(when, b"INSERT")
    with monkeypatch.context() as patch:
        patch.setattr(queue._database, "_retrying", lambda call, **_: queue._database._once(call, 1e12, False))
        with pytest.raises(queue._database.errors):
            queue.enqueue("t")
    assert cut.happened.wait(10)
    assert rows(quiet, engine) == (0 if when is When.BEFORE else 1)
    queue.enqueue("t")
    assert not proxy.cuts


def publishes(queue: JobQueue) -> list[tuple[bytes, int, Callable[[], object]]]:
    """What makes each way to publish commit, and how many jobs it publishes; the last three with ids of the caller's."""
    one, dep = JobMessage(uuid4(), job_type="t"), queue.enqueue("dep")
    many = [JobMessage(uuid4(), job_type="t") for _ in range(3)]
    child = JobMessage(uuid4(), job_type="t", depends_on=[dep])
    return [
        (b"INSERT", 1, lambda: queue.enqueue("t")),
        (b"COMMIT", 1, lambda: queue.enqueue(one)),
        (b"COMMIT", 3, lambda: queue.enqueue_many(many)),
        (b"COMMIT", 1, lambda: queue.enqueue(child)),
        (b"INSERT", 2, lambda: queue.enqueue_many([JobMessage(uuid4(), job_type="t") for _ in range(2)])),
    ]


@pytest.mark.parametrize("when", When)
def test_a_publish_that_is_cut_where_it_commits_or_writes_is_there_once(
    when: When, queue: JobQueue, proxy: Proxy
) -> None:
    wanted = 0
    for matching, count, publish in publishes(queue):
        cut = proxy.cut(when, matching)
        publish()
        assert cut.happened.wait(10)
        wanted += count
    drain(queue, ["dep"])
    found = drain(queue, ["t"])
    assert (len(found), len(set(found))) == (wanted, wanted)


@pytest.mark.parametrize("when", When)
def test_a_job_whose_end_is_cut_at_its_commit_has_ended_once(when: When, queue: JobQueue, proxy: Proxy) -> None:
    """And asked again with the same token the answer is the same: it is done."""
    for settle in ("ack", "finish", "requeue", "ack with a result"):
        job_id = queue.enqueue("t")
        reservation = queue.dequeue_by_id(job_id)
        cut = proxy.cut(when)
        if settle == "finish":
            queue.finish(job_id, {"n": 1}, token=reservation.token)
        elif settle == "ack":
            reservation.ack()
        elif settle == "requeue":
            reservation.requeue()
        else:
            reservation.ack({"n": 1})
        assert cut.happened.wait(10)
        if settle == "requeue":
            assert drain(queue, ["t"]) == [job_id]
        status = queue.status(job_id)
        assert status.state is JobState.SUCCEEDED
        assert status.result == (None if settle in ("ack", "requeue") else {"n": 1})
    assert drain(queue, ["t"]) == []


@pytest.mark.parametrize("when", When)
def test_a_claim_that_is_cut_at_its_commit_loses_no_job(when: When, queue: JobQueue, proxy: Proxy) -> None:
    ids = [queue.enqueue("t", n) for n in range(3)]
    cut = proxy.cut(when)
    found = list(queue.reserve_many(3, 10, queues=["t"]))
    assert cut.happened.wait(10)
    while len(found) < 3:  # the first claim took place: its jobs are given back, since nobody has seen them
        found += queue.reserve_many(3, 10, queues=["t"])
    assert [r.job_id for r in found] == ids
    assert queue.ack_many(found) == []


# -- a network that is slow, silent or gone ----------------------------------------------


def test_a_slow_network_makes_calls_slow_and_nothing_else(queue: JobQueue, proxy: Proxy) -> None:
    with proxy.slowed(delay=0.04):
        begin = time.monotonic()
        job_id = queue.enqueue("t", "x")
        assert time.monotonic() - begin >= 0.08
        assert drain(queue, ["t"]) == [job_id]
    with proxy.slowed(rate=200_000.0):
        begin = time.monotonic()
        queue.enqueue("t", random.Random(1).randbytes(20_000).hex())
        assert time.monotonic() - begin >= 0.15
    assert len(drain(queue, ["t"])) == 1


def test_a_black_hole_is_an_error_within_the_deadline_and_then_all_is_well(
    scene: Scene, proxy: Proxy, make_queue: MakeQueue, quiet: JobQueue
) -> None:
    """On a connection that was there, on new ones, and on those that were lost though the network is back."""
    queue = make_queue(url=scene.url, create=False, deadline=1.0, notify=False, lease=600.0)
    kept = queue.enqueue("t")
    message = JobMessage(uuid4(), job_type="t")

    def fails() -> None:
        begin = time.monotonic()
        (error,) = in_threads([lambda: queue.enqueue(message)], timeout=30)
        assert isinstance(error, StorageError), repr(error)
        assert time.monotonic() - begin < 1.0 + SLACK

    with proxy.deaf():
        fails()
        fails()

    def is_back() -> bool:
        with suppress(StorageError):
            return queue.status(kept).state is JobState.READY
        return False

    begin = time.monotonic()
    wait_until(is_back)
    assert time.monotonic() - begin < 1.0 + SLACK
    with suppress(DepQueueError):
        queue.enqueue(message)
    assert drain(queue, ["t"]) == [kept, message.job_id]


def test_a_server_that_refuses_for_a_moment_is_no_error(queue: JobQueue, proxy: Proxy) -> None:
    job_id = None

    def enqueue() -> None:
        nonlocal job_id
        job_id = queue.enqueue("t")

    thread = threading.Thread(target=enqueue)
    with proxy.down():
        thread.start()
        time.sleep(0.5)
        assert job_id is None
    thread.join(10)
    assert drain(queue, ["t"]) == [job_id]


# -- as faults of a chaos cell ---------------------------------------------------------------


def test_each_fault_happens_and_each_job_is_there_once(
    scene: Scene, make_queue: MakeQueue, database: Database, seed: int, full: bool
) -> None:
    """Producers give the ids and ask again until there is no error; one consumer acks."""
    chance = random.Random(seed)
    queue = make_queue(url=scene.url, create=False, deadline=2.0, lease=20.0)
    for fault in scene.faults:
        if isinstance(fault, SlowNetwork | BlackHole | Refusal):
            fault.longest = 0.5
    wanted, seen, done = set(), set(), threading.Event()

    def insist(call: Callable[[], object]) -> None:
        """Until there is an answer; Duplicate and alike are one, too: it took place."""
        while True:
            try:
                call()
            except StorageError:
                continue
            except DepQueueError:
                return
            return

    def produce() -> None:
        while not done.is_set():
            message = JobMessage(uuid4(), job_type="t")
            insist(lambda message=message: queue.enqueue(message))
            wanted.add(message.job_id)

    def consume() -> None:
        while any(producer.is_alive() for producer in producers) or wanted - seen:
            with suppress(Empty, StorageError):
                for reservation in queue.reserve_many(10, 0.2, queues=["t"]):
                    insist(reservation.ack)
                    seen.add(reservation.job_id)

    producers = [threading.Thread(target=produce, daemon=True) for _ in range(2)]
    threads = [*producers, threading.Thread(target=consume, daemon=True)]
    for thread in threads:
        thread.start()
    try:
        for fault in [fault for fault in scene.faults for _ in range(15 if full else 1)]:
            before = len(wanted)
            wait_until(lambda fault=fault: fault.inject(chance) is not False)  # at first nobody listens
            wait_until(lambda before=before: len(wanted) > before, 20)
    finally:
        done.set()
        for thread in threads:
            thread.join(30)
    assert wanted == seen
    counts = make_queue(url=scene.quiet_url, create=False)
    wait_until(lambda: not any(q.ready + q.leased for q in counts.queues() if q.name == "t"), 30)


@pytest.mark.only("postgresql")
def test_a_session_that_ended_unheard_by_its_own_process_is_no_death(
    scene: Scene, proxy: Proxy, make_queue: MakeQueue, quiet: JobQueue
) -> None:
    """A firewall forgets the connection that listens, which says nothing for hours; the server gives it up."""
    holder = make_queue(url=scene.url, create=False, lease=120.0)
    holder.enqueue("t")
    reservation = holder.reserve(0, queues=["t"])
    assert_nothing_ready(holder, 0.3, ["t"])  # it listens
    wait_until(lambda: holder._keeper._told)
    assert_nothing_ready(quiet, 0.3, ["t"])  # it looks after others from now on
    wait_until(lambda: quiet._waiter.sees_sessions)
    assert proxy.part(saying=b"LISTEN") == 1
    assert_nothing_ready(quiet, 6.5, ["t"])
    reservation.ack()
    assert holder.status(reservation.job_id).attempt == 1
