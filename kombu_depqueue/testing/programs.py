"""Programs that the conformance suite runs in processes of their own, through `ChildProcess`."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from contextlib import suppress
from typing import Any

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Canceled, Empty, LeaseLost
from kombu_depqueue.job import JobMessage
from kombu_depqueue.testing.helpers import hear, say


def hold(url: str, options: dict[str, Any], count: int) -> None:
    """Reserve jobs, say their tokens, and work on them for ever."""
    queue = JobQueue(url, **options)
    say([r.token for r in queue.reserve_many(count, 20)])
    while True:
        time.sleep(1)


def enqueue_for_ever(url: str, batch: int) -> None:
    """Enqueue in a loop; say the ids (of one call) after each call has returned."""
    queue = JobQueue(url)
    while True:
        if batch == 1:
            say([str(queue.enqueue("t", 1))])
        else:
            jobs = [JobMessage.new("t", n) for n in range(batch)]
            queue.enqueue_many(jobs)
            say([str(job.job_id) for job in jobs])


def end_and_die(url: str, how: str) -> None:
    """Reserve a job, end it as "ack" or "cancel", and die at the moment the call returns."""
    queue = JobQueue(url)
    reservation = queue.reserve(20)
    if how == "ack":
        reservation.ack()
    else:
        queue.cancel(reservation.job_id)
    os.kill(os.getpid(), signal.SIGKILL)


def work(url: str, options: dict[str, Any], queues: list[str], idle: float) -> None:
    """Ack jobs one by one, saying the id before each ack, until none came for `idle` seconds."""
    with JobQueue(url, **options) as queue:
        while True:
            try:
                reservation = queue.reserve(idle, queues=queues)
            except Empty:
                return
            say(str(reservation.job_id))
            reservation.ack()


def churn(url: str, count: int) -> None:
    """Enqueue `count` jobs in small batches, every fifth with dependencies, and work off what there is meanwhile.

    Ends when nothing is left to reserve; an error ends it at once.
    """
    with JobQueue(url, lease=600.0) as queue:
        say("ready")
        hear()
        enqueued, dice = 0, random.Random(os.getpid())
        while True:
            if enqueued < count:
                jobs = [JobMessage.new("churn", n) for n in range(8)]
                jobs += [JobMessage.new("churn", depends_on=[j.job_id for j in dice.sample(jobs, 3)]) for _ in range(2)]
                queue.enqueue_many(jobs)
                enqueued += len(jobs)
                if dice.random() < 0.2:
                    queue.cancel(jobs[0].job_id)
            try:
                held = queue.reserve_many(dice.choice((1, 10, 20)), 0 if enqueued < count else 2, queues=["churn"])
            except Empty:
                if enqueued >= count:
                    break
                continue
            with suppress(Canceled, LeaseLost):  # another has canceled it
                if dice.random() < 0.1:
                    held.pop().requeue()
                elif dice.random() < 0.2:
                    held.pop().fail("no")
            queue.ack_many(held)
    say(enqueued)


def wait_for_jobs(url: str, options: dict[str, Any], count: int) -> None:
    """Say "ready", then for each of `count` jobs the moment (monotonic clock) it was given."""
    with JobQueue(url, **options) as queue:
        try:
            queue.reserve(0.3)
        except Empty:
            say("ready")
        for _ in range(count):
            reservation = queue.reserve(30)
            say(time.monotonic())
            reservation.ack()


def enqueue_when_told(url: str) -> None:
    """For each thing heard enqueue a job a little later and say the moment after; end at null."""
    with JobQueue(url) as queue:
        queue.queues()  # so that the first job does not wait for the connection
        say("ready")
        while (args := hear()) is not None:
            time.sleep(0.4)  # so that the consumer waits
            queue.enqueue("default", args)
            say(time.monotonic())


def finish_with_token(url: str, job_id: str, token: str) -> None:
    """Finish another process's job."""
    with JobQueue(url) as queue:
        queue.finish(job_id, {"by": os.getpid()}, token=token)
        say(os.getpid())


def refresh_until_told(url: str, options: dict[str, Any], token: str) -> None:
    """Keep a lease alive until told to stop, then end without a word to the database."""
    stop = threading.Event()

    def listen() -> None:
        hear()
        stop.set()

    threading.Thread(target=listen, daemon=True).start()
    queue = JobQueue(url, **options)
    queue.refresh_heartbeat(token)
    say("refreshed")
    while not stop.wait(0.1):
        queue.refresh_heartbeat(token)
    os._exit(0)


def fork_while_holding(url: str) -> None:
    """Reserve a job, fork; the child works with the same JobQueue and ends; then ack the first job."""
    queue = JobQueue(url)
    mine = queue.reserve(10)
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is the test
        child = os.fork()
    if child == 0:
        code = 1
        try:
            _work_after_fork(queue)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    say(os.waitstatus_to_exitcode(status))
    say(queue.status(mine.job_id).state)
    mine.ack("parent")
    say(queue.status(mine.job_id).result)
    queue.close()


def _work_after_fork(queue: JobQueue) -> None:
    reservation = queue.reserve(10)
    say(reservation.args)
    say(str(queue.why(reservation.job_id).holder).endswith(f":{os.getpid()}"))
    reservation.ack("child")
    queue.enqueue("default", "from the child")
    queue.close()
