"""The pytest fixtures: load them with `-p kombu_depqueue.testing.fixtures`.

Each test that uses `database_url`, `make_queue` or `queue` runs once per
database: SQLite always, the others where a server is found (see `servers`).
Each test has a place of its own: a SQLite file, a PostgreSQL schema, or a
table prefix elsewhere.

    --databases sqlite,postgresql   only these
    DEPQUEUE_TEST_POSTGRESQL=URL    that server
    DEPQUEUE_TEST_MYSQL=URL         also on that MariaDB or MySQL
    DEPQUEUE_TEST_URL=URL           one more database, whatever SQLAlchemy knows
    CI=true                         a missing server is a failure, not a skip
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    inspect,
    make_url,
    text,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.helpers import ChildProcess
from kombu_depqueue.testing.kombu_door import KombuDoor
from kombu_depqueue.testing.servers import DRIVERS, SERVERS, ServerMissing

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
]

ON_REQUEST = {"mysql": "DEPQUEUE_TEST_MYSQL", "url": "DEPQUEUE_TEST_URL"}
"""Databases that are tested on where this is set, or `--databases` names them."""

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where one test lives. `url` is for a JobQueue, `engine_url` for SQLAlchemy."""

    url: str
    engine_url: str
    schema: str | None = None
    prefix: str = ""


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
    config.addinivalue_line("markers", "native: about what Kombu has no word for; not run through its door")
    unknown = set(_database_names(config)) - {"sqlite", *SERVERS}
    if unknown:
        raise pytest.UsageError(f"--databases: unknown: {', '.join(sorted(unknown))}")


def _database_names(config: pytest.Config) -> list[str]:
    if given := config.getoption("--databases"):
        return [name.strip() for name in given.split(",") if name.strip()]
    return ["sqlite", *(n for n in SERVERS if n not in ON_REQUEST or os.environ.get(ON_REQUEST[n]))]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_queue" in metafunc.fixturenames and ".conformance." in metafunc.module.__name__:
        native = metafunc.definition.get_closest_marker("native")
        metafunc.parametrize("door", ["native"] if native else DOORS, indirect=True)
    if "database" in metafunc.fixturenames:
        metafunc.parametrize("database", _database_names(metafunc.config), indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have one process of xdist run the tests with many threads: with 60 connections each, two exhaust a server."""
    for item in items:
        if item.path.name in ("test_threads_and_forks.py", "test_dependency_races.py"):
            item.add_marker(pytest.mark.xdist_group("threads"))


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
            if os.environ.get("CI") == "true":
                pytest.fail(f"no {request.param} in CI: {missing}", pytrace=False)
            pytest.skip(f"no {request.param}: {missing}")
        admin = _admin_engine(url)
        stack.callback(admin.dispose)
        yield Database(request.param, admin, f"t_{uuid4().hex[:16]}")


def _admin_engine(url: str) -> Engine:
    """Make the engine that clears up: one connection for all tests of this process."""
    parsed = make_url(url)
    parsed = parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))
    arguments: dict[str, object] = {}
    if parsed.get_backend_name() == "postgresql":
        # A test that left a transaction open must fail by itself, not hang all; no notice per dropped table.
        arguments["options"] = "-c lock_timeout=20s -c synchronous_commit=off -c client_min_messages=warning"
    elif parsed.get_backend_name() == "mysql":
        arguments["init_command"] = "SET SESSION lock_wait_timeout = 20"
    return create_engine(parsed, isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=0, connect_args=arguments)


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Iterator[Place]:
    """An empty, isolated place for this test, removed afterwards."""
    if database.admin is None:
        file = f"sqlite:///{tmp_path / 'jobs.db'}"
        yield Place(file, file)
        return
    with place_of(database.admin, database.place) as made:
        yield made


@contextmanager
def place_of(admin: Engine, name: str) -> Iterator[Place]:
    """A schema, or a table prefix, on a server; removed afterwards."""
    url = admin.url
    if admin.dialect.name == "postgresql":
        yield Place(_text(url.update_query_dict({"schema": name})), _text(url), schema=name)
        _drop_schema(admin, name)
        return
    prefix = f"{name}_"
    yield Place(_text(url.update_query_dict({"table_prefix": prefix})), _text(url), prefix=prefix)
    _drop_tables(admin, prefix)


def _drop_tables(admin: Engine, prefix: str) -> None:
    """In one statement, where there is one for that: each DROP costs a sync on MySQL."""
    with admin.connect() as connection:
        leftover = [t for t in inspect(connection).get_table_names() if t.startswith(prefix)]
        if leftover and admin.dialect.name in ("mysql", "mariadb"):
            connection.execute(text(f"DROP TABLE {', '.join(leftover)}"))
        elif leftover:
            tables = MetaData()
            tables.reflect(connection, only=leftover)
            tables.drop_all(connection)


def _drop_schema(admin: Engine, name: str) -> None:
    for tries in range(5):
        try:
            with admin.connect() as connection:
                connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
            return
        except OperationalError:  # a deadlock: the server still works on what a process had sent that is gone
            if tries == 4:
                raise


def _text(url: Any) -> str:
    return str(url.render_as_string(hide_password=False))


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
