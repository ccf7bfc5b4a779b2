"""A PostgreSQL server of a test's own, to be killed and started again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.testing.servers import run_server, start_postgresql, stop_postgresql


class Server:
    """It runs, until it is killed; it starts again on the same files and the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url, self._process = start_postgresql(folder)

    def kill(self) -> None:
        """As a power cut does, as far as its clients see."""
        self._process.kill()
        self._process.wait()

    def start(self) -> None:
        """Start it anew; its old children may still be dying."""
        self._process = wait_until(self._started, 60, interval=0.3)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _started(self) -> subprocess.Popen[bytes] | None:
        command = [str(part) for part in self._process.args]
        server = run_server(command, self._folder)
        with suppress(subprocess.TimeoutExpired):
            server.wait(1.0)
            return None
        return server

    def stop(self) -> None:
        if self._process.returncode is None:
            stop_postgresql(self._process)


@contextmanager
def own_server() -> Iterator[Server]:
    """A server for this test alone."""
    with TemporaryDirectory(prefix="depqueue-server-") as folder:
        server = Server(Path(folder))
        try:
            yield server
        finally:
            server.stop()
