"""Dependencies under concurrency: never forgotten, never released twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, DepQueueError, Empty
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, in_threads


def _no_errors(results: list[object]) -> None:
    errors = [r for r in results if isinstance(r, Exception)]
    assert not errors, errors[:3]


@pytest.mark.parametrize("end", ["ack", "fail", "cancel"])
def test_enqueue_racing_with_the_end_of_a_dependency_forgets_nobody(make_queue: MakeQueue, end: str) -> None:
    worker, producers = make_queue(), [make_queue(), make_queue()]
    for _ in range(12):
        first = worker.enqueue("first")
        reservation = worker.reserve(0, queues=["first"])
        cancel = partial(worker.cancel, first)
        finish = {"ack": reservation.ack, "fail": reservation.fail, "cancel": cancel}[end]
        enqueue: list[Callable[[], object]] = [partial(p.enqueue, "second", depends_on=[first]) for p in producers * 2]
        ended, *ids = in_threads([finish, *enqueue])
        _no_errors([ended, *ids])
        if end == "cancel":
            assert {worker.status(i).state for i in ids} == {JobState.CANCELED}  # type: ignore[arg-type]
        else:
            assert sorted(drain(worker, ["second"])) == sorted(ids)  # type: ignore[type-var]


def test_many_enqueue_on_one_ended_dependency_at_once(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    queues[0].enqueue("second")
    drain(queues[0], ["second"])
    begin = time.monotonic()
    for _ in range(10):
        ended = [queues[0].enqueue("first", n) for n in range(2)]
        drain(queues[0], ["first"])
        ids = in_threads([partial(q.enqueue, "second", depends_on=ended[::step]) for q in queues for step in (1, -1)])
        _no_errors(ids)
        assert sorted(drain(queues[1], ["second"])) == sorted(ids)
    assert time.monotonic() - begin < 8  # a deadlock that is found and tried again costs a second each


def test_a_fan_in_finished_by_many_threads_at_once_runs_once(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    for _ in range(8):
        ids = [queues[0].enqueue("default", n) for n in range(12)]
        last = queues[1].enqueue("last", depends_on=ids)
        held = queues[0].reserve_many(6, 0) + queues[1].reserve_many(6, 0)
        _no_errors(in_threads([r.ack for r in held]))  # type: ignore[arg-type]
        assert drain(queues[0], ["last"]) == [last]


def test_shared_dependents_finished_in_opposite_orders_do_not_deadlock(make_queue: MakeQueue) -> None:
    queues = [make_queue() for _ in range(4)]
    ids = [queues[0].enqueue("default", n) for n in range(8)]
    last = [queues[0].enqueue("last", n, depends_on=ids[:: 1 if n % 2 else -1]) for n in range(20)]
    held = queues[0].reserve_many(8, 0)
    batches = [held[n::4][:: 1 if n % 2 else -1] for n in range(4)]
    work = [partial(q.ack_many, b) for q, b in zip(queues, batches, strict=True)]
    results = in_threads(work)
    assert results == [[]] * 4
    assert drain(queues[0], ["last"]) == last


@pytest.mark.native
def test_finish_racing_with_cancel_has_one_winner(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    for _ in range(15):
        first = queue.enqueue("first")
        second = queue.enqueue("second", depends_on=[first])
        reservation = queue.reserve(0, queues=["first"])
        acked, canceled = in_threads([reservation.ack, partial(other.cancel, first)])
        if canceled is True:
            assert isinstance(acked, Canceled)
            assert queue.status(first).state is JobState.CANCELED
            assert queue.status(second).state is JobState.CANCELED
        else:
            assert (acked, canceled) == (None, False)
            assert queue.status(first).state is JobState.SUCCEEDED
            assert drain(queue, ["second"]) == [second]


def test_enqueue_racing_with_delete_keeps_all_or_refuses(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    for _ in range(12):
        first = queue.enqueue("first")
        drain(queue, ["first"])
        second, deleted = in_threads(
            [partial(queue.enqueue, "second", depends_on=[first]), partial(other.delete_job, first)]
        )
        if isinstance(second, UUID):
            assert isinstance(deleted, DepQueueError) or deleted == 1
            assert drain(queue, ["second"]) == [second]
        else:
            assert deleted == 1
            assert_nothing_ready(queue, queues=["second"])


def test_producers_and_workers_at_once_leave_nobody_blocked(make_queue: MakeQueue) -> None:
    queues = [make_queue() for _ in range(2)]
    total = 4 * 40

    def produce(queue: JobQueue) -> list[UUID]:
        ids: list[UUID] = []
        for n in range(40):
            ids.append(queue.enqueue("default", n, depends_on=ids[-3:]))
        return ids

    done: list[UUID] = []
    deadline = time.monotonic() + 30

    def work(queue: JobQueue) -> None:
        while len(done) < total and time.monotonic() < deadline:
            with suppress(Empty):
                for reservation in queue.reserve_many(3, 0.5):
                    reservation.ack()
                    done.append(reservation.job_id)

    producing: list[Callable[[], object]] = [partial(produce, q) for q in queues * 2]
    working: list[Callable[[], object]] = [partial(work, q) for q in queues]
    results = in_threads([*producing, *working])
    _no_errors(results)
    made = [i for ids in results[:4] for i in ids]  # type: ignore[attr-defined,union-attr]
    assert sorted(done) == sorted(made)


def test_worker_processes_take_each_job_of_a_graph_once_and_in_order(
    queue: JobQueue, run_process: RunProcess, database_url: str
) -> None:
    jobs = [JobMessage.new("default", n) for n in range(20)]
    for n in range(20, 100):
        jobs.append(JobMessage.new("default", n, depends_on=[jobs[n - 20].job_id, jobs[n - 7].job_id]))
    queue.enqueue_many(jobs)
    workers = [run_process(programs.work, database_url, {}, ["default"], 1.5) for _ in range(2)]
    taken = [job_id for worker in workers for job_id in worker.heard_until_end(60)]
    assert sorted(taken) == sorted(str(job.job_id) for job in jobs)
    statuses = {job.job_id: queue.status(job.job_id) for job in jobs}
    for job in jobs:
        for dependency in job.depends_on:
            started, ended = statuses[job.job_id].started, statuses[dependency].finished  # type: ignore[index]
            assert started is not None
            assert ended is not None
            assert ended <= started


@pytest.mark.native
def test_processes_that_do_everything_at_once_meet_no_error(
    make_queue: MakeQueue, database_url: str, run_process: RunProcess
) -> None:
    """Deadlocks and lock timeouts are the database's business and ours; no caller hears of them."""
    queue = make_queue()
    queue.queues()  # the tables are there
    processes = [run_process(programs.churn, database_url, 150) for _ in range(4)]
    for process in processes:
        assert process.heard() == "ready"
    for process in processes:
        process.tell()
    for process in processes:
        assert process.heard(60) == 150
    counts = {q.name: q for q in queue.queues()}["churn"]
    assert (counts.ready, counts.leased, counts.blocked) == (0, 0, 0)
