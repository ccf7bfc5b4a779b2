"""Kombu's own transport for PGMQ, on the SQL that the package `pgmq` brings: no extension is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from peers.base import Address, Missing, plain_url, versions
from sqlalchemy import make_url

if TYPE_CHECKING:
    from scene import Scene


@contextmanager
def broker(scene: Scene) -> Iterator[Address]:
    """In a database of its own: its schema `pgmq` is the same for all."""
    from kombu.transport import TRANSPORT_ALIASES
    from pgmq import get_embedded_install_sql

    if "pgmq" not in TRANSPORT_ALIASES:
        raise Missing("this version of Kombu has no transport `pgmq`")
    with scene.empty("postgresql") as url:
        with scene.admin(url) as connection:
            connection.execute(get_embedded_install_sql())
        address = make_url(plain_url(url)).set(drivername="pgmq").render_as_string(hide_password=False)
        yield Address(address, {"init_extension": False}, versions("kombu", "pgmq"))
