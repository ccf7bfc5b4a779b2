"""Celery on this broker and on Redis and RabbitMQ, in turns: publish, drain a backlog, wake an idle worker.

Redis and RabbitMQ are those of this machine: `redis://127.0.0.1:6379/9` and `amqp://guest:guest@127.0.0.1:5672//`
(or `DEPQUEUE_BENCH_REDIS`, `DEPQUEUE_BENCH_RABBITMQ`); one that does not answer is left out. RabbitMQ confirms each
publish, as the other two do by answering. The workers run with Celery's defaults, in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from celery_tasks import make_app
from measure import Row, percentile, ratios, spread
from scene import Scene

__all__ = ["drain", "latency", "publish"]

HERE = Path(__file__).parent
PEERS = {
    "redis": (os.environ.get("DEPQUEUE_BENCH_REDIS", "redis://127.0.0.1:6379/9"), {}),
    "rabbitmq": (
        os.environ.get("DEPQUEUE_BENCH_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//"),
        {"confirm_publish": True},
    ),
}
POOLS = {"solo": (), "threads": ("-c", "4"), "prefork": ("-c", "2")}


@dataclass
class Broker:
    """A broker to measure, with its producer, and the file that its tasks write to."""

    name: str
    url: str
    options: dict[str, Any]
    file: Path
    environment: dict[str, str] = field(default_factory=dict)
    """What its workers are told beside."""

    def __post_init__(self) -> None:
        self.app = make_app(self.url, self.options)
        self.file.touch()

    @contextmanager
    def queue(self) -> Iterator[str]:
        """An empty queue, deleted afterwards."""
        name = f"bench-{uuid4().hex[:12]}"
        os.truncate(self.file, 0)
        try:
            yield name
        finally:
            with self.app.connection() as connection:
                connection.default_channel.queue_delete(name)

    def send(self, queue: str, count: int) -> float:
        """Publish so many tasks that do nothing; returns the seconds it took."""
        noop = self.app.tasks["noop"]
        noop.apply_async(queue=queue)  # connects, and declares the queue
        started = time.perf_counter()
        for _ in range(count - 1):
            noop.apply_async(queue=queue)
        return (time.perf_counter() - started) * count / (count - 1)

    @contextmanager
    def worker(self, queue: str, pool: str) -> Iterator[None]:
        """A worker on the queue; ended with SIGTERM."""
        command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-P", pool, *POOLS[pool]]
        own = {"BENCH_BROKER": self.url, "BENCH_OPTIONS": json.dumps(self.options), "BENCH_FILE": str(self.file)}
        process = subprocess.Popen(
            [*command, "-Q", queue, "-n", f"{queue}@bench", "-l", "error"],
            cwd=HERE,
            env={**os.environ, **own, **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def drained(self, count: int) -> float:
        """Wait for a backlog to be gone; returns the seconds from its first tenth to its end, for all."""
        first = count // 10
        started = self._when(first)
        return (self._when(count) - started) * count / (count - first)

    def _when(self, size: int) -> float:
        until = time.monotonic() + 120
        while self.file.stat().st_size < size:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: {self.file.stat().st_size} of {size} tasks ran")
            time.sleep(0.002)
        return time.perf_counter()


@contextmanager
def _brokers(scene: Scene) -> Iterator[dict[str, Broker]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="depqueue-celery-")))
        urls = {
            database: (f"depqueue+{stack.enter_context(scene.site(database)).url}", {}) for database in scene.databases
        }
        brokers = {n: Broker(n, url, dict(options), folder / n) for n, (url, options) in {**urls, **PEERS}.items()}
        for name, broker in list(brokers.items()):
            try:
                with broker.app.connection() as connection:
                    connection.ensure_connection(max_retries=1, timeout=3)
            except Exception as error:
                print(f"{name} is left out: {type(error).__name__}", file=sys.stderr)
                del brokers[name]
        yield brokers
        for broker in brokers.values():
            broker.app.close()


def publish(scene: Scene) -> Iterator[Row]:
    """`apply_async` of a task, in turns with Redis and with RabbitMQ and its confirms."""
    count = scene.pick(2_000, 500)
    with _brokers(scene) as brokers:

        def send(broker: Broker) -> float:
            with broker.queue() as queue:
                return broker.send(queue, count)

        yield from _compared(scene, brokers, "apply_async", count, send, {"redis": 1.0, "rabbitmq": 1.0})


def drain(scene: Scene) -> Iterator[Row]:
    """A worker drains a backlog of tasks that do nothing, with each pool, in turns with Redis and RabbitMQ."""
    count = scene.pick(4_000, 1_000)
    with _brokers(scene) as brokers:
        for pool in POOLS:

            def run(broker: Broker, pool: str = pool) -> float:
                with broker.queue() as queue:
                    broker.send(queue, count)
                    with broker.worker(queue, pool):
                        return broker.drained(count)

            yield from _compared(scene, brokers, f"drain, -P {pool}", count, run, {"redis": 2.0, "rabbitmq": 1.0})


def _compared(
    scene: Scene,
    brokers: Mapping[str, Broker],
    what: str,
    count: int,
    run: Callable[[Broker], float],
    goals: Mapping[str, float],
) -> Iterator[Row]:
    ways = {name: (lambda broker=broker: run(broker)) for name, broker in brokers.items()}
    times, busy = scene.others.alternate(scene.pick(5, 2), ways)
    rates = {name: spread(count / t for t in found).median for name, found in times.items()}
    for ours in scene.databases:
        for peer in [*PEERS, *(d for d in scene.databases if (ours, d) == ("sqlite", "postgresql"))]:
            if peer in brokers:
                least = 0.5 if peer == "postgresql" else goals[peer] if ours == "postgresql" else None
                yield Row(
                    f"Celery: {what} / {peer}",
                    ours,
                    ratios(times[peer], times[ours]),
                    least=least,
                    beside=f"{rates[ours]:,.0f} of {rates[peer]:,.0f} tasks/s",
                    busy=busy,
                )


def latency(scene: Scene) -> Iterator[Row]:
    """From `apply_async` to the body of the task in an idle worker (-P solo), one each 50 ms."""
    count, rounds = scene.pick(200, 60), scene.pick(3, 1)
    found: dict[str, list[list[float]]] = {}
    with _brokers(scene) as brokers:
        for _ in range(rounds):
            for name, broker in brokers.items():
                found.setdefault(name, []).append(_latencies(broker, count))
    for name, times in found.items():
        beside = f"longest {max(t for some in times for t in some) * 1000:.1f} ms"
        for share, most in ((0.5, 0.004), (0.99, 0.015)):
            goal = most if name == "postgresql" else None
            value = spread(percentile(some, share) for some in times)
            yield Row(f"Celery: idle worker, p{share * 100:.0f}", name, value, "ms", most=goal, beside=beside)


def _latencies(broker: Broker, count: int) -> list[float]:
    moment = broker.app.tasks["moment"]
    with broker.queue() as queue, broker.worker(queue, "solo"):
        moment.apply_async((time.monotonic(),), queue=queue)
        broker._when(1)
        time.sleep(1.0)
        for _ in range(count):
            moment.apply_async((time.monotonic(),), queue=queue)
            time.sleep(0.05)
        until = time.monotonic() + 30
        while len(lines := broker.file.read_text().splitlines()) <= count and time.monotonic() < until:
            time.sleep(0.05)
    return [float(line) for line in lines[10:]]
