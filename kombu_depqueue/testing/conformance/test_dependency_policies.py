"""Policies: which end of a dependency lets the dependent run, and what becomes of it otherwise."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.job import Dependency, JobState, OnUnmet, Policy
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job

ENDS = ["succeeded", "failed", "dead", "canceled", "expired"]
MET = {
    Policy.FINISHED: {"succeeded", "failed", "dead"},
    Policy.SUCCEEDED: {"succeeded"},
    Policy.FAILED: {"failed", "dead"},
    Policy.TERMINAL: set(ENDS),
}
every_end = pytest.mark.parametrize("end", ENDS)
live_or_ended = pytest.mark.parametrize("when", ["live", "ended"])


def _dependents(queue: JobQueue, end: str, when: str, **fields: str) -> tuple[UUID, dict[Policy, UUID]]:
    """End a dependency after or before its dependents, one for each policy, are enqueued."""
    first = queue.enqueue("first", expires_in=0.4 if end == "expired" else None)
    if when == "ended":
        end_job(queue, first, end)
    dependents = {
        policy: queue.enqueue("second", depends_on=[first], dependency_policy=policy, **fields)  # type: ignore[arg-type]
        for policy in Policy
    }
    if when == "live":
        assert {queue.status(i).state for i in dependents.values()} == {JobState.BLOCKED}
        end_job(queue, first, end)
    return first, dependents


@live_or_ended
@every_end
def test_every_policy_meets_every_end(queue: JobQueue, end: str, when: str) -> None:
    first, dependents = _dependents(queue, end, when)
    for policy, job_id in dependents.items():
        status = queue.status(job_id)
        if end in MET[policy]:
            assert status.state is JobState.READY, policy
        else:
            assert status.state is JobState.CANCELED, policy
            assert status.finished is not None
            assert str(first) in (status.reason or "")
    assert drain(queue, ["second"]) == [i for policy, i in dependents.items() if end in MET[policy]]


@live_or_ended
@every_end
def test_on_unmet_hold_keeps_it_blocked_and_why_tells(queue: JobQueue, end: str, when: str) -> None:
    first, dependents = _dependents(queue, end, when, on_unmet="hold")
    drain(queue, ["second"])
    for policy, job_id in dependents.items():
        if end in MET[policy]:
            assert queue.status(job_id).state is JobState.SUCCEEDED, policy
            continue
        assert queue.status(job_id).state is JobState.BLOCKED, policy
        why = queue.why(job_id)
        assert [(d.job_id, d.state) for d in why.never] == [(first, "failed" if end == "dead" else end)]
        assert first not in [d.job_id for d in why.unmet]
        assert queue.cancel(job_id)


@pytest.mark.parametrize("on_unmet", ["cancel", OnUnmet.CANCEL])
def test_cancel_is_what_happens_unless_told_otherwise(queue: JobQueue, on_unmet: str) -> None:
    first = queue.enqueue("first")
    silent = queue.enqueue("second", depends_on=[first])
    told = queue.enqueue("second", depends_on=[first], on_unmet=on_unmet)
    queue.cancel(first)
    assert queue.status(silent).state is JobState.CANCELED
    assert queue.status(told).state is JobState.CANCELED


def test_a_dependency_is_finished_when_it_failed_as_the_origin_has_it(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    end_job(queue, first, "failed")
    assert drain(queue, ["second"]) == [second]


def test_the_cascade_goes_down_and_each_reason_names_the_dependency(queue: JobQueue) -> None:
    ids = [queue.enqueue("first")]
    for n in range(1, 6):
        ids.append(queue.enqueue(f"level{n}", depends_on=[ids[-1]]))
    queue.cancel(ids[0])
    for above, below in pairwise(ids):
        status = queue.status(below)
        assert (status.state, status.canceled) == (JobState.CANCELED, True)
        assert str(above) in (status.reason or "")


def test_a_job_that_expires_while_it_is_blocked_takes_its_dependents_down(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first], expires_in=0.2)
    third = queue.enqueue("third", depends_on=[second])
    free = queue.enqueue("third", depends_on=[second], dependency_policy="terminal")
    end_job(queue, second, "expired")
    assert queue.status(third).state is JobState.CANCELED
    assert drain(queue, ["third"]) == [free]
    assert drain(queue, ["first", "second"]) == [first]


def test_the_cascade_takes_only_those_whose_policy_is_broken(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    strict = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded")
    below = queue.enqueue("third", depends_on=[strict], dependency_policy="terminal")
    easy = queue.enqueue("second", depends_on=[first])
    cleaner = queue.enqueue("second", depends_on=[first], dependency_policy="failed")
    end_job(queue, first, "failed")
    assert queue.status(strict).state is JobState.CANCELED
    assert drain(queue, ["second"]) == [easy, cleaner]
    assert drain(queue, ["third"]) == [below]


def test_a_wide_cascade_takes_all(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    ids = [queue.enqueue("second", n, depends_on=[first]) for n in range(60)]
    below = [queue.enqueue("third", n, depends_on=ids[n : n + 3]) for n in range(0, 60, 3)]
    queue.cancel(first)
    assert {queue.status(i).state for i in ids + below} == {JobState.CANCELED}
    assert_nothing_ready(queue, queues=["second", "third"])


def test_a_diamond_is_canceled_once(queue: JobQueue) -> None:
    top = queue.enqueue("top")
    sides = [queue.enqueue("side", n, depends_on=[top]) for n in range(2)]
    end = queue.enqueue("end", depends_on=sides)
    queue.cancel(top)
    reason = queue.status(end).reason or ""
    assert any(str(side) in reason for side in sides)


def test_the_first_broken_dependency_cancels_without_waiting_for_the_others(queue: JobQueue) -> None:
    a, b = queue.enqueue("a"), queue.enqueue("b")
    last = queue.enqueue("last", depends_on=[a, b])
    queue.cancel(b)
    assert queue.status(last).state is JobState.CANCELED
    assert str(b) in (queue.status(last).reason or "")
    drain(queue, ["a"])
    assert_nothing_ready(queue, queues=["last"])
    assert queue.status(last).state is JobState.CANCELED


def test_each_edge_may_have_a_policy_of_its_own(queue: JobQueue) -> None:
    main, fallback = queue.enqueue("main"), queue.enqueue("fallback")
    edges = [Dependency(main, Policy.FAILED), Dependency(fallback, Policy.TERMINAL)]
    job_id = queue.enqueue("last", depends_on=edges, dependency_policy="succeeded")
    queue.cancel(fallback)
    assert queue.status(job_id).state is JobState.BLOCKED
    end_job(queue, main, "failed")
    assert drain(queue, ["last"]) == [job_id]


def test_an_edge_without_a_policy_has_the_jobs_and_then_the_job_queues(make_queue: MakeQueue) -> None:
    queue = make_queue(dependency_policy="succeeded", on_unmet="hold")
    first = queue.enqueue("first")
    own_edge = queue.enqueue("second", depends_on=[Dependency(first, Policy.FINISHED)])
    own = queue.enqueue("second", depends_on=[Dependency(first)], dependency_policy="finished")
    default = queue.enqueue("second", depends_on=[first])
    canceled = queue.enqueue("second", depends_on=[first], on_unmet="cancel")
    end_job(queue, first, "failed")
    assert drain(queue, ["second"]) == [own_edge, own]
    assert queue.status(default).state is JobState.BLOCKED
    assert queue.status(canceled).state is JobState.CANCELED


def test_the_policy_was_fixed_by_who_enqueued_not_by_who_finishes(make_queue: MakeQueue) -> None:
    producer, worker = make_queue(dependency_policy="succeeded"), make_queue()
    first = producer.enqueue("first")
    second = producer.enqueue("second", depends_on=[first])
    end_job(worker, first, "failed")
    assert worker.status(second).state is JobState.CANCELED


def test_a_held_job_runs_once_its_dependency_was_retried_well(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first], dependency_policy="succeeded", on_unmet="hold")
    end_job(queue, first, "failed")
    assert queue.why(second).never
    assert queue.retry(first) >= 1
    why = queue.why(second)
    assert (why.never, [d.job_id for d in why.unmet]) == ((), [first])
    end_job(queue, first, "succeeded")
    assert drain(queue, ["second"]) == [second]


def test_a_held_job_waits_for_its_other_dependencies_too(queue: JobQueue) -> None:
    bad, good = queue.enqueue("bad"), queue.enqueue("good")
    job_id = queue.enqueue("last", depends_on=[bad, good], on_unmet="hold")
    queue.cancel(bad)
    why = queue.why(job_id)
    assert ([d.job_id for d in why.never], [d.job_id for d in why.unmet]) == ([bad], [good])
    end_job(queue, good, "succeeded")
    assert queue.status(job_id).state is JobState.BLOCKED
    assert_nothing_ready(queue, queues=["last"])
    queue.retry(bad)
    end_job(queue, bad, "succeeded")
    assert drain(queue, ["last"]) == [job_id]


def test_canceling_a_held_job_cascades(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    held = queue.enqueue("second", depends_on=[first], on_unmet="hold")
    below = queue.enqueue("third", depends_on=[held])
    queue.cancel(first)
    assert queue.status(below).state is JobState.BLOCKED
    queue.cancel(held)
    assert queue.status(below).state is JobState.CANCELED


def test_a_dependent_canceled_by_hand_is_not_touched_by_its_dependency(queue: JobQueue) -> None:
    first = queue.enqueue("first")
    second = queue.enqueue("second", depends_on=[first])
    queue.cancel(second)
    before = queue.status(second)
    queue.cancel(first)
    assert queue.status(second) == before
