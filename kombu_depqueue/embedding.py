"""For applications with migrations of their own: our tables in their metadata, and Alembic kept from dropping them.

Alembic (1.18 or newer) finds this module by its entry point: tables that are in the database and not in the
application's metadata it would take for tables that are to be dropped.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, MetaData, Table, event, insert

from kombu_depqueue.dialects import dialect_for
from kombu_depqueue.schema import SCHEMA_VERSION, Tables
from kombu_depqueue.settings import parse
from kombu_depqueue.versions import LIBRARIES, VERSION, libraries

__all__ = ["metadata", "setup"]


def metadata(url: str | URL, **options: Any) -> MetaData:
    """The tables that a JobQueue with this URL and options uses, as SQLAlchemy's MetaData; connects to nothing.

    `create_all` on it creates them, and notes their schema version; the PostgreSQL schema must be there.
    Raises InvalidJob for a URL or an option that is none.
    """
    settings = parse(url, options)
    dialect = dialect_for(settings)
    dialect.engine.dispose()
    tables = Tables(dialect.name, settings.schema, settings.table_prefix)  # not the shared ones: it is the caller's
    event.listen(tables.meta, "after_create", _note_version)
    return tables.metadata


def _note_version(meta: Table, connection: Any, **how: Any) -> None:
    facts = {LIBRARIES: libraries(SCHEMA_VERSION), VERSION: str(SCHEMA_VERSION)}
    connection.execute(insert(meta), [{"key": key, "value": value} for key, value in facts.items()])


def setup(plugin: Any) -> None:
    """Alembic's way in: take our tables out of what a comparison proposes to drop."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(_keep_tables, "autogenerate", priority=DispatchPriority.LAST)


def _keep_tables(context: Any, found: Any) -> Any:
    from alembic.operations.ops import DropTableOp
    from alembic.util import PriorityDispatchResult

    dropped = {(op.schema, op.table_name) for op in found.ops if isinstance(op, DropTableOp)}
    ours = {one for schema in {schema for schema, _ in dropped} for one in _ours(context.inspector, schema)} & dropped
    # Also what is to become of their indexes; tables that the application's metadata has are compared as ever.
    found.ops[:] = [
        op for op in found.ops if (getattr(op, "schema", None), getattr(op, "table_name", None)) not in ours
    ]
    return PriorityDispatchResult.CONTINUE


def _ours(look: Any, schema: str | None) -> set[tuple[str | None, str]]:
    """Our tables in a schema, under whatever prefixes: known by being there all together."""
    there = set(look.get_table_names(schema=schema))
    names = set(Tables("", None, "").metadata.tables)
    prefixes = {name.removesuffix("ended_body") for name in there if name.endswith("ended_body")}
    return {(schema, p + name) for p in prefixes if {p + name for name in names} <= there for name in names}
