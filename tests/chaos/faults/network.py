"""What a network does to connections, as faults: all of it through a `Proxy` before the database."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from faults.base import Scene
from faults.proxy import Proxy, When
from faults.wire import PostgreSQLWire

from kombu_depqueue.testing.places import admin_engine, place_of
from kombu_depqueue.testing.servers import SERVERS

__all__ = ["BlackHole", "CutAll", "CutAtCommit", "Refusal", "SlowNetwork", "Unheard", "behind_a_network", "proxied"]


@dataclass
class CutAtCommit:
    """A connection is cut at a message at which the server commits: whichever comes next."""

    proxy: Proxy
    when: When
    matching: bytes = b""
    happened: int = 0

    @property
    def name(self) -> str:
        return f"cut {self.when.value} commit"

    def inject(self, chance: random.Random) -> bool:
        time.sleep(chance.random() * 0.05)  # not always the same statement
        cut = self.proxy.cut(self.when, self.matching)
        if not cut.happened.wait(5.0):
            self.proxy.forget(cut)
            return False
        self.happened += 1
        return True


@dataclass
class CutAll:
    """All connections are cut, whatever they are at."""

    proxy: Proxy
    happened: int = 0
    name: str = "all connections cut"

    def inject(self, chance: random.Random) -> bool:
        found = self.proxy.cut_all()
        self.happened += found > 0
        return found > 0


@dataclass
class SlowNetwork:
    """Each message takes longer, and large ones still longer."""

    proxy: Proxy
    longest: float = 1.0
    """Seconds that it lasts at most."""
    name: str = "slow network"

    def inject(self, chance: random.Random) -> None:
        delay, rate = chance.uniform(0.001, 0.1), chance.choice((20e3, 200e3, float("inf")))
        with self.proxy.slowed(delay, rate):
            time.sleep(chance.uniform(0.1, self.longest))


@dataclass
class BlackHole:
    """The network takes everything and passes on nothing: only a deadline ends a call that meets it."""

    proxy: Proxy
    longest: float = 2.0
    name: str = "black hole"

    def inject(self, chance: random.Random) -> None:
        with self.proxy.deaf():
            time.sleep(chance.uniform(0.1, self.longest))


@dataclass
class Refusal:
    """Nothing listens there for a while."""

    proxy: Proxy
    longest: float = 1.0
    name: str = "refused connections"

    def inject(self, chance: random.Random) -> None:
        with self.proxy.down():
            time.sleep(chance.uniform(0.05, self.longest))


@dataclass
class Unheard:
    """The sessions that listen (PostgreSQL) end, and their processes do not hear of it."""

    proxy: Proxy
    name: str = "sessions ended unheard"

    def inject(self, chance: random.Random) -> bool:
        # A process that has not waited yet has such a session too, and has asked for its name last.
        return self.proxy.part(saying=b"LISTEN") + self.proxy.part(saying=b"pg_backend_pid()") > 0


@contextmanager
def proxied(url: str) -> Iterator[tuple[Scene, Proxy]]:
    """The database of this URL (PostgreSQL, MariaDB) behind a network that can be disturbed.

    Programs need a `deadline` of a few seconds: a call that meets the black hole ends there, with an error.
    """
    with Proxy(url) as proxy:
        cuts = [CutAtCommit(proxy, when) for when in When]
        others = [CutAll(proxy), SlowNetwork(proxy), BlackHole(proxy), Refusal(proxy)]
        unheard = [Unheard(proxy)] if proxy.wire is PostgreSQLWire else []
        yield Scene(proxy.url, url, [*cuts, *unheard, *others]), proxy


@contextmanager
def behind_a_network(database: str) -> Iterator[Scene]:
    """A place of its own on the server that all tests use ("postgresql", "mysql"), seen through a proxy."""
    with ExitStack() as stack:
        admin = admin_engine(stack.enter_context(SERVERS[database]()))
        stack.callback(admin.dispose)
        place = stack.enter_context(place_of(admin, f"network_{uuid4().hex[:12]}"))
        scene, _ = stack.enter_context(proxied(place.url))
        yield scene
