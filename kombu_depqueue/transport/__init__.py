"""The Kombu transport: a SQL database as the broker, by its URL alone.

`address` reads the URL, `codec` turns messages into jobs and back, `arguments` are
those of queues, `channel` and `declarations` have AMQP's methods, `delivery` fetches
ahead and acks behind. The jobs themselves are the native API's: everything goes
through a `MessageQueue`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from kombu.exceptions import ChannelError, OperationalError
from kombu.exceptions import ConnectionError as KombuConnectionError
from kombu.transport import base

from kombu_depqueue import __version__, plugins
from kombu_depqueue.dialects.steps import Claimed, Ending, Key
from kombu_depqueue.errors import DepQueueError, QueueClosed, SchemaError, StorageError
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.reservation import key_of
from kombu_depqueue.transport import channel
from kombu_depqueue.transport.address import address_of, normalise, safe_uri
from kombu_depqueue.transport.declarations import Management
from kombu_depqueue.transport.delivery import Deliveries
from kombu_depqueue.transport.pipe import Pipe, Told

__all__ = ["Transport", "close_pipe", "conclude", "open_pipe", "queue_here"]

logger = logging.getLogger("kombu_depqueue")

_transports: weakref.WeakSet[Transport] = weakref.WeakSet()
_transports_lock = threading.RLock()

PREFETCH_LIMIT = 256
"""Messages fetched ahead at most, for consumers without a prefetch count."""
TURN = 0.01
"""Seconds of messages in a row: a solo worker runs a task with each, and must hear of its shutdown in between."""


class Transport(base.Transport):
    """The transport of one Kombu connection, and at the same time its connection object."""

    Channel = channel.Channel
    can_parse_url = True
    default_port = None
    # Celery branches on this name: "sql" would turn its events off.
    driver_type = "depqueue"
    driver_name = "kombu-depqueue"
    connection_errors: Any = (KombuConnectionError, StorageError, QueueClosed, SchemaError)
    channel_errors = (ChannelError,)
    recoverable_connection_errors = (KombuConnectionError, StorageError, QueueClosed)
    recoverable_channel_errors = ()
    implements = base.Transport.implements.extend(
        asynchronous=True,
        batch_publish=True,
        exchange_type=frozenset(["direct", "topic", "fanout"]),
        heartbeats=False,
    )

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)
        normalise(client)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._queue: MessageQueue | None = None
        self._deliveries: Deliveries | None = None
        self._options: dict[str, Any] = {}
        self._hub: Any = None
        self.channels: list[channel.Channel] = []
        self.connected = False
        with _transports_lock:
            _transports.add(self)
        plugins.load()  # Celery may have come after the first connection of another
        _join_mingle()

    # the connection

    def establish_connection(self) -> Transport:
        """Really connect, so that a missing server or schema is known now."""
        client: Any = self.client
        url, options, self._options = address_of(client)
        queue = MessageQueue(url, **options)
        try:
            queue.connect()
        except BaseException:
            queue.close()
            raise
        queue.topology.undone = client.declared_entities.clear
        self._queue, self._pid, self.connected = queue, os.getpid(), True
        if self.client is None:
            self.close_connection(self)
            # None that Kombu recovers from: it would open a connection that nobody will release.
            raise OperationalError("the connection was released by another thread while it was made")
        return self

    @property
    def queue(self) -> MessageQueue:
        """The queue behind the connection."""
        queue = self._queue
        if queue is None:
            raise QueueClosed("the connection is closed")
        return queue

    @property
    def deliveries(self) -> Deliveries:
        """The buffers of the connection, made at the first consumer."""
        with self._lock:
            deliveries = self._deliveries
            if deliveries is None:
                client: Any = self.client
                limit = self._options.get("prefetch_limit") or PREFETCH_LIMIT
                self._deliveries = deliveries = Deliveries(self.queue, limit, gives_up=len(client.alt) > 1)
                if self._hub is not None:
                    self._listen(self._hub)
            return deliveries

    @property
    def prefix(self) -> str:
        """Before every queue's name."""
        return str(self._options.get("queue_name_prefix", ""))

    @property
    def deadletter_queue(self) -> str | None:
        """Where messages go that no binding matches."""
        return self._options.get("deadletter_queue")

    @property
    def in_child(self) -> bool:
        """Whether this process was forked off the one that connected: nothing here is its own then."""
        return self._pid != os.getpid()

    @property
    def is_down(self) -> bool:
        """Whether the queue behind it has gone."""
        return self._queue is None

    def ack(self, claimed: Claimed, *, hurry: bool) -> None:
        """Ack a message: behind the application's back where it consumes, else at once."""
        deliveries = self._deliveries
        if deliveries is None:
            self.queue.ack_messages([claimed])
        else:
            deliveries.ack(claimed, hurry=hurry)

    def consumes(self) -> None:
        """A consumer was added: outcomes that waited for a connection can be told."""
        _outcomes.receive()

    def is_told(self, claimed: Claimed) -> bool:
        """Whether the outcome of a message that is being acked is known."""
        _outcomes.receive()  # whoever told it did so before Celery came to ack
        return self.deliveries.settlements.is_told(claimed)

    def take_told(self, claimed: Claimed) -> Ending | None:
        """The outcome that was told of a message not acked yet."""
        _outcomes.receive()
        deliveries = self._deliveries
        return None if deliveries is None else deliveries.settlements.take_told(claimed)

    def conclude(self, key: Key, job_id: UUID, ending: Ending) -> bool:
        """Tell the outcome of a message consumed here, together with acks; False: it was consumed elsewhere."""
        deliveries = self._deliveries
        if deliveries is None or self.in_child:
            return False
        for one in list(self.channels):
            held = one.holds(key.seq, key.token) if one.owes else None
            if held is not None:
                deliveries.conclude(held, ending, acked=False)
                return True
        if not deliveries.has_consumed(key.queue_id):
            return False
        known = Claimed(*key, 0, 0, 0, job_id, None, False, None, b"")
        deliveries.conclude(known, ending, acked=True)
        return True

    def verify_connection(self, connection: Any) -> bool:
        """Whether the connection was not closed; Kombu asks at each publish."""
        return self.connected

    def create_channel(self, connection: Any) -> channel.Channel:
        """Open a channel on `connection`: after a failover that is another transport than this."""
        return connection.open_channel()

    def open_channel(self) -> channel.Channel:
        """Open a channel."""
        with self._lock:
            used = {c.channel_id for c in self.channels}
            made = self.Channel(self, next(n for n in range(1, len(used) + 2) if n not in used))
            self.channels.append(made)
        return made

    def close_channel(self, connection: channel.Channel) -> None:
        """A channel was closed."""
        with self._lock:
            if connection in self.channels:
                self.channels.remove(connection)
        connection.connection = None

    def close_connection(self, connection: Any) -> None:
        """Give everything back and close."""
        self.connected = False
        if not self.in_child:
            _outcomes.receive()
        self.unregister_from_event_loop(connection, self._hub)
        queue, deliveries = self._queue, self._deliveries
        if queue is not None and not self.in_child:
            queue.hurry()
            if deliveries is not None and deliveries.lost is not None:
                queue.abandon()
                self._queue = None  # there is nobody to give anything back to
        for one in list(self.channels):
            _try(one.close, "could not give messages back")
            self.close_channel(one)
        self._deliveries = self._queue = None
        if deliveries is not None:
            _try(lambda: deliveries.close(forked=self.in_child), "could not flush acks")
        if queue is not None and not self.in_child:
            _outcomes.keep([] if deliveries is None else deliveries.settlements.untold())
            _try(queue.close, "could not give leases back")

    def _collect(self, connection: Any) -> None:
        """Kombu drops the connection: after a fork without touching what is the parent's."""
        self.close_connection(connection)

    # events

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Deliver what has arrived; wait for something at most `timeout` seconds. Raises socket.timeout."""
        deliveries = self.deliveries
        if not deliveries.await_any(timeout):
            if not self.connected:
                raise QueueClosed("the connection is closed")
            raise TimeoutError("no message arrived in time")
        self._deliver_all(deliveries)

    def _deliver_all(self, deliveries: Deliveries) -> None:
        until = time.monotonic() + TURN
        while (one := deliveries.take()) is not None:
            consumer, claimed = one
            consumer.channel.deliver(consumer, claimed)
            if time.monotonic() >= until:
                return

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        """Have the event loop deliver when messages arrive."""
        self._hub = loop
        if self._deliveries is not None:
            self._listen(loop)

    def _listen(self, loop: Any) -> None:
        assert self._deliveries is not None  # noqa: S101 - see the callers
        loop.add_reader(self._deliveries.fileno, self._on_readable, loop)
        if _outcomes.pipe is not None and not _outcomes.pipe.is_childs:
            loop.add_reader(_outcomes.pipe.fileno, _outcomes.receive)

    def unregister_from_event_loop(self, connection: Any, loop: Any) -> None:
        """The event loop lets go."""
        if self._hub is not None and self._deliveries is not None:
            self._hub.remove_reader(self._deliveries.fileno)
        self._hub = None

    def _on_readable(self, loop: Any) -> None:
        deliveries = self._deliveries
        if deliveries is None:
            return
        deliveries.clear_signal()
        try:
            self._deliver_all(deliveries)
        finally:
            if deliveries.await_any(0):
                deliveries.signal()

    def on_readable(self, connection: Any, loop: Any) -> None:
        """Deliver what has arrived (Celery's way to ask)."""
        self._on_readable(loop)

    # facts

    def driver_version(self) -> str:
        """The version of this package."""
        return __version__

    @classmethod
    def as_uri(cls, uri: str, include_password: bool = False, mask: str = "**") -> str:
        """A URL fit to be shown."""
        return safe_uri(uri, include_password=include_password, mask=mask)

    def get_manager(self, *args: Any, **kwargs: Any) -> Any:
        """The management interface: bindings."""
        return Management(self)

    @property
    def default_connection_params(self) -> dict[str, Any]:
        """What a URL without a host means: an embedded SQLite file."""
        return {"hostname": "depqueue://", "port": None}


def _try(close: Callable[[], None], failed: str) -> None:
    """Close something; what fails is told, if there still was somebody to tell."""
    try:
        close()
    except DepQueueError as error:  # the leases expire by themselves
        if not isinstance(error, QueueClosed):
            logger.warning("%s: %s", failed, error)


class _Outcomes:
    """Outcomes on their way to whichever connection consumes."""

    def __init__(self) -> None:
        self.pipe: Pipe | None = None
        self._pending: list[Told] = []
        self._lock = threading.Lock()
        """Tasks tell from any thread, while others open and close connections."""

    def tell(self, told: Told) -> bool:
        """Tell one: in the batch of the next acks of a connection of this process, or of its parent."""
        if self.pipe is not None and self.pipe.is_childs:
            return self.pipe.send(told)
        self.receive()  # what a process told before it died comes before what is said of its death
        return self._tell(told)

    def _tell(self, told: Told) -> bool:
        return any(one.conclude(*told) for one in transports())

    def keep(self, untold: Sequence[Told]) -> None:
        """Tell these when there is a connection again."""
        with self._lock:
            self._pending += untold

    def receive(self) -> None:
        """Tell what the children have sent; what cannot be told, since the connection is lost, waits for the next."""
        if self.pipe is None and not self._pending:
            return
        with self._lock:
            if self.pipe is not None and not self.pipe.is_childs:
                self._pending += self.pipe.receive()
            self._pending = [told for told in self._pending if not self._tell(told)]


_outcomes = _Outcomes()


def transports() -> list[Transport]:
    """Those of this process (and, in a child, its parent's)."""
    with _transports_lock:
        return list(_transports)


def _in_child() -> None:
    """Another thread may have held a lock when this process was forked off; it is not here to release it."""
    global _transports_lock
    _transports_lock, _outcomes._lock = threading.RLock(), threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def conclude(token: str, job_id: UUID, ending: Ending) -> bool:
    """Tell the outcome of a message that this process, or the one it was forked off, consumes: with its next acks.

    False: there is no such way; it has to be told by itself.
    """
    return _outcomes.tell(Told(key_of(token), job_id, ending))


def open_pipe() -> None:
    """Before processes are forked off that run tasks: let them tell their outcomes through this one."""
    if _outcomes.pipe is None:
        _outcomes.pipe = Pipe()


def close_pipe() -> None:
    """No process that runs tasks is left."""
    if _outcomes.pipe is not None and not _outcomes.pipe.is_childs:
        _outcomes.receive()
        _outcomes.pipe.close()
        _outcomes.pipe = None


def queue_here() -> MessageQueue | None:
    """The queue of a connection that this process, or the one it was forked off, consumes from."""
    for one in transports():
        if one._deliveries is not None and one._queue is not None:
            return one._queue
    return None


def _join_mingle() -> None:
    """Let Celery's workers exchange revoked ids at their start; it asks for the transport's name in a set.

    Not gossip: it has each worker read all events of all others, which here are rows.
    """
    module = sys.modules.get("celery.worker.consumer.mingle")
    transports = getattr(getattr(module, "Mingle", None), "compatible_transports", None)
    if isinstance(transports, set):
        transports.add(Transport.driver_type)


plugins.load()  # before Celery makes its pool of processes, which is before it connects
