"""PostgreSQL servers of our own, from a wheel: with standbys, to be killed, frozen and promoted."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import _account, _free_port, _runnable_binaries

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "wal_level": "replica",
    "hot_standby": "on",
    "log_min_messages": "warning",
}


def family(pid: int) -> list[int]:
    """A process and all that come from it, the eldest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def signal_all(pids: Sequence[int], what: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, what)


class Server:
    """One PostgreSQL server."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        cluster.own(self.folder)
        self.data = self.folder / "data"
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []

    def start(self) -> Server:
        settings = {**SETTINGS, "port": str(self.port), "cluster_name": self.name}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.cluster.binaries / "postgres"), "-D", str(self.data), *options],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.cluster.account,
            )
        wait_until(lambda: self.answers() or self._complain(), 60)
        return self

    def _complain(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-3000:]
        return False

    def answers(self) -> bool:
        try:
            self.ask("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def ask(self, sql: str, *values: Any) -> Any:
        """The first column of the first row."""
        with psycopg.connect(self.conninfo, connect_timeout=5, autocommit=True) as connection:
            row = connection.execute(sql, values or None).fetchone()  # type: ignore[arg-type]
        return None if row is None else row[0]

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.conninfo, connect_timeout=5, autocommit=True) as connection:
            for sql in statements:
                connection.execute(sql)  # type: ignore[arg-type]

    @property
    def conninfo(self) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres password={self.cluster.password} dbname=postgres"

    @property
    def url(self) -> str:
        return url_of([self])

    def kill(self) -> None:
        """kill -9, of all its processes: as when the machine dies."""
        assert self.process is not None
        signal_all(family(self.process.pid), signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop all its processes; connections stay, and are never answered."""
        assert self.process is not None
        signal_all([self.process.pid], signal.SIGSTOP)  # first: it must have no more children
        self._frozen = family(self.process.pid)
        signal_all(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(self._frozen, signal.SIGCONT)
        self._frozen = []

    def promote(self) -> None:
        """Make a standby the primary; returns when it takes writes."""
        assert self.ask("SELECT pg_promote(true, 30)")

    def stop(self) -> None:
        self.thaw()
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                return
            self.kill()


class Cluster:
    """A primary and its standbys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.account = _account()
        self.own(folder)
        self.binaries = _runnable_binaries(folder, self.account)
        self.password = secrets.token_urlsafe(16)
        self.servers: list[Server] = []

    def own(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account["user"], self.account["group"])

    def tool(self, *command: str, **environment: str) -> None:
        done = subprocess.run(
            [str(self.binaries / command[0]), *command[1:]],
            cwd=self.folder,
            env={**os.environ, "PGPASSWORD": self.password, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            **self.account,
        )
        assert done.returncode == 0, f"{command[0]}: {done.stderr or done.stdout}"

    @cached_property
    def primary(self) -> Server:
        server = Server(self, "primary")
        secret = server.folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        self.own(secret)
        how = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        self.tool("initdb", "-D", str(server.data), "--no-sync", *how)
        with (server.data / "pg_hba.conf").open("a") as rules:
            rules.write("host replication postgres 127.0.0.1/32 scram-sha-256\n")
        self.servers.append(server)
        return server.start()

    def standby(self, name: str, *, of: Server | None = None) -> Server:
        """A standby with a slot of its own."""
        primary = of or self.primary
        server = Server(self, name)
        how = ["-R", "-C", "-S", name, "-c", "fast", "--no-sync", "-X", "stream"]
        self.tool("pg_basebackup", "-d", f"{primary.conninfo} application_name={name}", "-D", str(server.data), *how)
        self.servers.append(server)
        server.start()
        wait_until(lambda: primary.ask("SELECT state FROM pg_stat_replication WHERE application_name = %s", name))
        return server

    def synchronous(self, names: str) -> None:
        """Have commits wait for these standbys ("": for none)."""
        primary = self.primary
        primary.run(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
        wait_until(lambda: primary.ask("SHOW synchronous_standby_names") == names)
        if names:
            sync = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')"
            wait_until(lambda: primary.ask(sync))

    def close(self) -> None:
        for server in self.servers:
            server.stop()


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """An empty one, in a folder that the account of its servers may enter; it ends with the block."""
    with TemporaryDirectory(prefix="depqueue-availability-") as folder:
        made = Cluster(Path(folder))
        try:
            yield made
        finally:
            made.close()


def url_of(servers: Sequence[Server], **options: str) -> str:
    """One URL of several servers, of which that is wanted that takes writes."""
    password = servers[0].cluster.password
    query = [f"host=127.0.0.1:{server.port}" for server in servers]
    query += [f"{name}={value}" for name, value in {"target_session_attrs": "read-write", **options}.items()]
    return f"postgresql://postgres:{password}@/postgres?{'&'.join(query)}"
