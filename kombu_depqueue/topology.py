"""Kombu's exchanges, queues and bindings, kept in the database so that every process sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import event

from kombu_depqueue.dialects import Tx
from kombu_depqueue.enlisting import Deferred, enlisted
from kombu_depqueue.exchanges import Binding, load_arguments, route
from kombu_depqueue.records import Records
from kombu_depqueue.routing import LIMITS
from kombu_depqueue.store import Store

__all__ = ["ExchangeFacts", "QueueFacts", "Topology"]

T = TypeVar("T")


class QueueFacts(NamedTuple):
    """A queue as declared."""

    number: int
    declared: bool
    ephemeral: bool
    auto_delete: bool
    owner: int | None
    """The consumer that it ends with."""
    arguments: dict[str, Any]


class ExchangeFacts(NamedTuple):
    """An exchange as declared."""

    type: str
    durable: bool
    auto_delete: bool
    arguments: dict[str, Any]


def _dump(arguments: Mapping[str, Any] | None) -> str | None:
    return json.dumps(dict(arguments), default=str) if arguments else None


class Topology:
    """Declares, deletes and looks up; one method, one transaction."""

    def __init__(self, store: Store, records: Records) -> None:
        self._store, self._records = store, records
        self._database, self._sql = store.database, store.sql
        self._owned: set[str] = set()
        self._consumed: dict[int, set[Hashable]] = {}
        """By queue: the consumers here. Their number is written, not one more or less: that can be tried again."""
        self._counting = threading.Lock()
        """Held until it is written, else an older one might be written last."""
        self.undone: Callable[[], None] = lambda: None
        """Called when a transaction was rolled back in which something was declared."""

    def _caller(self) -> Any:
        """The caller's connection, where it may hold the only write lock: what is declared is part of it then."""
        connection = enlisted() if self._store.dialect.one_writer else None
        return None if isinstance(connection, Deferred) else connection

    def _read(self, work: Callable[[Tx], T]) -> T:
        caller = self._caller()
        return self._database.read(work) if caller is None else self._database.join(caller, work)

    def _write(self, work: Callable[[Tx], T]) -> T:
        caller = self._caller()
        if caller is None:
            return self._database.write(work)
        done = self._database.join(caller, work)
        connection = caller.connection() if hasattr(caller, "get_bind") else caller
        event.listen(connection, "rollback", lambda _: self.undone(), once=True)
        return done

    # exchanges

    def declare_exchange(self, name: str, facts: ExchangeFacts) -> ExchangeFacts:
        """Declare an exchange unless it is there; returns what it is."""
        values = {"p_name": name, "p_type": facts.type, "p_arguments": _dump(facts.arguments)}

        def work(tx: Tx) -> None:
            tx.run(self._sql.add_exchange, **values, p_durable=facts.durable, p_auto_delete=facts.auto_delete)

        found = self.exchange(name)
        if found is None:
            self._write(work)
            found = self.exchange(name)
        return found or facts

    def exchange(self, name: str) -> ExchangeFacts | None:
        """What an exchange is; None: it does not exist."""
        rows = self._read(lambda tx: tx.all(self._sql.exchange_by_name, p_name=name))
        if not rows:
            return None
        kind, durable, auto_delete, arguments = rows[0]
        return ExchangeFacts(kind, bool(durable), bool(auto_delete), load_arguments(arguments))

    def exchanges(self) -> list[str]:
        """All exchanges."""
        return [n for (n,) in self._database.read(lambda tx: tx.all(self._sql.all_exchanges))]

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange and its bindings; the queues stay."""

        def work(tx: Tx) -> None:
            tx.run(self._sql.drop_exchange_bindings, p_name=name)
            tx.run(self._sql.drop_exchange, p_name=name)

        self._database.write(work)

    # queues

    def declare_queue(
        self, name: str, *, auto_delete: bool, owner: int | None, arguments: Mapping[str, Any], anew: bool = False
    ) -> QueueFacts:
        """Declare a queue unless it is there (or `anew`); returns what it is.

        One that does not last, and that nobody consumes, is declared anew: somebody who was killed has left it.
        """
        facts = self.queue(name)
        abandoned = facts is not None and facts.ephemeral and not self.consumers(facts.number)
        if facts is not None and facts.declared and not abandoned and not anew:
            self._store.remember_queue("", name, facts.number, keep=not facts.ephemeral)
            return facts  # no write for each producer that declares what everybody declares
        if facts is not None and LIMITS in facts.arguments:
            arguments = {**arguments, LIMITS: facts.arguments[LIMITS]}
        expires = arguments.get("x-expires")
        ephemeral = bool(auto_delete or owner is not None or expires)
        values = {
            "p_ephemeral": ephemeral,
            "p_auto_delete": auto_delete,
            "p_owner": owner,
            "p_arguments": _dump(arguments),
            "p_idle_limit": None if expires is None else expires / 1000,
        }

        def work(tx: Tx) -> int:
            queue = self._store._add_queues(tx, [("", name)])["", name]
            tx.run(self._sql.declare_queue, p_queue=queue, **values)
            return queue

        number = self._write(work)
        self._store.remember_queue("", name, number, keep=not ephemeral and self._caller() is None)
        if owner is not None:
            self._owned.add(name)
        return QueueFacts(number, True, ephemeral, auto_delete, owner, dict(arguments))

    def queue(self, name: str) -> QueueFacts | None:
        """What a queue is; None: it does not exist."""
        rows = self._read(lambda tx: tx.all(self._sql.queue_facts, p_name=name))
        if not rows:
            return None
        number, declared, ephemeral, auto_delete, owner, arguments = rows[0]
        return QueueFacts(number, bool(declared), bool(ephemeral), bool(auto_delete), owner, load_arguments(arguments))

    def touch(self, number: int) -> None:
        """A queue is in use."""
        self._database.write(lambda tx: tx.run(self._sql.use_queue, p_queue=number), durable=False)

    def delete_queue(self, number: int, name: str) -> int:
        """Delete a queue with its bindings and pending messages; returns how many those were."""
        count = self.purge(number)

        def work(tx: Tx) -> None:
            tx.run(self._sql.drop_queue_bindings, p_queue=number)
            tx.run(self._sql.undeclare_queue, p_queue=number)
            tx.run(self._sql.drop_queue, p_queue=number)

        self._database.write(work)
        self._store.forget_queue("", name)
        self._owned.discard(name)
        return count

    def delete_owned(self, consumer: int) -> None:
        """Delete the queues that end with a consumer."""
        for name in list(self._owned):
            facts = self.queue(name)
            if facts is not None and facts.owner == consumer:
                self.delete_queue(facts.number, name)

    def purge(self, number: int) -> int:
        """Remove all pending messages of a queue."""
        count = 0
        while removed := self._records.purge(number, "purged"):
            count += removed
        return count

    def ready(self, number: int) -> int:
        """Exactly how many messages of a queue are ready."""
        return int(self._database.read(lambda tx: tx.all(self._sql.count_ready, p_queue=number))[0][0])

    # bindings

    def bind(self, number: int, exchange: str, routing_key: str) -> None:
        """Bind a queue, unless it is bound so."""
        key = {"p_exchange": exchange, "p_routing_key": routing_key, "p_queue_id": number}
        if not self._read(lambda tx: tx.all(self._sql.binding, **key)):  # no write for each producer
            self._write(lambda tx: tx.run(self._sql.add_binding, **key))

    def unbind(self, number: int, exchange: str, routing_key: str) -> None:
        """Unbind a queue."""
        key = {"p_exchange": exchange, "p_routing_key": routing_key, "p_queue": number}
        self._database.write(lambda tx: tx.run(self._sql.drop_binding, **key))

    def bindings(self) -> list[tuple[str, str, str]]:
        """All bindings: queue, exchange, routing key."""
        return [tuple(row) for row in self._database.read(lambda tx: tx.all(self._sql.all_bindings))]

    def route(self, exchange: str, routing_key: str) -> tuple[str, list[Binding]] | None:
        """The exchange's type, and the queues that a message goes to, each once; None: there is no such exchange."""
        return self._read(lambda tx: route(tx, self._sql, exchange, routing_key))

    # consumers

    def subscribe(self, number: int, consumer: int, tag: Hashable) -> None:
        """A consumer of ours (`consumer`: all that are) begins to consume a queue."""

        def work(tx: Tx) -> None:
            if not tx.run(self._sql.resubscribe, p_queue=number, p_id=consumer, p_count=len(ours)):
                tx.run(self._sql.subscribe, p_queue=number, p_id=consumer, p_count=len(ours))

        with self._counting:
            ours = self._consumed.setdefault(number, set())
            ours.add(tag)
            try:
                self._database.write(work)
            except BaseException:
                ours.discard(tag)
                raise

    def unsubscribe(self, number: int, consumer: int, tag: Hashable) -> int:
        """It ends to; returns how many consume the queue now."""

        def work(tx: Tx) -> int:
            tx.run(self._sql.resubscribe, p_queue=number, p_id=consumer, p_count=len(ours))
            tx.run(self._sql.drop_ended_subscriptions, p_queue=number)
            tx.run(self._sql.use_queue, p_queue=number)
            return int(tx.all(self._sql.count_consumers, p_queue=number)[0][0])

        with self._counting:
            ours = self._consumed.get(number, set())
            ours.discard(tag)
            return self._database.write(work)

    def consumers(self, number: int) -> int:
        """How many consume a queue."""
        return int(self._database.read(lambda tx: tx.all(self._sql.count_consumers, p_queue=number))[0][0])

    def sweep(self) -> None:
        """Delete queues whose time is over."""
        unused = self._database.read(lambda tx: tx.all(self._sql.unused_queues))
        names = {number: name for number, _, name, _ in self._database.read(lambda tx: tx.all(self._sql.all_queues))}
        for (number,) in unused:
            self.delete_queue(number, names.get(number, ""))
