"""What a database tells of itself: sizes, and what may go wrong with it; nothing here changes anything."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from kombu_depqueue.dialects.base import Dialect, Tx

__all__ = ["LONG", "Finding", "Inspection", "Severity", "TableSize", "listed", "version_of"]

LONG = 60
"""Seconds after which a transaction is a long one."""


class Severity(enum.StrEnum):
    """How bad a finding is, the worst first."""

    ERROR = "error"
    """Jobs can be lost, or do not get on."""
    WARNING = "warning"
    """It gets slow, or may go wrong some day."""
    NOTE = "note"
    """Good to know."""

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    code: str
    """A word that programs can rely on."""
    severity: Severity
    found: str
    means: str = ""
    cure: str = ""


class TableSize(NamedTuple):
    """How big a table is with its indexes; what the database does not know is None."""

    name: str
    """Without schema and prefix; empty: all of them together."""
    size: int
    """Bytes."""
    rows: int | None = None
    """As the database estimates them."""
    dead: int | None = None
    """Rows that are of no use to anybody and not cleared away yet: an estimate, too."""


class Inspection:
    """Looks at one kind of database."""

    least: tuple[int, ...] = ()
    """The oldest version of the server that will do."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.tables = dialect.tables

    def ask(self, tx: Tx, sql: str, *values: Any) -> Sequence[Any]:
        """Run a statement of its own."""
        tx.cursor.execute(sql, values)
        return list(tx.cursor.fetchall())

    def short(self, table: str) -> str:
        """A table's name without the prefix."""
        return table.removeprefix(self.tables.prefix)

    def version(self, tx: Tx) -> str:
        """What the server is, as it says."""
        raise NotImplementedError

    def settings(self, tx: Tx) -> dict[str, str]:
        """What the server is, and the settings that decide what a commit costs."""
        return {"server": f"{self.dialect.name} {self.version(tx)}", **self.durability(tx)}

    def durability(self, tx: Tx) -> dict[str, str]:
        """The settings that decide what a power cut can take."""
        raise NotImplementedError

    def too_old(self, version: str) -> str:
        """The oldest version that will do, if this one will not; else nothing."""
        return "" if version_of(version) >= self.least else ".".join(map(str, self.least))

    def table_sizes(self, tx: Tx) -> list[TableSize]:
        """How big the tables are, without reading them."""
        raise NotImplementedError

    def findings(self, tx: Tx) -> Iterator[Finding]:
        """What only this kind of database can have."""
        raise NotImplementedError


def version_of(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: "10.11.6-MariaDB" is (10, 11, 6)."""
    numbers: list[int] = []
    for part in text.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)


def listed(names: Sequence[str], most: int = 5) -> str:
    """Some names in a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
