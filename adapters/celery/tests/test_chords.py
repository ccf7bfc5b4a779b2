"""Chords whose body is one gated job: in each pool, whatever the header is made of."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from typing import Any
from uuid import uuid4

import pytest
from celery import chain, chord, group, states
from celery.exceptions import ChordError
from sqlalchemy import event
from transport_workers import Bench

from kombu_depqueue import JobState
from kombu_depqueue.extending import text_id
from kombu_depqueue.testing.helpers import wait_until


def failure(bench: Bench, result: Any) -> Any:
    """What a task itself failed with; `get` would raise what its parents failed with."""
    meta = bench.app.backend.wait_for(result.id, timeout=30)
    assert meta["status"] == states.FAILURE
    return meta["result"]


def test_results_in_order(pooled: Bench) -> None:
    s = pooled.signature
    result = chord([s("add", n, n) for n in range(20)], s("collect"), app=pooled.app)()
    assert result.get(timeout=30) == [2 * n for n in range(20)]
    assert result.parent.results[3].get(timeout=5) == 6


def test_partial_and_immutable_bodies(pooled: Bench) -> None:
    s = pooled.signature
    assert chord([s("add", 1, 1)], s("add", [7]), app=pooled.app)().get(timeout=30) == [2, 7]
    assert chord([s("add", 1, 1)], s("add", 3, 4, immutable=True), app=pooled.app)().get(timeout=30) == 7


def test_bodies_that_are_compressed(pooled: Bench) -> None:
    s = pooled.signature
    body = s("collect").set(compression="zlib")
    assert chord([s("add", 1, 1, compression="zlib")], body, app=pooled.app)().get(timeout=30) == [2]


def test_from_a_process_that_used_kombu_before_celery(pooled: Bench) -> None:
    """What marks the header is loaded with Celery, however late that comes."""
    program = """
import os
import kombu.serialization
from kombu import Connection
Connection(os.environ["DQ_BROKER"]).connect()
import sys
assert "celery" not in sys.modules
from celery import Celery, chord
app = Celery("x", broker=os.environ["DQ_BROKER"], backend=os.environ["DQ_BACKEND"])
result = chord([app.signature("t.add", (n, n)) for n in range(3)], app.signature("t.collect"), app=app)()
print(result.get(timeout=30))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=pooled.environment(), capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[0, 2, 4]"


def test_a_body_that_is_a_chain_a_group_or_a_chord(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    header = [s("add", n, n) for n in range(3)]
    assert chord(header, s("total") | s("add", 10), app=app)().get(timeout=30) == 16
    assert chord(header, group(s("total"), s("collect"), app=app), app=app)().get(timeout=30) == [6, [0, 2, 4]]
    inner = chord([s("total"), s("collect")], s("collect"), app=app)
    assert chord(header, inner, app=app)().get(timeout=30) == [6, [0, 2, 4]]


def test_headers_of_chains_groups_and_chords(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    chains = [chain(s("add", n, 1), s("add", 10), s("add", 100), app=app) for n in range(3)]
    assert chord(chains, s("collect"), app=app)().get(timeout=30) == [111, 112, 113]
    nested = [group(s("add", 1, 1), s("add", 2, 2), app=app), s("add", 3, 3)]
    assert sorted(chord(nested, s("collect"), app=app)().get(timeout=30)) == [2, 4, 6]
    inner = chord([s("add", 1, 1), s("add", 2, 2)], s("total"), app=app)
    assert chord([inner, s("add", 5, 5)], s("collect"), app=app)().get(timeout=30) == [6, 10]
    work = chain(s("add", 1, 1), group(s("add", 10), s("add", 20), app=app), s("collect"), app=app)
    assert work().get(timeout=30) == [12, 22]


def test_empty_and_generated_headers(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    assert chord([], s("collect"), app=app)().get(timeout=30) == []
    generated = (s("add", n, 0) for n in range(5))
    assert chord(generated, s("collect"), app=app)().get(timeout=30) == [0, 1, 2, 3, 4]
    assert chord([s("add", 4, 5)], s("collect"), app=app)().get(timeout=30) == [9]


def test_header_tasks_that_retry_and_are_replaced(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    header = [s("shaky", 1), s("again", 2, 0.05), s("grow", 1), s("replaced"), s("add", 1, 1)]
    assert chord(header, s("collect"), app=app)().get(timeout=60) == [1, 2, 3, 10, 2]


def test_a_header_that_grows(pooled: Bench) -> None:
    s = pooled.signature
    result = chord([s("grow_chord"), s("add", 1, 1)], s("collect"), app=pooled.app)()
    assert result.get(timeout=30) == ["first", 2, 42]


def test_results_that_are_ignored_still_reach_the_body(pooled: Bench) -> None:
    s = pooled.signature
    header = [s("add", n, n, ignore_result=True) for n in range(3)]
    assert chord(header, s("collect"), app=pooled.app)().get(timeout=30) == [0, 2, 4]


@pytest.mark.parametrize("errback", ["errback", "old_errback"])
def test_errors_reach_the_errback_once(pooled: Bench, errback: str) -> None:
    s = pooled.signature
    label = uuid4().hex
    body = pooled.app.signature("t.collect", kwargs={"label": label})
    body.on_error(s(errback))
    result = chord([s("fail", "one"), s("fail", "two"), s("add", 1, 1)], body, app=pooled.app)()
    problem = failure(pooled, result)
    assert isinstance(problem, ChordError)
    assert re.match(r"Dependency .* raised ValueError\('(one|two)'\)", str(problem))
    pooled.facts.wait("errback", id=result.id)
    time.sleep(0.3)
    assert len(pooled.facts("errback", id=result.id)) == 1
    assert not pooled.facts("body", label=label)
    assert pooled.native_queue.status(text_id(result.id)).state is JobState.FAILED


def test_failures_in_chains_of_headers_and_in_inner_chords(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    early = chain(s("fail", "first of a chain"), s("add", 1), s("add", 2), app=app)
    for header in (
        [early, s("add", 1, 1)],
        [chord([s("fail", "inner")], s("collect"), app=app), s("add", 1, 1)],
    ):
        assert isinstance(failure(pooled, chord(header, s("collect"), app=app)()), ChordError)
    body = s("collect") | s("add", 1)
    assert isinstance(failure(pooled, chord([s("fail", "chained body")], body, app=app)()), ChordError)
    for body in (group(s("total"), s("collect"), app=app), chord([s("total")], s("collect"), app=app)):
        result = chord([s("fail", "a body of many")], body, app=app)()
        with pytest.raises(Exception, match=r"a body of many|Dependency"):
            result.get(timeout=30)


def test_a_revoked_header_task(pooled: Bench) -> None:
    s, app = pooled.signature, pooled.app
    slow = s("add", 1, 1, countdown=600)
    result = chord([slow, s("add", 2, 2)], s("collect"), app=app)()
    result.parent.results[0].revoke()
    assert "revoked" in repr(failure(pooled, result))
    following = chain(s("add", 1, 1, countdown=600), s("add", 1), app=app)
    result = chord([following, s("add", 2, 2)], s("collect"), app=app)()
    first = result.parent.results[0].parent
    first.revoke()
    assert "revoked" in repr(failure(pooled, result))


def test_a_countdown_of_the_body_begins_at_the_end_of_the_header(pooled: Bench) -> None:
    s = pooled.signature
    result = chord([s("work", "x", 0.5)], s("collect", countdown=1), app=pooled.app)()
    assert result.get(timeout=30) == ["x"]
    done = pooled.facts("end", id=result.parent.results[0].id)[0]["at"]
    assert pooled.facts("body", id=result.id)[0]["at"] >= done + 1


def test_a_body_with_dependencies_of_its_own(pooled: Bench) -> None:
    s = pooled.signature
    other = pooled.send("work", "other", 1.0)
    result = chord([s("add", 1, 1)], s("collect").set(depends_on=[other]), app=pooled.app)()
    assert result.get(timeout=30) == [2]
    assert pooled.facts("body", id=result.id)[0]["at"] >= pooled.facts("end", id=other.id)[0]["at"]


def test_the_body_is_one_job_and_there_is_no_other(pooled: Bench) -> None:
    """No counter, no polling task: the header's jobs and the body are all there is."""
    s = pooled.signature
    queue = pooled.native_queue
    before = set(queue.all_root_jobs())
    result = chord([s("add", n, n) for n in range(5)], s("collect"), app=pooled.app)()
    assert result.get(timeout=30) == [0, 2, 4, 6, 8]
    assert set(queue.all_root_jobs()) - before == {text_id(result.id)}
    assert len(queue.status(text_id(result.id)).depends_on) == 5


@pytest.mark.slow
def test_a_thousand_header_tasks(pooled: Bench, pool: str) -> None:
    if pool not in ("prefork", "threads"):
        pytest.skip("two pools are enough")
    s = pooled.signature
    result = chord([s("add", n, 0) for n in range(1000)], s("total"), app=pooled.app)()
    assert result.get(timeout=100) == sum(range(1000))


def test_the_body_follows_at_once(pooled: Bench) -> None:
    """A chord of 100: the median from the last header task's end to the body's beginning is at most 50 ms."""
    s, app = pooled.signature, pooled.app
    gaps = []
    for _ in range(3):
        result = chord([s("add", n, n) for n in range(100)], s("collect"), app=app)()
        result.get(timeout=60)
        queue = pooled.native_queue
        last = max(queue.status(text_id(r.id)).finished for r in result.parent.results)  # type: ignore[type-var]
        gaps.append((queue.status(text_id(result.id)).started - last).total_seconds())  # type: ignore[operator]
    assert statistics.median(gaps) <= 0.25, gaps  # the figure proper is measured on a quiet machine


def test_redelivered_header_tasks_count_once(bench: Bench) -> None:
    """A worker dies at a header task, which is begun again: the body sees each result once."""
    bench.broker += "&lease=2"
    first = bench.worker("-c", "2", pool="threads", name="first").ready()
    s = bench.signature
    result = chord([s("late_work", n, 1.5 if n == 2 else 0.0) for n in range(4)], s("collect"), app=bench.app)()
    bench.facts.wait("start", label=2)
    first.kill()
    bench.worker("-c", "2", pool="threads", name="second").ready()
    assert result.get(timeout=60) == [0, 1, 2, 3]
    assert len(bench.facts("body")) == 1
    assert len(bench.facts("start", label=2)) == 2


def test_a_body_that_is_delivered_again_has_its_results(bench: Bench) -> None:
    bench.broker += "&lease=2"
    first = bench.worker("-c", "2", pool="prefork", name="first").ready()
    s = bench.signature
    result = chord([s("add", 1, 1), s("add", 2, 2)], s("slow_body"), app=bench.app)()
    bench.facts.wait("start", id=result.id)
    first.kill()
    bench.worker("-c", "2", pool="prefork", name="second").ready()
    assert result.get(timeout=60) == [2, 4]
    assert len(bench.facts("start", id=result.id)) == 2


def test_a_worker_without_the_adapter_runs_no_body_without_results(bench: Bench) -> None:
    s = bench.signature
    result = chord([s("add", 1, 1)], s("collect"), app=bench.app)()
    bench.worker(pool="solo", env={"DQ_WITHOUT_ADAPTER": "1"}).ready()
    wait_until(lambda: bench.native_queue.status(text_id(result.id)).state is JobState.FAILED, timeout=20)
    assert not bench.facts("body")
    assert "needs kombu-depqueue-celery" in str(bench.native_queue.status(text_id(result.id)).reason)
    assert result.state == states.FAILURE


def test_the_statements_for_a_header_task_do_not_grow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many for one of 1,000 as for one of 10: told one by one, as a child of a worker may do it."""
    from celery.app.task import Context

    app, queue = bench.app, bench.app.backend.queue
    counted = count_statements(queue, monkeypatch)
    each = {}
    for size in (10, 1000):
        result = chord([bench.signature("add", n, n) for n in range(size)], bench.signature("collect"), app=app)()
        native = bench.native_queue
        numbers = []
        for _ in range(8):  # of many; the rest is left
            reservation = native.reserve(0, queues=["celery"])
            properties = {"delivery_info": {"lease_token": reservation.token}}
            request = Context(
                id=str(reservation.job_id), properties=properties, task="t.add", chord={"task": "t.collect"}
            )
            before = len(counted)
            app.backend.mark_as_done(str(reservation.job_id), 1, request)
            numbers.append(len(counted) - before)
        each[size] = statistics.median(numbers)
        assert native.status(text_id(result.id)).state is JobState.BLOCKED
        native.purge("celery")
    assert each[1000] == each[10], each
    assert 0 < each[10] <= 14, each


def count_statements(queue: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is executed on a queue's connections from now on."""
    counted: list[str] = []
    if queue.settings.url.get_backend_name() == "sqlite":
        queue._database._connections.flush()
        queue._database.dialect.engine.dispose()
        event.listen(queue._database.dialect.engine, "connect", lambda c, _: c.set_trace_callback(counted.append))
        return counted
    import psycopg
    import pymysql

    from kombu_depqueue.dialects.lean import LeanCursor

    for kind in (LeanCursor, psycopg.Cursor, pymysql.cursors.Cursor):
        real = kind.execute

        def execute(self: Any, sql: Any, *args: Any, real: Any = real, **kwargs: Any) -> Any:
            counted.append(str(sql))
            return real(self, sql, *args, **kwargs)

        monkeypatch.setattr(kind, "execute", execute)
    return counted
