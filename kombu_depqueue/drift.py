"""How the tables in a database differ from those that this library would make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Index, Table, UniqueConstraint, inspect
from sqlalchemy import Dialect as SADialect
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from kombu_depqueue.changes import AddColumn, AddIndex
from kombu_depqueue.dialects import Finding, Severity
from kombu_depqueue.migrations import MIGRATIONS
from kombu_depqueue.schema import Tables

__all__ = ["drift"]

_SYNONYMS = {
    "BOOL": "TINYINT",
    "INT": "INTEGER",
    "DOUBLE PRECISION": "DOUBLE",
    **dict.fromkeys(("MEDIUMTEXT", "LONGTEXT"), "TEXT"),  # MySQL chooses by the size that was asked for
    **dict.fromkeys(("MEDIUMBLOB", "LONGBLOB"), "BLOB"),
}
_CURE = "Find out who changed it; in an empty place `depqueue init` makes tables to compare with."


def drift(connection: Connection, tables: Tables, version: int) -> Iterator[Finding]:
    """Each difference in tables, columns and indexes; what came after a schema version need not be there."""
    later = _later(tables, version)
    looking, schema = inspect(connection), tables.schema
    there = set(looking.get_table_names(schema=schema))
    for table in tables.metadata.sorted_tables:
        if table.name not in there:
            made: list[ExecutableDDLElement] = [CreateTable(table), *map(CreateIndex, table.indexes)]
            make = "; ".join(_statement(one, connection.dialect) for one in made)
            fails = "Whatever needs it fails."
            yield Finding("missing-table", Severity.ERROR, f"table {table.name} is missing", fails, make)
            continue
        columns = {str(c["name"]): c for c in looking.get_columns(table.name, schema=schema)}
        yield from _columns(table, columns, connection.dialect, later)
        key = looking.get_pk_constraint(table.name, schema=schema)["constrained_columns"]
        yield from _key(table, [str(name) for name in key])
        found = {str(i["name"]): i for i in looking.get_indexes(table.name, schema=schema)}
        unique = {str(u["name"]): u for u in looking.get_unique_constraints(table.name, schema=schema)}
        yield from _indexes(table, found, set(unique), later, connection.dialect)


def _later(tables: Tables, version: int) -> set[str]:
    """The columns ("table.column") and indexes that later migrations bring."""
    found = set()
    for migration in MIGRATIONS:
        for change in migration.upgrade(tables) if migration.version > version else ():
            if isinstance(change, AddColumn):
                found.add(f"{change.table.name}.{change.column.name}")
            elif isinstance(change, AddIndex):
                found.add(str(change.index.name))
    return found


def _statement(element: ExecutableDDLElement, dialect: SADialect) -> str:
    return " ".join(str(element.compile(dialect=dialect)).split())


def _columns(table: Table, found: dict[str, Any], dialect: SADialect, later: set[str]) -> Iterator[Finding]:
    for column in table.columns:
        name = f"{table.name}.{column.name}"
        one = found.pop(column.name, None)
        if one is None and name in later:
            continue
        if one is None:
            yield Finding("missing-column", Severity.ERROR, f"column {name} is missing", "Statements fail.", _CURE)
            continue
        wanted, got = _kind(column.type, dialect), _kind(one["type"], dialect)
        if wanted != got:
            what = f"column {name} is {got}, not {wanted}"
            yield Finding("column-type", Severity.WARNING, what, "Values may not fit, or compare otherwise.", _CURE)
        if bool(one["nullable"]) != bool(column.nullable):
            what = f"column {name} " + ("may be NULL" if one["nullable"] else "must not be NULL")
            yield Finding("column-null", Severity.WARNING, what, "Statements may fail, or read nonsense.", _CURE)
    for name in found:
        what = f"column {table.name}.{name} is none of ours"
        yield Finding("extra-column", Severity.NOTE, what, "It is left alone; without a default inserts fail.")


def _key(table: Table, found: list[str]) -> Iterator[Finding]:
    wanted = [c.name for c in table.primary_key.columns]
    if found != wanted:
        what = f"the primary key of {table.name} is ({', '.join(found)}), not ({', '.join(wanted)})"
        yield Finding("primary-key", Severity.ERROR, what, "Jobs may be found slowly, or be there twice.", _CURE)


def _indexes(
    table: Table, found: dict[str, Any], unique: set[str], later: set[str], dialect: SADialect
) -> Iterator[Finding]:
    slow = "Some statements read the whole table: everything gets slow as it grows."
    wanted: list[Index] = [i for i in table.indexes if i.name not in later]
    for index in sorted(wanted, key=lambda i: str(i.name)):
        one = found.get(str(index.name))
        columns = [c.name for c in index.columns]
        if one is None:
            what = f"index {index.name} on {table.name} ({', '.join(columns)}) is missing"
            make = _statement(CreateIndex(index), dialect)
            yield Finding("missing-index", Severity.ERROR if index.unique else Severity.WARNING, what, slow, make)
        elif one["column_names"] != columns or bool(one["unique"]) != bool(index.unique):
            kind = "unique " if one["unique"] else ""
            what = f"index {index.name} is {kind}on ({', '.join(map(str, one['column_names']))})"
            yield Finding("index", Severity.WARNING, what, slow, _CURE)
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint) and not {constraint.name} & {*unique, *found}:
            what = f"the constraint {constraint.name} is missing"
            yield Finding("missing-constraint", Severity.ERROR, what, "A queue may be there twice.", _CURE)


def _kind(type_: Any, dialect: SADialect) -> str:
    """A type without sizes and collations, as the database calls it."""
    text = re.sub(r"\(.*?\)", "", type_.compile(dialect=dialect)).upper()
    text = re.sub(r" (COLLATE|CHARACTER SET|UNSIGNED).*", "", text).strip()
    return _SYNONYMS.get(text, text)
