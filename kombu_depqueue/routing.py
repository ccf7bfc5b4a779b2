"""The statements of Kombu's topology: exchanges, queues, bindings, who consumes what."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Double,
    Executable,
    Integer,
    Text,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from kombu_depqueue.sql import among, insert_unless_there, now, seconds_until, statement
from kombu_depqueue.tallies import Tallies

__all__ = ["LIMITS", "Routing"]

LIMITS = "x-depqueue-limits"
"""The argument of a queue that has its limits: no declaration changes it."""


def _flag(name: str) -> Any:
    return bindparam(name, type_=Boolean())


class Routing(Tallies):
    """All shared statements: those of `Tallies`, and the topology's."""

    @statement
    def add_exchange(self) -> Executable:
        """Declare an exchange, unless it is there."""
        e = self.t.exchange
        values = {c.name: bindparam(f"p_{c.name}", type_=c.type) for c in e.columns}
        return insert_unless_there(e, self.dialect).values(values)  # type: ignore[no-any-return]

    @statement
    def exchange_by_name(self) -> Executable:
        """One exchange."""
        e = self.t.exchange.c
        return select(e.type, e.durable, e.auto_delete, e.arguments).where(e.name == bindparam("p_name"))

    @statement
    def all_exchanges(self) -> Executable:
        """All exchanges by name."""
        return select(self.t.exchange.c.name).order_by(self.t.exchange.c.name)

    @statement
    def drop_exchange(self) -> Executable:
        """Delete an exchange."""
        return delete(self.t.exchange).where(self.t.exchange.c.name == bindparam("p_name"))

    @statement
    def drop_exchange_bindings(self) -> Executable:
        """Delete the bindings of an exchange."""
        return delete(self.t.binding).where(self.t.binding.c.exchange == bindparam("p_name"))

    @statement
    def declare_queue(self) -> Executable:
        """Note what was declared of a queue."""
        q = self.t.queue
        values = {
            "ephemeral": _flag("p_ephemeral"),
            "auto_delete": _flag("p_auto_delete"),
            "declared": True,
            "arguments": bindparam("p_arguments", type_=Text()),
            "idle_limit": bindparam("p_idle_limit", type_=Double()),
            "owner_id": bindparam("p_owner", type_=BigInteger()),
            "used_at": now(),
        }
        return update(q).where(q.c.id == bindparam("p_queue")).values(values)

    @statement
    def queue_facts(self) -> Executable:
        """What is known of a queue by name."""
        q = self.t.queue.c
        what = (q.id, q.declared, q.ephemeral, q.auto_delete, q.owner_id, q.arguments)
        return select(*what).where(q.channel == literal_column("''"), q.name == bindparam("p_name"))

    @statement
    def arguments_of(self) -> Executable:
        """What queues were declared with, where there is anything, by number."""
        q = self.t.queue.c
        return select(q.id, q.name, q.arguments).where(among(q.id, "ids"), q.arguments.is_not(None))

    @statement
    def queues_with_limits(self) -> Executable:
        """The queues that have limits."""
        q = self.t.queue.c
        limited = q.arguments.like(literal_column(f"'%\"{LIMITS}\"%'"))
        return select(q.id, q.channel, q.name, q.arguments).where(limited)

    @statement
    def lock_arguments(self) -> Executable:
        """What a queue was declared with, lest another change it meanwhile."""
        q = self.t.queue.c
        return select(q.arguments).where(q.id == bindparam("p_queue")).with_for_update()

    @statement
    def set_arguments(self) -> Executable:
        """Change what a queue was declared with."""
        q = self.t.queue
        return update(q).where(q.c.id == bindparam("p_queue")).values(arguments=bindparam("p_arguments", type_=Text()))

    @statement
    def count_unended(self) -> Executable:
        """How many jobs of a queue have not ended, at most p_limit of those that wait, and of the others."""
        counts = []
        for table in (self.t.job, self.t.wait):
            mine = select(table.c.queue_id).where(table.c.queue_id == bindparam("p_queue"))
            some = mine.limit(bindparam("p_limit", type_=Integer())).subquery()
            counts.append(select(func.count()).select_from(some).scalar_subquery())
        return select(counts[0] + counts[1])

    @statement
    def use_queue(self) -> Executable:
        """A queue is in use."""
        q = self.t.queue
        return update(q).where(q.c.id == bindparam("p_queue")).values(used_at=now())

    @statement
    def undeclare_queue(self) -> Executable:
        """A queue was deleted; its number stays."""
        q = self.t.queue
        gone = {"declared": False, "auto_delete": False, "arguments": None, "idle_limit": None, "owner_id": None}
        return update(q).where(q.c.id == bindparam("p_queue")).values(gone)

    @statement
    def drop_queue(self) -> Executable:
        """Delete an ephemeral queue for good."""
        q = self.t.queue
        return delete(q).where(q.c.id == bindparam("p_queue"), q.c.ephemeral)

    @statement
    def drop_queue_bindings(self) -> Executable:
        """Delete the bindings of a queue."""
        return delete(self.t.binding).where(self.t.binding.c.queue_id == bindparam("p_queue"))

    @statement
    def unused_queues(self) -> Executable:
        """Queues whose time without consumers is over, or whose last consumer has died."""
        q, s = self.t.queue.c, self.t.subscription.c
        consumed = exists().where(s.queue_id == q.id)
        idle = and_(q.idle_limit.is_not(None), seconds_until(q.used_at) < -q.idle_limit)
        unused = and_(q.declared, idle, ~consumed)
        return select(q.id).where(unused).limit(literal_column("100")).with_for_update(skip_locked=True)

    @statement
    def add_binding(self) -> Executable:
        """Bind a queue, unless it is bound so."""
        b = self.t.binding
        values = {c.name: bindparam(f"p_{c.name}", type_=c.type) for c in b.columns}
        return insert_unless_there(b, self.dialect).values(values)  # type: ignore[no-any-return]

    @statement
    def binding(self) -> Executable:
        """Whether a queue is bound so."""
        b = self.t.binding.c
        key = (b.exchange == bindparam("p_exchange"), b.routing_key == bindparam("p_routing_key"))
        return select(b.queue_id).where(*key, b.queue_id == bindparam("p_queue_id"))

    @statement
    def drop_binding(self) -> Executable:
        """Unbind a queue."""
        b = self.t.binding
        key = (b.c.exchange == bindparam("p_exchange"), b.c.routing_key == bindparam("p_routing_key"))
        return delete(b).where(*key, b.c.queue_id == bindparam("p_queue"))

    @statement
    def bindings_of(self) -> Executable:
        """The bindings of an exchange, with its type and what the queues are."""
        b, q, e = self.t.binding.c, self.t.queue.c, self.t.exchange.c
        both = self.t.exchange.outerjoin(self.t.binding, b.exchange == e.name)
        both = both.outerjoin(self.t.queue, q.id == b.queue_id)
        what = (e.type, b.routing_key, q.id, q.name, q.arguments, q.ephemeral)
        return select(*what).select_from(both).where(e.name == bindparam("p_exchange"))

    @statement
    def all_bindings(self) -> Executable:
        """All bindings."""
        b, q = self.t.binding.c, self.t.queue.c
        both = self.t.binding.join(self.t.queue, q.id == b.queue_id)
        return select(q.name, b.exchange, b.routing_key).select_from(both).order_by(b.exchange, b.routing_key)

    @statement
    def subscribe(self) -> Executable:
        """A consumer begins to consume a queue."""
        s = self.t.subscription
        me = {"queue_id": bindparam("p_queue", type_=Integer()), "consumer_id": bindparam("p_id", type_=BigInteger())}
        return insert(s).values(**me, count=bindparam("p_count", type_=Integer()))

    @statement
    def resubscribe(self) -> Executable:
        """It consumes the queue so many times."""
        s = self.t.subscription
        mine = (s.c.queue_id == bindparam("p_queue"), s.c.consumer_id == bindparam("p_id"))
        return update(s).where(*mine).values(count=bindparam("p_count", type_=Integer()))

    @statement
    def drop_ended_subscriptions(self) -> Executable:
        """Forget where nothing is consumed any more."""
        s = self.t.subscription
        return delete(s).where(s.c.queue_id == bindparam("p_queue"), s.c.count <= literal_column("0"))

    @statement
    def drop_subscriptions(self) -> Executable:
        """Consumers are gone."""
        return delete(self.t.subscription).where(among(self.t.subscription.c.consumer_id, "ids"))

    @statement
    def abandon_queues(self) -> Executable:
        """Exclusive and auto-delete queues of consumers that have died may go as soon as nobody else consumes them."""
        q, s = self.t.queue, self.t.subscription.c
        consumed = select(s.queue_id).where(among(s.consumer_id, "ids")).scalar_subquery()
        theirs = or_(among(q.c.owner_id, "ids"), and_(q.c.auto_delete, q.c.id.in_(consumed)))
        return update(q).where(theirs).values(idle_limit=literal_column("0.0"), used_at=now())

    @statement
    def count_consumers(self) -> Executable:
        """How many consume a queue."""
        s = self.t.subscription.c
        return select(func.coalesce(func.sum(s.count), literal_column("0"))).where(s.queue_id == bindparam("p_queue"))

    @statement
    def count_ready(self) -> Executable:
        """Exactly how many jobs of a queue are ready."""
        j = self.t.job.c
        alive = or_(j.expires_at.is_(None), j.expires_at > now())
        ready = and_(j.queue_id == bindparam("p_queue"), j.consumer_id.is_(None), alive)
        return select(func.count()).select_from(self.t.job).where(ready)

    @statement
    def take_oldest_ready(self) -> Executable:
        """Take the oldest ready jobs of a queue that have not expired."""
        j = self.t.job
        alive = or_(j.c.expires_at.is_(None), j.c.expires_at > now())
        ready = and_(j.c.queue_id == bindparam("p_queue"), j.c.consumer_id.is_(None), alive)
        old = select(j.c.seq).where(ready).order_by(j.c.seq).limit(bindparam("p_limit", type_=Integer()))
        some = old.with_for_update(skip_locked=True).scalar_subquery()
        return delete(j).where(ready, j.c.seq.in_(some)).returning(*self.moved(j), j.c.seq)
