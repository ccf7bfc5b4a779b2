"""Connections to the database, and the deadline of the calls on them.

Every call is watched: when it takes longer than the deadline, its connection is
cut from outside. Nothing less ends a call to a server that is frozen.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import PoolProxiedConnection

__all__ = ["FORKS", "Connections", "Deadline", "Watchdog"]

logger = logging.getLogger("kombu_depqueue")


MADE = "depqueue_made"
"""When a connection was made, in what the pool keeps about it."""


class _Forks:
    """A context in which no other thread of this process can fork it.

    SQLite has locks of its own, around its memory for one. Which of them another thread holds at a fork is held
    in the child for ever: its first call would never return.
    """

    PATIENCE = 5.0
    """Seconds that a fork waits for calls under way: better a child that may hang than a parent that does."""

    def __init__(self) -> None:
        self._in_child()
        os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._in_child)

    def _in_child(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside: dict[int, int] = {}
        """Threads, and how deep."""
        self._forks = False

    def __enter__(self) -> None:
        me = threading.get_ident()
        with self._changed:
            while self._forks and me not in self._inside:
                self._changed.wait()
            self._inside[me] = self._inside.get(me, 0) + 1

    def __exit__(self, *exc: object) -> None:
        me = threading.get_ident()
        with self._changed:
            self._inside[me] -= 1
            if not self._inside[me]:
                del self._inside[me]
                if self._forks:
                    self._changed.notify_all()

    def _before(self) -> None:
        me = threading.get_ident()
        self._changed.acquire()  # kept until after the fork
        self._forks = True
        self._changed.wait_for(lambda: not self._inside.keys() - {me}, self.PATIENCE)

    def _after(self) -> None:
        self._forks = False
        self._changed.notify_all()
        self._changed.release()


FORKS = _Forks()
"""The process forks as a whole, so there is one."""


class Deadline:
    """How long a call may take; once the end has begun, how long all together may."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = math.inf

    def hurry(self) -> None:
        """Before closing: all calls that are still to come have one deadline together."""
        self._end = self.until()

    def until(self) -> float:
        """The moment (`time.monotonic`) when a call that begins now is given up."""
        return min(time.monotonic() + self._seconds, self._end)

    def patience(self) -> float:
        """Seconds to wait for a thread that is making a call."""
        return max(0.2, self.until() - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether there is no time left for any call."""
        return self._end != math.inf and time.monotonic() > self._end


class Watchdog:
    """Cuts the connection of calls that outlive their deadline."""

    def __init__(self, abort: Callable[[Any], None]) -> None:
        self._abort = abort
        self._calls: dict[int, tuple[float, Any]] = {}
        self.cut: set[int] = set()
        """Threads whose call was cut off."""
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def watch(self, connection: Any, until: float) -> None:
        """Watch the call that this thread makes, until `unwatch`; None: its connection is being made."""
        ident = threading.get_ident()
        self._calls[ident] = (until, connection)
        if self.cut:
            self.cut.discard(ident)  # of an earlier call, which was over at that very moment
        if self._thread is None:
            self._start()

    def connected(self, connection: Any, record: Any) -> None:
        """A connection was made: what is done to prepare it belongs to the call that waits for it."""
        record.info[MADE] = time.monotonic()
        call = self._calls.get(threading.get_ident())
        if call is not None:
            self._calls[threading.get_ident()] = (call[0], connection)

    def unwatch(self) -> None:
        """The call is over."""
        self._calls.pop(threading.get_ident(), None)

    def left(self) -> float | None:
        """Seconds that this thread's call may still take; None: it makes none."""
        call = self._calls.get(threading.get_ident())
        return None if call is None else max(0.0, call[0] - time.monotonic())

    @contextlib.contextmanager
    def watching(self, connection: Any, until: float) -> Iterator[None]:
        """Watch what is done inside."""
        self.watch(connection, until)
        try:
            yield
        finally:
            self.unwatch()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="depqueue-watchdog", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        idle = 0
        while idle < 40:  # ends when nothing happens for 10 s: an idle program keeps no thread
            time.sleep(0.25)
            calls = list(self._calls.items())
            idle = 0 if calls else idle + 1
            for ident, (until, connection) in calls:
                if connection is not None and time.monotonic() > until and self._calls.pop(ident, False):
                    self.cut.add(ident)
                    logger.warning("a database call exceeded its deadline; its connection was cut")
                    self._abort(connection)
        with self._lock:
            self._thread = None


class Connections:
    """Connections kept at hand between calls.

    They stay checked out of SQLAlchemy's pool: to give one back and take it again costs 16 us there
    (it resets what we leave clean), a tenth of a whole call, and 0.5 us here. The pool still makes,
    counts and ends them.
    """

    def __init__(self, engine: Engine, watchdog: Watchdog) -> None:
        self._engine, self._watchdog = engine, watchdog
        event.listen(engine, "connect", watchdog.connected, insert=True)
        self._idle: list[PoolProxiedConnection] = []
        self._wanted = 0
        self._distrusted = 0.0
        self._lock = threading.Lock()

    def take(self, until: float) -> PoolProxiedConnection:
        """The connection given back last, else one from the pool; waits where all are in use."""
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self._wanting():
            # Once more: whoever gave one back just now did not know that it is wanted.
            try:
                return self._idle.pop() if self._idle else self._from_pool(until)
            except IndexError:
                return self._from_pool(until)

    def connect(self) -> Connection:
        """A connection of SQLAlchemy's, from the pool: those that are kept here would be in its way."""
        with self._wanting():
            self.flush()
            return self._engine.connect()

    @contextlib.contextmanager
    def _wanting(self) -> Iterator[None]:
        with self._lock:
            self._wanted += 1
        try:
            yield
        finally:
            with self._lock:
                self._wanted -= 1

    def _from_pool(self, until: float) -> PoolProxiedConnection:
        self._watchdog.watch(None, until)
        try:
            while True:
                fairy = self._engine.raw_connection()
                if fairy.info.get(MADE, 0.0) >= self._distrusted:
                    return fairy
                fairy.invalidate()
        finally:
            self._watchdog.unwatch()

    def give(self, fairy: PoolProxiedConnection) -> None:
        """Keep a sound connection for the next call."""
        self._idle.append(fairy)
        if self._wanted:
            self.flush()

    def distrust(self) -> None:
        """End all that are at hand: the server may have frozen, and each of them would cost a deadline to find out."""
        self._distrusted = time.monotonic()  # those in the pool go when they are taken out
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().invalidate()

    def flush(self) -> None:
        """Give all back to the pool."""
        while self._idle:
            with contextlib.suppress(IndexError):
                self._idle.pop().close()
