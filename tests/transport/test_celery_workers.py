"""Celery workers that stop, die, grow, are told things: each test has workers of its own."""

from __future__ import annotations

import signal
import time
from itertools import pairwise
from typing import Any

import pytest
from celery.exceptions import WorkerLostError
from kombu import Connection
from roles import As
from transport_workers import Bench, Worker, labels

from kombu_depqueue.errors import Empty
from kombu_depqueue.testing.helpers import wait_until

LATE = {"task_acks_late": True}


def _at(bench: Bench, what: str, label: Any, timeout: float = 30.0) -> float:
    return float(bench.facts.wait(what, label=label, timeout=timeout)[0]["at"])


def _ready(*workers: Worker) -> None:
    for worker in workers:
        worker.ready()


# death


def _taken_over(bench: Bench, pool: str, options: str = "") -> float:
    """Kill a worker in the middle of a task; returns after how many seconds another began it."""
    broker = f"{bench.broker}{options}"
    first = bench.worker("-c", "1", pool=pool, name="first", conf=LATE, broker=broker).ready()
    result = bench.send("note", "held", 60)
    _at(bench, "start", "held")
    bench.worker("-c", "1", pool="solo", name="second", conf=LATE, broker=broker).ready()
    first.kill()
    killed = time.time()
    again = bench.facts.wait("start", count=2, label="held", timeout=20)[1]
    assert again["info"]["redelivered"] is True
    assert result.get(timeout=30) == "held"
    assert len(bench.facts("start", label="held")) == 2
    return float(again["at"] - killed)


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_another_worker_has_the_task_of_a_killed_one_soon_after_its_lease(bench: Bench, pool: str) -> None:
    assert _taken_over(bench, pool, "&lease=2") < 2 + 1


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_the_end_of_its_session_tells_of_a_killed_worker(bench: Bench, pool: str) -> None:
    """Long before its lease of 30 seconds ends."""
    assert _taken_over(bench, pool) < 5 + 1


def test_a_redelivered_task_keeps_its_place_and_an_acked_one_is_gone(bench: Bench) -> None:
    broker = f"{bench.broker}&lease=1"
    first = bench.worker("-c", "2", pool="threads", name="first", broker=broker).ready()
    bench.send("note", "acked early", 300)
    bench.send("late_note", "done")
    _at(bench, "end", "done")
    bench.send("late_note", "held", 300)
    _at(bench, "start", "held")
    _at(bench, "start", "acked early")
    for n in range(6):  # some of these are in the memory of the first worker
        bench.send("late_note", n)
    wait_until(lambda: _counts(bench)["leased"] >= 3)
    first.kill()
    bench.facts.path.rename(bench.folder / "before")
    second = bench.worker("-c", "1", pool="solo", name="second", broker=broker).ready()
    for n in range(6):
        _at(bench, "end", n)
    assert labels(bench.facts("start")) == ["held", 0, 1, 2, 3, 4, 5]
    second.terminate()


def _counts(bench: Bench, name: str = "celery") -> dict[str, int]:
    with bench.native() as queue:
        for info in queue.queues():
            if info.name == name:
                return {field: getattr(info, field) for field in ("ready", "scheduled", "leased")}
    return {"ready": 0, "scheduled": 0, "leased": 0}


def test_a_task_of_several_lease_times_runs_once_in_every_pool(bench: Bench) -> None:
    pools = {"solo": "1", "threads": "2", "prefork": "2", "gevent": "5"}
    broker = f"{bench.broker}&lease=1"
    workers = [
        bench.worker("-c", c, "-Q", pool, pool=pool, name=pool, conf=LATE, broker=broker) for pool, c in pools.items()
    ]
    _ready(*workers)
    for pool in pools:
        bench.send("note", pool, 6, queue=pool)
    for pool in pools:
        _at(bench, "start", pool)
    with bench.native() as queue, pytest.raises(Empty):
        # Whoever else looks gets nothing for all that time.
        queue.reserve(5.5, queues=list(pools))
    for pool in pools:
        _at(bench, "end", pool)
    time.sleep(0.2)
    assert sorted(labels(bench.facts("start"))) == sorted(pools)
    assert not any(s["info"]["redelivered"] for s in bench.facts("start"))
    wait_until(lambda: all(_counts(bench, pool)["leased"] == 0 for pool in pools))


def test_a_lost_child_process(bench: Bench) -> None:
    bench.worker("-c", "2", pool="prefork").ready()
    assert bench.send("vanish").get(timeout=60) == "survived"  # reject_on_worker_lost
    lost = bench.send("die")
    with pytest.raises(WorkerLostError):
        lost.get(timeout=60)
    assert bench.send("add", 1, 2).get(timeout=30) == 3
    assert len(bench.facts("start", id=lost.id)) == 1
    wait_until(lambda: _counts(bench)["leased"] == 0)


# shutdown


def test_a_warm_shutdown_ends_what_runs_and_gives_back_the_rest_at_once(bench: Bench) -> None:
    conf = {**LATE, "worker_prefetch_multiplier": 4}
    first = bench.worker(pool="solo", name="first", conf=conf).ready()
    bench.send("note", "long", 6)
    _at(bench, "start", "long")
    for n in range(5):
        bench.send("note", n)
    wait_until(lambda: _counts(bench)["leased"] >= 2)
    second = bench.worker(pool="solo", name="second", conf=conf)
    first.terminate()
    second.ready()
    assert first.wait() == 0
    for n in range(5):
        _at(bench, "end", n)
    assert sorted(map(str, labels(bench.facts("start")))) == ["0", "1", "2", "3", "4", "long"], "each ran once"
    assert labels(bench.facts("end", pid=first.pid)) == ["long"], "it began nothing more"
    assert _at(bench, "end", 4) - _at(bench, "end", "long") < 5
    wait_until(lambda: _counts(bench) == {"ready": 0, "scheduled": 0, "leased": 0})


def test_a_cold_shutdown_gives_everything_back_at_once(bench: Bench) -> None:
    first = bench.worker("-c", "1", pool="prefork", name="first", conf=LATE).ready()
    bench.send("note", "long", 30)
    bench.send("note", "short")
    _at(bench, "start", "long")
    second = bench.worker("-c", "2", pool="threads", name="second", conf=LATE).ready()
    first.process.send_signal(signal.SIGQUIT)
    first.wait()
    ended = time.time()
    again = bench.facts.wait("start", count=2, label="long")[1]
    assert again["at"] - ended < 2.5, "not after the lease of 30 s"
    assert again["info"]["redelivered"] is True
    _at(bench, "end", "short")
    second.kill()


# the future


def test_tasks_of_the_future_survive_a_restart_of_everything(bench: Bench) -> None:
    first = bench.worker(pool="threads", name="first").ready()
    due = time.time() + 6
    with bench.producer().connection_for_write() as connection:  # a producer that ends, too
        task = bench.app.tasks["t.note"]
        for n in range(5):
            task.apply_async((f"f{n}",), countdown=due - time.time(), connection=connection)
        retried = bench.send("again", 1, 6.0)
    bench.facts.wait("start", id=retried.id)
    wait_until(lambda: _counts(bench)["scheduled"] == 6)
    first.kill()
    assert _counts(bench)["scheduled"] == 6
    bench.worker(pool="threads", name="second").ready()
    for n in range(5):
        assert due - 0.1 <= _at(bench, "start", f"f{n}") < due + 3
    assert len(bench.facts.wait("start", count=2, id=retried.id)) == 2
    assert len(bench.facts("start")) == 7


# order


def test_one_at_a_time_by_priority_and_the_rest_for_others(bench: Bench) -> None:
    conf = {**LATE, "worker_prefetch_multiplier": 1}
    for n, priority in enumerate([1, 9, 5, None, 255, 5]):
        bench.send("note", n, 0.4, priority=priority)
    first = bench.worker("-c", "1", pool="threads", name="first", conf=conf).ready()
    _at(bench, "start", 4)
    assert _counts(bench)["leased"] <= 1
    bench.send("note", "urgent", priority=100)
    for n in range(6):
        _at(bench, "end", n)
    order = labels(sorted(bench.facts("start"), key=lambda s: s["at"]))
    assert [n for n in order if n != "urgent"] == [4, 1, 2, 5, 0, 3]
    assert order.index("urgent") <= 2
    # While one works the other gets what is left, at once.
    second = bench.worker("-c", "1", pool="threads", name="second", conf=conf).ready()
    bench.send("note", "long", 5)
    _at(bench, "start", "long")
    for n in range(10, 13):
        bench.send("note", n)
    for n in range(10, 13):
        _at(bench, "end", n)
    assert bench.facts("end", label="long") == []
    [busy] = bench.facts("start", label="long")
    [other] = {first.pid, second.pid} - {busy["pid"]}
    assert all(s["pid"] == other for n in range(10, 13) for s in bench.facts("start", label=n))
    first.kill()
    second.kill()


# growing and being told


def test_remote_control(bench: Bench) -> None:
    worker = bench.worker("-c", "1", pool="prefork", conf={"worker_disable_rate_limits": False}).ready()
    control = bench.app.control

    def tell(command: str, **arguments: Any) -> Any:
        began = time.monotonic()
        [reply] = control.broadcast(command, arguments=arguments, reply=True, timeout=15, limit=1)
        assert time.monotonic() - began < 3, "well under a second on a quiet machine"
        [answer] = reply.values()
        assert "ok" in answer, answer
        return answer

    tell("add_consumer", queue="other")
    assert bench.send("add", 1, 1, queue="other").get(timeout=30) == 2
    tell("cancel_consumer", queue="other")
    waiting = bench.send("add", 1, 2, queue="other")
    assert bench.send("add", 1, 3).get(timeout=30) == 4
    assert waiting.state == "PENDING"
    tell("add_consumer", queue="other")
    assert waiting.get(timeout=30) == 3

    tell("pool_grow", n=1)
    wait_until(lambda: _overlap(bench), 30)  # Celery takes a while to use the new process
    tell("pool_shrink", n=1)
    assert bench.send("add", 1, 4).get(timeout=30) == 5  # the process that is left takes tasks again
    before = len(bench.facts("start"))

    tell("rate_limit", task_name="t.note", rate_limit="2/s")
    for n in range(5):
        bench.send("note", n)
    starts = sorted(_at(bench, "start", n) for n in range(5))
    assert starts[-1] - starts[0] > 1.4
    assert len(bench.facts("start")) == before + 5

    control.shutdown()
    assert worker.wait() == 0


def _overlap(bench: Bench) -> bool:
    """Whether two tasks run at the same time."""
    one, two = (bench.send("note", time.time(), 0.5) for _ in range(2))
    one.get(timeout=30)
    two.get(timeout=30)
    first, second = bench.facts("start", id=one.id) + bench.facts("start", id=two.id)
    return bool(abs(first["at"] - second["at"]) < 0.45)


def test_autoscale_and_tasks_per_child(bench: Bench) -> None:
    bench.worker("--autoscale=3,1", "--max-tasks-per-child=2", pool="prefork").ready()
    for n in range(3):
        bench.send("note", n, 4)
    starts = [_at(bench, "start", n) for n in range(3)]
    assert max(starts) < min(_at(bench, "end", n) for n in range(3)), "three at the same time"
    results = [bench.send("note", n) for n in range(10, 20)]
    assert [r.get(timeout=60) for r in results] == list(range(10, 20))
    pids = [s["pid"] for n in range(10, 20) for s in bench.facts("start", label=n)]
    assert len(pids) == 10
    assert all(pids.count(pid) <= 2 for pid in pids)
    wait_until(lambda: _counts(bench)["leased"] == 0)


def test_broadcast_queues_and_beat(bench: Bench) -> None:
    env = {"DQ_BROADCAST": "1"}
    workers = [bench.worker(pool="solo", name=name, env=env) for name in ("one", "two")]
    _ready(*workers)
    with Connection(bench.broker) as connection:
        bench.app.tasks["t.note"].apply_async(
            ("to all",), exchange="news", exchange_type="fanout", connection=connection
        )
    starts = bench.facts.wait("start", count=2, label="to all")
    assert {s["pid"] for s in starts} == {w.pid for w in workers}
    beat = bench.beat(0.5)
    ticks = bench.facts.wait("end", count=4, label="tick", timeout=40)
    beat.terminate()
    beat.wait(20)
    ids = [s["id"] for s in bench.facts("start", label="tick")]
    assert len(ids) == len(set(ids)) >= len(ticks)
    gaps = sorted(b["at"] - a["at"] for a, b in pairwise(ticks))
    assert gaps[0] > 0.05
    assert len(bench.facts("start", label="to all")) == 2


@pytest.mark.bare
def test_a_worker_may_come_before_the_tables(bench: Bench) -> None:
    """`create=true` in several processes that start at once."""
    workers = [bench.worker(pool="solo", name=f"w{n}") for n in range(3)]
    _ready(*workers)
    assert bench.send("add", 1, 2).get(timeout=30) == 3


def test_the_command_line(bench: Bench) -> None:
    bench.worker("-c", "2", pool="threads").ready()
    for command in (["inspect", "ping"], ["status"]):
        done = bench.celery(*command, "--timeout", "2")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "w@test" in done.stdout
    done = bench.celery("call", "t.add", "--args", "[2, 3]")
    assert done.returncode == 0, done.stderr
    assert bench.app.AsyncResult(done.stdout.strip()).get(timeout=30) == 5
    done = bench.celery("control", "rate_limit", "t.add", "100/s", "--timeout", "2")
    assert "new rate limit set" in done.stdout
    bench.send("note", "x", queue="elsewhere")
    done = bench.celery("purge", "-f", "-Q", "elsewhere")
    assert done.returncode == 0, done.stderr
    assert "1 message" in done.stdout


# rights


@pytest.mark.bare
def test_a_worker_and_its_producers_need_no_more_than_their_roles(as_role: As, bench: Bench) -> None:
    worker = bench.worker("-c", "2", "-E", pool="threads", broker=f"depqueue+{as_role('consumer')}").ready()
    publisher = bench.producer(f"depqueue+{as_role('publisher')}")
    sent = [publisher.tasks["t.add"].apply_async((n, 1), countdown=n % 2) for n in range(10)]
    assert [result.get(timeout=60) for result in sent] == list(range(1, 11))
    assert publisher.tasks["t.shaky"].apply_async((2,)).get(timeout=60) == 2
    assert bench.app.control.inspect(timeout=10).ping() == {worker.name: {"ok": "pong"}}
    worker.terminate()
    assert worker.wait() == 0
    assert "denied" not in worker.said(100_000)
