"""Celery's own smoke scenarios (of 5.7), each as a test of ours; this file has those for which one worker is enough.

| Celery has | what | here |
| --- | --- | --- |
| test_worker | restart of pool or worker, in and between tasks | `test_celery_shutdown::test_the_pool_is_started_anew_between_tasks_and_in_the_middle_of_one`, `::test_a_chain_goes_on_after_all_workers_have_gone` |
| test_worker | warm shutdown, once and again and again; heartbeats (here: leases) kept meanwhile | `test_celery_workers::test_a_warm_shutdown_ends_what_runs_and_gives_back_the_rest_at_once`, `test_celery_shutdown::test_leases_are_renewed_to_the_end_of_a_warm_shutdown`, `::test_tasks_held_back_by_a_rate_limit_go_to_others_at_a_warm_shutdown` |
| test_worker | cold and hard shutdown, from warm, from cold, with REMAP_SIGTERM | `test_celery_workers::test_a_cold_shutdown_gives_everything_back_at_once`, `test_celery_shutdown::test_a_cold_shutdown_leaves_its_tasks_to_others` |
| test_worker | soft shutdown: tasks that end, tasks that do not, time limits, REMAP_SIGTERM, unacked tasks restored | `test_celery_shutdown::test_a_soft_shutdown_gives_tasks_their_time` |
| test_worker | hard from soft; soft when idle, with ETA | `test_celery_shutdown::test_a_soft_shutdown_is_cut_short_by_more_signals`, `::test_a_soft_shutdown_with_tasks_of_the_future_alone` |
| test_worker | a queue canceled by another name than its alias is not consumed after a reconnect | `test_celery_lost_database::test_a_canceled_queue_stays_canceled_after_a_reconnect` |
| test_worker | explicit routing, `task_create_missing_queues` off | `::test_queues_of_other_kinds` |
| test_tasks | children that are killed, exit, run out of time or of memory | `test_celery_children` |
| test_tasks | replaced tasks; soft and hard time limits (which is refused is between the task and Celery) | `::test_replaced_tasks`, `test_celery_pools::test_time_limits` |
| test_consumer | prefetch reduced and restored, tasks canceled at a lost connection, none fetched too many, going on after the broker | `test_celery_lost_database` |
| test_control | ping, shutdown with exit code 0 | `test_celery_workers::test_remote_control` |
| test_canvas | signatures, groups, chains, chords, nested; errors in their midst; results that are forgotten | `::test_workflows`, `::test_an_error_in_a_workflow_arrives`, `test_celery_pools` |
| test_dedup_chain_dispatch | `worker_deduplicate_successful_tasks` | `::test_a_redelivered_task_that_had_succeeded_calls_what_is_linked` |
| test_gossip | drift warnings | not joined: see docs/move-from-redis-or-rabbitmq.md |
| test_rpc_backend | results by `rpc://`, nothing left behind by asking again | `::test_results_by_rpc_leave_nothing_behind` |
| test_signals | signals of workers and of publishing | `::test_signals_of_a_publish`; `transport_app` itself lives by those of workers |
| test_thread_safe | publishing from many threads | `::test_publishing_from_many_threads` |
| failover | the first broker dies, comes back; workers die | `test_celery_lost_database::test_a_failover_list`, `test_celery_workers` (death), `test_celery_shutdown` (death and pauses) |
| quorum_queues | delays of all kinds, retries in circles, chord_unlock in another queue, queue types | `::test_delays_of_all_kinds`, `::test_queues_of_other_kinds`, `test_celery_pools` (retries, times) |
| stamping | stamps, hops, several, of callbacks and of replaced tasks | `::test_stamps_reach_the_task` |
| stamping | revoke by stamps, before and after the publish | `::test_revoking_by_stamps` |
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fcntl import LOCK_EX, flock
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group, signals, states
from celery.canvas import Signature, StampingVisitor
from celery.exceptions import ChordError, TaskRevokedError
from kombu import Exchange, Queue
from transport_workers import Bench

from kombu_depqueue.testing.helpers import wait_until

pytestmark = pytest.mark.drawn("database", "pool", module=True)

SOON = 60.0


def _workflows(sig: Any) -> dict[str, tuple[Signature, Any]]:
    one, two, total = sig("add", 1, 1, immutable=True), sig("add", 2, 2, immutable=True), sig("total")
    body = sig("add", 7, 7, immutable=True)
    inner = sig("add", 1) | group(one, two) | two
    return {
        "groups in a group": (group(group(one, two), group([one, two]), group(s for s in [one, two])), [2, 4] * 3),
        "chains in a chain": (chain(one, two) | (two | one), 2),
        "a group after a group": (chain(group(one, two) | group(two, one), (one | two)), 4),
        "chords in a group": (group(group(one, two) | body, chord([one, one], body), chord([two], total)), [14, 14, 4]),
        "a chord whose body is a chord": (chord([one, two], chord([two, two], total)), 8),
        "chains of groups in groups": (one | group(inner, inner) | one, 2),
    }


def test_workflows(pooled: Bench) -> None:
    running = [(flow.apply_async(), wanted) for flow, wanted in _workflows(pooled.signature).values()]
    assert [result.get(timeout=SOON) for result, _ in running] == [wanted for _, wanted in running]


def test_an_error_in_a_workflow_arrives(pooled: Bench) -> None:
    """Wherever it happens, and whatever would have come after it."""
    sig = pooled.signature
    one, bad = sig("add", 1, 1, immutable=True), sig("fail", "in the midst", immutable=True)
    bodies = [one, chain(one, one), group([one, one]), chord(group([one, one]), one)]
    workflows = [chain(one, group(one, bad), one, one), *(chord(group([one, bad]), body) for body in bodies)]
    for result in [flow.apply_async() for flow in workflows]:
        # Celery looks at the parents one after another: a chord may fail just after its header was looked at.
        with pytest.raises((ValueError, ChordError), match="in the midst"):
            result.get(timeout=SOON)
    assert pooled.shared is not None
    assert "task_id must not be empty" not in pooled.shared.said(1_000_000)


def test_replaced_tasks(pooled: Bench) -> None:
    """By a task of another queue, in the middle of a chain."""
    pooled.app.control.add_consumer("elsewhere", reply=True, timeout=10, limit=1)
    by = pooled.signature("add", 20, 20).set(queue="elsewhere")
    flow = pooled.signature("replaced_by", by) | pooled.signature("add", 2).set(queue="elsewhere")
    assert flow.apply_async().get(timeout=SOON) == 42


# stamps


class _Visitor(StampingVisitor):
    """Stamps tasks, and what is called after them otherwise."""

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"stamp": 42}

    def on_callback(self, callback: Any, **headers: Any) -> dict[str, Any]:
        return {"called": 2}


def test_stamps_reach_the_task(pooled: Bench) -> None:
    sig = pooled.signature
    task = sig("stamps")
    task.stamp(visitor=_Visitor())
    assert task.apply_async().get(timeout=SOON) == {"stamp": 42}
    hop = chain(
        sig("stamps").stamp(first=1), sig("stamps").stamp(second=2).set(countdown=1, priority=3), app=pooled.app
    )
    hop.stamp(both=3)
    last = hop.apply_async()
    assert last.parent.get(timeout=SOON) == {"first": 1, "both": 3}
    assert last.get(timeout=SOON) == {"second": 2, "both": 3}
    label = uuid4().hex
    linked = sig("add", 1, 1)
    linked.link(sig("stamps", immutable=True).stamp(own=1).set(task_id=label))
    linked.stamp(visitor=_Visitor())
    linked.apply_async()
    assert pooled.app.AsyncResult(label).get(timeout=SOON) == {"stamp": 42, "own": 1, "called": 2}
    replacing = sig("replaced_by", sig("stamps").stamp(mine=5))
    replacing.stamp(outer=6)
    assert replacing.apply_async().get(timeout=SOON) == {"mine": 5}, "only its own"


@pytest.mark.parametrize("when", ["before", "waiting", "running"])
def test_revoking_by_stamps(pooled: Bench, pool: str, when: str) -> None:
    if when == "running" and pool in ("solo", "threads"):
        pytest.skip(f"the pool {pool} cannot end a task")
    label = uuid4().hex
    task = pooled.signature("note", label, 30).set(countdown=1.5 if when == "waiting" else None)
    task.stamp(batch=label)

    def revoke() -> None:
        control = pooled.app.control
        assert control.revoke_by_stamped_headers({"batch": [label]}, terminate=True, reply=True, timeout=10, limit=1), (
            "the worker did not answer"
        )

    if when == "before":
        revoke()
    result = task.apply_async()
    if when != "before":
        if when == "running":
            pooled.facts.wait("start", label=label)
        revoke()
    with pytest.raises(TaskRevokedError):
        result.get(timeout=SOON)
    assert len(pooled.facts("start", label=label)) == (when == "running")
    assert pooled.facts("end", label=label) == []


# times


def test_delays_of_all_kinds(pooled: Bench) -> None:
    def now(seconds: float) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=seconds)

    began = time.time()
    far = pooled.send("note", "far", eta=now(25 * 3600))
    given: dict[str, dict[str, Any]] = {
        "as text": {"eta": now(1.5).isoformat()},
        "past": {"eta": now(-5).isoformat()},
        "zero": {"countdown": 0},
        "negative": {"countdown": -5},
        "short": {"countdown": 0.5},
    }
    label = uuid4().hex[:8]
    results = {kind: pooled.send("note", f"{label} {kind}", **options) for kind, options in given.items()}
    same = now(2)
    together = [pooled.send("note", f"{label} {n}", eta=same) for n in range(50)]
    steps = [pooled.send("note", f"{label} step {n}", countdown=n) for n in (1, 2, 3)]
    flow = chain(*(pooled.signature("add", *args).set(countdown=0.7) for args in ((1, 2), (3,), (4,))), app=pooled.app)
    chained = flow.apply_async()
    assert chained.get(timeout=SOON) == 10
    assert time.time() - began >= 3 * 0.7
    starts = {}
    for kind, result in results.items():
        result.get(timeout=SOON)
        starts[kind] = pooled.facts("start", label=f"{label} {kind}")[0]["at"] - began
    assert starts["as text"] >= 1.4
    assert starts["short"] >= 0.49
    assert all(starts[kind] < starts["as text"] for kind in ("past", "zero", "negative"))
    for result in together:
        result.get(timeout=SOON)
    assert all(f["at"] >= same.timestamp() for n in range(50) for f in pooled.facts("start", label=f"{label} {n}"))
    for result in steps:
        result.get(timeout=SOON)
    times = [pooled.facts("start", label=f"{label} step {n}")[0]["at"] - began for n in (1, 2, 3)]
    assert all(at >= n for n, at in enumerate(sorted(times), 1)), times
    assert far.state == states.PENDING
    with pooled.native() as queue:
        assert queue.cancel(far.id)


# routing


def test_queues_of_other_kinds(pooled: Bench) -> None:
    """Topic exchanges by default, queues called quorum, no queue made by itself, chord_unlock in a queue of its own."""
    name = f"other-{uuid4().hex[:6]}"
    app = pooled.producer(
        task_default_exchange=f"{name}-x",
        task_default_exchange_type="topic",
        task_default_queue_type="quorum",
        task_default_queue=name,
        task_default_routing_key=f"{name}.#",
        task_create_missing_queues=False,
        task_queues=[Queue(name, Exchange(f"{name}-x", "topic"), routing_key=f"{name}.#")],
        broker_transport_options={"confirm_publish": True},
        task_routes={"t.total": {"routing_key": f"{name}.totals"}},
    )
    tell = {"exchange": f"{name}-x", "exchange_type": "topic", "routing_key": f"{name}.#", "limit": 1}
    pooled.app.control.add_consumer(name, reply=True, timeout=10, **tell)
    total = app.tasks["t.total"]
    assert total.apply_async(([1, 2],)).get(timeout=SOON) == 3
    assert total.apply_async(([1, 3],), countdown=1).get(timeout=SOON) == 4
    assert total.apply_async(([1, 4],), queue=name).get(timeout=SOON) == 5
    chords = [chord([app.signature("t.add", (n, m)) for m in range(3)], app=app)(total.s()) for n in range(10)]
    assert [result.get(timeout=SOON) for result in chords] == [3 * n + 3 for n in range(10)]


# publishing


@contextmanager
def _counted(signal: Any) -> Iterator[list[Any]]:
    seen: list[Any] = []

    def see(**given: Any) -> None:
        seen.append(given.get("sender"))

    signal.connect(see)
    try:
        yield seen
    finally:
        signal.disconnect(see)


def test_signals_of_a_publish(pooled: Bench) -> None:
    with _counted(signals.before_task_publish) as before, _counted(signals.after_task_publish) as after:
        pooled.send("add", 1, 2).get(timeout=SOON)
    assert before == after == ["t.add"]


@pytest.fixture
def many_connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In one process of tests at a time: the server may take a hundred of all together."""
    with (tmp_path_factory.getbasetemp().parent / "many-connections").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


@pytest.mark.parametrize("threads", [1, 2, 30])
@pytest.mark.usefixtures("many_connections")
def test_publishing_from_many_threads(pooled: Bench, threads: int) -> None:
    app = pooled.producer(broker_pool_limit=threads)
    label = uuid4().hex
    with _counted(signals.after_task_publish) as published, ThreadPoolExecutor(threads) as pool:
        sent = list(pool.map(lambda n: app.tasks["t.note"].apply_async((f"{label} {n}",)), range(threads)))
    assert len(published) == len({result.id for result in sent}) == threads
    assert [result.get(timeout=SOON) for result in sent] == [f"{label} {n}" for n in range(threads)]


# a worker of its own


def test_a_redelivered_task_that_had_succeeded_calls_what_is_linked(pooled: Bench) -> None:
    """`worker_deduplicate_successful_tasks`: it is not run again, but its chain goes on."""
    conf = {"worker_deduplicate_successful_tasks": True, "task_acks_late": True}
    pooled.worker("-Q", "once", pool="solo", name="once", conf=conf, broker=f"{pooled.broker}&lease=2").ready()
    flow = chain(pooled.signature("stored_then_refused"), pooled.signature("add", 1), app=pooled.app)
    result = flow.apply_async(queue="once")
    assert result.get(timeout=SOON) == 2


def test_results_by_rpc_leave_nothing_behind(pooled: Bench) -> None:
    pooled.worker("-Q", "rpc", pool="solo", name="rpc", env={"DQ_BACKEND": "rpc://"}).ready()
    app = pooled.producer(result_backend="rpc://")
    results = [app.tasks["t.add"].apply_async((n, n), queue="rpc") for n in range(3)]
    for n, result in enumerate(results):
        wait_until(lambda result=result: app.backend.get_task_meta(result.id)["status"] in states.READY_STATES, SOON)
        for _ in range(5):
            assert app.backend.get_task_meta(result.id)["result"] == 2 * n
    with pooled.native() as queue:
        wait_until(lambda: not [q for q in queue.queues() if q.ready + q.leased], SOON)
