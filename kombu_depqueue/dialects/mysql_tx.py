"""How statements are run on MariaDB and MySQL: in steps, many rows at a time, written out by the driver."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from kombu_depqueue.dialects.base import Tx, refuse_isolation
from kombu_depqueue.dialects.stepwise import Stepwise
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.sql import Prepared

__all__ = ["ClientTx", "MySQLTx", "too_large"]

_CHUNK = 1_000_000
"""Characters of rows in one INSERT."""


class MySQLTx(Tx):
    """Differs: statements run in steps, and new rows go many at a time."""

    __slots__ = ("_checked",)

    def __init__(self, connection: Any, **how: Any) -> None:
        super().__init__(connection, **how)
        self._checked = self.own

    def all(self, statement: Prepared, **values: Any) -> list[Any]:
        """Differs: see `Stepwise`."""
        return list(self._steps(statement).perform(self._run, values).rows)

    def run(self, statement: Prepared, **values: Any) -> int:
        """Differs: see `Stepwise`."""
        return self._steps(statement).perform(self._run, values).touched

    def many(self, statement: Prepared, rows: Sequence[Mapping[str, Any]]) -> None:
        """Differs: one INSERT for many rows."""
        steps = self._steps(statement)
        if len(rows) < 2 or not steps.is_insert:
            for row in rows:
                steps.perform(self._run, row)
            return
        some: list[str] = []
        size = 0
        for row in rows:
            made = self._written(steps.row, steps.bind(row))
            if some and size + len(made) > _CHUNK:
                self._send(",\n".join(some).join(steps.around))
                some, size = [], 0
            some.append(made)
            size += len(made)
        self._send(",\n".join(some).join(steps.around))

    def wipe(self, statement: Prepared, keys: Sequence[Any]) -> None:
        """Delete rows that are locked, by a statement that deletes."""
        self._steps(statement).wipe(self._run, keys)

    def _steps(self, statement: Prepared) -> Stepwise:
        steps = cast("Stepwise", statement)
        if steps.reads and not self._checked:
            self._check_isolation()
        return steps

    def _check_isolation(self) -> None:
        """In the caller's transaction: what was committed since it began must be seen."""
        self.cursor.execute("SHOW VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')")
        refuse_isolation(self.cursor.fetchall()[0][1], "READ-COMMITTED")
        self._checked = True

    def _run(self, sql: str, values: Mapping[str, Any]) -> Any:
        return self._send(self._written(sql, values))

    def _written(self, sql: str, values: Mapping[str, Any]) -> str:
        """The text with the values in it; bytes that are no UTF-8 as surrogates."""
        return str(self.cursor.mogrify(sql, values))

    def _send(self, sql: str) -> Any:
        sent = sql.encode("utf-8", "surrogateescape")
        if len(sent) >= getattr(self.connection, "depqueue_packet", math.inf):
            # Sent, it would end the connection, and look like a lost one.
            raise too_large(len(sent), self.connection.depqueue_packet)
        self.cursor.execute(sent)
        return self.cursor


def too_large(size: int, most: int) -> InvalidJob:
    """The error for what the server would not take."""
    return InvalidJob("size", f"{size:,} bytes in a statement are more than the server's max_allowed_packet = {most:,}")


class ClientTx(MySQLTx):
    """The same with mysqlclient."""

    __slots__ = ()

    def _written(self, sql: str, values: Mapping[str, Any]) -> str:
        """Differs: its `mogrify` fails where bytes are no UTF-8."""
        literals = {name: self.connection.literal(value) for name, value in values.items()}
        return sql % {name: literal.decode("utf-8", "surrogateescape") for name, literal in literals.items()}
