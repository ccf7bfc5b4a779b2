"""The floor: rows inserted and deleted by their primary key, with nothing that makes a queue of a table."""

from __future__ import annotations

import sqlite3
from itertools import count as counter
from typing import Any

from peers.base import TEXT, plain_url, versions
from sqlalchemy import make_url

BODY = TEXT.encode()


class Peer:
    """Two statements of the driver: one transaction each."""

    batches = True

    def __init__(self, url: str, create: bool) -> None:
        self._postgresql = not url.startswith("sqlite")
        self._connection: Any
        if self._postgresql:
            import psycopg

            self.settings = versions("psycopg")
            self._connection = psycopg.connect(plain_url(url), autocommit=True, prepare_threshold=0)
        else:
            self.settings = f"SQLite {sqlite3.sqlite_version}, synchronous=FULL"
            self._connection = sqlite3.connect(make_url(url).database, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        self._mark = "%s" if self._postgresql else "?"
        if create:
            body = "bytea" if self._postgresql else "BLOB"
            self._run(f"CREATE TABLE bare (seq bigint PRIMARY KEY, body {body} NOT NULL)")
        self._put, self._taken = counter(1), 0

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        return self._connection.execute(statement.replace("?", self._mark), values)

    def enqueue(self, count: int) -> None:
        for _ in range(count):
            self._run("INSERT INTO bare VALUES (?, ?)", (next(self._put), BODY))

    def enqueue_many(self, count: int, batch: int) -> None:
        statement = "INSERT INTO bare VALUES " + ", ".join(["(?, ?)"] * batch)
        for _ in range(count // batch):
            self._run(statement, tuple(v for _ in range(batch) for v in (next(self._put), BODY)))

    def take(self, batch: int) -> int:
        first = self._taken + 1
        self._taken += batch
        statement = "DELETE FROM bare WHERE seq BETWEEN ? AND ? RETURNING seq, body"
        return len(self._run(statement, (first, self._taken)).fetchall())

    def drain(self, count: int, batch: int) -> None:
        for _ in range(count // batch):
            self.take(batch)

    def close(self) -> None:
        self._connection.close()
