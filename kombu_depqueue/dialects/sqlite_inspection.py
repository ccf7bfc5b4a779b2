"""SQLite: the file, its journal, and its settings."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from kombu_depqueue.dialects.base import Tx
from kombu_depqueue.dialects.inspection import Finding, Inspection, Severity, TableSize

__all__ = ["SQLiteInspection"]

BIG = 64 << 20
"""Bytes of the write-ahead log: it is written into the file at each 4 MB, unless somebody reads."""


class SQLiteInspection(Inspection):
    """Looks at an SQLite file."""

    least = (3, 35)

    def version(self, tx: Tx) -> str:
        """Differs: the library is the server."""
        return sqlite3.sqlite_version

    def durability(self, tx: Tx) -> dict[str, str]:
        """Differs: our own option, and the journal."""
        mode = str(self.ask(tx, "PRAGMA journal_mode")[0][0])
        return {"synchronous": self.dialect.settings.synchronous, "journal_mode": mode}

    def table_sizes(self, tx: Tx) -> list[TableSize]:
        """Differs: of the whole file; single tables are not known without reading them."""
        pages, size = (int(self.ask(tx, f"PRAGMA {name}")[0][0]) for name in ("page_count", "page_size"))
        return [TableSize("", pages * size)]

    def findings(self, tx: Tx) -> Iterator[Finding]:
        """Differs: all that a file can have."""
        mode = str(self.ask(tx, "PRAGMA journal_mode")[0][0])
        if mode != "wal":
            yield Finding(
                "journal-mode",
                Severity.WARNING,
                f"the journal mode is {mode}, not wal",
                "Readers and writers wait for each other; the file may be on a network disk, where locks do not hold.",
                "Put the file on a local disk.",
            )
        if self.dialect.settings.synchronous.upper() == "NORMAL":
            yield Finding(
                "synchronous",
                Severity.WARNING,
                "the option synchronous is NORMAL",
                "A power cut loses the jobs of the last moments, though enqueue had returned.",
                "Leave it at FULL, if no job may be lost.",
            )
        file = str(self.ask(tx, "PRAGMA database_list")[0][2])
        yield from self._file(file)
        pages, free, size = (
            int(self.ask(tx, f"PRAGMA {name}")[0][0]) for name in ("page_count", "freelist_count", "page_size")
        )
        if free * 2 > pages and free * size > BIG:
            yield Finding(
                "free-pages",
                Severity.NOTE,
                f"{free * size:,} of the file's {pages * size:,} bytes are free",
                "They are used again; the file does not shrink by itself.",
                "VACUUM makes it small, while nobody works with it.",
            )

    def _file(self, file: str) -> Iterator[Finding]:
        if not (os.access(file, os.W_OK) and os.access(os.path.dirname(file), os.W_OK)):
            yield Finding(
                "read-only",
                Severity.ERROR,
                "the file or its directory cannot be written by this user",
                "Nothing can be enqueued or reserved; the journal lies beside the file.",
                "Give the user of the workers write access to both.",
            )
        journal = f"{file}-wal"
        if os.path.exists(journal) and (size := os.path.getsize(journal)) > BIG:
            yield Finding(
                "big-journal",
                Severity.WARNING,
                f"the write-ahead log has {size:,} bytes",
                "Somebody reads in one transaction for very long, so that it cannot be emptied: all gets slow.",
                "End that transaction.",
            )
