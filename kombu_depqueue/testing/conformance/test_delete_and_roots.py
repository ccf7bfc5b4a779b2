"""Roots and deletion: a root goes with those of its dependencies that nobody else needs."""

from __future__ import annotations

import threading
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, LeaseLost, NotExist, NotPending
from kombu_depqueue.job import JobMessage, JobState
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job


def _gone(queue: JobQueue, *ids: UUID) -> bool:
    for job_id in ids:
        with pytest.raises(NotExist):
            queue.status(job_id)
    return True


def test_without_jobs_there_are_no_roots(queue: JobQueue) -> None:
    assert queue.all_root_jobs() == []


def test_roots_are_the_jobs_no_other_depends_on(queue: JobQueue) -> None:
    a, b = queue.enqueue("a"), queue.enqueue("b")
    c = queue.enqueue("c", depends_on=[a])
    d = queue.enqueue("d", depends_on=[c, a])
    e = queue.enqueue("e", delay=60, channel="x")
    assert set(queue.all_root_jobs()) == {b, d, e}


def test_ended_jobs_are_roots_as_live_ones_are(queue: JobQueue) -> None:
    a = queue.enqueue("a")
    b = queue.enqueue("b", depends_on=[a])
    c = queue.enqueue("c")
    drain(queue, ["a", "b"])
    queue.cancel(c)
    assert set(queue.all_root_jobs()) == {b, c}


@pytest.mark.parametrize("stage", ["ready", "scheduled", "leased", "succeeded", "failed", "canceled"])
def test_a_single_job_is_deleted_at_any_stage(queue: JobQueue, stage: str) -> None:
    job_id = queue.enqueue("default", delay=0.05 if stage == "scheduled" else None)
    if stage == "leased":
        queue.reserve(0)
    if stage in ("succeeded", "failed", "canceled"):
        end_job(queue, job_id, stage)
    assert queue.delete_job(job_id) == 1
    assert _gone(queue, job_id)
    assert queue.all_root_jobs() == []
    assert_nothing_ready(queue, 0.2 if stage == "scheduled" else 0)
    with pytest.raises(NotExist):
        queue.delete_job(job_id)


def test_an_unknown_job_cannot_be_deleted(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        queue.delete_job(uuid4())


@pytest.mark.native
def test_the_holder_of_a_deleted_job_finds_out_when_settling(make_queue: MakeQueue) -> None:
    worker, operator = make_queue(), make_queue()
    job_id = worker.enqueue("default")
    reservation = worker.reserve(0)
    operator.delete_job(job_id)
    with pytest.raises((LeaseLost, Canceled)):
        reservation.ack()
    assert _gone(worker, job_id)


@pytest.mark.parametrize("ended", [False, True], ids=["live", "ended"])
def test_a_root_goes_with_its_dependencies(queue: JobQueue, ended: bool) -> None:
    ids = [queue.enqueue("default", 0)]
    for n in range(1, 5):
        ids.append(queue.enqueue("default", n, depends_on=ids[-2:]))
    if ended:
        drain(queue)
    assert queue.delete_job(str(ids[-1])) == 5
    assert _gone(queue, *ids)
    assert queue.all_root_jobs() == []
    assert_nothing_ready(queue)


def test_a_dependency_that_another_job_needs_stays(queue: JobQueue) -> None:
    shared, own = queue.enqueue("shared"), queue.enqueue("own")
    below = queue.enqueue("below", depends_on=[shared, own])
    other = queue.enqueue("other", depends_on=[shared])
    assert queue.delete_job(below) == 2
    assert _gone(queue, below, own)
    assert queue.status(shared).dependents == (other,)
    assert queue.all_root_jobs() == [other]
    assert drain(queue, ["shared", "own"]) == [shared]
    assert drain(queue, ["other"]) == [other]
    assert queue.delete_job(other) == 2
    assert _gone(queue, shared, other)


@pytest.mark.parametrize("ended", [False, True], ids=["live", "ended"])
def test_a_job_that_another_depends_on_is_not_deleted(queue: JobQueue, ended: bool) -> None:
    first = queue.enqueue("default", 1)
    second = queue.enqueue("default", 2, depends_on=[first])
    if ended:
        drain(queue)
    before = queue.status(first), queue.status(second)
    with pytest.raises(NotPending) as refused:
        queue.delete_job(first)
    assert refused.value.job_id == first
    assert (queue.status(first), queue.status(second)) == before


def test_refusing_to_delete_frees_no_dependent(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    with pytest.raises(NotPending):
        queue.delete_job(first)
    assert queue.status(second).state is JobState.BLOCKED
    assert_nothing_ready(queue, queues=["second"])


def test_deleting_the_dependents_makes_the_dependency_a_root(queue: JobQueue) -> None:
    base = queue.enqueue("base")
    tops = [queue.enqueue("top", n, depends_on=[base]) for n in range(3)]
    assert [queue.delete_job(top) for top in tops] == [1, 1, 2]
    assert queue.all_root_jobs() == []


def test_a_diamond_is_deleted_whole_and_counted_once(queue: JobQueue) -> None:
    top = queue.enqueue("top")
    sides = [queue.enqueue("side", n, depends_on=[top]) for n in range(3)]
    end = queue.enqueue("end", depends_on=sides)
    assert queue.delete_job(end) == 5
    assert queue.all_root_jobs() == []


def test_the_id_of_a_deleted_job_is_free_again(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", "old")
    drain(queue)
    queue.delete_job(job_id)
    assert queue.enqueue("default", "new", job_id=job_id) == job_id
    assert queue.reserve(0).args == "new"


def test_a_deleted_job_cannot_be_depended_on(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    queue.delete_job(job_id)
    with pytest.raises(NotExist):
        queue.enqueue("default", depends_on=[job_id])


def test_a_root_with_many_dependencies_is_deleted(queue: JobQueue) -> None:
    jobs = [JobMessage.new("default", n) for n in range(1500)]
    queue.enqueue_many(jobs)
    root = queue.enqueue("root", depends_on=[job.job_id for job in jobs])
    assert queue.delete_job(root) == 1501
    assert queue.all_root_jobs() == []


def test_delete_waits_for_an_enqueue_that_depends_on_it(make_queue: MakeQueue, engine: Engine) -> None:
    """Else the dependent would wait for ever for a job that is not there."""
    queue, other = make_queue(), make_queue()
    job = queue.enqueue("first")
    queue.enqueue("second")
    done: list[object] = []

    def delete() -> None:
        try:
            done.append(other.delete_job(job))
        except NotPending as error:
            done.append(error)

    thread = threading.Thread(target=delete)
    with engine.connect() as connection:
        second = queue.enqueue("second", depends_on=[job], connection=connection)
        thread.start()
        thread.join(0.3)
        assert not done
        connection.commit()
    thread.join(20)
    assert isinstance(done[0], NotPending)
    assert queue.why(second).unmet[0].job_id == job
