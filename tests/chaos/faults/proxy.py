"""A network that can be disturbed: a TCP proxy on loopback before PostgreSQL or MariaDB.

It knows where a client lets the server commit, and can cut a connection there. Without TLS, which would hide that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from faults.wire import MariaDBWire, Message, PostgreSQLWire, Wire
from sqlalchemy import URL, make_url

__all__ = ["Cut", "Proxy", "When"]

CHUNK = 65536


class When(Enum):
    """Where a connection is cut, seen from a message at which the server commits."""

    BEFORE = "before"
    """The server never has it."""
    DURING = "during"
    """The server has it; the client is gone before it has done it, and may ask again meanwhile."""
    AFTER = "after"
    """It has done it; the answer is lost."""


@dataclass
class Cut:
    """A cut that waits for its message."""

    when: When
    matching: bytes = b""
    """A part of one of the statements; empty: whatever."""
    happened: threading.Event = field(default_factory=threading.Event)

    def is_for(self, message: Message) -> bool:
        return message.decides and (not self.matching or any(self.matching in said for said in message.said))


TURNS = 10
"""Turns after which the loop has done what it had to: on a busy machine any time may pass within one."""


class Proxy:
    """Passes on what clients and server say, until it is told otherwise; to be used from any thread."""

    def __init__(self, url: URL | str) -> None:
        self._target = make_url(url)
        postgresql = self._target.get_backend_name() == "postgresql"
        self.wire: Callable[[], Wire] = PostgreSQLWire if postgresql else MariaDBWire
        self.host, self.server_port = self._target.host or "127.0.0.1", self._target.port or (3306, 5432)[postgresql]
        self.delay = 0.0
        """Seconds that each message takes longer, either way."""
        self.rate = float("inf")
        """Bytes a second, for each connection and way."""
        self.is_deaf = False
        self.cuts: list[Cut] = []
        self.pairs: set[_Pair] = set()
        self.accepted = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The server's URL, through the proxy."""
        url = self._target.set(host="127.0.0.1", port=self.port)
        if url.get_backend_name() == "postgresql":
            url = url.update_query_dict({"sslmode": "disable", "gssencmode": "disable"})
        return str(url.render_as_string(hide_password=False))

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(self, *exc: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # what can be done to it

    def cut(self, when: When, matching: bytes = b"") -> Cut:
        """Cut the next connection that says such a thing; `happened` tells."""
        cut = Cut(when, matching)
        self.cuts.append(cut)
        return cut

    def forget(self, cut: Cut) -> None:
        """It need not happen any more."""
        with suppress(ValueError):
            self.cuts.remove(cut)

    def cut_all(self) -> int:
        """Cut all connections, whatever they are at; returns how many."""
        return self._do(self._cut_all())

    @contextmanager
    def slowed(self, delay: float = 0.0, rate: float = float("inf")) -> Iterator[None]:
        """A slow network."""
        self.delay, self.rate = delay, rate
        yield
        self.delay, self.rate = 0.0, float("inf")

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """A black hole: it takes everything, also new connections, and passes on nothing.

        Connections of which it has swallowed something never work again: at the end the server is told, the client
        is not, as when a firewall has forgotten them.
        """
        self.is_deaf = True
        yield
        self.is_deaf = False
        self._do(self._part(lambda pair: pair.is_lost))

    def part(self, saying: bytes) -> int:
        """Connections whose last statement had this in it end for the server alone: their client never hears of it."""
        return self._do(self._part(lambda pair: saying in pair.said))

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections; those that are there are cut."""
        self._do(self._stop())
        yield
        self._do(self._listen())

    # how

    def _do(self, what: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=CHUNK)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await _settled()  # who is let in already is a pair from now on
        while self.pairs:  # also those that had been let in and not yet begun
            await self._cut_all()
            await _settled()  # a connection that is aborted is closed a turn later

    async def _cut_all(self) -> int:
        for pair in (pairs := list(self.pairs)):
            pair.abort()
        return len(pairs)

    async def _part(self, which: Callable[[_Pair], bool]) -> int:
        for pair in (parted := [pair for pair in self.pairs if which(pair)]):
            pair.part()
        return len(parted)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        pair = _Pair(self, reader, writer)
        self.pairs.add(pair)
        try:
            await pair.run()
        finally:
            pair.abort()
            self.pairs.discard(pair)

    def cut_for(self, message: Message) -> Cut | None:
        """The cut that this message has waited for; it waits no longer."""
        for cut in self.cuts:
            if cut.is_for(message):
                self.cuts.remove(cut)
                return cut
        return None


async def _settled() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0.001)


class _Pair:
    """A client's connection, and ours to the server for it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._wire = proxy, proxy.wire()
        self._from_client, self._to_client = reader, writer
        self._to_server: asyncio.StreamWriter | None = None
        self._cut: Cut | None = None
        """To happen when the server has answered."""
        self.said = b""
        """What the client said last."""
        self.is_lost = False
        """Whether something was swallowed."""

    def abort(self) -> None:
        """End both, as if a machine between them had been restarted."""
        self._to_client.transport.abort()
        self._leave_server()

    def part(self) -> None:
        """End it for the server alone; what the client says is swallowed."""
        self.is_lost = True
        self._leave_server()

    def _leave_server(self) -> None:
        if self._to_server is not None:
            self._to_server.transport.abort()

    async def run(self) -> None:
        while self._proxy.is_deaf:  # the client is let in, and nothing more
            self.is_lost = True
            await asyncio.sleep(0.01)
        tasks: list[Awaitable[None]] = [self._listen_to_client()]
        if not self.is_lost:
            from_server, self._to_server = await asyncio.open_connection(self._proxy.host, self._proxy.server_port)
            tasks.append(self._listen_to_server(from_server))
        with suppress(OSError):
            await asyncio.gather(*tasks)

    async def _listen_to_client(self) -> None:
        with suppress(OSError):
            while data := await self._from_client.read(CHUNK):
                for message in self._wire.feed(data):
                    await self._pass_on(message)
        if self._cut is None and self._to_server is not None:
            self._to_server.close()

    async def _pass_on(self, message: Message) -> None:
        if await self._is_swallowed(len(message.data)) or self._to_server is None or self._cut is not None:
            return  # after a cut nothing gets through, though the client may have said more already
        if message.said:
            self.said = b"; ".join(message.said)
        cut = self._proxy.cut_for(message)
        if cut is not None and cut.when is When.BEFORE:
            self.abort()
            cut.happened.set()
            raise ConnectionResetError
        self._cut = cut
        self._to_server.write(message.data)
        await self._to_server.drain()
        if cut is not None and cut.when is When.DURING:
            self._to_client.transport.abort()

    async def _listen_to_server(self, reader: asyncio.StreamReader) -> None:
        end = b""
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                end = (end + data)[-6:]
                if self._cut is not None:
                    if self._wire.has_answered(end):
                        self.abort()
                        self._cut.happened.set()
                        return
                elif not await self._is_swallowed(len(data)):
                    self._to_client.write(data)
                    await self._to_client.drain()
        if not self.is_lost:
            self._to_client.close()  # what it said last is told

    async def _is_swallowed(self, size: int) -> bool:
        """Take the time it takes; and whether it is lost."""
        if wait := self._proxy.delay + size / self._proxy.rate:
            await asyncio.sleep(wait)
        self.is_lost = self.is_lost or self._proxy.is_deaf
        return self.is_lost
