"""T11: TLS against servers that insist on it, by both doors: who is trusted, who is not, and without TLS nothing.

A certificate authority of the test's own signs for `localhost` alone: at 127.0.0.1 the same server has another name.
"""

from __future__ import annotations

import glob
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from kombu import Connection
from sqlalchemy import URL, make_url

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import StorageError
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import _account, start_postgresql, stop_postgresql

pytestmark = pytest.mark.xdist_group("tls")  # one server for all

x509 = pytest.importorskip("cryptography.x509")


# certificates


def _named(name: str) -> Any:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _certify(folder: Path) -> None:
    """Write ca.pem, which has signed server.pem for localhost, and other.pem, which has signed nothing."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def key_to(path: Path | None = None) -> Any:
        key = ec.generate_private_key(ec.SECP256R1())
        if path is not None:
            path.touch(mode=0o600)
            pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
            path.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, plain))
        return key

    def sign(name: str, key: Any, issuer: str, by: Any, extension: Any) -> None:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder(_named(issuer), _named(name), key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(by, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))

    authority = x509.BasicConstraints(ca=True, path_length=None)
    ca, other, server = key_to(), key_to(), key_to(folder / "server.key")
    sign("ca", ca, "ca", ca, authority)
    sign("other", other, "other", other, authority)
    sign("server", server, "ca", ca, x509.SubjectAlternativeName([x509.DNSName("localhost")]))


@contextmanager
def _folder() -> Iterator[Path]:
    with TemporaryDirectory(prefix="depqueue-tls-") as name:
        folder = Path(name)
        _certify(folder)
        if account := _account():
            for path in (folder, *folder.iterdir()):
                os.chown(path, account["user"], account["group"])
        yield folder


# servers


@pytest.fixture(scope="module")
def postgresql() -> Iterator[tuple[URL, Path]]:
    """A PostgreSQL that lets nobody in without TLS. The wheel's has none: that of the system is wanted."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin")) or [
        str(Path(path).resolve().parent) for path in [shutil.which("postgres")] if path
    ]
    if not found:
        pytest.skip("no PostgreSQL with TLS: the wheel's has none, and the system has no other")
    with _folder() as folder:
        (folder / "hba").write_text("hostssl all all all scram-sha-256\n")
        (folder / "hba").chmod(0o644)
        files = {"ssl_cert_file": str(folder / "server.pem"), "ssl_key_file": str(folder / "server.key")}
        url, server = start_postgresql(
            folder, Path(found[-1]), options={"ssl": "on", "hba_file": str(folder / "hba"), **files}
        )
        try:
            yield make_url(url), folder
        finally:
            stop_postgresql(server)


@pytest.fixture(scope="module")
def mariadb() -> Iterator[tuple[URL, Path]]:
    """A MariaDB that lets nobody in without TLS."""
    install, binary = (
        shutil.which("mariadb-install-db"),
        shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin"),
    )
    if install is None or binary is None:
        pytest.skip("no mariadbd to start")
    with _folder() as folder, socket.socket() as free:
        data, options = folder / "data", {"cwd": folder, **_account()}
        subprocess.run(
            [install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
            check=True, capture_output=True, timeout=100, **options,
        )  # fmt: skip
        statements = [
            "CREATE DATABASE jobs",
            "CREATE USER me@'%' IDENTIFIED BY 'secret'",
            "GRANT ALL ON jobs.* TO me@'%'",
        ]
        (folder / "init").write_text("".join(f"{one};\n" for one in statements))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [binary, "--no-defaults", f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1"]
        command += [f"--socket={folder / 's'}", f"--pid-file={folder / 'pid'}", f"--init-file={folder / 'init'}"]
        command += [f"--ssl-cert={folder / 'server.pem'}", f"--ssl-key={folder / 'server.key'}"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*command, "--require-secure-transport=ON", "--skip-name-resolve"], stdout=log, stderr=log, **options
            )
        try:
            wait_until(lambda: b"ready for connections" in (folder / "log").read_bytes(), 60)
            yield URL.create("mysql+pymysql", "me", "secret", "localhost", port, "jobs"), folder
        finally:
            server.terminate()
            server.wait(60)


# doors


def _natively(url: URL, options: dict[str, str]) -> None:
    with JobQueue(url.update_query_dict(options), create=True, deadline=5) as queue:
        queue.enqueue("t", 1)
        queue.reserve(10, queues=["t"]).ack()


def _by_kombu(url: URL, options: dict[str, str], use_ssl: Any = None) -> None:
    given = url.update_query_dict({**options, "create": "true", "deadline": "5"})
    with Connection(f"depqueue+{given.render_as_string(hide_password=False)}", ssl=use_ssl) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish(channel.prepare_message("1"), "", "q")
        channel.basic_get("q").ack()


def _by_broker_use_ssl(url: URL, options: dict[str, str]) -> None:
    _by_kombu(url, {}, options)


DOORS: list[Callable[[URL, dict[str, str]], None]] = [_natively, _by_kombu, _by_broker_use_ssl]

# What is said of the certificate authority, to which name, and whether it is let in.
POSTGRESQL = {
    "require": ({"sslmode": "require"}, "127.0.0.1", True),
    "verify-ca": ({"sslmode": "verify-ca", "sslrootcert": "ca"}, "127.0.0.1", True),
    "verify-full": ({"sslmode": "verify-full", "sslrootcert": "ca"}, "localhost", True),
    "verify-ca, another authority": ({"sslmode": "verify-ca", "sslrootcert": "other"}, "localhost", False),
    "verify-full, another authority": ({"sslmode": "verify-full", "sslrootcert": "other"}, "localhost", False),
    "verify-full, another name": ({"sslmode": "verify-full", "sslrootcert": "ca"}, "127.0.0.1", False),
    "without": ({"sslmode": "disable"}, "localhost", False),
}
MARIADB = {
    "authority": ({"ssl_ca": "ca"}, "localhost", True),
    "authority alone": ({"ssl_ca": "ca", "ssl_check_hostname": "false"}, "127.0.0.1", True),
    "another authority": ({"ssl_ca": "other"}, "localhost", False),
    "another name": ({"ssl_ca": "ca"}, "127.0.0.1", False),
    "no options": ({}, "127.0.0.1", True),
    "without": ({"ssl_disabled": "true"}, "localhost", False),
}


def _try(
    door: Callable[[URL, dict[str, str]], None], of: tuple[URL, Path], case: tuple[dict[str, str], str, bool]
) -> None:
    (url, folder), (options, host, let_in) = of, case
    options = {k: str(folder / f"{v}.pem") if v in ("ca", "other") else v for k, v in options.items()}
    if let_in:
        door(url.set(host=host), options)
        return
    with pytest.raises(StorageError) as refused:
        door(url.set(host=host), options)
    assert url.password is not None
    assert url.password not in str(refused.value)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("case", POSTGRESQL)
def test_t11_postgresql(postgresql: tuple[URL, Path], case: str, door: Callable[[URL, dict[str, str]], None]) -> None:
    _try(door, postgresql, POSTGRESQL[case])


@pytest.mark.parametrize("door", DOORS[:2])
@pytest.mark.parametrize("case", MARIADB)
def test_t11_mariadb(mariadb: tuple[URL, Path], case: str, door: Callable[[URL, dict[str, str]], None]) -> None:
    _try(door, mariadb, MARIADB[case])


def test_t11_the_names_of_rabbitmq(postgresql: tuple[URL, Path]) -> None:
    """`broker_use_ssl` as it is for RabbitMQ: the server is verified by default."""
    url, folder = postgresql
    given = {"ca_certs": str(folder / "ca.pem"), "cert_reqs": ssl.CERT_REQUIRED}
    _by_kombu(url.set(host="localhost"), {}, given)
    with pytest.raises(StorageError):
        _by_kombu(url.set(host="127.0.0.1"), {}, given)
