"""RabbitMQ, at `DEPQUEUE_BENCH_RABBITMQ` or on this machine: durable queues, persistent messages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kombu import Connection
from peers.base import Address, Missing, versions

if TYPE_CHECKING:
    from scene import Scene


@contextmanager
def broker(scene: Scene, confirm: bool) -> Iterator[Address]:
    """With or without confirms of what is published; without, a publish is not known to be kept."""
    url = os.environ.get("DEPQUEUE_BENCH_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")
    try:
        with Connection(url, connect_timeout=3) as connection:
            connection.connect()
            version = connection.connection.server_properties["version"]
    except OSError as error:
        raise Missing(f"no RabbitMQ at {Connection(url).as_uri()}: {type(error).__name__}") from None
    yield Address(url, {"confirm_publish": confirm}, f"RabbitMQ {version}, {versions('amqp')}, classic durable queues")
