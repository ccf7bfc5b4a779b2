"""A second process that holds SQLite's write lock: others wait, at most until their deadline, and nothing is half done."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from faults import locks
from faults.locks import KINDS, Locker, locker
from sqlalchemy import make_url

from kombu_depqueue import JobMessage, JobState, StorageError
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain, in_threads

pytestmark = pytest.mark.only("sqlite")

SLACK = 3.0


@pytest.fixture
def path(database_url: str) -> Path:
    return Path(make_url(database_url).database or "")


@pytest.fixture
def other(path: Path, make_queue: MakeQueue) -> Iterator[Locker]:
    make_queue().enqueue("first")
    with locker(path) as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_who_writes_waits_for_the_lock_and_who_reads_does_not(kind: str, other: Locker, make_queue: MakeQueue) -> None:
    queue = make_queue(deadline=20.0)
    job_id = queue.enqueue("t", 1)
    reservation = queue.reserve(0, queues=["t"])
    with other.locked(kind, 0.6):
        begin = time.monotonic()
        assert queue.status(job_id).state is JobState.LEASED
        assert time.monotonic() - begin < 0.5
        then = queue.enqueue("t", 2)
        assert time.monotonic() - begin > 0.5
        reservation.ack()
    assert drain(queue, ["t"]) == [then]
    assert queue.status(job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_beyond_the_deadline_is_a_clear_error_and_nothing_is_half_done(
    kind: str, other: Locker, path: Path, make_queue: MakeQueue
) -> None:
    queue = make_queue(deadline=0.8, lease=60.0)
    held = queue.dequeue_by_id(queue.enqueue("t", 1))
    messages = [JobMessage.new("t", n) for n in range(3)]
    calls = [lambda: queue.enqueue_many(messages), lambda: held.ack({"x": 1}), lambda: queue.purge("first")]
    with other.locked(kind, 1.8):
        begin = time.monotonic()
        errors = in_threads(calls, timeout=20)
        assert time.monotonic() - begin < 0.8 + SLACK
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM depqueue_job").fetchone() == (2,)
    for error in errors:
        assert isinstance(error, StorageError), repr(error)
        assert "locked" in str(error) or "deadline" in str(error)
    held.ack({"x": 1})
    assert queue.status(held.job_id).result == {"x": 1}
    assert queue.enqueue_many(messages) == 3
    assert drain(queue, ["first", "t"])[1:] == [m.job_id for m in messages]


def test_the_lock_of_a_process_that_is_killed_is_nobodys(other: Locker, make_queue: MakeQueue) -> None:
    queue = make_queue(deadline=5.0)
    other.lock_for_ever("EXCLUSIVE")
    other.kill()
    job_id = queue.enqueue("t")
    assert drain(queue, ["t"]) == [job_id]


def test_the_scene_of_a_locked_file(make_queue: MakeQueue) -> None:
    with locks.sqlite() as scene:
        queue = make_queue(url=scene.url, deadline=20.0)
        for fault in scene.faults:
            fault.inject(random.Random(1))
            job_id = queue.enqueue("t")
            assert drain(queue, ["t"]) == [job_id]
        queue.close()
