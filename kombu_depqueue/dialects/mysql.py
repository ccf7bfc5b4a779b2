"""MariaDB and MySQL: InnoDB, READ COMMITTED, statements run in steps (see `stepwise`).

The driver is pymysql, or mysqlclient (which SQLAlchemy calls mysqldb) where the URL names it.
READ COMMITTED, measured on MariaDB 10.11: under REPEATABLE READ gap locks alone cost 896
deadlocks in a run that has none here. And each look must see what others have committed.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import socket
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, cast
from uuid import UUID

from sqlalchemy import (
    Engine,
    Table,
    create_engine,
    event,
)
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.engine.interfaces import Dialect as SADialect
from sqlalchemy.schema import CreateTable

from kombu_depqueue.changes import Change
from kombu_depqueue.dialects.base import Dialect, Failure, Tx
from kombu_depqueue.dialects.inspection import Inspection
from kombu_depqueue.dialects.mysql_sql import MySQLStatements
from kombu_depqueue.dialects.mysql_tx import ClientTx, MySQLTx, too_large
from kombu_depqueue.dialects.steps import Claimed, Ending, Key, Wanted, in_order
from kombu_depqueue.errors import InvalidJob, StorageError
from kombu_depqueue.routing import Routing

__all__ = ["MySQL"]

LOCKS = 1024
"""So many locks for all ids that are given by callers: rows of `meta`, made when first needed."""
DRIVERS = ("pymysql", "mysqldb")
"""As SQLAlchemy calls them; the second is mysqlclient."""
_LONGEST = 31_536_000
"""Seconds: the longest time limit that pymysql takes."""
_BESIDE = 100_000
"""Bytes of a statement beside the payloads, at most."""

_FAILURES = {
    1205: Failure.RETRY,  # lock wait timeout
    1213: Failure.RETRY,  # deadlock
    1020: Failure.RETRY,  # record has changed since last read
    1040: Failure.RETRY,  # too many connections
    1203: Failure.RETRY,  # too many connections of this user
    1412: Failure.RETRY,  # table definition has changed
    3572: Failure.RETRY,  # locked, and told not to wait (MySQL; MariaDB says 1205)
    1062: Failure.TAKEN,
    1146: Failure.NO_TABLE,
    1054: Failure.NO_TABLE,  # unknown column
    1053: Failure.LOST,  # server shutdown
    1290: Failure.LOST,  # read only: we are on a former primary
    1792: Failure.LOST,
    1836: Failure.LOST,
    1927: Failure.LOST,  # connection was killed
    2002: Failure.LOST,
    2003: Failure.LOST,  # cannot connect
    2006: Failure.LOST,  # server has gone away
    2013: Failure.LOST,  # connection lost during a query
    2014: Failure.LOST,
    2055: Failure.LOST,
    4031: Failure.LOST,  # closed by the server for idleness
}


class MySQL(Dialect):
    """A MariaDB (10.6 or newer) or MySQL (8 or newer) database."""

    name: ClassVar[str] = "mysql"
    names: ClassVar[tuple[str, ...]] = ("mariadb",)
    packages: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"MySQLdb": "mysqlclient (or kombu-depqueue[mysql], for a URL that names no driver)"}
    )
    has_roles: ClassVar[bool] = True
    look_interval: ClassVar[float | None] = 0.05
    statements: ClassVar[type[Routing]] = MySQLStatements
    sql: MySQLStatements
    _packet: int | None = None
    """What the server's `max_allowed_packet` was when it was last asked."""

    @classmethod
    def compiler_dialect(cls) -> SADialect:
        """Differs: both drivers take `%(name)s`."""
        return MySQLDialect_pymysql(paramstyle="pyformat")

    def make_engine(self, engine: Engine | None) -> Engine:
        """Differs: a time limit for each answer, for a server that freezes while it greets us (see `_connect`)."""
        if self.settings.schema:
            raise InvalidJob("schema", "MySQL has no schemas within a database; use table_prefix")
        deadline = self.settings.deadline
        limit = math.ceil(min(deadline, _LONGEST))
        url = self.settings.url if engine is None else engine.url
        driver = url.get_driver_name()
        if driver not in DRIVERS and engine is None:
            wanted = f"{' or '.join(DRIVERS)} is wanted: pip install kombu-depqueue[mysql]"
            raise InvalidJob("url", f"its driver is {driver}; {wanted}")
        if driver not in DRIVERS:  # the caller's own, perhaps an asynchronous one
            driver = DRIVERS[0]
        self.drivers = (driver,)
        self.transaction = MySQLTx if driver == "pymysql" else ClientTx
        made = create_engine(
            url.set(drivername=f"mysql+{driver}"),
            pool_size=self.settings.pool_size,
            max_overflow=0,
            pool_timeout=deadline,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # our transactions end themselves
            hide_parameters=True,
            connect_args={
                "autocommit": True,
                "charset": "utf8mb4",
                "connect_timeout": max(2, limit),
                "read_timeout": limit + 1,  # the watchdog is first, except while connecting
                "write_timeout": limit + 1,
            },
        )
        event.listen(made, "do_connect", self._connect)
        event.listen(made, "connect", self._prepare, insert=True)  # before SQLAlchemy asks it anything
        return made

    def _connect(self, dialect: Any, record: object, args: list[Any], options: dict[str, Any]) -> Any:
        # Until it is connected the watchdog has nothing to cut: that must take no longer than the call may.
        left, limit = max(1, math.ceil(self.time_left())), options["read_timeout"]
        own = {"connect_timeout": min(options["connect_timeout"], left)}
        connect = dialect.connect
        if "pymysql" in self.drivers:
            own["read_timeout"] = min(limit, left)  # mysqlclient could not be told otherwise afterwards
            connect = _lean(dialect.loaded_dbapi.connections.Connection)
        try:
            made = connect(*args, **{**options, **own})
        except TypeError as error:  # an option in the URL that the driver does not know
            raise StorageError(f"the URL: {error}") from None
        if "pymysql" in self.drivers:
            made._read_timeout = limit
        return made

    def _prepare(self, connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            wait = max(1, int(self.settings.deadline))
            modes = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
            waits = f"innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}"  # rows, whole tables
            cursor.execute(f"SET SESSION sql_mode = '{modes}', {waits}")
            if "MariaDB" in connection.get_server_info():  # MySQL has no such limit
                pause = min(math.ceil(self.longest_pause), 365 * 86400)
                cursor.execute(f"SET SESSION idle_transaction_timeout = {pause}")
            cursor.execute("SELECT @@max_allowed_packet")
            connection.depqueue_packet = self._packet = cursor.fetchone()[0]

    def check_payloads(self, *payloads: bytes | None) -> None:
        """Differs: values are part of the statement, a byte as two characters."""
        size = 2 * sum(len(payload or b"") for payload in payloads) + _BESIDE
        if self._packet is not None and size > self._packet:
            raise too_large(size, self._packet)

    def begin(self, cursor: Any, *, durable: bool) -> None:
        """Differs: spelled otherwise, so that old servers know it too."""
        cursor.execute("START TRANSACTION")

    def create_tables(self, connection: Any) -> None:
        """Differs: indexes are part of CREATE TABLE, and names compare exactly only where the server is told how."""
        cursor = connection.cursor()
        cursor.execute("SELECT VERSION()")
        # "a" and "a " are the same in utf8mb4_bin.
        collation = "utf8mb4_nopad_bin" if "MariaDB" in str(cursor.fetchone()[0]) else "utf8mb4_0900_bin"
        for table in self.tables.metadata.sorted_tables:
            made = str(CreateTable(table, if_not_exists=True).compile(dialect=self.sql.dialect)).strip()
            lines, engine = made.rsplit("\n)", 1)
            for index in sorted(table.indexes, key=lambda i: str(i.name)):
                kind = "UNIQUE KEY" if index.unique else "KEY"
                columns = ", ".join(f"`{c.name}`" for c in index.columns)
                lines = f"{lines.rstrip()},\n\t{kind} {index.name} ({columns})"
            cursor.execute(f"{lines}\n){engine} CHARACTER SET utf8mb4 COLLATE {collation}")

    def grantee(self, name: str) -> str:
        """Differs: a user is name@host; a name alone is a role (or a user from anywhere)."""
        user, at, host = name.partition("@")
        if "'" in name or "\\" in name:
            raise InvalidJob("role", f"{name!r} holds a quote or a backslash")
        return f"'{user}'@'{host}'" if at else f"'{user}'"

    def grants(self, table: Table, columns: Mapping[str, Sequence[str]], grantee: str) -> list[str]:
        """Differs: who adds what may be there (a queue; a lock on an id, in `meta`) must be allowed to update it."""
        allowed = {what: tuple(names) for what, names in columns.items()}
        if table is self.tables.meta:
            allowed |= {"INSERT": ("key", "value"), "UPDATE": ("key", "value")}
        elif table is self.tables.queue and allowed.get("UPDATE") != ():
            allowed["UPDATE"] = (*allowed.get("UPDATE", ()), "id", "channel", "name")
        return super().grants(table, allowed, grantee)

    def ownership(self, grantee: str) -> list[str]:
        """Differs: rights on tables, also on those that are still to come."""
        quote = self.engine.dialect.identifier_preparer
        what = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP"
        tables = self.tables.metadata.sorted_tables
        return [f"GRANT {what} ON {quote.format_table(table)} TO {grantee}" for table in tables]

    def spelled(self, change: Change, wait: float, patience: float) -> list[str]:
        """Differs: every change needs the table for itself for a moment."""
        return [f"SET SESSION lock_wait_timeout = {max(1, int(wait))}", *super().spelled(change, wait, patience)]

    def abort(self, connection: Any) -> None:
        """Differs: cuts the socket; a frozen server answers nothing else."""
        with contextlib.suppress(OSError, AttributeError, self.driver_errors()[0]):
            if "pymysql" in self.drivers:
                connection._sock.shutdown(socket.SHUT_RDWR)
            else:  # it keeps its socket to itself
                with socket.socket(fileno=os.dup(connection.fileno())) as same:
                    same.shutdown(socket.SHUT_RDWR)

    def failure(self, error: BaseException) -> Failure:
        """Differs: by number; without one the driver itself found the connection broken."""
        dbapi: Any = self.engine.dialect.dbapi
        if isinstance(error, dbapi.InterfaceError):
            return Failure.LOST
        if not isinstance(error, dbapi.Error) or not error.args:
            return Failure.OTHER
        return _FAILURES.get(error.args[0], Failure.OTHER)

    def without_rows(self, error: BaseException) -> BaseException:
        """Differs: the server quotes values in its messages; long ones, and text near an error, are left out."""
        dbapi: Any = self.engine.dialect.dbapi
        if not isinstance(error, dbapi.Error) or len(error.args) < 2:
            return error
        text = re.sub(r"(near|value:|entry) '.*'", r"\1 '...'", str(error.args[1]), flags=re.DOTALL)
        clean: BaseException = type(error)(error.args[0], text)
        return clean.with_traceback(error.__traceback__)

    # enqueue

    def lock_ids(self, tx: Tx, ids: Sequence[UUID]) -> None:
        """Differs: rows of `meta`, written over in one order; locks by name would outlast the transaction."""
        buckets = sorted({job_id.int % LOCKS for job_id in ids})
        tx.many(self.sql.add_meta, [{"p_key": f"lock {n:04d}", "p_value": ""} for n in buckets])

    # claim

    def claim(self, tx: Tx, wanted: Wanted) -> list[Claimed]:
        """Differs: ready jobs are locked as they are found, else all who claim would want the same ones."""
        lease = {"p_consumer": wanted.consumer, "p_token": wanted.token}
        if wanted.lanes:
            look, lock = self.sql.claimable_after, self.sql.lock_claimable_after
            ways = [{**lane.bound, "ranks": lane.whole} for lane in wanted.lanes]
        else:
            look, lock = self.sql.claimable, self.sql.lock_claimable
            ways = [{"p_queue": queue} for queue in wanted.queues]
        rows: list[Any] = []
        if len(ways) > 1:
            # Without locks first: the best of all queues, not the first few of each.
            found = [(*row, way["p_queue"]) for way in ways for row in tx.all(look, **way, p_limit=wanted.limit)]
            if not found:
                return []
            ranks, seqs, queues = zip(*sorted(found)[: wanted.limit], strict=True)
            rows = tx.all(self.sql.lock_chosen, queues=set(queues), ranks=set(ranks), seqs=seqs, **lease)
        for way in ways:
            if len(rows) < wanted.limit:
                # Those of ours that were locked above are found again: they are ready still.
                more = tx.all(lock, **way, **lease, p_limit=wanted.limit)
                mine = {row[2] for row in rows}
                rows += [row for row in more if row[2] not in mine][: wanted.limit - len(rows)]
        if rows:
            tx.run(self.sql.lease, **_columns(rows), **lease)
        return in_order(rows)

    # settle

    def ack_many(self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> set[int]:
        """Differs: the same for all of them at once."""
        found = tx.all(self.sql.lock_plain, **Key.all_held(keys))
        alike = [key for key in found if key[2] not in own]
        if alike:
            tx.run(self.sql.record_plain, **_columns(alike), **_told(ending))
        if len(alike) < len(found):
            rows = tx.all(self.sql.facts_of, **_columns([key for key in found if key[2] in own]))
            tx.many(self.sql.add_done, [_ended(row, own[row.seq]) for row in map(_Facts._make, rows)])
        cast("MySQLTx", tx).wipe(self.sql.drop_plain, found)
        return {key[2] for key in found}

    def inspection(self) -> Inspection:
        """Differs: by its information schema."""
        from kombu_depqueue.dialects.mysql_inspection import MySQLInspection

        return MySQLInspection(self)


class _Facts(NamedTuple):
    """What an end record takes from a job."""

    seq: int
    job_id: UUID
    queue_id: int
    flags: int
    attempt: int
    created_at: Any
    started_at: Any


def _ended(facts: _Facts, ending: Ending) -> dict[str, Any]:
    row = {f"p_{name}": value for name, value in facts._asdict().items() if name != "seq"}
    return {**row, **_told(ending)}


def _told(ending: Ending) -> dict[str, Any]:
    end = {"status": ending.status, "reason": None, "result": ending.result, "meta": ending.meta, "keep": ending.keep}
    return {f"p_{name}": value for name, value in end.items()}


def _columns(keys: Sequence[Any]) -> dict[str, set[int]]:
    """Primary keys as the lists of a statement."""
    return {name: {key[n] for key in keys} for n, name in enumerate(("queues", "ranks", "seqs"))}


@cache
def _lean(kind: Any) -> Any:
    """pymysql's connection, but where no TLS option is given: then it encrypts if the server can, and verifies nothing.

    For that it would read all certificates that the system trusts, in each connection anew (40 ms of CPU of 42).
    """
    encrypting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    encrypting.check_hostname, encrypting.verify_mode = False, ssl.CERT_NONE

    class Lean(kind):  # type: ignore[misc]
        def _create_ssl_ctx(self, options: Any) -> ssl.SSLContext:
            made: ssl.SSLContext = super()._create_ssl_ctx(options) if options else encrypting
            return made

    return Lean
