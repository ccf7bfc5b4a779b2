"""This process's way to the broker's tables, and the lease that a task runs under."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

from celery import Celery
from kombu.connection import Connection

from kombu_depqueue import StorageError, extending

if TYPE_CHECKING:
    from kombu_depqueue.extending import Ending, MessageQueue

__all__ = ["broker_queue", "close_queues", "insist", "lease_token", "open_queue", "same_place", "tell"]

T = TypeVar("T")

logger = logging.getLogger("kombu_depqueue")

_queues: dict[str, MessageQueue] = {}
_brokers: WeakKeyDictionary[Celery, MessageQueue | None] = WeakKeyDictionary()
_lock = threading.Lock()


def _in_child() -> None:
    """Another thread may have held the lock when this process was forked off."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def open_queue(connection: Connection) -> MessageQueue:
    """The tables that a Kombu connection leads to; opened once in each process."""
    address, options, _ = extending.address_of(connection.transport.client)
    key = repr((address.render_as_string(hide_password=False), sorted(options.items(), key=str)))
    with _lock:
        if key not in _queues or _queues[key].is_closed:
            _queues[key] = extending.MessageQueue(address, **options)
        return _queues[key]


def close_queues() -> None:
    """Close what `open_queue` opened; it is opened again when needed."""
    with _lock:
        while _queues:
            _queues.popitem()[1].close()


def broker_queue(app: Celery) -> MessageQueue | None:
    """The broker's tables; None: the broker is another one than ours."""
    here = extending.queue_here()
    if here is not None:
        return here
    known = _brokers.get(app)
    if (known is None and app not in _brokers) or (known is not None and known.is_closed):
        connection = app.connection_for_write()
        ours = connection.transport.driver_type == "depqueue"
        known = _brokers[app] = open_queue(connection) if ours else None
    return known


def same_place(one: MessageQueue, other: MessageQueue | None) -> bool:
    """Whether both have the same tables."""
    if other is None:
        return False
    a, b = one.settings, other.settings
    return (a.url.set(query={}), a.schema, a.table_prefix) == (b.url.set(query={}), b.schema, b.table_prefix)


def lease_token(request: Any, task_id: str | None = None) -> str | None:
    """The lease token of the delivery that a task runs under; None: it runs under none."""
    if request is None or (task_id is not None and getattr(request, "id", None) != task_id):
        return None
    properties = getattr(request, "properties", None) or {}
    info = properties.get("delivery_info") or {}
    token = info.get("lease_token")
    return token if isinstance(token, str) else None


def tell(queue: MessageQueue, job_id: UUID, ending: Ending, token: str | None) -> bool:
    """Tell the broker what came of a job: with the next acks of the worker that runs it, else at once.

    False: the job is not ours any more.
    """
    if token is None:
        return insist(lambda: queue.conclude(job_id, ending), queue.settings.deadline)
    if extending.conclude(token, job_id, ending):
        return True
    return insist(lambda: queue.conclude(job_id, ending, token=token))


def insist(call: Callable[[], T], seconds: float = inf) -> T:
    """Call, again and again while the database is away: the job would be running for as long as the worker lives.

    Nobody else knows how it ended. A queue that was never connected does not try again by itself.
    """
    until, pause = time.monotonic() + seconds, 0.2
    while True:
        try:
            return call()
        except StorageError as error:
            if time.monotonic() > until:
                raise
            logger.warning("what came of a task cannot be told: %s; trying again", error)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
