"""Old transactions: those that look hold up nobody, those that write hide nothing and are overtaken by all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from faults.snapshots import old_snapshot
from sqlalchemy import Connection, Engine, text

from kombu_depqueue import JobMessage, JobQueue, cursor
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import drain

BATCH = 500


def seen(connection: Connection, queue: JobQueue) -> int:
    job = queue._database.dialect.tables.job.fullname
    return int(connection.execute(text(f"SELECT count(*) FROM {job}")).scalar_one())


def flow(queue: JobQueue, count: int) -> Iterator[float]:
    """So many jobs in and out; how long each of some single reservations took (seconds)."""
    for _ in range(count // BATCH):
        queue.enqueue_many([JobMessage.new("t", n) for n in range(BATCH)])
        for _ in range(5):
            begin = time.perf_counter()
            reservation = queue.reserve(0, queues=["t"])
            yield time.perf_counter() - begin
            reservation.ack()
        assert len(ended(queue, BATCH - 5)) == BATCH - 5


def ended(queue: JobQueue, count: int) -> list[UUID]:
    """So many jobs, at once."""
    some = queue.reserve_many(count, 0, queues=["t"])
    assert queue.ack_many(some) == []
    return [r.job_id for r in some]


@pytest.mark.timeout(600)
def test_an_old_snapshot_makes_claims_not_much_slower(make_queue: MakeQueue, place: Place, full: bool) -> None:
    """100,000 jobs flow by in a full run: then 19 of 20 may take three times as long.

    A hundredth of the time is for looks from the head, past all that is gone: the claims that make them take longer.
    """
    queue = make_queue(retention=0.1, lease=600.0)
    count = 100_000 if full else 1_000
    before = sorted(flow(queue, count))
    for _ in range(2):
        queue.enqueue("old")
    with old_snapshot(place.url) as connection:
        assert seen(connection, queue) == 2
        after = sorted(flow(queue, count))
        drain(queue, ["old"])
        assert seen(connection, queue) == 2  # it has what is gone
    for share in (0.5, 0.95) if full else (0.25,):
        was, became = (some[int(len(some) * share)] for some in (before, after))
        print(f"reserve, p{share * 100:.0f}: {was * 1000:.2f} ms, with an old snapshot {became * 1000:.2f} ms")
        assert became <= 3 * was + 0.002


@pytest.mark.only("postgresql", "mysql")
@pytest.mark.parametrize("behind", [False, True], ids=["from the head", "behind a cursor"])
def test_a_job_of_a_transaction_that_was_open_for_long_is_delivered_at_its_commit(
    behind: bool, make_queue: MakeQueue, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though jobs with later numbers have been delivered meanwhile, and claims go on behind those."""
    if behind:
        monkeypatch.setattr(cursor, "SLOW", 0.0)
        monkeypatch.setattr(cursor, "ROW", 1)
    queue, other = make_queue(), make_queue()
    queue.enqueue("t")
    drain(other, ["t"])
    with engine.connect() as connection:
        job_id: UUID = queue.enqueue(JobMessage(uuid4(), job_type="t"), connection=connection)
        for _ in range(3):
            queue.enqueue_many([JobMessage.new("t", n) for n in range(300)])
            assert len(meanwhile := ended(other, 400)) == 300
            assert job_id not in meanwhile
        connection.commit()
    begin = time.monotonic()
    reservation = other.reserve(10, queues=["t"])
    assert reservation.job_id == job_id
    assert time.monotonic() - begin < 5.0
    reservation.ack()
