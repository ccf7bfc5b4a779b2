"""PostgreSQL through psycopg 3: one statement, one round trip, for all that is hot.

Two things the planner must be kept from, measured: planning each execution anew (3.3x
slower at one row a statement), and trusting statistics of a table that was empty
when they were taken (an ack of 100 rows joined through unnest: 44-284 ms instead of
0.4-1.3 ms). So our connections force generic plans and index scans, and keyed
statements look rows up by LATERAL ... LIMIT 1.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Connection, Engine, Index, create_engine, event
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import Dialect as SADialect
from sqlalchemy.schema import CreateIndex, CreateSequence, CreateTable

from kombu_depqueue.changes import Change
from kombu_depqueue.dialects import postgresql_sql
from kombu_depqueue.dialects.base import RESULTS, Dialect, Failure, Tx, refuse_isolation
from kombu_depqueue.dialects.inspection import Inspection
from kombu_depqueue.dialects.steps import Claimed, Ending, Key, Released, Wanted, in_order
from kombu_depqueue.errors import Duplicate
from kombu_depqueue.schema import KNOWS_STORAGE

__all__ = ["PostgreSQL"]

COLLISIONS = ("23505", "42P06", "42P07", "42710")
"""What a creator meets that another was faster: a name is taken (in the catalog; as schema, table, another object)."""
LOCKS = 1024
"""So many locks for all ids that are given by callers."""

_FAILURES = {
    "40001": Failure.RETRY,  # serialization_failure
    "40P01": Failure.RETRY,  # deadlock_detected
    "55P03": Failure.RETRY,  # lock_not_available
    "26000": Failure.RETRY,  # invalid_sql_statement_name: it is prepared anew
    "53300": Failure.RETRY,  # too_many_connections
    "23505": Failure.TAKEN,
    "42P01": Failure.NO_TABLE,
    "42703": Failure.NO_TABLE,  # undefined_column
    "3F000": Failure.NO_TABLE,  # schema missing
    "57P01": Failure.LOST,  # admin_shutdown
    "57P02": Failure.LOST,  # crash_shutdown
    "57P03": Failure.LOST,  # cannot_connect_now
    "25006": Failure.LOST,  # read only: we are on a former primary
}

_FULL = re.compile("too many clients|too many connections|connection slots are reserved")
"""An error while connecting has no SQLSTATE, only a message (in other languages it is a lost connection)."""

_COMMON = itemgetter(*(f"p_{name}" for name in postgresql_sql.COMMON))


class _Tx(Tx):
    __slots__ = ()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Differs: one round trip for all, where the session is ours."""
        if not self.own or not self.connection.prepares:
            yield
            return
        lean = self.cursor
        with self.connection.pipeline(), self.connection.cursor() as self.cursor:
            try:
                yield
            finally:
                self.cursor = lean


class PostgreSQL(Dialect):
    """A schema in a PostgreSQL database, 14 or newer."""

    name: ClassVar[str] = "postgresql"
    drivers: tuple[str, ...] = ("psycopg", "psycopg_async")
    steps_are_statements: ClassVar[bool] = True
    rows_in_one: ClassVar[int] = 1000
    pipelines: ClassVar[bool] = True
    has_notify: ClassVar[bool] = True
    has_standbys: ClassVar[bool] = True
    has_sessions: ClassVar[bool] = True
    has_roles: ClassVar[bool] = True
    transaction: type[Tx] = _Tx

    def __init__(self, settings: Any, engine: object = None) -> None:
        self.pooled = not settings.prepared_statements
        """Behind a pooler in transaction mode: nothing may depend on the session."""
        self._host: tuple[str, int] | None = None
        """Of several, the one that was good last."""
        super().__init__(settings, engine)
        self.own = postgresql_sql.texts(self.tables, self.sql, f"{self._channel}{RESULTS}")

    @classmethod
    def compiler_dialect(cls) -> SADialect:
        """Differs: psycopg takes `%(name)s`."""
        return PGDialect_psycopg()  # type: ignore[no-untyped-call]

    def make_engine(self, engine: Engine | None) -> Engine:
        """Differs: the planner's settings, prepared statements, and finding out a pooler."""
        made = create_engine(
            self.settings.url if engine is None else engine.url,
            pool_size=self.settings.pool_size,
            max_overflow=0,
            pool_timeout=self.settings.deadline,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # our transactions end themselves
            hide_parameters=True,
        )
        event.listen(made, "do_connect", self._connect)
        event.listen(made, "connect", self._prepare, insert=True)  # before SQLAlchemy asks it anything
        return made

    def _connect(self, dialect: Any, record: Any, args: list[Any], options: dict[str, Any]) -> Any:
        import psycopg

        from kombu_depqueue.dialects import lean

        options = lean.connect_options(options, self.time_left(), self._host)
        if not self.pooled:
            try:
                return lean.LeanConnection.connect(*args, **lean.tuned(options, self.longest_pause))
            except psycopg.OperationalError as error:
                if "unsupported startup parameter" not in str(error):
                    raise
                self.pooled = True
        return lean.LeanConnection.connect(*args, **options)

    def _prepare(self, connection: Any, record: object) -> None:
        self._host = connection.info.host, connection.info.port
        # Not in `_connect`: here the watchdog knows the connection, should the server freeze.
        if not self.pooled:
            mode = connection.execute("SELECT current_setting('plan_cache_mode')").fetchone()
            self.pooled = mode != ("force_generic_plan",)  # a pooler has swallowed the options
        connection.prepare(pooled=self.pooled)

    def begin(self, cursor: Any, *, durable: bool) -> None:
        """Differs: behind a pooler another isolation level may be the default, and with it locks do not suffice."""
        cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")

    def check_isolation(self, tx: Tx) -> None:
        """Differs: REPEATABLE READ and SERIALIZABLE do not see what was committed since they began."""
        tx.cursor.execute("SHOW transaction_isolation")
        refuse_isolation(tx.cursor.fetchone()[0].upper(), "READ COMMITTED")

    def cursor(self, connection: Any) -> Any:
        """Differs: not psycopg's, which costs twice the CPU."""
        return connection.lean()

    @contextlib.contextmanager
    def pipelined(self, connection: Any) -> Iterator[None]:
        """Differs: what is executed inside goes out together, and is answered together."""
        if self.pooled:
            yield
        else:
            with connection.pipeline():
                yield
        self.check_sure(connection)

    def check_sure(self, connection: Any) -> None:
        """Differs: a wait for the standby that was canceled is a success with a warning."""
        connection.check_replicated()

    def make_sure(self, tx: Tx) -> None:
        """Differs: what a commit that was canceled left is seen, though perhaps no standby has it."""
        tx.cursor.execute(self.own["make_sure"])

    def create_tables(self, connection: Any) -> None:
        """Differs: a schema and a sequence. Of two creators one fails where it met the other, and begins anew."""
        schema = self.tables.schema
        if schema and not connection.execute("SELECT to_regnamespace(%s)", [schema]).fetchone()[0]:
            connection.execute(f'CREATE SCHEMA "{schema}"')
        made: list[Any] = [CreateSequence(s, if_not_exists=True) for s in self.tables.metadata._sequences.values()]
        for table in self.tables.metadata.sorted_tables:
            made.append(CreateTable(table, if_not_exists=True))
            made += [CreateIndex(i, if_not_exists=True) for i in sorted(table.indexes, key=lambda i: str(i.name))]
        for element in made:
            connection.execute(str(element.compile(dialect=self.engine.dialect)).rstrip() + _storage_of(element))

    def is_collision(self, error: BaseException) -> bool:
        """Differs: IF NOT EXISTS looks first, and is not alone. No advisory lock: anybody may hold those."""
        return getattr(error, "sqlstate", None) in COLLISIONS

    def _sequences(self) -> list[str]:
        names = [f"{self.tables.prefix}seq", f"{self.tables.queue.name}_id_seq"]
        quote = self.engine.dialect.identifier_preparer.quote
        return [f"{quote(self.tables.schema)}.{quote(n)}" if self.tables.schema else quote(n) for n in names]

    def usage(self, grantee: str) -> list[str]:
        """Differs: the schema, and the sequences."""
        quote = self.engine.dialect.identifier_preparer.quote
        schema = [f"GRANT USAGE ON SCHEMA {quote(self.tables.schema)} TO {grantee}"] if self.tables.schema else []
        return [*schema, f"GRANT USAGE ON SEQUENCE {', '.join(self._sequences())} TO {grantee}"]

    def ownership(self, grantee: str) -> list[str]:
        """Differs: whoever changes a table must own it; a sequence that a column owns goes with its table."""
        quote = self.engine.dialect.identifier_preparer
        texts = []
        if self.tables.schema:
            schema = quote.quote(self.tables.schema)
            texts += [f"CREATE SCHEMA IF NOT EXISTS {schema}", f"ALTER SCHEMA {schema} OWNER TO {grantee}"]
        tables = [quote.format_table(table) for table in self.tables.metadata.sorted_tables]
        texts += [f"ALTER TABLE IF EXISTS {table} OWNER TO {grantee}" for table in tables]
        return [*texts, f"ALTER SEQUENCE IF EXISTS {self._sequences()[0]} OWNER TO {grantee}"]

    def stay(self, connection: Connection) -> None:
        """Differs: not ended for idleness; and SET ends its query's snapshot, which CONCURRENTLY would wait for."""
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")

    def spelled(self, change: Change, wait: float, patience: float) -> list[str]:
        """Differs: an index is made outside of any transaction, where a pooler would give the limit to others."""
        texts = super().spelled(change, wait, patience)
        if change.excludes:
            return ["BEGIN", f"SET LOCAL lock_timeout = '{wait * 1000:.0f}ms'", *texts, "COMMIT"]
        return texts if self.pooled else [f"SET lock_timeout = '{patience * 1000:.0f}ms'", *texts]

    def is_half_made(self, connection: Connection, index: Index) -> bool:
        """Differs: an index that was given up midway stays, and is never used."""
        name = self.engine.dialect.identifier_preparer.format_index(index)
        schema = f'"{self.tables.schema}".' if self.tables.schema else ""
        found = "SELECT EXISTS (SELECT FROM pg_catalog.pg_index WHERE NOT indisvalid AND indexrelid = to_regclass(%s))"
        return bool(connection.exec_driver_sql(found, (f"{schema}{name}",)).scalar())

    def abort(self, connection: Any) -> None:
        """Differs: cuts the socket; a frozen server answers nothing else."""
        import psycopg

        with contextlib.suppress(OSError, ValueError, psycopg.Error), socket.socket(fileno=_dup(connection)) as cut:
            cut.shutdown(socket.SHUT_RDWR)

    def failure(self, error: BaseException) -> Failure:
        """Differs: by SQLSTATE, else by whether the connection still works."""
        import psycopg

        state = getattr(error, "sqlstate", None)
        if state in _FAILURES:
            return _FAILURES[state]
        if isinstance(error, psycopg.OperationalError) and (state is None or state.startswith("08")):
            return Failure.RETRY if state is None and _FULL.search(str(error)) else Failure.LOST
        return Failure.OTHER

    def without_rows(self, error: BaseException) -> BaseException:
        """Differs: the server quotes the row in its DETAIL; of the error only the first message is kept."""
        import psycopg

        if not isinstance(error, psycopg.Error) or error.diag.message_primary is None:
            return error
        clean = type(error)(error.diag.message_primary)
        clean.sqlstate = error.sqlstate
        return clean.with_traceback(error.__traceback__)

    # enqueue

    def insert_jobs(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
        """Differs: one INSERT for all rows that are alike but for queue, priority, id, headers and payload."""
        again = [row["p_job_id"] for row in rows if row.get("p_supersedes")]
        if len(rows) == 1 and tx.durable:
            sql = self.own["add_job_anew"] if again else self.sql.add_job.sql
            tx.cursor.execute(sql, self.sql.add_job.bind(rows[0]))
            if again and not tx.cursor.rowcount:
                raise Duplicate(*again, detail="it waits or has ended, and is superseded")
            return
        if again and tx.all(self.sql.taken_ids, ids=again):
            raise Duplicate(*again, detail="one of them waits or has ended, and is superseded")
        # Not sorted: the order given is the order among queues too.
        for _, alike in groupby(rows, _COMMON):
            self._insert_alike(tx, list(alike))

    def _insert_alike(self, tx: Tx, rows: Sequence[Mapping[str, Any]]) -> None:
        for start in range(0, len(rows), self.rows_in_one):
            some = rows[start : start + self.rows_in_one]
            names = ("queue_id", "rank", "job_id", "envelope", "body")
            queues, *columns = ([row[f"p_{name}"] for row in some] for name in names)
            self.insert_columns(tx, some[0], *columns, queues=queues)

    def insert_columns(
        self,
        tx: Tx,
        row: Mapping[str, Any],
        ranks: Sequence[int],
        ids: Sequence[UUID | None],
        envelopes: Sequence[bytes | None],
        bodies: Sequence[bytes],
        *,
        queues: Sequence[int] = (),
    ) -> None:
        """Differs: arrays, of which one statement makes rows."""
        from kombu_depqueue.dialects.lean import bytea_array

        values = {name: row[f"p_{name}"] for name in postgresql_sql.COMMON}
        values["queues"] = _array(queues or [row["p_queue_id"]] * len(ids))
        values["ranks"] = _array(ranks)
        values["ids"] = f"{{{','.join([f'{i.int:032x}' if i else 'NULL' for i in ids])}}}"
        for name, column in (("envelope", envelopes), ("body", bodies)):
            values[name] = bytea_array(column) if tx.own else column
        tx.cursor.execute(self.own["add_jobs" if tx.durable else "add_jobs_soon"], values)

    def lock_ids(self, tx: Tx, ids: Sequence[UUID]) -> None:
        """Differs: advisory locks, in one order, so that two batches never wait for each other."""
        space = zlib.crc32(self._channel.encode()) - (1 << 31)
        buckets = _array(sorted({job_id.int % LOCKS for job_id in ids}))
        tx.cursor.execute(self.own["lock_ids"], {"space": space, "buckets": buckets})

    # claim

    def claim(self, tx: Tx, wanted: Wanted) -> list[Claimed]:
        """Differs: one statement; SKIP LOCKED, so that claims never wait for each other."""
        tx.cursor.execute(self.own["claim_lanes" if wanted.lanes else "claim"], _wanted(wanted))
        return in_order(tx.cursor.fetchall())

    # settle

    def ack_one(self, tx: Tx, key: Key, ending: Ending) -> bool:
        """Differs: one statement; a flag on the row says whether anybody depends on it."""
        tx.cursor.execute(self.own["ack_one"], {**_one(key), **_how(ending)})
        return bool(tx.cursor.fetchall())

    def ack_many(self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> set[int]:
        """Differs: one statement."""
        tx.cursor.execute(self.own["ack_many_results" if own else "ack_many"], _ends(keys, ending, own))
        return {seq for (seq,) in tx.cursor.fetchall()}

    def ack_and_claim(
        self, tx: Tx, keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending], wanted: Wanted
    ) -> tuple[set[int], list[Claimed]]:
        """Differs: rows that were acked have no queue."""
        name = f"ack{'_results' if own else ''}_and_claim{'_lanes' if wanted.lanes else ''}"
        tx.cursor.execute(self.own[name], {**_ends(keys, ending, own), **_wanted(wanted)})
        rows = tx.cursor.fetchall()
        return {row[2] for row in rows if row[0] is None}, in_order([row for row in rows if row[0] is not None])

    def end_and_release(
        self, tx: Tx, keys: Sequence[Key], notes: Sequence[UUID], ending: Ending, limit: int
    ) -> Callable[[], tuple[set[int], Released]]:
        """Differs: end held jobs as succeeded and tell their dependents, in one round trip.

        Two statements, not one: the second has a snapshot of its own, which sees the edges of
        an enqueue that the first had to wait for. As one statement 859 of 1,600 jobs were stranded.
        """
        ended, told = tx.connection.cursor(), tx.cursor
        alone = len(keys) == 1
        which = _one(keys[0]) if alone else _columns(keys)
        ended.execute(self.own["end_one_flagged" if alone else "end_flagged"], {**which, **_how(ending)})
        told.execute(self.own["release"], {"notes": list(notes), "limit": limit, "keep": ending.keep})
        return lambda: ({seq for (seq,) in ended.fetchall()}, _released(told.fetchall()))

    def release(self, tx: Tx, notes: Sequence[UUID], limit: int, keep: float) -> Released:
        """Differs: one statement for all."""
        tx.cursor.execute(self.own["release"], {"notes": list(notes), "limit": limit, "keep": keep})
        return _released(tx.cursor.fetchall())

    # time

    def promote(self, tx: Tx, limit: int) -> list[int]:
        """Differs: one statement."""
        tx.cursor.execute(self.own["promote"], {"limit": limit})
        return [queue for (queue,) in tx.cursor.fetchall()]

    # waking up

    def tell_watchers(self, tx: Tx) -> None:
        """Differs: NOTIFY."""
        tx.cursor.execute(self.own["tell_watchers"])

    def hint(self, tx: Tx, queues: Sequence[int]) -> None:
        """Differs: NOTIFY, empty, only if somebody waits: in every publish it would cost a factor of 2.6-5.5.

        In a caller's transaction the commit is the caller's; ours is of this statement alone, and waits for no disk.
        """
        name = "hint_soon" if tx.own else "hint"
        tx.cursor.execute(self.own[name], {"prefix": self._channel, "queues": _array(queues)})

    def listen(self, connection: Any, queues: Sequence[int]) -> None:
        """Differs: LISTEN, one channel for each queue."""
        for queue in queues:
            connection.execute(f'LISTEN "{self._channel}{queue:d}"')

    @property
    def _channel(self) -> str:
        return f"depqueue_{self.tables.schema or ''}_{self.tables.prefix}_"

    def session(self, connection: Any) -> str | None:
        """Differs: the server process and when it began."""
        row = connection.execute(self.own["session"]).fetchone()
        return None if row is None else row[0]

    def ended_sessions(self, tx: Tx) -> list[tuple[int, str, Any]]:
        """Differs: those that the statistics do not show."""
        tx.cursor.execute(self.own["ended_sessions"])
        return list(tx.cursor.fetchall())

    def hinted(self, connection: Any) -> bool:
        """Differs: what NOTIFY brought."""
        return any(True for _ in connection.notifies(timeout=0))

    def inspection(self) -> Inspection:
        """Differs: by its catalog."""
        from kombu_depqueue.dialects.postgresql_inspection import PostgreSQLInspection

        return PostgreSQLInspection(self)


def _storage_of(element: Any) -> str:
    """What SQLAlchemy 2.0 leaves out of CREATE TABLE, since it does not know it."""
    if not isinstance(element, CreateTable) or KNOWS_STORAGE:
        return ""
    storage = element.element.dialect_options["postgresql"]["with"] or {}
    return f"\n WITH ({', '.join(f'{name} = {value}' for name, value in storage.items())})" if storage else ""


def _array(numbers: Iterable[float]) -> str:
    """An array of numbers as PostgreSQL writes it: psycopg takes ten times as long for a list."""
    return f"{{{','.join(map(str, numbers))}}}"


def _columns(keys: Sequence[Key]) -> dict[str, str]:
    names = ("held_queues", "held_ranks", "held_seqs", "held_tokens")
    return {name: _array(column) for name, column in zip(names, zip(*keys, strict=True), strict=True)}


def _one(key: Key) -> dict[str, int]:
    return {"queue": key.queue_id, "rank": key.rank, "seq": key.seq, "token": key.token}


def _how(ending: Ending) -> dict[str, Any]:
    return {"result": ending.result, "meta": ending.meta, "keep": ending.keep}


def _ends(keys: Sequence[Key], ending: Ending, own: Mapping[int, Ending]) -> dict[str, Any]:
    """The keys of held jobs, and how they end."""
    if not own:
        return {**_columns(keys), "keep": ending.keep}
    from kombu_depqueue.dialects.lean import bytea_array

    ends = [own.get(key.seq, ending) for key in keys]
    results, metas = bytea_array([e.result for e in ends]), bytea_array([e.meta for e in ends])
    return {**_columns(keys), "keeps": _array([e.keep for e in ends]), "results": results, "metas": metas}


def _wanted(wanted: Wanted) -> dict[str, Any]:
    values = {"consumer": wanted.consumer, "token": wanted.token, "limit": wanted.limit}
    if not wanted.lanes:
        return {**values, "queues": _array(wanted.queues)}
    queues, ranks, afters, untils = map(_array, zip(*wanted.lanes, strict=True))
    return {**values, "queues": queues, "ranks": ranks, "afters": afters, "untils": untils}


def _released(rows: list[Any]) -> Released:
    return Released(set(rows[0][0] or ()), list(rows[0][1] or ()))


def _dup(connection: Any) -> int:
    return os.dup(connection.fileno())
