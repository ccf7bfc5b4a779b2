"""MariaDB and MySQL: InnoDB, READ COMMITTED, statements run in steps (see `stepwise`).

READ COMMITTED, measured on MariaDB 10.11: under REPEATABLE READ gap locks alone cost 896
deadlocks in a run that has none here. And each look must see what others have committed.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Engine,
    Executable,
    Table,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    select,
    update,
)
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.engine.interfaces import Dialect as SADialect
from sqlalchemy.schema import CreateTable

from kombu_depqueue.changes import Change
from kombu_depqueue.dialects.base import Dialect, Failure, Tx
from kombu_depqueue.dialects.inspection import Inspection
from kombu_depqueue.dialects.steps import Claimed, Ending, Key, Wanted, in_order
from kombu_depqueue.dialects.stepwise import BY_KEY, Stepwise
from kombu_depqueue.errors import InvalidJob, StorageError
from kombu_depqueue.routing import Routing
from kombu_depqueue.schema import Flag
from kombu_depqueue.sql import Prepared, among, insert_unless_there, now, statement
from kombu_depqueue.statements import has_flag

__all__ = ["MySQL"]

LOCKS = 1024
"""So many locks for all ids that are given by callers: rows of `meta`, made when first needed."""
_CHUNK = 1_000_000
"""Characters of rows in one INSERT."""

_FAILURES = {
    1205: Failure.RETRY,  # lock wait timeout
    1213: Failure.RETRY,  # deadlock
    1020: Failure.RETRY,  # record has changed since last read
    1040: Failure.RETRY,  # too many connections
    1203: Failure.RETRY,  # too many connections of this user
    1412: Failure.RETRY,  # table definition has changed
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


class MySQLStatements(Routing):
    """The shared statements in steps, and those of the claim and the ack."""

    prepared: ClassVar[type[Prepared]] = Stepwise

    @statement
    def add_meta(self) -> Executable:
        """Note a fact about the schema, unless another has: creating tables is no transaction here."""
        values: dict[str, Any] = {"key": bindparam("p_key"), "value": bindparam("p_value")}
        return insert_unless_there(self.t.meta, self.dialect).values(values)  # type: ignore[no-any-return]

    def _locked(self, ready: Any) -> Executable:
        """What `claim` returns of ready jobs, which are locked."""
        new = self._lease()
        what = [new[c.name].label(c.name) if c.name in new else c for c in self.claimed()]
        return ready.with_only_columns(*what).with_for_update(skip_locked=True)  # type: ignore[no-any-return]

    @statement
    def lock_claimable(self) -> Executable:
        """Lock ready jobs of one queue: found in claim order, which is the primary key's."""
        ready: Any = type(self).claimable.make(self)
        return self._locked(ready.with_hint(self.t.job, BY_KEY, "mysql"))

    @statement
    def lock_claimable_after(self) -> Executable:
        """The same behind a cursor."""
        ready: Any = type(self).claimable_after.make(self)
        return self._locked(ready.with_hint(self.t.job, BY_KEY, "mysql"))

    def _these(self) -> list[ColumnElement[bool]]:
        names = ("queues", "ranks", "seqs")
        return [among(c, n) for c, n in zip(self.t.job.primary_key, names, strict=True)]

    @statement
    def lock_chosen(self) -> Executable:
        """Lock these jobs, as far as they are ready and nobody else has."""
        return self._locked(select(self.t.job.c.seq).where(*self._these(), self.t.job.c.consumer_id.is_(None)))

    @statement
    def lease(self) -> Executable:
        """Lease jobs that are locked."""
        return update(self.t.job).where(*self._these()).values(**self._lease(), claimed_at=now())

    @statement
    def take_plain(self) -> Executable:
        """Take held jobs that nobody depends on, as far as their end records need them."""
        j = self.t.job
        plain = and_(self._all_held(), ~has_flag(Flag.HAS_DEPENDENTS))
        what = (j.c.seq, j.c.job_id, j.c.queue_id, j.c.flags, j.c.attempt, j.c.created_at, j.c.claimed_at)
        return delete(j).where(plain).returning(*what)


class MySQLTx(Tx):
    """Differs: statements run in steps, and new rows go many at a time."""

    __slots__ = ("_checked",)

    def __init__(self, connection: Any, **how: Any) -> None:
        super().__init__(connection, **how)
        self._checked = self.own

    def all(self, statement: Prepared, **values: Any) -> list[Any]:
        """Differs: see `Stepwise`."""
        return list(self._steps(statement).perform(self._run, values).rows)

    def run(self, statement: Prepared, **values: Any) -> int:
        """Differs: see `Stepwise`."""
        return self._steps(statement).perform(self._run, values).touched

    def many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        """Differs: one INSERT for many rows."""
        steps = self._steps(statement)
        if len(rows) < 2 or not steps.is_insert:
            for row in rows:
                steps.perform(self._run, row)
            return
        some: list[str] = []
        size = 0
        for row in rows:
            made = self.cursor.mogrify(steps.row, steps.bind(row))
            if some and size + len(made) > _CHUNK:
                self._send(",\n".join(some).join(steps.around))
                some, size = [], 0
            some.append(made)
            size += len(made)
        self._send(",\n".join(some).join(steps.around))

    def _steps(self, statement: Prepared) -> Stepwise:
        steps = cast("Stepwise", statement)
        if steps.reads and not self._checked:
            self._check_isolation()
        return steps

    def _check_isolation(self) -> None:
        """In the caller's transaction: what was committed since it began must be seen."""
        self.cursor.execute("SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')")
        level = self.cursor.fetchall()[0][1]
        if level != "READ-COMMITTED":
            wanted = 'create_engine(..., isolation_level="READ COMMITTED")'
            raise InvalidJob("connection", f"its transaction is {level}; READ COMMITTED is wanted: {wanted}")
        self._checked = True

    def _run(self, sql: str, values: Mapping[str, Any]) -> Any:
        return self._send(self.cursor.mogrify(sql, values))

    def _send(self, sql: str) -> Any:
        most = getattr(self.connection, "depqueue_packet", None)
        if most is not None and len(sql) * 3 > most and (size := len(sql.encode("utf-8", "surrogateescape"))) >= most:
            # Sent, it would end the connection, and look like a lost one.
            raise StorageError(f"a statement of {size:,} bytes is more than the server's max_allowed_packet = {most:,}")
        self.cursor.execute(sql)
        return self.cursor


class MySQL(Dialect):
    """A MariaDB (10.6 or newer) or MySQL (8 or newer) database."""

    name: ClassVar[str] = "mysql"
    names: ClassVar[tuple[str, ...]] = ("mariadb",)
    drivers: ClassVar[tuple[str, ...]] = ("pymysql",)
    has_roles: ClassVar[bool] = True
    look_interval: ClassVar[float | None] = 0.05
    statements: ClassVar[type[Routing]] = MySQLStatements
    transaction: ClassVar[type[Tx]] = MySQLTx
    sql: MySQLStatements

    def compiler_dialect(self) -> SADialect:
        """Differs: pymysql takes `%(name)s`."""
        return MySQLDialect_pymysql(paramstyle="pyformat")

    def make_engine(self, engine: Engine | None) -> Engine:
        """Differs: a time limit for each answer, for a server that freezes while it greets us."""
        if self.settings.schema:
            raise InvalidJob("schema", "MySQL has no schemas within a database; use table_prefix")
        deadline = self.settings.deadline
        url = self.settings.url if engine is None else engine.url
        made = create_engine(
            url.set(drivername="mysql+pymysql"),
            pool_size=self.settings.pool_size,
            max_overflow=0,
            pool_timeout=deadline,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # our transactions end themselves
            hide_parameters=True,
            connect_args={
                "autocommit": True,
                "charset": "utf8mb4",
                "connect_timeout": max(2.0, deadline),
                "read_timeout": deadline + 1.0,  # the watchdog is first, except while connecting
                "write_timeout": deadline + 1.0,
            },
        )
        event.listen(made, "do_connect", self._connect)
        event.listen(made, "connect", self._prepare, insert=True)  # before SQLAlchemy asks it anything
        return made

    def _connect(self, dialect: Any, record: object, args: list[Any], options: dict[str, Any]) -> Any:
        try:
            return dialect.connect(*args, **options)
        except TypeError as error:  # an option in the URL that the driver does not know
            raise StorageError(f"the URL: {error}") from None

    def _prepare(self, connection: Any, record: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            wait = max(1, int(self.settings.deadline))
            modes = "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION"
            waits = f"innodb_lock_wait_timeout = {wait}, lock_wait_timeout = {wait}"  # rows, whole tables
            cursor.execute(f"SET SESSION sql_mode = '{modes}', {waits}")
            cursor.execute("SELECT @@max_allowed_packet")
            connection.depqueue_packet = cursor.fetchone()[0]

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
        with contextlib.suppress(OSError, AttributeError):
            connection._sock.shutdown(socket.SHUT_RDWR)

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
            ways = [{"p_queue": lane.queue_id, "p_rank": lane.rank, "p_after": lane.after} for lane in wanted.lanes]
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
            queues, ranks, seqs = zip(*(row[:3] for row in rows), strict=True)
            tx.run(self.sql.lease, queues=set(queues), ranks=set(ranks), seqs=seqs, **lease)
        return in_order(rows)

    # settle

    def ack_many(self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> set[int]:
        """Differs: the same for all of them at once."""
        names = ("queues", "ranks", "seqs", "tokens")
        held = {name: sorted({key[i] for key in keys}) for i, name in enumerate(names)}
        taken = tx.all(self.sql.take_plain, **held)
        columns = ("p_job_id", "p_queue_id", "p_flags", "p_attempt", "p_created_at", "p_started_at")
        ended = []
        for seq, *row in taken:
            how = own.get(seq, ending)
            end = {"p_status": how.status, "p_reason": None, "p_result": how.result, "p_meta": how.meta}
            ended.append({**dict(zip(columns, row, strict=True)), **end, "p_keep": how.keep})
        tx.many(self.sql.add_done, [one for one in ended if one["p_job_id"] is not None])
        return {row[0] for row in taken}

    def inspection(self) -> Inspection:
        """Differs: by its information schema."""
        from kombu_depqueue.dialects.mysql_inspection import MySQLInspection

        return MySQLInspection(self)
