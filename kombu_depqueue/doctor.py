"""What is wrong with a queue and its database, what that means, and what to do about it; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kombu_depqueue._version import __version__
from kombu_depqueue.dialects import Finding, Severity, Tx
from kombu_depqueue.drift import drift
from kombu_depqueue.errors import SchemaError
from kombu_depqueue.listings import Listings
from kombu_depqueue.monitoring import Monitor
from kombu_depqueue.schema import SCHEMA_VERSION
from kombu_depqueue.settings import shown_url
from kombu_depqueue.statements import COUNT_LIMIT
from kombu_depqueue.store import Store
from kombu_depqueue.versions import Facts

__all__ = ["Doctor", "Report"]

SKEW = 2.0
"""Seconds by which clocks may differ."""
OVERDUE = 60.0
"""Seconds after which somebody should have done the upkeep."""


@dataclass(frozen=True, slots=True)
class Report:
    """All that was found, the worst first."""

    database: str
    """Its URL, without the password."""
    server: str
    """Its version, as it says."""
    driver: str
    library: str
    findings: Sequence[Finding]

    def worst(self) -> Severity | None:
        """How bad it is; None: nothing was found."""
        return self.findings[0].severity if self.findings else None


class Doctor:
    """Looks at everything once."""

    def __init__(self, store: Store, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._store, self._clock = store, clock
        self._database = store.database
        self._sql = store.sql
        self._inspection = store.dialect.inspection()

    def examine(self) -> Report:
        """Examine. Raises SchemaError if there are no tables, StorageError."""
        server = self._database.read(self._inspection.version)
        facts = self._database.schema_facts()
        if facts is None:
            raise self._database.no_schema()
        found = [*self._version(server), *_schema(facts), *self._database.read(self._skew)]
        found += self._database.read(lambda tx: list(self._inspection.findings(tx)))
        with self._database.opened() as connection:
            drifted = list(drift(connection, self._store.dialect.tables, facts.version))
        found += drifted
        try:
            found += self._work()
        except SchemaError:
            if not any(one.code == "missing-table" for one in drifted):
                raise
        dbapi = self._store.dialect.engine.dialect
        driver = f"{dbapi.driver} {getattr(dbapi.dbapi, '__version__', '')}".strip()
        found.sort(key=lambda one: one.severity.rank)
        return Report(shown_url(self._database.settings.url), server, driver, __version__, found)

    def _version(self, server: str) -> Iterator[Finding]:
        least = self._inspection.too_old(server)
        if least:
            yield Finding(
                "server-version",
                Severity.ERROR,
                f"the server is {server}",
                f"This library needs {least}: some statements fail.",
                "Upgrade the server.",
            )

    def _skew(self, tx: Tx) -> list[Finding]:
        before = self._clock()
        theirs: datetime = tx.all(self._sql.clock)[0][0]
        after = self._clock()
        # It was read at some moment in between.
        off = max((theirs - after).total_seconds(), (before - theirs).total_seconds(), 0.0)
        if off <= SKEW:
            return []
        which = "ahead of" if theirs > after else "behind"
        return [
            Finding(
                "clock-skew",
                Severity.WARNING,
                f"the database's clock is {off:.0f} s {which} this machine's",
                "Only the database's counts: times that programs compute here (run_at, eta) are off by as much.",
                "Let both machines follow NTP.",
            )
        ]

    # what upkeep should have done

    def _work(self) -> Iterator[Finding]:
        seen = Monitor(self._store).look(None)
        overdue = int(self._database.read(lambda tx: tx.all(self._sql.count_overdue, p_age=OVERDUE))[0][0])
        if overdue:
            yield Finding(
                "dead-consumers",
                Severity.ERROR,
                f"{overdue} leases ran out more than {OVERDUE:.0f} s ago",
                "Their holders are dead, and nobody gives their jobs to others: no consumer is alive.",
                "Start a worker, or do the upkeep once: depqueue prune.",
            )
        due, _ = self._store.next_events()
        if due < -OVERDUE:
            yield Finding(
                "overdue-jobs",
                Severity.ERROR,
                f"a scheduled job has been due for {-due:.0f} s",
                "Nobody makes due jobs ready: no consumer is alive.",
                "Start a worker, or do the upkeep once: depqueue prune.",
            )
        waiting = [q.name for q in seen.queues if not q.paused and (q.oldest_ready_age or 0.0) > OVERDUE]
        if waiting and not seen.consumers["consumer"]:
            yield Finding(
                "nobody-consumes",
                Severity.WARNING,
                f"jobs wait in {', '.join(waiting[:5])}, and nobody consumes",
                "No JobQueue and no Celery worker is connected to these tables.",
                "Start a worker; look whether schema, table_prefix and the URL are the same.",
            )
        if Listings(self._store).prunable() >= COUNT_LIMIT:
            yield Finding(
                "old-records",
                Severity.WARNING,
                f"more than {COUNT_LIMIT - 1:,} records of ended jobs are out of time",
                "Consumers prune up to 10,000 a second while there are any: these were too many, or nobody consumes.",
                "Prune them: depqueue prune.",
            )


def _schema(facts: Facts) -> Iterator[Finding]:
    if facts.migrating is not None:
        yield Finding(
            "half-migrated",
            Severity.WARNING,
            f"a migration to schema version {facts.migrating} is under way, or was cut off",
            "Both versions of the library work meanwhile.",
            "If none is running: `depqueue migrate` goes on with it.",
        )
    elif facts.version != SCHEMA_VERSION:
        yield Finding(
            "schema-version",
            Severity.NOTE,
            f"the tables have schema version {facts.version}, this library {SCHEMA_VERSION}",
            "They work together; what only the newer one has is not used.",
            "`depqueue migrate`, when all libraries are new."
            if facts.version < SCHEMA_VERSION
            else "Upgrade the library.",
        )
