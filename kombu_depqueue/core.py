"""What a JobQueue is made of, and how it begins, survives a fork, and ends."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from sqlalchemy import URL, Engine

from kombu_depqueue.cursor import Cursors
from kombu_depqueue.database import Database
from kombu_depqueue.dialects import dialect_for
from kombu_depqueue.enlisting import Deferred
from kombu_depqueue.entry import Entry
from kombu_depqueue.errors import Duplicate, QueueClosed
from kombu_depqueue.keeper import Keeper
from kombu_depqueue.limits import Limits
from kombu_depqueue.listings import Listings
from kombu_depqueue.monitoring import Monitor
from kombu_depqueue.outcomes import Outcomes
from kombu_depqueue.records import Records
from kombu_depqueue.settings import Settings, parse, shown_url
from kombu_depqueue.store import Store
from kombu_depqueue.waiting import Notifier, Waiter

__all__ = ["Core"]


class Core:
    """A JobQueue without its operations: made, used after a fork, closed; and whom it wakes."""

    creates_at_once: ClassVar[bool] = True
    """Whether tables that it may create are there when it has been made, or only at its first use."""

    def __init__(self, url: str | URL | Engine = "depqueue://", **options: Any) -> None:
        engine = url if isinstance(url, Engine) else None
        self._engine = engine
        self.settings: Settings = parse(engine.url if engine is not None else url, options)  # type: ignore[arg-type]
        self._inherited: list[Any] = []
        self._closed = False
        self._start()
        if self.settings.create and self.creates_at_once:
            try:
                self._database.ensure_schema()
            except BaseException:
                self._database.close()  # the caller has no JobQueue to close
                raise

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._database = Database(dialect_for(self.settings, self._engine))
        self._store = Store(self._database)
        self._records = Records(self._store)
        self._listings = Listings(self._store)
        self._limits = Limits(self._store)
        self._monitor = Monitor(self._store)
        self._outcomes = Outcomes(self._store)
        self._notifier = Notifier(self._database)
        self._waiter = Waiter(self._database)
        name = self.settings.name or f"{socket.gethostname()}:{self._pid}"
        self._keeper = Keeper(self._store, self._waiter, self._notifier, name)
        self._cursors = Cursors(self._keeper, self._store)
        self._keeper.released = self._cursors.rewind

    def _in_child(self) -> bool:
        return self._pid != os.getpid()

    def _check(self) -> None:
        if self._in_child():
            # The child's first use: the connections, threads and leases are the parent's. They are kept
            # here for ever, since closing (even collecting) them would speak on the parent's sockets.
            parents = self._database
            self._inherited += [parents, self._keeper, self._waiter, self._notifier]
            self._start()
            self._database.follow(parents)
        if self._closed:
            raise QueueClosed("the JobQueue is closed")

    def __repr__(self) -> str:
        return f"JobQueue({shown_url(self.settings.url)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all reservations back at once and close."""
        if self._closed:
            return
        self._closed = True
        if self._in_child():
            return
        self._database.deadline.hurry()
        self._waiter.close()
        try:
            self._keeper.close()
            self._notifier.close()
        finally:
            self._database.close()

    def _inserted(self, entries: Sequence[Entry], connection: Any) -> None:
        if isinstance(connection, Deferred):
            connection.add(self, entries)
            return
        self._limits.check(entries, connection)
        try:
            woken = self._store.insert(entries, connection)
        except Duplicate:
            if connection is None:  # what it tells must be as safe as the commit that it stands for
                self._database.make_sure()
            raise
        if connection is None:  # else they were told in the caller's transaction
            self._notifier.hint(woken)
        if any(e.delay is not None or e.run_at is not None for e in entries):
            self._keeper.stir()  # it may be due earlier than anything known so far

    def _woken(self, queues: set[int]) -> None:
        self._notifier.hint(queues)
        self._keeper.stir()

    def _given_back(self, queues: set[int]) -> None:
        self._cursors.rewind()
        self._woken(queues)
        self._waiter.wake()

    def _woken_by_end(self, queues: set[int]) -> None:
        if queues:
            self._woken(queues)
