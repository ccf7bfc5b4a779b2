"""Leases: one holder, renewed while it lives, fenced by the token."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, Empty, InvalidJob, LeaseLost
from kombu_depqueue.job import JobState
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.ports import Reservation
from kombu_depqueue.testing import programs
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import (
    assert_nothing_ready,
    in_threads,
    reserve_and_lose,
    wait_for_state,
    wait_until,
)

STALE: dict[str, Callable[[JobQueue, Reservation], object]] = {
    "ack": lambda _, r: r.ack("stale"),
    "requeue": lambda _, r: r.requeue(),
    "requeue later": lambda _, r: r.requeue(5),
    "fail": lambda _, r: r.fail("stale"),
    "reject": lambda _, r: r.reject(),
    "extend": lambda _, r: r.extend(60),
    "finish": lambda q, r: q.finish(r.job_id, "stale", token=r.token),
    "fail_job": lambda q, r: q.fail_job(r.job_id, "stale", token=r.token),
    "requeue_or_finish": lambda q, r: q.requeue_or_finish(r.job_id, 5, token=r.token),
    "requeue_or_finish at the end": lambda q, r: q.requeue_or_finish(r.job_id, 0, token=r.token),
    "refresh_heartbeat": lambda q, r: q.refresh_heartbeat(r.token),
    "job_id_of": lambda q, r: q.job_id_of(r.token),
}


@pytest.mark.parametrize("operation", STALE)
def test_a_stale_token_is_refused_and_changes_nothing(make_queue: MakeQueue, operation: str) -> None:
    queue, winner = make_queue(lease=0.3), make_queue()
    stale, current = reserve_and_lose(queue, queue.enqueue("default"), winner)
    before = queue.status(stale.job_id)
    with pytest.raises(LeaseLost):
        STALE[operation](queue, stale)
    assert queue.status(stale.job_id) == before
    current.ack("current")
    assert queue.status(stale.job_id).result == "current"


@pytest.mark.parametrize("operation", ["ack", "requeue", "extend", "finish", "refresh_heartbeat"])
def test_a_stale_token_is_refused_in_the_same_job_queue_too(make_queue: MakeQueue, operation: str) -> None:
    queue = make_queue(lease=0.3)
    stale, current = reserve_and_lose(queue, queue.enqueue("default"), queue)
    assert stale.token != current.token
    with pytest.raises(LeaseLost):
        STALE[operation](queue, stale)
    assert queue.status(stale.job_id).state is JobState.LEASED
    current.ack()


def test_a_stale_token_is_refused_beside_a_current_one(queue: JobQueue) -> None:
    """Those of one claim have one token: that of the neighbour must not vouch for the job."""
    first, second = queue.enqueue("default"), queue.enqueue("default")
    stale = queue.dequeue_by_id(first)
    stale.requeue()
    stale.settled = False  # as if nobody here knew that the lease is lost
    current = {r.job_id: r for r in queue.reserve_many(2, 10)}
    assert queue.ack_many([stale, current[second]]) == [stale]
    assert queue.status(first).state is JobState.LEASED
    current[first].ack()


@pytest.mark.parametrize("operation", ["extend", "refresh_heartbeat", "job_id_of"])
@pytest.mark.parametrize("end", ["ack", "requeue", "fail", "cancel"])
def test_the_token_of_a_settled_job_is_worth_nothing(queue: JobQueue, end: str, operation: str) -> None:
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    if end == "cancel":
        queue.cancel(job_id)
    else:
        getattr(reservation, end)()
    before = queue.status(job_id)
    with pytest.raises((LeaseLost, Canceled) if end == "cancel" else LeaseLost):
        STALE[operation](queue, reservation)
    assert queue.status(job_id) == before


def test_an_expired_lease_is_redelivered_once(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.4)
    job_id = queue.enqueue("default")
    lost = queue.reserve(0, renew=False)
    consumers = [make_queue() for _ in range(4)]

    def consume(consumer: JobQueue) -> Reservation | None:
        try:
            return consumer.reserve(1.8)
        except Empty:
            return None

    got = [r for r in in_threads([partial(consume, c) for c in consumers]) if r is not None]
    assert [(r.job_id, r.attempt, r.redelivered) for r in got] == [(job_id, 2, True)]  # type: ignore[union-attr]
    assert got[0].token != lost.token  # type: ignore[union-attr]


def test_a_lease_does_not_expire_early(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.8), make_queue()
    queue.enqueue("default")
    begin = time.monotonic()
    queue.reserve(0, renew=False)
    other.reserve(15)
    assert 0.8 <= time.monotonic() - begin < 0.8 + 5


def test_a_lease_is_renewed_while_its_holder_is_busy(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=1.0), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0)
    assert_nothing_ready(other, 2.1)
    reservation.ack("done once")
    status = queue.status(reservation.job_id)
    assert (status.result, status.attempt) == ("done once", 1)


def test_one_holder_renews_all_its_leases(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=1.0), make_queue()
    for n in range(20):
        queue.enqueue("default", n)
    held = queue.reserve_many(10, 0) + [queue.reserve(0) for _ in range(10)]
    assert_nothing_ready(other, 1.6)
    assert queue.ack_many(held) == []


def test_settling_one_job_keeps_the_leases_of_the_others(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.7), make_queue()
    for n in range(3):
        queue.enqueue("default", n)
    held = queue.reserve_many(3, 0)
    held[1].ack()
    assert_nothing_ready(other, 1.4)
    held[2].ack()
    held[0].ack()


@pytest.mark.parametrize("renew", [False, True])
def test_a_holder_without_renewal_does_not_disturb_one_with_it(make_queue: MakeQueue, renew: bool) -> None:
    queue, other = make_queue(lease=0.7), make_queue()
    ids = [queue.enqueue("default", n) for n in range(2)]
    first, second = queue.reserve(0, renew=renew), queue.reserve(0, renew=not renew)
    again = other.reserve(15)
    assert again.job_id == ids[1 if renew else 0]
    assert_nothing_ready(other, 1.0)
    (first if renew else second).ack()


@pytest.mark.parametrize("swept", [False, True], ids=["unnoticed", "noticed"])
@pytest.mark.parametrize(
    ("settle", "state"),
    [("ack", "succeeded"), ("fail", "failed"), ("reject", "failed"), ("requeue", "ready")],
)
def test_settling_after_expiry_but_before_redelivery_is_accepted(
    make_queue: MakeQueue, settle: str, state: str, swept: bool
) -> None:
    queue = make_queue(lease=0.3)
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    if swept:
        wait_for_state(queue, job_id, JobState.READY)
    else:
        time.sleep(0.4)
    getattr(reservation, settle)()
    assert queue.status(job_id).state == state
    if settle == "requeue":
        assert queue.reserve(0).attempt == 2
    else:
        assert_nothing_ready(queue)


def test_a_third_of_a_lease_is_left_at_least_when_it_begins(
    make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that renews may be late: on a busy machine, or behind others' writes to a SQLite file."""
    monkeypatch.setattr(Keeper, "beat", lambda self: None)
    queue, other = make_queue(lease=3.0), make_queue()
    queue.enqueue("default")
    queue.reserve(0).ack()
    time.sleep(2.6)
    queue.enqueue("default")
    queue.reserve(0)
    assert_nothing_ready(other, 1.0)


def test_finishing_by_token_after_expiry_but_before_redelivery_is_accepted(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.3), make_queue()
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    time.sleep(0.4)
    other.finish(job_id, "late", token=reservation.token)
    assert other.status(job_id).result == "late"


def test_a_refreshed_lease_after_expiry_but_before_redelivery_is_kept(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.3), make_queue(lease=30)
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    time.sleep(0.4)
    other.refresh_heartbeat(reservation.token)
    assert_nothing_ready(other, 0.5)
    reservation.ack()
    assert queue.status(job_id).state is JobState.SUCCEEDED


def test_a_token_tells_its_job_in_any_job_queue(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    for n in range(3):
        queue.enqueue("default", n)
    for reservation in queue.reserve_many(3, 0):
        assert other.job_id_of(reservation.token) == reservation.job_id


def test_a_token_settles_the_job_in_another_job_queue(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    other.finish(job_id, "elsewhere", token=reservation.token)
    assert queue.status(job_id).result == "elsewhere"
    with pytest.raises(LeaseLost):
        reservation.ack("here")
    assert queue.status(job_id).result == "elsewhere"


def test_a_token_settles_the_job_in_another_process(
    queue: JobQueue, run_process: RunProcess, database_url: str
) -> None:
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    child = run_process(programs.finish_with_token, database_url, str(job_id), reservation.token)
    pid = child.heard()
    child.wait()
    assert queue.status(job_id).result == {"by": pid}


def test_another_process_keeps_the_lease_and_when_it_dies_the_job_is_ready_again(
    make_queue: MakeQueue, run_process: RunProcess, database_url: str
) -> None:
    queue, other = make_queue(lease=4.0), make_queue()
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    child = run_process(programs.refresh_until_told, database_url, {"lease": 0.8}, reservation.token)
    assert child.heard() == "refreshed"
    assert_nothing_ready(other, 4.0)
    child.tell("stop")
    child.wait()
    again = other.reserve(15)
    assert (again.job_id, again.redelivered) == (job_id, True)


def test_a_refreshed_lease_stands_by_itself(make_queue: MakeQueue) -> None:
    holder, worker, other = make_queue(lease=30), make_queue(lease=0.6), make_queue()
    job_id = holder.enqueue("default")
    reservation = holder.reserve(0)
    worker.refresh_heartbeat(reservation.token)
    again = other.reserve(15)  # although the holder lives
    assert again.job_id == job_id
    with pytest.raises(LeaseLost):
        worker.refresh_heartbeat(reservation.token)


def test_a_refreshed_lease_outlives_the_job_queue_that_reserved(make_queue: MakeQueue) -> None:
    holder, worker = make_queue(), make_queue()
    job_id = holder.enqueue("default")
    reservation = holder.reserve(0, renew=False)
    worker.refresh_heartbeat(reservation.token)
    holder.close()
    assert worker.status(job_id).state is JobState.LEASED
    worker.finish(job_id, "kept", token=reservation.token)
    assert worker.status(job_id).result == "kept"


def test_heartbeats_lists_the_tokens_by_age(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=30)
    for n in range(3):
        queue.enqueue("default", n)
    assert queue.heartbeats(0) == []
    held = [queue.reserve(0, renew=False) for _ in range(3)]
    assert sorted(queue.heartbeats(0)) == sorted(r.token for r in held)
    assert queue.heartbeats(60) == []
    wait_until(lambda: len(queue.heartbeats(0.8)) == 3)
    queue.refresh_heartbeat(held[1].token)
    held[2].ack()
    assert queue.heartbeats(0.8) == [held[0].token]


def test_heartbeats_names_a_renewed_lease_only_when_asked_for_all(make_queue: MakeQueue) -> None:
    queue, monitor = make_queue(lease=1.2), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0)
    end = time.monotonic() + 1.6
    while time.monotonic() < end:
        assert monitor.heartbeats(1.2) == []
        time.sleep(0.05)
    assert monitor.heartbeats(0) == [reservation.token]


def test_the_monitor_of_the_successor_gives_lost_jobs_another_try(make_queue: MakeQueue) -> None:
    worker, monitor = make_queue(lease=30), make_queue()
    job_id = worker.enqueue("default")
    worker.reserve(0, renew=False)
    tokens = wait_until(lambda: monitor.heartbeats(0.2))
    assert [monitor.job_id_of(t) for t in tokens] == [job_id]
    assert monitor.requeue_or_finish(monitor.job_id_of(tokens[0]), 1)
    assert monitor.reserve(0).attempt == 2


def test_extend_lets_the_lease_last_at_least_so_long(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.4), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    begin = time.monotonic()
    reservation.extend(1.2)
    other.reserve(15)
    assert 1.2 <= time.monotonic() - begin < 1.2 + 5


def test_extend_again_and_again_is_a_heartbeat(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.4), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0, renew=False)
    for _ in range(6):
        reservation.extend(0.9)
        assert_nothing_ready(other, 0.2)
    reservation.ack()


def test_extend_never_shortens_a_lease(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=30), make_queue()
    for n in range(2):
        queue.enqueue("default", n)
    for renew in (True, False):
        queue.reserve(0, renew=renew).extend(0.05)
    assert_nothing_ready(other, 1.0)


@pytest.mark.native
def test_extend_does_not_end_the_renewal(make_queue: MakeQueue) -> None:
    queue, other = make_queue(lease=0.8), make_queue()
    queue.enqueue("default")
    reservation = queue.reserve(0)
    reservation.extend(1.0)
    assert_nothing_ready(other, 1.8)
    reservation.ack("done once")
    assert queue.status(reservation.job_id).attempt == 1


def test_a_senseless_extension_is_refused(queue: JobQueue) -> None:
    queue.enqueue("default")
    reservation = queue.reserve(0)
    for seconds in (-1, float("nan"), float("inf"), "1"):
        with pytest.raises(InvalidJob):
            reservation.extend(seconds)  # type: ignore[arg-type]
    reservation.ack()


def test_what_is_no_token_is_refused(queue: JobQueue) -> None:
    for token in ("", "nonsense", "\0", "é", "1" * 5000, 7, None):
        with pytest.raises(InvalidJob):
            queue.refresh_heartbeat(token)  # type: ignore[arg-type]
        with pytest.raises((InvalidJob, LeaseLost)):
            queue.job_id_of(token)  # type: ignore[arg-type]


def test_a_token_altered_by_one_character_is_worth_nothing(queue: JobQueue) -> None:
    job_id = queue.enqueue("default")
    token = queue.reserve(0).token
    for position in (0, len(token) // 2, len(token) - 1):
        altered = token[:position] + ("1" if token[position] != "1" else "2") + token[position + 1 :]
        with pytest.raises((LeaseLost, InvalidJob)):
            queue.finish(job_id, token=altered)
        with pytest.raises((LeaseLost, InvalidJob)):
            queue.refresh_heartbeat(altered)
    assert queue.status(job_id).state is JobState.LEASED


def test_closing_gives_all_reservations_back_at_once(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    ids = [queue.enqueue("default", n) for n in range(5)]
    queue.reserve_many(5, 0)
    later = other.enqueue("default", "later")
    queue.close()
    got = other.reserve_many(10, 0)
    assert [r.job_id for r in got] == [*ids, later]
    assert [r.redelivered for r in got] == [True] * 5 + [False]
