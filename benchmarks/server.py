"""Where the figures are taken: an SQLite file, or a schema on a PostgreSQL server; removed afterwards.

The server is the one of the tests, if it keeps what it is given and cleans up after
itself; one that runs with `fsync = off` or `autovacuum = off` would make some figures
too good and others too bad, so then a private one with the default settings is started.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peers.base import Missing
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from kombu_depqueue.testing.fixtures import Place
from kombu_depqueue.testing.servers import ServerMissing, postgresql

__all__ = ["ServerMissing", "admin", "binaries", "durable_postgresql", "place", "process_of", "settings_of"]


def binaries() -> Path | None:
    """The folder of `pgbench`, `initdb` and `postgres`: of the newest server installed here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pgbench"), key=lambda p: float(p.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("pgbench")
    return Path(on_path).resolve().parent if on_path else None


def admin(url: str) -> Any:
    """A psycopg connection in autocommit mode."""
    import psycopg

    plain = make_url(url).set(drivername="postgresql", query={})
    return psycopg.connect(plain.render_as_string(hide_password=False), autocommit=True)


def settings_of(url: str) -> dict[str, str]:
    """What of the server's settings the figures depend on."""
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "autovacuum", "shared_buffers")
    with admin(url) as connection:
        return {n: connection.execute(f"SHOW {n}").fetchone()[0] for n in names}


def process_of(url: str) -> int | None:
    """The process id of the server, if it runs on this machine."""
    with admin(url) as connection:
        local = connection.info.host in ("127.0.0.1", "localhost", "::1") or connection.info.host.startswith("/")
        stat = Path(f"/proc/{connection.info.backend_pid}/stat")
        return int(stat.read_text().rpartition(")")[2].split()[1]) if local and stat.exists() else None


@contextmanager
def durable_postgresql() -> Iterator[str]:
    """Give the URL of a server with ordinary settings."""
    with postgresql() as url:
        found = settings_of(url)
        if "off" not in (found["fsync"], found["autovacuum"], found["synchronous_commit"]):
            yield url
            return
    with TemporaryDirectory(prefix="depqueue-figures-") as directory, private(Path(directory)) as url:
        yield url


@contextmanager
def private(directory: Path) -> Iterator[str]:
    """Run a server with default settings in an empty directory; it listens to this machine only."""
    bin_dir = binaries()
    if bin_dir is None or not (bin_dir / "initdb").exists():
        raise ServerMissing("no PostgreSQL with default settings, and no initdb to make one")
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        import pwd

        nobody = pwd.getpwnam("nobody")
        account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    password, port = secrets.token_urlsafe(16), free_port()
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if account:
        os.chown(secret, account["user"], account["group"])
    init = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
    made = [str(bin_dir / "initdb"), "-D", str(directory / "data"), *init]
    subprocess.run(made, cwd=directory, check=True, stdout=subprocess.DEVNULL, **account)
    secret.unlink()
    run = [str(bin_dir / "postgres"), "-D", str(directory / "data"), "-p", str(port), "-h", "127.0.0.1"]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [*run, "-k", ""], cwd=directory, stdout=log, stderr=log, start_new_session=True, **account
        )
    url = f"postgresql+psycopg://postgres:{password}@127.0.0.1:{port}/postgres"
    try:
        _wait_until_ready(url)
        yield url
    finally:
        server.send_signal(2)  # "fast": it ends the open sessions
        server.wait(60)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    import psycopg

    for _ in range(600):
        try:
            admin(url).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("PostgreSQL did not start within a minute")


@contextmanager
def place(database: str, server: str | None = None) -> Iterator[Place]:
    """A fresh place: a file in a temporary directory ("sqlite"), else a schema on the server."""
    if database == "sqlite":
        with TemporaryDirectory(prefix="depqueue-figures-") as directory:
            url = f"sqlite:///{directory}/jobs.db"
            yield Place(url, url)
        return
    assert server is not None
    name = f"b_{secrets.token_hex(8)}"
    url = make_url(server).update_query_dict({"schema": name}).render_as_string(hide_password=False)
    try:
        yield Place(url, server, schema=name)
    finally:
        engine = create_engine(server, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("SET client_min_messages = warning"))
            connection.execute(text(f"DROP SCHEMA IF EXISTS {name} CASCADE"))


@contextmanager
def empty(database: str, server: str | None = None) -> Iterator[str]:
    """The URL of an empty file or database, for libraries that know no schema; removed afterwards."""
    if database == "sqlite":
        with TemporaryDirectory(prefix="depqueue-figures-") as directory:
            yield f"sqlite:///{directory}/jobs.db"
        return
    assert server is not None
    name = f"b_{secrets.token_hex(8)}"
    from psycopg.errors import InsufficientPrivilege

    with admin(server) as connection:
        try:
            connection.execute(f"CREATE DATABASE {name}")
        except InsufficientPrivilege:
            raise Missing("the user of the PostgreSQL server may not create databases") from None
    try:
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin(server) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
