"""A transaction that was begun long ago and still looks at the database as it was then: a report, a backup, a debugger.

What has been deleted since must be kept for it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from faults.base import Scene
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue.settings import parse
from kombu_depqueue.testing.places import admin_engine, place_of
from kombu_depqueue.testing.servers import SERVERS

__all__ = ["OldTransaction", "old_snapshot", "server"]

BEGIN = {
    "postgresql": ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class"),
    "mysql": ("START TRANSACTION WITH CONSISTENT SNAPSHOT", "SELECT 1"),
    "sqlite": ("BEGIN", "SELECT count(*) FROM sqlite_master"),
}


@contextmanager
def old_snapshot(url: str) -> Iterator[Connection]:
    """A connection in such a transaction, from now on; `url` may be that of a JobQueue."""
    plain = parse(url).url
    engine = create_engine(plain, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in BEGIN[plain.get_backend_name()]:
            connection.execute(text(statement))
        yield connection
        connection.execute(text("ROLLBACK"))


@dataclass
class OldTransaction:
    """One for a while."""

    url: str
    longest: float = 10.0
    name: str = "old transaction"

    def inject(self, chance: random.Random) -> None:
        with old_snapshot(self.url):
            time.sleep(chance.uniform(0.5, self.longest))


@contextmanager
def server(database: str) -> Iterator[Scene]:
    """A place on the server that all tests use ("postgresql", "mysql"), with old transactions beside it."""
    with ExitStack() as stack:
        admin = admin_engine(stack.enter_context(SERVERS[database]()))
        stack.callback(admin.dispose)
        place = stack.enter_context(place_of(admin, f"snapshot_{uuid4().hex[:12]}"))
        yield Scene(place.url, place.url, [OldTransaction(make_url(place.url).render_as_string(hide_password=False))])
