"""Fixtures for Celery with everything on one database: broker, dependencies and results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kombu import Connection

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fixtures import Database, place_of
from kombu_depqueue_celery.broker import close_queues

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[2] / "tests" / "transport")]  # in the workers too

from adapter_helpers import plain_url
from transport_app import make_app as make_transport_app
from transport_helpers import MakeConnection, broker_of
from transport_workers import Bench

POOL_ARGS = {
    "solo": (),
    "threads": ("-c", "4"),
    "prefork": ("-c", "2"),
    "gevent": ("-c", "20"),
}


@pytest.hookimpl(tryfirst=True)  # xdist reads the marks in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share a worker in one process of xdist."""
    for item in items:
        given = getattr(getattr(item, "callspec", None), "params", {})
        if "pool" in given and item.path.parent == HERE:
            item.add_marker(pytest.mark.xdist_group(f"adapter-{given.get('database')}-{given['pool']}"))


def make_app(*args: Any, **kwargs: Any) -> Any:
    """The application in the tests' own process."""
    from adapter_app import add_tasks

    return add_tasks(make_transport_app(*args, **kwargs))


class OneBench(Bench):
    """A broker whose database keeps the results too."""

    def __init__(self, url: str, folder: Path, backend: str | None = None) -> None:
        super().__init__(url, folder, make_app, backend or broker_of(url), module="adapter_app", path=HERE)
        self._native: JobQueue | None = None

    def close(self) -> None:
        super().close()
        close_queues()

    @property
    def native_queue(self) -> JobQueue:
        """The native API on the same database, kept open."""
        if self._native is None:
            self._native = self._stack.enter_context(self.native())
        return self._native

    def environment(self, *args: Any, **kwargs: Any) -> dict[str, str]:
        return {**super().environment(*args, **kwargs), "DQ_DATABASE": plain_url(self.url)}

    def conf(self, conf: Any = None) -> dict[str, Any]:
        return super().conf({"result_extended": True, **(conf or {})})


@pytest.fixture
def bench(database_url: str, tmp_path: Path) -> Iterator[Bench]:
    """A broker of this test's own, with workers and producers."""
    made = OneBench(database_url, tmp_path)
    yield made
    made.close()


@pytest.fixture
def make_one(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """Make a bench with another result backend."""
    with ExitStack() as opened:

        def make(backend: str) -> Bench:
            made = OneBench(database_url, tmp_path, backend)
            opened.callback(made.close)
            return made

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
        yield from _with_worker(OneBench(f"sqlite:///{folder / 'jobs.db'}", folder), pool)
        return
    with place_of(database.admin, f"t_{uuid4().hex[:16]}") as place:
        yield from _with_worker(OneBench(place.url, folder), pool)


def _with_worker(bench: Bench, pool: str) -> Iterator[Bench]:
    try:
        # Alone it would wait for a second for others.
        options = ("-E", "--without-mingle")
        bench.shared = bench.worker(*POOL_ARGS[pool], *options, pool=pool, name=pool).ready()
        yield bench
    finally:
        bench.close()
