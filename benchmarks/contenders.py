"""Who is compared: a line each, and a file in `peers/`. Ours are those that `OURS` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any, NamedTuple

from peers.base import Address, Missing, Native
from scene import Scene
from sqlalchemy.exc import SQLAlchemyError

__all__ = ["BROKERS", "NATIVE", "OURS", "addresses", "connect", "natives"]


class Contender(NamedTuple):
    """A file in `peers/`, the database it lives on (None: a server of its own), and what its function is told."""

    module: str
    database: str | None
    arguments: Mapping[str, Any] = {}


def _on(module: str, database: str) -> Contender:
    return Contender(module, database, {"database": database})


OURS = {"postgresql": "depqueue on PostgreSQL", "sqlite": "depqueue on SQLite"}
"""By database."""

BROKERS = {
    "depqueue on PostgreSQL": _on("depqueue", "postgresql"),
    "depqueue on SQLite": _on("depqueue", "sqlite"),
    "depqueue with its adapter": Contender("depqueue", "postgresql", {"database": "postgresql", "adapter": True}),
    "depqueue, not synced": Contender("depqueue", "postgresql", {"database": "postgresql", "synced": False}),
    "RabbitMQ": Contender("rabbitmq", None, {"confirm": False}),
    "RabbitMQ, confirms": Contender("rabbitmq", None, {"confirm": True}),
    "Redis, everysec": Contender("redis", None, {"fsync": "everysec"}),
    "Redis, always": Contender("redis", None, {"fsync": "always"}),
    "sqla on PostgreSQL": _on("sqla", "postgresql"),
    "sqla on SQLite": _on("sqla", "sqlite"),
    "pgmq": Contender("pgmq", "postgresql"),
    "memory (floor)": Contender("memory", None),
}

NATIVE = {
    "depqueue on PostgreSQL": Contender("depqueue", "postgresql"),
    "PgQueuer": Contender("pgqueuer", "postgresql"),
    "Procrastinate": Contender("procrastinate", "postgresql"),
    "Oban": Contender("oban", "postgresql"),
    "SAQ on PostgreSQL": Contender("saq", "postgresql"),
    "insert + delete on PostgreSQL (floor)": Contender("bare", "postgresql"),
    "depqueue on SQLite": Contender("depqueue", "sqlite"),
    "Huey on SQLite": Contender("huey", "sqlite"),
    "litequeue": Contender("litequeue", "sqlite"),
    "insert + delete on SQLite (floor)": Contender("bare", "sqlite"),
}


def connect(name: str, url: str, *, create: bool = False) -> Native:
    """A native contender on an empty database, or (without `create`) on one where it has been."""
    peer: Native = import_module(f"peers.{NATIVE[name].module}").Peer(url, create)
    return peer


@contextmanager
def natives(scene: Scene, names: Iterator[str] | list[str]) -> Iterator[dict[str, tuple[str, Native]]]:
    """Those of the native contenders that can take part, each with the URL of its place."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            try:
                found[name] = _native(scene, name, stack)
            except (Missing, ImportError, SQLAlchemyError) as error:
                scene.leave_out(name, _why(error))
        yield found


def _native(scene: Scene, name: str, stack: ExitStack) -> tuple[str, Native]:
    module, database, _ = NATIVE[name]
    if database not in scene.databases:
        raise Missing(f"not on {' and '.join(scene.databases)}")
    if module == "depqueue":
        url = stack.enter_context(scene.place(database)).url
    else:
        url = stack.enter_context(scene.empty(database))
    peer = connect(name, url, create=True)
    stack.callback(peer.close)
    scene.settings[name] = peer.settings
    return url, peer


@contextmanager
def addresses(scene: Scene, names: Iterator[str] | list[str]) -> Iterator[dict[str, Address]]:
    """Those of the brokers that can take part."""
    with ExitStack() as stack:
        found = {}
        for name in names:
            module, database, arguments = BROKERS[name]
            try:
                if database is not None and database not in scene.databases:
                    raise Missing(f"not on {' and '.join(scene.databases)}")
                found[name] = stack.enter_context(import_module(f"peers.{module}").broker(scene, **arguments))
                scene.settings[name] = found[name].settings
            except (Missing, ImportError, SQLAlchemyError) as error:
                scene.leave_out(name, _why(error))
        yield found


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Missing) else f"{type(error).__name__}: {str(error).splitlines()[0]}"
