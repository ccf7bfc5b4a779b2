"""How an empty-handed consumer waits, and how it is woken.

Being woken is only a hint: whoever waits looks by itself as well, each
`poll_interval`. So a hint may be lost, doubled or forged, and nothing is.

PostgreSQL: a publisher's `Notifier` sends NOTIFY after the commit, from a thread
and connection of its own, at most every 5 ms (with a trailing edge: the last one
is never swallowed), and only if a consumer has said that it waits. The consumer
says so, then looks once more, then waits: one of the two sees the other.
SQLite: `PRAGMA data_version` tells of every commit to the file.
MySQL: nothing tells. Whoever waits looks 10-20 times a second.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from kombu_depqueue.database import Database
from kombu_depqueue.errors import DepQueueError

__all__ = ["COALESCE", "Notifier", "Waiter"]

logger = logging.getLogger("kombu_depqueue")

COALESCE = 0.005
"""Seconds between two hints: 16 publishers keep 85 % of their rate, an idle consumer does not notice."""
LINGER = 10.0
"""Seconds that a thread with nothing to do stays."""
STEADY = 10.0
"""Seconds after losing a session in which others that are gone say nothing: perhaps the server restarts."""


class Notifier:
    """Sends hints for a publisher."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dirty: set[int] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.enabled = database.dialect.has_notify and database.settings.notify

    def hint(self, queues: Collection[int]) -> None:
        """Wake, soon, those who wait for one of the queues; does not block."""
        if not self.enabled or self._dirty.issuperset(queues):  # a hint for them is still to be sent, after our commit
            return
        with self._changed:
            if self._closed:
                return
            self._dirty.update(queues)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="depqueue-notifier", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._dirty and not self._closed:
                    self._changed.wait(LINGER)
                if not self._dirty:
                    self._thread = None
                    return
            self.flush()
            time.sleep(COALESCE)

    def close(self) -> None:
        """Send what is to be sent, and stop."""
        with self._changed:
            self._closed = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)
        self.flush()

    def flush(self) -> None:
        """Send what is to be sent now."""
        with self._changed:
            queues, self._dirty = self._dirty, set()
        if queues:
            try:
                self._database.read(lambda tx: self._database.dialect.hint(tx, sorted(queues)))
            except DepQueueError as error:  # only a hint: consumers look by themselves
                logger.debug("hint not sent: %s", error)


class Waiter:
    """Lets the threads of a consumer wait until something may have changed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed = threading.Condition()
        self._generation = 0
        self.hints = 0
        """So many have come from outside; `wake` by ourselves is none."""
        self._waiting = 0
        self._queues: set[int] = set()
        self._watch: _Listener | _Poller | _Looker | None = None
        self.session: str | None = None
        """The session that listens: it ends when this process does."""
        self.session_changed: Callable[[], None] = lambda: None
        self._lost_session = float("-inf")
        database.cut = self.doubt

    def doubt(self) -> None:
        """A call got no answer: the server of our own connection may be frozen too, and another have its place."""
        if isinstance(self._watch, _Listener):
            self._watch.check()

    @property
    def sees_sessions(self) -> bool:
        """Whether sessions of others that have ended are a sign of their death."""
        return self.session is not None and time.monotonic() - self._lost_session > STEADY

    def hold_session(self) -> None:
        """Have a session, if the server shows them to others."""
        if self._watch is None and self._database.dialect.has_sessions:
            self.watch(())

    def has_session(self, session: str | None) -> None:
        """It has begun, or (None) ended."""
        if session is None and self.session is not None:
            self._lost_session = time.monotonic()
        if session != self.session:
            self.session = session
            self.session_changed()

    def renew_session(self) -> None:
        """Listen on another connection: the server has given up this one."""
        if isinstance(self._watch, _Listener):
            self._watch.reconnect()

    def ticket(self) -> int:
        """Take before looking: `wait` returns at once if there was a hint since."""
        return self._generation

    def wake(self) -> None:
        """Wake all who wait."""
        with self._changed:
            self._generation += 1
            self._changed.notify_all()

    def hint(self) -> None:
        """Wake all who wait: something has changed in the database."""
        self.hints += 1
        self.wake()

    def watch(self, queues: Iterable[int]) -> bool:
        """Start to hear of these queues; whether that is new, so that one must look once more."""
        new = set(queues) - self._queues
        watching = self._watch
        if not new and watching is not None and watching.alive:
            return False
        with self._changed:
            self._queues |= new
            if self._watch is None or not self._watch.alive:
                self._watch = self._make_watch()
            return self._watch.add(new)

    def _make_watch(self) -> _Listener | _Poller | _Looker:
        dialect = self._database.dialect
        if dialect.has_change_counter:
            return _Poller(self._database, self)
        if dialect.look_interval is not None and self._database.settings.notify:
            return _Looker(dialect.look_interval, self)
        return _Listener(self._database, self, self._queues)

    def wait(self, ticket: int, timeout: float) -> None:
        """Wait for a hint, at most `timeout` seconds."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._generation != ticket, timeout)
            finally:
                self._waiting -= 1

    @property
    def is_used(self) -> bool:
        """Whether a thread waits."""
        return self._waiting > 0

    def close(self) -> None:
        """Wake everybody and hear no more."""
        if self._watch is not None:
            self._watch.close()
        self.wake()


class _Poller:
    """Watches the change counter of an SQLite file: 2 us a look, each 1-10 ms while somebody waits."""

    def __init__(self, database: Database, waiter: Waiter) -> None:
        self._database, self._waiter = database, waiter
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="depqueue-poller", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def add(self, queues: set[int]) -> bool:
        return True

    def close(self) -> None:
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5)

    def _run(self) -> None:
        with contextlib.suppress(*self._database.dialect.driver_errors()):
            fairy = self._database.connect()
            try:
                self._poll(fairy.dbapi_connection)
            finally:
                fairy.close()

    def _poll(self, connection: Any) -> None:
        seen, quiet, unused = -1, time.monotonic(), 0.0
        while not self._closed.is_set():
            with self._database.calling:
                counter = self._database.dialect.change_counter(connection)
            now = time.monotonic()
            if counter != seen:
                seen, quiet = counter, now
                self._waiter.hint()
            if self._waiter.is_used:
                unused = now
            elif now - unused > LINGER:
                return
            # The longer nothing has happened the less often: 0.1 % of a core at rest.
            self._closed.wait(0.001 if now - quiet < 0.2 else 0.004 if now - quiet < 10 else 0.01)


class _Looker:
    """Has those who wait look again and again."""

    def __init__(self, interval: float, waiter: Waiter) -> None:
        self._interval, self._waiter = interval, waiter
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="depqueue-looker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def add(self, queues: set[int]) -> bool:
        return False

    def close(self) -> None:
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5)

    def _run(self) -> None:
        begun = used = time.monotonic()
        while not self._closed.wait(self._interval if used - begun < 1.0 else 2 * self._interval):
            now = time.monotonic()
            if self._waiter.is_used:
                begun = begun if now - used < 1.0 else now  # back after a pause: quick again
                used = now
                self._waiter.hint()
            elif now - used > LINGER:
                return


class _Listener:
    """Listens for NOTIFY on a connection of its own, which it always reads: an unread one would hold back vacuum."""

    def __init__(self, database: Database, waiter: Waiter, queues: set[int]) -> None:
        self._database, self._waiter = database, waiter
        self._queues = queues
        self._read, self._write = os.pipe()
        self._closed = self._doubted = False
        self._connection: Any = None
        self._listening = threading.Event()
        settings, dialect = database.settings, database.dialect
        self.enabled = dialect.has_notify and settings.notify and not getattr(dialect, "pooled", False)
        self._thread = threading.Thread(target=self._run, name="depqueue-listener", daemon=True)
        if self.enabled:
            self._thread.start()

    @property
    def alive(self) -> bool:
        return not self._closed

    def add(self, queues: set[int]) -> bool:
        """Listen for more queues; waits until that is so, so that no hint is missed."""
        if not self.enabled:
            return False
        self._listening.clear()
        os.write(self._write, b"x")
        return self._listening.wait(2.0)

    def check(self) -> None:
        """See soon whether the server still answers; does not block."""
        if self.enabled and not self._closed:
            self._doubted = True
            os.write(self._write, b"x")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(min(1.0, self._database.deadline.patience()))
            if self._thread.is_alive() and self._connection is not None:  # it waits for a frozen server
                self._database.dialect.abort(self._connection)
            self._thread.join(min(4.0, self._database.deadline.patience()))
        os.close(self._read)
        os.close(self._write)

    def reconnect(self) -> None:
        """Give up the connection, on which nothing more will come, for another."""
        connection = self._connection
        if connection is not None:
            logger.info("the session that listens has ended, unheard: beginning another")
            self._database.dialect.abort(connection)

    def _run(self) -> None:
        pause = 0.1
        while not self._closed:
            try:
                fairy = self._database.connect()
            except self._database.dialect.driver_errors() as error:
                logger.debug("cannot listen: %s", type(error).__name__)
            else:
                fairy.detach()  # it never goes back to the pool: it would go on listening there
                pause = 0.1
                self._connection = fairy.dbapi_connection
                try:
                    self._listen(self._connection)
                except self._database.dialect.driver_errors() as error:
                    logger.debug("listening broke off: %s", type(error).__name__)
                finally:
                    self._connection = None
                    with contextlib.suppress(*self._database.dialect.driver_errors()):
                        fairy.close()
            self._waiter.has_session(None)
            self._waiter.hint()  # a hint may have been missed
            if not self._closed:
                time.sleep(pause)
                pause = min(pause * 2, 2.0)

    def _listen(self, connection: Any) -> None:
        dialect, watched = self._database.dialect, self._database.watched
        heard: set[int] = set()
        self._doubted = True  # for the first look
        while not self._closed:
            new = set(self._queues) - heard
            with watched(connection):
                if self._doubted:
                    self._doubted = False
                    self._waiter.has_session(dialect.session(connection))
                if new:
                    dialect.listen(connection, sorted(new))
                    heard |= new
            self._listening.set()
            ready, _, _ = select.select([connection.fileno(), self._read], [], [], 60.0)
            if self._read in ready:
                os.read(self._read, 64)
            if dialect.hinted(connection):
                self._waiter.hint()
