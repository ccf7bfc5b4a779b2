"""Kombu's own SQLAlchemy transport, `sqla+...`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peers.base import Address, versions

if TYPE_CHECKING:
    from scene import Scene


@contextmanager
def broker(scene: Scene, database: str) -> Iterator[Address]:
    """In a database of its own: it knows no schema."""
    with scene.empty(database) as url:
        yield Address(f"sqla+{url}", {}, versions("kombu", "sqlalchemy"))
