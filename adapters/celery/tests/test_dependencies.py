"""`depends_on` in every way to send a task, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery, chain, chord, group, states
from celery.exceptions import TaskRevokedError
from transport_helpers import broker_of
from transport_workers import Bench
from transport_workers import _close as end_app

from kombu_depqueue import Dependency, InvalidJob, JobState, NotExist, Policy
from kombu_depqueue.extending import text_id
from kombu_depqueue_celery import after


def began(bench: Bench, result: Any) -> float:
    return float(bench.facts.wait("start", id=result.id)[0]["at"])


def ended(bench: Bench, result: Any) -> float:
    return float(bench.facts.wait("end", id=result.id)[0]["at"])


def depends_on(bench: Bench, result: Any) -> list[UUID]:
    return list(bench.native_queue.status(text_id(result.id)).depends_on)


# forms


def test_whatever_names_a_job_is_accepted(bench: Bench) -> None:
    native = bench.native_queue.enqueue("n")
    task = bench.send("work", "a")
    several = group([bench.signature("work", "b"), bench.signature("work", "c")], app=bench.app)()
    frozen = bench.signature("work", "d")
    frozen.freeze()
    frozen.apply_async()
    given = [task, several, native, str(native), task.id, frozen, Dependency(native, Policy.TERMINAL), (task, "failed")]
    wanted = [text_id(i) for i in (task.id, *(r.id for r in several.results), str(native), frozen.id)]
    for one in (
        bench.send("work", "x", depends_on=given),
        bench.app.send_task("t.work", ["x"], depends_on=given),
        bench.signature("work", "x").set(depends_on=given).apply_async(),
        after(*given)(bench.signature("work", "x")).delay(),
        bench.send("work", "x", **after(*given)),
        bench.signature("work", "x", depends_on=given).delay(),
    ):
        assert depends_on(bench, one) == wanted
    assert depends_on(bench, bench.send("work", "x", depends_on=task)) == [text_id(task.id)]
    assert depends_on(bench, bench.send("work", "x", depends_on=task.id)) == [text_id(task.id)]
    assert depends_on(bench, bench.send("work", "x", depends_on=())) == []


def test_ids_that_are_no_uuids(bench: Bench) -> None:
    bench.send("work", "a", task_id="order 7/charge")
    second = bench.send("work", "b", depends_on=["order 7/charge"])
    assert depends_on(bench, second) == [text_id("order 7/charge")]


def test_after_says_what_is_wrong() -> None:
    for wrong in (3, None, [], object(), {"no": "id"}):
        with pytest.raises(InvalidJob, match="depends_on"):
            after(wrong)
    with pytest.raises(InvalidJob, match="at least one"):
        after()
    with pytest.raises(InvalidJob, match="policy"):
        after("x", policy="perhaps")
    with pytest.raises(InvalidJob, match="on_unmet"):
        after("x", on_unmet="explode")


# what is refused


def test_unknown_and_pruned_dependencies(bench: Bench) -> None:
    with pytest.raises(NotExist):
        bench.send("work", "x", depends_on=[str(uuid4())])
    queue = bench.native_queue
    gone = queue.enqueue("n")
    queue.reserve(0, queues=["n"]).ack()
    queue.delete_job(gone)
    with pytest.raises(NotExist):
        bench.send("work", "x", depends_on=[gone])
    for wrong in ([3], 3, [None], [{"policy": "failed"}]):
        with pytest.raises(InvalidJob, match="depends_on"):
            bench.send("work", "x", depends_on=wrong)
    task = bench.send("work", "y")
    with pytest.raises(InvalidJob, match="dependency_policy"):
        bench.send("work", "x", depends_on=[task], dependency_policy="perhaps")
    with pytest.raises(InvalidJob, match="itself"):
        bench.send("work", "x", task_id="me", depends_on=["me"])
    assert [q.blocked for q in queue.queues() if q.name == "celery"] == [0]


def test_ids_of_another_database(bench: Bench, tmp_path: Any) -> None:
    other = Celery("other", broker=broker_of(f"sqlite:///{tmp_path / 'other.db'}"), set_as_current=False)
    try:
        theirs = other.send_task("t.work", ["x"])
        with pytest.raises(NotExist):
            bench.send("work", "x", depends_on=[theirs])
    finally:
        end_app(other)


@pytest.fixture(params=["redis://127.0.0.1:6379/9", "amqp://guest:guest@127.0.0.1:5672//"])
def foreign(request: pytest.FixtureRequest) -> Iterator[Celery]:
    app = Celery("foreign", broker=request.param, set_as_current=False)
    app.conf.task_default_queue = f"refused-{uuid4().hex[:8]}"
    app.conf.broker_connection_timeout = 2
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
    except Exception as error:
        pytest.skip(f"no server: {error!r}")
    yield app
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(app.conf.task_default_queue)
    end_app(app)


def test_brokers_that_are_not_ours_refuse(foreign: Celery) -> None:
    for given in ([str(uuid4())], after("x")["depends_on"]):
        with pytest.raises(Exception, match="depends_on needs a kombu-depqueue broker"):
            foreign.send_task("t.work", ["x"], depends_on=given, retry=False)
    with foreign.connection_for_write() as connection:
        try:
            count = connection.default_channel.queue_declare(
                foreign.conf.task_default_queue, passive=True
            ).message_count
        except connection.channel_errors:  # not even the queue is there
            count = 0
    assert not count


def test_they_refuse_where_nothing_of_ours_is_imported(foreign: Celery) -> None:
    """Kombu loads what refuses, in any program that imports Celery first."""
    program = f"""
from celery import Celery
app = Celery("x", broker={foreign.conf.broker_url!r})
app.send_task("t.work", ["a"], depends_on=["{uuid4()}"], queue={foreign.conf.task_default_queue!r}, retry=False)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "depends_on needs a kombu-depqueue broker" in done.stderr


def test_nothing_but_celery_is_imported_by_the_application(bench: Bench) -> None:
    """A producer that knows nothing of us: `depends_on` and revocation work."""
    program = """
import os, sys
from celery import Celery
app = Celery("x", broker=os.environ["DQ_BROKER"], backend=os.environ["DQ_BACKEND"])
first = app.send_task("t.work", ["a"])
second = app.send_task("t.work", ["b"], depends_on=[first])
print(second.id)
first.revoke()
print(second.state)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=bench.environment(), capture_output=True, text=True, timeout=60, check=True
    )
    second, state = done.stdout.split()
    assert state == states.REVOKED
    assert "canceled" in str(bench.native_queue.status(UUID(second)).reason)


# with workers


def test_in_groups_chains_and_chords(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    first = pooled.send("work", "first", 1.0)
    members = group([s("work", f"m{n}") for n in range(3)], app=app).apply_async(depends_on=[first])
    links = chain(s("add", 1, 1), s("add", 1), after(first)(s("add", 1)), app=app)()
    waits = chain(s("work", "head"), s("work", "tail", immutable=True), app=app).apply_async(depends_on=[first])
    body = chord([s("add", 1, 1), after(first)(s("add", 2, 2))], s("collect"), app=app)()
    held = chord([s("add", 3, 3)], s("collect"), app=app).apply_async(depends_on=[first])
    with_results = chain(s("add", 1, 1), s("add", 5).set(depends_on=[first]), app=app)()
    moment = ended(pooled, first)
    assert members.get(timeout=30) == ["m0", "m1", "m2"]
    assert all(began(pooled, r) >= moment for r in members.results)
    assert links.get(timeout=30) == 4
    assert waits.get(timeout=30) == "tail"
    assert began(pooled, waits.parent) >= moment
    assert body.get(timeout=30) == [2, 4]
    assert held.get(timeout=30) == [6]
    assert with_results.get(timeout=30) == 7
    for late in (links, body, with_results):
        assert pooled.native_queue.status(text_id(late.id)).started.timestamp() >= moment  # type: ignore[union-attr]


def test_policies_of_edges(pooled: Bench) -> None:
    good, bad = pooled.send("work", "good"), pooled.send("work", "bad", 0.0, True)
    both = pooled.send("work", "both", depends_on=[good, bad])
    cleanup = pooled.send("work", "cleanup", **after((good, "succeeded"), (bad, "failed")))
    never = pooled.send("work", "never", **after(good, (bad, "succeeded")))
    held = pooled.send("work", "held", **after(bad, policy="succeeded", on_unmet="hold"))
    always = pooled.send("work", "always", **after(never, policy="terminal"))
    for one in (both, cleanup, always):
        assert one.get(timeout=30)
    with pytest.raises(TaskRevokedError, match=bad.id):
        never.get(timeout=30)
    status = pooled.native_queue.status(text_id(held.id))
    assert status.state is JobState.BLOCKED
    assert [r.job_id for r in pooled.native_queue.why(text_id(held.id)).never] == [text_id(bad.id)]
    held.revoke()
    assert held.state == states.REVOKED


def test_native_jobs_and_tasks_wait_for_each_other(pooled: Bench) -> None:
    queue = pooled.native_queue
    name = f"native-{uuid4().hex[:8]}"
    native = queue.enqueue(name)
    task = pooled.send("work", "task", depends_on=[native])
    last = queue.enqueue(name, depends_on=[text_id(task.id)])
    reservation = queue.reserve(10, queues=[name])
    assert task.state == states.PENDING
    reservation.ack({"made": "by hand"})
    assert task.get(timeout=30) == "task"
    assert queue.reserve(20, queues=[name]).job_id == last


def test_what_a_failure_took_down_is_reopened_by_retry(pooled: Bench) -> None:
    marker = uuid4().hex
    bad = pooled.send("fails_once", marker)
    down = pooled.send("work", "down", **after(bad, policy="succeeded"))
    further = pooled.send("work", "further", **after(down, policy="succeeded"))
    with pytest.raises(TaskRevokedError):
        further.get(timeout=30)
    assert pooled.native_queue.retry(text_id(bad.id), subtree=True) == 3
    pooled.app.backend._cache.clear()
    assert (
        bad.__class__(bad.id, app=pooled.app).get(timeout=30),
        down.__class__(further.id, app=pooled.app).get(timeout=30),
    ) == (
        "good now",
        "further",
    )
