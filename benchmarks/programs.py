"""What the benchmarks run in processes of their own, through `testing.helpers.ChildProcess`.

Each says "ready" when it is, and at the end what it has measured. CLOCK_MONOTONIC is
the same for all processes of a machine, so moments may be compared.
"""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import contenders
from measure import percentile, rss

from kombu_depqueue import Empty, JobMessage, JobQueue, Worker
from kombu_depqueue.testing.helpers import hear, say


def work_and_note(url: str) -> None:
    """Run jobs by a Worker; each time it is told to, say of the latest when they were enqueued and their handler started."""
    found: list[tuple[float, float]] = []

    def tell() -> None:
        while True:
            hear()
            count = len(found)
            say(found[:count])
            del found[:count]

    with JobQueue(url) as queue:
        worker = Worker(queue, {"default": lambda job: found.append((job.args, time.monotonic()))})
        threading.Thread(target=tell, daemon=True).start()
        say("ready")
        worker.run()


def wait_idly(url: str, name: str) -> None:
    """Wait for a job that never comes."""
    with JobQueue(url) as queue:
        queue.resume(name)
        say("ready")
        while True:
            with suppress(Empty):
                queue.reserve(10, queues=[name])


def publish(url: str, threads: int, notify: bool) -> None:
    """Each time it is told so many seconds, enqueue by some threads for so long; say how many jobs."""

    def work(queue: JobQueue, until: float) -> int:
        done = 0
        while time.monotonic() < until:
            queue.enqueue("default")
            done += 1
        return done

    with JobQueue(url, notify=notify) as queue, ThreadPoolExecutor(threads) as pool:
        queue.enqueue("default")
        say("ready")
        while True:
            seconds = float(hear())
            say(sum(pool.map(work, [queue] * threads, [time.monotonic() + seconds] * threads)))


def offer(name: str, url: str, rate: float, batch: int, seconds: float) -> None:
    """Offer so many jobs a second to a native contender, in batches; say how many were enqueued."""
    peer = contenders.connect(name, url)
    say("ready")
    hear()
    started, count = time.monotonic(), 0
    while (now := time.monotonic()) < started + seconds:
        due = started + count / rate
        if due > now:
            time.sleep(due - now)
        peer.enqueue_many(batch, batch)
        count += batch
    say(count)


def drain(name: str, url: str, batch: int, window: float) -> None:
    """Drain a native contender for ever; of each window say when it ended, what was done, and of the times that its
    batches took the median, the 99th percentile and the longest."""
    peer = contenders.connect(name, url)
    say("ready")
    hear()
    end, done, took = time.monotonic() + window, 0, []
    while True:
        started = time.monotonic()
        taken = peer.take(batch)
        now = time.monotonic()
        if taken:
            took.append(now - started)
            done += taken
        else:
            time.sleep(0.002)
        if now >= end:
            times = took or [0.0]
            say([now, done, statistics.median(times), percentile(times, 0.99), max(times)])
            end, done, took = end + window, 0, []


def compete(url: str, seconds: float, batch: int) -> None:
    """Enqueue, reserve and ack as fast as possible; say how many jobs were done and the longest turn."""
    with JobQueue(url) as queue:
        queue.resume("default")
        say("ready")
        start = float(hear())
        time.sleep(max(0.0, start - time.monotonic()))
        done, longest, now = 0, 0.0, time.monotonic()
        while now < start + seconds:
            if batch == 1:
                queue.enqueue()
                got = [queue.reserve(10)]
                got[0].ack()
            else:
                queue.enqueue_many([JobMessage.new() for _ in range(batch)])
                got = queue.reserve_many(batch, 10)
                queue.ack_many(got)
            done += len(got)
            longest, now = max(longest, time.monotonic() - now), time.monotonic()
    say([done, longest])


def produce(url: str, count: int) -> None:
    """Enqueue from a generator; say the resident memory at every hundredth of the way."""
    marks: list[int] = []

    def jobs() -> Any:
        for number in range(count):
            if number % (count // 100) == 0:
                marks.append(rss())
            yield JobMessage.new("default", number)

    with JobQueue(url) as queue:
        started = time.monotonic()
        queue.enqueue_many(jobs())
        seconds = time.monotonic() - started
    say([marks, seconds])


def consume(url: str, count: int, batch: int) -> None:
    """Reserve and ack so many jobs; say the resident memory at every hundredth of the way."""
    marks: list[int] = []
    with JobQueue(url) as queue:
        started, done = time.monotonic(), 0
        while done < count:
            if done // (count // 100) >= len(marks):
                marks.append(rss())
            got = queue.reserve_many(batch, 10)
            queue.ack_many(got)
            done += len(got)
        seconds = time.monotonic() - started
    say([marks, seconds])


def answer(url: str) -> None:
    """Answer each job of the queue `there` by one in `back`, for ever."""
    with JobQueue(url) as queue:
        queue.resume("there")
        say("ready")
        while True:
            queue.reserve(queues=["there"]).ack()
            queue.enqueue("back")
