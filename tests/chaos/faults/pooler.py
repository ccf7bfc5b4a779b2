"""PgBouncer in transaction mode: a client's session is another one in each transaction."""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from faults.base import Scene
from faults.servers import OwnServer
from sqlalchemy import URL, make_url

from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.places import admin_engine, place_of
from kombu_depqueue.testing.servers import SERVERS, ServerMissing, _account, _free_port, run_server

__all__ = ["Pooler", "PoolerRestarted", "ServersSwapped", "pooled", "pooler", "pooler_of"]


class Pooler(OwnServer):
    """PgBouncer, which passes on what its clients say to few sessions of the server."""

    clients_url: str
    """With all that is in the server's URL."""

    def ask(self, command: str) -> list[dict[str, object]]:
        """What its console answers."""
        import psycopg
        from psycopg.rows import dict_row

        url = make_url(self.url)
        who = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
        with psycopg.connect(**who, dbname="pgbouncer", autocommit=True, row_factory=dict_row) as console:  # type: ignore[arg-type]
            cursor = console.execute(command, prepare=False)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def end_at_once(self) -> None:
        """It ends without waiting for anybody."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@dataclass
class PoolerRestarted:
    """It ends, and is started again a moment later."""

    pooler: Pooler
    longest: float = 0.5
    name: str = "pooler restarted"

    def inject(self, chance: random.Random) -> None:
        chance.choice((self.pooler.kill, self.pooler.end_at_once))()
        time.sleep(chance.uniform(0.0, self.longest))
        self.pooler.start()


@dataclass
class ServersSwapped:
    """It takes other sessions of the server from the next transactions on."""

    pooler: Pooler
    name: str = "sessions swapped"

    def inject(self, chance: random.Random) -> None:
        self.pooler.ask("RECONNECT")


def _write(directory: Path, url: URL, port: int, sessions: int, ignored: str, password: str) -> Path:
    server = f"host={url.host} port={url.port or 5432} user={url.username}"
    if url.password:
        server += f" password={url.password}"
    (directory / "users").write_text(f'"{url.username}" "{password}"\n')
    file = directory / "pgbouncer.ini"
    file.write_text(f"""\
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory / "users"}
admin_users = {url.username}
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
server_login_retry = 1
{f"ignore_startup_parameters = {ignored}" if ignored else ""}
""")
    account = _account()
    for path in (directory, file, directory / "users"):
        path.chmod(0o700 if path is directory else 0o600)
        if account:
            os.chown(path, account["user"], account["group"])
    return file


@contextmanager
def pooler(url: str, *, sessions: int = 4, ignored: str = "") -> Iterator[Pooler]:
    """PgBouncer before this server; `ignored` are startup parameters that it swallows, instead of refusing them.

    Raises ServerMissing.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise ServerMissing("pgbouncer is not installed", expected=False)
    with TemporaryDirectory(prefix="depqueue-pooler-") as name:
        target, port, password = make_url(url), _free_port(), secrets.token_urlsafe(16)
        file = _write(Path(name), target, port, sessions, ignored, password)
        # Options of the URL that are ours stay; the driver's may be startup parameters.
        mine = target.set(host="127.0.0.1", port=port, password=password).update_query_dict({"sslmode": "disable"})
        plain = mine.set(query={"sslmode": "disable"}).render_as_string(hide_password=False)
        made = Pooler(plain, run_server([program, str(file)], Path(name)), Path(name))
        made.clients_url = mine.render_as_string(hide_password=False)
        try:
            wait_until(made.answers, 30, interval=0.05)
            yield made
        finally:
            made.close()


@contextmanager
def pooled() -> Iterator[Scene]:
    """A place on the server that all tests use, behind a pooler. For programs with `prepared_statements=False`."""
    with ExitStack() as stack:
        admin = admin_engine(stack.enter_context(SERVERS["postgresql"]()))
        stack.callback(admin.dispose)
        place = stack.enter_context(place_of(admin, f"pooled_{uuid4().hex[:12]}"))
        made = stack.enter_context(pooler(place.url))
        url = make_url(made.clients_url).update_query_dict({"prepared_statements": "false"})
        faults = [PoolerRestarted(made), ServersSwapped(made)]
        yield Scene(url.render_as_string(hide_password=False), place.url, list(faults))


def pooler_of(scene: Scene) -> Pooler:
    """The pooler of such a scene."""
    return next(fault.pooler for fault in scene.faults if isinstance(fault, PoolerRestarted))
