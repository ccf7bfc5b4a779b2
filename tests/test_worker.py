"""`Worker`: what comes of a job is told, however often the database fails meanwhile."""

from __future__ import annotations

import threading

import pytest

from kombu_depqueue import JobQueue, JobState, StorageError, Worker, worker
from kombu_depqueue.reservation import Reservation
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import failing_once, wait_for_state, wait_until


def ran(job: Reservation) -> str:
    return "done"


def raised(job: Reservation) -> None:
    raise ValueError("so")


@pytest.mark.parametrize(
    ("settle", "most", "states"),
    [
        ("ack", 0, [JobState.SUCCEEDED]),
        ("end", 0, [JobState.FAILED]),
        ("give_back", 2, [JobState.SCHEDULED, JobState.SUCCEEDED]),
    ],
)
def test_a_job_that_ends_while_the_database_is_away_is_settled_when_it_is_back(
    settle: str, most: int, states: list[JobState], queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for failed, it is not run again, and its lease is not renewed for ever."""
    monkeypatch.setattr(worker, "PAUSE", 0.01)
    job_id = queue.enqueue("t", max_attempts=most)
    runs: list[int] = []

    def handle(job: Reservation) -> str | None:
        runs.append(job.attempt)
        if job.attempt == 1:
            monkeypatch.setattr(queue._store, settle, failing_once(getattr(queue._store, settle)))
        return ran(job) if settle == "ack" or job.attempt == 2 else raised(job)

    mine = Worker(queue, {"t": handle}, retry_delay=lambda attempt: 0.5)
    for run, state in enumerate(states, 1):
        if run == 2:
            wait_for_state(queue, job_id, JobState.READY)
        mine.run(until_idle=True)
        status = queue.status(job_id)
        assert (status.state, runs) == (state, list(range(1, run + 1)))
        assert "StorageError" not in (status.reason or "")
    assert status.result == (None if states == [JobState.FAILED] else "done")


def test_a_worker_that_is_stopped_while_the_database_is_away_ends_and_its_job_runs_again(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = make_queue()
    job_id = queue.enqueue("t")
    tries: list[int] = []

    def away(*args: object, **options: object) -> None:
        tries.append(1)
        raise StorageError("wanted")

    monkeypatch.setattr(queue._store, "ack", away)
    mine = Worker(queue, {"t": ran})
    thread = threading.Thread(target=mine.run)
    thread.start()
    wait_until(lambda: tries)
    mine.stop()
    thread.join(10)
    assert not thread.is_alive()
    queue.close()
    again = make_queue().reserve(10, queues=["t"])
    assert (again.job_id, again.attempt) == (job_id, 2)
