"""Statements for databases that lock every row they look at, and return none of those they change.

PostgreSQL finds rows without locking any, then locks each one found, looks at it once
more, changes and returns it. InnoDB locks whatever lies on its way, waits for what
others have locked there, and takes its way by statistics: from end to end where a
table is small. So a statement is run here in the steps in which PostgreSQL runs it:

find     the primary keys, by a plain read; left out where the statement names them.
lock     those very rows, by the primary key and in its order, if the condition still
         holds; what is to be returned is read here. Left out where nothing is.
change   them, by their keys.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import (
    BinaryExpression,
    BooleanClauseList,
    Column,
    ColumnElement,
    Delete,
    Dialect,
    Executable,
    Insert,
    Integer,
    Select,
    Table,
    UnaryExpression,
    Update,
    select,
    text,
)
from sqlalchemy.sql import operators
from sqlalchemy.sql.expression import ScalarSelect

from kombu_depqueue.schema import JobIdType
from kombu_depqueue.sql import Prepared, among

__all__ = ["BY_KEY", "Answer", "Stepwise"]

_KEYS = "<keys>"
BY_KEY = "FORCE INDEX (PRIMARY)"
_PARAMETER = re.compile(r"%\((\w+)\)s")
_ROWS = 1000
"""Rows deleted by one statement."""

Run = Callable[[str, Mapping[str, Any]], Any]
"""Executes a text, and returns the cursor."""


class Answer(NamedTuple):
    """What a statement brought: rows, and how many it touched."""

    rows: Sequence[Any]
    touched: int


class _Step(Prepared):
    """One text. The driver writes values into it by itself, so that it is given those alone that occur."""

    __slots__ = ("_parameters",)

    def __init__(self, name: str, element: Executable, dialect: Dialect) -> None:
        super().__init__(name, element, dialect)
        self._parameters = set(_PARAMETER.findall(self.sql))

    def bind(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters for the driver."""
        bound = super().bind(values)
        return {name: bound[name] for name in self._parameters}


class Stepwise(_Step):
    """A statement as its steps; what needs none is one statement as it is."""

    __slots__ = ("_change", "_find", "_lock", "_wipe", "around", "is_insert", "reads", "row", "table")

    def __init__(self, name: str, element: Executable, dialect: Dialect) -> None:
        self._wipe: _Wipe | None = None
        steps = _steps(element)
        super().__init__(name, element if steps.lock is None else steps.lock, dialect)
        self._find = _prepared(f"{name}_find", steps.find, dialect)
        self._lock = _prepared(f"{name}_lock", steps.lock, dialect)
        self._change = _prepared(f"{name}_change", steps.change, dialect)
        self.table = steps.table
        if isinstance(element, Delete) and steps.table is not None:
            self._wipe = _Wipe(steps.table, dialect)
        if steps.table is not None:
            shown = [step.sql for step in (self._find, self._lock, self._change) if step is not None]
            self.sql = ";\n".join([*shown, *([self._wipe.text(_KEYS)] if self._wipe else [])])
        self.reads = "\nFROM " in self.sql or not isinstance(element, (Select, Insert))
        """Its answer, or what it does, depends on what is stored."""
        self.is_insert = isinstance(element, Insert)
        if self.is_insert:
            head, _, row = self.sql.partition(" VALUES ")
            row, on, tail = row.partition(" ON DUPLICATE KEY UPDATE ")
            self.row, self.around = row, (f"{head} VALUES ", f"{on}{tail}")
            """The row of values, and what stands before and behind it."""

    def perform(self, run: Run, values: Mapping[str, Any]) -> Answer:
        """Run the steps."""
        if self.table is None:
            cursor = run(self.sql, self.bind(values))
            return Answer(self.rows(cursor.fetchall()) if cursor.description else (), cursor.rowcount)
        keys: Sequence[Any] = ()
        rows: Sequence[Any] = ()
        if self._find is not None:
            keys = run(self._find.sql, self._find.bind(values)).fetchall()
            if not keys:
                return Answer((), 0)
        if self._lock is not None:
            width = len(self.table.primary_key)
            keys_sql = self._lock.sql.replace(_KEYS, _chosen(self.table, keys))
            raw = run(keys_sql, self._lock.bind(values)).fetchall()
            keys = [row[:width] for row in raw]
            rows = [row[width:] for row in self._lock.rows(raw)]
            if not keys:
                return Answer((), 0)
        if self._wipe is not None:
            return Answer(rows, self.wipe(run, keys))
        if self._change is None:
            return Answer(rows, len(rows))
        change = self._change.sql.replace(_KEYS, _chosen(self.table, keys))
        return Answer(rows, run(change, self._change.bind(values)).rowcount)

    def wipe(self, run: Run, keys: Sequence[Any]) -> int:
        """Only the last step of a statement that deletes, for rows that are locked; returns how many there were."""
        assert self._wipe is not None  # noqa: S101 - a statement that deletes
        return sum(run(part, {}).rowcount for part in self._wipe.texts(keys))


class _Steps(NamedTuple):
    table: Table | None = None
    """None: it is one statement as it is."""
    find: Any = None
    lock: Any = None
    change: Any = None


def _prepared(name: str, element: Any, dialect: Dialect) -> _Step | None:
    return None if element is None else _Step(name, element, dialect)


def _steps(element: Any) -> _Steps:
    if isinstance(element, Select) and element._for_update_arg is not None and not element._hints:
        return _locking(element)
    if isinstance(element, (Update, Delete)) and _has_plain_key(element.table):
        return _changing(element)
    return _Steps()


def _has_plain_key(table: Any) -> bool:
    """Whether the key is of numbers and job ids, which can be written into a text."""
    return all(isinstance(c.type, (Integer, JobIdType)) for c in table.primary_key.columns)


def _locking(element: Select[Any]) -> _Steps:
    how = element._for_update_arg
    table: Any = how.of[0] if how is not None and how.of else next(iter(element.selected_columns)).table
    conditions = list(_conditions(element))
    keys = list(table.primary_key.columns)
    lock = _by_key(select(*_labelled(keys), *element.selected_columns), table, how)
    lock = lock.order_by(*element._order_by_clauses)
    if _is_pinned(table, conditions):
        return _Steps(table, None, lock.where(*conditions))
    return _Steps(table, _unlocked(element).with_only_columns(*keys), lock.where(text(_KEYS), *conditions))


def _changing(element: Any) -> _Steps:
    table, keys = element.table, list(element.table.primary_key.columns)
    conditions, inner = _without_inner(list(_conditions(element)))
    how, find = None, select(*keys).where(*conditions)
    if inner is not None:
        how, find = inner._for_update_arg, _unlocked(inner).with_only_columns(*keys)
        conditions += _conditions(inner)
    pinned = inner is None and _is_pinned(table, conditions)
    named = [] if pinned else [text(_KEYS)]
    returned = _after(element)
    lock = change = None
    if returned or isinstance(element, Delete) or how is not None:
        lock = _by_key(select(*_labelled(keys), *returned), table, how).where(*named, *conditions)
        named, conditions = [text(_KEYS)], []
    if isinstance(element, Update):
        change = element._generate()
        change._returning, change._where_criteria = (), ()
        change = change.where(*named, *conditions).with_hint(BY_KEY, dialect_name="mysql")
    return _Steps(table, None if pinned else find, lock, change)


def _by_key(lock: Select[Any], table: Any, how: Any) -> Select[Any]:
    lock = lock.select_from(table).with_hint(table, BY_KEY, "mysql")
    if how is None:
        return lock.with_for_update()
    return lock.with_for_update(read=how.read, skip_locked=how.skip_locked)


def _unlocked(element: Select[Any]) -> Select[Any]:
    plain = element._generate()
    plain._for_update_arg = None
    return plain


def _labelled(keys: Sequence[Column[Any]]) -> list[ColumnElement[Any]]:
    return [key.label(f"key_{n}") for n, key in enumerate(keys)]


def _after(element: Any) -> list[ColumnElement[Any]]:
    """What RETURNING would give, in terms of the row before the change."""
    new = {getattr(c, "key", c): e for c, e in (getattr(element, "_values", None) or {}).items()}
    return [new[c.key].label(c.key) if c.key in new else c for c in element._returning]


def _conditions(element: Any) -> Iterator[Any]:
    todo = list(element._where_criteria)
    while todo:
        one = todo.pop(0)
        if isinstance(one, BooleanClauseList) and one.operator is operators.and_:
            todo[:0] = one.clauses
        else:
            yield one.element if isinstance(one, UnaryExpression) and isinstance(one.element, among) else one


def _without_inner(conditions: list[Any]) -> tuple[list[Any], Any]:
    """The conditions without `key IN (SELECT ... FOR UPDATE)`, and that SELECT."""
    for one in conditions:
        right = getattr(getattr(one, "right", None), "element", None)
        if isinstance(one, BinaryExpression) and isinstance(one.right, ScalarSelect) and right is not None:
            inner: Any = right
            if inner._for_update_arg is not None:
                return [c for c in conditions if c is not one], inner
    return conditions, None


def _is_pinned(table: Any, conditions: Sequence[Any]) -> bool:
    """Whether the conditions name the whole key."""
    named = {c.operand for c in conditions if isinstance(c, among)}
    named |= {c.left for c in conditions if isinstance(c, BinaryExpression) and c.operator is operators.eq}
    return set(table.primary_key.columns) <= named


def _chosen(table: Table, keys: Sequence[Any]) -> str:
    """The condition that a row is one of those with these keys, such that it is looked up."""
    names = [f"`{table.fullname}`.`{c.name}`" for c in table.primary_key.columns]
    ways = []
    for first, some in groupby(sorted(tuple(k) for k in keys), lambda key: key[:-1]):
        parts = [f"{name} = {_literal(value)}" for name, value in zip(names, first, strict=False)]
        parts.append(f"{names[-1]} IN ({', '.join(_literal(key[-1]) for key in some)})")
        ways.append(" AND ".join(parts))
    return f"({' OR '.join(ways)})"


def _literal(value: Any) -> str:
    """A number or a job id, as the database gave it."""
    if isinstance(value, int):
        return str(value)
    if not value.replace("-", "").isalnum():
        raise ValueError(f"{value!r} is no job id")
    return f"'{value}'"


class _Wipe:
    """DELETE by keys. As a join: alone, no index can be forced on it, and it would read a small table whole."""

    def __init__(self, table: Table, dialect: Dialect) -> None:
        quote = dialect.identifier_preparer.quote
        self._names = [quote(c.name) for c in table.primary_key.columns]
        on = " AND ".join(f"it.{name} = chosen.{name}" for name in self._names)
        name = dialect.identifier_preparer.format_table(table)
        self._parts = (
            "DELETE it FROM (",
            f") chosen STRAIGHT_JOIN {name} it {BY_KEY} ON {on}",
        )

    def text(self, rows: str) -> str:
        """The statement, with the rows of keys in it."""
        return rows.join(self._parts)

    def texts(self, keys: Sequence[Any]) -> Iterator[str]:
        """The statements for all keys, in order."""
        in_order = sorted(tuple(key) for key in keys)
        for start in range(0, len(in_order), _ROWS):
            rows = [
                ", ".join(f"{_typed(value)} AS {name}" for name, value in zip(self._names, key, strict=True))
                for key in in_order[start : start + _ROWS]
            ]
            yield self.text(" UNION ALL ".join(f"SELECT {row}" for row in rows))


def _typed(value: Any) -> str:
    """As `_literal`; in the character set of the column, else its index could not be used."""
    return _literal(value) if isinstance(value, int) else f"_ascii{_literal(value)} COLLATE ascii_bin"
