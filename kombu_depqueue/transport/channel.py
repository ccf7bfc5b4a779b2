"""The channel: AMQP's methods on the store of the native API. Those that declare are in `declarations`."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from amqp.exceptions import ChannelError
from kombu.utils.uuid import uuid

from kombu_depqueue.dialects.steps import Claimed
from kombu_depqueue.entry import Entry, check_name
from kombu_depqueue.exchanges import Binding
from kombu_depqueue.forgeries import Names
from kombu_depqueue.job import JobState
from kombu_depqueue.plugins import plugin
from kombu_depqueue.transport import codec
from kombu_depqueue.transport.codec import entry_for
from kombu_depqueue.transport.declarations import Declarations, not_found
from kombu_depqueue.transport.delivery import Consumer

if TYPE_CHECKING:
    from kombu_depqueue.transport import Transport

__all__ = ["Channel"]

logger = logging.getLogger("kombu_depqueue")

UNREADABLE = "dead: its consumer could not decode it"
UNHEARD = 0.1
"""Seconds for which "nobody listens" is remembered for transient messages (Celery's events)."""


class Channel(Declarations):
    """One conversation on a connection: consumers, unacked messages and a prefetch count of its own."""

    Message = codec.Message
    do_restore = True

    def __init__(self, connection: Transport, channel_id: int) -> None:
        super().__init__()
        self.connection = connection
        self.channel_id = channel_id
        self.closed = False
        self.prefetch_count = 0
        self.flowing = True
        self.buffered = 0
        """Messages fetched for it and not delivered yet."""
        self.acks = 0
        """Those since the last fetch for it."""
        self.acked_at = 0.0
        self.reserve = 0
        """So many more than the prefetch count may be fetched, but not delivered."""
        self._tags = count(1)
        self._consumers: dict[str, Consumer] = {}
        self._unacked: OrderedDict[int, Claimed] = OrderedDict()
        self._owing: dict[int, Callable[[], bool]] = {}
        """Delivery tags of messages whose ack says only that they were taken, unless this is true then."""
        self._unreadable: set[int] = set()
        self._unheard: dict[tuple[str, str], float] = {}

    # publish

    def prepare_message(
        self,
        body: Any,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, Any] | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A message before it is published."""
        kept = dict(properties or {})
        kept.setdefault("delivery_info", {})
        kept.setdefault("priority", priority or 0)
        return {
            "body": body,
            "content-encoding": content_encoding,
            "content-type": content_type,
            "headers": dict(headers or {}),
            "properties": kept,
        }

    def basic_publish(
        self, message: dict[str, Any], exchange: str = "", routing_key: str = "", mandatory: bool = False, **kwargs: Any
    ) -> None:
        """Publish; when it returns, the message is committed (or in the caller's transaction)."""
        if exchange and exchange.endswith(".pidbox"):
            knows = plugin()
            if knows is not None:
                knows.controls(self._queue, message)
        self.insert(*self.entries(message, exchange or "", routing_key or "", mandatory=mandatory))

    def insert(self, entries: Sequence[Entry], bounded: Iterable[Binding]) -> None:
        """Insert what `entries` has made of messages, all or none, and keep queues within their maximal lengths."""
        if not entries:
            return
        rejecting = [t for t in bounded if t.arguments.get("x-overflow") == "reject-publish"]
        for target in rejecting:
            self._refuse_beyond(target, sum(e.queue == target.name for e in entries))
        self._queue.publish(entries)
        for target in bounded:
            if target not in rejecting:
                self._cut(target)

    def entries(
        self, message: dict[str, Any], exchange: str, routing_key: str, *, mandatory: bool = False
    ) -> tuple[list[Entry], list[Binding]]:
        """What has to be inserted for a message, and which of its queues have a maximal length."""
        check_name("routing_key", routing_key, empty=True)
        message["properties"]["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
        kind, targets = self._targets(message, exchange, routing_key)
        if not targets and mandatory:
            raise ChannelError(f"NO_ROUTE - {exchange!r} {routing_key!r}", (60, 40), "Channel.basic_publish", 312)
        broadcast = len(targets) > 1 or kind == "fanout"
        settings = self._queue.settings
        entries = [entry_for(message, target, broadcast=broadcast, settings=settings) for target in targets]
        return entries, [t for t in targets if t.arguments.get("x-max-length") is not None]

    def _targets(self, message: dict[str, Any], exchange: str, routing_key: str) -> tuple[str, list[Binding]]:
        if not exchange:
            return "direct", [self._facts_of(self._named(routing_key))]
        transient = message["properties"].get("delivery_mode") == 1
        key = (exchange, routing_key)
        if transient and self._unheard.get(key, 0.0) > time.monotonic():
            return "", []
        found = self._topology.route(check_name("exchange", exchange), routing_key)
        if found is None:
            raise not_found(f"no exchange {exchange!r}", "Channel.basic_publish")
        kind, targets = found
        if not targets and transient:
            if len(self._unheard) > 1000:
                self._unheard.clear()
            self._unheard[key] = time.monotonic() + UNHEARD
        last = self._open.deadletter_queue if not targets else None
        if last:
            targets = [self._facts_of(self._named(last))]
        return kind, targets

    def _refuse_beyond(self, target: Binding, coming: int) -> None:
        """Refuse what a queue has no room for; publishers at the same moment may both find the last place."""
        number, limit = self._queue.numbers([target.name])[0], target.arguments["x-max-length"]
        if self._topology.ready(number) + coming > limit:
            what = f"queue {target.name!r} is full: x-max-length is {limit}"
            raise ChannelError(f"RESOURCE_ERROR - {what}", (60, 40), "Channel.basic_publish", 506)

    def _cut(self, target: Binding) -> None:
        """Keep a queue within its maximal length: the oldest messages go."""
        self._queue.cut(self._queue.numbers([target.name])[0], target.arguments["x-max-length"])

    # consume

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, a_global: bool = False, **kwargs: Any) -> None:
        """Limit how many messages may be unacked; 0 = no limit."""
        grown = prefetch_count == 0 or prefetch_count > self.prefetch_count
        self.prefetch_count = prefetch_count
        if grown:
            self._may_have_more()

    def credit(self, limit: int) -> int:
        """How many more messages may be fetched."""
        if not self.flowing:
            return 0
        if not self.prefetch_count:
            return limit - self.buffered
        return min(self.prefetch_count + self.reserve, limit) - self.buffered - len(self._unacked)

    def has_room(self, credit: int) -> bool:
        """Whether to fetch more at once: who has half of what it may can wait, and larger batches cost less."""
        return credit > 0 and credit >= (self.prefetch_count + self.reserve) // 2

    @property
    def surplus(self) -> int:
        """So many more than the prefetch count have been fetched."""
        return max(0, self.buffered + len(self._unacked) - self.prefetch_count) if self.prefetch_count else 0

    @property
    def takes_more(self) -> bool:
        """Whether a message may be delivered."""
        return not self.prefetch_count or len(self._unacked) < self.prefetch_count

    def basic_consume(
        self,
        queue: str,
        no_ack: bool = False,
        callback: Callable[[Any], Any] | None = None,
        consumer_tag: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Begin to consume a queue; returns the consumer tag."""
        tag = consumer_tag or f"ctag.{uuid()}"
        stored = self._named(queue)
        number = self._queue.numbers([stored])[0]
        self._queue.join()
        self._topology.subscribe(number, self._queue.consumer, (self.channel_id, tag))
        consumer = Consumer(tag, self, stored, number, bool(no_ack), callback or (lambda message: None))
        self._consumers[tag] = consumer
        connection = self._open
        connection.deliveries.add(consumer)
        connection.consumes()
        return tag

    def basic_cancel(self, consumer_tag: str, **kwargs: Any) -> None:
        """End to consume; what was fetched and not delivered goes back."""
        consumer = self._consumers.get(consumer_tag)
        if consumer is None:
            return
        connection = self.connection
        if connection is None:  # what it had was given back with it
            self._consumers.pop(consumer_tag, None)
            return
        connection.deliveries.remove(consumer)
        left = self._topology.unsubscribe(consumer.number, self._queue.consumer, (self.channel_id, consumer_tag))
        if not left:
            facts = self._topology.queue(consumer.queue)
            if facts is not None and facts.auto_delete:
                self._topology.delete_queue(facts.number, consumer.queue)
        self._consumers.pop(consumer_tag, None)

    def deliver(self, consumer: Consumer, claimed: Claimed) -> None:
        """Give a message to its consumer."""
        tag = next(self._tags)
        if not consumer.no_ack:
            self._unacked[tag] = claimed
        consumer.callback(codec.Message(claimed, self, tag, consumer.tag, consumer.queue))

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> codec.Message | None:
        """Take the next message, if there is one."""
        stored = self._named(queue)
        number = self._queue.numbers([stored])[0]
        while claimed := self._queue.claim([number], 1):
            one = self._taken(claimed, {number: ("", stored)}, no_ack)
            if one is not None:
                tag = next(self._tags)
                if not no_ack:
                    self._unacked[tag] = one
                return codec.Message(one, self, tag, None, stored)
        return None

    def _taken(self, claimed: list[Claimed], names: Names, no_ack: bool) -> Claimed | None:
        """What a claim of one brought, if it is to be delivered."""
        claimed = self._queue.genuine(claimed, names)
        with self._queue.handing_out(claimed):
            one = codec.joined(self._queue, claimed[0]) if claimed else None
            if no_ack and one is not None:
                self._queue.ack_messages([one])
        return one

    def message_to_python(self, raw_message: Any) -> Any:
        """Messages arrive decoded."""
        return raw_message

    # settle

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a message (soon: acks travel in batches; what is not acked comes again)."""
        if self._is_gone:
            return
        tags = [t for t in list(self._unacked) if t <= delivery_tag] if multiple else [delivery_tag]
        for tag in tags:
            claimed = self._unacked.pop(tag, None)
            if claimed is None:
                continue
            try:
                self._ack(tag, claimed)
            except BaseException:
                self._unacked[tag] = claimed  # it can be acked again, or given back at the end
                self._unacked.move_to_end(tag, last=False)
                raise
            self._owing.pop(tag, None)
            self._unreadable.discard(tag)

    def _ack(self, tag: int, claimed: Claimed) -> None:
        self.acks, self.acked_at = self.acks + 1, time.monotonic()
        connection = self._open
        succeeded = self._owing.get(tag)
        if tag in self._unreadable:
            self._queue.conclude_held(claimed, self._queue.ending(JobState.FAILED, reason=UNREADABLE))
            self._may_have_more()
        elif succeeded is not None and not connection.is_told(claimed) and not succeeded():
            connection.deliveries.run_on(claimed)
        else:
            hurry = self.prefetch_count > 0 and self.has_room(self.credit(self.prefetch_count + self.reserve))
            connection.ack(claimed, hurry=hurry)

    def unreadable(self, delivery_tag: int) -> None:
        """A message could not be decoded: if it is acked all the same, it has not succeeded."""
        self._unreadable.add(delivery_tag)

    def owe(self, delivery_tag: int, succeeded: Callable[[], bool] = lambda: False) -> None:
        """Somebody tells what came of the message (`Transport.conclude`); its ack says nothing of that.

        Unless `succeeded()` is true then: nobody will tell more.
        """
        self._owing[delivery_tag] = succeeded

    @property
    def owes(self) -> bool:
        """Whether a message that was not acked yet is owed its outcome."""
        return bool(self._owing)

    def holds(self, seq: int, token: int) -> Claimed | None:
        """The message, if it was delivered and neither acked nor rejected."""
        return next((c for c in list(self._unacked.values()) if c.seq == seq and c.token == token), None)

    def basic_reject(self, delivery_tag: int, requeue: bool = False) -> None:
        """Refuse a message: back to its place at once, or dead."""
        held = self._unacked.get(delivery_tag)
        if held is None or self._is_gone:
            return
        told = self._open.take_told(held)
        if requeue:
            self._give_back([held])
        else:
            self._queue.reject(held, told=told)
        # Only now: else a later message would be fetched in its stead. And what fails can be tried again.
        self._owing.pop(delivery_tag, None)
        self._unreadable.discard(delivery_tag)
        self._unacked.pop(delivery_tag, None)
        self._may_have_more()

    def _give_back(self, held: list[Claimed]) -> None:
        """Back to their places at once; dead, if their deliveries are used up."""
        for claimed in self._queue.give_back(held, seen=True):
            self._queue.reject(claimed, "delivery_limit")

    def basic_recover(self, requeue: bool = True, **kwargs: Any) -> None:
        """Give all unacked messages back."""
        held = dict(self._unacked)
        self._give_back(list(held.values()))
        for tag in held:
            self._unacked.pop(tag, None)
        self._may_have_more()

    def _may_have_more(self) -> None:
        connection = self.connection
        if self._consumers and connection is not None:
            connection.deliveries.credit_changed()

    def flow(self, active: bool = True) -> None:
        """Fetch no more for this channel (`active=False`), or again."""
        self.flowing = active
        if active:
            self._may_have_more()

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Collect messages and insert them together (Kombu 5.7)."""
        return PublishBatch(self, max_size)

    def close(self) -> None:
        """Cancel the consumers and give unacked messages back, at once and in place."""
        if self.closed:
            return
        connection = self.connection
        if connection is not None:
            if not connection.in_child and not connection.is_down:
                for tag in list(self._consumers):
                    self.basic_cancel(tag)
                if self._unacked and self.do_restore:
                    self.basic_recover()
            connection.close_channel(self)
        self.closed = True


class PublishBatch:
    """Messages published together, in one transaction."""

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max(1, max_size)
        self._entries: list[Entry] = []
        self._bounded: dict[str, Binding] = {}

    def publish(self, message: dict[str, Any], exchange: str = "", routing_key: str = "", **kwargs: Any) -> None:
        """Add a message; a full batch is flushed."""
        entries, bounded = self.channel.entries(message, exchange or "", routing_key or "")
        self._entries += entries
        self._bounded.update((b.name, b) for b in bounded)
        if len(self._entries) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Insert what was collected, all or nothing."""
        entries, self._entries = self._entries, []
        bounded, self._bounded = self._bounded, {}
        self.channel.insert(entries, bounded.values())

    def discard(self) -> None:
        """Forget what was collected."""
        self._entries, self._bounded = [], {}

    def close(self) -> None:
        """Flush."""
        self.flush()
