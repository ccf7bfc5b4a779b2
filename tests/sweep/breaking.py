"""Let the n-th statement of an operation fail, once, as the database would have it fail.

One breaker for each kind of database. It gets hold of a JobQueue's connections and counts what is
executed on them by the thread that armed it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg
import pymysql
import pytest
from sqlalchemy import Connection, Engine, event, text

from kombu_depqueue.dialects import Dialect
from kombu_depqueue.dialects.lean import LeanCursor
from kombu_depqueue.dialects.sqlite import _Connection
from kombu_depqueue.testing.helpers import wait_until

__all__ = ["BREAKERS", "Breaker"]

Execute = Callable[..., Any]
LAST = "the answers of a pipeline"
"""Not a statement: all of it was sent and done, and the answers are lost."""


def is_commit(sql: Any) -> bool:
    return sql in ("COMMIT", b"COMMIT")


class Breaker:
    """Counts statements, and breaks one."""

    faults: ClassVar[tuple[str, ...]]
    reported: ClassVar[frozenset[str]] = frozenset()
    """Those that the caller is told of; of the others nobody hears but the library."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._admin: Connection | None = None
        self.arm()

    def arm(self, at: int | None = None, fault: str = "") -> None:
        """Break the statement with this number, from 1 on; None: only count."""
        self.count, self.at, self.fault = 0, at, fault
        self._thread = threading.get_ident()
        self.broken = ""
        """What was broken."""

    def attach(self, dialect: Dialect, patch: pytest.MonkeyPatch) -> None:
        """Get hold of the connections that a JobQueue will make."""
        self.attach_engine(dialect.engine)

    def attach_engine(self, engine: Engine) -> None:
        """Get hold of the connections that an engine will make."""
        raise NotImplementedError

    def close(self) -> None:
        if self._admin is not None:
            self._admin.close()

    @property
    def admin(self) -> Connection:
        """A connection that nobody breaks."""
        if self._admin is None:
            self._admin = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._admin

    def step(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        """Execute a statement, or break it; `run` executes a text of our own on the same connection."""
        if threading.get_ident() != self._thread:
            return execute()
        self.count += 1
        if self.at != self.count:
            return execute()
        self.at, self.broken = None, str(sql)
        return getattr(self, self.fault.replace(" ", "_"))(sql, connection, execute, run)


class PostgreSQLBreaker(Breaker):
    """The server itself raises the errors, in place of the statement."""

    faults = ("cut before", "cut after", "serialization", "deadlock")

    def attach(self, dialect: Any, patch: pytest.MonkeyPatch) -> None:
        super().attach(dialect, patch)
        breaker, pipelined = self, dialect.pipelined

        @contextmanager
        def pipelined_and_broken(connection: Any) -> Iterator[None]:
            with pipelined(connection):
                yield
            breaker.step(LAST, connection, lambda: None, connection.execute)

        patch.setattr(dialect, "pipelined", pipelined_and_broken)

    def attach_engine(self, engine: Engine) -> None:
        breaker = self

        class Cursor(psycopg.Cursor[Any]):
            def execute(self, query: Any, *args: Any, **options: Any) -> Any:
                base = super().execute
                return breaker.step(query, self.connection, lambda: base(query, *args, **options), base)

            def executemany(self, query: Any, *args: Any, **options: Any) -> Any:
                whole = super().executemany
                return breaker.step(query, self.connection, lambda: whole(query, *args, **options), super().execute)

        class Lean(LeanCursor):
            def execute(self, sql: str, values: Any = None) -> None:
                base = super().execute
                breaker.step(sql, self.connection, lambda: base(sql, values), base)

        @event.listens_for(engine, "connect")
        def use(connection: Any, record: object) -> None:
            connection.cursor_factory, connection.lean_factory = Cursor, Lean

    def _kill(self, connection: Any) -> None:
        self.admin.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": connection.info.backend_pid})

    def cut_before(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        self._kill(connection)
        return execute()

    def cut_after(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        execute()
        self._kill(connection)
        connection.close()
        raise psycopg.OperationalError("the connection broke")

    def _fail(self, state: str, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        if sql == LAST:
            return execute()
        piped = connection.pgconn.pipeline_status
        try:
            run(f"DO $$ BEGIN RAISE EXCEPTION 'broken by the test' USING ERRCODE = '{state}'; END $$")
        except psycopg.Error:
            if is_commit(sql) and not piped:  # one that failed has ended the transaction
                run("ROLLBACK")
            raise

    def serialization(self, *step: Any) -> Any:
        return self._fail("40001", *step)

    def deadlock(self, *step: Any) -> Any:
        return self._fail("40P01", *step)


class MySQLBreaker(Breaker):
    """A deadlock has rolled the transaction back; a wait that was given up, only the statement."""

    faults = ("cut before", "cut after", "deadlock", "lock wait timeout")

    def attach_engine(self, engine: Engine) -> None:
        breaker = self

        class Cursor(pymysql.cursors.Cursor):
            def execute(self, query: Any, args: Any = None) -> Any:
                base = super().execute
                return breaker.step(query, self.connection, lambda: base(query, args), base)

        @event.listens_for(engine, "connect")
        def use(connection: Any, record: object) -> None:
            connection.cursorclass = Cursor

    def _kill(self, connection: Any) -> None:
        number = connection.thread_id()
        with contextlib.suppress(Exception):  # it has gone already
            self.admin.execute(text(f"KILL {number}"))
        # It closes its socket first: what is tried again at once would pass by the rows that it has still locked.
        still = text(f"SELECT count(*) FROM information_schema.processlist WHERE id = {number}")
        wait_until(lambda: not self.admin.execute(still).scalar(), interval=0.001)

    def cut_before(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        self._kill(connection)
        return execute()

    def cut_after(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        execute()
        self._kill(connection)
        raise pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")

    def deadlock(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        run("ROLLBACK")
        raise pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock; try restarting transaction")

    def lock_wait_timeout(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        raise pymysql.err.OperationalError(1205, "Lock wait timeout exceeded; try restarting transaction")


class SQLiteBreaker(Breaker):
    """There is nothing to lose but the file: it is locked, full, or cannot be read or written."""

    faults = ("busy", "full", "io error")
    reported = frozenset(("full", "io error"))

    def attach_engine(self, engine: Engine) -> None:
        breaker = self

        class Cursor(sqlite3.Cursor):
            def execute(self, sql: str, *args: Any) -> Any:
                base = super().execute
                return breaker.step(sql, self.connection, lambda: base(sql, *args), base)

            def executemany(self, sql: str, *args: Any) -> Any:
                whole = super().executemany
                return breaker.step(sql, self.connection, lambda: whole(sql, *args), super().execute)

        class Broken(_Connection):
            def cursor(self, factory: Any = Cursor) -> Any:
                return super().cursor(factory)

            def execute(self, sql: str, *args: Any) -> Any:
                return self.cursor().execute(sql, *args)

        @event.listens_for(engine, "do_connect")
        def use(dialect: Any, record: object, args: Any, options: dict[str, Any]) -> None:
            options["factory"] = Broken

    def _error(self, code: int, what: str) -> Exception:
        error = sqlite3.OperationalError(what)
        error.sqlite_errorcode = code
        return error

    def busy(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        raise self._error(sqlite3.SQLITE_BUSY, "database is locked")

    def full(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        raise self._error(sqlite3.SQLITE_FULL, "database or disk is full")

    def io_error(self, sql: Any, connection: Any, execute: Execute, run: Execute) -> Any:
        if connection.in_transaction:
            run("ROLLBACK")  # SQLite does that by itself
        raise self._error(sqlite3.SQLITE_IOERR, "disk I/O error")


BREAKERS: dict[str, type[Breaker]] = {
    "sqlite": SQLiteBreaker,
    "postgresql": PostgreSQLBreaker,
    "mysql": MySQLBreaker,
}
