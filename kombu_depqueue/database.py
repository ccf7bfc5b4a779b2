"""Calls to the database: transactions with a deadline, tried again where that is safe."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from kombu_depqueue.connections import FORKS, Connections, Deadline, Watchdog
from kombu_depqueue.dialects import Dialect, Failure, Tx
from kombu_depqueue.errors import DepQueueError, Duplicate, InvalidJob, QueueClosed, SchemaError, StorageError
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.versions import LIBRARIES, VERSION, WORKS_WITH, Facts, facts_of, libraries, refusal

__all__ = ["Database"]

T = TypeVar("T")


class Database:
    """One database, its connections, and transactions on them."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.settings = dialect.settings
        self._closed = False
        self._watchdog = Watchdog(dialect.abort)
        self._connections = Connections(dialect.engine, self._watchdog)
        dialect.time_left = self._time_left
        self.cut: Callable[[], None] = lambda: None
        """Called when a call was cut off: other connections may be of no use either."""
        self.errors = dialect.driver_errors()
        self.deadline = Deadline(self.settings.deadline)
        self._ready = False
        self._ready_lock = threading.Lock()
        self.works_as = SCHEMA_VERSION
        """The schema version that the statements are for; an older one than ours while the tables are."""
        self.calling: contextlib.AbstractContextManager[None] = (
            FORKS if dialect.locks_memory else contextlib.nullcontext()
        )
        """To be entered around what calls the driver."""

    def close(self, *, forked: bool = False) -> None:
        """Close all connections; after a fork only forget them, since the sockets are the parent's."""
        self._closed = True
        with self.calling:
            if not forked:
                self._connections.flush()
            self.dialect.engine.dispose(close=not forked)

    def abandon(self) -> None:
        """Make every call, also those that are being tried again, end with QueueClosed."""
        self._closed = True

    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def connect(self) -> PoolProxiedConnection:
        """A connection for other use than calls."""
        with self.calling:
            return self._connections.take(self.deadline.until())

    @contextlib.contextmanager
    def opened(self) -> Iterator[Connection]:
        """A connection of SQLAlchemy's, to look at the schema by. Raises StorageError."""
        try:
            with self.calling, self._connections.connect() as connection:
                with self.watched(connection.connection.dbapi_connection):
                    yield connection
                return
        except self.errors as error:
            problem = self.translated(error)
        raise problem

    # transactions

    def watched(self, connection: Any) -> contextlib.AbstractContextManager[None]:
        """What is done inside with a connection of `connect` has the deadline that calls have."""
        return self._watchdog.watching(connection, self.deadline.until())

    def _time_left(self) -> float:
        left = self._watchdog.left()
        return self.settings.deadline if left is None else left

    def write(
        self,
        work: Callable[[Tx], T],
        *,
        begin: bool = True,
        single: bool = False,
        durable: bool = True,
        done: Callable[[Tx, T], bool] | None = None,
    ) -> T:
        """Run `work` in a transaction that writes; `begin=False`: it is one statement where steps are.

        `single`: it is one statement on any database, at the first try.

        Tried again until the deadline when the transaction was rolled back by a conflict, and when
        the connection broke; if it broke while committing, `tx.again` tells the work that an earlier
        try may have taken place. Work that cannot simply be repeated comes with `done(tx, answer)`:
        it tells whether the try that had this answer took place (not with `begin=False` or `single`).
        """
        self.ensure_schema()
        if done is not None:
            work = _unless_done(work, done)
        steps = self.dialect.steps_are_statements
        alone = (not begin and steps) or single
        # Where a step is several statements, so is looking whether an earlier try took place.
        return self._retrying(
            lambda c, again: self._write(c, work, again, alone=alone and (steps or not again), durable=durable)
        )

    def pipeline(self, work: Callable[[Tx], Callable[[], T]], *, begin: bool = True) -> T:
        """As write, but all that `work` executes is sent at once; it returns how to fetch the answer."""
        self.ensure_schema()
        alone = not begin and self.dialect.steps_are_statements
        return self._retrying(lambda c, again: self._pipeline(c, work, again, alone=alone))

    def make_sure(self) -> None:
        """Have all that was seen be as safe as what is committed now."""
        if self.dialect.has_standbys:
            try:
                self._retrying(lambda c, again: self._write(c, self.dialect.make_sure, again, alone=True, durable=True))
            except StorageError as error:
                error.maybe_committed = True
                raise

    def read(self, work: Callable[[Tx], T]) -> T:
        """Run `work`, which only reads (each statement on its own)."""
        self.ensure_schema()
        return self._retrying(lambda c, again: work(self._tx(c, again)))

    def join(self, connection: Any, work: Callable[[Tx], T]) -> T:
        """Run `work` in the caller's transaction, which is left open."""
        self.ensure_schema()
        tx = self.dialect.transaction(self._theirs(connection), own=False)
        try:
            with self.calling:
                return work(tx)
        except self.errors as error:
            problem = self.translated(error)
        finally:
            tx.cursor.close()
        raise problem

    def _tx(self, connection: Any, again: float = 0.0, durable: bool = True) -> Tx:
        cursor = self.dialect.cursor(connection)
        return self.dialect.transaction(connection, cursor=cursor, again=again, durable=durable)

    def _theirs(self, connection: Any) -> Any:
        if hasattr(connection, "get_bind") and hasattr(connection, "connection"):  # a Session
            connection = connection.connection()
        if not isinstance(connection, Connection):
            raise InvalidJob("connection", "a SQLAlchemy Connection or Session is wanted")
        if connection.dialect.name not in (self.dialect.name, *self.dialect.names):
            raise InvalidJob("connection", f"it is to {connection.dialect.name}, the queue is in {self.dialect.name}")
        if connection.dialect.driver not in self.dialect.drivers:
            known = " or ".join(self.dialect.drivers)
            raise InvalidJob("connection", f"its driver is {connection.dialect.driver}; {known} is wanted")
        if not connection.in_transaction():
            connection.begin()  # else the caller's commit() would find nothing to commit
        return connection.connection.dbapi_connection

    def _write(self, connection: Any, work: Callable[[Tx], T], again: float, *, alone: bool, durable: bool) -> T:
        tx = self._tx(connection, again, durable)
        if alone:
            self.dialect.begin_none(tx.cursor, durable=durable)
            try:
                result = work(tx)
                if again and durable:
                    self.dialect.make_sure(tx)
                return result
            except Exception as error:
                _maybe_committed(error)
                raise
        self.dialect.begin(tx.cursor, durable=durable)
        try:
            result = work(tx)
            if again and durable:  # an earlier try that took place may not be as safe as this commit will be
                self.dialect.make_sure(tx)
        except BaseException:
            with contextlib.suppress(*self.errors):
                self.dialect.rollback(connection)
            raise
        try:
            self.dialect.commit(tx.cursor)
        except Exception as error:
            # SQLite may leave the transaction open when it is busy or the disk is full: nobody could begin another.
            with contextlib.suppress(*self.errors):
                self.dialect.rollback(connection)
            _maybe_committed(error)
            raise
        return result

    def _pipeline(self, connection: Any, work: Callable[[Tx], Callable[[], T]], again: float, *, alone: bool) -> T:
        tx = self.dialect.transaction(connection, again=again)
        try:
            with self.dialect.pipelined(connection):
                if not alone:  # else the pipeline itself is the transaction
                    self.dialect.begin(connection.cursor(), durable=True)
                fetch = work(tx)
                if again:
                    self.dialect.make_sure(self.dialect.transaction(connection))  # `fetch` may need the other's rows
                if not alone:
                    self.dialect.commit(connection.cursor())
            return fetch()
        except BaseException as error:
            with contextlib.suppress(*self.errors):
                self.dialect.rollback(connection)
            _maybe_committed(error)
            raise

    # retrying

    def _retrying(self, call: Callable[[Any, float], T], *, creates: bool = False) -> T:
        until = self.deadline.until()
        again, tries, migrated, began = 0.0, 0, False, time.monotonic()
        while True:
            tries += 1
            try:
                return self._once(call, until, again)
            except self.errors as error:
                failure = self.dialect.failure(_original(error))
                if creates and self.dialect.is_collision(_original(error)):
                    failure = Failure.RETRY
                maybe = bool(getattr(error, "depqueue_maybe_committed", False)) and failure is Failure.LOST
                again = again or (began if maybe else 0.0)
                if again and failure is Failure.TAKEN:
                    failure = Failure.RETRY  # by the earlier try, whose commit is seen only now
                if failure is Failure.NO_TABLE and not migrated and self._was_migrated():
                    migrated = True
                    continue
                left = until - time.monotonic()
                if failure not in (Failure.RETRY, Failure.LOST) or left <= 0:
                    problem = self.translated(error, bool(again))
                    break
                # Jitter: those that collided must not collide again; a restarting server gets time.
                top = min(0.002 * tries, 0.05) if failure is Failure.RETRY else min(0.05 * 2**tries, 2.0)
                time.sleep(min(left, random.uniform(0.0001, top)))  # noqa: S311 - no secret
        raise problem

    def _once(self, call: Callable[[Any, float], T], until: float, again: float) -> T:
        with self.calling:
            return self._call(call, until, again)

    def _call(self, call: Callable[[Any, float], T], until: float, again: float) -> T:
        if self.is_closed():
            raise QueueClosed("the JobQueue is closed")
        if self.deadline.is_over:
            raise StorageError(f"the database gave no answer within deadline = {self.settings.deadline:g} s")
        fairy = self._connections.take(until)
        try:
            self._watchdog.watch(fairy.dbapi_connection, until)
            try:
                result = call(fairy.dbapi_connection, again)
            finally:
                self._watchdog.unwatch()
        except BaseException as error:
            sound = isinstance(error, DepQueueError) or (
                isinstance(error, self.errors) and self.dialect.failure(_original(error)) is not Failure.LOST
            )
            if sound and not self.is_closed():
                fairy.close()
            elif threading.get_ident() in self._watchdog.cut:
                fairy.invalidate()
                self._connections.distrust()
                self.cut()
            else:  # broken, or perhaps in the middle of a transaction: never used again
                fairy.invalidate()
            raise
        self._connections.give(fairy)
        if self.is_closed():  # meanwhile, by another thread: nobody else would close it
            self._connections.distrust()
        return result

    def translated(self, error: BaseException, maybe: bool = False) -> Exception:
        """Our error for the driver's. To be raised outside the `except`: else it would have the driver's as context."""
        original = _original(error)
        problem = self._problem(original, maybe)
        problem.__cause__ = self.dialect.without_rows(original)
        return problem

    def _problem(self, original: BaseException, maybe: bool) -> Exception:
        failure = self.dialect.failure(original)
        if failure is Failure.TAKEN:
            return Duplicate(detail="the id was taken meanwhile")
        if failure is Failure.NO_TABLE:
            return self._schema_problem()
        if threading.get_ident() in self._watchdog.cut:
            self._watchdog.cut.discard(threading.get_ident())
            problem = f"the database gave no answer within deadline = {self.settings.deadline:g} s"
            return StorageError(problem, maybe_committed=maybe)
        # One line, without the driver's DETAIL: it may quote a payload.
        said = str(self.dialect.without_rows(original)).strip()
        problem = said.splitlines()[0] if said else type(original).__name__
        return StorageError(problem[:300], maybe_committed=maybe)

    # schema

    def follow(self, parents: Database) -> None:
        """After a fork: what the parent saw of the tables still holds, though the server may be away right now."""
        self._ready, self.works_as = parents._ready, parents.works_as

    def ensure_schema(self) -> None:
        """See, once, that the tables are there in a version that this library knows; create them if asked to."""
        if self._ready:
            return
        with self._ready_lock:
            if not self._ready:
                self._check_schema()

    def _check_schema(self) -> None:
        create = self.settings.create
        if create is None:
            create = self.dialect.creates_by_default
        found = self.schema_facts()
        if found is None and create:
            self.create_schema()
            found = self.schema_facts()
        if found is None:
            raise self.no_schema()
        self._admit(found)

    def _admit(self, found: Facts) -> None:
        problem = refusal(found)
        if problem is not None:
            raise problem
        self.works_as = found.works_as
        self._ready = True

    def _was_migrated(self) -> bool:
        """Whether the tables have another version than they had when they were looked at."""
        found = self.schema_facts()
        if found is None or found.works_as == self.works_as or refusal(found) is not None:
            return False
        self._admit(found)
        return True

    def _schema_problem(self) -> SchemaError:
        """What is wrong, if a table or a column that should be there is not."""
        self._ready = False
        found = None
        with contextlib.suppress(DepQueueError):
            found = self.schema_facts()
        if found is None:
            return self.no_schema()
        cure = "`depqueue doctor` names it, `depqueue init` makes missing tables"
        problem = f"a table or a column is missing, though the schema version is {found.version}: {cure}"
        return refusal(found) or SchemaError(problem, found=None, wanted=WORKS_WITH)

    def schema_facts(self) -> Facts | None:
        """What the database says of its schema; None: the tables are not there. Raises SchemaError, StorageError."""
        sql = self.dialect.sql.schema_facts
        until = self.deadline.until()
        while True:
            try:
                return facts_of(self._once(lambda c, again: self._tx(c).all(sql), until, 0.0))
            except self.errors as error:
                failure = self.dialect.failure(_original(error))
                if failure is Failure.NO_TABLE:
                    return None
                if failure is not Failure.RETRY or time.monotonic() > until:
                    problem = self.translated(error)
                    break
                time.sleep(0.002)
        raise problem

    def no_schema(self) -> SchemaError:
        """The error that says how missing tables are made."""
        where = f"schema {self.settings.schema!r}" if self.settings.schema else f"{self.settings.table_prefix}*"
        cure = "create them with `depqueue init`, kombu_depqueue.create_tables(url) or the option create=True"
        return SchemaError(f"the tables ({where}) are missing: {cure}", found=None, wanted=WORKS_WITH)

    def create_schema(self) -> None:
        """Create all tables that are missing."""
        sql = self.dialect.sql

        def create(tx: Tx) -> None:
            self.dialect.create_tables(tx.connection)
            if facts_of(tx.all(sql.schema_facts)) is None:
                tx.run(sql.add_meta, p_key=LIBRARIES, p_value=libraries(SCHEMA_VERSION))
                tx.run(sql.add_meta, p_key=VERSION, p_value=str(SCHEMA_VERSION))

        self._retrying(lambda c, again: self._write(c, create, again, alone=False, durable=True), creates=True)


def _unless_done(work: Callable[[Tx], T], done: Callable[[Tx, T], bool]) -> Callable[[Tx], T]:
    """`work` for each try; but where an earlier one took place after all, what that one answered."""
    answers: list[T] = []

    def once(tx: Tx) -> T:
        if not (tx.again and done(tx, answers[-1])):
            answers.append(work(tx))
        return answers[-1]

    return once


def _maybe_committed(error: BaseException) -> None:
    """Mark an error: the commit may have taken place."""
    with contextlib.suppress(AttributeError):
        error.depqueue_maybe_committed = True  # type: ignore[attr-defined]


def _original(error: BaseException) -> BaseException:
    """The driver's error inside SQLAlchemy's."""
    return getattr(error, "orig", None) or error if isinstance(error, SQLAlchemyError) else error
