"""Celery and Kombu on this broker and on others, in turns.

The workers run with Celery's defaults, in processes of their own; the tasks do nothing but say that they ran.
Brokers that sync a commit, or confirm a publish, promise what we do; the others are shown for what they cost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import contenders
from celery_tasks import make_app
from contenders import OURS
from kombu import Connection, Consumer, Producer, Queue
from measure import Row, compared, percentile, spread, timed
from peers.base import BODY, Address
from scene import Scene

__all__ = ["POOLS", "Broker", "drain", "kombu", "latency", "publish"]

HERE = Path(__file__).parents[1]
POOLS = {"solo": (), "threads": ("-c", "4"), "prefork": ("-c", "2")}
FLOOR = "memory (floor)"
SLOW = ("sqla on PostgreSQL", "sqla on SQLite")
"""They move some hundred tasks a second: a quarter as many will do."""
ADAPTER, UNSYNCED = "depqueue with its adapter", "depqueue, not synced"
ABOUT_PUBLISHING = ("RabbitMQ, confirms", UNSYNCED)
FEW = ("depqueue on PostgreSQL", "RabbitMQ", "Redis, everysec", FLOOR)
"""Those with whom all pools and acks are measured: each turn takes some seconds."""


class Broker:
    """A broker to measure, with its producer, and the file that its tasks write to."""

    def __init__(self, name: str, address: Address, file: Path, environment: Mapping[str, str] | None = None) -> None:
        self.name, self.address, self.file = name, address, file
        self.environment = {**address.environment, **(environment or {})}
        self.app = make_app(address.url, dict(address.options))
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

    def send(self, queue: str, count: int, **options: Any) -> float:
        """Publish so many tasks that do nothing; returns the seconds it took."""
        noop = self.app.tasks["noop"]
        noop.apply_async(queue=queue, **options)  # connects, and declares the queue
        started = time.perf_counter()
        for _ in range(count - 1):
            noop.apply_async(queue=queue, **options)
        return (time.perf_counter() - started) * count / (count - 1)

    @contextmanager
    def worker(self, queue: str, pool: str, *, late: bool = False, backlog: int = 0) -> Iterator[None]:
        """A worker on the queue; ended with SIGTERM. Where it must publish its backlog itself, it does."""
        command = [sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-P", pool, *POOLS[pool]]
        own = {
            "BENCH_BROKER": self.address.url,
            "BENCH_OPTIONS": json.dumps(dict(self.address.options)),
            "BENCH_FILE": str(self.file),
        }
        own |= {"BENCH_LATE": "1"} if late else {}
        own |= {"BENCH_BACKLOG": f"{queue} {backlog}"} if self.address.preloads else {}
        log = self.file.with_suffix(".log")
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*command, "-Q", queue, "-n", f"{queue}@bench", "-l", "error"],
                cwd=HERE,
                env={**os.environ, **own, **self.environment},
                stdout=said,
                stderr=said,
            )
            try:
                yield
            except TimeoutError as error:
                raise TimeoutError(f"{error}; its worker said: {log.read_text()[-2000:]}") from None
            finally:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def drained(self, count: int) -> float:
        """Wait for a backlog to be gone; returns the seconds from its first tenth to its end, for all."""
        first = count // 10
        started = self.when(first)
        return (self.when(count) - started) * count / (count - first)

    def when(self, size: int) -> float:
        """Wait until the tasks have written so many bytes."""
        until = time.monotonic() + 120
        while self.file.stat().st_size < size:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.name}: {self.file.stat().st_size} of {size} tasks ran")
            time.sleep(0.002)
        return time.perf_counter()


@contextmanager
def _brokers(scene: Scene, names: Sequence[str] = tuple(contenders.BROKERS)) -> Iterator[dict[str, Broker]]:
    with ExitStack() as stack:
        found = stack.enter_context(contenders.addresses(scene, list(names)))
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="depqueue-celery-")))
        brokers = {n: Broker(n, address, folder / str(i)) for i, (n, address) in enumerate(found.items())}
        yield brokers
        for broker in brokers.values():
            broker.app.close()


def _compare(
    scene: Scene,
    brokers: Mapping[str, Broker],
    what: str,
    count: int,
    run: Callable[[Broker, int], float],
    goals: Mapping[str, float],
    rounds: int,
) -> Iterator[Row]:
    """Do it with each broker in turns. The goals are PostgreSQL's, against some of the others."""
    counts = {name: max(10, count // 4) if name in SLOW else count for name in brokers}
    ways = {name: (lambda b=b: run(b, counts[b.name])) for name, b in brokers.items()}
    times, busy = scene.others.alternate(rounds, ways, warm=False, patience=1.5)
    ours: dict[str, Mapping[str, float]] = {OURS["postgresql"]: goals, OURS["sqlite"]: {}}
    yield from compared(what, counts, times, ours, busy=busy)


def publish(scene: Scene) -> Iterator[Row]:
    """`apply_async` by one process, with each broker."""
    goals = {"Redis, everysec": 1.2, "RabbitMQ, confirms": 2.0, FLOOR: 0.6}

    def run(broker: Broker, count: int) -> float:
        with broker.queue() as queue:
            return broker.send(queue, count)

    with _brokers(scene, [n for n in contenders.BROKERS if n != ADAPTER]) as brokers:
        count, rounds = scene.pick(1_500, 500, 20), scene.pick(3, 1, 1, 5)
        yield from _compare(scene, brokers, "apply_async", count, run, goals, rounds)


def drain(scene: Scene) -> Iterator[Row]:
    """A worker drains a backlog, with each pool, early and late acks."""
    count = scene.pick(1_000, 1_000, 20, 4_000)
    solo = {"RabbitMQ": 1.5, "Redis, everysec": 4.0, "sqla on PostgreSQL": 10.0}
    several = {"RabbitMQ": 1.0, "Redis, everysec": 1.5}
    for pool, ack, names in _cells(scene):
        with _brokers(scene, names) as brokers:

            def run(broker: Broker, count: int, pool: str = pool, late: bool = ack == "late") -> float:
                with broker.queue() as queue:
                    if not broker.address.preloads:
                        broker.send(queue, count)
                    with broker.worker(queue, pool, late=late, backlog=count):
                        return broker.drained(count)

            goals = solo if pool == "solo" else several
            rounds = scene.pick(2, 1, 1, 5)  # each turn starts a worker, 4 s: with everybody a round takes a minute
            yield from _compare(scene, brokers, f"drain, -P {pool}, {ack} ack", count, run, goals, rounds)


def _cells(scene: Scene) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Which pools and acks are measured with whom."""
    everybody = [n for n in contenders.BROKERS if n not in ABOUT_PUBLISHING]
    if scene.size == "smoke":
        yield "solo", "late", [*scene.few(OURS[d] for d in scene.databases), FLOOR]
        return
    yield "solo", "late", everybody
    if scene.size == "quick":
        return
    for pool in POOLS:
        for ack in ("early", "late"):
            if (pool, ack) != ("solo", "late") and (pool == "solo" or ack == "late" or scene.size == "long"):
                few = (*FEW, "sqla on PostgreSQL") if pool == "solo" else FEW
                yield pool, ack, everybody if scene.size == "long" else few


def kombu(scene: Scene) -> Iterator[Row]:
    """Kombu without Celery: publish one by one, publish in a batch, consume and ack."""
    count = scene.pick(1_000, 500, 20, 2_000)
    spent: dict[str, dict[str, list[float]]] = {"publish": {}, "publish in a batch": {}, "consume + ack": {}}

    def run(broker: Broker, count: int) -> float:
        name = f"bench-{uuid4().hex[:12]}"
        queue = Queue(name)
        with Connection(broker.address.url, transport_options=dict(broker.address.options)) as connection:
            queue(connection).declare()
            try:
                producer = Producer(connection, routing_key=name)
                taken = {"publish": timed(lambda: [producer.publish(BODY) for _ in range(count)])}
                waiting = count
                if hasattr(producer, "batch") and hasattr(producer.channel, "create_publish_batch"):  # Kombu 5.7
                    taken["publish in a batch"] = timed(lambda: _publish_together(producer, count))
                    waiting += count
                taken["consume + ack"] = timed(lambda: _consume(connection, queue, waiting)) * count / waiting
            finally:
                queue(connection).delete()
        for what, seconds in taken.items():
            spent[what].setdefault(broker.name, []).append(seconds / count)
        return sum(taken.values())

    slow = SLOW if scene.size == "quick" else ()
    names = [n for n in contenders.BROKERS if n not in (ADAPTER, UNSYNCED, *slow)]
    with _brokers(scene, names) as brokers:
        busy = next(_compare(scene, brokers, "", count, run, {}, scene.pick(3, 1, 1, 5))).busy or 0.0
    ours: dict[str, Mapping[str, float]] = {OURS["postgresql"]: {}, OURS["sqlite"]: {}}
    for what, times in spent.items():
        yield from compared(f"Kombu: {what}", dict.fromkeys(times, 1), times, ours, busy=busy)
    for name in ours:
        single, batch = (spent[w].get(name) for w in ("publish", "publish in a batch"))
        if single and batch:
            yield _batched(name, single, batch)


def _batched(name: str, single: Sequence[float], batch: Sequence[float]) -> Row:
    """The goal is one of two: 10,000 messages a second, or five times as many as one by one."""
    rate, ratio = spread(1 / b for b in batch), spread(s / b for s, b in zip(single, batch, strict=True))
    what, least = "Kombu: publish in a batch", 10_000.0
    if rate.median >= least:
        return Row(f"{what} (goal)", name, rate, "/s", least=least, beside=f"{ratio.text('x')} of one by one")
    return Row(f"{what} / one by one", name, ratio, least=5.0, beside=rate.text("/s"))


def _publish_together(producer: Producer, count: int) -> None:
    with producer.batch(max_size=100):
        for _ in range(count):
            producer.publish(BODY)


def _consume(connection: Connection, queue: Queue, count: int) -> None:
    got = 0

    def take(message: Any) -> None:
        nonlocal got
        got += 1
        message.ack()

    until = time.monotonic() + 120
    consumer = Consumer(connection, [queue], on_message=take)
    consumer.qos(prefetch_count=100)
    with consumer:
        while got < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{got} of {count} messages came")
            connection.drain_events(timeout=60)


def latency(scene: Scene) -> Iterator[Row]:
    """From `apply_async` to the task's body in another process (-P solo): idle, and at half of what can be moved."""
    count, rounds = scene.pick(120, 60, 5, 200), scene.pick(1, 1, 1, 5)
    names = [n for n in contenders.BROKERS if n not in (FLOOR, "RabbitMQ", ADAPTER, UNSYNCED)]
    if scene.size in ("quick", "smoke"):
        names = scene.few(n for n in names if n not in (*SLOW, "Redis, always", "pgmq"))
    found: dict[str, dict[str, list[list[float]]]] = {"idle": {}, "half load": {}}
    with _brokers(scene, names) as brokers:
        for _ in range(rounds):
            for name, broker in brokers.items():
                for load, taken in zip(found, _latencies(broker, count), strict=True):
                    found[load].setdefault(name, []).append(taken)
    best = [spread(percentile(t, 0.5) for t in times).median for n, times in found["idle"].items() if "Rabbit" in n]
    for load, contending in found.items():
        for share in (0.5, 0.95, 0.99):
            for name, times in contending.items():
                most = None
                if name == OURS["postgresql"] and load == "idle":
                    most = {0.5: min([0.003, *(b + 0.002 for b in best)]), 0.99: 0.010}.get(share)
                value = spread(percentile(some, share) for some in times)
                yield Row(f"latency, {load}, p{share * 100:.0f}", name, value, "ms", most=most)


def _latencies(broker: Broker, count: int) -> tuple[list[float], list[float]]:
    moment = broker.app.tasks["moment"]

    def send(pause: float) -> None:
        due = time.monotonic()
        for _ in range(count):
            due += pause
            time.sleep(max(0.0, due - time.monotonic()))
            moment.apply_async((time.monotonic(),), queue=queue)

    def took(first: int, number: int) -> list[float]:
        until = time.monotonic() + 60
        while len(lines := broker.file.read_text().splitlines()) < first + number:
            if time.monotonic() > until:
                raise TimeoutError(f"{broker.name}: {len(lines)} of {first + number} tasks ran")
            time.sleep(0.05)
        return [float(line) for line in lines[first : first + number]]

    with broker.queue() as queue, broker.worker(queue, "solo"):
        moment.apply_async((time.monotonic(),), queue=queue)
        took(0, 1)
        time.sleep(1.0)
        send(0.05)
        idle = took(1, count)
        started = time.monotonic()
        send(0.0)  # as fast as it will
        took(1 + count, count)
        pause = 2 * (time.monotonic() - started) / count
        send(pause)
        half = took(1 + 2 * count, count)
    return idle[count // 20 :], half[count // 20 :]
