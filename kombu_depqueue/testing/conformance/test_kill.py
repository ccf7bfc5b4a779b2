"""Processes killed with kill -9: what they held comes back, what they had enqueued is there."""

from __future__ import annotations

import os
import signal
import time
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import LeaseLost, StorageError
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, wait_for_state

LEASE = 0.9
SLACK = 4.0  # for a busy machine; the contract says one second


def test_a_killed_workers_jobs_are_redelivered_within_the_lease(
    queue: JobQueue, run_process: RunProcess, database_url: str
) -> None:
    jobs = [JobMessage.new("default", n) for n in range(5)]
    queue.enqueue_many(jobs)
    worker = run_process(programs.hold, database_url, {"lease": LEASE}, 5)
    tokens = worker.heard()
    assert len(tokens) == 5
    assert_nothing_ready(queue, LEASE * 1.5)  # it lives: renewed
    worker.kill()
    begin = time.monotonic()
    got = queue.reserve_many(5, 20)
    assert time.monotonic() - begin < LEASE + 1 + SLACK
    while len(got) < 5:
        got += queue.reserve_many(5, 5)
    assert [r.job_id for r in got] == [job.job_id for job in jobs]
    assert {(r.attempt, r.redelivered) for r in got} == {(2, True)}
    assert not {r.token for r in got} & set(tokens)
    assert queue.ack_many(got) == []


def test_a_killed_workers_job_is_redelivered_once_and_its_other_traces_vanish(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str
) -> None:
    queue, other = make_queue(), make_queue()
    first = queue.enqueue("default")
    second = queue.enqueue("second", depends_on=[first])
    worker = run_process(programs.hold, database_url, {"lease": LEASE, "name": "the victim"}, 1)
    worker.heard()
    assert "the victim" in [w.name for w in queue.workers()]
    worker.kill()
    reservation = queue.reserve(20)
    assert reservation.job_id == first
    assert_nothing_ready(other, LEASE * 1.3)
    assert_nothing_ready(other, queues=["second"])
    reservation.ack()
    assert queue.status(first).attempt == 2
    assert drain(queue, ["second"]) == [second]
    assert "the victim" not in [w.name for w in queue.workers()]


@pytest.mark.parametrize("batch", [1, 20])
def test_all_that_a_killed_producer_had_enqueued_is_there(
    queue: JobQueue, run_process: RunProcess, database_url: str, batch: int
) -> None:
    queue.queues()
    producer = run_process(programs.enqueue_for_ever, database_url, batch)
    returned = [producer.heard() for _ in range(15)]
    producer.kill()
    returned += producer.heard_until_end()
    ids = [UUID(i) for call in returned for i in call]
    assert {queue.status(i).state for i in ids} == {JobState.READY}
    got = []
    while sum(q.ready for q in queue.queues()):
        reservations = queue.reserve_many(500, 0, queues=["t"])
        got += [r.job_id for r in reservations]
        queue.ack_many(reservations)
    assert got[: len(ids)] == ids
    assert len(got) - len(ids) in range(0, 5 * batch, batch)  # calls whose word was cut off: whole ones


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ack", "cancel"])
def test_what_a_killed_worker_had_to_tell_its_dependents_is_told_by_others(
    queue: JobQueue, run_process: RunProcess, database_url: str, how: str
) -> None:
    first = queue.enqueue("default")
    jobs = [JobMessage.new("second", n, depends_on=[first]) for n in range(4000)]
    queue.enqueue_many(jobs)
    last = queue.enqueue("third", depends_on=[jobs[-1].job_id])
    run_process(programs.end_and_die, database_url, how).heard_until_end()
    if how == "cancel":
        wait_for_state(queue, last, JobState.CANCELED)
        assert {queue.status(job.job_id).state for job in jobs[::97]} == {JobState.CANCELED}
        assert_nothing_ready(queue, queues=["second", "third"])
        return
    got: set[UUID] = set()
    while len(got) < 4000:
        reservations = queue.reserve_many(1000, 15, queues=["second"])
        assert queue.ack_many(reservations) == []
        got |= {r.job_id for r in reservations}
    assert queue.reserve(15, queues=["third"]).job_id == last


def _stop(pid: int, impatient: JobQueue) -> None:
    """Stop a process, but not in the middle of a transaction that all would wait for."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            impatient.resume("default")
        except StorageError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)
        else:
            return


def test_a_worker_stopped_past_its_lease_cannot_settle_when_it_goes_on(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str
) -> None:
    queue, impatient = make_queue(), make_queue(deadline=1)
    job_id = queue.enqueue("default")
    worker = run_process(programs.hold, database_url, {"lease": LEASE}, 1)
    (token,) = worker.heard()
    _stop(worker.pid, impatient)
    try:
        reservation = queue.reserve(20)
    finally:
        os.kill(worker.pid, signal.SIGCONT)
    time.sleep(LEASE)  # its renewals go on, and must not take the job back
    with pytest.raises(LeaseLost):
        queue.finish(job_id, "stale", token=token)
    reservation.ack("mine")
    assert queue.status(job_id).result == "mine"
