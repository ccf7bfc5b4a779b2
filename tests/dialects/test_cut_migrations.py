"""The n-th statement of a migration fails: as in `test_cuts`, but it is told, and the tables stay of use.

Whatever fails, the library works with the tables as they are. Running it again leads to the version wanted,
and running it the other way back to what was.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, inspect
from sweep.breaking import BREAKERS, Breaker

from kombu_depqueue import JobQueue, StorageError
from kombu_depqueue.migrating import Migrator
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.testing.fixtures import Database, Place
from kombu_depqueue.testing.helpers import drain
from kombu_depqueue.versions import Facts

pytestmark = [pytest.mark.bare, pytest.mark.slow, pytest.mark.timeout(900)]

DRAWN = 4
"""So many places, where not all are wanted."""
OLDER, NEWER = SCHEMA_VERSION - 1, SCHEMA_VERSION


class Migrations:
    """Migrates, with each statement broken in turn, and keeps what went wrong."""

    def __init__(self, url: str, place: Place, engine: Engine, breaker: Breaker) -> None:
        self.url, self.place, self.engine, self.breaker = url, place, engine, breaker
        self.migrator = Migrator(url)
        breaker.attach_engine(self.migrator.dialect.engine)
        self.states = {}
        for version in (NEWER, OLDER, NEWER):
            self.run(version)
            self.states[version] = self.state()
        self.problems: list[str] = []

    def run(self, to: int) -> None:
        """Migrate, with new connections: the number of statements must not depend on those before."""
        self.migrator.database._connections.flush()
        self.migrator.dialect.engine.dispose()
        self.migrator.run(to)

    def state(self) -> tuple[Any, Facts]:
        """The columns and indexes of all tables, and what they say of themselves."""
        with self.engine.connect() as connection:
            look, schema = inspect(connection), self.place.schema
            names = [n for n in look.get_table_names(schema) if n.startswith(self.place.prefix)]
            columns = {n: sorted(str(c["name"]) for c in look.get_columns(n, schema)) for n in names}
            indexes = {n: sorted(str(i["name"]) for i in look.get_indexes(n, schema)) for n in names}
        return (columns, indexes), self.migrator.facts()

    def statements(self, source: int, to: int) -> int:
        """How many statements it takes."""
        self.run(source)
        self.breaker.arm()
        self.run(to)
        return self.breaker.count

    def broken(self, source: int, to: int, at: int, fault: str) -> None:
        """Break one statement, use the tables, and go on, or back."""
        for last in (to, source):
            self.run(source)
            self.breaker.arm(at, fault)
            try:
                self.run(to)
            except StorageError as error:
                told = str(error)
            else:
                told = ""
            what, self.breaker.at = self.breaker.broken, None
            try:
                assert what, "it took fewer statements than the first time"
                assert told or fault not in self.breaker.reported, "nobody was told"
                assert told or self.state() == self.states[to], "it is not done, and nobody was told"
                with JobQueue(self.url, create=False) as queue:
                    job_id = queue.enqueue("t")
                    assert drain(queue, ["t"]) == [job_id]
                self.run(last)
                assert self.state() == self.states[last]
            except Exception as error:
                place = f"{source} to {to} and then {last}: {fault}, statement {at} ({what[:60]})"
                self.problems.append(f"{place}: {type(error).__name__}: {error}")
                self.run(source)


@pytest.fixture
def migrations(
    queue: JobQueue, database: Database, place: Place, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Migrations]:
    """Of this test's tables; it waits for nobody."""
    monkeypatch.setattr("kombu_depqueue.migrating.random", SimpleNamespace(uniform=lambda least, most: 0.0))
    breaker = BREAKERS[database.name](engine)
    made = Migrations(place.url, place, engine, breaker)
    yield made
    made.migrator.close()
    breaker.close()


@pytest.mark.parametrize(("source", "to"), [(OLDER, NEWER), (NEWER, OLDER)], ids=["up", "down"])
def test_a_migration_survives_whichever_statement_fails(
    source: int,
    to: int,
    migrations: Migrations,
    full: bool,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    statements = migrations.statements(source, to)
    places = [(at, fault) for at in range(1, statements + 1) for fault in migrations.breaker.faults]
    if not full:
        places = random.Random(f"{seed} {source}").sample(places, DRAWN)
    for at, fault in places:
        migrations.broken(source, to, at, fault)
    record_property("figure", f"{len(places):,} places")
    assert not migrations.problems, f"{len(migrations.problems)} problems\n" + "\n".join(migrations.problems)
