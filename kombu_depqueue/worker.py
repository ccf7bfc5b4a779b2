"""A small worker: a handler for each job type, some threads, a clean end on SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from kombu_depqueue.errors import (
    Canceled,
    DepQueueError,
    Empty,
    InvalidJob,
    LeaseLost,
    QueueClosed,
    SchemaError,
    StorageError,
)
from kombu_depqueue.queue import JobQueue
from kombu_depqueue.reservation import Reservation

__all__ = ["Worker"]

logger = logging.getLogger("kombu_depqueue.worker")

PAUSE = 1.0
"""Seconds until the next try, when the database has failed."""

Handler = Callable[[Reservation], Any]


def backoff(attempt: int) -> float:
    """Seconds before the next try of a job that has failed `attempt` times: 1, 2, 4 ... at most an hour."""
    return float(min(3600, 2 ** min(attempt - 1, 12)))


class Worker:
    """Runs jobs: `Worker(queue, {"resize": resize}).run()`.

    A handler is called with the Reservation. What it returns is the job's result. If it
    raises, the job is tried again after a growing delay while it has attempts left
    (`max_attempts`), and fails otherwise: at once where `max_attempts` is 0. A handler may
    also settle the reservation itself. A job that cannot be decoded is rejected. While the
    database is away the worker waits, and then tells what came of the job.

    `threads` jobs run at once. On SIGTERM or SIGINT (or `stop()`) no more are reserved and
    `run` returns when those under way are done; a second signal ends it at once, giving
    them back.
    """

    def __init__(
        self,
        queue: JobQueue,
        handlers: Mapping[str, Handler],
        *,
        threads: int = 1,
        channels: Sequence[str] = ("",),
        retry_delay: Callable[[int], float] = backoff,
    ) -> None:
        if not handlers or threads < 1:
            raise InvalidJob("handlers", "at least one handler and one thread are wanted")
        self.queue, self.handlers, self.threads, self.channels = (
            queue,
            dict(handlers),
            threads,
            list(channels),
        )
        self._retry_delay = retry_delay
        self._stopping = threading.Event()

    def run(self, *, until_idle: bool = False) -> None:
        """Run jobs until stopped, or (`until_idle`) until none is ready. Blocks."""
        with self._signals():
            extra = [
                threading.Thread(target=self._loop, args=(until_idle,), name=f"depqueue-worker-{n}", daemon=True)
                for n in range(1, self.threads)
            ]
            for thread in extra:
                thread.start()
            self._loop(until_idle)
            for thread in extra:
                thread.join()

    def stop(self) -> None:
        """Reserve no more; from any thread."""
        self._stopping.set()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            if self._stopping.is_set():
                raise KeyboardInterrupt
            self.stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        except KeyboardInterrupt:
            self.queue.close()
            raise SystemExit(1) from None
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _loop(self, until_idle: bool) -> None:
        while not self._stopping.is_set():
            try:
                job = self.queue.dequeue(list(self.handlers), 0 if until_idle else 0.5, channels=self.channels)
            except Empty:
                if until_idle:
                    return
                continue
            except QueueClosed:
                return
            except DepQueueError as error:
                logger.warning("cannot reserve: %s", error)
                self._stopping.wait(PAUSE)
                continue
            self._run_one(job)

    def _run_one(self, job: Reservation) -> None:
        try:
            result = self.handlers[job.job_type](job)
        except (LeaseLost, Canceled) as error:
            logger.warning("%s", error)
        except QueueClosed:
            return
        except Exception as error:
            self._has_raised(job, error)
        else:
            try:
                self._insist(lambda: job.ack(result))
            except InvalidJob as error:  # JSON cannot hold the result
                self._has_raised(job, error)

    def _has_raised(self, job: Reservation, error: Exception) -> None:
        logger.warning("job %s (%s) raised %s", job.job_id, job.job_type, type(error).__name__)
        self._insist(lambda: self._failed(job, error))

    def _insist(self, settle: Callable[[], None]) -> None:
        """Until the database takes it: the lease is renewed while we live, so the job would be held for ever."""
        while True:
            try:
                settle()
            except QueueClosed:
                return
            except (LeaseLost, Canceled) as error:
                logger.warning("%s", error)
            except (StorageError, SchemaError) as error:
                logger.warning("cannot settle: %s", error)
                if not self._stopping.wait(PAUSE):
                    continue
            return

    def _failed(self, job: Reservation, error: Exception) -> None:
        most = job.max_attempts
        if isinstance(error, InvalidJob) and error.field in ("args", "headers"):
            job.reject(str(error))
        elif most and job.attempt < most:
            job.requeue(self._retry_delay(job.attempt))
        else:
            job.fail("".join(traceback.format_exception(error))[-4000:])
