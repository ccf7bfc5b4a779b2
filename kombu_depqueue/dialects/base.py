"""What a database must be able to say and do for the store."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Connection, Engine, Index, Table
from sqlalchemy.engine.interfaces import Dialect as SADialect
from sqlalchemy.exc import SQLAlchemyError

from kombu_depqueue.changes import Change
from kombu_depqueue.dialects.inspection import Inspection
from kombu_depqueue.dialects.steps import Steps
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.routing import Routing
from kombu_depqueue.schema import Tables, tables
from kombu_depqueue.settings import Settings
from kombu_depqueue.sql import Prepared

__all__ = ["RESULTS", "Dialect", "Failure", "Tx", "refuse_isolation"]

RESULTS = 0
"""The number under which those listen who wait for the ends of jobs; no queue has it."""


class Failure(enum.Enum):
    """What a driver's error means."""

    LOST = "the connection is gone"
    RETRY = "the transaction was rolled back and may be tried again"
    TAKEN = "a unique key exists already"
    NO_TABLE = "a table or a column is missing"
    OTHER = "anything else"


class Tx:
    """A transaction under way: runs prepared statements on the driver's cursor."""

    __slots__ = ("again", "connection", "cursor", "durable", "own")

    def __init__(
        self, connection: Any, *, cursor: Any = None, again: float = 0.0, own: bool = True, durable: bool = True
    ) -> None:
        self.connection = connection
        self.cursor = connection.cursor() if cursor is None else cursor
        self.again = again
        """When the first try of the same work began (monotonic clock), if one may have been committed; else 0.0."""
        self.own = own
        """Not the caller's transaction but one of the store's."""
        self.durable = durable
        """Losing it in a power cut would do harm."""

    def all(self, statement: Prepared, **values: Any) -> list[Any]:
        """Run a statement and fetch its rows."""
        self.cursor.execute(statement.sql, statement.bind(values))
        return statement.rows(self.cursor.fetchall())

    def run(self, statement: Prepared, **values: Any) -> int:
        """Run a statement and return how many rows it touched."""
        self.cursor.execute(statement.sql, statement.bind(values))
        return int(self.cursor.rowcount)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What runs inside gives no answer, and so may be sent at once."""
        yield

    def many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement for each set of values."""
        if len(rows) == 1:
            self.cursor.execute(statement.sql, statement.bind(rows[0]))
        elif rows:
            self.cursor.executemany(statement.sql, [statement.bind(r) for r in rows])


def refuse_isolation(level: str, wanted: str) -> None:
    """Refuse a caller's transaction of another isolation level. Raises InvalidJob."""
    if level != wanted:
        how = 'create_engine(..., isolation_level="READ COMMITTED")'
        raise InvalidJob("connection", f"its transaction is {level}; READ COMMITTED is wanted: {how}")


class Dialect(Steps):
    """One kind of database, with the connections to one of them."""

    name: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = ()
    """What else SQLAlchemy calls this kind of database."""
    drivers: tuple[str, ...]
    """Drivers whose connections callers may bring along: ours, and its asynchronous sister."""
    packages: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """What to install for a driver's module, where it is not our extra."""
    steps_are_statements: ClassVar[bool] = False
    """claim, ack_one, ack_many and promote are one statement each, and `end_and_release` exists:
    they need no BEGIN, and acks try the fast path first."""
    rows_in_one: ClassVar[int] = 1
    """So many new jobs that are alike go into one statement."""
    pipelines: ClassVar[bool] = False
    """Statements of a transaction can be sent together."""
    one_writer: ClassVar[bool] = False
    """While a transaction writes, all others that would have to wait for its end."""
    has_notify: ClassVar[bool] = False
    """Consumers can be woken up by the server."""
    has_standbys: ClassVar[bool] = False
    """What is committed, and seen, may yet be missing after a failover (see `make_sure`)."""
    has_sessions: ClassVar[bool] = False
    """The server shows which sessions have ended: the fastest sign of a dead process."""
    has_change_counter: ClassVar[bool] = False
    """`change_counter` tells cheaply whether anything was committed."""
    creates_by_default: ClassVar[bool] = False
    has_roles: ClassVar[bool] = False
    """Its users have rights of their own (see `grants`)."""
    clock_step: ClassVar[float] = 0.0
    """Seconds by which a stored time may be too small."""
    locks_memory: ClassVar[bool] = False
    """Its driver has locks that do not survive a fork."""
    look_interval: ClassVar[float | None] = None
    """Nothing tells of changes: whoever waits looks so often (seconds; half as often after a while)."""
    statements: ClassVar[type[Routing]] = Routing
    transaction: type[Tx] = Tx

    def __init__(self, settings: Settings, engine: object = None) -> None:
        self.settings = settings
        self.time_left: Callable[[], float] = lambda: settings.deadline
        """Seconds that this thread's call may still take."""
        self.tables = tables(self.name, settings.schema, settings.table_prefix)
        self.sql = _statements(type(self), self.tables, settings.max_body_bytes)  # type: ignore[arg-type]
        try:
            self.engine = self.make_engine(engine if isinstance(engine, Engine) else None)
        except ModuleNotFoundError as error:
            what = self.packages.get(str(error.name), f"kombu-depqueue[{self.name}]")
            raise InvalidJob("url", f"its driver {error.name!r} is not installed: pip install {what}") from error
        except SQLAlchemyError as error:
            raise InvalidJob("url", str(error).splitlines()[0]) from error

    @classmethod
    def compiler_dialect(cls) -> SADialect:
        """The SQLAlchemy dialect to compile for; its parameters are named."""
        raise NotImplementedError

    def make_engine(self, engine: Engine | None) -> Engine:
        """A pool of connections in autocommit mode (of our own, even if the caller's engine makes them)."""
        raise NotImplementedError

    def cursor(self, connection: Any) -> Any:
        """A cursor on one of our own connections, for use outside of `pipelined`."""
        return connection.cursor()

    def begin(self, cursor: Any, *, durable: bool) -> None:
        """Begin a transaction that will write; `durable=False`: a power cut may take it back."""
        cursor.execute("BEGIN")

    def begin_none(self, cursor: Any, *, durable: bool) -> None:
        """A statement follows that is a transaction by itself."""

    def check_isolation(self, tx: Tx) -> None:
        """Refuse (InvalidJob) a caller's transaction that would not see what was committed since it began."""
        return

    def commit(self, cursor: Any) -> None:
        """Commit."""
        cursor.execute("COMMIT")

    def rollback(self, connection: Any) -> None:
        """Roll back."""
        self.cursor(connection).execute("ROLLBACK")

    def make_sure(self, tx: Tx) -> None:
        """Have the transaction's commit be as safe for all that was committed before it and is seen by it.

        (Nothing to do where what is seen is safe.)
        """

    def check_sure(self, connection: Any) -> None:
        """Raise if a commit on this connection was reported as a success, and is none that one can rely on."""

    @property
    def longest_pause(self) -> float:
        """Seconds after which the server ends a session of ours that does nothing in a transaction.

        Its machine may be gone without a word; a job that it has locked would be passed over by all claims until then.
        """
        return 2 * self.settings.deadline

    @contextlib.contextmanager
    def pipelined(self, connection: Any) -> Iterator[None]:
        """Inside, statements may be sent without waiting for their answers; rows are fetched afterwards."""
        yield

    def check_payloads(self, *payloads: bytes | None) -> None:
        """Refuse (InvalidJob) what the server would not take in one statement, as far as that is known beforehand."""

    def create_tables(self, connection: Any) -> None:
        """Create what is missing, in the transaction under way."""
        raise NotImplementedError

    def is_collision(self, error: BaseException) -> bool:
        """Whether another created the same tables at the same moment."""
        return False

    def grantee(self, name: str) -> str:
        """The name of a role (or user), quoted."""
        return self.engine.dialect.identifier_preparer.quote_identifier(name)

    def usage(self, grantee: str) -> list[str]:
        """The statements that give a role what it needs beside the tables."""
        return []

    def grants(self, table: Table, columns: Mapping[str, Sequence[str]], grantee: str) -> list[str]:
        """The statement that lets a role do this with a table: by SELECT, INSERT, ... the columns (none: all)."""
        quote = self.engine.dialect.identifier_preparer
        parts = [f"{what} ({', '.join(map(quote.quote, names))})" if names else what for what, names in columns.items()]
        return [f"GRANT {', '.join(parts)} ON {quote.format_table(table)} TO {grantee}"]

    def ownership(self, grantee: str) -> list[str]:
        """The statements that let a role create and change the tables."""
        raise NotImplementedError

    def stay(self, connection: Connection) -> None:
        """The transaction that was begun, and has locked a row, stays open for as long as others work."""

    def spelled(self, change: Change, wait: float, patience: float) -> list[str]:
        """The statements that make a change of the schema.

        One that excludes others waits for its lock for `wait` seconds at most, else for `patience`.
        """
        return [str(change.compile(dialect=self.engine.dialect)).strip()]

    def is_half_made(self, connection: Connection, index: Index) -> bool:
        """Whether there is such an index, but one that was left unfinished."""
        return False

    def abort(self, connection: Any) -> None:
        """End a call that another thread makes on this connection; it fails there."""
        raise NotImplementedError

    def failure(self, error: BaseException) -> Failure:
        """What a driver's error means."""
        raise NotImplementedError

    def without_rows(self, error: BaseException) -> BaseException:
        """A driver's error that quotes nothing of what is stored."""
        return error

    def driver_errors(self) -> tuple[type[BaseException], ...]:
        """The driver's errors, and those of the pool."""
        dbapi: Any = self.engine.dialect.dbapi
        return (dbapi.Error, SQLAlchemyError)

    def lock_ids(self, tx: Tx, ids: Sequence[UUID]) -> None:
        """Have others that enqueue one of these ids wait for the transaction's end.

        A unique index sees one table only: of two enqueues of an id at the same moment one may be
        ready and the other delayed. (Nothing to do where only one transaction writes.)
        """

    def hint(self, tx: Tx, queues: Sequence[int]) -> None:
        """Wake the consumers that wait for these queues, if any does (`has_notify`)."""
        raise NotImplementedError

    def listen(self, connection: Any, queues: Sequence[int]) -> None:
        """From now on `hinted` hears of these queues on this connection."""
        raise NotImplementedError

    def hinted(self, connection: Any) -> bool:
        """Read what has arrived on the connection; whether there was a hint."""
        raise NotImplementedError

    def session(self, connection: Any) -> str | None:
        """What names the connection's session, among all that ever were (`has_sessions`)."""
        return None

    def ended_sessions(self, tx: Tx) -> list[tuple[int, str, Any]]:
        """Consumers whose session has ended: number, session, last sign of life (`has_sessions`)."""
        raise NotImplementedError

    def change_counter(self, connection: Any) -> int:
        """A number that changes when another connection commits."""
        raise NotImplementedError

    def inspection(self) -> Inspection:
        """Who can say how the database is."""
        raise NotImplementedError


@lru_cache(maxsize=64)
def _statements(kind: type[Dialect], of: Tables, largest: int) -> Routing:
    """The statements on these tables, for all JobQueues of the process: to compile those of one costs some 40 ms."""
    made = kind.statements(of, kind.compiler_dialect())
    made.largest = largest
    return made
