"""How the tables in a database differ from those that this library would make."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Dialect as SADialect
from sqlalchemy import Table, UniqueConstraint, inspect

from kombu_depqueue.dialects import Dialect, Finding, Severity

__all__ = ["drift"]

_SYNONYMS = {
    "BOOL": "TINYINT",
    "INT": "INTEGER",
    "DOUBLE PRECISION": "DOUBLE",
    **dict.fromkeys(("MEDIUMTEXT", "LONGTEXT"), "TEXT"),  # MySQL chooses by the size that was asked for
    **dict.fromkeys(("MEDIUMBLOB", "LONGBLOB"), "BLOB"),
}
_MAKE = "`depqueue init` makes what is missing."
_CURE = "Find out who changed it; in an empty place `depqueue init` makes tables to compare with."


def drift(dialect: Dialect) -> Iterator[Finding]:
    """Each difference in tables, columns and indexes."""
    with dialect.engine.connect() as connection:
        looking = inspect(connection)
        schema = dialect.tables.schema
        there = set(looking.get_table_names(schema=schema))
        for table in dialect.tables.metadata.sorted_tables:
            if table.name not in there:
                slow = "Whatever needs it fails."
                yield Finding("missing-table", Severity.ERROR, f"table {table.name} is missing", slow, _MAKE)
                continue
            columns = {str(c["name"]): c for c in looking.get_columns(table.name, schema=schema)}
            yield from _columns(table, columns, connection.dialect)
            key = looking.get_pk_constraint(table.name, schema=schema)["constrained_columns"]
            yield from _key(table, [str(name) for name in key])
            found = {str(i["name"]): i for i in looking.get_indexes(table.name, schema=schema)}
            unique = {str(u["name"]): u for u in looking.get_unique_constraints(table.name, schema=schema)}
            yield from _indexes(table, found, set(unique))


def _columns(table: Table, found: dict[str, Any], dialect: SADialect) -> Iterator[Finding]:
    for column in table.columns:
        name = f"{table.name}.{column.name}"
        one = found.pop(column.name, None)
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


def _indexes(table: Table, found: dict[str, Any], unique: set[str]) -> Iterator[Finding]:
    slow = "Some statements read the whole table: everything gets slow as it grows."
    for index in sorted(table.indexes, key=lambda i: str(i.name)):
        one = found.get(str(index.name))
        columns = [c.name for c in index.columns]
        if one is None:
            what = f"index {index.name} on {table.name} ({', '.join(columns)}) is missing"
            yield Finding("missing-index", Severity.ERROR if index.unique else Severity.WARNING, what, slow, _MAKE)
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
