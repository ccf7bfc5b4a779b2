"""Fill tables by SQL: a million rows in seconds, where the API would take minutes.

The rows are such as the API makes. Job ids count from a base, so that several fills
of one place do not collide. The jobs belong to the queue `default`, which is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue import JobQueue
from kombu_depqueue.testing.fixtures import Place

__all__ = ["Filler"]

BODY = '{"pad":"' + "x" * 480 + '"}'
"""About 500 bytes, as a job of a real program has."""


class Filler:
    """Fills the tables of one place, which a JobQueue has created."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.backend = make_url(place.engine_url).get_backend_name()
        self.postgresql = self.backend == "postgresql"
        with JobQueue(place.url, create=True) as queue:
            queue.resume("default")  # makes the queue
        self.queue = int(self.rows(f"SELECT id FROM {self.table('queue')} WHERE name = 'default'")[0][0])
        self._next = 1

    def table(self, name: str) -> str:
        """The full name of a table."""
        return f"{self.place.schema}.{name}" if self.postgresql else f"{self.place.prefix or 'depqueue_'}{name}"

    def run(self, *statements: str, **values: Any) -> None:
        """Run statements, each in a transaction of its own."""
        self._execute(statements, values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Run a query."""
        return self._execute([statement], values)

    def _execute(self, statements: Any, values: Mapping[str, Any]) -> list[Any]:
        engine = create_engine(self.place.engine_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        found: list[Any] = []
        try:
            with engine.connect() as connection:
                for statement in statements:
                    used = {k: v for k, v in values.items() if f":{k}" in statement}
                    result = connection.execute(text(statement), used)
                    found = list(result) if result.returns_rows else []
        finally:
            engine.dispose()
        return found

    # what differs between the databases

    def _numbers(self, count: int) -> tuple[str, int]:
        """A table expression of `n` from 1 to count, and the base for ids."""
        base, self._next = self._next, self._next + count
        if self.postgresql:
            return f"generate_series(1, {count}) AS s(n)", base
        if self.backend == "sqlite":
            recursive = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {count})"
            return f"({recursive} SELECT n FROM s)", base
        # MariaDB stops a recursion after 1,000 rows.
        digits = f"({' UNION ALL '.join(f'SELECT {d} AS d' for d in range(10))})"
        number = " + ".join(f"d{place}.d * {10**place}" for place in range(7))
        tables = ", ".join(f"{digits} d{place}" for place in range(7))
        return f"(SELECT n FROM (SELECT 1 + {number} AS n FROM {tables}) t WHERE n <= {count}) s", base

    def _id(self, number: str) -> str:
        """A job id made of a number."""
        if self.postgresql:
            return f"('00000000-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid"
        if self.backend == "sqlite":
            return f"printf('00000000-0000-7000-8000-%012x', {number})"
        return f"concat('00000000-0000-7000-8000-', lpad(lower(hex({number})), 12, '0'))"

    def _in(self, seconds: int) -> str:
        """A time so many seconds from now."""
        if self.postgresql:
            return f"now() + interval '{seconds} seconds'"
        if self.backend == "sqlite":
            return f"(CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) + {seconds * 1_000_000})"
        return f"(CAST(unix_timestamp(now(6)) * 1000000 AS SIGNED) + {seconds * 1_000_000})"

    @property
    def _body(self) -> str:
        if self.postgresql:
            return f"convert_to('{BODY}', 'UTF8')"
        return f"CAST('{BODY}' AS {'BLOB' if self.backend == 'sqlite' else 'BINARY'})"

    def settle(self) -> None:
        """Let the database do now what it would do soon: vacuum, statistics, a checkpoint."""
        names = ", ".join(self.table(n) for n in ("job", "wait", "blocked", "dep", "done"))
        if self.postgresql:
            self.run(f"VACUUM (ANALYZE) {names}")
            if self.rows("SELECT current_setting('is_superuser')")[0][0] == "on":
                self.run("CHECKPOINT")
        elif self.backend == "sqlite":
            self.run("PRAGMA wal_checkpoint(TRUNCATE)")
        else:
            self.run(f"ANALYZE TABLE {names}")

    def empty(self) -> None:
        """Remove all jobs."""
        names = ("job", "wait", "blocked", "dep", "done", "ended_body", "release")
        verb = "DELETE FROM" if self.backend == "sqlite" else "TRUNCATE TABLE"
        self.run(*(f"{verb} {self.table(n)}" for n in names))

    # fills

    def ready(self, count: int, *, holder: int | None = None) -> None:
        """Ready jobs; with `holder`, jobs leased to that consumer."""
        numbers, base = self._numbers(count)
        lease = "NULL, NULL" if holder is None else f"{holder}, 77"
        self.run(
            f"INSERT INTO {self.table('job')} (consumer_id, lease_token, created_at, queue_id, rank, job_id, body)"
            f" SELECT {lease}, {self._in(0)}, {self.queue}, 255, {self._id(f'{base} + n')}, {self._body}"
            f" FROM {numbers}"
        )

    def leased(self, count: int) -> None:
        """Jobs leased to a consumer that lives for a day."""
        holder = 4711
        self.run(
            f"INSERT INTO {self.table('consumer')}"
            " (id, kind, name, channel, waiting, started_at, beat_at, leased_until)"
            f" VALUES ({holder}, 0, 'busy', '', false, {self._in(0)}, {self._in(0)}, {self._in(86_400)})"
        )
        self.ready(count, holder=holder)

    def delayed(self, count: int) -> None:
        """Jobs that are due tomorrow."""
        self._wait(count, self._in(86_400), self._in(86_400), flags=0)

    def blocked(self, count: int) -> None:
        """Jobs that wait for one delayed job."""
        root = self._next
        self._wait(1, self._in(86_400), self._in(86_400), flags=2, first=root)
        base = self._next
        self._wait(count, "NULL", "NULL", flags=1)
        numbers, _ = self._numbers(count)
        ids = self._id(f"{base} + n - 1")
        self.run(
            f"INSERT INTO {self.table('blocked')} (job_id, pending) SELECT {ids}, 1 FROM {numbers}",
            f"INSERT INTO {self.table('dep')} (dep_id, job_id, ordinal, policy, met)"
            f" SELECT {self._id(str(root))}, {ids}, 0, 6, false FROM {numbers}",
        )

    def ended(self, count: int, *, dead: int = 0) -> None:
        """Records of jobs that ended just now: half of them failed, and so many of these dead."""
        numbers, base = self._numbers(count)
        ids = self._id(f"{base} + n - 1")
        why = f"CASE WHEN n % 2 = 1 THEN NULL WHEN n <= {2 * dead} THEN 'dead: rejected' ELSE 'an error' END"
        self.run(
            f"INSERT INTO {self.table('done')} (job_id, queue_id, status, flags, attempt, created_at, finished_at,"
            f" keep_until, reason) SELECT {ids}, {self.queue}, CASE WHEN n % 2 = 1 THEN 1 ELSE 2 END, 0, 1,"
            f" {self._in(0)}, {self._in(0)}, {self._in(86_400)}, {why} FROM {numbers}",
            f"INSERT INTO {self.table('ended_body')} (job_id, rank, max_attempts, body)"
            f" SELECT job_id, 255, 0, {self._body} FROM {self.table('done')} WHERE status = 2",
        )

    def _wait(self, count: int, due: str, run_at: str, *, flags: int, first: int | None = None) -> None:
        numbers, base = self._numbers(count)
        self.run(
            f"INSERT INTO {self.table('wait')} (due_at, run_at, created_at, queue_id, rank, flags, job_id, body)"
            f" SELECT {due}, {run_at}, {self._in(0)}, {self.queue}, 255, {flags},"
            f" {self._id(f'{first or base} + n - 1')}, {self._body} FROM {numbers}"
        )
