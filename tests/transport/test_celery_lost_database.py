"""Celery workers whose database server dies in the middle of tasks, and comes back, or does not.

Servers of the tests' own; the table in `test_celery_smoke` says which of Celery's own scenarios are here. Celery
hears nothing of a server that comes back: leases, prefetch counts and consumers are kept behind its back, so that
`worker_cancel_long_running_tasks_on_connection_loss` and `worker_enable_prefetch_count_reduction`, which mend what
other brokers do then, find nothing to mend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kombu import Connection
from transport_helpers import Inbox, broker_of, declare, publish
from transport_servers import Server, own_server
from transport_workers import Bench, Worker, labels

from kombu_depqueue.testing.fixtures import Database
from kombu_depqueue.testing.helpers import wait_until

pytestmark = pytest.mark.only("postgresql")

LATE = {"task_acks_late": True}
AWAY = 2.0
"""Seconds that the server is away at least; workers have noticed, and tried again."""


@pytest.fixture
def server(database: Database) -> Iterator[Server]:
    with own_server() as started:
        yield started


@pytest.fixture
def bench(server: Server, make_bench: Callable[..., Bench]) -> Iterator[Bench]:
    made = make_bench(server.url)
    yield made
    made.close()  # before the server


def _held(bench: Bench, label: Any, **options: Any) -> Any:
    result = bench.send("hold", label, **options)
    bench.facts.wait("start", label=label, timeout=30)
    return result


def _nothing_is_left(bench: Bench, *names: str) -> None:
    with bench.native() as queue:
        wait_until(lambda: not [q for q in queue.queues() if q.name in names and q.ready + q.leased], 40)


def _noticed(*workers: Worker) -> None:
    """Wait until they have noticed that the server is away."""
    for worker in workers:
        wait_until(lambda worker=worker: "trying again" in worker.said(100_000), 40, interval=0.1)


@pytest.mark.drawn("acks")
@pytest.mark.parametrize("acks", ["early", "late"])
def test_a_server_that_restarts_in_the_middle_of_a_task_of_each_pool(bench: Bench, server: Server, acks: str) -> None:
    """Tasks that end while it is away have ended, once; the workers go on, and told Celery nothing."""
    conf = LATE if acks == "late" else {}
    broker = f"{bench.broker}&lease=25&deadline=2"
    pools = {"prefork": "2", "threads": "2", "gevent": "5", "solo": "1"}
    workers = [
        bench.worker("-c", c, "-E", "-Q", pool, pool=pool, name=pool, conf=conf, broker=broker)
        for pool, c in pools.items()
    ]
    for worker in workers:
        worker.ready()
    results = [_held(bench, pool, queue=pool) for pool in pools]
    server.kill()
    for pool in list(pools)[:2]:
        bench.let_go(pool)
        bench.facts.wait("end", label=pool)
    _noticed(*workers)
    server.start()
    for pool in list(pools)[2:]:
        bench.let_go(pool)
    assert [result.get(timeout=60) for result in results] == list(pools)
    after = [bench.send("add", 1, 2, queue=pool) for pool in pools]
    assert [result.get(timeout=60) for result in after] == [3] * len(pools)
    _nothing_is_left(bench, *pools)
    assert sorted(labels(bench.facts("start"))) == sorted(pools)
    for worker in workers:
        assert "onnection to broker lost" not in worker.said(100_000)


@pytest.mark.drawn("cancel", "reduce", chance=0.5)
@pytest.mark.parametrize("cancel", [True, False])
@pytest.mark.parametrize("reduce", [True, False])
def test_nothing_is_canceled_and_no_more_is_fetched(bench: Bench, server: Server, cancel: bool, reduce: bool) -> None:
    conf = {
        **LATE,
        "worker_cancel_long_running_tasks_on_connection_loss": cancel,
        "worker_enable_prefetch_count_reduction": reduce,
        "worker_prefetch_multiplier": 2,
    }
    worker = bench.worker("-c", "2", pool="prefork", conf=conf, broker=f"{bench.broker}&lease=25&deadline=2").ready()
    for n in range(2):
        _held(bench, n)
    for n in range(2, 8):
        bench.send("note", n)

    def held() -> tuple[int, int]:
        with bench.native() as queue:
            [info] = [q for q in queue.queues() if q.name == "celery"]
            return info.leased, info.ready

    wait_until(lambda: held() == (4, 4))
    server.kill()
    _noticed(worker)
    time.sleep(AWAY)
    server.start()
    wait_until(lambda: bench.app.control.inspect(timeout=5, limit=1).ping(), 40)
    [stats] = bench.app.control.inspect(timeout=10, limit=1).stats().values()
    assert stats["prefetch_count"] == 4
    assert held() == (4, 4)
    assert labels(bench.facts("start")) == [0, 1]
    for n in range(2):
        bench.let_go(n)
    for n in range(8):
        bench.facts.wait("end", label=n, timeout=30)
    _nothing_is_left(bench, "celery")
    assert sorted(labels(bench.facts("start"))) == list(range(8))


@pytest.mark.drawn(chance=0.5)
def test_a_canceled_queue_stays_canceled_after_a_reconnect(bench: Bench, server: Server) -> None:
    """It was selected by an alias, and canceled by its name."""
    env = {"DQ_ALIAS": "1"}
    worker = bench.worker("-Q", "alias,celery", pool="solo", env=env, broker=f"{bench.broker}&deadline=2").ready()
    assert bench.send("add", 1, 2, queue="real").get(timeout=30) == 3
    control = bench.app.control
    assert control.cancel_consumer("real", reply=True, timeout=10, limit=1)
    server.kill()
    _noticed(worker)
    server.start()
    ignored = bench.send("add", 1, 2, queue="real")
    assert bench.send("add", 1, 3).get(timeout=40) == 4
    assert ignored.state == "PENDING"
    with bench.native() as queue:
        assert [q.ready for q in queue.queues() if q.name == "real"] == [1]


@pytest.mark.parametrize("others", [True, False])
def test_a_consumer_hears_of_a_lost_server_only_if_there_are_others(server: Server, others: bool) -> None:
    """Alone it waits, and has what comes when the server is back."""
    plain = broker_of(server.url).partition("?")[0]
    urls = [plain, "depqueue+postgresql://nobody@127.0.0.1:1/nothing"] if others else plain
    options = {"create": True, "deadline": 1}
    with Connection(urls, transport_options=options) as connection:
        inbox = Inbox(connection.channel(), declare(connection.default_channel, "q"))
        server.kill()
        if others:
            with pytest.raises(connection.connection_errors):
                inbox.take(timeout=20)
            began = time.monotonic()
            connection.collect()  # as Celery does: it tries nothing more there
            assert time.monotonic() - began < 5
        server.start()
        with Connection(plain, transport_options=options) as producer:
            publish(producer.default_channel, "after", "q")
        if not others:
            assert inbox.payloads() == ["after"]


def test_a_failover_list(bench: Bench, server: Server, database: Database) -> None:
    """When its server is away for a `deadline` the worker goes to the next, and back when that is away."""
    with own_server() as other:
        options = {"create": True, "lease": 5, "deadline": 2}
        conf = {**LATE, "broker_transport_options": options, "broker_connection_timeout": 2}
        brokers = ";".join(broker_of(one.url).partition("?")[0] for one in (server, other))
        retry = {"max_retries": 40, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 1}
        worker = bench.worker("-c", "2", pool="prefork", conf=conf, broker=brokers).ready()
        app = bench.producer(brokers, **conf)

        def ask(n: int) -> int:
            return int(app.tasks["t.add"].apply_async((n, 1), retry=True, retry_policy=retry).get(timeout=60))

        assert ask(1) == 2
        running = app.tasks["t.hold"].apply_async(("running",))
        bench.facts.wait("start", label="running")
        server.kill()
        bench.let_go("running")
        assert running.get(timeout=30) == "running"
        assert ask(2) == 3
        assert "onnection to broker lost" in worker.said(100_000)
        server.start()
        other.kill()
        assert ask(3) == 4
        # It was acked where nobody listened: it runs again, and has ended at once. Nothing else is left.
        again = bench.facts.wait("start", count=2, label="running", timeout=30)[1]
        assert again["info"]["redelivered"] is True
        _nothing_is_left(bench, "celery")
        app.pool.force_close_all()
        worker.kill()
