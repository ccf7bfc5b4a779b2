"""Clocks that are wrong: the database's alone decides when a job is due and how long a lease lasts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from faults import clock as clocks
from faults.clock import Clock
from faults.needs import had
from faults.servers import OwnServer
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue, JobState, LeaseLost
from kombu_depqueue.testing.helpers import ChildProcess, assert_nothing_ready, drain, wait_for_state

pytestmark = pytest.mark.xdist_group("own servers")


@pytest.fixture(scope="module")
def ticking() -> Iterator[tuple[OwnServer, Clock]]:
    with had(clocks.ticking_postgresql()) as made:
        yield made


@pytest.fixture
def clock(ticking: tuple[OwnServer, Clock]) -> Iterator[Clock]:
    yield ticking[1]
    ticking[1].set(0.0)


@pytest.fixture
def make(ticking: tuple[OwnServer, Clock]) -> Iterator[Callable[..., JobQueue]]:
    server, clock = ticking
    with ExitStack() as opened:
        yield lambda **options: opened.enter_context(JobQueue(server.url, create=True, poll_interval=0.1, **options))
        clock.set(0.0)
        with JobQueue(server.url) as queue:
            queue.purge("t")


def server_is_ahead(server: OwnServer) -> float:
    """Seconds."""
    engine = create_engine(server.url, poolclass=NullPool)
    with engine.connect() as connection:
        return float(
            (connection.execute(text("SELECT clock_timestamp()")).scalar_one() - datetime.now(UTC)).total_seconds()
        )


def test_the_servers_clock_jumps_while_it_runs_and_no_wait_takes_longer(
    ticking: tuple[OwnServer, Clock], clock: Clock
) -> None:
    server, _ = ticking
    assert abs(server_is_ahead(server)) < 5
    for jump in clocks.JUMPS:
        clock.set(jump)
        assert abs(server_is_ahead(server) - jump) < 5
    begin = time.monotonic()
    with create_engine(server.url, poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT pg_sleep(0.3)"))
    assert 0.25 < time.monotonic() - begin < 3


def test_two_hours_forward_expire_leases_once_and_make_due_what_was_delayed(
    clock: Clock, make: Callable[..., JobQueue]
) -> None:
    """Of two who held the job at one time or another one is accepted, and nothing is lost."""
    holder, other = make(lease=30.0), make(lease=30.0)
    held, later = holder.enqueue("t", "held"), holder.enqueue("t", "later", delay=3600.0)
    reservation = holder.dequeue_by_id(held, renew=False)
    clock.set(7200.0)
    found = {}
    for _ in range(2):
        one = other.reserve(15, queues=["t"])
        found[one.job_id] = one
    assert found.keys() == {held, later}
    assert [found[held].attempt, found[later].attempt] == [2, 1]
    with pytest.raises(LeaseLost):
        reservation.ack()
    for one in found.values():
        one.ack()
    clock.set(0.0)
    assert holder.enqueue("t") in drain(holder, ["t"])
    assert {holder.status(i).state for i in found} == {JobState.SUCCEEDED}


def test_who_lives_keeps_or_loses_a_job_over_a_jump_but_never_shares_it(
    clock: Clock, make: Callable[..., JobQueue]
) -> None:
    """A lease that is renewed may be gone after the jump; then its holder is refused, if another has had the job."""
    holder, other = make(lease=3.0), make(lease=3.0)
    for jump in (*clocks.JUMPS, 0.0):
        job_id = holder.enqueue("t")
        reservation = holder.reserve(5, queues=["t"])
        assert_nothing_ready(other, 0.0, ["t"])
        clock.set(jump)
        accepted = []
        for one in (*other.reserve_many(1, 1.5, queues=["t"]), reservation) if jump > 0 else (reservation,):
            try:
                one.ack()
                accepted.append(one.attempt)
            except LeaseLost:
                continue
        assert len(accepted) == 1, jump
        assert holder.status(job_id).state is JobState.SUCCEEDED


def test_an_hour_back_stretches_waits_and_loses_nothing(clock: Clock, make: Callable[..., JobQueue]) -> None:
    queue = make(lease=2.0)
    soon = queue.enqueue("t", delay=0.5)
    lost = queue.enqueue("u")
    queue.dequeue_by_id(lost, renew=False)
    clock.set(-3600.0)
    assert_nothing_ready(queue, 3.0, ["t", "u"])
    now = queue.enqueue("t", "at once")
    assert drain(queue, ["t"]) == [now]
    clock.set(0.0)
    wait_for_state(queue, soon, JobState.READY)
    wait_for_state(queue, lost, JobState.READY)
    assert set(drain(queue, ["t", "u"])) == {soon, lost}


PROGRAM = """
import sys, time
from datetime import datetime, timedelta, UTC
from kombu_depqueue import Empty, JobQueue
from kombu_depqueue.testing.helpers import hear, say
with JobQueue(sys.argv[1], lease=2.0, poll_interval=0.1) as queue:
    say(time.time())
    begin = time.monotonic()
    job_id = queue.enqueue("t", delay=1.0)
    found = queue.reserve(20, queues=["t"])
    say([found.job_id == job_id, time.monotonic() - begin])
    begin = time.monotonic()
    try:
        queue.reserve(0.5, queues=["t"])
    except Empty:
        say(time.monotonic() - begin)
    hear()
    found.ack()
    say(found.attempt)
"""


def test_the_clock_of_a_program_has_no_effect(
    ticking: tuple[OwnServer, Clock],
    make: Callable[..., JobQueue],
    monkeypatch: pytest.MonkeyPatch,
    full: bool,
    seed: int,
) -> None:
    """It delays, waits, holds and renews as long as others do."""
    other = make(lease=2.0)
    other.queues()
    shifts = [3600.0, -3600.0]
    for shift in shifts if full else [random.Random(seed).choice(shifts)]:
        with monkeypatch.context() as patch:
            for name, value in clocks.programs_clock(shift).items():
                patch.setenv(name, value)
            patch.syspath_prepend(clocks.SHIFTED)
            child = ChildProcess(PROGRAM, ticking[0].url)
        try:
            assert abs(child.heard() - time.time() - shift) < 30
            mine, waited = child.heard()
            assert mine
            assert 0.9 < waited < 6
            assert 0.45 < child.heard() < 4
            assert_nothing_ready(other, 3.0, ["t"])  # longer than its lease
            child.tell()
            assert child.heard() == 1
            child.wait()
        finally:
            child.close()
