"""Where a cell takes place: a database of its own, and the faults that need no server of their own."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from faults.base import Fault, Scene
from sqlalchemy import Engine, make_url, text

from kombu_depqueue.testing.places import Place, admin_engine, place_of
from kombu_depqueue.testing.servers import SERVERS
from kombu_depqueue.testing.sessions import Sessions, sessions_of

__all__ = ["Ground", "SceneMaker", "ground_of", "with_query"]

SceneMaker = Callable[[], AbstractContextManager[Scene]]


@dataclass
class Ground:
    """A place on a database, and who can look at its sessions."""

    scene: Scene
    place: Place
    sessions: Sessions | None = None
    admin: Engine | None = None
    extra: list[Fault] = field(default_factory=list)
    """Faults of this database that a cell may ask for by name."""

    def fault(self, name: str) -> Fault:
        """One of `extra`."""
        return next(f for f in self.extra if f.name == name)

    def idle_transactions(self) -> list[str]:
        """Sessions of ours that have been in a transaction for over a second, and do nothing; and held locks."""
        if self.admin is None or self.sessions is None:
            return []
        query = text(_IDLE_POSTGRESQL if self.admin.dialect.name == "postgresql" else _IDLE_MYSQL)
        name = {"name": self.sessions.name}
        with self.admin.connect() as connection:
            found = {str(row) for row in connection.execute(query, name)}
            if found:  # PostgreSQL lets go of a transaction's locks a moment after it is over
                time.sleep(0.2)
                found &= {str(row) for row in connection.execute(query, name)}
        return sorted(found)


# Not the application's own transactions, which may be open while a JobQueue connects for the first time. A lock of a
# session that is in no transaction is told by its virtual transaction: what it does now is read at another moment.
_IDLE_POSTGRESQL = """
SELECT pid, 'idle in transaction, last: ' || left(query, 200) FROM pg_stat_activity
WHERE application_name = :name AND state LIKE 'idle in transaction%'
  AND state_change < clock_timestamp() - interval '1 second' AND query NOT LIKE '%business%'
UNION ALL
SELECT a.pid, 'holds an advisory lock' FROM pg_stat_activity a JOIN pg_locks l USING (pid)
WHERE application_name = :name AND l.virtualtransaction LIKE '%/0' AND l.locktype = 'advisory'
"""
_IDLE_MYSQL = """
SELECT p.id, 'idle in transaction' FROM information_schema.innodb_trx t
JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id
WHERE p.db = :name AND p.command = 'Sleep' AND p.time > 4
"""


@dataclass
class SessionsKilled:
    """The server ends some of the sessions, or all."""

    sessions: Sessions
    name: str = "sessions killed"

    def inject(self, chance: random.Random) -> None:
        found = self.sessions.pids()
        share = chance.choice((0.2, 0.5, 1.0))
        self.sessions.kill([pid for pid in found if chance.random() < share])


@dataclass
class FileLocked:
    """Another process has the file for itself."""

    path: str
    name: str = "file locked"

    def inject(self, chance: random.Random) -> None:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            connection.execute(chance.choice(("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE")))
            time.sleep(chance.uniform(0.05, 0.6))
            connection.execute("ROLLBACK")
        finally:
            connection.close()


def with_query(url: str, **options: str) -> str:
    """The URL with more options."""
    made = make_url(url).update_query_dict(options)
    return made.render_as_string(hide_password=False)


@contextmanager
def ground_of(database: str, folder: Path, scene: SceneMaker | None = None) -> Iterator[Ground]:
    """A place for one cell: on a file, on the server that all tests use, or on one that `scene` starts."""
    with ExitStack() as stack:
        if scene is not None:
            yield _on_scene(stack.enter_context(scene()))
        elif database == "sqlite":
            file = f"sqlite:///{folder / 'jobs.db'}"
            yield Ground(Scene(file, file), Place(file, file), extra=[FileLocked(str(folder / "jobs.db"))])
        else:
            admin = admin_engine(stack.enter_context(SERVERS[database]()))
            stack.callback(admin.dispose)
            place = stack.enter_context(place_of(admin, f"chaos_{uuid4().hex[:12]}"))
            sessions = stack.enter_context(sessions_of(admin, place))
            url = sessions.url.render_as_string(hide_password=False)
            quiet = with_query(url, application_name="chaos_checker") if admin.dialect.name == "postgresql" else url
            yield Ground(Scene(url, quiet), place, sessions, admin, [SessionsKilled(sessions)])


def _on_scene(scene: Scene) -> Ground:
    query = make_url(scene.quiet_url).query
    place = Place(scene.quiet_url, scene.quiet_url, query.get("schema"), str(query.get("table_prefix", "")))
    return Ground(scene, place)
