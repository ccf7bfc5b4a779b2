"""The Kombu door: AMQP's methods on two connections, beside JobQueues on the same queues."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from amqp.exceptions import ChannelError
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition
from kombu import Connection
from model.comparing import Comparing
from model.jobs import BLOCKED, LEASED, LONG, READY, SCHEDULED, Consumer, Held, Job
from model.letters import ARGUMENTS, BINDINGS, EXCHANGES, KombuModel
from model.machine import INDEX, MODES, RARE, WHO, rule
from model.passing import Passing
from sqlalchemy import select, update

from kombu_depqueue import Canceled, Duplicate, Empty, JobMessage, JobState, LeaseLost, NotExist

__all__ = ["ChannelMachine"]

NAMES = st.sampled_from(sorted(ARGUMENTS))
WAYS = st.one_of(
    st.tuples(st.just(""), NAMES),
    st.tuples(st.just("direct"), st.sampled_from(("k", "l", "m"))),
    st.tuples(st.just("topic"), st.sampled_from(("a.b", "a.c", "b"))),
    st.just(("fanout", "")),
)
"""Exchange and routing key."""
SPEC = st.fixed_dictionaries(
    {
        "priority": st.sampled_from((0, 0, 2, 9)),
        "deps": st.lists(st.tuples(INDEX, MODES), max_size=2),
        "hold": st.booleans(),
        "delayed": st.sampled_from((False, False, False, True)),
        "can_expire": st.sampled_from((False, False, True)),
    }
)


@dataclass(eq=False)
class Link(Consumer):
    """A connection of Kombu's, with one channel."""

    connection: Any = None
    channel: Any = None
    consumed: dict[str, str] = field(default_factory=dict)
    """Queues, with the consumer tags."""
    arrived: list[Any] = field(default_factory=list)


@dataclass(eq=False)
class Delivered:
    """A message as what was handed out."""

    message: Any
    settled: bool = False


class ChannelMachine(Comparing, Passing):
    """Two connections of Kombu's and two JobQueues."""

    model: KombuModel

    @initialize()
    def start(self) -> None:
        super().start()
        self.links = [self.link() for _ in range(2)]
        channel = self.links[0].channel
        for name, arguments in ARGUMENTS.items():
            channel.queue_declare(name, arguments=arguments)
        for name, kind in EXCHANGES.items():
            channel.exchange_declare(name, kind)
        for exchange, key, name in BINDINGS[::2]:
            channel.queue_bind(name, exchange, key)
        self.model.bindings.update(BINDINGS[::2])
        self.bodies = 0

    def new_model(self) -> KombuModel:
        return KombuModel()

    def teardown(self) -> None:
        try:
            super().teardown()
        finally:
            for link in getattr(self, "links", ()):
                link.connection.release()

    def link(self) -> Link:
        connect: Any = Connection
        options = {"lease": LONG, "retention": LONG, "result_retention": LONG, "notify": False, **self.options}
        connection = connect(f"depqueue+{self.url}", transport_options={**options, "poll_interval": 0.01})
        channel = connection.channel()
        queue = channel.connection.queue
        self.share_statements(queue)
        return Link(queue, queue.consumer, connection=connection, channel=channel)

    def lease_holders(self) -> list[Consumer]:
        return [*super().lease_holders(), *self.links]

    def live_ids(self) -> list[UUID]:
        return [j.id for j in self.model.jobs.values() if j.tracked]

    # publish

    def published(
        self, spec: dict[str, Any], exchange: str, key: str, job_id: UUID
    ) -> tuple[dict[str, Any], list[Any]]:
        deps = {}
        known = self.live_ids()
        for index, policy in spec["deps"]:
            if known:
                deps.setdefault(known[index % len(known)], policy)
        headers: dict[str, Any] = {"x-job-id": str(job_id), "on_unmet": "hold" if spec["hold"] else "cancel"}
        if deps:
            headers["depends_on"] = [{"id": str(i), "policy": policy.value} for i, policy in deps.items()]
        if spec["delayed"]:
            headers["x-delay"] = LONG * 1000
        return headers, list(deps.items())

    def send(self, who: int, spec: dict[str, Any], way: tuple[str, str], headers: dict[str, Any]) -> str:
        self.bodies += 1
        properties = {"expiration": str(LONG * 1000)} if spec["can_expire"] else {}
        channel = self.links[who].channel
        body = str(self.bodies)
        message = channel.prepare_message(body, spec["priority"], "application/json", "utf-8", headers, properties)
        channel.basic_publish(message, *way)
        return body

    @rule(who=WHO, some=st.lists(st.tuples(SPEC, WAYS), min_size=1, max_size=4))
    def publish(self, who: int, some: list[tuple[dict[str, Any], tuple[str, str]]]) -> None:
        for spec, way in some:
            self.publish_one(who, spec, way)

    def publish_one(self, who: int, spec: dict[str, Any], way: tuple[str, str]) -> None:
        job_id = uuid4()
        headers, deps = self.published(spec, *way, job_id)
        targets = self.model.targets(*way)
        if self.model.refuses(targets):
            with pytest.raises(ChannelError):
                self.send(who, spec, way, headers)
            return
        body = self.send(who, spec, way, headers)
        broadcast = len(targets) > 1 or way[0] == "fanout"
        place = self.model.tick()
        for name in targets:
            job = self.model.new(name, body=body, tracked=not broadcast and name != "idle", spec=spec)
            if job.tracked:
                job.id, job.deps = job_id, deps
            self.model.add(job)
            job.place = place
        self.settle_order()
        for name in targets:
            self.model.cut(name)

    @precondition(lambda self: self.live_ids())
    @RARE
    @rule(who=WHO, spec=SPEC, index=INDEX)
    def publish_taken_id(self, who: int, spec: dict[str, Any], index: int) -> None:
        ids = self.live_ids()
        with pytest.raises(Duplicate):
            self.send(who, spec, ("", "plain"), {"x-job-id": str(ids[index % len(ids)])})

    @RARE
    @rule(who=WHO, spec=SPEC)
    def publish_with_unknown_dependency(self, who: int, spec: dict[str, Any]) -> None:
        with pytest.raises(NotExist):
            self.send(who, spec, ("", "plain"), {"depends_on": [str(uuid4())]})

    @RARE
    @rule(who=WHO)
    def publish_to_nobody(self, who: int) -> None:
        message = self.links[who].channel.prepare_message("0", 0)
        with pytest.raises(ChannelError):
            self.links[who].channel.basic_publish(message, "direct", "nobody", mandatory=True)
        with pytest.raises(ChannelError):
            self.links[who].channel.basic_publish(message, "missing", "k")

    @precondition(lambda self: self.live_ids())
    @rule(who=WHO, spec=SPEC, index=INDEX, name=st.sampled_from(("plain", "prio", "spent", "ttl")))
    def publish_again(self, who: int, spec: dict[str, Any], index: int, name: str) -> None:
        """As Celery's retry does."""
        job = self.any_job(index)
        if job is None:
            return
        headers = {"task": "t", "id": str(job.id)} | ({"x-delay": LONG * 1000} if spec["delayed"] else {})
        body = self.send(who, {**spec, "can_expire": False}, ("", name), headers)
        newer = self.model.new(name, body=body, tracked=True, spec={**spec, "hold": False, "can_expire": False})
        self.model.supersede(job, newer)

    @rule(who=WHO, spec=SPEC, name=st.sampled_from(("plain", "prio", "spent")), size=st.integers(1, 3))
    def publish_batch(self, who: int, spec: dict[str, Any], name: str, size: int) -> None:
        channel, jobs = self.links[who].channel, []
        batch = channel.create_publish_batch(10)
        for _ in range(size):
            self.bodies += 1
            job = self.model.new(
                name, body=str(self.bodies), tracked=True, spec={**spec, "can_expire": False, "hold": False}
            )
            headers = {"x-job-id": str(job.id)} | ({"x-delay": LONG * 1000} if spec["delayed"] else {})
            batch.publish(channel.prepare_message(job.body, spec["priority"], headers=headers), "", name)
            jobs.append(job)
        batch.flush()
        for job in jobs:
            self.model.add(job)

    # consume

    def take(self, link: Link, message: Any, job: Job) -> None:
        held = Held(Delivered(message), job, link)  # type: ignore[arg-type]
        job.state, job.token, job.lease = LEASED, held, link
        job.attempt += 1
        self.held.append(held)
        self.model.touched.add(job.id)
        self.check_message(message, job)

    def check_message(self, message: Any, job: Job) -> None:
        assert message.body in (job.body, job.body.encode())
        assert message.delivery_info["redelivered"] == job.redelivered

    def some_queue(self, index: int) -> str:
        """One that has something, if one has: else most looks would find nothing."""
        names = [name for name in ARGUMENTS if self.model.ready(name)] if index % 8 else []
        return (names or sorted(ARGUMENTS))[index % len(names or ARGUMENTS)]

    @rule(who=WHO, index=INDEX, no_ack=st.sampled_from((False, False, True)))
    def get(self, who: int, index: int, no_ack: bool) -> None:
        link, name = self.links[who], self.some_queue(index)
        self.settle_order()
        message = link.channel.basic_get(name, no_ack=no_ack)
        expected = self.next_of({("", name)}, 1)
        assert (message is not None) == bool(expected)
        for job in expected:
            if no_ack:
                self.check_message(message, job)
                job.attempt += 1
                self.model.end(job, JobState.SUCCEEDED)
            else:
                self.take(link, message, job)

    @rule(who=WHO, index=INDEX, prefetch=st.integers(1, 3))
    def consume(self, who: int, index: int, prefetch: int) -> None:
        link, name = self.links[who], self.some_queue(index)
        if name not in link.consumed:
            link.channel.basic_qos(0, prefetch, False)
            link.consumed[name] = link.channel.basic_consume(name, callback=link.arrived.append)
            link.channel.connection.deliveries._thread.join()

    @precondition(lambda self: any(link.consumed for link in self.links))
    @rule(who=WHO)
    def fetch(self, who: int) -> None:
        """What the connection's thread does, and then the application."""
        link = self.links[who]
        if not link.consumed:
            return
        deliveries, channel = link.channel.connection.deliveries, link.channel
        self.settle_order()
        deliveries._fetched_at = 0.0
        with deliveries._fetching:
            deliveries._fetch()
        credit = channel.prefetch_count - len(channel._unacked)
        with contextlib.suppress(TimeoutError):
            link.connection.drain_events(timeout=0)
        expected = self.next_of({("", name) for name in link.consumed}, credit) if credit > 0 else []
        assert [str(m.body, "utf-8") if isinstance(m.body, bytes) else m.body for m in link.arrived] == [
            j.body for j in expected
        ]
        for message, job in zip(link.arrived, expected, strict=True):
            self.take(link, message, job)
        link.arrived.clear()

    @precondition(lambda self: any(link.consumed for link in self.links))
    @RARE
    @rule(who=WHO)
    def cancel_consumer(self, who: int) -> None:
        link = self.links[who]
        if link.consumed:
            name, tag = link.consumed.popitem()
            link.channel.basic_cancel(tag)
            self.check_consumers(name)

    def check_consumers(self, name: str) -> None:
        if not any(link.dead for link in self.links):  # the dead consume nothing, as far as others know
            count = sum(name in link.consumed for link in self.links)
            assert self.links[0].channel.queue_declare(name, passive=True).consumer_count == count

    # settle

    def mine(self, link: Consumer) -> list[Held]:
        return [h for h in self.held if h.consumer is link and not h.reservation.settled]

    def settled(self, link: Link) -> None:
        if link.channel.connection._deliveries is not None:
            link.channel.connection.deliveries.settlements.flush(at_once=True)

    @precondition(lambda self: any(map(self.mine, self.links)))
    @rule(who=WHO, index=INDEX, multiple=st.booleans())
    def ack(self, who: int, index: int, multiple: bool) -> None:
        link = self.links[who] if self.mine(self.links[who]) else self.links[1 - who]
        mine = self.mine(link)
        chosen = mine[index % len(mine)]
        tag = chosen.reservation.message.delivery_tag
        link.channel.basic_ack(tag, multiple=multiple)
        self.settled(link)
        some = [h for h in mine if h.reservation.message.delivery_tag <= tag] if multiple else [chosen]
        for held in some:
            held.reservation.settled = True
        works = [h.job for h in some if h.job.token is h]
        self.model.end_all(works, JobState.SUCCEEDED)

    @precondition(lambda self: any(map(self.mine, self.links)))
    @rule(who=WHO, index=INDEX, requeue=st.booleans())
    def reject(self, who: int, index: int, requeue: bool) -> None:
        link = self.links[who] if self.mine(self.links[who]) else self.links[1 - who]
        mine = self.mine(link)
        held = mine[index % len(mine)]
        link.channel.basic_reject(held.reservation.message.delivery_tag, requeue=requeue)
        held.reservation.settled = True
        if held.job.token is not held:
            return
        if requeue:
            self.given_back(held)
        else:
            self.model.bury([held.job], JobState.FAILED, "dead: rejected", "rejected")

    def given_back(self, held: Held) -> None:
        job = held.job
        job.token = None
        self.model.lose(job)

    @RARE
    @rule(who=WHO)
    def recover(self, who: int) -> None:
        link = self.links[who]
        link.channel.basic_recover()
        self.give_back_all(link)

    def give_back_all(self, link: Link) -> None:
        for held in self.mine(link):
            held.reservation.settled = True
            if held.job.token is held:
                self.given_back(held)

    @RARE
    @rule(who=WHO)
    def reopen(self, who: int) -> None:
        """Close a channel, or (every other time) the whole connection."""
        link = self.links[who]
        if self.step % 2:
            link.connection.release()
            self.give_back_all(link)
            self.held = [h for h in self.held if h.consumer is not link]
            self.links[who] = self.link()
        else:
            link.channel.close()
            self.give_back_all(link)
            link.channel = link.connection.channel()
            link.consumed.clear()

    # declare

    @RARE
    @rule(index=INDEX)
    def bind(self, index: int) -> None:
        exchange, key, name = binding = BINDINGS[index % len(BINDINGS)]
        self.links[0].channel.queue_bind(name, exchange, key)
        self.model.bindings.add(binding)

    @precondition(lambda self: self.model.bindings)
    @RARE
    @rule(index=INDEX)
    def unbind(self, index: int) -> None:
        some = sorted(self.model.bindings)
        exchange, key, name = binding = some[index % len(some)]
        self.links[1].channel.queue_unbind(name, exchange, key)
        self.model.bindings.discard(binding)

    @RARE
    @rule(who=WHO, name=NAMES)
    def declare_again(self, who: int, name: str) -> None:
        self.links[who].channel.queue_declare(name, arguments=ARGUMENTS[name])
        found = self.links[who].channel.queue_declare(name, passive=True)
        assert found.message_count == len(self.model.ready(name))

    @RARE
    @rule(who=WHO, name=NAMES)
    def purge_queue(self, who: int, name: str) -> None:
        assert self.links[who].channel.queue_purge(name) == self.model.purge(name)

    @RARE
    @rule(who=WHO, name=st.sampled_from(sorted(set(ARGUMENTS) - {"idle"})))
    def delete_queue(self, who: int, name: str) -> None:
        """And declare it again: its bindings are gone, and what was not taken."""
        channel = self.links[who].channel
        assert channel.queue_delete(name) == self.model.purge(name)
        channel.queue_declare(name, arguments=ARGUMENTS[name])
        self.model.bindings = {b for b in self.model.bindings if b[2] != name}

    @RARE
    @rule(who=WHO, name=st.sampled_from(sorted(EXCHANGES)))
    def delete_exchange(self, who: int, name: str) -> None:
        channel = self.links[who].channel
        channel.exchange_delete(name)
        channel.exchange_declare(name, EXCHANGES[name])
        self.model.bindings = {b for b in self.model.bindings if b[0] != name}

    @RARE
    @rule(who=WHO)
    def pass_idle_time(self, who: int) -> None:
        """Nobody has used the queue for long: it goes, with its messages, unless somebody consumes it."""
        consumed = any("idle" in link.consumed for link in self.links) or self.model.held("idle")
        if consumed or any(link.dead for link in self.links):
            return
        table = self.tables.queue
        self.on_tables(update(table).where(table.c.name == "idle").values(idle_limit=-1.0))
        self.links[who].queue.topology.sweep()
        self.model.purge("idle")
        self.links[who].channel.queue_declare("idle", arguments=ARGUMENTS["idle"])
        self.model.bindings = {b for b in self.model.bindings if b[2] != "idle"}

    # the other door

    @rule(who=WHO, spec=SPEC, name=st.sampled_from(("plain", "prio", "spent", "short", "ttl")))
    def native_enqueue(self, who: int, spec: dict[str, Any], name: str) -> None:
        self.bodies += 1
        job = self.model.new("plain", body=str(self.bodies), tracked=True, spec=spec)
        job.queue, job.can_expire = ("", name), spec["can_expire"]
        message = JobMessage(
            job.id,
            job_type=name,
            args=self.bodies,
            priority=job.priority,
            delay=LONG if spec["delayed"] else None,
            expires_in=LONG if spec["can_expire"] else None,
        )
        job.hold = False
        self.consumers[who].queue.enqueue(message)
        self.model.add(job)

    @rule(who=WHO, index=INDEX)
    def native_reserve(self, who: int, index: int) -> None:
        consumer, name = self.consumers[who], self.some_queue(index)
        self.settle_order()
        try:
            found = consumer.queue.reserve(0, queues=[name])
        except Empty:
            found = None
        expected = self.next_of({("", name)}, 1)
        assert (found is not None) == bool(expected)
        if found is None:
            return
        job = expected[0]
        held = Held(found, job, consumer)
        job.state, job.token, job.lease = LEASED, held, consumer
        job.attempt += 1
        self.held.append(held)
        self.model.touched.add(job.id)
        assert (found.body.decode(), found.attempt, found.redelivered) == (job.body, job.attempt, job.redelivered)

    @precondition(lambda self: any(map(self.mine, self.consumers)))
    @rule(who=WHO, index=INDEX, how=st.sampled_from(("ack", "fail", "requeue")))
    def native_settle(self, who: int, index: int, how: str) -> None:
        mine = self.mine(self.consumers[who]) or self.mine(self.consumers[1 - who])
        held = mine[index % len(mine)]
        job, current = held.job, held.job.token is held
        ended = not current and how != "requeue" and self.ended_so(held, how)
        with contextlib.nullcontext() if current or ended else pytest.raises((LeaseLost, Canceled)):
            getattr(held.reservation, how)()
        if not current:
            return
        if how == "requeue":
            self.given_back(held)
        elif how == "ack":
            self.model.end(job, JobState.SUCCEEDED)
        else:
            self.model.end(job, JobState.FAILED, "failed")

    def ended_so(self, held: Held, how: str) -> bool:
        """Whether it would be the answer to an ack that was lost: the same end, of the same attempt."""
        there = self.model.jobs.get(held.job.id)
        state = JobState.SUCCEEDED if how == "ack" else JobState.FAILED
        return there is not None and (there.state, there.attempt, there.result) == (
            state,
            held.reservation.attempt,
            None,
        )

    @precondition(lambda self: self.live_ids())
    @rule(who=WHO, index=INDEX)
    def native_cancel(self, who: int, index: int) -> None:
        job = self.any_job(index)
        assert job is not None
        assert self.consumers[who].queue.cancel(job.id) is job.live
        if job.live:
            self.model.end(job, JobState.CANCELED, "canceled")

    # comparing

    def settle_order(self) -> None:
        hot, queue = self.tables.job, self.tables.queue
        places = [j.place for j in self.model.jobs.values() if j.state in (READY, LEASED)]
        if len(set(places)) < len(places):
            rows = (
                select(queue.c.name, hot.c.body).join_from(hot, queue, queue.c.id == hot.c.queue_id).order_by(hot.c.seq)
            )
            self.adopt(list(self.raw.execute(rows)))

    def adopt(self, rows: list[Any]) -> list[Job]:
        """The hot jobs in the model's order; where that leaves it open, in the order given."""
        index: dict[tuple[str, str], list[int]] = {}
        for n, (name, body) in enumerate(rows):
            index.setdefault((name, bytes(body).decode()), []).append(n)
        hot = sorted((j for j in self.model.jobs.values() if j.state in (READY, LEASED)), key=lambda j: j.place)
        where = {
            j: (index.get((j.queue[1], j.body)) or [-1]).pop(0) if index.get((j.queue[1], j.body)) else -1 for j in hot
        }
        hot.sort(key=lambda j: (j.place, where[j]))
        for job in hot:
            job.place = self.model.tick()
        return hot

    def tables_are_as_the_model_says(self) -> None:
        t, jobs = self.tables, self.model.jobs
        rows = select(t.queue.c.name, t.job.c.body, t.job.c.consumer_id)
        rows = rows.join_from(t.job, t.queue, t.queue.c.id == t.job.c.queue_id).order_by(t.job.c.seq)
        found = [(name, bytes(body).decode(), holder) for name, body, holder in self.raw.execute(rows)]
        mine = self.adopt([(name, body.encode()) for name, body, _ in found])
        there = [(name, body, holder is not None) for name, body, holder in found]
        wanted = [(j.queue[1], j.body, j.state is LEASED) for j in mine]
        assert there == wanted, f"{there} is not {wanted}"
        waiting = select(t.queue.c.name, t.wait.c.body).join_from(t.wait, t.queue, t.queue.c.id == t.wait.c.queue_id)
        assert sorted((name, bytes(body).decode()) for name, body in self.raw.execute(waiting)) == sorted(
            (j.queue[1], j.body) for j in jobs.values() if j.state in (BLOCKED, SCHEDULED)
        )
        done = {r["job_id"]: r for r in self.raw.execute(select(t.done)).mappings()}
        self.check_ends(done)
        flags = {i: f for tb in (t.job, t.wait, t.done) for i, f in self.raw.execute(select(tb.c.job_id, tb.c.flags))}
        self.check_edges(flags)
        assert set(self.links[0].channel.list_bindings()) == {(n, e, k) for e, k, n in self.model.bindings}

    def counts_and_roots_agree(self) -> None:
        super().counts_and_roots_agree()
        for name in ARGUMENTS:
            self.check_consumers(name)
