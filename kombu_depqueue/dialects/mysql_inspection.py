"""MariaDB and MySQL: durability, packets, and what keeps InnoDB from purging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kombu_depqueue.dialects.base import Tx
from kombu_depqueue.dialects.inspection import LONG, Finding, Inspection, Severity, TableSize, listed, version_of

__all__ = ["MySQLInspection", "durability"]

_SETTINGS = ("innodb_flush_log_at_trx_commit", "innodb_doublewrite", "log_bin", "sync_binlog", "read_only")

_TABLES = """
SELECT table_name, coalesce(data_length, 0) + coalesce(index_length, 0), table_rows, engine
FROM information_schema.tables WHERE table_schema = database() AND table_name IN %s ORDER BY table_name"""

_TRANSACTIONS = """
SELECT trx_mysql_thread_id, TIMESTAMPDIFF(SECOND, trx_started, NOW()) FROM information_schema.innodb_trx
WHERE trx_started < NOW() - INTERVAL %s SECOND AND trx_mysql_thread_id <> CONNECTION_ID() ORDER BY trx_started"""


class MySQLInspection(Inspection):
    """Looks at a MariaDB or MySQL server."""

    def version(self, tx: Tx) -> str:
        """Differs: MariaDB says its name."""
        return str(self.ask(tx, "SELECT VERSION()")[0][0])

    def too_old(self, version: str) -> str:
        """Differs: MariaDB has other numbers."""
        least, name = ((10, 6), "MariaDB") if "MariaDB" in version else ((8,), "MySQL")
        return "" if version_of(version) >= least else f"{name} {'.'.join(map(str, least))}"

    def table_sizes(self, tx: Tx) -> list[TableSize]:
        """Differs: as InnoDB estimates them; it does not count dead rows."""
        return [TableSize(self.short(name), int(size), rows) for name, size, rows, _ in self._tables(tx)]

    def durability(self, tx: Tx) -> dict[str, str]:
        """Differs: the server's."""
        asked = ", ".join(f"@@{name}" for name in _SETTINGS)
        return dict(zip(_SETTINGS, map(str, self.ask(tx, f"SELECT {asked}")[0]), strict=True))

    def _tables(self, tx: Tx) -> list[tuple[str, int, int | None, str]]:
        return list(self.ask(tx, _TABLES, [t.name for t in self.tables.metadata.tables.values()]))

    def findings(self, tx: Tx) -> Iterator[Finding]:
        """Differs: all that this server has to say."""
        yield from durability(self.durability(tx))
        other = [self.short(name) for name, _, _, engine in self._tables(tx) if engine != "InnoDB"]
        if other:
            yield Finding(
                "engine",
                Severity.ERROR,
                f"not in InnoDB: {listed(other)}",
                "There are no transactions in other engines: jobs get lost and doubled.",
                "ALTER TABLE ... ENGINE = InnoDB.",
            )
        most, wanted = int(self.ask(tx, "SELECT @@max_allowed_packet")[0][0]), self.dialect.settings.max_body_bytes
        if most < 2 * wanted:
            yield Finding(
                "max-allowed-packet",
                Severity.NOTE,
                f"max_allowed_packet is {most:,}, and max_body_bytes {wanted:,}",
                "A payload is written out in the statement, at up to twice its size: bigger ones are refused.",
                "Make the one twice as big as the other.",
            )
        yield from self._transactions(tx)

    def _transactions(self, tx: Tx) -> Iterator[Finding]:
        dbapi = self.dialect.driver_errors()
        try:
            rows = self.ask(tx, _TRANSACTIONS, LONG)
        except dbapi:
            yield Finding(
                "privileges", Severity.NOTE, "long transactions cannot be seen", "", "GRANT PROCESS to this user."
            )
            return
        for thread, seconds in rows:
            yield Finding(
                "long-transaction",
                Severity.WARNING,
                f"connection {thread} has been in a transaction for {int(seconds)} s",
                "As long as it lasts InnoDB keeps what was deleted and changed since: claims get slow.",
                f"End it (KILL {thread}).",
            )


def durability(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What a power cut may take, by the server's settings."""
    if facts["innodb_flush_log_at_trx_commit"] not in ("1", "3"):
        yield Finding(
            "flush-log",
            Severity.ERROR,
            f"innodb_flush_log_at_trx_commit is {facts['innodb_flush_log_at_trx_commit']}",
            "A power cut loses the jobs of the last second, though enqueue had returned.",
            "Set it to 1.",
        )
    if facts["innodb_doublewrite"] in ("0", "OFF"):
        yield Finding(
            "doublewrite",
            Severity.ERROR,
            "innodb_doublewrite is off",
            "A power cut can damage the database.",
            "Turn it on, unless the disk writes pages of 16 KiB at once.",
        )
    if facts["log_bin"] in ("1", "ON") and facts["sync_binlog"] != "1":
        yield Finding(
            "sync-binlog",
            Severity.WARNING,
            f"sync_binlog is {facts['sync_binlog']}",
            "After a power cut the replicas may miss jobs that this server has.",
            "Set it to 1.",
        )
    if facts["read_only"] in ("1", "ON"):
        yield Finding(
            "read-only",
            Severity.ERROR,
            "the server is read only",
            "Nothing can be enqueued or reserved here.",
            "Connect to the primary.",
        )
