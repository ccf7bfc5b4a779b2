"""Redis, one started for this on loopback, with an append-only file that is synced each second or always."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from peers.base import Address, Missing, versions
from server import free_port

if TYPE_CHECKING:
    from scene import Scene


@contextmanager
def broker(scene: Scene, fsync: str) -> Iterator[Address]:
    """`fsync`: everysec loses up to a second at a power cut; always is what a commit promises."""
    import redis

    command, port = shutil.which("redis-server"), free_port()
    if command is None:
        raise Missing("redis-server is not installed here")
    with TemporaryDirectory(prefix="depqueue-redis-") as folder:
        options = {"port": port, "bind": "127.0.0.1", "dir": folder, "save": "", "appendonly": "yes"}
        options |= {"appendfsync": fsync, "logfile": os.path.join(folder, "log")}
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        server = subprocess.Popen([command, *given], stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            client = redis.Redis(port=port)
            _await(client, server)
            version = client.info("server")["redis_version"]
            client.close()
            settings = f"Redis {version}, appendonly yes, appendfsync {fsync}, {versions('redis')}"
            yield Address(f"redis://127.0.0.1:{port}/0", {}, settings)
        finally:
            server.terminate()
            server.wait(30)


def _await(client: object, server: subprocess.Popen[bytes]) -> None:
    import redis

    until = time.monotonic() + 30
    while True:
        try:
            client.ping()  # type: ignore[attr-defined]
        except redis.ConnectionError:
            if server.poll() is not None or time.monotonic() > until:
                raise Missing("redis-server did not start") from None
            time.sleep(0.05)
        else:
            return
