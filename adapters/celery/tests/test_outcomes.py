"""How jobs end whose tasks come to something: in each pool, with early and late acks."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import states
from celery.exceptions import NotRegistered, TaskRevokedError
from transport_workers import Bench

from kombu_depqueue import JobState, JobStatus
from kombu_depqueue.extending import text_id
from kombu_depqueue.testing.helpers import wait_until

BOTH = pytest.mark.parametrize("acks", ["work", "late_work"])


def label() -> str:
    return uuid4().hex[:8]


def status(bench: Bench, result: Any) -> JobStatus:
    return bench.native_queue.status(text_id(result.id))


def ended(bench: Bench, result: Any, state: JobState, timeout: float = 20.0) -> JobStatus:
    """Wait for the end of a task's job."""
    try:
        wait_until(lambda: status(bench, result).state.is_finished, timeout=timeout)
    except AssertionError:
        raise AssertionError(f"{status(bench, result)}\n{bench.native_queue.why(text_id(result.id))}") from None
    found = status(bench, result)
    assert found.state is state, found
    return found


@BOTH
def test_success_releases(pooled: Bench, acks: str) -> None:
    first = pooled.send(acks, label(), 0.2)
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    a, b = (pooled.facts(what, id=r.id)[0]["at"] for what, r in (("end", first), ("start", second)))
    assert b >= a
    found = ended(pooled, first, JobState.SUCCEEDED)
    assert found.result == first.get()
    assert first.state == states.SUCCESS


@BOTH
def test_failure_releases_by_policy(pooled: Bench, acks: str) -> None:
    first = pooled.send(acks, "x", 0.1, True)
    after_any = pooled.send("work", label(), depends_on=[first])
    never = pooled.send("work", label(), depends_on=[first], dependency_policy="succeeded")
    later = pooled.send("work", label(), depends_on=[never])
    only_then = pooled.send("work", label(), depends_on=[(first.id, "failed")])
    assert after_any.get(timeout=20)
    assert only_then.get(timeout=20)
    with pytest.raises(ValueError, match="x fails"):
        first.get(timeout=20)
    assert ended(pooled, first, JobState.FAILED).reason == "ValueError"
    for lost in (never, later):
        with pytest.raises(TaskRevokedError, match=r"dependency .* (failed|canceled)"):
            lost.get(timeout=20)
        assert lost.state == states.REVOKED
        assert ended(pooled, lost, JobState.CANCELED).depends_on
    assert not pooled.facts("start", id=never.id)


@BOTH
def test_a_retry_is_the_same_unfinished_job(pooled: Bench, acks: str) -> None:
    mine = label()
    first = pooled.send(acks, mine, 0.05, kwargs={"retries": 2})
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=30)
    starts = pooled.facts("start", id=first.id)
    assert [f["retries"] for f in starts] == [0, 1, 2]
    assert pooled.facts("start", id=second.id)[0]["at"] >= pooled.facts("end", id=first.id)[0]["at"]
    ended(pooled, first, JobState.SUCCEEDED)


def test_autoretry_shows_retry_between(pooled: Bench) -> None:
    first = pooled.send("shaky", 1)
    second = pooled.send("work", label(), depends_on=[first])
    wait_until(lambda: first.state in (states.RETRY, states.SUCCESS), timeout=20)
    assert second.get(timeout=30)
    assert first.get() == 1


@pytest.mark.parametrize("name", ["ignored", "late_ignored"])
def test_ignore(pooled: Bench, name: str) -> None:
    first = pooled.send(name)
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    ended(pooled, first, JobState.SUCCEEDED)


@pytest.mark.parametrize("name", ["rejected", "late_rejected"])
def test_reject(pooled: Bench, name: str) -> None:
    first = pooled.send(name)
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    ended(pooled, first, JobState.FAILED)
    assert first.state == states.FAILURE


def test_reject_and_requeue(pooled: Bench) -> None:
    first = pooled.send("late_rejected", kwargs={"requeue": True})
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    assert len(pooled.facts("start", id=first.id)) == 2
    ended(pooled, first, JobState.SUCCEEDED)


def test_results_that_cannot_be_serialized(pooled: Bench) -> None:
    first = pooled.send("unserializable")
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    ended(pooled, first, JobState.FAILED)
    with pytest.raises(Exception, match="serializable"):
        first.get(timeout=5)


def test_a_result_that_is_too_large_fails(pooled: Bench) -> None:
    """More than `max_body_bytes`; half of that is more than a MariaDB takes in a statement."""
    first = pooled.send("too_much", 2**24 if "+mysql" not in pooled.broker else 2**23)
    second = pooled.send("work", label(), depends_on=[first])
    ended(pooled, first, JobState.FAILED, 60)
    assert second.get(timeout=20)


@BOTH
def test_revoked_before_it_begins(pooled: Bench, acks: str) -> None:
    """It waits in the worker, which finds it revoked when its turn has come; or in the database."""
    first = pooled.send(acks, label(), countdown=1.0)
    second = pooled.send("work", label(), depends_on=[first], dependency_policy="terminal")
    third = pooled.send("work", label(), depends_on=[first])
    first.revoke()
    assert second.get(timeout=20)
    ended(pooled, first, JobState.CANCELED)
    ended(pooled, third, JobState.CANCELED)
    assert (first.state, third.state) == (states.REVOKED, states.REVOKED)
    assert not pooled.facts("start", id=first.id)


@BOTH
def test_expired(pooled: Bench, acks: str) -> None:
    first = pooled.send(acks, label(), countdown=0.6, expires=0.3)
    second = pooled.send("work", label(), depends_on=[first], dependency_policy="terminal")
    assert second.get(timeout=20)
    assert first.state == states.REVOKED
    assert status(pooled, first).state in (JobState.CANCELED, JobState.EXPIRED)


def test_an_unknown_task_is_failed(pooled: Bench) -> None:
    first = pooled.app.send_task("t.nobody_knows")
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    ended(pooled, first, JobState.FAILED)
    wait_until(lambda: isinstance(first.result, NotRegistered), timeout=5)


def test_a_task_replaced_by_a_chain_that_fails_ends(pooled: Bench) -> None:
    """Also where no results are stored: nobody waits for ever."""
    first = pooled.send("replaced_by_failing_chain")
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=20)
    ended(pooled, first, JobState.FAILED)


def test_a_task_that_is_replaced(pooled: Bench) -> None:
    first = pooled.send("replaced")
    second = pooled.send("work", label(), depends_on=[first])
    grown = pooled.send("grow", 1)
    third = pooled.send("work", label(), depends_on=[grown])
    assert second.get(timeout=30)
    assert third.get(timeout=30)
    assert first.get(timeout=20) == 10
    assert grown.get(timeout=20) == 3
    assert status(pooled, first).finished <= status(pooled, second).started  # type: ignore[operator]
    assert status(pooled, grown).finished <= status(pooled, third).started  # type: ignore[operator]


def test_states_on_the_way(pooled: Bench) -> None:
    first = pooled.send("progress", 1.5)
    wait_until(lambda: first.state == "PROGRESS", timeout=20)
    assert first.info == {"done": 50}
    assert status(pooled, first).state in (JobState.RUNNING, JobState.LEASED)
    assert first.get(timeout=20) == "done"


def test_running_is_told_from_leased(pooled: Bench, pool: str) -> None:
    if pool == "solo":
        pytest.skip("one at a time")
    early, late = pooled.send("work", label(), 1.5), pooled.send("late_work", label(), 1.5)
    pooled.facts.wait("start", id=early.id)
    wait_until(lambda: status(pooled, early).state is JobState.RUNNING, timeout=5)
    pooled.facts.wait("start", id=late.id)
    assert status(pooled, late).state is JobState.LEASED
    assert early.get(timeout=20)
    assert late.get(timeout=20)


# processes that die


@pytest.mark.parametrize("name", ["suicide", "late_suicide", "leave", "late_leave"])
def test_a_child_that_dies(pooled: Bench, pool: str, name: str) -> None:
    if pool != "prefork":
        pytest.skip("only prefork has children")
    first = pooled.send(name)
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=30)
    ended(pooled, first, JobState.FAILED)
    assert first.state == states.FAILURE
    assert len(pooled.facts("start", id=first.id)) == 1


@BOTH
def test_time_limits(pooled: Bench, pool: str, acks: str) -> None:
    if pool != "prefork":
        pytest.skip("only prefork enforces hard time limits")
    first = pooled.send(acks, label(), 30.0, time_limit=1)
    second = pooled.send("work", label(), depends_on=[first])
    assert second.get(timeout=30)
    ended(pooled, first, JobState.FAILED)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_killed_worker_never_leaves_a_task_stuck(bench: Bench, pool: str) -> None:
    """kill -9 of all of it: the early-acked task is lost, the late-acked one runs again."""
    bench.broker += "&lease=2&orphan_after=1"
    worker = bench.worker("-c", "2", pool=pool, name="first").ready()
    early, late = bench.send("work", label(), 2.0), bench.send("late_work", label(), 2.0)
    waiting = bench.send("work", label(), depends_on=[early])
    hoping = bench.send("work", label(), depends_on=[(early.id, "succeeded")])
    bench.facts.wait("start", id=early.id)
    bench.facts.wait("start", id=late.id)
    wait_until(lambda: status(bench, early).state is JobState.RUNNING, timeout=5)
    worker.kill()
    bench.worker("-c", "2", pool=pool, name="second").ready()
    found = ended(bench, early, JobState.FAILED, 30)
    assert found.reason is not None
    assert found.reason.startswith("lost:")
    assert late.get(timeout=30)
    assert waiting.get(timeout=30)
    assert (len(bench.facts("start", id=early.id)), len(bench.facts("start", id=late.id))) == (1, 2)
    ended(bench, hoping, JobState.CANCELED)
    with pytest.raises(Exception, match="lost"):
        early.get(timeout=5)


def test_an_outage_of_a_worker_that_lives_gives_nothing_up(bench: Bench) -> None:
    """Its lease expires, its jobs are orphans; it comes back before they are given up."""
    import os
    import signal

    bench.broker += "&lease=2&orphan_after=15"
    worker = bench.worker("-c", "2", pool="threads", name="first").ready()
    task = bench.send("work", label(), 1.0)
    bench.facts.wait("start", id=task.id)
    wait_until(lambda: status(bench, task).state is JobState.RUNNING, timeout=5)
    os.kill(worker.pid, signal.SIGSTOP)
    queue, until = bench.native_queue, time.monotonic() + 4
    while time.monotonic() < until:
        queue.maintain()
        time.sleep(0.2)
    assert status(bench, task).state is JobState.RUNNING
    os.kill(worker.pid, signal.SIGCONT)
    assert task.get(timeout=20)
    ended(bench, task, JobState.SUCCEEDED)


@pytest.mark.parametrize("backend", ["disabled://", "redis"])
def test_outcomes_without_our_results(make_one: Any, backend: str) -> None:
    """Another result backend, or none: what came of tasks is told all the same."""
    from transport_workers import redis_url

    url = redis_url() if backend == "redis" else backend
    if url is None:
        pytest.skip("no Redis")
    bench = make_one(url)
    bench.worker("-c", "2", pool="prefork").ready()
    good, bad = bench.send("work", label()), bench.send("work", label(), 0.1, True)
    late_bad, ignored = bench.send("late_work", "x", 0.1, True), bench.send("ignored")
    lost, revoked = bench.send("suicide"), bench.send("work", label(), countdown=600)
    again = bench.send("work", label(), kwargs={"retries": 1})
    after_all = bench.send(
        "work",
        mine := label(),
        depends_on=[good, bad, late_bad, ignored, lost, revoked, again],
        dependency_policy="terminal",
    )
    bench.app.control.revoke(revoked.id)
    bench.facts.wait("end", label=mine, timeout=40)
    wait_until(lambda: status(bench, after_all).state.is_finished, timeout=10)
    states_ = [status(bench, r).state for r in (good, bad, late_bad, ignored, lost, revoked, again)]
    s, f, c = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED
    assert states_ == [s, f, f, s, f, c, s]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_redelivered_task_that_had_succeeded_has_ended(make_one: Any, pool: str) -> None:
    """`worker_deduplicate_successful_tasks`: it is not run again, and Celery tells nothing but its ack."""
    from transport_workers import redis_url

    if (url := redis_url()) is None:
        pytest.skip("no Redis")
    bench = make_one(url)
    conf = {"worker_deduplicate_successful_tasks": True, "task_acks_late": True}
    bench.worker("-c", "1", pool=pool, conf=conf).ready()
    once = bench.send("stored_then_refused")
    after = bench.send("work", label(), depends_on=[once])
    assert after.get(timeout=20)
    ended(bench, once, JobState.SUCCEEDED)
    assert len(bench.facts("start", id=once.id)) == 1


def test_expires_at_a_moment(pooled: Bench) -> None:
    from datetime import UTC, datetime

    first = pooled.send("work", label(), countdown=0.6, expires=datetime.now(UTC) + timedelta(seconds=0.2))
    with pytest.raises(TaskRevokedError):
        first.get(timeout=20)
