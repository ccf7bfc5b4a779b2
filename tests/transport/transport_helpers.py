"""What the tests of the transport share: consume and see, publish, declare."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kombu import Connection, Consumer, Message, Producer, Queue

MakeConnection = Callable[..., Connection]

ACCEPT = ["json", "pickle", "yaml", "msgpack", "application/data", "application/octet-stream", "text/plain"]


def broker_of(url: str, **options: Any) -> str:
    """The broker URL for a JobQueue's URL."""
    options.setdefault("create", "true")
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"depqueue+{url}{'&' if '?' in url else '?'}{query}"


class Inbox:
    """Consumes queues on one channel and keeps what arrives."""

    def __init__(
        self, channel: Any, *queues: Queue | str, prefetch: int | None = None, no_ack: bool = False, ack: bool = False
    ) -> None:
        self.channel = channel
        self.connection: Connection = channel.connection.client
        self.messages: list[Message] = []
        self.moments: list[float] = []
        self._ack = ack
        if prefetch is not None:
            channel.basic_qos(0, prefetch, False)
        self.consumer = Consumer(
            channel,
            [Queue(q) if isinstance(q, str) else q for q in queues],
            no_ack=no_ack,
            accept=ACCEPT,
            on_message=self._on_message,
            auto_declare=False,
        )
        self.consumer.consume()

    def _on_message(self, message: Message) -> None:
        self.messages.append(message)
        self.moments.append(time.monotonic())
        if self._ack:
            message.ack()

    def drain(self, seconds: float) -> None:
        """Take what arrives within so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                return

    def take(self, count: int = 1, timeout: float = 15.0) -> list[Message]:
        """Wait for so many messages, and hand them out."""
        end = time.monotonic() + timeout
        while len(self.messages) < count:
            left = end - time.monotonic()
            assert left > 0, f"{len(self.messages)} of {count} messages within {timeout} s: {self.bodies()}"
            try:
                self.connection.drain_events(timeout=left)
            except TimeoutError:
                continue
        taken, self.messages = self.messages[:count], self.messages[count:]
        return taken

    def bodies(self) -> list[Any]:
        return [m.payload for m in self.messages]

    def payloads(self, count: int = 1, timeout: float = 15.0) -> list[Any]:
        """Wait for so many messages, ack them, and give what they hold."""
        taken = self.take(count, timeout)
        for message in taken:
            message.ack()
        return [m.payload for m in taken]

    def assert_quiet(self, seconds: float = 0.3) -> None:
        """Nothing (more) arrives within so many seconds."""
        self.drain(seconds)
        assert self.bodies() == []


def publish(channel: Any, body: Any, queue: str = "", **options: Any) -> None:
    """Publish to a queue, or to an exchange."""
    Producer(channel).publish(body, routing_key=options.pop("routing_key", queue), **options)


def declare(channel: Any, name: str, **options: Any) -> Queue:
    """Declare a queue."""
    queue = Queue(name, channel=channel, **{"durable": True, **options})
    queue.declare()
    return queue


def bind(channel: Any, exchange: str, bindings: Mapping[str, Iterable[str]], kind: str = "direct") -> None:
    """Declare an exchange, and queues with the keys that they are bound by."""
    channel.exchange_declare(exchange, kind, durable=True, auto_delete=False)
    for queue, keys in bindings.items():
        channel.queue_declare(queue, durable=True, auto_delete=False)
        for key in keys:
            channel.queue_bind(queue, exchange, key)


def contents(channel: Any, queue: str) -> list[Any]:
    """Get and ack all that a queue holds."""
    found = []
    while (message := channel.basic_get(queue)) is not None:
        message.accept = None
        found.append(message.payload)
        message.ack()
    return found


def depth(channel: Any, queue: str) -> int:
    """How many messages are ready."""
    return int(channel.queue_declare(queue, passive=True).message_count)
