"""Fixtures for the transport: a broker of its own for each test, real Celery workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection

from kombu_depqueue.testing.fixtures import Database, place_of

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's own modules, in the workers too

from transport_app import make_app
from transport_helpers import MakeConnection, broker_of
from transport_workers import Bench


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a worker in one process of xdist."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if "pool" in given:
            item.add_marker(pytest.mark.xdist_group(f"celery-{given.get('database')}-{given['pool']}"))


@pytest.fixture
def broker_url(database_url: str) -> str:
    """The URL of this test's broker."""
    return broker_of(database_url)


@pytest.fixture
def connect(broker_url: str) -> Iterator[MakeConnection]:
    """Open connections to this test's broker; all are closed at the end."""
    with ExitStack() as opened:

        def make(url: str | None = None, **options: Any) -> Connection:
            connection = Connection(url or broker_url, **options)
            opened.callback(connection.release)
            return connection

        yield make


@pytest.fixture
def connections() -> Iterator[MakeConnection]:
    """Open connections to any broker; all are closed at the end."""
    with ExitStack() as opened:

        def make(url: str | Connection, **options: Any) -> Connection:
            connection = url.clone(**options) if isinstance(url, Connection) else Connection(url, **options)
            opened.callback(connection.release)
            return connection

        yield make


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A broker of this test's own, with workers and producers."""
    made = Bench(database_url, tmp_path, make_app)
    yield made
    made.close()


@pytest.fixture
def make_bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Make benches on any database; all are closed at the end."""
    with ExitStack() as opened:

        def make(url: str, **options: Any) -> Bench:
            made = Bench(url, tmp_path, make_app, **options)
            opened.callback(made.close)
            return made

        yield make


POOL_ARGS = {
    "solo": (),
    "threads": ("-c", "4"),
    "prefork": ("-c", "2"),
    "gevent": ("-c", "20"),
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(pool, marks=() if pool == "prefork" else pytest.mark.variant) for pool in POOL_ARGS],
)
def pool(request: pytest.FixtureRequest) -> str:
    """Each of Celery's pools."""
    return str(request.param)


@pytest.fixture(scope="module")
def pooled(database: Database, pool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A broker with a worker that the tests of a module share, one for each pool and database."""
    folder = tmp_path_factory.mktemp("bench")
    if database.admin is None:
        yield from _with_worker(Bench(f"sqlite:///{folder / 'jobs.db'}", folder, make_app), pool)
        return
    with place_of(database.admin, f"t_{uuid4().hex[:16]}") as place:
        yield from _with_worker(Bench(place.url, folder, make_app), pool)


def _with_worker(bench: Bench, pool: str) -> Iterator[Bench]:
    try:
        # Alone it would wait for a second for others.
        options = ("-E", "--without-mingle")
        bench.shared = bench.worker(*POOL_ARGS[pool], *options, pool=pool, name=pool).ready()
        yield bench
    finally:
        bench.close()
