"""SQLite: one writer at a time, no server, no network.

Every write is a `BEGIN IMMEDIATE` transaction: a deferred one fails when it comes to
write after another has written. SQLite's own busy handler backs off to 100 ms and
starves (8 processes: 9 to 1); we let it fail at once and try again after 0.1-2 ms,
which is fair (3 to 4 at worst) and lets a deadline hold.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any, ClassVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import Dialect as SADialect
from sqlalchemy.pool import QueuePool

from kombu_depqueue.dialects.base import Dialect, Failure, Tx
from kombu_depqueue.dialects.inspection import Inspection
from kombu_depqueue.dialects.steps import Ending, Key
from kombu_depqueue.errors import InvalidJob

__all__ = ["SQLite"]

_TOKEN = attrgetter("token")
_MISSING = re.compile("^no such (table|column)|has no column named")
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class _Connection(sqlite3.Connection):
    """A connection that knows whether its next commit is synced (None: as it was opened)."""

    syncs: bool | None = None


class SQLite(Dialect):
    """An SQLite file in WAL mode."""

    name: ClassVar[str] = "sqlite"
    drivers: tuple[str, ...] = ("pysqlite", "aiosqlite")
    one_writer: ClassVar[bool] = True
    has_change_counter: ClassVar[bool] = True
    creates_by_default: ClassVar[bool] = True
    clock_step: ClassVar[float] = 0.001
    locks_memory: ClassVar[bool] = True

    def __init__(self, settings: Any, engine: object = None) -> None:
        super().__init__(settings, engine)
        self._full_sync = settings.synchronous.upper() == "FULL"

    @classmethod
    def compiler_dialect(cls) -> SADialect:
        """Differs: sqlite3 takes `:name`."""
        return sqlite.dialect(paramstyle="named")

    def make_engine(self, engine: Engine | None) -> Engine:
        """Differs: pragmas instead of options."""
        url = engine.url if engine is not None else self.settings.url
        if url.database in (None, "", ":memory:") or "mode=memory" in str(url.database):
            raise InvalidJob("url", "an in-memory SQLite database is private to one connection; name a file")
        if self.settings.schema:
            raise InvalidJob("schema", "SQLite has no schemas; use table_prefix")
        made = create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=QueuePool,
            pool_size=self.settings.pool_size,
            max_overflow=0,
            pool_timeout=self.settings.deadline,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # our transactions end themselves
            connect_args={"check_same_thread": False, "isolation_level": None, "cached_statements": 256}
            | {"factory": _Connection},
            hide_parameters=True,
        )
        event.listen(made, "connect", self._prepare)
        return made

    def _prepare(self, connection: sqlite3.Connection, record: object) -> None:
        # Only here SQLite may wait by itself: several processes turn the WAL mode on at once.
        connection.execute(f"PRAGMA busy_timeout = {int(self.settings.deadline * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self.settings.synchronous.upper()}")
        connection.execute("PRAGMA busy_timeout = 0")

    def begin(self, cursor: Any, *, durable: bool) -> None:
        """Differs: takes the write lock at once.

        Claims need no sync: a power cut that undoes one has ended the claimer as well.
        """
        self.begin_none(cursor, durable=durable)
        cursor.execute("BEGIN IMMEDIATE")

    def begin_none(self, cursor: Any, *, durable: bool) -> None:
        """Differs: says whether the commit is to be synced, if the one before was not as this one."""
        if self._full_sync and cursor.connection.syncs is not durable:
            cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            cursor.connection.syncs = durable

    def create_tables(self, connection: Any) -> None:
        """Differs: the driver knows no SQLAlchemy connection here, so the DDL is compiled to text."""
        from sqlalchemy.schema import CreateIndex, CreateTable

        for table in self.tables.metadata.sorted_tables:
            made: list[Any] = [CreateTable(table, if_not_exists=True)]
            made += [CreateIndex(i, if_not_exists=True) for i in sorted(table.indexes, key=lambda i: str(i.name))]
            for element in made:
                connection.execute(str(element.compile(dialect=self.engine.dialect)))

    def abort(self, connection: Any) -> None:
        """Differs: SQLite can interrupt a statement."""
        connection.interrupt()

    def failure(self, error: BaseException) -> Failure:
        """Differs: by SQLite's result codes."""
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _BUSY:
            return Failure.RETRY
        if isinstance(error, sqlite3.IntegrityError) and code in (
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        ):
            return Failure.TAKEN
        if isinstance(error, sqlite3.OperationalError) and _MISSING.search(str(error)):
            return Failure.NO_TABLE
        return Failure.OTHER

    def ack_many(self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> set[int]:
        """Differs: two statements for each claim that they came from; nobody else writes between them."""
        ended: set[int] = set()
        alike = sorted((key for key in keys if key.seq not in own), key=_TOKEN)
        for token, held in groupby(alike, _TOKEN):
            mine = {"p_token": token, "seqs": [key.seq for key in held]}
            tx.run(self.sql.keep_plain, **mine, p_keep=ending.keep, p_result=ending.result)
            ended.update(seq for (seq,) in tx.all(self.sql.drop_plain, **mine))
        return ended

    def change_counter(self, connection: Any) -> int:
        """Differs: SQLite counts the commits of others for each connection (2 us to read)."""
        return int(connection.execute("PRAGMA data_version").fetchone()[0])

    def inspection(self) -> Inspection:
        """Differs: by pragmas."""
        from kombu_depqueue.dialects.sqlite_inspection import SQLiteInspection

        return SQLiteInspection(self)
