"""Bring the tables to another schema version, while they are in use; `migrations` says how they differ.

Each change is made by itself, and `meta` says beforehand to which version it leads: a migration that
was cut off is seen, and continued by running it again. A change for which others have to wait gives
up when it has waited for a lock for `LOCK_WAIT`, lets them pass, and tries again: a transaction that
has read a table for an hour delays the migration, but no publish for longer than that.

Only one migrates: whoever holds the lock on a row of `meta`. It ends with the connection. Should
two be at work all the same, each change is looked for before it is made.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import URL, Connection, delete, func, inspect, select

from kombu_depqueue.changes import AddIndex, Change, DropIndex
from kombu_depqueue.database import Database
from kombu_depqueue.dialects import Failure, dialect_for
from kombu_depqueue.errors import InvalidJob, SchemaError, StorageError
from kombu_depqueue.migrations import MIGRATIONS, Migration
from kombu_depqueue.schema import SCHEMA_VERSION, ConsumerKind, Tables
from kombu_depqueue.settings import parse
from kombu_depqueue.sql import insert_or_replace, insert_unless_there, now
from kombu_depqueue.versions import LIBRARIES, MIGRATING, VERSION, WORKS_WITH, Facts, facts_of, libraries

__all__ = ["LOCK_WAIT", "PATIENCE", "Migrator", "Step"]

T = TypeVar("T")

LOCK_WAIT = 1.0
"""Seconds that a change may wait for a lock; whoever comes after it waits as long."""
PATIENCE = 60.0
"""Seconds within which all locks must be had."""
HOLDER = "schema_lock"
"""The row of `meta` that whoever migrates has locked."""
CONNECTIONS = 3
"""One that holds the lock, one that changes, one that looks."""
NAMED = 3
"""Consumers that are named, of those that would be left behind."""


class Step(NamedTuple):
    """One migration, in one direction."""

    migration: Migration
    up: bool

    @property
    def to(self) -> int:
        """The version that it leads to."""
        return self.migration.version if self.up else self.migration.version - 1

    def changes(self, tables: Tables) -> list[Change]:
        """What it changes, in order."""
        return list((self.migration.upgrade if self.up else self.migration.downgrade)(tables))

    def __str__(self) -> str:
        way = f"{self.migration.version - 1} to {self.migration.version}"
        return f"from version {way}: {self.migration.title}" if self.up else f"back to version {self.to}"


class Migrator:
    """The schema of one database: which version it has, what leads to another, and doing that."""

    def __init__(self, url: str | URL, *, migrations: tuple[Migration, ...] = MIGRATIONS, **options: Any) -> None:
        settings = parse(url, options)
        settings = replace(settings, pool_size=max(settings.pool_size, CONNECTIONS))
        self.database = Database(dialect_for(settings))
        self.dialect = self.database.dialect
        self.tables = self.dialect.tables
        self.migrations = migrations
        self.newest = max(SCHEMA_VERSION, *(m.version for m in migrations))

    def __enter__(self) -> Migrator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.database.close()

    def facts(self) -> Facts:
        """The version that the tables have. Raises SchemaError where there are none."""
        found = self.database.schema_facts()
        if found is None:
            raise self.database.no_schema()
        return found

    def plan(self, to: int) -> list[Step]:
        """What leads to a version, in order; empty: nothing is to be done.

        Raises InvalidJob for a version that this library does not know, SchemaError if the tables have one.
        """
        if not 1 <= to <= self.newest:
            raise InvalidJob("to", f"this library knows the schema versions 1 to {self.newest}, not {to}")
        facts = self.facts()
        top = max(facts.version, facts.migrating or 0)
        if top > self.newest:
            problem = f"the tables have schema version {top}, this library knows versions up to {self.newest}"
            raise SchemaError(f"{problem}: upgrade kombu-depqueue", found=top, wanted=WORKS_WITH)
        if to >= top:
            return [Step(m, True) for m in self.migrations if facts.version < m.version <= to]
        return [Step(m, False) for m in reversed(self.migrations) if to < m.version <= top]

    def texts(self, plan: list[Step]) -> Iterator[str]:
        """The statements that a plan consists of, for those who run them by hand."""
        for step in plan:
            yield f"-- {step}"
            before, after = self._facts_around(step)
            yield from (self._literal(one) for one in before)
            for change in step.changes(self.tables):
                yield from self.dialect.spelled(change, LOCK_WAIT, PATIENCE)
            yield from (self._literal(one) for one in after)

    def _literal(self, statement: Any) -> str:
        options = {"literal_binds": True}
        return " ".join(str(statement.compile(dialect=self.dialect.engine.dialect, compile_kwargs=options)).split())

    def run(self, to: int, *, patience: float = PATIENCE, say: Callable[[str], None] = lambda line: None) -> list[Step]:
        """Do what leads to a version; returns what was done.

        Blocks until it is done, or StorageError when the locks were not to be had within `patience`
        seconds. What was done until then stays, and the next run goes on from there. Raises what `plan`
        raises, and SchemaError if consumers at work would be left behind.
        """
        until = time.monotonic() + patience
        done: list[Step] = []
        while plan := self.plan(to):
            say(str(plan[0]))
            self._take(plan[0], until, say)
            done.append(plan[0])
        return done

    def _take(self, step: Step, until: float, say: Callable[[str], None]) -> None:
        try:
            with self._alone(until) as connection:
                facts = facts_of(connection.execute(self._look()).fetchall())
                if facts is None or not self._is_due(step, facts):
                    return  # another was faster
                if facts.version >= 2:
                    self._refuse_to_leave_behind(connection, step.to)
                before, after = self._facts_around(step)
                self._write(connection, before)
                for change in step.changes(self.tables):
                    self._make(connection, change, until, say)
                self._write(connection, after)
                self.dialect.check_sure(connection.connection.dbapi_connection)
        except self.database.errors as error:
            problem: Exception = self.database.translated(error)
        else:
            return
        raise problem

    def _look(self) -> Any:
        m = self.tables.meta.c
        return select(m.key, m.value).where(m.key.in_([VERSION, LIBRARIES, MIGRATING]))

    def _is_due(self, step: Step, facts: Facts) -> bool:
        if step.up:
            return facts.version == step.to - 1
        return max(facts.version, facts.migrating or 0) == step.migration.version

    def _facts_around(self, step: Step) -> tuple[list[Any], list[Any]]:
        """What `meta` is told before the changes and after them: the lower version counts while they are made."""
        meta, dialect = self.tables.meta, self.dialect.engine.dialect

        def put(key: str, value: str) -> Any:
            return insert_or_replace(meta, dialect, {"key": key, "value": value}).inline()

        begun = put(MIGRATING, str(step.migration.version))
        here = [put(LIBRARIES, libraries(step.to)), put(VERSION, str(step.to))]
        ended = delete(meta).where(meta.c.key == MIGRATING)
        return ([begun], [*here, ended]) if step.up else ([begun, *here], [ended])

    def _write(self, connection: Connection, statements: list[Any]) -> None:
        if not self.dialect.one_writer:
            connection.exec_driver_sql("BEGIN")
        for statement in statements:
            connection.execute(statement)
        if not self.dialect.one_writer:
            connection.exec_driver_sql("COMMIT")

    def _refuse_to_leave_behind(self, connection: Connection, to: int) -> None:
        c = self.tables.consumer.c
        behind = func.abs(func.coalesce(c.schema_version, 1) - to) > 1
        alive = select(c.name).where(c.kind == ConsumerKind.QUEUE, c.leased_until > now(), behind).order_by(c.name)
        names = list(connection.execute(alive).scalars())
        if names:
            shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
            problem = f"{len(names)} consumers at work cannot use schema version {to}: restart them first, upgraded"
            raise SchemaError(f"{problem} ({shown})", found=to, wanted=WORKS_WITH)

    # locks

    @contextlib.contextmanager
    def _alone(self, until: float) -> Iterator[Connection]:
        """A connection for changes, while no other migrates.

        Where one transaction writes at a time, that is all: what is done there is done whole or not at all.
        """
        engine = self.dialect.engine
        with engine.connect() as holder:
            if self.dialect.one_writer:
                # Among all that write, for as long as they do: often, else they are always faster.
                self._patiently(lambda: self._begin(holder), until, "others write without a pause", pause=0.002)
                try:
                    yield holder
                except BaseException:
                    self.dialect.rollback(holder.connection.dbapi_connection)
                    raise
                self.dialect.commit(holder.connection.cursor())
                return
            with engine.connect() as worker:
                self._patiently(lambda: self._hold(holder, worker), until, "another `depqueue migrate` is under way")
                try:
                    yield worker
                finally:
                    with contextlib.suppress(*self.database.errors):  # else the server lets go by itself
                        self.dialect.rollback(holder.connection.dbapi_connection)

    def _begin(self, connection: Connection) -> None:
        self.dialect.begin(connection.connection.cursor(), durable=True)

    def _hold(self, holder: Connection, worker: Connection) -> None:
        meta = self.tables.meta
        there = insert_unless_there(meta, self.dialect.engine.dialect).values({"key": HOLDER, "value": ""})
        worker.execute(there.inline())
        self._begin(holder)
        row = select(meta.c.value).where(meta.c.key == HOLDER).with_for_update(nowait=True)
        try:
            holder.execute(row)
            self.dialect.stay(holder)
        except BaseException:
            self.dialect.rollback(holder.connection.dbapi_connection)
            raise

    def _patiently(self, call: Callable[[], T], until: float, what: str, *, pause: float = LOCK_WAIT) -> T:
        """Try again what met a lock; StorageError when the time is over."""
        while True:
            try:
                return call()
            except self.database.errors as error:
                original = getattr(error, "orig", None) or error
                if self.dialect.failure(original) is not Failure.RETRY:
                    raise
                if time.monotonic() >= until:
                    cause = self.dialect.without_rows(original)
                    break
            # Those who had to wait behind us go first.
            time.sleep(random.uniform(0.5, 1.5) * pause)  # noqa: S311 - no secret
        raise StorageError(f"{what}: gave up after having waited; run it again") from cause

    def _make(self, connection: Connection, change: Change, until: float, say: Callable[[str], None]) -> None:
        def make() -> None:
            if isinstance(change, AddIndex) and self.dialect.is_half_made(connection, change.index):
                self._execute(connection, DropIndex(change.index), until)
            if not change.is_made(inspect(connection)):
                say(f"  {change}")
                self._execute(connection, change, until)

        self._patiently(make, until, f"{change}: others use the table without a pause")

    def _execute(self, connection: Connection, change: Change, until: float) -> None:
        try:
            for text in self.dialect.spelled(change, LOCK_WAIT, max(1.0, until - time.monotonic())):
                connection.exec_driver_sql(text)
        except BaseException:
            if not self.dialect.one_writer:
                with contextlib.suppress(*self.database.errors):
                    self.dialect.rollback(connection.connection.dbapi_connection)
            raise
