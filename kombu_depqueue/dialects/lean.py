"""Statements sent through libpq, without psycopg's cursor: 30-40 us of CPU each instead of 65.

psycopg makes the connection, waits for the answers (so that Ctrl-C works), and reads the
rows. What is left out is what a cursor does for statements that it does not know: to
parse them, to choose how to send each value, to decide whether to prepare them.
"""

from __future__ import annotations

import re
import select
import struct
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from types import BuiltinFunctionType
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import Connection, abc, errors, generators
from psycopg.adapt import Dumper, Transformer
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult
from psycopg.types.datetime import TimestamptzBinaryLoader

from kombu_depqueue.schema import EARLIEST, LATEST

__all__ = ["LeanConnection", "LeanCursor", "connect_options", "tuned"]

_KNOBS = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    # Under any other a job that is being ended misses a dependent that is just enqueued, which then waits for ever.
    "default_transaction_isolation": r"read\ committed",
    "client_min_messages": "warning",  # else a role's setting could hide that a commit is not replicated
}
PASS_OVER = 5
"""Seconds within which one of several hosts must answer, else the next one is tried."""

_SIZE = struct.Struct("!i")
_NULL = _SIZE.pack(-1)
_PARAMETER = re.compile(r"%(?:\((\w+)\)s|%)")


def connect_options(given: Mapping[str, Any], left: float, last: tuple[str, int] | None) -> dict[str, Any]:
    """What to connect with, when a call has so many seconds left; of several hosts the `last` that was good is first.

    A host that is frozen, or gone without a word, must leave some time for the others.
    """
    own: dict[str, Any] = {"application_name": "depqueue"}
    hosts, ports = (str(given.get(name, "")).split(",") for name in ("host", "port"))
    if len(hosts) > 1:
        pairs = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=False))
        if len(pairs) == len(hosts) and "hostaddr" not in given:
            pairs.sort(key=lambda pair: (pair[0], int(pair[1] or 5432)) != last)
            given = {**given, "host": ",".join(host for host, _ in pairs)}
            if any(ports):
                given["port"] = ",".join(port for _, port in pairs)
        left = min(left / len(hosts), PASS_OVER)
    own["connect_timeout"] = max(2, int(left))
    return {**own, **given, "autocommit": True, "client_encoding": "utf8"}


def tuned(options: Mapping[str, Any], idle: float) -> dict[str, Any]:
    """The same, with the settings of our sessions; `idle`: seconds for which a transaction may do nothing."""
    milliseconds = min(int(idle * 1000), 2**31 - 1)
    knobs = " ".join(f"-c {k}={v}" for k, v in {**_KNOBS, "idle_in_transaction_session_timeout": milliseconds}.items())
    return {**options, "options": f"{options.get('options', '')} {knobs}".strip()}


class ByteaArray(bytes):
    """bytea[] in binary form; psycopg's own way, by text, costs twice the INSERT."""


def bytea_array(values: Sequence[bytes | None]) -> ByteaArray:
    """Write one."""
    size = _SIZE.pack
    parts = [_NULL if one is None else size(len(one)) + one for one in values]
    return ByteaArray(struct.pack("!5i", 1, None in values, 17, len(values), 1) + b"".join(parts))


class _ByteaArrayDumper(Dumper):
    format = Format.BINARY
    oid = 1001

    def dump(self, obj: ByteaArray) -> bytes:
        return obj


class _MomentLoader(TimestamptzBinaryLoader):
    """PostgreSQL knows times that Python does not: infinite ones, and those of other ages."""

    def load(self, data: abc.Buffer) -> datetime:
        try:
            return super().load(data).astimezone(UTC)
        except (errors.DataError, OverflowError):
            return EARLIEST if data[0] & 0x80 else LATEST  # by the sign of the big-endian number


class _Known(NamedTuple):
    """A statement that was translated: its name on the server, or its text; and its parameters in order."""

    key: bytes
    names: list[str]


class LeanConnection(Connection[Any]):
    """A connection that knows the statements prepared on it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.statements: dict[str, _Known] = {}
        self.numbers = count()
        self.lean_factory = LeanCursor
        self.prepares = True
        self.blocks = isinstance(select.select, BuiltinFunctionType)
        """Whether a thread may block; gevent and eventlet replace `select`."""
        self.reader: abc.Transformer
        self._unreplicated = False

    def prepare(self, *, pooled: bool) -> None:
        """Once it is connected; `pooled`: behind a pooler, where a session belongs to a transaction only."""
        self.adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
        self.adapters.register_loader("timestamptz", _MomentLoader)
        self.reader = Transformer(self)
        self.prepares = not pooled
        self.prepare_threshold = None if pooled else 0
        self.add_notice_handler(self._notice)

    def _notice(self, notice: errors.Diagnostic) -> None:
        # Told by where it comes from: its words are in the server's language, and its SQLSTATE (01000) is anybody's.
        if notice.source_function == "SyncRepWaitForLSN":
            self._unreplicated = True

    def check_replicated(self) -> None:
        """Raise if the wait for the standby was broken off at a commit, which the server reports as a success."""
        if self._unreplicated:
            raise errors.TransactionResolutionUnknown("committed, but perhaps on no synchronous standby")

    def lean(self) -> LeanCursor:
        """A cursor for statements that come again and again."""
        return self.lean_factory(self)


class LeanCursor:
    """As much of a cursor as the store uses; outside of pipelines."""

    __slots__ = ("_result", "connection")

    def __init__(self, connection: LeanConnection) -> None:
        self.connection = connection
        self._result: PGresult | None = None

    def execute(self, sql: str, values: Mapping[str, Any] | None = None) -> None:
        """Run a statement with `%(name)s` parameters, whose types follow from the statement."""
        connection = self.connection
        with connection.lock:
            known = connection.statements.get(sql) or self._prepare(sql)
            sent: list[bytes | None] = []
            formats: list[int] = []
            for name in known.names:
                value = values[name]  # type: ignore[index]
                kind = type(value)
                if value is None or kind in _RAW:
                    formats.append(Format.BINARY)
                    sent.append(value)
                else:
                    formats.append(Format.TEXT)
                    sent.append(_WRITE.get(kind, _write_other)(value))
            server, rest = connection.pgconn, (formats, Format.BINARY)
            if connection.prepares:
                self._result = self._ask(server.exec_prepared, server.send_query_prepared, known.key, sent, *rest)
            else:
                self._result = self._ask(server.exec_params, server.send_query_params, known.key, sent, None, *rest)

    def _prepare(self, sql: str) -> _Known:
        connection, server = self.connection, self.connection.pgconn
        text, names = _translated(sql)
        if not connection.prepares:
            return _Known(text, names)
        known = _Known(b"depqueue_%d" % next(connection.numbers), names)
        self._ask(server.prepare, server.send_prepare, known.key, text)
        connection.statements[sql] = known
        return known

    def _ask(self, call: Callable[..., PGresult], send: Callable[..., None], *args: Any) -> PGresult:
        """Call libpq, and wait: in threads of our own inside libpq, which takes the GIL once and not four times."""
        connection = self.connection
        if connection.blocks and threading.current_thread() is not threading.main_thread():
            result = call(*args)
        else:
            result = connection.wait(_exchange(connection.pgconn, send, args))[-1]
        if result.status not in _GOOD:
            raise _error(result, connection)
        connection.check_replicated()
        return result

    def fetchall(self) -> list[Any]:
        """The rows of the last statement."""
        result, reader = self._result, self.connection.reader
        if result is None or not result.ntuples:
            return []
        reader.set_pgresult(result)
        rows = reader.load_rows(0, result.ntuples, tuple)
        reader.set_pgresult(None)  # it may hold megabytes
        return rows

    @property
    def rowcount(self) -> int:
        """How many rows the last statement touched."""
        return 0 if self._result is None else self._result.command_tuples or 0

    def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a statement for each set of values, all sent at once."""
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, rows)

    def close(self) -> None:
        """Forget the rows."""
        self._result = None


def _translated(sql: str) -> tuple[bytes, list[str]]:
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "%"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PARAMETER.sub(number, sql).encode(), names


def _exchange(server: PGconn, send: Callable[..., None], args: Sequence[Any]) -> Generator[Any, Any, list[PGresult]]:
    send(*args)
    results: list[PGresult] = yield from generators.execute(server)
    return results


def _error(result: PGresult, connection: LeanConnection) -> Exception:
    error = errors.error_from_result(result, encoding=connection.info.encoding)
    if isinstance(error, errors.InvalidSqlStatementName):
        connection.statements.clear()  # DEALLOCATE ALL, as psycopg's own ROLLBACK does, or a pooler: prepare anew
    if error.sqlstate is None and connection.pgconn.status == ConnStatus.BAD:
        return errors.OperationalError(str(error))
    return error


_RAW = frozenset({bytes, ByteaArray})
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)


def _write_other(value: Any) -> bytes:
    for kind, write in _WRITE.items():
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"no way to send a {type(value).__name__}")


def _write_list(values: Sequence[Any]) -> bytes:
    """An array of numbers or ids, whose text needs no quotes."""
    return b"{%s}" % b",".join([b"NULL" if v is None else _ARRAYED.get(type(v), _write_other)(v) for v in values])


def _write_text(value: str) -> bytes:
    if "\0" in value:  # libpq would end there
        raise errors.DataError("PostgreSQL text cannot contain NUL")
    return value.encode()


_ARRAYED: dict[type, Callable[[Any], bytes]] = {
    int: lambda v: b"%d" % v,
    UUID: lambda v: v.hex.encode(),
}
_WRITE: dict[type, Callable[[Any], bytes]] = {
    str: _write_text,
    bool: lambda v: b"t" if v else b"f",
    **_ARRAYED,
    float: lambda v: repr(float(v)).encode(),
    datetime: lambda v: v.isoformat().encode(),
    list: _write_list,
}
