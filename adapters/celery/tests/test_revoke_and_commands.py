"""Revocation that lasts, and `celery depqueue ...`."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from celery import chain, group, states
from celery.exceptions import TaskRevokedError
from transport_workers import Bench

from kombu_depqueue import JobState
from kombu_depqueue.extending import text_id
from kombu_depqueue_celery import after


def state(bench: Bench, result: Any) -> JobState:
    return bench.native_queue.status(text_id(result.id)).state


# revoke


@pytest.mark.parametrize("options", [{}, {"countdown": 600}], ids=["ready", "delayed"])
def test_without_a_worker(bench: Bench, options: dict[str, Any]) -> None:
    task = bench.send("work", "x", **options)
    follower = bench.send("work", "y", depends_on=[task])
    cleanup = bench.send("work", "z", **after(task, policy="terminal"))
    task.revoke()
    assert (task.state, follower.state, cleanup.state) == (states.REVOKED, states.REVOKED, states.PENDING)
    assert isinstance(task.result, TaskRevokedError)
    assert state(bench, cleanup) is JobState.READY
    bench.worker("-c", "1", pool="threads").ready()
    assert cleanup.get(timeout=30) == "z"
    assert not bench.facts("start", id=task.id)


def test_many_at_once_and_unknown_ones(bench: Bench) -> None:
    tasks = [bench.send("work", n) for n in range(5)]
    bench.app.control.revoke([t.id for t in tasks[:3]] + ["never heard of"])
    assert [t.state for t in tasks] == [states.REVOKED] * 3 + [states.PENDING] * 2
    results = group([bench.signature("work", n) for n in range(3)], app=bench.app)()
    results.revoke()
    assert {r.state for r in results.results} == {states.REVOKED}


def test_what_follows_in_a_chain(bench: Bench) -> None:
    last = chain(
        bench.signature("work", "a"), bench.signature("work", "b"), bench.signature("work", "c"), app=bench.app
    )()
    waiting = bench.native_queue
    last.parent.parent.revoke()
    assert (last.state, last.parent.state) == (states.REVOKED, states.REVOKED)
    assert waiting.status(text_id(last.id)).reason == "revoked"


def test_finished_and_running_tasks_are_left_alone(bench: Bench) -> None:
    bench.worker("-c", "2", pool="threads").ready()
    done, running = bench.send("work", "done"), bench.send("work", "running", 1.5)
    assert done.get(timeout=30) == "done"
    bench.facts.wait("start", id=running.id)
    done.revoke()
    running.revoke()
    assert done.state == states.SUCCESS
    assert running.get(timeout=30) == "running"


def test_terminate(bench: Bench) -> None:
    bench.worker("-c", "1", pool="prefork").ready()
    running = bench.send("work", "running", 60.0)
    follower = bench.send("work", "follower", **after(running, policy="terminal"))
    bench.facts.wait("start", id=running.id)
    running.revoke(terminate=True)
    assert follower.get(timeout=30) == "follower"
    assert (running.state, state(bench, running)) == (states.REVOKED, JobState.CANCELED)


def test_revocations_for_one_worker_are_its_own(bench: Bench) -> None:
    task = bench.send("work", "x")
    bench.app.control.revoke(task.id, destination=["nobody@nowhere"])
    assert task.state == states.PENDING


# commands


def test_status_and_why(bench: Bench) -> None:
    first = bench.send("work", "a")
    second = bench.send("work", "b", depends_on=[first])
    bench.send("work", "c", countdown=600)
    bench.native_queue.pause("celery")
    shown = bench.celery("depqueue", "status")
    assert shown.returncode == 0, shown.stderr
    assert ["celery", "1", "0", "1", "1", "paused"] in [line.split() for line in shown.stdout.splitlines()]
    why = bench.celery("depqueue", "why", second.id)
    assert first.id in why.stdout
    unknown = bench.celery("depqueue", "why", str(uuid4()))
    assert unknown.returncode != 0
    assert "no such job" in unknown.stderr
    assert "Traceback" not in unknown.stderr


@pytest.mark.parametrize("form", ["mermaid", "dot"])
def test_graph(bench: Bench, form: str) -> None:
    first = bench.send("work", "a")
    native = bench.native_queue.enqueue('odd "name"]', depends_on=[text_id(first.id)])
    last = bench.send("work", "b", depends_on=[native])
    other = bench.send("work", "alone")
    shown = bench.celery("depqueue", "graph", last.id, "--format", form)
    assert shown.returncode == 0, shown.stderr
    nodes = [text_id(str(i)).hex for i in (first.id, native, last.id)]
    arrow = " --> " if form == "mermaid" else " -> "
    assert f"n{nodes[0]}{arrow}n{nodes[1]}" in shown.stdout
    assert f"n{nodes[1]}{arrow}n{nodes[2]}" in shown.stdout
    assert text_id(other.id).hex not in shown.stdout
    assert '"name"' not in shown.stdout


def test_dead_and_retry(bench: Bench) -> None:
    queue = bench.native_queue
    task = bench.send("work", "a")
    follower = bench.send("work", "b", **after(task, policy="succeeded"))
    queue.reserve(0, queues=["celery"]).reject("poison")
    assert follower.state == states.REVOKED
    shown = bench.celery("depqueue", "dead")
    assert task.id in shown.stdout
    assert "poison" in shown.stdout
    assert follower.id not in shown.stdout
    again = bench.celery("depqueue", "retry", "--subtree", task.id)
    assert (again.returncode, again.stdout.strip()) == (0, f"{task.id}: 2 re-opened")
    assert (state(bench, task), state(bench, follower)) == (JobState.READY, JobState.BLOCKED)
    twice = bench.celery("depqueue", "retry", task.id)
    assert twice.returncode != 0
    assert "it is ready" in twice.stderr


def test_on_another_broker(bench: Bench) -> None:
    shown = bench.celery("depqueue", "status", env={"DQ_BROKER": "memory://"})
    assert shown.returncode != 0
    assert "none of kombu-depqueue's" in shown.stderr
