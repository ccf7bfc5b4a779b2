"""Settling: ack, requeue, fail, reject; repeated they do nothing."""

from __future__ import annotations

from typing import Any

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, InvalidJob
from kombu_depqueue.job import JobState
from kombu_depqueue.ports import Reservation
from kombu_depqueue.testing.conformance.test_enqueue import JSON_VALUES
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, wait_until

SETTLE = ["ack", "requeue", "fail", "reject"]
ENDS = {"ack": "succeeded", "requeue": "ready", "fail": "failed", "reject": "failed"}


def _reserved(queue: JobQueue, **fields: Any) -> Reservation:
    queue.enqueue("default", **fields)
    return queue.reserve(0)


def test_ack_ends_the_job_as_succeeded(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.ack()
    status = queue.status(reservation.job_id)
    assert (status.state, status.result, status.canceled) == (JobState.SUCCEEDED, None, False)
    assert status.started is not None
    assert status.finished is not None
    assert status.queued <= status.started <= status.finished
    assert_nothing_ready(queue)


def test_a_result_is_kept_as_it_was_given(queue: JobQueue) -> None:
    for result in JSON_VALUES:
        reservation = _reserved(queue)
        reservation.ack(result)
        kept = queue.status(reservation.job_id).result
        assert kept == result
        assert type(kept) is type(result)


def test_a_large_result_is_kept(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.ack(["0123456789"] * 50_000)
    assert queue.status(reservation.job_id).result == ["0123456789"] * 50_000


def test_fail_ends_the_job_as_failed_with_its_error_and_result(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.fail("disk full: /dev/ß", {"line": 3})
    status = queue.status(reservation.job_id)
    assert (status.state, status.result) == (JobState.FAILED, {"line": 3})
    assert "disk full: /dev/ß" in (status.reason or "")
    assert status.finished is not None
    assert_nothing_ready(queue)


def test_fail_needs_no_reason(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.fail()
    assert queue.status(reservation.job_id).state is JobState.FAILED


def test_a_very_long_error_is_accepted(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.fail("Traceback:\n" + "line\n" * 100_000)
    assert (queue.status(reservation.job_id).reason or "").startswith("Traceback")


def test_an_error_text_with_any_characters_is_accepted(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.fail("nul \0, a lone surrogate \ud800, \U0001f4a5")
    status = queue.status(reservation.job_id)
    assert status.state is JobState.FAILED
    assert (status.reason or "").startswith("nul ")


@pytest.mark.parametrize("attempts", [0, 5])
def test_reject_ends_the_job_as_dead_with_attempts_left(queue: JobQueue, attempts: int) -> None:
    reservation = _reserved(queue, max_attempts=attempts)
    reservation.reject("poison")
    status = queue.status(reservation.job_id)
    assert status.state is JobState.FAILED
    assert (status.reason or "").startswith("dead")
    assert "poison" in (status.reason or "")
    assert_nothing_ready(queue)


def test_a_requeued_job_is_ready_at_once_and_flagged(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    reservation = _reserved(queue)
    reservation.requeue()
    assert queue.status(reservation.job_id).state is JobState.READY
    again = other.reserve(0)
    assert (again.job_id, again.attempt, again.redelivered) == (reservation.job_id, 2, True)
    assert again.token != reservation.token


def test_a_requeued_job_keeps_its_content(queue: JobQueue) -> None:
    first = _reserved(queue, body=b"\0\1", content_type="a/b", headers={"x": [1]}, priority=9)
    first.requeue()
    second = queue.reserve(0)
    second.requeue(0.05)
    third = queue.reserve(10)
    assert first.message == second.message
    message = third.message
    assert (message.body, message.content_type) == (b"\0\1", "a/b")
    assert (message.headers, message.priority) == ({"x": [1]}, 9)
    assert third.attempt == 3


def test_requeue_with_a_delay_comes_back_after_it(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.requeue(0.4)
    assert queue.status(reservation.job_id).state is JobState.SCHEDULED
    assert_nothing_ready(queue)
    assert queue.reserve(10).redelivered


def test_requeue_as_the_lease_port_names_it(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.requeue(delay=0.0)
    assert queue.reserve(0).attempt == 2


@pytest.mark.parametrize("second", SETTLE)
@pytest.mark.parametrize("first", SETTLE)
def test_settling_a_settled_reservation_does_nothing(queue: JobQueue, first: str, second: str) -> None:
    reservation = _reserved(queue)
    getattr(reservation, first)()
    before = queue.status(reservation.job_id)
    assert before.state == ENDS[first]
    getattr(reservation, second)()
    assert queue.status(reservation.job_id) == before


def test_settling_after_requeue_does_not_touch_the_next_holder(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    reservation.requeue()
    again = queue.reserve(0)
    for settle in SETTLE:
        getattr(reservation, settle)()
    assert queue.status(again.job_id).state is JobState.LEASED
    again.ack()
    assert queue.status(again.job_id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("how", ["ack", "fail"])
def test_a_result_json_cannot_hold_leaves_the_job_running(queue: JobQueue, how: str) -> None:
    reservation = _reserved(queue)
    for bad in ({1, 2}, float("nan"), [float("inf")], b"x", object(), {"a": {1}}):
        with pytest.raises(InvalidJob) as refused:
            getattr(reservation, how)(result=bad)
        assert refused.value.field == "result"
    assert queue.status(reservation.job_id).state is JobState.LEASED
    reservation.ack("now it fits")
    assert queue.status(reservation.job_id).result == "now it fits"


def test_a_senseless_delay_is_refused_and_the_job_stays_reserved(queue: JobQueue) -> None:
    reservation = _reserved(queue)
    for delay in (-1, float("nan"), float("inf"), "1", 1e30):
        with pytest.raises(InvalidJob) as refused:
            reservation.requeue(delay)  # type: ignore[arg-type]
        assert refused.value.field == "delay"
    assert queue.status(reservation.job_id).state is JobState.LEASED
    reservation.ack()


@pytest.mark.native
@pytest.mark.parametrize("settle", SETTLE)
def test_whoever_runs_a_canceled_job_finds_out_when_settling(queue: JobQueue, settle: str) -> None:
    reservation = _reserved(queue)
    queue.cancel(reservation.job_id)
    with pytest.raises(Canceled) as told:
        getattr(reservation, settle)()
    assert told.value.job_id == reservation.job_id
    assert queue.status(reservation.job_id).state is JobState.CANCELED
    assert_nothing_ready(queue)


def test_ack_many_ends_all(queue: JobQueue) -> None:
    for n in range(25):
        queue.enqueue("default", n)
    held = queue.reserve_many(25, 0)
    assert queue.ack_many(held) == []
    assert {queue.status(r.job_id).state for r in held} == {JobState.SUCCEEDED}
    assert_nothing_ready(queue)


def test_ack_many_of_nothing_does_nothing(queue: JobQueue) -> None:
    assert queue.ack_many([]) == []


def test_ack_many_passes_over_what_is_settled(queue: JobQueue) -> None:
    for n in range(4):
        queue.enqueue("default", n)
    held = queue.reserve_many(4, 0)
    held[0].ack("first")
    held[1].fail("second")
    assert queue.ack_many(held) == []
    assert queue.ack_many(iter(held)) == []
    statuses = [queue.status(r.job_id) for r in held]
    assert [s.state for s in statuses] == ["succeeded", "failed", "succeeded", "succeeded"]
    assert statuses[0].result == "first"


def test_ack_many_returns_those_whose_lease_was_lost(make_queue: MakeQueue) -> None:
    queue, winner = make_queue(lease=0.3), make_queue()
    for n in range(3):
        queue.enqueue("default", n)
    lost = queue.reserve(0, renew=False)
    kept = queue.reserve_many(2, 0)
    current = wait_until(lambda: winner.reserve(15))
    assert current.job_id == lost.job_id
    assert queue.ack_many([lost, *kept]) == [lost]
    assert [queue.status(r.job_id).state for r in kept] == ["succeeded", "succeeded"]
    current.ack("winner")
    assert queue.status(lost.job_id).result == "winner"


@pytest.mark.parametrize("first", [0, 1])
def test_ack_many_tells_the_hand_outs_of_one_job_apart(make_queue: MakeQueue, first: int) -> None:
    queue, winner = make_queue(lease=0.3), make_queue()
    queue.enqueue("default")
    stale = queue.reserve(0, renew=False)
    both = [stale, winner.reserve(15)]
    assert winner.ack_many([both[first], both[1 - first]]) == [stale]
    status = queue.status(stale.job_id)
    assert (status.state, status.attempt) == (JobState.SUCCEEDED, 2)


def test_ack_many_releases_dependents(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", n) for n in range(10)]
    last = queue.enqueue("last", depends_on=ids)
    queue.ack_many(queue.reserve_many(10, 0))
    assert queue.reserve(0, queues=["last"]).job_id == last


def test_another_job_queue_can_settle_by_ack_many(make_queue: MakeQueue) -> None:
    holder, other = make_queue(), make_queue()
    reservation = _reserved(holder)
    assert other.ack_many([reservation]) == []
    assert other.status(reservation.job_id).state is JobState.SUCCEEDED
