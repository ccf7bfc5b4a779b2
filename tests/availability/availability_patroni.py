"""Three PostgreSQL servers that Patroni keeps, with its own consensus (Raft) instead of an etcd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from availability_servers import family, signal_all

from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import _free_port, _postgresql_binaries

TTL = 20
"""Seconds after which a leader that says nothing is replaced: the smallest that Patroni takes."""
PASSWORD = "patroni"
SETTINGS = {
    "ttl": TTL,
    "loop_wait": 5,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1 << 20,
    "synchronous_mode": True,
}


def as_whom() -> list[str]:
    """The command that lets a process of root's not be root, which PostgreSQL refuses: its files stay ours."""
    if os.geteuid() != 0:
        return []
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"as root Patroni needs user namespaces: {error}")
    return command


class Node:
    """One PostgreSQL with its Patroni."""

    def __init__(self, cluster: Patroni, name: str) -> None:
        self.cluster, self.name = cluster, name
        self.folder = cluster.folder / name
        self.folder.mkdir()
        self.port, self.rest, self.raft = _free_port(), _free_port(), _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []

    def configuration(self) -> dict[str, Any]:
        """Patroni reads YAML, of which JSON is a part."""
        here = "127.0.0.1"
        users = {name: {"username": name, "password": PASSWORD} for name in ("postgres", "replicator")}
        rules = [f"host {database} all {here}/32 scram-sha-256" for database in ("all", "replication")]
        parameters = {"unix_socket_directories": "", "max_connections": 100, "shared_buffers": "32MB"}
        return {
            "scope": "depqueue",
            "name": self.name,
            "restapi": {"listen": f"{here}:{self.rest}", "connect_address": f"{here}:{self.rest}"},
            "raft": {
                "data_dir": str(self.folder / "raft"),
                "self_addr": f"{here}:{self.raft}",
                "partner_addrs": [f"{here}:{node.raft}" for node in self.cluster.nodes if node is not self],
            },
            "bootstrap": {
                "dcs": {**SETTINGS, "postgresql": {"use_slots": True, "use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"],
            },
            "postgresql": {
                "listen": f"{here}:{self.port}",
                "connect_address": f"{here}:{self.port}",
                "data_dir": str(self.folder / "data"),
                "bin_dir": str(_postgresql_binaries()),
                "pgpass": str(self.folder / "pgpass"),
                "authentication": {"superuser": users["postgres"], "replication": users["replicator"]},
                "parameters": parameters,
                "pg_hba": rules,
            },
        }

    def start(self) -> None:
        file = self.folder / "patroni.yml"
        file.write_text(json.dumps(self.configuration()))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.cluster.prefix, sys.executable, "-m", "patroni", str(file)],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def state(self) -> dict[str, Any]:
        """What its Patroni says of it; nothing if it says nothing."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}/patroni", timeout=2) as answer:
                return dict(json.loads(answer.read()))
        except (OSError, ValueError):
            return {}

    @property
    def is_frozen(self) -> bool:
        return bool(self._frozen)

    def pids(self) -> list[int]:
        """Patroni's process, PostgreSQL's, and all that come from them (PostgreSQL's is no child of Patroni's)."""
        assert self.process is not None
        found = family(self.process.pid)
        with contextlib.suppress(OSError, ValueError, IndexError):
            found += family(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        return found

    def kill(self) -> None:
        """As when its machine dies."""
        signal_all(self.pids(), signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def freeze(self) -> None:
        signal_all(self.pids(), signal.SIGSTOP)
        self._frozen = self.pids()  # those too that were made meanwhile
        signal_all(self._frozen, signal.SIGSTOP)

    def thaw(self) -> None:
        signal_all(self._frozen, signal.SIGCONT)
        self._frozen = []


class Patroni:
    """The cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.prefix = folder, as_whom()
        self.nodes: list[Node] = []
        self.nodes += [Node(self, f"n{n}") for n in range(3)]

    @property
    def url(self) -> str:
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in self.nodes)
        return f"postgresql://postgres:{PASSWORD}@/postgres?{hosts}&target_session_attrs=read-write"

    def leader(self) -> Node | None:
        """The node that takes writes."""
        return next((n for n in self.nodes if not n.is_frozen and n.state().get("role") in ("primary", "master")), None)

    def wait_until_whole(self, timeout: float = 120.0) -> Node:
        """Wait for a leader and two standbys, of which one is synchronous; return the leader."""
        try:
            wait_until(self._is_whole, timeout, interval=0.3)
        except AssertionError as error:
            logs = "\n".join(f"{n.name}: {(n.folder / 'log').read_text()[-1500:]}" for n in self.nodes)
            raise AssertionError(f"{[n.state() for n in self.nodes]}\n{logs}") from error
        found = self.leader()
        assert found is not None
        return found

    def _is_whole(self) -> bool:
        states = [node.state() for node in self.nodes]
        running = [one for one in states if one.get("state") in ("running", "streaming")]
        replicas = [one for one in running if one.get("role") in ("replica", "standby", "sync_standby")]
        streaming = all(one.get("replication_state") == "streaming" for one in replicas)
        return len(replicas) == 2 and streaming and len(running) == 3 and any(one.get("sync_standby") for one in states)

    def switchover(self) -> None:
        """Ask the leader to pass on to a synchronous standby."""
        leader = self.leader()
        assert leader is not None
        body = json.dumps({"leader": leader.name}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{leader.rest}/switchover", body, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            assert answer.status == 200, answer.read()

    def close(self) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.kill()


@contextlib.contextmanager
def patroni() -> Iterator[Patroni]:
    """Start it; about ten seconds."""
    with TemporaryDirectory(prefix="depqueue-patroni-") as folder:
        made = Patroni(Path(folder))
        try:
            for node in made.nodes:
                node.start()
            made.wait_until_whole()
            yield made
        finally:
            made.close()
