"""Celery workers that end: warm, soft, cold, by several signals, in the middle of everything, and what becomes of tasks.

The table in `test_celery_smoke` says which of Celery's own scenarios are here.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import Any

import pytest
from celery import chain
from transport_workers import Bench, Worker, labels

from kombu_depqueue.errors import Empty
from kombu_depqueue.testing.helpers import wait_until

TERM, QUIT = signal.SIGTERM, signal.SIGQUIT
LATE = {"task_acks_late": True}
REMAP = {"REMAP_SIGTERM": "SIGQUIT"}
AT_ONCE = 3.0
"""Seconds within which another worker has what was given back: far less than the lease, 30 s."""
SESSION = 6.0
"""The same for a worker that gave nothing back: PostgreSQL shows that its session has ended."""

POOLS = ["prefork", "threads", "solo", "gevent"]


def _start(bench: Bench, label: Any, count: int = 1) -> dict[str, Any]:
    return bench.facts.wait("start", count=count, label=label, timeout=30)[-1]


def _signal(worker: Worker, *signals: signal.Signals) -> None:
    """Send them one after the other, until it has ended."""
    for one in signals:
        worker.process.send_signal(one)
        with suppress(Exception):
            worker.process.wait(0.5)


def _nothing_is_left(bench: Bench, name: str = "celery") -> None:
    with bench.native() as queue:
        wait_until(lambda: not [q for q in queue.queues() if q.name == name and q.ready + q.leased + q.scheduled], 30)


def _leased(bench: Bench, count: int) -> None:
    with bench.native() as queue:
        wait_until(lambda: [q.leased for q in queue.queues() if q.name == "celery"] == [count])


def _have_ended(pids: list[int]) -> bool:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)
            return False
    return True


# warm


@pytest.mark.drawn("database", "pool")
@pytest.mark.parametrize("pool", POOLS)
def test_leases_are_renewed_to_the_end_of_a_warm_shutdown(bench: Bench, pool: str) -> None:
    """However often it is asked for."""
    broker = f"{bench.broker}&lease=1"
    first = bench.worker("-c", "2", pool=pool, name="first", conf=LATE, broker=broker).ready()
    bench.send("hold", "long")
    _start(bench, "long")
    second = bench.worker("-c", "1", pool="threads", name="second", conf=LATE, broker=broker).ready()
    _signal(first, TERM, TERM, TERM)
    with bench.native() as queue, pytest.raises(Empty):
        queue.reserve(2.5, queues=["celery"])  # whoever looks gets nothing for several lease times
    assert first.process.poll() is None
    bench.let_go("long")
    assert first.wait() == 0
    assert len(bench.facts("end", label="long")) == 1
    bench.send("note", "next")
    assert _start(bench, "next")["pid"] == second.pid
    assert len(bench.facts("start", label="long")) == 1
    _nothing_is_left(bench)


@pytest.mark.drawn("database", "pool", chance=0.5)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_tasks_held_back_by_a_rate_limit_go_to_others_at_a_warm_shutdown(bench: Bench, pool: str) -> None:
    limited = {**LATE, "task_annotations": {"t.note": {"rate_limit": "1/m"}}}
    first = bench.worker("-c", "1", pool=pool, name="first", conf=limited).ready()
    for n in range(4):
        bench.send("note", n)
    bench.facts.wait("end", label=0)
    _leased(bench, 3)
    second = bench.worker("-c", "1", pool="threads", name="second", conf=LATE).ready()
    first.terminate()
    assert first.wait() == 0
    ended = time.time()
    for n in range(1, 4):
        again = _start(bench, n)
        assert again["pid"] == second.pid
        assert again["at"] - ended < AT_ONCE
        assert again["info"]["redelivered"] is True
    assert sorted(labels(bench.facts("start"))) == [0, 1, 2, 3]


# cold

WAYS = {
    # signals, environment, and whether it still gives back what it has
    "cold": ((QUIT,), {}, True),
    "remapped": ((TERM,), REMAP, True),
    "cold twice": ((QUIT, QUIT), {}, False),
    "warm, then cold twice": ((TERM, QUIT, QUIT), {}, False),
    "remapped twice": ((TERM, TERM), REMAP, False),
}


@pytest.mark.only("postgresql", "sqlite")
@pytest.mark.drawn("database", "way")
@pytest.mark.parametrize("way", WAYS)
def test_a_cold_shutdown_leaves_its_tasks_to_others(bench: Bench, way: str) -> None:
    """What runs is ended with its processes, and runs again elsewhere."""
    signals, environment, gives_back = WAYS[way]
    broker = bench.broker if gives_back or "postgresql" in bench.broker else f"{bench.broker}&lease=3"
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=LATE, env=environment, broker=broker).ready()
    children = [f["pid"] for f in bench.facts("child")]
    bench.send("hold", "long")
    for n in range(3):
        bench.send("note", n)
    _start(bench, "long")
    second = bench.worker("-c", "1", pool="threads", name="second", conf=LATE, broker=broker).ready()
    _signal(first, *signals)
    first.wait()
    ended = time.time()
    again = _start(bench, "long", 2)
    assert again["at"] - ended < (AT_ONCE if gives_back else SESSION)
    assert (again["pid"], again["info"]["redelivered"]) == (second.pid, True)
    for n in range(3):
        assert _start(bench, n)["pid"] == second.pid
    wait_until(lambda: _have_ended(children))
    assert len(bench.facts("start")) == 5
    assert len(bench.facts("end")) == 4
    _nothing_is_left(bench)


# soft


@pytest.mark.only("postgresql", "sqlite")
@pytest.mark.drawn("database", "remapped", "lease")
@pytest.mark.parametrize("remapped", [False, True])
@pytest.mark.parametrize("lease", [1, 30])
def test_a_soft_shutdown_gives_tasks_their_time(bench: Bench, remapped: bool, lease: int) -> None:
    """What ends within it has ended; the rest goes back when it is over, and not before."""
    broker = f"{bench.broker}&lease={lease}"
    conf = {**LATE, "worker_soft_shutdown_timeout": 4.0, "task_time_limit": 100, "task_soft_time_limit": 90}
    env = REMAP if remapped else {}
    first = bench.worker("-c", "2", pool="prefork", name="first", conf=conf, broker=broker, env=env).ready()
    for label in ("short", "long"):
        bench.send("hold", label)
        _start(bench, label)
    bench.send("note", "fetched")
    _leased(bench, 3)
    second = bench.worker("-c", "2", pool="threads", name="second", conf=LATE, broker=broker).ready()
    first.process.send_signal(TERM if remapped else QUIT)
    asked = time.time()
    wait_until(lambda: "Initiating Soft Shutdown" in first.said())
    bench.let_go("short")
    assert bench.facts.wait("end", label="short")[0]["at"] < asked + 3
    first.wait()
    ended = time.time()
    assert ended - asked >= 3.9
    again = _start(bench, "long", 2)
    assert again["at"] > asked + 3.9, "not while it still had time"
    assert again["at"] - ended < AT_ONCE
    assert (again["pid"], again["info"]["redelivered"]) == (second.pid, True)
    _start(bench, "fetched")
    assert len(bench.facts("start", label="short")) == 1, "it has ended, and its ack was kept"
    assert len(bench.facts("start", label="fetched")) == 1
    _nothing_is_left(bench)


@pytest.mark.drawn("database", chance=0.5)
def test_a_soft_shutdown_is_cut_short_by_more_signals(bench: Bench) -> None:
    broker = f"{bench.broker}&lease=3"
    conf = {**LATE, "worker_soft_shutdown_timeout": 60.0}
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=conf, broker=broker).ready()
    bench.send("hold", "long")
    _start(bench, "long")
    began = time.monotonic()
    _signal(first, QUIT, QUIT, QUIT, QUIT)
    first.wait()
    assert time.monotonic() - began < 20
    bench.worker("-c", "1", pool="solo", name="second", conf=LATE, broker=broker).ready()
    assert _start(bench, "long", 2)["info"]["redelivered"] is True
    _nothing_is_left(bench)


@pytest.mark.drawn("database", "idle", chance=0.5)
@pytest.mark.parametrize("idle", [True, False])
def test_a_soft_shutdown_with_tasks_of_the_future_alone(bench: Bench, idle: bool) -> None:
    """They are in no worker: it is idle, and waits only if it is told to. They run elsewhere when they are due."""
    conf = {**LATE, "worker_soft_shutdown_timeout": 3.0, "worker_enable_soft_shutdown_on_idle": idle}
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=conf).ready()
    due = time.time() + 6
    bench.send("note", "future", countdown=6)
    began = time.monotonic()
    first.process.send_signal(QUIT)
    first.wait()
    assert ("Initiating Soft Shutdown" in first.said()) is idle
    assert time.monotonic() - began >= (2.9 if idle else 0)
    second = bench.worker("-c", "1", pool="solo", name="second", conf=LATE).ready()
    ready = time.time()
    start = _start(bench, "future")
    assert due - 0.1 <= start["at"] < max(due, ready) + AT_ONCE
    assert (start["pid"], start["info"]["redelivered"]) == (second.pid, False)
    _nothing_is_left(bench)


# restarts


@pytest.mark.drawn("database", chance=0.5)
def test_the_pool_is_started_anew_between_tasks_and_in_the_middle_of_one(bench: Bench) -> None:
    worker = bench.worker("-c", "1", pool="prefork", conf={**LATE, "worker_pool_restarts": True}).ready()
    children = {f["pid"] for f in bench.facts("child")}
    between = chain(bench.signature("add", 1, 2), bench.signature("add", 3).set(countdown=3), app=bench.app)()
    assert between.parent.get(timeout=30) == 3
    bench.app.control.pool_restart(reply=True, timeout=10, limit=1)
    wait_until(lambda: _have_ended(list(children)))
    assert between.get(timeout=30) == 6
    long = bench.send("hold", "long")
    _start(bench, "long")
    bench.app.control.pool_restart()
    bench.let_go("long")
    assert long.get(timeout=60) == "long"
    assert bench.send("add", 1, 2).get(timeout=30) == 3
    assert worker.process.poll() is None
    _nothing_is_left(bench)


@pytest.mark.drawn("database", chance=0.5)
def test_a_chain_goes_on_after_all_workers_have_gone(bench: Bench) -> None:
    """Killed, and ended in order; the ones that come later do the rest."""
    broker = f"{bench.broker}&lease=3"
    first = [bench.worker(pool="solo", name=name, conf=LATE, broker=broker) for name in ("one", "two")]
    for worker in first:
        worker.ready()
    add = bench.signature
    result = chain(add("add", 1, 2), add("add", 3).set(countdown=4), add("add", 4), app=bench.app)()
    assert result.parent.parent.get(timeout=30) == 3
    first[0].kill()
    first[1].terminate()
    assert first[1].wait() == 0
    bench.worker(pool="solo", name="one", conf=LATE, broker=broker).ready()
    assert result.get(timeout=30) == 10
    _nothing_is_left(bench)


# death and pauses


@pytest.mark.only("postgresql", "sqlite")
@pytest.mark.drawn("database")
def test_a_parent_that_is_killed_takes_its_children_with_it(bench: Bench) -> None:
    """The task does not go on in a child while another worker, which soon has it, runs it again."""
    broker = bench.broker if "postgresql" in bench.broker else f"{bench.broker}&lease=3"
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=LATE, broker=broker).ready()
    children = [f["pid"] for f in bench.facts("child")]
    result = bench.send("hold", "held")
    _start(bench, "held")
    second = bench.worker("-c", "1", pool="solo", name="second", conf=LATE, broker=broker).ready()
    os.kill(first.pid, signal.SIGKILL)  # and not its children
    first.process.wait()
    killed = time.time()
    wait_until(lambda: _have_ended(children))
    again = _start(bench, "held", 2)
    assert again["at"] - killed < SESSION
    assert (again["pid"], again["info"]["redelivered"]) == (second.pid, True)
    assert result.get(timeout=30) == "held"
    assert len(bench.facts("end")) == 1
    assert len(bench.facts("start")) == 2
    _nothing_is_left(bench)


@pytest.mark.drawn("database", "pool", chance=0.5)
@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent"])
def test_a_worker_that_is_stopped_for_longer_than_its_lease(bench: Bench, pool: str) -> None:
    """Another takes over what it held; awake again it loses nothing more, and works on."""
    broker = f"{bench.broker}&lease=1"
    first = bench.worker("-c", "2", pool=pool, name="first", conf=LATE, broker=broker).ready()
    held = bench.send("hold", "held")
    _start(bench, "held")
    os.killpg(first.pid, signal.SIGSTOP)
    try:
        second = bench.worker("-c", "1", pool="solo", name="second", conf=LATE, broker=broker).ready()
        again = _start(bench, "held", 2)
    finally:
        bench.let_go("held")
        os.killpg(first.pid, signal.SIGCONT)
    assert (again["pid"], again["info"]["redelivered"]) == (second.pid, True)
    assert held.get(timeout=30) == "held"
    bench.facts.wait("end", count=2, label="held")
    second.terminate()
    assert second.wait() == 0
    assert bench.send("add", 1, 2).get(timeout=30) == 3
    assert len(bench.facts("start", label="held")) == 2
    _nothing_is_left(bench)
