"""Dependencies: no job before those it depends on, and each exactly once after them."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import InvalidJob, NotExist, NotPending
from kombu_depqueue.job import Dependency, JobMessage, JobState, Policy, new_job_id
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, wait_for_state


def test_a_job_waits_for_its_dependency(queue: JobQueue) -> None:
    first = queue.enqueue("default", 1)
    second = queue.enqueue("default", 2, depends_on=[first])
    assert queue.status(second).state is JobState.BLOCKED
    reservation = queue.reserve(0)
    assert reservation.job_id == first
    assert_nothing_ready(queue, 0.2)
    reservation.ack()
    assert queue.status(second).state is JobState.READY
    assert queue.reserve(0).job_id == second


def test_a_chain_runs_link_by_link(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", 0)]
    for n in range(1, 8):
        ids.append(queue.enqueue("default", n, depends_on=[ids[-1]]))
    for job_id in ids:
        reservation = queue.reserve(0)
        assert reservation.job_id == job_id
        assert_nothing_ready(queue)
        reservation.ack()


def test_a_diamond_runs_its_end_once_and_last(queue: JobQueue) -> None:
    top = queue.enqueue("default", "top")
    sides = [queue.enqueue("default", n, depends_on=[top]) for n in range(2)]
    end = queue.enqueue("default", "end", depends_on=sides)
    queue.reserve(0).ack()
    left, right = queue.reserve_many(9, 0)
    right.ack()
    assert_nothing_ready(queue)
    left.ack()
    assert drain(queue) == [end]


def test_a_fan_in_runs_after_the_last_of_all(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(25)]
    last = queue.enqueue("last", depends_on=ids)
    held = queue.reserve_many(25, 0)
    for reservation in reversed(held):
        assert_nothing_ready(queue, queues=["last"])
        reservation.ack()
    assert drain(queue, ["last"]) == [last]


def test_a_fan_out_runs_all_each_once(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    ids = [queue.enqueue("default", n, depends_on=[first]) for n in range(25)]
    assert_nothing_ready(queue)
    end_job(queue, first, "succeeded")
    assert drain(queue) == ids


@pytest.mark.slow
def test_a_fan_out_of_ten_thousand_is_released_quickly(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    jobs = [JobMessage.new("default", n, depends_on=[first]) for n in range(10_000)]
    assert queue.enqueue_many(jobs) == 10_000
    reservation = queue.reserve(0, queues=["first"])
    begin = time.monotonic()
    reservation.ack()
    assert time.monotonic() - begin < 3  # the contract says 1: this machine may be busy
    assert _take(queue, 10_000) == {job.job_id for job in jobs}
    assert_nothing_ready(queue)


@pytest.mark.slow
def test_a_fan_in_of_ten_thousand_runs_once(queue: JobQueue) -> None:
    jobs = [JobMessage.new("default", n) for n in range(10_000)]
    queue.enqueue_many(jobs)
    last = queue.enqueue("last", depends_on=[job.job_id for job in jobs])
    assert queue.why(last).state is JobState.BLOCKED
    assert len(_take(queue, 9_999)) == 9_999
    assert_nothing_ready(queue, queues=["last"])
    assert len(_take(queue, 1)) == 1
    reservation = queue.reserve(10, queues=["last"])
    assert reservation.depends_on == tuple(job.job_id for job in jobs)
    assert len(reservation.results_of_dependencies()) == 10_000
    reservation.ack()
    assert_nothing_ready(queue, queues=["last"])


def _take(queue: JobQueue, count: int) -> set[UUID]:
    got: set[UUID] = set()
    while len(got) < count:
        batch = queue.reserve_many(min(1000, count - len(got)), 10)
        assert queue.ack_many(batch) == []
        new = {r.job_id for r in batch}
        assert len(new) == len(batch)
        assert not new & got
        got |= new
    return got


def test_a_dependency_named_twice_counts_once(queue: JobQueue) -> None:
    a, b = queue.enqueue("default", "a"), queue.enqueue("default", "b")
    last = queue.enqueue("last", depends_on=[b, a, b, str(a), Dependency(b)])
    assert queue.status(last).depends_on == (b, a)
    assert drain(queue) == [a, b]
    assert queue.reserve(0, queues=["last"]).depends_on == (b, a)
    assert_nothing_ready(queue, queues=["last"])


def test_dependencies_come_back_in_the_order_given(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(12)]
    given = [ids[n * 7 % 12] for n in range(12)]
    last = queue.enqueue("last", depends_on=given)
    assert queue.status(last).depends_on == tuple(given)
    drain(queue)
    reservation = queue.reserve(0, queues=["last"])
    assert reservation.depends_on == tuple(given)
    reservation.ack()
    assert queue.status(last).depends_on == tuple(given)


@pytest.mark.parametrize("as_what", [str, lambda i: i, Dependency, lambda i: Dependency(i, Policy.TERMINAL)])
def test_a_dependency_is_given_as_id_text_or_object(queue: JobQueue, as_what: Any) -> None:
    first = queue.enqueue("default", 1)
    second = queue.enqueue("default", 2, depends_on=(as_what(first),))
    assert drain(queue) == [first, second]


def test_a_job_cannot_depend_on_itself(queue: JobQueue) -> None:
    job_id = new_job_id()
    with pytest.raises(InvalidJob) as refused:
        queue.enqueue("default", job_id=job_id, depends_on=[queue.enqueue("other"), job_id])
    assert refused.value.field == "depends_on"
    with pytest.raises(NotExist):
        queue.status(job_id)


def test_an_unknown_dependency_is_refused_and_nothing_is_kept(queue: JobQueue) -> None:
    known, unknown, job_id = queue.enqueue("other"), uuid4(), new_job_id()
    with pytest.raises(NotExist) as refused:
        queue.enqueue("default", job_id=job_id, depends_on=[known, unknown])
    assert refused.value.job_ids == (unknown,)
    with pytest.raises(NotExist):
        queue.status(job_id)
    assert queue.status(known).dependents == ()
    assert drain(queue, ["other", "default"]) == [known]
    queue.enqueue("default", job_id=job_id)  # the id is still free


def test_all_unknown_dependencies_are_named(queue: JobQueue) -> None:
    unknown = [uuid4() for _ in range(3)]
    with pytest.raises(NotExist) as refused:
        queue.enqueue("default", depends_on=[unknown[0], queue.enqueue("other"), *unknown[1:]])
    assert set(refused.value.job_ids) == set(unknown)


def test_dependencies_reach_across_queues_and_channels(queue: JobQueue) -> None:
    first = queue.enqueue("a", channel="x")
    second = queue.enqueue("b", channel="y", depends_on=[first])
    queue.dequeue(["a"], 0, channels=["x"]).ack()
    assert queue.dequeue(["b"], 0, channels=["y"]).job_id == second


@pytest.mark.parametrize("stage", ["ready", "leased", "scheduled", "blocked"])
def test_a_dependency_may_be_at_any_stage(queue: JobQueue, stage: str) -> None:
    fields: dict[str, Any] = {"scheduled": {"delay": 0.3}, "blocked": {"depends_on": [queue.enqueue("zero")]}}
    first = queue.enqueue("first", **fields.get(stage, {}))
    held = queue.reserve(0, queues=["first"]) if stage == "leased" else None
    second = queue.enqueue("second", depends_on=[first])
    assert queue.status(second).state is JobState.BLOCKED
    drain(queue, ["zero"])
    (held or queue.reserve(10, queues=["first"])).ack()
    assert drain(queue, ["second"]) == [second]


@pytest.mark.parametrize("end", ["ack", "finish", "fail", "fail_job", "reject", "attempts", "requeue_or_finish"])
def test_every_way_to_end_a_job_releases_its_dependents(queue: JobQueue, end: str) -> None:
    first = queue.enqueue("first", max_attempts=1)
    second = queue.enqueue("second", depends_on=[first])
    reservation = queue.reserve(0, queues=["first"])
    {
        "ack": reservation.ack,
        "finish": lambda: queue.finish(first),
        "fail": reservation.fail,
        "fail_job": lambda: queue.fail_job(first),
        "reject": reservation.reject,
        "attempts": reservation.requeue,  # used up: dead
        "requeue_or_finish": lambda: queue.requeue_or_finish(first, 0),
    }[end]()
    assert queue.reserve(0, queues=["second"]).job_id == second


@pytest.mark.parametrize("how", ["requeue", "requeue later", "expiry"])
def test_another_try_of_the_dependency_releases_nobody(make_queue: MakeQueue, how: str) -> None:
    queue = make_queue(lease=0.3)
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    reservation = queue.reserve(0, queues=["first"], renew=False)
    if how != "expiry":
        reservation.requeue(0.2 if how == "requeue later" else 0)
    wait_for_state(queue, first, JobState.READY)
    assert queue.status(second).state is JobState.BLOCKED
    assert_nothing_ready(queue, queues=["second"])
    assert drain(queue, ["first"]) == [first]
    assert drain(queue, ["second"]) == [second]


@pytest.mark.parametrize(("last", "delay"), [("time", 1.5), ("dependency", 0.4)])
def test_a_delayed_job_with_a_dependency_waits_for_both(queue: JobQueue, last: str, delay: float) -> None:
    first = queue.enqueue("first")
    begin = time.monotonic()
    second = queue.enqueue("second", depends_on=[first], delay=delay)
    if last == "dependency":
        other = queue.enqueue("other", delay=delay + 0.05)
        wait_for_state(queue, other, JobState.READY)
        assert_nothing_ready(queue, queues=["second"])
    end_job(queue, first, "succeeded")
    if last == "time":
        assert queue.status(second).state is JobState.SCHEDULED
        assert_nothing_ready(queue, queues=["second"])
    assert queue.reserve(10, queues=["second"]).job_id == second
    assert time.monotonic() - begin >= delay


def test_a_job_whose_dependency_had_ended_is_ready_at_once(queue: JobQueue) -> None:
    first = queue.enqueue("default")
    drain(queue)
    second = queue.enqueue("default", depends_on=[first])
    assert queue.status(second).state is JobState.READY
    reservation = queue.reserve(0)
    assert (reservation.job_id, reservation.depends_on) == (second, (first,))


def test_a_job_waits_only_for_those_that_have_not_ended(queue: JobQueue) -> None:
    ended = queue.enqueue("default")
    drain(queue)
    live = queue.enqueue("other")
    job_id = queue.enqueue("default", depends_on=[ended, live, ended])
    assert [d.job_id for d in queue.why(job_id).unmet] == [live]
    drain(queue, ["other"])
    assert queue.reserve(0).depends_on == (ended, live)


def test_results_of_dependencies_come_in_the_order_given(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(4)]
    last = queue.enqueue("last", depends_on=[ids[2], ids[0], ids[3], ids[1]])
    held = queue.reserve_many(4, 0)
    held[0].ack({"n": [0]})
    held[1].fail("broken", "partial")
    held[2].ack()
    held[3].reject("poison")
    results = queue.reserve(0, queues=["last"]).results_of_dependencies()
    assert results == queue.results_of_dependencies(last)
    assert [r.job_id for r in results] == [ids[2], ids[0], ids[3], ids[1]]
    assert [r.state for r in results] == ["succeeded", "succeeded", "failed", "failed"]
    assert [r.result for r in results] == [None, {"n": [0]}, None, "partial"]
    assert "poison" in (results[2].reason or "")
    assert "broken" in (results[3].reason or "")


def test_results_of_dependencies_show_how_they_stand_meanwhile(queue: JobQueue) -> None:
    a, b = queue.enqueue("a"), queue.enqueue("b")
    last = queue.enqueue("last", depends_on=[b, a])
    queue.reserve(0, queues=["a"]).ack("done")
    results = queue.results_of_dependencies(last)
    assert [(r.job_id, r.state, r.result) for r in results] == [(b, "ready", None), (a, "succeeded", "done")]


def test_a_job_without_dependencies_has_no_results(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    assert queue.results_of_dependencies(job_id) == []
    assert queue.reserve(0).results_of_dependencies() == []
    with pytest.raises(NotExist):
        queue.results_of_dependencies(uuid4())


def test_a_blocked_job_cannot_be_dequeued_by_id(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", depends_on=[queue.enqueue("other")])
    with pytest.raises(NotPending):
        queue.dequeue_by_id(job_id)


def test_canceling_a_blocked_job_leaves_its_dependency_alone(queue: JobQueue) -> None:
    first = queue.enqueue("default", 1)
    second = queue.enqueue("default", 2, depends_on=[first])
    third = queue.enqueue("default", 3, depends_on=[first])
    assert queue.cancel(second)
    assert drain(queue) == [first, third]


def test_blocked_jobs_survive_closing(make_queue: MakeQueue) -> None:
    with make_queue() as queue:
        first = queue.enqueue("default")
        second = queue.enqueue("default", "kept", depends_on=[first])
    assert drain(make_queue()) == [first, second]


def test_a_large_random_graph_runs_in_an_order_its_edges_allow(queue: JobQueue) -> None:
    jobs: list[JobMessage] = []
    for n in range(120):
        before = {jobs[(n * k * 31 + k) % n].job_id for k in range(1, 1 + n % 5)} if n else set()
        jobs.append(JobMessage.new("default", n, depends_on=sorted(before)))
    queue.enqueue_many(jobs)
    done: set[UUID] = set()
    while len(done) < 120:
        for reservation in queue.reserve_many(7, 0):
            assert set(reservation.depends_on) <= done
            assert reservation.job_id not in done
            reservation.ack()
            done.add(reservation.job_id)
    assert_nothing_ready(queue)
