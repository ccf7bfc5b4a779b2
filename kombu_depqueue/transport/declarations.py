"""The channel's half that declares: exchanges, queues and bindings, and what is remembered of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from amqp.exceptions import ChannelError, NotFound, PreconditionFailed
from amqp.protocol import queue_declare_ok_t
from kombu.transport import base
from kombu.utils.uuid import uuid

from kombu_depqueue.deadletters import PREFIX
from kombu_depqueue.entry import check_name
from kombu_depqueue.errors import QueueClosed
from kombu_depqueue.exchanges import Binding
from kombu_depqueue.topology import ExchangeFacts
from kombu_depqueue.transport.arguments import checked, inequivalent

__all__ = ["Declarations", "Management", "not_found"]

logger = logging.getLogger("kombu_depqueue")

FACTS_FRESH = 5.0
"""Seconds for which a queue's arguments are remembered by a producer."""


class Declarations(base.StdChannel):
    """AMQP's exchange and queue methods."""

    connection: Any

    def __init__(self) -> None:
        self._facts: dict[str, tuple[float, Binding]] = {}

    @property
    def _open(self) -> Any:
        """The connection. Raises QueueClosed if this channel was closed, perhaps by another thread."""
        connection = self.connection
        if connection is None:
            raise QueueClosed("the channel is closed")
        return connection

    @property
    def _is_gone(self) -> bool:
        """Whether what it held has been given back already, or is not this process's."""
        connection = self.connection
        return connection is None or bool(connection.in_child)

    @property
    def _queue(self) -> Any:
        return self._open.queue

    @property
    def _topology(self) -> Any:
        return self._queue.topology

    def _named(self, queue: str) -> str:
        return check_name("queue", f"{self._open.prefix}{queue}")

    def _facts_of(self, stored: str) -> Binding:
        fresh = self._facts.get(stored)
        if fresh is not None and fresh[0] > time.monotonic():
            return fresh[1]
        facts = self._topology.queue(stored)
        return self._remember(
            Binding(stored, {}, False) if facts is None else Binding(stored, facts.arguments, facts.ephemeral)
        )

    def _remember(self, target: Binding) -> Binding:
        if len(self._facts) > 1000:
            self._facts.clear()
        self._facts[target.name] = (time.monotonic() + FACTS_FRESH, target)
        return target

    # exchanges

    def exchange_declare(
        self,
        exchange: str | None = None,
        type: str = "direct",  # AMQP's name
        durable: bool = False,
        auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None,
        nowait: bool = False,
        passive: bool = False,
        **kwargs: Any,
    ) -> None:
        """Declare an exchange; `passive`: only see that it is there."""
        kind = type or "direct"
        name = check_name("exchange", exchange or f"amq.{kind}")
        if passive:
            if self._topology.exchange(name) is None:
                raise not_found(f"no exchange {name!r}", "Channel.exchange_declare")
            return
        if kind not in ("direct", "topic", "fanout"):
            raise ChannelError(f"COMMAND_INVALID - exchange type {kind!r}", (40, 10), "Channel.exchange_declare", 503)
        found = self._topology.declare_exchange(
            name, ExchangeFacts(kind, bool(durable), bool(auto_delete), dict(arguments or {}))
        )
        if found.type != kind:
            what = f"exchange {name!r} is of type {found.type!r}, not {kind!r}"
            raise PreconditionFailed(f"PRECONDITION_FAILED - {what}", (40, 10), "Channel.exchange_declare")

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False, **kwargs: Any) -> None:
        """Delete an exchange and its bindings."""
        check_name("exchange", exchange)
        if if_unused and any(bound == exchange for _, bound, _ in self._topology.bindings()):
            what = f"exchange {exchange!r} in use"
            raise PreconditionFailed(f"PRECONDITION_FAILED - {what}", (40, 20), "Channel.exchange_delete")
        self._topology.delete_exchange(exchange)

    def exchange_bind(self, *args: Any, **kwargs: Any) -> None:
        """Not offered: exchanges bind queues only."""
        raise NotImplementedError("exchanges cannot be bound to exchanges")

    exchange_unbind = exchange_bind

    # queues

    def queue_declare(
        self,
        queue: str | None = None,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        nowait: bool = False,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Declare a queue, or (`passive`) count its ready messages and consumers."""
        name = queue or f"amq.gen-{uuid()}"
        stored = self._named(name)
        if passive:
            facts = self._topology.queue(stored)
            if facts is None or not facts.declared:
                raise not_found(f"no queue {name!r}", "Channel.queue_declare")
            number = facts.number
            return queue_declare_ok_t(name, self._topology.ready(number), self._topology.consumers(number))
        given = checked(arguments)
        prefix = self._open.prefix
        if prefix and given.get("x-dead-letter-exchange") == "":
            given[PREFIX] = prefix
        if exclusive:
            self._queue.join()  # what ends with us has to know when we die
        owner = self._queue.consumer if exclusive else None
        values = {"auto_delete": bool(auto_delete), "owner": owner, "arguments": given}
        facts = self._topology.declare_queue(stored, **values)
        kind, wanted = (facts.auto_delete, facts.owner is not None), (bool(auto_delete), bool(exclusive))
        if kind != wanted:
            what = f"queue {name!r}: inequivalent (auto_delete, exclusive): received {wanted} but current is {kind}"
            raise PreconditionFailed(f"PRECONDITION_FAILED - {what}", (50, 10), "Channel.queue_declare")
        # Who gives no arguments may not know them. Else the last counts: a queue that has to be deleted before its
        # priorities can change is what RabbitMQ's users complain about, and on Redis nobody was ever told.
        if given and (different := inequivalent(facts.arguments, given)):
            logger.warning("queue %r is declared anew: %s", name, different)
            facts = self._topology.declare_queue(stored, **values, anew=True)
        self._remember(Binding(stored, facts.arguments, facts.ephemeral))
        # No count here: it would cost each producer's first publish a walk over the backlog.
        return queue_declare_ok_t(name, 0, self._topology.consumers(facts.number) if facts.ephemeral else 0)

    def queue_bind(
        self,
        queue: str,
        exchange: str | None = None,
        routing_key: str = "",
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Bind a queue to an exchange."""
        if not exchange:
            return  # every queue is bound to the default exchange by its name
        key = check_name("routing_key", routing_key or "", empty=True)
        if self._topology.exchange(check_name("exchange", exchange)) is None:
            raise not_found(f"no exchange {exchange!r}", "Channel.queue_bind")
        facts = self._topology.queue(self._named(queue))
        if facts is None:
            raise not_found(f"no queue {queue!r}", "Channel.queue_bind")
        self._topology.bind(facts.number, exchange, key)

    def queue_unbind(self, queue: str, exchange: str = "", routing_key: str = "", **kwargs: Any) -> None:
        """Unbind a queue from an exchange."""
        facts = self._topology.queue(self._named(queue))
        if facts is not None:
            key = check_name("routing_key", routing_key or "", empty=True)
            self._topology.unbind(facts.number, check_name("exchange", exchange, empty=True), key)

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> int:
        """Delete a queue with its messages and bindings; returns how many messages."""
        stored = self._named(queue)
        facts = self._topology.queue(stored)
        if facts is None:
            return 0
        for asked, counted, what in (
            (if_empty, self._topology.ready, "is not empty"),
            (if_unused, self._topology.consumers, "is in use"),
        ):
            if asked and counted(facts.number):
                raise PreconditionFailed(
                    f"PRECONDITION_FAILED - queue {queue!r} {what}", (50, 40), "Channel.queue_delete"
                )
        self._facts.pop(stored, None)
        return int(self._topology.delete_queue(facts.number, stored))

    def after_reply_message_received(self, queue: str) -> None:
        """A reply queue is not needed any more."""
        self.queue_delete(queue)

    def queue_purge(self, queue: str, **kwargs: Any) -> int:
        """Remove all messages that nobody holds; returns how many."""
        facts = self._topology.queue(self._named(queue))
        return int(self._topology.purge(facts.number)) if facts is not None else 0

    def list_bindings(self) -> list[tuple[str, str, str]]:
        """All bindings: queue, exchange, routing key."""
        return list(self._topology.bindings())

    def get_bindings(self) -> list[dict[str, str]]:
        """All bindings, as the management interface has them."""
        return [{"destination": q, "source": e, "routing_key": r} for q, e, r in self.list_bindings()]

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """Kombu's names (expires, message_ttl, ...) as AMQP's arguments."""
        return base.to_rabbitmq_queue_arguments(arguments or {}, **kwargs)


def not_found(what: str, method: str) -> ChannelError:
    """An error 404 as RabbitMQ sends it."""
    return NotFound(f"NOT_FOUND - {what}", (50, 10), method)


class Management(base.Management):
    """The management interface."""

    def get_bindings(self) -> list[dict[str, str]]:
        """All bindings."""
        with self.transport.client.channel() as opened:
            return list(opened.get_bindings())
