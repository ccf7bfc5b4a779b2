"""Threads, forks and several JobQueues: each job to one of them, exactly once."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Duplicate, Empty, LeaseLost, QueueClosed
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import assert_nothing_ready, in_threads, wait_until


def _work_off(queue: JobQueue, batch: int = 1) -> list[UUID]:
    done: list[UUID] = []
    while True:
        try:
            reservations = queue.reserve_many(batch, 0.5)
        except Empty:
            return done
        for reservation in reservations:
            reservation.ack()
            done.append(reservation.job_id)


@pytest.mark.parametrize("job_queues", [1, 2])
def test_sixteen_threads_get_each_job_exactly_once(make_queue: MakeQueue, job_queues: int) -> None:
    queues = [make_queue() for _ in range(job_queues)]
    jobs = [JobMessage.new("default", n) for n in range(320)]
    queues[0].enqueue_many(jobs)
    results = in_threads([partial(_work_off, queues[n % job_queues], 1 + n % 3) for n in range(16)])
    assert not [r for r in results if isinstance(r, Exception)], results
    counted = Counter(i for ids in results for i in ids)  # type: ignore[union-attr]
    assert counted == Counter(job.job_id for job in jobs)
    assert {queues[0].status(job.job_id).attempt for job in jobs[::40]} == {1}


def test_eight_threads_enqueue_through_one_job_queue(queue: JobQueue) -> None:
    def produce(n: int) -> list[UUID]:
        return [queue.enqueue(f"q{n % 3}", k) for k in range(15)]

    results = in_threads([partial(produce, n) for n in range(8)])
    made = [i for ids in results for i in ids]  # type: ignore[union-attr]
    assert len(set(made)) == 120
    got = {r.job_id for r in queue.reserve_many(200, 0, queues=["q0", "q1", "q2"])}
    assert got == set(made)


def test_many_threads_make_the_same_new_queue_at_once(make_queue: MakeQueue) -> None:
    queues = [make_queue() for _ in range(4)]
    results = in_threads([partial(q.enqueue, "brand new") for q in queues * 2])
    assert {r.job_id for r in queues[0].reserve_many(9, 0, queues=["brand new"])} == set(results)
    assert [q.name for q in queues[0].queues()].count("brand new") == 1


def test_many_job_queues_make_the_tables_at_once(make_queue: MakeQueue) -> None:
    results = in_threads([lambda: make_queue().enqueue("default") for _ in range(6)])
    assert not [r for r in results if isinstance(r, Exception)], results
    assert {r.job_id for r in make_queue().reserve_many(9, 0)} == set(results)


def test_threads_that_enqueue_one_id_make_one_job(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    for n in range(5):
        job_id = JobMessage.new().job_id
        work: list[Callable[[], UUID]] = [
            # Some ready, some delayed: they lie in different tables.
            partial(q.enqueue, "default", job_id=job_id, delay=(n + k) % 2 * 0.01)
            for k, q in enumerate(queues * 3)
        ]
        results = in_threads(work)
        assert results.count(job_id) == 1
        assert sum(isinstance(r, Duplicate) for r in results) == 5
        queues[0].reserve(10).ack()
        assert_nothing_ready(queues[0])


def test_one_thread_may_settle_what_another_reserved(queue: JobQueue) -> None:
    for n in range(10):
        queue.enqueue("default", n)
    held = queue.reserve_many(10, 0)
    assert in_threads([r.ack for r in held]) == [None] * 10
    assert {queue.status(r.job_id).state for r in held} == {JobState.SUCCEEDED}


def test_threads_settling_one_reservation_settle_it_once(queue: JobQueue) -> None:
    for _ in range(5):
        queue.enqueue("default")
        reservation = queue.reserve(0)
        results = in_threads([partial(reservation.ack, n) for n in range(6)])
        assert None in results
        assert all(r is None or isinstance(r, LeaseLost) for r in results), results
        assert queue.status(reservation.job_id).result in range(6)


@pytest.mark.parametrize("waiting", [1, 5])
def test_closing_wakes_all_who_wait(make_queue: MakeQueue, waiting: int) -> None:
    queue = make_queue(poll_interval=20)
    ended: list[tuple[type[Exception], float]] = []

    def wait() -> None:
        try:
            queue.reserve(60)
        except Exception as error:
            if not isinstance(error, QueueClosed):
                traceback.print_exc()
            ended.append((type(error), time.monotonic()))

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(waiting)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    begin = time.monotonic()
    queue.close()
    for thread in threads:
        thread.join(10)
    assert [kind for kind, _ in ended] == [QueueClosed] * waiting
    assert max(at for _, at in ended) - begin < 5


def test_closing_twice_and_using_afterwards(make_queue: MakeQueue) -> None:
    queue = make_queue()
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    queue.close()
    queue.close()
    calls: list[Callable[[], object]] = [
        lambda: queue.enqueue("default"),
        lambda: queue.reserve(0),
        lambda: queue.status(job_id),
        lambda: queue.cancel(job_id),
        queue.queues,
        queue.maintain,
    ]
    for call in calls:
        with pytest.raises(QueueClosed):
            call()
    del reservation


def test_closing_one_job_queue_leaves_the_other_alone(make_queue: MakeQueue) -> None:
    first, second = make_queue(), make_queue()
    ids = [first.enqueue("default", n) for n in range(2)]
    first.reserve(0)
    held = second.reserve(0)
    first.close()
    assert second.status(ids[1]).state is JobState.LEASED
    held.ack()
    assert second.reserve(0).job_id == ids[0]


def test_the_context_manager_closes_also_after_an_error(make_queue: MakeQueue) -> None:
    other = make_queue()
    job_id = other.enqueue("default")
    queue = make_queue()
    with suppress(KeyError), queue:
        queue.reserve(0)
        raise KeyError
    with pytest.raises(QueueClosed):
        queue.reserve(0)
    assert other.reserve(0).job_id == job_id


def test_a_fork_starts_afresh_without_the_parents_reservations(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str
) -> None:
    queue = make_queue()
    queue.enqueue("default", "for the parent")
    queue.enqueue("default", "for the child")
    child = run_process(programs.fork_while_holding, database_url)
    assert child.heard() == "for the child"
    assert child.heard() is True, "held by the child itself: else its death would give nothing back"
    assert child.heard() == 0  # the forked process ended well
    assert child.heard() == "leased"  # and left the parent's job alone
    assert child.heard() == "parent"
    child.wait()
    reservation = queue.reserve(0)
    assert reservation.args == "from the child"


def test_processes_get_each_job_exactly_once(queue: JobQueue, run_process: RunProcess, database_url: str) -> None:
    jobs = [JobMessage.new("default", n) for n in range(150)]
    workers = [run_process(programs.work, database_url, {}, ["default"], 2.0) for _ in range(2)]
    wait_until(lambda: len(queue.workers()) >= 2)
    queue.enqueue_many(jobs)
    taken = [i for worker in workers for i in worker.heard_until_end(60)]
    assert Counter(taken) == Counter(str(job.job_id) for job in jobs)
