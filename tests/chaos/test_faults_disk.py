"""A full disk: what was acknowledged stays, what cannot be written is an error, and all goes on when there is room."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from faults import disk
from faults.disk import Ballast, DiskFull, PageLimit, SmallDisk, mounted
from faults.needs import had

from kombu_depqueue import DepQueueError, JobMessage, JobQueue, JobState, StorageError, Worker
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain, wait_until

pytestmark = pytest.mark.xdist_group("own servers")

LOAD = 100_000
"""Bytes of a payload that no compression makes smaller."""


@pytest.fixture(scope="module")
def server() -> Iterator[SmallDisk]:
    with had(disk.postgresql()) as scene:
        (fault,) = scene.faults
        assert isinstance(fault, DiskFull)
        yield fault.server


def publish_until_refused(queue: JobQueue, most: int) -> tuple[list[UUID], JobMessage, StorageError]:
    """What was acknowledged; what was not, and why."""
    acked: list[UUID] = []
    while len(acked) < most:
        message = JobMessage(uuid4(), job_type="t", body=os.urandom(LOAD), content_type="application/octet-stream")
        try:
            queue.enqueue(message)
        except StorageError as error:
            return acked, message, error
        acked.append(message.job_id)
    raise AssertionError(f"{most} jobs, and the disk is not full")


def settled(queue: JobQueue, message: JobMessage) -> Callable[[], bool]:
    """Whether it is known to be there: by being enqueued now, or already."""

    def call() -> bool:
        try:
            queue.enqueue(message)
        except StorageError:
            return False
        except DepQueueError:
            return True
        return True

    return call


@pytest.mark.timeout(300)
def test_postgresql_with_a_full_disk_loses_nothing_and_works_on_when_there_is_room(
    server: SmallDisk, full: bool, seed: int
) -> None:
    """Tables that cannot grow are an error; a journal that cannot, and the server ends."""
    for journal in (False, True) if full else [seed % 2 == 1]:
        fill_and_free(server, journal)


def fill_and_free(server: SmallDisk, journal: bool) -> None:
    others, done = os.statvfs(server.directory), list[UUID]()
    with (
        JobQueue(server.url, create=True, deadline=2.0, lease=20.0) as queue,
        JobQueue(server.url, deadline=2.0, lease=20.0) as theirs,
    ):
        acked = [queue.enqueue("t", n) for n in range(20)]
        server.ballast.fill()
        assert server.ballast.blocks_free == 0
        assert others.f_bavail > 1000  # nobody else's disk
        if journal:
            assert server.flood(), server.said()
            assert "PANIC" in server.said()
        more, message, _ = publish_until_refused(queue, 2000)
        worker = Worker(theirs, {"t": lambda job: done.append(job.job_id)})
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        with suppress(StorageError):
            acked.append(queue.enqueue("t", "small"))
        server.ballast.free()
        server.start()
        wait_until(settled(queue, message), 30)
        wanted = {*acked, *more, message.job_id}
        wait_until(lambda: wanted <= set(done), 60)
        worker.stop()
        thread.join(30)
        assert not drain(queue, ["t"])
        assert {queue.status(i).state for i in wanted} == {JobState.SUCCEEDED}


@pytest.fixture
def limit() -> Iterator[PageLimit]:
    with PageLimit() as made:
        yield made


@pytest.mark.only("sqlite")
def test_sqlite_with_a_full_disk_refuses_what_is_new_and_lets_jobs_end(limit: PageLimit, make_queue: MakeQueue) -> None:
    queue = make_queue(lease=60.0)
    waiting = [queue.enqueue("waits") for _ in range(3)]
    held = [queue.enqueue("held") for _ in range(3)]
    child = queue.enqueue("t", depends_on=[held[0]])
    reservations = queue.reserve_many(3, 0, queues=["held"])
    limit.fill()
    acked, message, error = publish_until_refused(queue, 20)
    assert "full" in str(error)
    reservations[0].ack()  # and its dependent is ready
    reservations[1].fail("no")
    reservations[2].requeue()
    assert queue.cancel(waiting[0])
    assert queue.delete_job(waiting[1]) == 1
    assert queue.purge("waits") == 1
    assert set(drain(queue, ["held", "t"])) == {held[2], child, *acked}
    limit.free()
    queue.enqueue(message)
    assert drain(queue, ["t"]) == [message.job_id]
    with queue._database.dialect.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_sqlite_on_a_disk_that_is_full_loses_nothing_and_works_on_when_there_is_room() -> None:
    """Nothing can be written then, neither what is new nor what ends: SQLite's journal needs room for all of it."""
    with had(mounted(8)) as (namespace, folder, ballast):
        namespace.do(on_a_full_disk, folder, ballast)


def on_a_full_disk(folder: Path, ballast: Ballast) -> None:
    with JobQueue(f"sqlite:///{folder / 'jobs.db'}", lease=60.0, deadline=5.0) as queue:
        ids = [queue.enqueue("t", n) for n in range(20)]
        held = queue.reserve_many(10, 0, queues=["t"])
        ballast.fill()
        assert ballast.blocks_free == 0
        acked, message, error = publish_until_refused(queue, 100)
        assert "full" in str(error)
        for reservation in held:
            with suppress(StorageError):
                reservation.ack()
        ballast.free()
        assert queue.ack_many(held) == []
        queue.enqueue(message)
        assert set(drain(queue, ["t"])) == {*ids[10:], *acked, message.job_id}
        assert {queue.status(i).state for i in ids} == {JobState.SUCCEEDED}
        with queue._database.dialect.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
