"""What migrations do to tables, each spelled for every database.

Every change can be made again: it is looked first whether it was made (`is_made`), since a
migration may have been cut off anywhere. None rewrites a table, and none makes those wait who
write, but for the moment in which a column comes or goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from sqlalchemy import Column, DDLElement, Index, Inspector, Table
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn, CreateIndex

__all__ = ["AddColumn", "AddIndex", "Change", "DropColumn", "DropIndex", "add_indexes", "drop_indexes"]


class Change(DDLElement):
    """One change of one table."""

    inherit_cache = False
    excludes: ClassVar[bool] = True
    """Whether all others that use the table wait while it is made (or waits to be): it must not wait long."""
    table: Table
    index: Index | None = None

    def is_made(self, look: Inspector) -> bool:
        """Whether the table looks as it should afterwards."""
        raise NotImplementedError


class _ColumnChange(Change):
    def __init__(self, column: Column[Any]) -> None:
        self.column, self.table = column, column.table

    def is_there(self, look: Inspector) -> bool:
        """Whether there is such a column."""
        found = look.get_columns(self.table.name, schema=self.table.schema)
        return any(c["name"] == self.column.name for c in found)


class AddColumn(_ColumnChange):
    """Add a column: one that may be NULL, so that those who do not know it can go on."""

    def __str__(self) -> str:
        return f"add column {self.column.name} to {self.table.fullname}"

    def is_made(self, look: Inspector) -> bool:
        """Whether it is there."""
        return self.is_there(look)


class DropColumn(_ColumnChange):
    """Take a column away, that nobody uses any more."""

    def __str__(self) -> str:
        return f"drop column {self.column.name} of {self.table.fullname}"

    def is_made(self, look: Inspector) -> bool:
        """Whether it is gone."""
        return not self.is_there(look)


class _IndexChange(Change):
    excludes: ClassVar[bool] = False
    index: Index

    def __init__(self, index: Index) -> None:
        assert index.table is not None  # noqa: S101 - it is one of our tables'
        self.index, self.table = index, index.table

    def is_there(self, look: Inspector) -> bool:
        """Whether there is such an index."""
        found = look.get_indexes(self.table.name, schema=self.table.schema)
        return any(i["name"] == self.index.name for i in found)


class AddIndex(_IndexChange):
    """Add an index, while others go on writing."""

    def __str__(self) -> str:
        return f"add index {self.index.name} to {self.table.fullname}"

    def is_made(self, look: Inspector) -> bool:
        """Whether it is there."""
        return self.is_there(look)


class DropIndex(_IndexChange):
    """Take an index away."""

    def __str__(self) -> str:
        return f"drop index {self.index.name} of {self.table.fullname}"

    def is_made(self, look: Inspector) -> bool:
        """Whether it is gone."""
        return not self.is_there(look)


def _called(table: Table, names: tuple[str, ...]) -> Iterator[Index]:
    """The indexes of a table by their names without the prefix; not all databases have all of them."""
    yield from (i for i in table.indexes if str(i.name).endswith(names))


def add_indexes(table: Table, *names: str) -> Iterator[Change]:
    """Add those of these indexes that this database has."""
    return map(AddIndex, _called(table, names))


def drop_indexes(table: Table, *names: str) -> Iterator[Change]:
    """Take them away."""
    return map(DropIndex, _called(table, names))


def _table(element: Change, compiler: Any) -> str:
    return str(compiler.preparer.format_table(element.table))


def _index(element: _IndexChange, compiler: Any) -> str:
    return str(compiler.preparer.format_index(element.index))


@compiles(AddColumn)
def _(element: AddColumn, compiler: Any, **kw: Any) -> str:
    return f"ALTER TABLE {_table(element, compiler)} ADD COLUMN {compiler.process(CreateColumn(element.column))}"


@compiles(DropColumn)
def _(element: DropColumn, compiler: Any, **kw: Any) -> str:
    return f"ALTER TABLE {_table(element, compiler)} DROP COLUMN {compiler.preparer.quote(element.column.name)}"


@compiles(AddIndex)
def _(element: AddIndex, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(CreateIndex(element.index)))


@compiles(DropIndex)
def _(element: DropIndex, compiler: Any, **kw: Any) -> str:
    return f"DROP INDEX {_index(element, compiler)}"


@compiles(AddIndex, "postgresql")
def _(element: AddIndex, compiler: Any, **kw: Any) -> str:
    return str(compiler.process(CreateIndex(element.index))).replace(" INDEX ", " INDEX CONCURRENTLY ", 1)


@compiles(DropIndex, "postgresql")
def _(element: DropIndex, compiler: Any, **kw: Any) -> str:
    schema = f"{compiler.preparer.quote_schema(element.table.schema)}." if element.table.schema else ""
    return f"DROP INDEX CONCURRENTLY {schema}{_index(element, compiler)}"


@compiles(AddIndex, "mysql")
def _(element: AddIndex, compiler: Any, **kw: Any) -> str:
    columns = ", ".join(compiler.preparer.quote(c.name) for c in element.index.columns)
    unique = "UNIQUE " if element.index.unique else ""
    added = f"ADD {unique}INDEX {_index(element, compiler)} ({columns})"
    return f"ALTER TABLE {_table(element, compiler)} {added}, ALGORITHM=INPLACE, LOCK=NONE"


@compiles(DropIndex, "mysql")
def _(element: DropIndex, compiler: Any, **kw: Any) -> str:
    dropped = f"DROP INDEX {_index(element, compiler)}"
    return f"ALTER TABLE {_table(element, compiler)} {dropped}, ALGORITHM=INPLACE, LOCK=NONE"
