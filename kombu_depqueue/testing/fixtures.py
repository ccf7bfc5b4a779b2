"""The pytest fixtures: load them with `-p kombu_depqueue.testing.fixtures`.

Each test that uses `database_url`, `make_queue` or `queue` runs once per
database: SQLite always, the others where a server is found (see `servers`).
Each test has a place of its own: a SQLite file, a PostgreSQL schema, or a
table prefix elsewhere. On MariaDB and MySQL, where making tables syncs the disk
again and again, a process has one prefix for all its tests, and the tables are
emptied between them; a test marked `bare` begins without tables everywhere.

    --databases sqlite,postgresql   only these
    DEPQUEUE_TEST_POSTGRESQL=URL    that server
    DEPQUEUE_TEST_MYSQL=URL         that server
    DEPQUEUE_TEST_URL=URL           one more database, whatever SQLAlchemy knows
    CI=true                         a missing server that is named here, or that
                                    could be started, is a failure, not a skip
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.helpers import ChildProcess
from kombu_depqueue.testing.kombu_door import KombuDoor
from kombu_depqueue.testing.places import Place, admin_engine, drop_tables, empty_tables, place_of, prefixed
from kombu_depqueue.testing.servers import SERVERS, ServerMissing
from kombu_depqueue.testing.sessions import Sessions, sessions_of

__all__ = [
    "Database",
    "MakeQueue",
    "Place",
    "RunProcess",
    "business",
    "database",
    "database_url",
    "engine",
    "make_queue",
    "nothing_left_open",
    "place",
    "place_of",
    "queue",
    "run_process",
    "sessions",
]

BRIEFLY = ("mysql",)
"""Databases spared the tests marked `slow` or `variant`, unless `--databases` names them: what those add is about load
and Celery's settings, is seen on two databases already, and would take as long as all the rest. With `--full`, where
there is such an option, only the variants are spared."""

DOORS = {"native": JobQueue, "kombu": KombuDoor}

MakeQueue = Callable[..., JobQueue]
RunProcess = Callable[..., ChildProcess]


@dataclass(frozen=True, slots=True)
class Database:
    """A database to test on; `admin` is None where every test has a file of its own."""

    name: str
    admin: Engine | None = None
    place: str = ""
    """The schema (or table prefix) of this process: the same for each test, so that compiled SQL is found again."""

    @property
    def is_mysql(self) -> bool:
        """Whether it is MariaDB or MySQL."""
        return self.admin is not None and self.admin.dialect.name in ("mysql", "mariadb")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("depqueue", "kombu-depqueue")
    group.addoption(
        "--databases",
        metavar="NAMES",
        help=f"databases to test on, with commas between: sqlite, {', '.join(SERVERS)} "
        "(default: all; url = the one in DEPQUEUE_TEST_URL)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "variant: another test in another setting, as another pool of Celery")
    config.addinivalue_line("markers", "bare: begins without tables, or spoils them")
    config.addinivalue_line("markers", "native: about what Kombu has no word for; not run through its door")
    unknown = set(_database_names(config)) - {"sqlite", *SERVERS}
    if unknown:
        raise pytest.UsageError(f"--databases: unknown: {', '.join(sorted(unknown))}")


def _database_names(config: pytest.Config) -> list[str]:
    if given := config.getoption("--databases"):
        return [name.strip() for name in given.split(",") if name.strip()]
    return ["sqlite", *(name for name in SERVERS if name != "url" or os.environ.get("DEPQUEUE_TEST_URL"))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_queue" in metafunc.fixturenames and ".conformance." in metafunc.module.__name__:
        native = metafunc.definition.get_closest_marker("native")
        metafunc.parametrize("door", ["native"] if native else DOORS, indirect=True)
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", _database_names(metafunc.config), indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have one process of xdist run the tests with many threads: with 60 connections each, two exhaust a server."""
    for item in items:
        if item.path.name in ("test_threads_and_forks.py", "test_dependency_races.py"):
            item.add_marker(pytest.mark.xdist_group("threads"))
    marks = ("variant",) if getattr(config.option, "full", False) else ("slow", "variant")
    if spared := [] if config.getoption("--databases") else [item for item in items if _is_spared(item, marks)]:
        config.hook.pytest_deselected(items=spared)
        items[:] = [item for item in items if item not in spared]


def _is_spared(item: pytest.Item, marks: tuple[str, ...]) -> bool:
    given = getattr(getattr(item, "callspec", None), "params", {})
    return given.get("database") in BRIEFLY and any(item.get_closest_marker(mark) for mark in marks)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """A queue that a test leaves open would keep up the tables of later tests, by its own options."""
    before = _keepers()
    yield
    deadline = time.monotonic() + 5
    while (left := _keepers() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"{len(left)} JobQueues or connections of this module's tests were left open"


def _keepers() -> set[threading.Thread]:
    return {t for t in threading.enumerate() if t.name in ("depqueue-keeper", "depqueue-fetch")}


@pytest.fixture(scope="session")
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """The database of this run of the test: found or started once per process."""
    if request.param == "sqlite":
        yield Database("sqlite")
        return
    with ExitStack() as stack:
        try:
            url = stack.enter_context(SERVERS[request.param]())
        except ServerMissing as missing:
            if missing.expected and os.environ.get("CI") == "true":
                pytest.fail(f"no {request.param} in CI: {missing}", pytrace=False)
            pytest.skip(f"no {request.param}: {missing}")
        admin = admin_engine(url)
        stack.callback(admin.dispose)
        found = Database(request.param, admin, f"t_{uuid4().hex[:16]}")
        if found.is_mysql:
            stack.callback(drop_tables, admin, found.place)
        yield found


@pytest.fixture
def place(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    """An empty, isolated place for this test, removed or emptied afterwards."""
    bare = request.node.get_closest_marker("bare") is not None
    if database.admin is None:
        file = f"sqlite:///{tmp_path / 'jobs.db'}"
        yield Place(file, file)
    elif database.is_mysql and not bare:
        yield prefixed(database.admin, database.place)
        empty_tables(database.admin, database.place)
    else:
        # Beside the tables that stay, if there are any.
        with place_of(database.admin, f"{database.place}b" if bare else database.place) as made:
            yield made


@pytest.fixture
def database_url(place: Place) -> str:
    """The URL for `JobQueue(...)`: good in other processes too."""
    return place.url


@pytest.fixture
def door(request: pytest.FixtureRequest) -> type[JobQueue]:
    """Through which door jobs go in and come out; the conformance suite has each test go through both."""
    return DOORS[getattr(request, "param", "native")]


@pytest.fixture
def make_queue(database_url: str, door: type[JobQueue]) -> Iterator[MakeQueue]:
    """Make JobQueues on this test's database: `make_queue(lease=0.5)`. All are closed at the end."""
    with ExitStack() as opened:

        def make(**options: Any) -> JobQueue:
            options.setdefault("create", True)
            options.setdefault("poll_interval", 0.1)
            job_queue = door(options.pop("url", database_url), **options)
            opened.callback(job_queue.close)
            return job_queue

        yield make


@pytest.fixture
def queue(make_queue: MakeQueue) -> JobQueue:
    """A JobQueue with the default options."""
    return make_queue()


@pytest.fixture
def engine(place: Place) -> Iterator[Engine]:
    """An application's own SQLAlchemy engine on this test's database."""
    # MySQL's own default sees nothing that is committed after a transaction has begun; the queue refuses that.
    options = {"isolation_level": "READ COMMITTED"} if place.engine_url.startswith("mysql") else {}
    mine = create_engine(place.engine_url, poolclass=NullPool, **options)
    yield mine
    mine.dispose()


@pytest.fixture
def sessions(database: Database, place: Place) -> Iterator[Sessions]:
    """Connections that can be cut at the server's side; there are none on SQLite."""
    assert database.admin is not None
    with sessions_of(database.admin, place) as made:
        yield made


@pytest.fixture
def business(engine: Engine, place: Place) -> Table:
    """An application's own table (id, name) beside the jobs."""
    metadata = MetaData(schema=place.schema)
    table = Table(
        f"{place.prefix}business",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("name", String(50), nullable=False),
    )
    if place.schema:
        # Of two creators of one schema at the same moment one fails, IF NOT EXISTS or not: a queue's thread may be one.
        with suppress(IntegrityError), engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {place.schema}"))
    with engine.begin() as connection:
        metadata.create_all(connection)
    return table


@pytest.fixture
def run_process() -> Iterator[RunProcess]:
    """Run functions or code in child processes (see `ChildProcess`); all are ended with the test."""
    with ExitStack() as running:

        def run(program: Callable[..., object] | str, *args: Any) -> ChildProcess:
            child = ChildProcess(program, *args)
            running.callback(child.close)
            return child

        yield run
