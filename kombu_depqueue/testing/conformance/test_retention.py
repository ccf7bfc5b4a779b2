"""Retention: the records of ended jobs are kept for a time, and as long as they are needed."""

from __future__ import annotations

import time
from functools import partial
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Duplicate, Empty, NotExist
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.maintenance import Upkeep
from kombu_depqueue.reservation import Reservation
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, in_threads, wait_until

SHORT = 0.4


def _known(queue: JobQueue, job_id: UUID) -> bool:
    queue.maintain()
    try:
        return bool(queue.status(job_id))
    except NotExist:
        return False


def _some(queue: JobQueue) -> list[Reservation]:
    try:
        return list(queue.reserve_many(1000, 0))
    except Empty:
        return []


def _wait_until_pruned(queue: JobQueue, *ids: UUID) -> None:
    wait_until(lambda: not any(_known(queue, i) for i in ids))


def test_the_record_of_an_ended_job_goes_after_its_retention(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT)
    job_id = queue.enqueue("default")
    begin = time.monotonic()
    drain(queue)
    while _known(queue, job_id):
        assert time.monotonic() - begin < 15
        time.sleep(0.02)
    assert time.monotonic() - begin >= SHORT
    assert queue.all_root_jobs() == []


@pytest.mark.parametrize("end", ["failed", "dead", "canceled", "expired"])
def test_what_did_not_succeed_has_a_retention_of_its_own(make_queue: MakeQueue, end: str) -> None:
    queue = make_queue(retention=SHORT, result_retention=60)
    kept = queue.enqueue("default", expires_in=0.2 if end == "expired" else None)
    end_job(queue, kept, end)
    gone = queue.enqueue("default")
    drain(queue)
    _wait_until_pruned(queue, gone)
    assert _known(queue, kept)
    assert queue.retry(kept) == 1


def test_a_result_is_kept_for_its_own_retention(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT, result_retention=60)
    kept, gone = queue.enqueue("default"), queue.enqueue("default")
    queue.reserve(0).ack({"kept": 1})
    queue.reserve(0).ack()
    _wait_until_pruned(queue, gone)
    assert queue.status(kept).result == {"kept": 1}


def test_results_go_too_in_time(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT, result_retention=SHORT)
    ids = [queue.enqueue("default", n) for n in range(3)]
    queue.reserve(0).ack("result")
    queue.reserve(0).fail("error")
    queue.cancel(ids[2])
    _wait_until_pruned(queue, *ids)


@pytest.mark.parametrize("stage", ["blocked", "ready", "leased", "scheduled"])
def test_nothing_is_pruned_while_an_unfinished_job_depends_on_it(make_queue: MakeQueue, stage: str) -> None:
    queue = make_queue(retention=SHORT, result_retention=SHORT)
    needed, other = queue.enqueue("needed"), queue.enqueue("other")
    depends_on = [needed, other] if stage == "blocked" else [needed]
    job_id = queue.enqueue("default", depends_on=depends_on, delay=60 if stage == "scheduled" else None)
    queue.reserve(0, queues=["needed"]).ack("needed")
    reservation = queue.reserve(0) if stage == "leased" else None
    gone = queue.enqueue("gone")
    drain(queue, ["gone"])
    _wait_until_pruned(queue, gone)
    queue.maintain()
    assert queue.results_of_dependencies(job_id)[0].result == "needed"
    if reservation is not None:
        reservation.ack()
    else:
        queue.cancel(job_id)
    _wait_until_pruned(queue, needed, job_id)


def test_a_pruned_job_cannot_be_depended_on_and_its_id_is_free(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=0.8)
    job_id = queue.enqueue("default", "old")
    drain(queue)
    with pytest.raises(Duplicate):
        queue.enqueue("default", job_id=job_id)
    _wait_until_pruned(queue, job_id)
    with pytest.raises(NotExist):
        queue.enqueue("default", depends_on=[job_id])
    queue.enqueue("default", "new", job_id=job_id)
    assert queue.reserve(0).args == "new"


def test_a_retry_runs_although_the_dependency_was_pruned(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT, result_retention=60)
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    drain(queue, ["first"])
    end_job(queue, second, "failed")
    _wait_until_pruned(queue, first)
    assert queue.retry(second) == 1
    assert drain(queue, ["second"]) == [second]


def test_live_jobs_are_never_pruned(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=0.1, result_retention=0.1)
    ready = queue.enqueue("ready")
    scheduled = queue.enqueue("default", delay=60)
    blocked = queue.enqueue("default", depends_on=[ready])
    queue.enqueue("leased")
    held = queue.reserve(0, queues=["leased"])
    gone = queue.enqueue("gone")
    drain(queue, ["gone"])
    _wait_until_pruned(queue, gone)
    states = [queue.status(i).state for i in (ready, scheduled, blocked, held.job_id)]
    assert states == ["ready", "scheduled", "blocked", "leased"]


def test_pruning_leaves_no_dangling_dependents(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT)
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    kept = queue.enqueue("kept", depends_on=[first])
    drain(queue, ["first", "second"])
    _wait_until_pruned(queue, second)
    assert queue.status(first).dependents == (kept,)
    assert queue.status(kept).depends_on == (first,)
    drain(queue, ["kept"])
    _wait_until_pruned(queue, first, kept)


@pytest.mark.native
def test_many_records_are_pruned_in_bounded_rounds(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT)
    queue.enqueue_many([JobMessage.new("default", n) for n in range(2500)])
    for _ in range(3):
        queue.ack_many(queue.reserve_many(1000, 5))
    assert_nothing_ready(queue)
    wait_until(lambda: (queue.maintain(), not queue.all_root_jobs())[1])


def test_a_retried_job_is_not_pruned_as_the_ended_one_it_was(make_queue: MakeQueue) -> None:
    queue = make_queue(retention=SHORT, result_retention=SHORT)
    job_id = queue.enqueue("default")
    end_job(queue, job_id, "failed")
    queue.retry(job_id)
    gone = queue.enqueue("gone")
    drain(queue, ["gone"])
    _wait_until_pruned(queue, gone)
    assert queue.status(job_id).state is JobState.READY


@pytest.mark.native  # it ends before anybody's upkeep looks for records by itself
def test_no_two_prune_at_the_same_time(make_queue: MakeQueue) -> None:
    """However many try: each record goes once, and who finds another at work leaves it to that one."""
    queues = [make_queue(retention=0.01) for _ in range(3)]
    queues[0].enqueue_many([JobMessage.new("default", n) for n in range(1200)])
    while held := _some(queues[0]):
        queues[0].ack_many(held)
    wait_until(lambda: queues[0].prunable() == 1200)
    pruned = []
    while (left := queues[0].prunable()) > 0:
        counts = in_threads([partial(q._store.prune, 200) for q in queues])
        assert all(isinstance(c, int) for c in counts), counts
        pruned += [c for c in counts if c]
        assert left - queues[0].prunable() == sum(counts)
    assert sum(pruned) == 1200


@pytest.mark.native
def test_pruning_goes_on_at_once_while_there_are_more(make_queue: MakeQueue) -> None:
    """Else a consumer that takes a second for each thousand falls behind one that ends more of them."""
    queue = make_queue(retention=0.01)
    queue.enqueue_many([JobMessage.new("default", n) for n in range(2100)])
    while held := _some(queue):
        queue.ack_many(held)
    wait_until(lambda: queue.prunable() == 2100)
    upkeep = Upkeep(queue._store)
    for left in (1100, 100, 0):
        upkeep.round(everything=left == 1100)
        assert queue.prunable() == left
        if left:
            assert upkeep.next_event() <= 0.1
            wait_until(lambda: upkeep.next_event() == 0.0)
    assert upkeep.next_event() > 0.1
