"""Nothing is lost and nothing runs twice while tasks flow, whatever dies."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url
from transport_servers import own_server
from transport_workers import Bench, Worker

from kombu_depqueue.testing.fixtures import Database
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.sessions import Sessions

COUNTS = [
    pytest.param(2000, id="2000"),
    pytest.param(10_000, id="10000", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


class _Flow:
    """Sends numbered tasks in a thread, and knows which began and ended where."""

    def __init__(self, bench: Bench, count: int, name: str, broker: str) -> None:
        self.bench, self.count, self.name = bench, count, name
        self.ids: dict[str, int] = {}
        self.errors: list[Exception] = []
        self._app = bench.producer(broker)
        self._thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        task = self._app.tasks[f"t.{self.name}"]
        # Few take longer: the workers have to be busy when they are killed.
        seconds = 0.02 if self.count <= 2000 else 0.003
        for n in range(self.count):
            try:
                self.ids[task.apply_async((n, seconds), ignore_result=True).id] = n
            except Exception as error:
                self.errors.append(error)

    def __enter__(self) -> _Flow:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(300)

    @property
    def is_sending(self) -> bool:
        return self._thread.is_alive()

    def ended(self) -> set[int]:
        return {f["label"] for f in self.bench.facts("end") if isinstance(f["label"], int)}

    def wait(self, wanted: Callable[[], bool], timeout: float) -> None:
        wait_until(wanted, timeout, interval=0.5)

    def starts(self) -> dict[int, list[dict[str, Any]]]:
        found = defaultdict(list)
        for fact in self.bench.facts("start"):
            found[fact["label"]].append(fact)
        return found


def _kill_at_random(bench: Bench, flow: _Flow, start: Callable[[str, int], Worker], kills: int) -> list[Worker]:
    """Kill one of two workers now and then, and start another for it; returns the dead."""
    chance = random.Random(20)
    alive = {name: start(name, 0) for name in ("threads", "prefork")}
    for worker in alive.values():
        worker.ready()
    dead = []
    for turn in range(1, kills + 1):
        goal = len(flow.ids) * 0.8 if not flow.is_sending else len(flow.ended()) + flow.count / (kills + 2) * 0.5
        wait_until(lambda goal=goal: len(flow.ended()) >= min(goal, flow.count * 0.9), 120, interval=0.2)
        time.sleep(chance.random() * 0.2)
        name = chance.choice(sorted(alive))
        alive[name].kill()
        dead.append(alive[name])
        alive[name] = start(name, turn)
    return dead


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("acks", ["late", pytest.param("early", marks=pytest.mark.variant)])
def test_workers_killed_at_random_moments(bench: Bench, count: int, acks: str) -> None:
    broker = f"{bench.broker}&lease=2"
    args = {"threads": ("-c", "4"), "prefork": ("-c", "2")}

    def start(name: str, turn: int) -> Worker:
        return bench.worker(*args[name], pool=name, name=f"{name}{turn}", broker=broker)

    with _Flow(bench, count, "late_note" if acks == "late" else "note", broker) as flow:
        dead = _kill_at_random(bench, flow, start, 4 if count < 5000 else 12)
    assert flow.errors == []
    assert len(flow.ids) == count
    pids = {w.pid for w in dead}
    if acks == "late":
        flow.wait(lambda: len(flow.ended()) == count, 120 if count < 5000 else 600)
        assert [s for s in bench.facts("start") if s["info"]["redelivered"]], "nobody held anything when killed"
    else:
        # What the dead had acked and not ended is lost: that is what early acks mean.
        _wait_until_quiet(bench)
        received = "".join(w.log.read_text(errors="replace") for w in dead)
        ended = flow.ended()
        missing = [task_id for task_id, n in flow.ids.items() if n not in ended]
        assert [m for m in missing if m not in received] == []
        assert len(missing) <= len(dead) * 8
    for n, starts in flow.starts().items():
        again = [s for s in starts if s["pid"] not in pids and s["ppid"] not in pids]
        assert len(again) <= 1, f"task {n} ran twice: {starts}"


def _wait_until_quiet(bench: Bench) -> None:
    with bench.native() as queue:

        def left() -> list[Any]:
            queue.maintain()
            return [q for q in queue.queues() if q.name == "celery" and q.ready + q.leased + q.scheduled]

        try:
            wait_until(lambda: not left(), 100, interval=0.5)
        except AssertionError:
            raise AssertionError(f"left: {left()}, {queue.workers()}") from None


@contextmanager
def _disturbed(disturb: Callable[[], None], flow: _Flow, times: int) -> Iterator[None]:
    """Disturb so many times while tasks flow."""
    yield
    chance = random.Random(7)
    for _ in range(times):
        goal = min(len(flow.ended()) + flow.count // (times + 3), flow.count - 1)
        wait_until(lambda goal=goal: len(flow.ended()) >= goal, 60, interval=0.1)
        time.sleep(chance.random() * 0.2)
        disturb()


def _once_each(bench: Bench, flow: _Flow) -> None:
    assert flow.errors == []
    flow.wait(lambda: len(flow.ended()) == flow.count, 100)
    _wait_until_quiet(bench)
    doubled = [n for n, k in Counter(f["label"] for f in bench.facts("start")).items() if k > 1]
    assert doubled == []


@pytest.mark.only("postgresql", "mysql")
@pytest.mark.parametrize("name", ["note", "late_note"])
def test_all_sessions_killed_while_tasks_flow(sessions: Sessions, make_bench: Callable[..., Bench], name: str) -> None:
    bench = make_bench(sessions.url.render_as_string(hide_password=False))
    workers = [
        bench.worker("-c", "4", pool="threads", name="one"),
        bench.worker("-c", "2", pool="prefork", name="two"),
    ]
    for worker in workers:
        worker.ready()
    killed: list[int] = []

    def kill() -> None:
        killed.append(sessions.kill_all())

    with _Flow(bench, 1500, name, bench.broker) as flow, _disturbed(kill, flow, 5):
        pass
    assert min(killed) > 0
    _once_each(bench, flow)
    assert all(w.process.poll() is None for w in workers)
    assert bench.send("add", 1, 2).get(timeout=30) == 3


@pytest.mark.only("sqlite")
def test_a_database_that_is_locked_for_seconds_while_tasks_flow(bench: Bench) -> None:
    broker = f"{bench.broker}&lease=8"
    for pool in ("threads", "prefork"):
        bench.worker("-c", "2", pool=pool, name=pool, broker=broker).ready()
    path = make_url(bench.url).database

    def lock() -> None:
        with sqlite3.connect(path or "", timeout=30, isolation_level=None) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(2)
            connection.execute("ROLLBACK")
        connection.close()

    with _Flow(bench, 600, "late_note", broker) as flow, _disturbed(lock, flow, 3):
        pass
    _once_each(bench, flow)


@pytest.mark.only("postgresql")
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_database_server_killed_and_started_again_while_tasks_flow(
    database: Database, tmp_path: Path, make_bench: Callable[..., Bench]
) -> None:
    with own_server() as server:
        bench = make_bench(server.url)
        broker = f"{bench.broker}&lease=20"
        for pool in ("threads", "prefork"):
            bench.worker("-c", "2", pool=pool, name=pool, broker=broker).ready()
        with _Flow(bench, 1500, "late_note", broker) as flow, _disturbed(server.restart, flow, 2):
            pass
        _once_each(bench, flow)
        bench.close()


@pytest.mark.only("postgresql")
@pytest.mark.parametrize("name", ["note", "late_note"])
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_first_task_that_ends_while_the_database_is_away(
    database: Database, make_bench: Callable[..., Bench], name: str, pool: str
) -> None:
    """What came of it is told when the database is back, and it is not run again."""
    with own_server() as server:
        bench = make_bench(server.url)
        bench.worker("-c", "1", pool=pool, broker=f"{bench.broker}&lease=20").ready()
        bench.send(name, "long", 2.0)
        wait_until(lambda: bench.facts("start"))
        server.kill()
        wait_until(lambda: bench.facts("end"))
        time.sleep(1.0)  # it stays away
        server.start()
        _wait_until_quiet(bench)
        assert len(bench.facts("start")) == 1
        bench.close()
