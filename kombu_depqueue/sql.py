"""The little language the statements are written in, beside SQLAlchemy Core's own.

`Prepared` is a statement compiled once for one database and executed through the
driver's own cursor: to look up a compiled statement in SQLAlchemy per call would
cost more than the statement itself does on SQLite. `now`, `after`, `among` ...
are what each database spells in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import Any, overload

from sqlalchemy import BigInteger, Boolean, ColumnElement, Dialect, Executable, Float, Table, bindparam, func
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import BindParameter
from sqlalchemy.types import TypeEngine

from kombu_depqueue.schema import JobIdType, ListType, UtcTime

__all__ = [
    "Prepared",
    "after",
    "among",
    "bytes_within",
    "insert_or_replace",
    "insert_unless_there",
    "later",
    "now",
    "replacing",
    "seconds_until",
    "statement",
]


class Prepared:
    """A statement compiled for one database: its text, and how values go in and out."""

    __slots__ = ("_binds", "_constants", "_results", "name", "sql")

    def __init__(self, name: str, element: Executable, dialect: Dialect) -> None:
        compiled = element.compile(dialect=dialect)  # type: ignore[attr-defined]
        self.name, self.sql = name, str(compiled)
        binds = {name: parameter for parameter, name in compiled.bind_names.items()}
        self._constants = {k: b.effective_value for k, b in binds.items() if not b.required}
        impls = {k: b.type.dialect_impl(dialect) for k, b in binds.items()}
        self._binds = [(k, p) for k, i in impls.items() if (p := i.bind_processor(dialect)) is not None]
        columns = getattr(element, "exported_columns", None) or ()
        results = [_result_processor(c.type, dialect) for c in columns]
        self._results = [(n, p) for n, p in enumerate(results) if p is not None]

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters for the driver."""
        bound = {**self._constants, **values}
        for name, process in self._binds:
            if (value := bound[name]) is not None:
                bound[name] = process(value)
        return bound

    def rows(self, raw: Sequence[Any]) -> list[Any]:
        """The rows from the driver, as Python values."""
        return [self._row(row) for row in raw] if self._results else list(raw)

    def _row(self, raw: Sequence[Any]) -> tuple[Any, ...]:
        row = list(raw)
        for position, process in self._results:
            if (value := row[position]) is not None:
                row[position] = process(value)
        return tuple(row)


def insert_unless_there(table: Table, dialect: Dialect) -> Any:
    """INSERT that does nothing where the key is taken; also by a transaction that commits at the same moment."""
    maker: Any = import_module(f"sqlalchemy.dialects.{dialect.name}")
    if dialect.name == "mysql":  # not IGNORE, which ignores more than that
        key = next(iter(table.primary_key.columns))
        return maker.insert(table).on_duplicate_key_update({key.name: key})
    return maker.insert(table).on_conflict_do_nothing()


def insert_or_replace(table: Table, dialect: Dialect, values: Mapping[str, Any]) -> Any:
    """INSERT that takes the place of a row with the same key."""
    maker: Any = import_module(f"sqlalchemy.dialects.{dialect.name}")
    statement = maker.insert(table).values(dict(values))
    key = [c.name for c in table.primary_key.columns]
    if dialect.name == "mysql":
        return replacing(statement, values)
    return statement.on_conflict_do_update(
        index_elements=key, set_={name: statement.excluded[name] for name in values if name not in key}
    )


def replacing(insertion: Any, names: Iterable[str]) -> Any:
    """MySQL's INSERT of these columns, such that it takes the place of a row with the same key."""
    table = insertion.table
    return insertion.on_duplicate_key_update({n: func.values(table.c[n]) for n in names if not table.c[n].primary_key})


def _result_processor(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(kind, Float):  # drivers return floats; SQLAlchemy would want the column's type code
        return None
    return kind.dialect_impl(dialect).result_processor(dialect, None)


class statement:
    """Marks a method that returns an element; read as an attribute it is the Prepared statement.

    The class has the SQLAlchemy `dialect` to compile for, and `prepared`: what to make of it.
    """

    def __init__(self, make: Callable[[Any], Executable]) -> None:
        self.make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> statement: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> Prepared: ...
    def __get__(self, instance: Any | None, owner: type) -> statement | Prepared:
        """Compile at first use; afterwards the instance's own attribute is found first."""
        if instance is None:
            return self
        prepared: Prepared = instance.prepared(self.name, self.make(instance), instance.dialect)
        instance.__dict__[self.name] = prepared
        return prepared


# -- what each database spells in its own way ---------------------------------


class now(ColumnElement[datetime]):
    """The database's clock; constant within a statement, so that an index can be used."""

    type = UtcTime()
    inherit_cache = True


class after(ColumnElement[datetime]):
    """The database's clock plus seconds (NULL plus NULL is NULL)."""

    type = UtcTime()
    inherit_cache = True

    def __init__(self, seconds: ColumnElement[float]) -> None:
        self.seconds = seconds


class seconds_until(ColumnElement[float]):
    """Seconds from now until a time; negative if it has passed."""

    type = Float()
    inherit_cache = True

    def __init__(self, moment: ColumnElement[Any]) -> None:
        self.moment = moment


class later(ColumnElement[datetime]):
    """The later of two times."""

    type = UtcTime()
    inherit_cache = True

    def __init__(self, *moments: ColumnElement[Any]) -> None:
        self.moments = moments


class among(ColumnElement[bool]):
    """Whether a column's value is among those of one bound list, whatever its length."""

    type = Boolean()
    inherit_cache = True
    _is_implicitly_boolean = True  # else SQLite gets "... = 1", which no index can serve

    def __init__(self, operand: ColumnElement[Any], name: str) -> None:
        self.operand = operand
        item = JobIdType() if isinstance(operand.type, JobIdType) else BigInteger()
        self.values: BindParameter[Any] = bindparam(name, type_=ListType(item))


class bytes_within(ColumnElement[bool]):
    """Whether a column holds at most so many bytes, or NULL; not if it is text, which SQLite lets into any column."""

    type = Boolean()
    inherit_cache = True
    _is_implicitly_boolean = True

    def __init__(self, operand: ColumnElement[Any], most: int) -> None:
        self.operand, self.most = operand, most


@compiles(now, "postgresql")
def _(element: now, compiler: Any, **kw: Any) -> str:
    # Not clock_timestamp(): volatile, so no index could be used with it.
    return "statement_timestamp()"


@compiles(after, "postgresql")
def _(element: after, compiler: Any, **kw: Any) -> str:
    return f"(statement_timestamp() + make_interval(secs => {compiler.process(element.seconds, **kw)}))"


@compiles(seconds_until, "postgresql")
def _(element: seconds_until, compiler: Any, **kw: Any) -> str:
    moment = compiler.process(element.moment, **kw)
    return f"CAST(EXTRACT(EPOCH FROM ({moment} - statement_timestamp())) AS float8)"


@compiles(later, "postgresql")
def _(element: later, compiler: Any, **kw: Any) -> str:
    return f"GREATEST({', '.join(compiler.process(m, **kw) for m in element.moments)})"


@compiles(among, "postgresql")
def _(element: among, compiler: Any, **kw: Any) -> str:
    return f"{compiler.process(element.operand, **kw)} = ANY ({compiler.process(element.values, **kw)})"


@compiles(bytes_within, "postgresql")
@compiles(bytes_within, "mysql")
def _(element: bytes_within, compiler: Any, **kw: Any) -> str:
    return f"coalesce(octet_length({compiler.process(element.operand, **kw)}) <= {element.most}, true)"


@compiles(bytes_within, "sqlite")
def _(element: bytes_within, compiler: Any, **kw: Any) -> str:
    operand = compiler.process(element.operand, **kw)
    # Not IS NULL: in the RETURNING of an UPDATE SQLite 3.40 may take it for false.
    return f"(typeof({operand}) = 'null' OR typeof({operand}) = 'blob' AND length({operand}) <= {element.most})"


# julianday has a resolution of about a millisecond here; unixepoch('subsec') would need SQLite 3.42.
_SQLITE_NOW = "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(now, "sqlite")
def _(element: now, compiler: Any, **kw: Any) -> str:
    return _SQLITE_NOW


@compiles(after, "sqlite")
def _(element: after, compiler: Any, **kw: Any) -> str:
    return f"({_SQLITE_NOW} + CAST({compiler.process(element.seconds, **kw)} * 1000000 AS INTEGER))"


@compiles(seconds_until, "sqlite")
def _(element: seconds_until, compiler: Any, **kw: Any) -> str:
    return f"(({compiler.process(element.moment, **kw)} - {_SQLITE_NOW}) / 1000000.0)"


@compiles(later, "sqlite")
def _(element: later, compiler: Any, **kw: Any) -> str:
    return f"MAX({', '.join(compiler.process(m, **kw) for m in element.moments)})"


@compiles(among, "sqlite")
def _(element: among, compiler: Any, **kw: Any) -> str:
    operand, values = compiler.process(element.operand, **kw), compiler.process(element.values, **kw)
    return f"{operand} IN (SELECT value FROM json_each({values}))"


# Not UNIX_TIMESTAMP(NOW()), which is twice the same in the hour when summer time ends.
_MYSQL_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))"


@compiles(now, "mysql")
def _(element: now, compiler: Any, **kw: Any) -> str:
    return _MYSQL_NOW


@compiles(after, "mysql")
def _(element: after, compiler: Any, **kw: Any) -> str:
    return f"({_MYSQL_NOW} + CAST({compiler.process(element.seconds, **kw)} * 1000000 AS SIGNED))"


@compiles(seconds_until, "mysql")
def _(element: seconds_until, compiler: Any, **kw: Any) -> str:
    return f"(({compiler.process(element.moment, **kw)} - {_MYSQL_NOW}) / 1e6)"  # a double; 1.0 would make a decimal


@compiles(later, "mysql")
def _(element: later, compiler: Any, **kw: Any) -> str:
    return f"GREATEST({', '.join(compiler.process(m, **kw) for m in element.moments)})"


@compiles(among, "mysql")
def _(element: among, compiler: Any, **kw: Any) -> str:
    # The driver writes the list out: joined with JSON_TABLE, the table would be read, and locked, from end to end.
    return f"{compiler.process(element.operand, **kw)} IN {compiler.process(element.values, **kw)}"
