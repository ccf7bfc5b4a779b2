"""finish, fail_job, requeue_or_finish: by id, fenced by the token where one is known."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, InvalidJob, LeaseLost, NotExist, NotRunning
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, in_threads, reserve_and_lose

FINISH: dict[str, Callable[..., object]] = {
    "finish": lambda q, i, **k: q.finish(i, **k),
    "fail_job": lambda q, i, **k: q.fail_job(i, **k),
    "requeue_or_finish": lambda q, i, **k: q.requeue_or_finish(i, 3, **k),
}
every_way = pytest.mark.parametrize("how", FINISH)


@pytest.mark.parametrize("as_what", [lambda i: i, str])
def test_finish_ends_the_job_with_its_result(queue: JobQueue, as_what: Callable[[UUID], Any]) -> None:
    job_id = queue.enqueue("default")
    queue.reserve(0)
    queue.finish(as_what(job_id), {"ok": True})
    status = queue.status(job_id)
    assert (status.state, status.result) == (JobState.SUCCEEDED, {"ok": True})
    assert status.finished is not None
    assert_nothing_ready(queue)


def test_fail_job_ends_it_with_its_error(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    queue.reserve(0)
    queue.fail_job(job_id, "no space left", [1, 2])
    status = queue.status(job_id)
    assert (status.state, status.result) == (JobState.FAILED, [1, 2])
    assert "no space left" in (status.reason or "")


@every_way
def test_an_unknown_job_does_not_exist(queue: JobQueue, how: str) -> None:
    job_id = uuid4()
    with pytest.raises(NotExist) as refused:
        FINISH[how](queue, job_id)
    assert refused.value.job_id == job_id


@pytest.mark.parametrize("stage", ["ready", "scheduled", "blocked", "requeued"])
def test_a_job_that_was_not_started_is_not_running(queue: JobQueue, stage: str) -> None:
    fields: dict[str, Any] = {"scheduled": {"delay": 60}, "blocked": {"depends_on": [queue.enqueue("other")]}}
    job_id = queue.enqueue("default", **fields.get(stage, {}))
    if stage == "requeued":
        queue.reserve(0).requeue()
    before = queue.status(job_id)
    for finish in FINISH.values():
        with pytest.raises(NotRunning) as refused:
            finish(queue, job_id)
        assert refused.value.job_id == job_id
        assert queue.status(job_id) == before


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead"])
def test_a_job_that_has_finished_is_not_running(queue: JobQueue, end: str) -> None:
    job_id = queue.enqueue("default")
    end_job(queue, job_id, end)
    before = queue.status(job_id)
    for finish in FINISH.values():
        with pytest.raises(NotRunning):
            finish(queue, job_id, result="again")
        assert queue.status(job_id) == before


@every_way
@pytest.mark.parametrize("stage", ["waiting", "running"])
def test_a_canceled_job_was_canceled(queue: JobQueue, stage: str, how: str) -> None:
    job_id = queue.enqueue("default")
    if stage == "running":
        queue.reserve(0)
    queue.cancel(job_id)
    with pytest.raises(Canceled) as refused:
        FINISH[how](queue, job_id)
    assert refused.value.job_id == job_id
    assert queue.status(job_id).state is JobState.CANCELED


@every_way
def test_a_result_json_cannot_hold_leaves_the_job_running(queue: JobQueue, how: str) -> None:
    job_id = queue.enqueue("default")
    queue.reserve(0)
    for bad in ({1}, float("nan"), b"x"):
        with pytest.raises(InvalidJob) as refused:
            FINISH[how](queue, job_id, result=bad)
        assert refused.value.field == "result"
    assert queue.status(job_id).state is JobState.LEASED
    queue.finish(job_id, "fine")
    assert queue.status(job_id).result == "fine"


def test_finish_releases_dependents(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    queue.reserve(0, queues=["first"])
    queue.finish(first)
    assert drain(queue, ["second"]) == [second]


@every_way
def test_without_a_token_the_holder_is_overruled(make_queue: MakeQueue, how: str) -> None:
    worker, operator = make_queue(), make_queue()
    job_id = worker.enqueue("default")
    reservation = worker.reserve(0)
    FINISH[how](operator, job_id)
    after = operator.status(job_id)
    assert after.state is not JobState.LEASED
    with pytest.raises(LeaseLost):
        reservation.ack("too late")
    assert operator.status(job_id) == after


def test_who_held_the_job_and_lost_it_does_not_overrule_the_next_holder(make_queue: MakeQueue) -> None:
    queue, winner = make_queue(lease=0.3), make_queue()
    stale, current = reserve_and_lose(queue, queue.enqueue("default"), winner)
    with pytest.raises(LeaseLost):
        queue.finish(stale.job_id, "stale", token=stale.token)
    current.ack("current")
    assert queue.status(stale.job_id).result == "current"


@every_way
def test_a_token_of_another_job_is_refused(queue: JobQueue, how: str) -> None:
    ids = [queue.enqueue("default", n) for n in range(2)]
    tokens = [r.token for r in queue.reserve_many(2, 0)]
    with pytest.raises(LeaseLost):
        FINISH[how](queue, ids[0], token=tokens[1])
    assert [queue.status(i).state for i in ids] == [JobState.LEASED] * 2


def test_the_reservation_of_a_job_finished_by_id_does_nothing_more(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    queue.finish(job_id, "by id")
    with pytest.raises(NotRunning):
        queue.finish(job_id, "twice")
    with suppress(LeaseLost):  # either is within the contract: it is settled, or its lease was ended
        reservation.ack("by reservation")
    assert queue.status(job_id).result == "by id"


def test_of_many_who_finish_one_job_one_does(make_queue: MakeQueue) -> None:
    queues = [make_queue(), make_queue()]
    for _ in range(6):
        job_id = queues[0].enqueue("default")
        token = queues[0].reserve(0).token
        work = [partial(queues[n % 2].finish, job_id, n, token=token) for n in range(6)]
        results = in_threads(work)
        assert results.count(None) == 1
        assert all(r is None or isinstance(r, (NotRunning, LeaseLost)) for r in results)
        assert queues[0].status(job_id).result == results.index(None)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_requeue_or_finish_gives_back_until_the_retries_are_used_up(queue: JobQueue, retries: int) -> None:
    job_id = queue.enqueue("default")
    for attempt in range(1, retries + 1):
        assert queue.reserve(0).attempt == attempt
        assert queue.requeue_or_finish(job_id, retries, "unused") is True
        assert queue.status(job_id).state is JobState.READY
    assert queue.reserve(0).attempt == retries + 1
    assert queue.requeue_or_finish(job_id, retries, {"lost": "worker"}) is False
    status = queue.status(job_id)
    assert (status.state, status.result) == (JobState.FAILED, {"lost": "worker"})
    assert_nothing_ready(queue)


def test_requeue_or_finish_with_the_current_token(make_queue: MakeQueue) -> None:
    worker, monitor = make_queue(), make_queue()
    job_id = worker.enqueue("default")
    token = worker.reserve(0).token
    assert monitor.requeue_or_finish(job_id, 1, token=token)
    assert monitor.reserve(0).redelivered
    with pytest.raises(LeaseLost):
        monitor.requeue_or_finish(job_id, 1, token=token)


@pytest.mark.parametrize("bad", [-1, 1.5, "1", True])
def test_a_senseless_number_of_retries_is_refused(queue: JobQueue, bad: Any) -> None:
    job_id = queue.enqueue("default")
    queue.reserve(0)
    with pytest.raises(InvalidJob):
        queue.requeue_or_finish(job_id, bad)
    assert queue.status(job_id).state is JobState.LEASED


def test_finishing_a_job_whose_worker_renews_leaves_nothing_behind(make_queue: MakeQueue) -> None:
    worker, operator = make_queue(lease=0.5), make_queue()
    job_id = worker.enqueue("default")
    worker.reserve(0)
    operator.finish(job_id, "operator")
    time.sleep(0.8)  # the worker's renewals go on and must not bring the job back
    assert operator.heartbeats(0) == []
    assert operator.status(job_id).result == "operator"
    assert_nothing_ready(operator)
