"""Applications with migrations of their own: real Alembic, and our tables in their metadata."""

from __future__ import annotations

from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Engine, Index, Integer, MetaData, Table, text
from sqlalchemy.exc import NoSuchTableError

import kombu_depqueue
from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fixtures import Place
from kombu_depqueue.testing.helpers import drain, wait_until


def proposals(engine: Engine, target: Any, schema: str | None = None, **options: Any) -> set[str]:
    """What autogenerate would do about the tables of this test."""
    with engine.connect() as connection:
        names = {None: [None], schema: [None, schema]}[schema]
        options |= {
            "include_schemas": schema is not None,
            "include_name": lambda n, kind, _: kind != "schema" or n in names,
        }
        context = MigrationContext.configure(connection, opts=options)
        found = wait_until(lambda: _compared(context, target))
    flat = [one for op in found if op for one in (op if isinstance(op, list) else [op])]
    return {f"{op[0]} {getattr(op[1], 'name', op[1])}" for op in flat}


def _compared(context: MigrationContext, target: Any) -> list[Any] | None:
    try:
        return [*compare_metadata(context, target), ()]
    except NoSuchTableError:  # of another test in the same database, that has just ended
        return None


@pytest.fixture
def orders(engine: Engine, place: Place, queue: JobQueue) -> str:
    """A table of the application that is to be dropped, beside ours."""
    queue.queues()
    own = MetaData(schema=place.schema)
    name = f"{place.prefix}ended_body_of_orders"
    table = Table(name, own, Column("id", Integer, primary_key=True), Column("total", Integer))
    Index(f"{place.prefix}orders_total", table.c.total)
    own.create_all(engine)
    return name


def test_autogenerate_drops_the_applications_tables_and_never_ours(
    engine: Engine, place: Place, queue: JobQueue, orders: str
) -> None:
    mine = {t.name for t in queue._database.dialect.tables.metadata.tables.values()}
    without = {"autogenerate_plugins": ["alembic.autogenerate.*", "~alembic.autogenerate.kombu_depqueue"]}
    dropped = proposals(engine, MetaData(), place.schema, **without)
    assert {f"remove_table {name}" for name in mine} <= dropped  # that is what would happen
    found = {one for one in proposals(engine, MetaData(), place.schema) if place.schema or place.prefix in one}
    assert {f"remove_table {orders}", f"remove_index {place.prefix}orders_total"} <= found
    assert not {one for one in found if any(one.endswith((f" {n}", f" {n}_keep")) for n in mine)}


def test_nor_those_with_another_prefix(engine: Engine, place: Place, queue: JobQueue) -> None:
    queue.queues()
    prefix = f"{place.prefix}app_"[-30:]
    with JobQueue(place.url, table_prefix=prefix, create=True) as other:
        other.enqueue("t")
        tables = {t.name for t in other._database.dialect.tables.metadata.tables.values()}
    found = proposals(engine, MetaData(), place.schema)
    assert not found & {f"remove_table {name}" for name in tables}


def test_tables_that_are_not_all_there_are_not_ours(engine: Engine, place: Place, queue: JobQueue) -> None:
    queue.queues()
    own = MetaData(schema=place.schema)
    for name in ("shop_job", "shop_meta", "shop_queue", "shop_ended_body"):
        Table(f"{place.prefix}{name}", own, Column("id", Integer, primary_key=True))
    own.create_all(engine)
    found = proposals(engine, MetaData(), place.schema)
    assert {f"remove_table {t.name}" for t in own.tables.values()} <= found


def test_our_tables_in_the_applications_metadata_are_made_with_its_own(
    engine: Engine, place: Place, database_url: str
) -> None:
    if engine.dialect.name == "mysql":
        pytest.skip("there create_tables gives the tables their collation")
    tables = kombu_depqueue.metadata(database_url)
    with engine.begin() as connection:
        if place.schema:
            connection.execute(text(f"CREATE SCHEMA {place.schema}"))
        tables.create_all(connection)
    with JobQueue(database_url, create=False) as queue:
        job_id = queue.enqueue("t")
        assert drain(queue, ["t"]) == [job_id]
    ours = {t.name for t in tables.tables.values()}
    found = proposals(engine, tables, place.schema)
    assert not {one for one in found if one.split()[1] in ours}, found
