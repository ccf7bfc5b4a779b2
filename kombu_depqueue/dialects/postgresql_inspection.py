"""PostgreSQL: durability, privileges, poolers, and what keeps vacuum from its work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kombu_depqueue.dialects.base import Tx
from kombu_depqueue.dialects.inspection import LONG, Finding, Inspection, Severity, TableSize, listed

__all__ = ["PostgreSQLInspection", "durability", "standbys"]

DEAD = 50_000
"""Dead rows of a table that vacuum should have cleared: it begins with 5,000 in the hot one."""
BEHIND = 1 << 30
"""Bytes of WAL that a slot may keep."""

_SETTINGS = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "synchronous_standby_names",
    "client_min_messages",
    "autovacuum",
    "track_counts",
    "transaction_read_only",
)

_SIZES = """
SELECT c.relname, pg_total_relation_size(c.oid), s.n_live_tup, s.n_dead_tup
FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid
WHERE c.relnamespace = (SELECT to_regnamespace(coalesce($1::text, current_schema()))) AND c.relname = ANY ($2)
  AND c.relkind = 'r' ORDER BY c.relname"""

# Of other roles' sessions only members of pg_read_all_stats see these times; without them nothing is found.
_SESSIONS = """
SELECT pid, coalesce(application_name, ''), state = 'idle in transaction',
  extract(epoch FROM clock_timestamp() - CASE WHEN state = 'idle in transaction' THEN state_change ELSE xact_start END)
FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = current_database()
  AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state = 'idle in transaction')
  AND xact_start < clock_timestamp() - make_interval(secs => $1)
ORDER BY 4 DESC"""

_SLOTS = """
SELECT slot_name, coalesce(xmin, catalog_xmin) IS NOT NULL,
  pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)
FROM pg_replication_slots WHERE NOT active"""

# Of replication, too, not everybody sees more than that it is there.
_STANDBYS = """
SELECT count(*), count(sync_state), count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')) FROM pg_stat_replication
WHERE NOT pg_is_in_recovery()"""

_PREPARED = """
SELECT gid FROM pg_prepared_xacts WHERE database = current_database()
  AND prepared < clock_timestamp() - make_interval(secs => $1)"""

_RIGHTS = """
SELECT c.relname || ': ' || p.name FROM pg_class c CROSS JOIN unnest($3::text[]) AS p(name)
WHERE c.relnamespace = (SELECT to_regnamespace(coalesce($1::text, current_schema()))) AND c.relname = ANY ($2)
  AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, p.name) ORDER BY 1"""

_OPTIONS = """
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = (SELECT to_regnamespace(coalesce($1::text, current_schema()))) AND c.relname = ANY ($2)
  AND c.relkind = 'r' AND c.reloptions && ARRAY['autovacuum_enabled=off', 'autovacuum_enabled=false']"""


_INVALID = """
SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
WHERE NOT x.indisvalid AND c.relnamespace = (SELECT to_regnamespace(coalesce($1::text, current_schema())))
  AND c.relname = ANY ($2)"""


class PostgreSQLInspection(Inspection):
    """Looks at a PostgreSQL server."""

    least = (14,)

    def ask(self, tx: Tx, sql: str, *values: Any) -> list[Any]:
        """Differs: by psycopg's own cursor, which knows lists."""
        cursor = tx.connection.cursor()
        for number in range(len(values), 0, -1):
            sql = sql.replace(f"${number}", f"%(p{number})s")
        cursor.execute(sql, {f"p{n}": value for n, value in enumerate(values, 1)})
        return list(cursor.fetchall())

    def version(self, tx: Tx) -> str:
        """Differs: without what it was built with."""
        return str(self.ask(tx, "SELECT current_setting('server_version')")[0][0]).split()[0]

    def _ours(self) -> tuple[str | None, list[str]]:
        return self.tables.schema, [t.name for t in self.tables.metadata.tables.values()]

    def table_sizes(self, tx: Tx) -> list[TableSize]:
        """Differs: from the catalog and the statistics."""
        return [TableSize(self.short(name), *rest) for name, *rest in self.ask(tx, _SIZES, *self._ours())]

    def durability(self, tx: Tx) -> dict[str, str]:
        """Differs: as our sessions have them."""
        return {name: self._facts(tx)[name] for name in ("fsync", "full_page_writes", "synchronous_commit")}

    def _facts(self, tx: Tx) -> dict[str, str]:
        asked = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
        return dict(zip(_SETTINGS, self.ask(tx, f"SELECT {asked}")[0], strict=True))

    def findings(self, tx: Tx) -> Iterator[Finding]:
        """Differs: all that this server has to say."""
        facts = self._facts(tx)
        yield from durability(facts)
        if facts["synchronous_standby_names"] and facts["transaction_read_only"] == "off":
            yield from standbys(facts, *self.ask(tx, _STANDBYS)[0])
        yield from self._rights(tx, facts)
        for (name,) in self.ask(tx, _INVALID, *self._ours()):
            yield Finding(
                "invalid-index",
                Severity.ERROR,
                f"index {name} is invalid",
                "It was being made and is not whole: it is written, but never used.",
                f"REINDEX INDEX CONCURRENTLY {name}.",
            )
        yield from self._pooler()
        yield from self._autovacuum(tx, facts)
        yield from self._old_snapshots(tx)
        yield from self._slots(tx)

    def _rights(self, tx: Tx, facts: Mapping[str, str]) -> Iterator[Finding]:
        if facts["transaction_read_only"] == "on":
            yield Finding(
                "read-only",
                Severity.ERROR,
                "the server takes no writes from us (a standby, or default_transaction_read_only)",
                "Nothing can be enqueued or reserved here.",
                "Connect to the primary: several hosts in the URL with target_session_attrs=read-write.",
            )
        rights = [str(r) for (r,) in self.ask(tx, _RIGHTS, *self._ours(), ["SELECT", "INSERT", "UPDATE", "DELETE"])]
        if rights:
            yield Finding(
                "privileges",
                Severity.WARNING,
                f"this role lacks privileges on our tables: {listed(rights)}",
                "It cannot do all that a consumer does; that may be what you want of a publisher.",
                "GRANT what is missing, or let doctor run as the role of the workers.",
            )

    def _pooler(self) -> Iterator[Finding]:
        if getattr(self.dialect, "pooled", False):
            yield Finding(
                "pooler",
                Severity.NOTE,
                "no session of our own: a pooler in transaction mode, or prepared_statements=false",
                "Consumers are not woken up but look each poll_interval; what a killed worker held waits for its "
                "lease; statements are planned anew each time.",
                "Let workers connect to the server itself; producers do well behind a pooler.",
            )

    def _autovacuum(self, tx: Tx, facts: Mapping[str, str]) -> Iterator[Finding]:
        off = [str(name) for (name,) in self.ask(tx, _OPTIONS, *self._ours())]
        if "off" in (facts["autovacuum"], facts["track_counts"]) or off:
            where = f"for {listed(off)}" if off else "on this server (autovacuum, track_counts)"
            yield Finding(
                "autovacuum",
                Severity.ERROR,
                f"autovacuum is off {where}",
                "Rows of jobs that are done stay where claims look: tables grow, and claims get slow.",
                "Turn it on; what our tables need otherwise is set for each of them.",
            )
        for table in self.table_sizes(tx):
            if (table.dead or 0) > max(DEAD, table.rows or 0):
                yield Finding(
                    "dead-rows",
                    Severity.WARNING,
                    f"table {table.name}: about {table.dead:,} dead rows, {table.rows:,} live ones",
                    "Vacuum does not keep up, or something keeps it from clearing them away.",
                    "See to the other findings; then VACUUM the table.",
                )

    def _old_snapshots(self, tx: Tx) -> Iterator[Finding]:
        for pid, name, idle, seconds in self.ask(tx, _SESSIONS, LONG):
            what = "idle in a transaction" if idle else "in a transaction"
            yield Finding(
                "idle-in-transaction" if idle else "long-transaction",
                Severity.WARNING,
                f"session {pid} ({name or 'no name'}) has been {what} for {float(seconds):.0f} s",
                "As long as it lasts nothing that was deleted since can be cleared away, in any table.",
                f"End it (SELECT pg_terminate_backend({pid})); set idle_in_transaction_session_timeout for its role.",
            )
        prepared = [str(gid) for (gid,) in self.ask(tx, _PREPARED, LONG)]
        if prepared:
            yield Finding(
                "prepared-transaction",
                Severity.WARNING,
                f"prepared transactions are left open: {listed(prepared)}",
                "They hold their locks and keep dead rows, also over a restart.",
                "COMMIT PREPARED or ROLLBACK PREPARED them.",
            )

    def _slots(self, tx: Tx) -> Iterator[Finding]:
        for name, holds, behind in self.ask(tx, _SLOTS):
            if holds or (behind or 0) > BEHIND:
                yield Finding(
                    "replication-slot",
                    Severity.WARNING,
                    f"replication slot {name} is used by nobody, and {int(behind or 0):,} bytes behind",
                    "It keeps WAL, and perhaps dead rows, until the disk is full.",
                    f"Bring its standby back, or SELECT pg_drop_replication_slot('{name}').",
                )


def durability(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What a power cut may take, by the server's settings as our sessions have them."""
    lost = "A power cut can lose committed jobs, and damage the whole database."
    for name in ("fsync", "full_page_writes"):
        if facts[name] == "off":
            yield Finding(
                name.replace("_", "-"), Severity.ERROR, f"{name} is off", lost, f"ALTER SYSTEM SET {name} = on."
            )
    mode, names = facts["synchronous_commit"], facts["synchronous_standby_names"]
    if mode == "off":
        yield Finding(
            "synchronous-commit",
            Severity.ERROR,
            "synchronous_commit is off for our sessions",
            "A power cut loses the jobs of the last moments, though enqueue had returned.",
            "Set it to on for this role: ALTER ROLE ... SET synchronous_commit = on.",
        )
    elif names and mode == "local":
        yield Finding(
            "synchronous-commit",
            Severity.WARNING,
            "there are synchronous standbys, but synchronous_commit is local",
            "After a failover the jobs of the last moments may be missing.",
            "Set it to on, if no job may be lost with the primary.",
        )
    elif names and mode == "remote_write":
        yield Finding(
            "synchronous-commit",
            Severity.NOTE,
            "synchronous_commit is remote_write",
            "A job is in the memory of the standby when enqueue returns: it is lost if both machines lose power.",
            "Set it to on, if that may not be.",
        )


def standbys(facts: Mapping[str, str], seen: int, told: int, synchronous: int) -> Iterator[Finding]:
    """Whether there are the synchronous standbys that commits wait for: of those seen, of how many that is told."""
    names = facts["synchronous_standby_names"]
    wanted = _wanted(names)
    if seen < wanted or (told == seen and synchronous < wanted):
        yield Finding(
            "synchronous-standby",
            Severity.ERROR,
            f"synchronous_standby_names is {names!r}, and of {wanted} wanted {min(seen, synchronous)} are connected",
            "Commits wait for ever: enqueue and ack raise StorageError after `deadline`.",
            "Bring the standby back, or name another.",
        )
    if facts["client_min_messages"] in ("error", "fatal", "panic"):
        yield Finding(
            "client-min-messages",
            Severity.WARNING,
            f"client_min_messages is {facts['client_min_messages']} for our sessions",
            "That a commit was not replicated, since somebody canceled its wait, is a warning that is never heard.",
            "Set it to warning for this role: ALTER ROLE ... SET client_min_messages = warning.",
        )


def _wanted(names: str) -> int:
    """How many standbys must confirm: `FIRST 2 (...)`, `ANY 2 (...)`, `2 (...)`, or a list, which means one."""
    found = re.match(r"\s*(?:(?:first|any)\s+)?(\d+)\s*\(", names, re.IGNORECASE)
    return int(found[1]) if found else 1
