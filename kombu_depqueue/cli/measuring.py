"""`depqueue bench`: what this database does with jobs, from here, measured in tables of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from kombu_depqueue.cli.base import Command, Place, json_option
from kombu_depqueue.cli.output import document, fields, note, table
from kombu_depqueue.errors import DepQueueError, Empty
from kombu_depqueue.job import JobMessage

if TYPE_CHECKING:
    from kombu_depqueue.queue import JobQueue

__all__ = ["COMMANDS"]

BATCH = 100
QUEUE = "bench"
PAUSE = 0.02
"""Seconds between jobs for a consumer that waits."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of working: jobs a second, and what a call took (milliseconds)."""

    what: str
    jobs: int
    per_second: float
    p50_ms: float
    p99_ms: float
    most_ms: float


@click.command(cls=Command)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=10.0, show_default=True, help="How long in all.")
@click.option("--size", type=click.IntRange(0, 1_000_000), default=500, show_default=True, help="Bytes of a payload.")
@json_option
@click.pass_obj
def bench(place: Place, seconds: float, size: int, as_json: bool) -> None:
    """Measure what this database does with jobs, from here.

    One process, one thread; in tables of its own (bench_...), which are dropped afterwards. Others on the machine,
    the network and the settings that are shown are part of the figures.
    """
    with _own(place) as queue:
        settings = queue.settings_of_database()
        payload = "x" * size
        phases: tuple[Callable[[float], Measured], ...] = (
            lambda s: _repeat("enqueue, one by one", s, lambda: _enqueue(queue, payload, 1)),
            lambda s: _repeat(f"enqueue, {BATCH} at a time", s, lambda: _enqueue(queue, payload, BATCH)),
            lambda s: _repeat("reserve and ack, one by one", s, lambda: _work(queue, 1)),
            lambda s: _repeat(f"reserve and ack, {BATCH} at a time", s, lambda: _work(queue, BATCH)),
            lambda s: _wake(queue, s),
        )
        found = []
        for measure in phases:
            found.append(measure(seconds / len(phases)))
            note(f"{found[-1].what}: done")
    if as_json:
        document({"database": place.shown, "settings": settings, "size": size, "figures": [asdict(f) for f in found]})
        return
    fields([("database", place.shown), *settings.items(), ("payload", f"{size} bytes")])
    numbers = ("JOBS", "JOBS/S", "P50 MS", "P99 MS", "MOST MS")
    rows = [
        (f.what, str(f.jobs), f"{f.per_second:,.0f}", *(f"{t:.2f}" for t in (f.p50_ms, f.p99_ms, f.most_ms)))
        for f in found
    ]
    table(("CALL", *numbers), rows, numbers=numbers)


@contextmanager
def _own(place: Place) -> Iterator[JobQueue]:
    """A JobQueue on tables of its own, beside those that are there."""
    with place.open() as queue:
        queue.queues()
    from kombu_depqueue.queue import JobQueue

    options = {**place.options, "table_prefix": f"bench_{secrets.token_hex(4)}_"}
    try:
        with JobQueue(place.url, **{**options, "create": True}) as own:
            yield own
    finally:
        with JobQueue(place.url, **options) as unused:  # one that has consumed would still look after its leases
            unused.drop_tables()


def _enqueue(queue: JobQueue, payload: str, count: int) -> int:
    if count == 1:
        queue.enqueue(QUEUE, payload)
    else:
        queue.enqueue_many([JobMessage.new(QUEUE, payload) for _ in range(count)])
    return count


def _work(queue: JobQueue, count: int) -> int:
    try:
        held = queue.reserve_many(count, 0, queues=[QUEUE])
    except Empty:
        return 0
    if count == 1:
        held[0].ack()
    else:
        queue.ack_many(held)
    return len(held)


def _repeat(what: str, seconds: float, call: Callable[[], int]) -> Measured:
    """Call for so long, or until there is nothing to do."""
    times: list[float] = []
    jobs, began = 0, time.perf_counter()
    while (start := time.perf_counter()) - began < seconds:
        done = call()
        if not done:
            break
        jobs += done
        times.append(time.perf_counter() - start)
    return _measured(what, jobs, time.perf_counter() - began, times)


def _wake(queue: JobQueue, seconds: float) -> Measured:
    """From the enqueue of a job to the moment when a waiting consumer has it."""
    queue.purge(QUEUE)
    times: list[float] = []
    until = time.perf_counter() + seconds
    sent: list[float] = []
    taken = threading.Event()

    def consume() -> None:
        while time.perf_counter() < until:
            try:
                held = queue.reserve(max(0.0, until - time.perf_counter()), queues=[QUEUE])
            except DepQueueError:  # nothing came any more
                return
            times.append(time.perf_counter() - sent[-1])
            held.ack()
            taken.set()

    consumer = threading.Thread(target=consume, daemon=True)
    consumer.start()
    began = time.perf_counter()
    while time.perf_counter() < until:
        time.sleep(PAUSE)  # meanwhile the consumer waits
        taken.clear()
        sent.append(time.perf_counter())
        queue.enqueue(QUEUE)
        taken.wait(max(0.0, until - time.perf_counter()))
    consumer.join()
    return _measured("enqueue until a waiting consumer has it", len(times), time.perf_counter() - began, times)


def _measured(what: str, jobs: int, elapsed: float, times: Sequence[float]) -> Measured:
    ordered = sorted(times) or [0.0]
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * p))] * 1000 for p in (0.5, 0.99))
    return Measured(what, jobs, jobs / elapsed if jobs else 0.0, p50, p99, ordered[-1] * 1000)


COMMANDS = (bench,)
