"""Cancel: waiting or running; never delivered afterwards."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, LeaseLost, NotExist
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, in_threads, wait_for_state


@pytest.mark.parametrize("stage", ["ready", "scheduled", "blocked", "leased", "requeued", "requeued later"])
def test_a_job_is_canceled_at_any_stage_and_never_delivered(queue: JobQueue, stage: str) -> None:
    first = queue.enqueue("first")
    fields: dict[str, Any] = {"scheduled": {"delay": 0.2}, "blocked": {"depends_on": [first]}}
    job_id = queue.enqueue("default", **fields.get(stage, {}))
    if stage in ("leased", "requeued", "requeued later"):
        reservation = queue.reserve(0)
        if stage != "leased":
            reservation.requeue(0.2 if stage == "requeued later" else 0)
    assert queue.cancel(job_id) is True
    status = queue.status(job_id)
    assert (status.state, status.canceled, status.result) == (JobState.CANCELED, True, None)
    assert status.finished is not None
    assert status.reason
    drain(queue, ["first"])
    assert_nothing_ready(queue, 0.4 if stage in ("scheduled", "requeued later") else 0)


def test_canceling_an_unknown_job_raises_not_exist(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        queue.cancel(uuid4())


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead", "expired"])
def test_canceling_a_finished_job_does_nothing(queue: JobQueue, end: str) -> None:
    job_id = queue.enqueue("default", expires_in=0.2 if end == "expired" else None)
    end_job(queue, job_id, end)
    before = queue.status(job_id)
    assert queue.cancel(job_id) is False
    assert queue.status(job_id) == before


@pytest.mark.parametrize("stage", ["waiting", "running"])
def test_canceling_twice_does_it_once(queue: JobQueue, stage: str) -> None:
    job_id = queue.enqueue("default")
    if stage == "running":
        queue.reserve(0)
    assert queue.cancel(job_id) is True
    before = queue.status(job_id)
    assert queue.cancel(str(job_id)) is False
    assert queue.status(job_id) == before


def test_of_many_who_cancel_one_does(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    for stage in ("waiting", "running") * 3:
        job_id = queues[0].enqueue("default")
        if stage == "running":
            queues[0].reserve(0)
        results = in_threads([partial(q.cancel, job_id) for q in queues * 3])
        assert sorted(results) == [False] * 5 + [True]  # type: ignore[type-var]


def test_the_holder_of_a_canceled_job_can_neither_extend_nor_refresh(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    queue.cancel(job_id)
    with pytest.raises((LeaseLost, Canceled)):
        reservation.extend(60)
    with pytest.raises((LeaseLost, Canceled)):
        queue.refresh_heartbeat(reservation.token)
    assert reservation.token not in queue.heartbeats(0)


def test_a_canceled_running_job_stays_canceled_when_its_worker_goes(make_queue: MakeQueue) -> None:
    worker, other = make_queue(lease=0.4), make_queue()
    jobs = [worker.enqueue("default", n) for n in range(2)]
    worker.reserve(0, renew=False)
    worker.reserve(0)
    for job_id in jobs:
        other.cancel(job_id)
    worker.close()
    assert_nothing_ready(other, 0.8)
    assert {other.status(i).state for i in jobs} == {JobState.CANCELED}


def test_cancel_leaves_other_jobs_alone(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(3)]
    queue.cancel(ids[1])
    assert drain(queue) == [ids[0], ids[2]]


@pytest.mark.native
def test_canceling_a_running_job_takes_its_dependents_down_at_once(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    free = queue.enqueue("second", depends_on=[first], dependency_policy="terminal")
    reservation = queue.reserve(0, queues=["first"])
    queue.cancel(first)
    assert queue.status(second).state is JobState.CANCELED
    assert drain(queue, ["second"]) == [free]
    with pytest.raises(Canceled):
        reservation.ack()


@pytest.mark.native
def test_cancel_racing_with_reserve_leaves_a_clear_state(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    for _ in range(12):
        job_id = queue.enqueue("default")
        reserved, canceled = in_threads([partial(queue.reserve, 0), partial(other.cancel, job_id)])
        assert canceled is True
        assert queue.status(job_id).state is JobState.CANCELED
        if not isinstance(reserved, Exception):
            with pytest.raises(Canceled):
                reserved.ack()  # type: ignore[union-attr]


def test_a_canceled_job_given_to_another_id_stays_canceled_after_upkeep(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", delay=0.1, expires_in=0.2)
    queue.cancel(job_id)
    other = queue.enqueue("other", delay=0.3)
    wait_for_state(queue, other, JobState.READY)
    assert queue.status(job_id).state is JobState.CANCELED
