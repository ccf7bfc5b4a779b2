"""The tables, written once; each JobQueue gets them under its own schema or prefix.

job       ready and leased jobs only: small, hot. A claim changes no indexed column
          (`consumer_id` NULL = ready), so that PostgreSQL updates in place (HOT) and
          no index grows; the primary key is the claim order.
wait      delayed jobs (`due_at` set) and blocked ones (`due_at` NULL): cold, however many.
blocked   a narrow counter for each blocked job: how many dependencies are unmet.
dep       the edges. `met`: its dependency had ended before the edge was made.
release   ended jobs whose dependents have not all been told yet.
done      the records of ended jobs, until their `keep_until`.
ended_body  payloads of jobs that ended otherwise than succeeded, for `retry`.
memo      small named values with a time to live (Celery's saved groups).
consumer  one row per consuming JobQueue: its lease covers all jobs it holds. Also
          leases that stand by themselves, and registered workers.
queue     names, and what Kombu declared of them; exchange, binding, subscription: Kombu's topology.
meta      the schema version, and which libraries may work with it (see `migrations`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Sequence,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.types import CHAR, TIMESTAMP, TypeDecorator, TypeEngine, Uuid

__all__ = [
    "EARLIEST",
    "KNOWS_STORAGE",
    "LATEST",
    "SCHEMA_VERSION",
    "ConsumerKind",
    "Flag",
    "JobIdType",
    "ListType",
    "Tables",
    "UtcTime",
    "tables",
]

SCHEMA_VERSION = 2
"""Of the tables below. The library works on the one before, and on the next, too."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""For times that Python cannot say (infinite ones, say), in any time zone: one such row would stop all claims."""

# MySQL has several sizes.
TEXT = Text().with_variant(Text(2**24 - 1), "mysql")
BYTES = LargeBinary().with_variant(LargeBinary(2**32 - 1), "mysql")


KNOWS_STORAGE = "with" in (dict(PGDialect.construct_arguments or ())[Table] or ())
"""Whether SQLAlchemy writes the storage parameters of a table: not 2.0, where they are only noted here."""
if not KNOWS_STORAGE:
    Table.argument_for("postgresql", "with", None)


class Flag:
    """Bits of `flags`."""

    HAS_DEPENDENCIES = 1
    HAS_DEPENDENTS = 2
    HOLD = 4
    """Stay blocked, rather than be canceled, when a dependency can never be met."""
    REDELIVERED = 8
    RUNNING = 16
    """Acked before its outcome is known: never handed out again. Its lease goes on until the outcome."""
    WATCHED = 32
    """Somebody waits for its end."""
    JOINS = 64
    """It is delivered with the results of its dependencies in it (Celery's chord)."""


class ConsumerKind:
    """Values of `consumer.kind`."""

    QUEUE = 0
    """A consuming JobQueue, renewed by its background thread."""
    TOKEN = 1
    """One hand-out whose lease stands by itself."""
    WORKER = 2
    """An entry of the worker registry; holds nothing, never expires."""
    DEAD = 3
    """Its lease expired and its jobs were released; kept a while, since a claim of its may still be under way."""
    ORPHANS = 4
    """Holds the `RUNNING` jobs of a consumer that is gone (named by its number), until they are taken for lost."""


class JobIdType(TypeDecorator[UUID]):
    """A UUID: native on PostgreSQL; elsewhere its text, which people can read and JSON functions can carry."""

    impl = CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type."""
        if dialect.name == "mysql":
            from sqlalchemy.dialects.mysql import CHAR as CHAR_OF

            return dialect.type_descriptor(CHAR_OF(36, charset="ascii", collation="ascii_bin"))
        return dialect.type_descriptor(Uuid() if dialect.name == "postgresql" else CHAR(36))

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        """Convert for the driver."""
        return value if dialect.name == "postgresql" or value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        """Convert from the driver."""
        if value is None or isinstance(value, UUID):
            return value
        try:
            return UUID(value)
        except (ValueError, AttributeError):  # somebody else's row: one that cannot be read would stop all claims
            return uuid5(NAMESPACE_URL, f"depqueue:{value}")


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time: timestamptz on PostgreSQL, else microseconds since 1970 (exact, sortable, zone-free)."""

    impl = BigInteger
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column type."""
        native = dialect.name == "postgresql"
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if native else BigInteger())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Convert for the driver."""
        if value is None or dialect.name == "postgresql":
            return value
        return (value - _EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Convert from the driver."""
        if isinstance(value, int):
            try:
                return _EPOCH + timedelta(microseconds=value)
            except OverflowError:
                return LATEST if value > 0 else EARLIEST
        if value is None or isinstance(value, datetime):
            return value and value.astimezone(UTC)
        return _EPOCH  # somebody else's row, in SQLite: one that cannot be read would stop all claims


class ListType(TypeDecorator[list[Any]]):
    """A bound list of any length in one parameter: an array on PostgreSQL, JSON on SQLite, written out on MySQL."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any]) -> None:
        super().__init__()
        self.item = item

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the parameter's type."""
        return dialect.type_descriptor(ARRAY(self.item) if dialect.name == "postgresql" else Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Convert for the driver."""
        if dialect.name == "postgresql":
            return list(value)
        items = [str(v) if isinstance(v, UUID) else v for v in value]
        if dialect.name == "mysql":
            return items or [None]  # `IN ()` is an error, `IN (NULL)` is never true
        return json.dumps(items)


class Tables:
    """The tables under one schema and prefix."""

    def __init__(self, backend: str, schema: str | None, prefix: str) -> None:
        self.metadata = MetaData(schema=schema)
        self.schema, self.prefix = schema, prefix
        p, m = prefix, self.metadata
        seq = self._order_number(backend)
        self.meta = Table(p + "meta", m, Column("key", String(50), primary_key=True), Column("value", Text))
        self.queue = Table(
            p + "queue",
            m,
            Column("id", Integer, primary_key=True),
            Column("channel", String(255), nullable=False),
            Column("name", String(255), nullable=False),
            Column("paused", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
            # What Kombu declares. Only queues with `ephemeral` are ever deleted, since producers remember numbers.
            Column("ephemeral", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
            Column("auto_delete", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
            Column("declared", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
            Column("arguments", TEXT),
            Column("idle_limit", Double),
            Column("used_at", UtcTime),
            Column("owner_id", BigInteger),  # the consumer that it ends with (AMQP: exclusive)
            UniqueConstraint("channel", "name", name=p + "queue_name"),
        )
        self.exchange = Table(
            p + "exchange",
            m,
            Column("name", String(255), primary_key=True),
            Column("type", String(20), nullable=False),
            Column("durable", Boolean(create_constraint=False), nullable=False),
            Column("auto_delete", Boolean(create_constraint=False), nullable=False),
            Column("arguments", TEXT),
        )
        self.binding = Table(
            p + "binding",
            m,
            Column("exchange", String(255), nullable=False),
            Column("routing_key", String(255), nullable=False),
            Column("queue_id", Integer, nullable=False),
            PrimaryKeyConstraint("exchange", "routing_key", "queue_id"),
        )
        self.subscription = Table(
            p + "subscription",
            m,
            Column("queue_id", Integer, nullable=False),
            Column("consumer_id", BigInteger, nullable=False),
            Column("count", Integer, nullable=False),
            PrimaryKeyConstraint("queue_id", "consumer_id"),
        )
        self.consumer = Table(
            p + "consumer",
            m,
            Column("id", BigInteger, primary_key=True, autoincrement=False),
            Column("kind", SmallInteger, nullable=False),
            Column("name", String(255), nullable=False),
            Column("channel", String(255), nullable=False, server_default=""),
            Column("info", TEXT),
            Column("waiting", Boolean(create_constraint=False), nullable=False, server_default=text("false")),
            Column("session", String(64)),
            Column("started_at", UtcTime, nullable=False),
            Column("beat_at", UtcTime, nullable=False),
            Column("leased_until", UtcTime),
            Column("orphan_after", Double),  # its own setting: others, with theirs, take its jobs for lost
            Column("schema_version", SmallInteger),  # that it works with; NULL: 1
            postgresql_with={"fillfactor": 50},
        )
        self.job = Table(
            p + "job",
            m,
            # The order of columns: fixed-width first, so that PostgreSQL pads little.
            seq(primary_key=backend == "sqlite"),
            Column("consumer_id", BigInteger),
            Column("lease_token", BigInteger),
            Column("created_at", UtcTime, nullable=False),
            Column("claimed_at", UtcTime),
            Column("expires_at", UtcTime),
            Column("run_at", UtcTime),
            Column("queue_id", Integer, nullable=False),
            Column("attempt", Integer, nullable=False, server_default="0"),
            Column("max_attempts", Integer, nullable=False, server_default="0"),
            Column("rank", SmallInteger, nullable=False),
            Column("flags", SmallInteger, nullable=False, server_default="0"),
            Column("job_id", JobIdType),
            Column("meta", BYTES),  # what its worker has said of it so far
            Column("envelope", BYTES),
            Column("body", BYTES, nullable=False),
            sqlite_autoincrement=True,
            # fillfactor 50: room for the claim's new version on the same page (HOT share 100 %
            # at batches of 100; 58 % with 70, 3 % with 100). Vacuum early: dead rows sit where claims look.
            postgresql_with={
                "fillfactor": 50,
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 5000,
                "autovacuum_analyze_scale_factor": 0,
                "autovacuum_analyze_threshold": 50000,
                "autovacuum_vacuum_cost_delay": 0,
            },
        )
        self.wait = Table(
            p + "wait",
            m,
            seq(primary_key=True),
            Column("due_at", UtcTime),
            Column("run_at", UtcTime),
            Column("claimed_at", UtcTime),
            Column("created_at", UtcTime, nullable=False),
            Column("expires_at", UtcTime),
            Column("queue_id", Integer, nullable=False),
            Column("attempt", Integer, nullable=False, server_default="0"),
            Column("max_attempts", Integer, nullable=False, server_default="0"),
            Column("rank", SmallInteger, nullable=False),
            Column("flags", SmallInteger, nullable=False, server_default="0"),
            Column("job_id", JobIdType),
            Column("meta", BYTES),  # what its worker has said of it so far
            Column("envelope", BYTES),
            Column("body", BYTES, nullable=False),
            sqlite_autoincrement=True,
        )
        self.blocked = Table(
            p + "blocked",
            m,
            Column("job_id", JobIdType, primary_key=True),
            Column("pending", Integer, nullable=False),
            postgresql_with={"fillfactor": 50},
        )
        self.dep = Table(
            p + "dep",
            m,
            Column("dep_id", JobIdType, nullable=False),
            Column("job_id", JobIdType, nullable=False),
            Column("ordinal", Integer, nullable=False),
            Column("policy", SmallInteger, nullable=False),
            Column("met", Boolean(create_constraint=False), nullable=False),
            PrimaryKeyConstraint("dep_id", "job_id"),
            sqlite_with_rowid=False,
        )
        self.release = Table(
            p + "release",
            m,
            Column("dep_id", JobIdType, primary_key=True),
            Column("status", SmallInteger, nullable=False),
            Column("after_id", JobIdType, nullable=False),
        )
        self.done = Table(
            p + "done",
            m,
            Column("job_id", JobIdType, primary_key=True),
            Column("queue_id", Integer, nullable=False),
            Column("status", SmallInteger, nullable=False),
            Column("flags", SmallInteger, nullable=False),
            Column("attempt", Integer, nullable=False),
            Column("created_at", UtcTime, nullable=False),
            Column("started_at", UtcTime),
            Column("finished_at", UtcTime, nullable=False),
            Column("keep_until", UtcTime, nullable=False),
            Column("reason", Text),
            Column("result", BYTES),
            Column("meta", BYTES),  # and what its worker said beside the result
        )
        self.ended_body = Table(
            p + "ended_body",
            m,
            Column("job_id", JobIdType, primary_key=True),
            Column("rank", SmallInteger, nullable=False),
            Column("max_attempts", Integer, nullable=False),
            Column("envelope", BYTES),
            Column("body", BYTES, nullable=False),
        )
        self.memo = Table(
            p + "memo",
            m,
            Column("name", String(255), primary_key=True),
            Column("value", BYTES, nullable=False),
            Column("keep_until", UtcTime, nullable=False),
        )
        self._indexes(p, backend)
        if backend == "mysql":
            for table in m.tables.values():
                table.kwargs["mysql_engine"] = "InnoDB"

    def _order_number(self, backend: str) -> Callable[..., Column[int]]:
        """The order number: from one sequence where there are sequences, else counted by the table."""
        if backend == "postgresql":
            sequence = Sequence(self.prefix + "seq", metadata=self.metadata, schema=self.schema)
            default = sequence.next_value()
            return lambda **options: Column("seq", BigInteger, server_default=default, nullable=False, **options)
        kind = Integer() if backend == "sqlite" else BigInteger()
        return lambda **options: Column("seq", kind, autoincrement=True, nullable=False, **options)

    def _indexes(self, p: str, backend: str) -> None:
        job, wait = self.job.c, self.wait.c
        if backend == "sqlite":  # there the primary key must be the row's number
            Index(p + "job_order", job.queue_id, job.rank, job.seq)
        else:
            self.job.append_constraint(PrimaryKeyConstraint(job.queue_id, job.rank, job.seq))
        if backend == "mysql":  # what counts by itself needs an index of its own
            Index(p + "job_seq", job.seq)
        # Partial where possible: control traffic has no id, and only delayed jobs are due.
        for table, name in ((self.job, "job_id"), (self.wait, "wait_id")):
            there = table.c.job_id.is_not(None)
            Index(p + name, table.c.job_id, unique=True, postgresql_where=there, sqlite_where=there)
        due = wait.due_at.is_not(None)
        Index(p + "wait_due", wait.due_at, postgresql_where=due, sqlite_where=due)
        Index(p + "wait_queue", wait.queue_id, wait.due_at)
        for table, name in ((self.job, "job_expires"), (self.wait, "wait_expires")):
            expires = table.c.expires_at.is_not(None)
            Index(p + name, table.c.expires_at, postgresql_where=expires, sqlite_where=expires)
        Index(p + "dep_job", self.dep.c.job_id, self.dep.c.ordinal)
        Index(p + "done_keep", self.done.c.keep_until)
        if backend != "mysql":  # partial, so that no success costs anything; MySQL has none
            failed = self.done.c.status == text("2")
            Index(p + "done_failed", self.done.c.finished_at, postgresql_where=failed, sqlite_where=failed)
        Index(p + "memo_keep", self.memo.c.keep_until)
        Index(p + "binding_queue", self.binding.c.queue_id)


@lru_cache(maxsize=64)
def tables(backend: str, schema: str | None, prefix: str) -> Tables:
    """The tables of one schema and prefix on one kind of database, made once."""
    return Tables(backend, schema, prefix)
