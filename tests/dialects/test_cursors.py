"""Claims that start behind a cursor: what they find at once, and how often they look from the head."""

from __future__ import annotations

import math
import time
from uuid import UUID

import pytest

from kombu_depqueue import Empty, JobQueue, cursor
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import drain

QUEUES = ("t", "u")


@pytest.fixture
def behind(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> JobQueue:
    """A JobQueue that looks behind cursors from its second claim on, and never by itself from the head."""
    monkeypatch.setattr(cursor, "SLOW", 0.0)
    monkeypatch.setattr(cursor, "ROW", 1)
    monkeypatch.setattr(cursor, "SOONEST", math.inf)
    monkeypatch.setattr(cursor, "LATEST", math.inf)
    queue = make_queue()
    for name in QUEUES:
        queue.enqueue(name)
    queue.reserve(0, queues=QUEUES).ack()
    monkeypatch.setattr(cursor, "ROW", math.inf)
    drain(queue, QUEUES)
    return queue


def taken(queue: JobQueue, count: int) -> list[UUID]:
    return [queue.reserve(0, queues=QUEUES).job_id for _ in range(count)]


def test_priorities_and_queues_keep_their_order_behind_cursors(behind: JobQueue) -> None:
    wanted: dict[int, list[UUID]] = {}
    for priority in (0, 1, 7, 100, 128, 200, 255, 100, 0, 255):  # 100, say, has not been there before
        wanted.setdefault(priority, []).extend(behind.enqueue(name, priority=priority) for name in QUEUES)
    order = [job_id for priority in sorted(wanted, reverse=True) for job_id in wanted[priority]]
    assert taken(behind, 5) == order[:5]
    late = behind.enqueue("u", priority=129)
    place = sum(len(wanted[p]) for p in wanted if p > 129)
    order.insert(place, late)
    assert taken(behind, len(order) - 5) == order[5:]
    with pytest.raises(Empty):
        behind.reserve(0, queues=QUEUES)


def test_what_was_given_back_is_found_though_the_cursors_are_beyond(behind: JobQueue) -> None:
    first = behind.enqueue("t")
    held = behind.reserve(0, queues=QUEUES)
    for _ in range(cursor.LAG + 50):
        behind.enqueue("t")
    assert len(drain(behind, QUEUES)) == cursor.LAG + 50
    held.requeue()
    assert taken(behind, 1) == [first]


def test_all_that_lies_in_front_of_a_cursor_is_found_by_one_look(
    behind: JobQueue, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_queue()
    jobs = [behind.enqueue("t") for _ in range(6)]
    held = other.reserve_many(6, 0, queues=QUEUES)
    for _ in range(cursor.LAG + 50):
        behind.enqueue("t")
    drain(behind, QUEUES)
    later = [behind.enqueue("t") for _ in range(2)]
    for one in held:
        one.requeue()
    monkeypatch.setattr(cursor, "LATEST", 0.0)
    first = taken(behind, 1)
    monkeypatch.setattr(cursor, "LATEST", math.inf)
    assert first + taken(behind, 7) == [*jobs, *later]


def test_who_polls_an_empty_queue_looks_from_the_head_for_its_share_only(
    behind: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []
    claim = Keeper.claim

    def watched(keeper: Keeper, limit: int, queues: object = (), **rest: object) -> object:
        if queues:
            looks.append(time.monotonic())
        return claim(keeper, limit, queues, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Keeper, "claim", watched)
    monkeypatch.setattr(cursor, "SOONEST", 0.2)
    monkeypatch.setattr(cursor, "LATEST", 0.2)
    begin = time.monotonic()
    polls = 0
    while time.monotonic() < begin + 0.7:
        polls += 1
        with pytest.raises(Empty):
            behind.reserve(0, queues=QUEUES)
    passed = time.monotonic() - begin
    assert polls > len(looks)
    assert 1 <= len(looks) <= 1 + passed / 0.2
