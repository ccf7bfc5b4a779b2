"""The server's side of a test's connections: to see them, and to cut them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import uuid4

from sqlalchemy import URL, Engine, make_url, text
from sqlalchemy.exc import OperationalError

from kombu_depqueue.testing.places import Place

__all__ = ["Sessions", "sessions_of"]


class Sessions:
    """All connections that are made with `url`, and no others."""

    def __init__(self, admin: Engine, name: str, url: URL) -> None:
        self.url = url
        self.killed = 0
        self._admin = admin
        self.name = name
        self._postgresql = admin.dialect.name == "postgresql"

    def pids(self) -> list[int]:
        """What the server calls them."""
        query = "SELECT pid FROM pg_stat_activity WHERE application_name = :name"
        if not self._postgresql:
            query = "SELECT id FROM information_schema.processlist WHERE db = :name"
        with self._admin.connect() as admin:
            return list(admin.execute(text(query), {"name": self.name}).scalars())

    def kill_all(self) -> int:
        """End all of them; return how many there were."""
        return self.kill(self.pids())

    def kill(self, pids: Sequence[int]) -> int:
        """End these; return how many."""
        kill = text("SELECT pg_terminate_backend(:pid)" if self._postgresql else "KILL :pid")
        with self._admin.connect() as admin:
            for pid in pids:
                with suppress(OperationalError):  # it has ended by itself
                    admin.execute(kill, {"pid": pid})
        self.killed += len(pids)
        return len(pids)


@contextmanager
def sessions_of(admin: Engine, place: Place) -> Iterator[Sessions]:
    """Sessions that can be told apart: by their application name, or, where they have none, by a database of their own.

    That database is removed afterwards.
    """
    name = f"depqueue_test_{uuid4().hex[:12]}"
    url = make_url(place.url)
    if admin.dialect.name == "postgresql":
        yield Sessions(admin, name, url.update_query_dict({"application_name": name}))
        return
    _run(admin, f"CREATE DATABASE {name}")
    try:
        yield Sessions(admin, name, url.set(database=name))
    finally:
        _run(admin, f"DROP DATABASE {name}")


def _run(admin: Engine, statement: str) -> None:
    with admin.connect() as connection:
        connection.execute(text(statement))
