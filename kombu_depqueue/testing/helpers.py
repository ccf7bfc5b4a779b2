"""Helpers for tests: wait for a fact, end a job in a given way, run a real process."""

from __future__ import annotations

import importlib
import json
import os
import queue as fifo
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import pytest

from kombu_depqueue.errors import Empty, StorageError
from kombu_depqueue.job import JobState

if TYPE_CHECKING:
    from kombu_depqueue import JobQueue
    from kombu_depqueue.ports import Reservation

__all__ = [
    "ChildProcess",
    "assert_nothing_ready",
    "drain",
    "end_job",
    "failing_once",
    "in_threads",
    "overheard",
    "reserve_and_lose",
    "say",
    "wait_for_state",
    "wait_until",
]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 15.0, *, interval: float = 0.02) -> T:
    """Poll a fact until it is true and return it; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {timeout} s (last: {value!r})"
        time.sleep(interval)


def failing_once(function: Callable[..., T], error: Exception | None = None) -> Callable[..., T]:
    """The function, whose first call fails with `error` (by default a StorageError)."""
    left = [error or StorageError("wanted")]

    def call(*args: Any, **options: Any) -> T:
        if left:
            raise left.pop()
        return function(*args, **options)

    return call


def overheard(patch: pytest.MonkeyPatch) -> list[str]:
    """From now on all statements that the store sends to PostgreSQL."""
    from kombu_depqueue.dialects.lean import LeanCursor

    said: list[str] = []
    execute = LeanCursor.execute

    def listen(cursor: LeanCursor, sql: str, values: Any = None) -> None:
        said.append(sql)
        execute(cursor, sql, values)

    patch.setattr(LeanCursor, "execute", listen)
    return said


def wait_for_state(queue: JobQueue, job_id: UUID, *states: JobState, timeout: float = 15.0) -> JobState:
    """Do upkeep until the job is in one of the states; AssertionError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (state := queue.status(job_id).state) not in states:
        assert time.monotonic() < deadline, f"{queue.why(job_id)}; wanted: {', '.join(states)}"
        queue.maintain()
        time.sleep(0.02)
    return state


def drain(queue: JobQueue, queues: Sequence[str] | None = None, **options: Any) -> list[UUID]:
    """Reserve and ack all that is ready, without waiting; return the ids in the order of delivery."""
    done: list[UUID] = []
    while True:
        try:
            reservation = queue.reserve(0, queues=queues, **options)
        except Empty:
            return done
        reservation.ack()
        done.append(reservation.job_id)


def assert_nothing_ready(queue: JobQueue, timeout: float = 0.0, queues: Sequence[str] | None = None) -> None:
    """Check that no job can be reserved within `timeout` seconds."""
    with pytest.raises(Empty):
        queue.reserve(timeout, queues=queues)


def end_job(queue: JobQueue, job_id: UUID, how: str) -> None:
    """End a ready job as "succeeded", "failed", "dead", "canceled" or (given `expires_in`) "expired"."""
    if how == "canceled":
        assert queue.cancel(job_id)
    elif how == "expired":
        wait_for_state(queue, job_id, JobState.EXPIRED)
    else:
        reservation = queue.dequeue_by_id(job_id)
        settle: dict[str, Callable[[], None]] = {
            "succeeded": reservation.ack,
            "failed": reservation.fail,
            "dead": reservation.reject,
        }
        settle[how]()


def reserve_and_lose(queue: JobQueue, job_id: UUID, winner: JobQueue) -> tuple[Reservation, Reservation]:
    """Let a lease of `queue` (make it short) expire, so that `winner` has the job: (stale, current)."""
    stale = queue.dequeue_by_id(job_id, renew=False)
    current = winner.reserve(15, queues=[stale.job_type])
    assert current.job_id == job_id
    return stale, current


def in_threads(work: Sequence[Callable[[], T]], timeout: float = 60.0) -> list[T | Exception]:
    """Run all at the same moment, each in a thread; return what each returned or raised."""
    results: list[Any] = [TimeoutError("the thread did not end")] * len(work)
    start = threading.Barrier(len(work))

    def run(index: int, call: Callable[[], T]) -> None:
        start.wait()
        try:
            results[index] = call()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(work)]
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return results


def say(value: Any) -> None:
    """Tell the parent of a `ChildProcess` something JSON can hold."""
    print(json.dumps(value), flush=True)


def hear() -> Any:
    """Wait for what the parent of a `ChildProcess` tells it."""
    return json.loads(sys.stdin.readline())


class ChildProcess:
    """A real Python process: it runs a function of an importable module, or code, and says JSON lines.

    Arguments go through JSON; code finds them in `sys.argv[1:]`.
    """

    def __init__(self, program: Callable[..., object] | str, *args: Any) -> None:
        if isinstance(program, str):
            command = ["-c", program, *map(str, args)]
        else:
            command = ["-c", _RUN, program.__module__, program.__qualname__, json.dumps(args)]
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        self.pid = self._process.pid
        self._lines: fifo.Queue[str | None] = fifo.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def heard(self, timeout: float = 30.0) -> Any:
        """Return the next thing it said; AssertionError if it ends, or after `timeout` seconds."""
        try:
            line = self._lines.get(timeout=timeout)
        except fifo.Empty:
            raise AssertionError(f"the process said nothing for {timeout} s; {self._complaints()}") from None
        if line is None:
            raise AssertionError(f"the process ended with {self._process.wait(5)}; {self._complaints()}")
        return json.loads(line)

    def heard_until_end(self, timeout: float = 30.0) -> list[Any]:
        """Wait for its end and return everything it still had said."""
        self._process.wait(timeout)
        self._reader.join(timeout)
        rest = []
        while (line := self._lines.get(timeout=timeout)) is not None:
            if line.endswith("\n"):  # else it was killed while it spoke
                rest.append(json.loads(line))
        return rest

    def tell(self, value: Any = None) -> None:
        """Say something to it (see `hear`)."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """End it with SIGKILL (kill -9), and wait for that."""
        self._process.kill()
        self._process.wait()

    def wait(self, timeout: float = 30.0) -> None:
        """Wait for its end; AssertionError if it failed."""
        code = self._process.wait(timeout)
        assert code == 0, f"the process ended with {code}; {self._complaints()}"

    def close(self) -> None:
        """Kill it if need be, and close its pipes."""
        if self._process.poll() is None:  # its own children too: one that hangs would keep the pipe open
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue

    def _complaints(self) -> str:
        self._errors.seek(0)
        return "it complained:\n" + self._errors.read()[-4000:]


_RUN = f"import sys; from {__name__} import _run; _run(*sys.argv[1:])"


def _run(module: str, name: str, args: str) -> None:
    getattr(importlib.import_module(module), name)(*json.loads(args))
