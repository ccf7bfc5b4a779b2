"""Enqueueing inside the caller's own transaction, whatever publishes: the native API, Kombu, Celery's canvases."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, Protocol

from kombu_depqueue.entry import Entry
from kombu_depqueue.errors import InvalidJob

__all__ = ["Deferred", "enlist", "enlisted"]

_enlisted: ContextVar[Any] = ContextVar("depqueue_enlisted", default=None)


class _Inserts(Protocol):
    def _inserted(self, entries: Sequence[Entry], connection: Any) -> None: ...


class Deferred:
    """What is published in an `async with` block: inserted at its end, since publishing itself cannot await."""

    def __init__(self) -> None:
        self._entries: list[tuple[_Inserts, Sequence[Entry]]] = []

    def add(self, queue: _Inserts, entries: Sequence[Entry]) -> None:
        """Keep what a queue is to insert."""
        self._entries.append((queue, entries))

    def flush(self, connection: Any) -> None:
        """Insert all of it, in order."""
        for queue, entries in self._entries:
            queue._inserted(entries, connection)


class enlist:
    """Make what this thread (or task) enqueues in the block part of a SQLAlchemy transaction.

        with kombu_depqueue.enlist(session):
            session.add(order)
            charge.delay(order.id)
        session.commit()  # both, or neither

    `connection`: a Connection or Session on the database of the queue; for `async with` an
    AsyncConnection or AsyncSession (psycopg or aiosqlite), where all of it is inserted, and
    checked, at the end of the block. The caller commits.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._tokens: list[Token[Any]] = []
        self._deferred = Deferred()

    def __enter__(self) -> None:
        if hasattr(self._connection, "run_sync"):
            raise InvalidJob("connection", "an asynchronous one needs `async with enlist(...)`")
        self._tokens.append(_enlisted.set(self._connection))

    def __exit__(self, *exc: object) -> None:
        _enlisted.reset(self._tokens.pop())

    async def __aenter__(self) -> None:
        if not hasattr(self._connection, "run_sync"):
            raise InvalidJob("connection", "`async with` needs an AsyncSession or AsyncConnection")
        self._deferred = Deferred()
        self._tokens.append(_enlisted.set(self._deferred))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _enlisted.reset(self._tokens.pop())
        if kind is None:
            await self._connection.run_sync(self._deferred.flush)


def enlisted() -> Any:
    """The connection of the innermost `enlist` block; None: there is none."""
    return _enlisted.get()
