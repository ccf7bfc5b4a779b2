"""One module per kind of database, with only what differs."""

from __future__ import annotations

from kombu_depqueue.dialects.base import Dialect, Failure, Tx
from kombu_depqueue.dialects.inspection import Finding, Severity, TableSize
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.settings import Settings

__all__ = ["Dialect", "Failure", "Finding", "Severity", "TableSize", "Tx", "dialect_for"]


def dialect_for(settings: Settings, engine: object = None) -> Dialect:
    """The dialect for a URL; the module of another database, and its driver, is never imported."""
    backend = settings.url.get_backend_name()
    if backend == "sqlite":
        from kombu_depqueue.dialects.sqlite import SQLite

        return SQLite(settings, engine)
    if backend == "postgresql":
        from kombu_depqueue.dialects.postgresql import PostgreSQL

        return PostgreSQL(settings, engine)
    if backend in ("mysql", "mariadb"):
        from kombu_depqueue.dialects.mysql import MySQL

        return MySQL(settings, engine)
    raise InvalidJob("url", f"{backend!r} databases are not supported (sqlite, postgresql, mysql and mariadb are)")
