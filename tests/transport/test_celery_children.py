"""Children of the prefork pool that die, leave, run out of time or of memory, or are replaced in order.

The table in `test_celery_smoke` says which of Celery's own scenarios are here.
"""

from __future__ import annotations

from typing import Any

import pytest
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from transport_workers import Bench

from kombu_depqueue import JobState
from kombu_depqueue.testing.helpers import wait_until

pytestmark = pytest.mark.drawn("database")

ENDS: list[tuple[str, tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ("die", (), {}, WorkerLostError, "signal 9 (SIGKILL)"),  # as when the system has no memory left
    ("exits", (), {}, WorkerLostError, "exitcode 1"),
    ("softly", (60,), {"time_limit": 1}, TimeLimitExceeded, "Hard time limit (1s) exceeded"),
]


def _nothing_is_left(bench: Bench) -> None:
    with bench.native() as queue:
        wait_until(lambda: not [q for q in queue.queues() if q.name == "celery" and q.ready + q.leased], 30)


def test_what_ends_a_child_ends_its_task_alone(bench: Bench) -> None:
    """The task has failed, once; another child takes its place, and the next task."""
    conf = {"worker_prefetch_multiplier": 1, "task_acks_late": True}
    worker = bench.worker("-c", "1", pool="prefork", conf=conf).ready()
    for name, args, options, error, said in ENDS:
        lost = bench.send(name, *args, **options)
        behind = bench.send("note", name)
        with pytest.raises(error):
            lost.get(timeout=30)
        assert behind.get(timeout=30) == name
        assert len(bench.facts("start", id=lost.id)) == 1
        assert said in worker.said(100_000)
    children = {f["pid"] for f in bench.facts("child")}
    assert len(children) == 4
    assert {f["pid"] for f in bench.facts("start")} == children
    _nothing_is_left(bench)


def test_children_that_have_grown_or_done_enough_are_replaced_and_no_task_is_lost(bench: Bench) -> None:
    for limit, count, most in (("--max-memory-per-child=1000", 4, 1), ("--max-tasks-per-child=3", 9, 3)):
        worker = bench.worker("-c", "2", limit, pool="prefork", name=limit.strip("-").replace("=", "-")).ready()
        results = [bench.send("note", f"{limit} {n}") for n in range(count)]
        assert [result.get(timeout=60) for result in results] == [f"{limit} {n}" for n in range(count)]
        pids = [f["pid"] for f in bench.facts("start") if str(f["label"]).startswith(limit)]
        assert len(pids) == count
        assert max(pids.count(pid) for pid in pids) <= most
        worker.terminate()
        assert worker.wait() == 0
    _nothing_is_left(bench)


def test_a_task_without_memory_ends_its_worker_and_not_the_next_one(bench: Bench) -> None:
    """Celery itself makes a MemoryError the end of the worker; the task goes back, and its deliveries are counted."""
    broker, conf = f"{bench.broker}&max_attempts=1", {"task_acks_late": True, "worker_prefetch_multiplier": 1}
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=conf, broker=broker).ready()
    tasks = bench.producer(broker).tasks
    task, behind = tasks["t.devour"].apply_async(), tasks["t.note"].apply_async(("behind",))
    assert first.wait() != 0
    bench.worker("-c", "1", pool="prefork", name="second", conf=conf, broker=broker).ready()
    assert behind.get(timeout=60) == "behind"
    with bench.native() as queue:
        wait_until(lambda: queue.status(task.id).state.is_finished)
        assert queue.status(task.id).state is JobState.FAILED
    assert len(bench.facts("start", id=task.id)) == 1
    _nothing_is_left(bench)
