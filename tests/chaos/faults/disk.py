"""A disk that is full: PostgreSQL's data on a small file system that nobody else sees; pages that SQLite may not pass.

The file system is mounted by a thread in a mount namespace of its own (what a thread mounts there, only its children
see), and goes when thread and server have ended: root alone may do that.
"""

from __future__ import annotations

import ctypes
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from faults.base import Scene
from faults.servers import DURABLE, OwnServer
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from kombu_depqueue.testing.servers import ServerMissing, _account, start_postgresql

__all__ = ["Ballast", "DiskFull", "Namespace", "PageLimit", "SmallDisk", "mounted", "postgresql", "small_disk"]

T = TypeVar("T")

SIZE = 160
"""Megabytes: 40 for an empty server, 64 for its journal, and some for jobs."""
OPTIONS = {**DURABLE, "max_wal_size": "48MB", "min_wal_size": "32MB", "max_connections": "50"}
NEW_NAMESPACE, RECURSIVELY, PRIVATE = 0x20000, 0x4000, 0x40000  # of <sched.h>, <sys/mount.h>
BLOCK = 4096


class Namespace:
    """A thread that has left the mount namespace of its process, and what it is asked to do there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="namespace")
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Namespace:
        self._thread.submit(self._leave).result()
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.shutdown()

    def do(self, call: Callable[..., T], *args: Any) -> T:
        """Do it there: so that it sees the file system, and so do processes that it starts."""
        return self._thread.submit(call, *args).result()

    def mount(self, place: Path, megabytes: int) -> None:
        """A file system in memory, as large as that, for the account that runs servers. Raises ServerMissing."""
        account = _account()
        owner = f",uid={account['user']},gid={account['group']}" if account else ""
        options = f"size={megabytes}m,mode=0700{owner}"
        try:
            self.do(self._check, self._libc.mount, b"tmpfs", bytes(place), b"tmpfs", 0, options.encode())
        except OSError as error:
            raise ServerMissing(f"a small disk cannot be mounted here: {error}", expected=False) from None

    def _leave(self) -> None:
        if os.geteuid() != 0:
            raise ServerMissing("only root can mount a small disk", expected=False)
        try:
            self._check(self._libc.unshare, NEW_NAMESPACE)
            self._check(self._libc.mount, None, b"/", None, RECURSIVELY | PRIVATE, None)
        except OSError as error:
            raise ServerMissing(f"a small disk cannot be mounted here: {error}", expected=False) from None

    def _check(self, call: Callable[..., int], *args: object) -> None:
        if call(*args):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


class Ballast:
    """A file that fills a disk; to be made where the disk is seen, and then used from anywhere."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "ballast", os.O_RDWR | os.O_CREAT)

    def fill(self) -> None:
        """Leave no block free."""
        os.lseek(self._file, 0, os.SEEK_END)
        for size in (1 << 20, BLOCK):
            with suppress(OSError):
                while True:
                    os.write(self._file, bytes(size))

    def free(self) -> None:
        """Make room again."""
        os.ftruncate(self._file, 0)

    @property
    def blocks_free(self) -> int:
        """How many the disk has."""
        return os.statvfs(self._file).f_bavail

    def close(self) -> None:
        """Let the disk go."""
        os.close(self._file)


class SmallDisk(OwnServer):
    """A PostgreSQL server whose disk can be filled, from any thread."""

    namespace: Namespace
    ballast: Ballast

    def flood(self) -> bool:
        """Have the journal grow until the server ends because it cannot write it; whether it did."""
        engine = create_engine(self.url, poolclass=NullPool, connect_args={"connect_timeout": 5})
        write = text("SELECT pg_logical_emit_message(false, 'flood', repeat('x', 1000000))")
        with suppress(SQLAlchemyError), engine.connect() as connection:
            for _ in range(200):
                connection.execute(write)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        return not self.is_running

    def start(self) -> None:
        """As any; but seeing its files."""
        self.namespace.do(super().start)

    def close(self) -> None:
        """As any; and the disk can go."""
        super().close()
        self.ballast.close()


@dataclass
class DiskFull:
    """There is no room for a while. PostgreSQL ends where it cannot write its journal, and is started again then."""

    server: SmallDisk
    longest: float = 3.0
    name: str = "disk full"

    def inject(self, chance: random.Random) -> None:
        self.server.ballast.fill()
        try:
            if chance.random() < 0.5:
                self.server.flood()
            time.sleep(chance.uniform(0.5, self.longest))
        finally:
            self.server.ballast.free()
            self.server.start()


@contextmanager
def mounted(megabytes: int) -> Iterator[tuple[Namespace, Path, Ballast]]:
    """A small disk that only this namespace sees, where it is there, and what fills it. Raises ServerMissing."""
    with TemporaryDirectory(prefix="depqueue-disk-") as name, Namespace() as namespace:
        namespace.mount(Path(name), megabytes)
        ballast = namespace.do(Ballast, Path(name))
        yield namespace, Path(name), ballast
        ballast.close()


@contextmanager
def small_disk(megabytes: int = SIZE) -> Iterator[SmallDisk]:
    """A server on a small disk of its own. Raises ServerMissing."""
    with TemporaryDirectory(prefix="depqueue-disk-") as name, Namespace() as namespace:
        directory = Path(name)
        (directory / "data").mkdir()
        namespace.mount(directory / "data", megabytes)
        url, process = namespace.do(partial(start_postgresql, options=OPTIONS), directory)
        server = SmallDisk(url, process, directory)
        server.namespace = namespace
        server.ballast = namespace.do(Ballast, directory / "data")
        try:
            yield server
        finally:
            server.close()


@contextmanager
def postgresql() -> Iterator[Scene]:
    """A PostgreSQL server whose disk is full now and then."""
    with small_disk() as server:
        yield Scene(server.url, server.url, [DiskFull(server)])


class PageLimit:
    """How far SQLite files may grow: for the connections that this process makes from now on, each of which has a limit."""

    UNLIMITED = 2**31

    def __init__(self) -> None:
        self._pages = self.UNLIMITED
        self._connections: list[sqlite3.Connection] = []

    def __enter__(self) -> PageLimit:
        event.listen(Engine, "connect", self._connected)
        return self

    def __exit__(self, *exc: object) -> None:
        event.remove(Engine, "connect", self._connected)

    def _connected(self, connection: object, record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            self._connections.append(connection)
            connection.execute(f"PRAGMA max_page_count = {self._pages}")

    def fill(self) -> None:
        """No page more than there is."""
        self._set(1)

    def free(self) -> None:
        """As many as are wanted."""
        self._set(self.UNLIMITED)

    def _set(self, pages: int) -> None:
        self._pages = pages
        for connection in self._connections:
            with suppress(sqlite3.ProgrammingError):  # it was closed
                connection.execute(f"PRAGMA max_page_count = {pages}")
