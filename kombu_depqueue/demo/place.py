"""Where the jobs of one run are stored, and how that is cleared away."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, MetaData, create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kombu_depqueue.settings import parse, shown_url

__all__ = ["Place", "open_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A temporary directory, and a URL that leads to tables of our own. `str()` of it shows no password."""

    directory: Path
    url: str
    shown: str

    def __str__(self) -> str:
        return self.shown


@contextmanager
def open_place(database: str | None, *, keep: bool) -> Iterator[Place]:
    """Make a place for one run: a SQLite file, or a schema (a table prefix) of its own in `database`.

    At the end it is removed, unless `keep`.
    """
    base = None if database is None else parse(database).url
    name = f"demo_{secrets.token_hex(4)}"
    directory = Path(tempfile.mkdtemp(prefix="depqueue-demo-"))
    try:
        if base is None:
            file = directory / "jobs.db"
            yield Place(directory, f"sqlite:///{file}", f"SQLite {file}")
        else:
            kind = "schema" if base.get_backend_name() == "postgresql" else "table_prefix"
            mine = name if kind == "schema" else f"{name}_"
            url = base.update_query_dict({kind: mine})
            shown = f"{shown_url(base)}, {kind} {mine}"
            yield Place(directory, url.render_as_string(hide_password=False), shown)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
            if base is not None:
                _drop(base, name)


def _drop(base: URL, name: str) -> None:
    """Remove our schema, or our tables where there are no schemas."""
    try:
        engine = create_engine(base, poolclass=NullPool)
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))
                return
            ours = [table for table in inspect(connection).get_table_names() if table.startswith(f"{name}_")]
            tables = MetaData()
            tables.reflect(connection, only=ours)
            tables.drop_all(connection)
    except (SQLAlchemyError, ImportError) as error:
        # Perhaps why the run failed, too: that message must not be lost.
        print(f"could not remove {name}: {str(error).splitlines()[0]}", file=sys.stderr)
