"""Places for tests on a server: a schema, or a table prefix where there are no schemas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect, make_url, select, text
from sqlalchemy.exc import OperationalError

from kombu_depqueue.schema import SCHEMA_VERSION, Tables, tables
from kombu_depqueue.testing.servers import DRIVERS
from kombu_depqueue.versions import FACTS, LIBRARIES, VERSION, libraries

__all__ = ["Place", "admin_engine", "drop_tables", "empty_tables", "place_of", "prefixed"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one test lives. `url` is for a JobQueue, `engine_url` for SQLAlchemy."""

    url: str
    engine_url: str
    schema: str | None = None
    prefix: str = ""


def admin_engine(url: str) -> Engine:
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


@contextmanager
def place_of(admin: Engine, name: str) -> Iterator[Place]:
    """A schema, or a table prefix, on a server; removed afterwards."""
    if admin.dialect.name == "postgresql":
        url = admin.url
        yield Place(_text(url.update_query_dict({"schema": name})), _text(url), schema=name)
        _drop_schema(admin, name)
        return
    yield prefixed(admin, name)
    drop_tables(admin, name)


def prefixed(admin: Engine, name: str) -> Place:
    """A table prefix on a server."""
    prefix = f"{name}_"
    return Place(_text(admin.url.update_query_dict({"table_prefix": prefix})), _text(admin.url), prefix=prefix)


def drop_tables(admin: Engine, name: str) -> None:
    """Drop whatever has that prefix."""
    with admin.connect() as connection:
        _drop(connection, _names(connection, f"{name}_"))


def empty_tables(admin: Engine, name: str) -> None:
    """On MariaDB and MySQL: leave our tables as they were made, but for their counters; drop what else is there.

    LOCK TABLES waits for the last commit of a process that was killed: what it wrote must go, too.
    """
    ours = tables("mysql", None, f"{name}_")
    names = {table.name for table in ours.metadata.sorted_tables}
    with admin.connect() as connection:
        found = _names(connection, f"{name}_")
        if names <= found and _facts(connection, ours) == _MADE:
            _empty(connection, ours)
            found -= names
        _drop(connection, found)


def _empty(connection: Connection, ours: Tables) -> None:
    all_of_them = ours.metadata.sorted_tables
    connection.execute(text("SET autocommit = 0"))
    try:
        connection.execute(text(f"LOCK TABLES {', '.join(f'{table.name} WRITE' for table in all_of_them)}"))
        for table in all_of_them:
            kept = [table.c.key.not_in(_MADE)] if table is ours.meta else []
            connection.execute(table.delete().where(*kept))
        connection.execute(text("COMMIT"))  # one sync for all
    finally:
        connection.execute(text("UNLOCK TABLES"))
        connection.execute(text("SET autocommit = 1"))


_MADE = {VERSION: str(SCHEMA_VERSION), LIBRARIES: libraries(SCHEMA_VERSION)}
"""The facts about tables that are whole."""


def _facts(connection: Connection, ours: Tables) -> dict[str, str]:
    meta = ours.meta.c
    rows = connection.execute(select(meta.key, meta.value).where(meta.key.in_(FACTS)))
    return {key: value for key, value in rows}


def _names(connection: Connection, prefix: str) -> set[str]:
    return {name for name in inspect(connection).get_table_names() if name.startswith(prefix)}


def _drop(connection: Connection, names: set[str]) -> None:
    """In one statement, where there is one for that: each DROP costs a sync on MySQL."""
    if names and connection.dialect.name in ("mysql", "mariadb"):
        connection.execute(text(f"DROP TABLE {', '.join(sorted(names))}"))
    elif names:
        found = MetaData()
        found.reflect(connection, only=sorted(names))
        found.drop_all(connection)


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
