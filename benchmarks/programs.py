"""What the benchmarks run in processes of their own, through `testing.helpers.ChildProcess`.

Each says "ready" when it is, and at the end what it has measured. CLOCK_MONOTONIC is
the same for all processes of a machine, so moments may be compared.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from measure import rss

from kombu_depqueue import Empty, JobMessage, JobQueue, Worker
from kombu_depqueue.testing.helpers import hear, say


def work_and_note(url: str) -> None:
    """Run jobs by a Worker until told to stop; say of each when it was enqueued and when its handler started."""
    found: list[tuple[float, float]] = []
    with JobQueue(url) as queue:
        worker = Worker(queue, {"default": lambda job: found.append((job.args, time.monotonic()))})
        threading.Thread(target=lambda: (hear(), worker.stop()), daemon=True).start()
        say("ready")
        worker.run()
    say(found)


def enqueue_steadily(url: str, rate: float, batch: int, seconds: float) -> None:
    """Offer so many jobs a second, in batches; say how many jobs were enqueued."""
    with JobQueue(url) as queue:
        queue.resume("default")
        say("ready")
        hear()
        started, count = time.monotonic(), 0
        while (now := time.monotonic()) < started + seconds:
            due = started + count / rate
            if due > now:
                time.sleep(due - now)
            queue.enqueue_many([JobMessage.new("default", count) for _ in range(batch)])
            count += batch
    say(count)


def drain_steadily(url: str, batch: int, window: float) -> None:
    """Reserve and ack in batches until told to stop; say when each window ended and what was done in it.

    The longest claim of a window is said as well.
    """
    stop = threading.Event()
    found: list[tuple[float, int, float]] = []
    with JobQueue(url) as queue:
        threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
        say("ready")
        end, done, longest = time.monotonic() + window, 0, 0.0
        while not stop.is_set():
            started = time.monotonic()
            try:
                got = queue.reserve_many(batch, 0.1)
            except Empty:
                got = []
            else:
                longest = max(longest, time.monotonic() - started)
                done += len(got) - len(queue.ack_many(got))
            if time.monotonic() >= end:
                found.append((end, done, longest))
                end, done, longest = end + window, 0, 0.0
    say(found)


def drain_timed(url: str, batch: int, window: float) -> None:
    """Reserve and ack in batches until told to stop; say of each window when it ended, what was done, and all claims."""
    stop = threading.Event()
    found: list[tuple[float, int, list[float]]] = []
    with JobQueue(url) as queue:
        threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
        say("ready")
        end, done, times = time.monotonic() + window, 0, []
        while not stop.is_set():
            started = time.monotonic()
            try:
                got = queue.reserve_many(batch, 0)
            except Empty:
                time.sleep(0.005)
            else:
                times.append(time.monotonic() - started)
                done += len(got) - len(queue.ack_many(got))
            if time.monotonic() >= end:
                found.append((end, done, times))
                end, done, times = end + window, 0, []
        found.append((end, done, times))
    say(found)


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
