"""What every Celery application does, on a real worker of each pool; one worker serves all tests of a pool."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group, states
from celery.exceptions import TaskRevokedError, TimeLimitExceeded
from transport_helpers import MakeConnection
from transport_workers import Bench, labels

from kombu_depqueue.testing.helpers import wait_until

SLACK = 2.5
"""Seconds that the machine may be late."""


def _moment(bench: Bench, label: Any, what: str = "start") -> float:
    return float(bench.facts.wait(what, label=label)[0]["at"])


def _label() -> str:
    return uuid4().hex[:8]


# results and workflows


def test_tasks_run_and_give_results(pooled: Bench) -> None:
    assert pooled.send("add", 1, 2).get(timeout=30) == 3
    assert pooled.app.tasks["t.add"].apply_async(kwargs={"x": "grüße ", "y": "😀"}).get(timeout=30) == "grüße 😀"
    many = [pooled.send("add", n, n) for n in range(100)]
    assert [r.get(timeout=30) for r in many] == [2 * n for n in range(100)]


def test_large_arguments(pooled: Bench) -> None:
    # MariaDB takes 16 MiB in one statement, of which bytes take two each; a ü is six in JSON.
    big = "ü" * (300_000 if "+mysql" in pooled.broker else 1_000_000)
    assert pooled.send("add", big, "x").get(timeout=60) == big + "x"


def test_serializers_and_compression(pooled: Bench) -> None:
    assert pooled.send("add", 1, 2, compression="zlib").get(timeout=30) == 3
    refused = pooled.send("add", 1, 2, serializer="pickle")
    assert pooled.send("add", 1, 2).get(timeout=30) == 3
    # The worker did not accept it, and went on: only results in the job.s own record tell of its death.
    assert refused.state in (states.PENDING, states.FAILURE)


def test_a_chain(pooled: Bench) -> None:
    add = pooled.signature
    assert chain(add("add", 1, 2), add("add", 3), add("add", 4), app=pooled.app)().get(timeout=30) == 10


def test_a_group(pooled: Bench) -> None:
    result = group([pooled.signature("add", n, n) for n in range(20)], app=pooled.app)()
    assert result.get(timeout=30) == [2 * n for n in range(20)]


def test_a_chord_and_a_chain_of_groups(pooled: Bench) -> None:
    add, total = pooled.signature, pooled.signature("total")
    assert chord([add("add", n, n) for n in range(10)], app=pooled.app)(total).get(timeout=30) == 90
    nested = chain(group([add("add", n, 1) for n in range(3)], app=pooled.app), total, add("add", 100), app=pooled.app)
    assert nested().get(timeout=30) == 106


def test_a_task_that_replaces_itself(pooled: Bench) -> None:
    assert pooled.send("grow", 1).get(timeout=30) == 3


def test_a_failure_arrives_as_failure(pooled: Bench) -> None:
    with pytest.raises(ValueError, match="how sad"):
        pooled.send("fail", "how sad").get(timeout=30)


def test_links_and_errbacks(pooled: Bench) -> None:
    label = _label()
    pooled.send("add", 1, 2, link=pooled.signature("note", label, immutable=True))
    pooled.facts.wait("end", label=label)
    label = _label()
    pooled.send("fail", link_error=pooled.signature("note", label, immutable=True))
    pooled.facts.wait("end", label=label)


# retries


def test_retries_with_a_countdown(pooled: Bench) -> None:
    began = time.time()
    result = pooled.send("again", 3, 0.4)
    assert result.get(timeout=30) == 3
    facts = pooled.facts("start", id=result.id)
    assert labels(facts) == [0, 1, 2, 3]
    gaps = [b["at"] - a["at"] for a, b in pairwise(facts)]
    assert all(0.39 <= gap < 0.4 + SLACK for gap in gaps), gaps
    assert time.time() - began < 3 * 0.4 + 3 * SLACK


def test_automatic_retries(pooled: Bench) -> None:
    result = pooled.send("shaky", 2)
    assert result.get(timeout=30) == 2
    assert labels(pooled.facts("start", id=result.id)) == [0, 1, 2]


def test_reject_with_requeue(pooled: Bench) -> None:
    result = pooled.send("refuse", True, 2)
    assert result.get(timeout=30) == "done"
    starts = pooled.facts("start", id=result.id)
    assert labels(starts) == [0, 1, 2]
    assert [s["info"]["redelivered"] for s in starts] == [False, True, True]
    assert starts[2]["at"] - starts[0]["at"] < SLACK, "it comes back at once"


def test_reject_without_requeue(pooled: Bench) -> None:
    result = pooled.send("refuse", False, 99)
    pooled.facts.wait("start", id=result.id)
    label = _label()
    pooled.send("note", label).get(timeout=30)
    assert len(pooled.facts("start", id=result.id)) == 1


# times


@pytest.mark.parametrize("how", ["countdown", "eta", "naive eta"])
def test_a_task_runs_when_due(pooled: Bench, how: str) -> None:
    label = _label()
    due = time.time() + 1.2
    options: dict[str, Any] = {"countdown": 1.2}
    if how == "eta":
        options = {"eta": datetime.now(UTC) + timedelta(seconds=1.2)}
    elif how == "naive eta":  # in the application's time zone, which is UTC
        options = {"eta": datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=1.2)}
    pooled.send("note", label, **options)
    assert due - 0.05 <= _moment(pooled, label) < due + SLACK


def test_a_task_that_expired_is_revoked_not_run(pooled: Bench) -> None:
    result = pooled.send("note", label := _label(), expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert pooled.send("note", _label(), expires=60).get(timeout=30)
    assert pooled.facts("start", label=label) == []


def test_two_tasks_a_moment_apart_both_start_at_once(pooled: Bench, pool: str) -> None:
    if pool == "solo":
        pytest.skip("solo runs one task at a time")
    delays: list[float] = []
    for _ in range(5):
        wait = [_label(), _label()]
        time.sleep(0.3)  # let it become idle
        sent = []
        for label in wait:
            sent.append(time.time())
            pooled.send("note", label, 0.1)
            time.sleep(0.02)
        delays.append(max(_moment(pooled, label) - at for label, at in zip(wait, sent, strict=True)))
        if delays[-1] < 0.2:
            return
    raise AssertionError(f"never within 0.2 s: {delays}")


# headers


def test_headers_reach_the_task(pooled: Bench) -> None:
    assert pooled.send("header", "mine", headers={"mine": ["ü", 1]}).get(timeout=30) == ["ü", 1]


def test_a_task_waits_for_another(pooled: Bench) -> None:
    first, second = _label(), _label()
    result = pooled.send("late_note", first, 0.5)
    pooled.send("note", second, headers={"depends_on": [result.id]})
    assert _moment(pooled, second) >= _moment(pooled, first, "end")


def test_a_task_waits_for_a_message_of_another_kind(pooled: Bench, connections: MakeConnection) -> None:
    label, job = _label(), str(uuid4())
    channel = connections(pooled.broker).channel()
    producer = pooled.app.amqp.Producer(channel)
    producer.publish({}, routing_key="by hand", headers={"x-job-id": job})
    pooled.send("note", label, headers={"depends_on": [job]})
    pooled.send("note", _label()).get(timeout=30)
    assert pooled.facts("start", label=label) == []
    channel.basic_get("by hand").ack()
    _moment(pooled, label)


def test_an_unknown_dependency_is_an_error_at_the_call(pooled: Bench) -> None:
    with pytest.raises(Exception, match="no such job"):
        pooled.send("note", _label(), headers={"depends_on": [str(uuid4())]})


# limits and revoking


def test_time_limits(pooled: Bench, pool: str) -> None:
    if pool == "prefork":
        with pytest.raises(TimeLimitExceeded):
            pooled.send("softly", 30, time_limit=1).get(timeout=30)
        assert pooled.send("softly", 30, soft_time_limit=1).get(timeout=30) == "soft"
    assert pooled.send("add", 1, 2, time_limit=30, soft_time_limit=20).get(timeout=30) == 3


def test_revoking_a_running_task(pooled: Bench, pool: str) -> None:
    if pool in ("solo", "threads"):
        pytest.skip(f"the pool {pool} cannot end a task")
    label = _label()
    result = pooled.send("note", label, 60)
    _moment(pooled, label)
    result.revoke(terminate=True)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert pooled.send("add", 1, 2).get(timeout=30) == 3
    assert pooled.facts("end", label=label) == []
    assert len(pooled.facts("start", label=label)) == 1


def test_revoking_a_task_that_waits(pooled: Bench) -> None:
    label = _label()
    result = pooled.send("note", label, countdown=1.0)
    reply = pooled.app.control.revoke(result.id, reply=True, timeout=10, limit=1)
    assert reply, "the worker did not answer"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=30)
    assert pooled.facts("start", label=label) == []


# remote control


def _quickest(call: Any, tries: int = 4) -> tuple[float, Any]:
    """The least time of a few: the machine may be busy, but not four times."""
    found = []
    for _ in range(tries):
        began = time.monotonic()
        reply = call()
        found.append((time.monotonic() - began, reply))
        if found[-1][0] < 0.3:
            break
    return min(found, key=lambda one: one[0])


def test_inspecting_answers_quickly(pooled: Bench) -> None:
    inspect = pooled.app.control.inspect(timeout=10, limit=1)
    seconds, reply = _quickest(inspect.ping)
    assert list(reply.values()) == [{"ok": "pong"}]
    assert seconds < 0.5
    [name] = reply
    assert "t.note" in inspect.registered()[name]
    wait_until(lambda: inspect.active()[name] == [])  # another test's task may just be ending
    assert inspect.reserved()[name] == []
    assert inspect.scheduled()[name] == []
    assert [q["name"] for q in inspect.active_queues()[name]] == ["celery"]
    assert inspect.report()[name]["ok"]
    assert inspect.conf()[name]


def test_the_statistics_name_the_broker_without_password(pooled: Bench, pool: str) -> None:
    [stats] = pooled.app.control.inspect(timeout=10, limit=1).stats().values()
    assert stats["broker"]["transport"] == "depqueue"
    assert stats["broker"]["hostname"].startswith(("depqueue+sqlite:///", "depqueue+postgresql", "depqueue+mysql"))
    assert not stats["broker"].get("password")
    assert stats["prefetch_count"] > 0
    assert stats["total"]["t.add"] >= 1


def test_a_running_task_is_active(pooled: Bench, pool: str) -> None:
    if pool == "solo":
        pytest.skip("a solo worker answers only between tasks")
    label = _label()
    result = pooled.send("note", label, 1.5)
    _moment(pooled, label)
    [active] = pooled.app.control.inspect(timeout=10, limit=1).active().values()
    assert result.id in [one["id"] for one in active]
    assert pooled.app.control.inspect(timeout=10, limit=1).query_task(result.id)
    result.get(timeout=30)


def test_tasks_of_the_future_are_not_in_the_workers_memory(pooled: Bench) -> None:
    results = [pooled.send("note", _label(), countdown=3600) for _ in range(40)]
    assert pooled.send("add", 1, 2).get(timeout=30) == 3, "they take no prefetch slots"
    inspect = pooled.app.control.inspect(timeout=10, limit=1)
    assert [list(inspect.scheduled().values()), list(inspect.reserved().values())] == [[[]], [[]]]
    with pooled.native() as queue:
        [info] = [q for q in queue.queues() if q.name == "celery"]
        assert info.scheduled >= 40
        for result in results:
            assert queue.status(result.id).state == "scheduled"
            assert queue.cancel(result.id)


# events


class _Events(threading.Thread):
    """Receives events of the workers until stopped."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(daemon=True)
        self.events: list[dict[str, Any]] = []
        self._connection = bench.app.connection_for_read()
        self._receiver = bench.app.events.Receiver(self._connection, handlers={"*": self.events.append})

    def run(self) -> None:
        with self._connection:
            self._receiver.capture(limit=None, timeout=None)

    def end(self) -> None:
        self._receiver.should_stop = True
        self.join(20)

    def of(self, task_id: str) -> list[str]:
        return [e["type"] for e in self.events if e.get("uuid") == task_id]


def test_events_are_seen(pooled: Bench) -> None:
    listener = _Events(pooled)
    listener.start()
    try:
        wait_until(lambda: [e for e in listener.events if e["type"] == "worker-heartbeat"], 20)
        # What was sent a moment before somebody listened may be lost: send until one is seen whole.
        results = []

        def seen() -> list[Any]:
            results.append(pooled.sender_with_events.tasks["t.add"].apply_async((1, 2)))
            listener.join(0.5)
            return [r for r in results if "task-succeeded" in listener.of(r.id)]

        [result, *_] = wait_until(seen, 20)
        failed = pooled.send("fail")
        wait_until(lambda: "task-failed" in listener.of(failed.id), 20)
    finally:
        listener.end()
    assert not listener.is_alive()
    assert sorted(listener.of(result.id)) == ["task-received", "task-sent", "task-started", "task-succeeded"]
    state = pooled.app.events.State()
    for event in listener.events:
        state.event(event)
    assert state.tasks[result.id].state == states.SUCCESS
    assert any(w.alive for w in state.workers.values())


def test_nothing_went_wrong_in_the_worker(pooled: Bench) -> None:
    """The last test of the module: the log of the shared worker tells of no error of ours."""
    assert pooled.shared is not None
    log = pooled.shared.log.read_text(errors="replace")
    assert pooled.shared.process.poll() is None, log[-5000:]
    lines = [line for line in log.splitlines() if "depqueue" in line.lower()]
    lines = [line for line in lines if "in _decode" not in line]  # what Celery refused to read, on purpose
    assert [line for line in lines if "File " in line or "broker:" in line or "lease" in line] == []
