"""The sweep's cases: AMQP's methods, and what is fetched and acked behind the application's back."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sweep.case import Case, Subject, same
from sweep.cases_messages import states

from kombu_depqueue import DepQueueError, JobState

READY, LEASED, BLOCKED, SCHEDULED = JobState.READY, JobState.LEASED, JobState.BLOCKED, JobState.SCHEDULED
SUCCEEDED, FAILED, CANCELED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED


def publish(channel: Any, key: str, exchange: str = "", **headers: Any) -> UUID:
    """Publish a job, and return its id."""
    job_id = uuid4()
    headers = {"x-job-id": str(job_id), **headers}
    message = channel.prepare_message('"x"', 0, "application/json", "utf-8", headers)
    channel.basic_publish(message, exchange, key)
    return job_id


def with_jobs(count: int = 1, **arguments: Any) -> Callable[[Subject], Any]:
    """A declared queue with jobs in it: channel, its name, their ids."""

    def prepare(s: Subject) -> Any:
        channel, name = s.channel(), s.name()
        channel.queue_declare(name, arguments={k.replace("_", "-"): v for k, v in arguments.items()})
        return channel, name, [publish(channel, name) for _ in range(count)]

    return prepare


def got(count: int = 1, **arguments: Any) -> Callable[[Subject], Any]:
    """The same, and all of them are held: channel, messages."""

    def prepare(s: Subject) -> Any:
        channel, name, _ = with_jobs(count, **arguments)(s)
        return channel, [channel.basic_get(name) for _ in range(count)]

    return prepare


def all_of(state: JobState) -> Callable[[Subject, Any, Any], None]:
    def check(s: Subject, given: Any, result: Any) -> None:
        ids = given[-1] if isinstance(given[-1], list) else [given[-1]]
        ids = [i if isinstance(i, UUID) else UUID(i.headers["x-job-id"]) for i in ids]
        assert set(states(s.queue, *ids)) == {state}

    return check


def bound(s: Subject, kind: str = "direct", count: int = 1) -> Any:
    """An exchange with queues bound to it: channel, exchange, queues."""
    channel, exchange = s.channel(), s.name()
    channel.exchange_declare(exchange, kind)
    names = [s.name() for _ in range(count)]
    for name in names:
        channel.queue_declare(name)
        channel.queue_bind(name, exchange, "key")
    return channel, exchange, names


def with_dead_letters(s: Subject, **arguments: Any) -> Any:
    """A queue whose dead letters go to another: channel, both names."""
    channel, name, letters = s.channel(), s.name(), s.name()
    channel.queue_declare(letters)
    given = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}
    channel.queue_declare(name, arguments={**given, **{k.replace("_", "-"): v for k, v in arguments.items()}})
    return channel, name, letters


def rejected_there(s: Subject) -> Any:
    channel, name, letters = with_dead_letters(s)
    job = publish(channel, name)
    return channel, channel.basic_get(name), letters, job


def is_letter(s: Subject, given: Any, result: Any) -> None:
    *_, letters, job = given
    status = s.queue.status(job)
    assert (status.state, status.job_type) == (READY, letters)


def count_of(s: Subject, name: str) -> int:
    return int(s.queue.topology.ready(s.queue.numbers([name])[0]))


def publish_batch(s: Subject, given: Any) -> list[UUID]:
    channel, name = given
    batch, ids = channel.create_publish_batch(10), [uuid4() for _ in range(3)]
    for job_id in ids:
        batch.publish(channel.prepare_message("1", headers={"x-job-id": str(job_id)}), "", name)
    batch.flush()
    return ids


def declared(s: Subject) -> Any:
    channel, name = s.channel(), s.name()
    channel.queue_declare(name)
    return channel, name


def consuming(s: Subject, *, auto_delete: bool = False) -> Any:
    """A channel that consumes a queue: channel, name, consumer tag, what arrives."""
    channel, name = s.channel(), s.name()
    channel.queue_declare(name, auto_delete=auto_delete)
    arrived: list[Any] = []
    return channel, name, channel.basic_consume(name, callback=arrived.append), arrived


def twice(s: Subject) -> Any:
    """Two channels of one connection consume a queue that goes with its last consumer: the first, its tag, the name."""
    channel, name, tag, _ = consuming(s, auto_delete=True)
    s.channel().basic_consume(name)
    return channel, tag, name


def consumers_of(s: Subject, name: str) -> int:
    facts = s.queue.topology.queue(name)
    return -1 if facts is None else int(s.queue.topology.consumers(facts.number))


def turn(s: Subject, given: Any) -> list[Any]:
    """Fetch, deliver, ack, as the connection's thread and the application do between them."""
    channel, name, _, arrived = given
    deliveries = channel.connection.deliveries
    until = time.monotonic() + 30
    acked = 0
    while (acked < 3 or deliveries.settlements) and time.monotonic() < until:
        with contextlib.suppress(DepQueueError):  # as `Deliveries._run` goes on
            deliveries._turn_once()
        with contextlib.suppress(TimeoutError):
            s.connection.drain_events(timeout=0)
        for message in arrived[acked:]:
            message.ack()
        acked = len(arrived)
    return [m.headers["x-job-id"] for m in arrived]


def three_and_a_consumer(s: Subject) -> Any:
    channel, name, tag, arrived = consuming(s)
    for _ in range(3):
        publish(channel, name)
    return channel, name, tag, arrived


def check_turn(s: Subject, given: Any, ids: list[str]) -> None:
    assert len(set(ids)) == len(ids) == 3
    assert set(states(s.queue, *ids)) == {SUCCEEDED}


def unused(s: Subject) -> Any:
    """A queue that nobody has used for as long as it was declared for."""
    channel, name = s.channel(), s.name()
    channel.queue_declare(name, arguments={"x-expires": 1})
    publish(channel, name)
    table = s.queue._database.dialect.tables.queue
    with s.queue._database.dialect.engine.connect() as connection:
        connection.execute(table.update().where(table.c.name == name).values(idle_limit=-1.0))
        connection.commit()
    return name


def check_deleted(s: Subject, name: str) -> None:
    t = s.queue._database.dialect.tables
    assert s.queue.topology.queue(name) is None or not s.queue.topology.queue(name).declared
    assert not s.rows(select(t.job)), "messages of a queue that was deleted"


def closing(s: Subject) -> Any:
    """A channel that consumes one queue, and holds a job of another."""
    channel, name, _, _ = consuming(s)
    channel.queue_declare(other := s.name())
    job = publish(channel, other)
    channel.basic_get(other)
    return channel, name, job


def check_closed(s: Subject, given: Any, result: Any) -> None:
    _, name, job = given
    assert states(s.queue, job) == [READY]
    assert consumers_of(s, name) == 0


def close_channel(s: Subject, given: Any) -> None:
    given[0].close()


PUBLISH = {
    "Channel.basic_publish": Case(
        declared, lambda s, g: publish(*g), lambda s, g, job: same(states(s.queue, job), [READY])
    ),
    "Channel.basic_publish unknown queue": Case(
        lambda s: (s.channel(), s.name()),
        lambda s, g: publish(*g),
        lambda s, g, job: same(states(s.queue, job), [READY]),
    ),
    "Channel.basic_publish delayed": Case(
        declared,
        lambda s, g: publish(*g, **{"x-delay": 60_000}),
        lambda s, g, job: same(states(s.queue, job), [SCHEDULED]),
    ),
    "Channel.basic_publish blocked": Case(
        lambda s: (*declared(s), publish(s.channel(), s.name())),
        lambda s, g: publish(g[0], g[1], depends_on=[str(g[2])]),
        lambda s, g, job: same(states(s.queue, job), [BLOCKED]),
    ),
    "Channel.basic_publish celery": Case(
        lambda s: (*declared(s), str(uuid4())),
        lambda s, g: publish(g[0], g[1], task="t", id=g[2]),
        lambda s, g, _: same(states(s.queue, g[2]), [READY]),
    ),
    "Channel.basic_publish direct": Case(
        bound,
        lambda s, g: publish(g[0], "key", g[1]),
        lambda s, g, job: same((states(s.queue, job), count_of(s, g[2][0])), ([READY], 1)),
    ),
    "Channel.basic_publish topic": Case(
        lambda s: bound(s, "topic"),
        lambda s, g: publish(g[0], "key", g[1]),
        lambda s, g, job: same((states(s.queue, job), count_of(s, g[2][0])), ([READY], 1)),
    ),
    "Channel.basic_publish max-length": Case(
        with_jobs(2, x_max_length=2),
        lambda s, g: publish(g[0], g[1]),
        lambda s, g, job: same((states(s.queue, g[2][0], job), count_of(s, g[1])), ([FAILED, READY], 2)),
        in_parts=True,
    ),
    "Channel.basic_publish reject-publish": Case(
        with_jobs(1, x_max_length=2, x_overflow="reject-publish"),
        lambda s, g: publish(g[0], g[1]),
        lambda s, g, job: same((states(s.queue, g[2][0], job), count_of(s, g[1])), ([READY, READY], 2)),
    ),
    "Channel.create_publish_batch": Case(
        declared, publish_batch, lambda s, g, ids: same(states(s.queue, *ids), [READY] * 3)
    ),
}

CONSUME = {
    "Channel.basic_get": Case(
        with_jobs(2),
        lambda s, g: g[0].basic_get(g[1]),
        lambda s, g, m: same((m.headers["x-job-id"], len(s.queue.heartbeats(0))), (str(g[2][0]), 1)),
    ),
    "Channel.basic_get no_ack": Case(
        with_jobs(2),
        lambda s, g: g[0].basic_get(g[1], no_ack=True),
        lambda s, g, m: same((states(s.queue, *g[2]), m.headers["x-job-id"]), ([SUCCEEDED, READY], str(g[2][0]))),
        in_parts=True,
    ),
    "Channel.basic_ack": Case(got(), lambda s, g: g[0].basic_ack(g[1][0].delivery_tag), all_of(SUCCEEDED)),
    "Channel.basic_ack multiple": Case(
        got(3), lambda s, g: g[0].basic_ack(g[1][2].delivery_tag, multiple=True), all_of(SUCCEEDED), in_parts=True
    ),
    "Channel.basic_reject": Case(
        got(), lambda s, g: g[0].basic_reject(g[1][0].delivery_tag), all_of(FAILED), in_parts=True
    ),
    "Channel.basic_reject requeue": Case(
        got(), lambda s, g: g[0].basic_reject(g[1][0].delivery_tag, requeue=True), all_of(READY), in_parts=True
    ),
    "Channel.basic_reject spent": Case(
        got(1, x_delivery_limit=0),
        lambda s, g: g[0].basic_reject(g[1][0].delivery_tag, requeue=True),
        all_of(FAILED),
        in_parts=True,
    ),
    "Channel.basic_reject dead-letter": Case(
        rejected_there, lambda s, g: g[0].basic_reject(g[1].delivery_tag), is_letter, in_parts=True
    ),
    "Channel.basic_recover": Case(got(3), lambda s, g: g[0].basic_recover(), all_of(READY), in_parts=True),
    "Channel.basic_consume": Case(
        declared, lambda s, g: g[0].basic_consume(g[1]), lambda s, g, tag: same(consumers_of(s, g[1]), 1)
    ),
    "Channel.basic_cancel": Case(
        consuming,
        lambda s, g: g[0].basic_cancel(g[2]),
        lambda s, g, _: same(consumers_of(s, g[1]), 0),
        in_parts=True,
    ),
    "Channel.basic_cancel one of two": Case(
        twice, lambda s, g: g[0].basic_cancel(g[1]), lambda s, g, _: same(consumers_of(s, g[2]), 1), in_parts=True
    ),
    "Deliveries.turn": Case(three_and_a_consumer, turn, check_turn),
    "Channel.close": Case(closing, close_channel, check_closed, in_parts=True),
}

DECLARE = {
    "Channel.exchange_declare": Case(
        lambda s: (s.channel(), s.name()),
        lambda s, g: g[0].exchange_declare(g[1], "topic"),
        lambda s, g, _: same(s.queue.topology.exchange(g[1]).type, "topic"),
    ),
    "Channel.exchange_delete": Case(
        bound,
        lambda s, g: g[0].exchange_delete(g[1]),
        lambda s, g, _: same((s.queue.topology.exchange(g[1]), s.queue.topology.bindings()), (None, [])),
    ),
    "Channel.queue_declare": Case(
        lambda s: (s.channel(), s.name()),
        lambda s, g: g[0].queue_declare(g[1], arguments={"x-max-priority": 5}),
        lambda s, g, _: same(s.queue.topology.queue(g[1]).arguments, {"x-max-priority": 5}),
    ),
    "Channel.queue_declare anew": Case(
        declared,
        lambda s, g: g[0].queue_declare(g[1], arguments={"x-max-priority": 5}),
        lambda s, g, _: same(s.queue.topology.queue(g[1]).arguments, {"x-max-priority": 5}),
    ),
    "Channel.queue_declare exclusive": Case(
        lambda s: (s.channel(), s.name()),
        lambda s, g: g[0].queue_declare(g[1], exclusive=True),
        lambda s, g, _: same(s.queue.topology.queue(g[1]).owner, s.queue.consumer),
    ),
    "Channel.queue_declare passive": Case(
        with_jobs(2),
        lambda s, g: g[0].queue_declare(g[1], passive=True),
        lambda s, g, found: same(found.message_count, 2),
    ),
    "Channel.queue_bind": Case(
        bound,
        lambda s, g: g[0].queue_bind(g[2][0], g[1], "other"),
        lambda s, g, _: same(len(s.queue.topology.bindings()), 2),
    ),
    "Channel.queue_unbind": Case(
        bound,
        lambda s, g: g[0].queue_unbind(g[2][0], g[1], "key"),
        lambda s, g, _: same(s.queue.topology.bindings(), []),
    ),
    "Channel.queue_delete": Case(
        with_jobs(2),
        lambda s, g: g[0].queue_delete(g[1]),
        lambda s, g, count: (same(count, 2), check_deleted(s, g[1]), all_of(CANCELED)(s, g, count)),
        in_parts=True,
    ),
    "Channel.queue_purge": Case(
        with_jobs(2),
        lambda s, g: g[0].queue_purge(g[1]),
        lambda s, g, count: (same(count, 2), all_of(CANCELED)(s, g, count)),
        in_parts=True,
    ),
    "Channel.list_bindings": Case(
        bound, lambda s, g: g[0].list_bindings(), lambda s, g, found: same(found, [(g[2][0], g[1], "key")])
    ),
    "Topology.sweep": Case(
        unused, lambda s, name: s.queue.topology.sweep(), lambda s, name, _: check_deleted(s, name), in_parts=True
    ),
}
