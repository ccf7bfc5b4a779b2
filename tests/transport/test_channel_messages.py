"""Messages come out as they went in: bodies, serializers, compression, headers, properties; batches, simple queues."""

from __future__ import annotations

import importlib.util
import queue as fifo
import time
import zlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection, Consumer, Exchange, Queue, pools
from kombu.compression import encoders
from kombu.exceptions import ContentDisallowed
from kombu.pools import Connections, Producers
from sqlalchemy import Engine, MetaData, Table, select
from sqlalchemy.orm import Session
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue import enlist
from kombu_depqueue.errors import DepQueueError, InvalidJob
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until

BODIES: list[Any] = [
    {"plain": [1, 2.5, None, True, "text"], "nested": {"a": [{"b": []}]}},
    "",
    "grüße 日本語 😀 \u0000 \\ ' \" %s :name",
    [],
    {},
    0,
    None,
    "x" * 300_000,
]


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_any_serializer(connect: MakeConnection, serializer: str) -> None:
    needs = {"yaml": "yaml", "msgpack": "msgpack"}.get(serializer, "json")
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    here, there = connect().channel(), connect().channel()
    for body in BODIES:
        publish(there, body, "q", serializer=serializer)
    messages = [here.basic_get("q") for _ in BODIES]
    for message, body in zip(messages, BODIES, strict=True):
        message.accept = None if serializer == "json" else {message.content_type}
        assert message.decode() == body


def test_json_with_the_types_that_kombu_knows(connect: MakeConnection) -> None:
    body = {
        "moment": datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "id": UUID(int=7),
        "money": Decimal("1.10"),
        "bytes": b"\x00\xff",
    }
    here, there = connect().channel(), connect().channel()
    publish(there, body, "q", serializer="json")
    assert contents(here, "q") == [body]


RAW = [b"", b"\x00", bytes(range(256)) * 300, "ü".encode("latin-1"), zlib.compress(b"x" * 1000)]


@pytest.mark.parametrize("body", RAW, ids=range(len(RAW)))
def test_raw_bytes(connect: MakeConnection, body: bytes) -> None:
    here, there = connect().channel(), connect().channel()
    publish(there, body, "q", content_type="application/octet-stream", content_encoding="binary")
    message = here.basic_get("q")
    assert (message.body, message.payload) == (body, body)
    assert (message.content_type, message.content_encoding) == ("application/octet-stream", "binary")


def test_text_in_an_encoding_of_its_own(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    publish(there, "grüße".encode("latin-1"), "q", content_type="text/plain", content_encoding="latin-1")
    message = here.basic_get("q")
    assert message.payload == "grüße"


def test_bodies_are_stored_as_they_are(connect: MakeConnection, engine: Engine, place: Place) -> None:
    """No base64: a third more of everything, and nobody can read it."""
    body = b"\x00\x01 find me \xff" * 10
    publish(connect().channel(), body, "q", content_type="application/octet-stream", content_encoding="binary")
    tables = MetaData()
    tables.reflect(engine, schema=place.schema)
    with engine.connect() as connection:
        found = [
            bytes(value)
            for table in tables.sorted_tables
            for row in connection.execute(select(table))
            for value in row
            if isinstance(value, (bytes, memoryview))
        ]
    assert body in found


@pytest.mark.parametrize("compression", sorted(encoders()))
def test_any_compression(connect: MakeConnection, make_queue: MakeQueue, compression: str) -> None:
    here, there = connect().channel(), connect().channel()
    body = {"much": "ü" * 5000}
    publish(there, body, "q", compression=compression)
    publish(there, body, "raw", compression=compression)
    message = here.basic_get("q")
    assert message.headers["compression"] == compression
    assert message.payload == body
    assert len(make_queue().reserve(5, queues=["raw"]).body) < 1000


HEADERS = {
    "text": "grüße 😀",
    "number": -17,
    "big": 2**60,
    "fraction": 0.1,
    "yes": True,
    "nothing": None,
    "list": [1, "two", [3]],
    "table": {"a": {"b": "c"}, "": 1},
    "moment": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "empty": "",
    "quotes": "'\";--\\",
}


def test_headers_are_kept(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    publish(there, 1, "q", headers=HEADERS)
    message = here.basic_get("q")
    assert message.headers == HEADERS
    assert type(message.headers["moment"]) is datetime


def test_properties_are_kept(connect: MakeConnection) -> None:
    given = {
        "correlation_id": "corr-ü",
        "reply_to": "answers",
        "app_id": "app",
        "message_id": "m1",
        "type": "kind",
        "user_id": "guest",
        "timestamp": 1_700_000_000,
        "priority": 7,
        "delivery_mode": 1,
        "mine": [1, {"two": 3}],
    }
    here, there = connect().channel(), connect().channel()
    publish(there, 1, "q", **given)
    message = here.basic_get("q")
    assert {name: message.properties.get(name) for name in given} == given


def test_the_delivery_tells_its_exchange_and_routing_key(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"q": ["some.#"]}, "topic")
    publish(there, 1, exchange="ex", routing_key="some.key")
    info = here.basic_get("q").delivery_info
    assert (info["exchange"], info["routing_key"]) == ("ex", "some.key")


def test_content_that_is_not_accepted_is_refused_by_kombu_and_can_be_rejected(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    publish(there, {1, 2}, "q", serializer="pickle")
    publish(there, 1, "q")
    got: list[Any] = []
    errors: list[Exception] = []

    def on_error(message: Any, error: Exception) -> None:
        errors.append(error)
        message.reject()

    consumer = Consumer(here, [Queue("q")], callbacks=[lambda body, m: (got.append(body), m.ack())], accept=["json"])
    consumer.on_decode_error = on_error
    consumer.consume()
    wait_until(lambda: here.connection.client.drain_events(timeout=5) or got)
    assert got == [1]
    assert isinstance(errors[0], ContentDisallowed)


def test_a_body_over_the_limit_is_refused_at_the_call(connect: MakeConnection) -> None:
    channel = connect(transport_options={"max_body_bytes": 1000}).channel()
    with pytest.raises(InvalidJob, match="max_body_bytes"):
        publish(channel, b"x" * 1001, "q", content_type="application/octet-stream", content_encoding="binary")
    publish(channel, b"x" * 1000, "q", content_type="application/octet-stream", content_encoding="binary")
    assert len(contents(channel, "q")[0]) == 1000


def test_headers_that_json_cannot_hold_are_refused_at_the_call(connect: MakeConnection) -> None:
    channel = connect().channel()
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for headers in ({"x": object()}, {"deep": deep}, {"nul": {("tuple", "key"): 1}}):
        with pytest.raises(DepQueueError):
            publish(channel, 1, "q", headers=headers)
    publish(channel, 2, "q")
    assert contents(channel, "q") == [2]


# undeclared queues


def test_a_message_to_an_undeclared_queue_is_kept(connect: MakeConnection) -> None:
    connection = connect()
    publish(connection.channel(), "early", "later declared")
    connection.close()
    channel = connect().channel()
    declare(channel, "later declared")
    inbox = Inbox(channel, "later declared")
    assert inbox.payloads() == ["early"]


def test_producers_declare_what_they_are_told_to(connect: MakeConnection) -> None:
    queue = Queue("q", Exchange("ex", "topic"), routing_key="a.#")
    producer = connect().Producer()
    producer.publish(1, exchange=queue.exchange, routing_key="a.b", declare=[queue])
    assert contents(connect().channel(), "q") == [1]


# batches


def test_a_batch_is_published_together(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    bind(here, "ex", {"a": ["k"], "b": ["k", "l"]})
    producer = connection.Producer(exchange=Exchange("ex", "direct"))
    with producer.batch(max_size=100):
        for n in range(10):
            producer.publish(n, routing_key="k" if n % 2 else "l")
        assert depth(here, "b") == 0
    assert contents(here, "a") == [1, 3, 5, 7, 9]
    assert contents(here, "b") == list(range(10))


def test_a_full_batch_is_flushed(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    batch = there.create_publish_batch(3)
    for n in range(7):
        message = there.prepare_message(f"{n}", content_type="text/plain", content_encoding="utf-8")
        batch.publish(message, "", "q")
        assert depth(here, "q") == (n + 1) // 3 * 3
    batch.flush()
    assert depth(here, "q") == 7
    batch.publish(there.prepare_message("no", content_type="text/plain", content_encoding="utf-8"), "", "q")
    batch.discard()
    batch.close()
    assert contents(here, "q") == [str(n) for n in range(7)]


def test_a_batch_keeps_a_queue_within_its_length(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect()
    declare(here, "q", max_length=2)
    producer = there.Producer(routing_key="q")
    with producer.batch(max_size=50):
        for n in range(9):
            producer.publish(n)
    assert contents(here, "q") == [7, 8]


# simple queues and pools


def test_a_simple_queue(connect: MakeConnection) -> None:
    one, two = connect(), connect()
    with one.SimpleQueue("simple") as sender, two.SimpleQueue("simple") as receiver:
        with pytest.raises(fifo.Empty):
            receiver.get(block=False)
        began = time.monotonic()
        with pytest.raises(fifo.Empty):
            receiver.get(timeout=0.3)
        assert time.monotonic() - began < 2
        for n in range(4):
            sender.put({"n": n})
        message = receiver.get(timeout=5)
        assert message.payload == {"n": 0}
        message.ack()
        receiver.get(timeout=5).requeue()
        again = receiver.get(timeout=5)
        assert again.payload in ({"n": 1}, {"n": 2})
        again.ack()
        receiver.get(timeout=5).ack()
    two.close()  # the queue may have been handed the last one already
    with one.SimpleQueue("simple") as rest:
        assert rest.qsize() == 1
        assert rest.clear() == 1
        assert rest.qsize() == 0


def test_a_simple_buffer(connect: MakeConnection) -> None:
    one, two = connect(), connect()
    with one.SimpleBuffer("buffer") as sender, two.SimpleBuffer("buffer") as receiver:
        sender.put("x")
        assert receiver.get(timeout=5).payload == "x"


def test_pools_of_connections_and_producers(broker_url: str) -> None:
    connections, producers = Connections(limit=2), Producers(limit=2)
    try:
        connection = Connection(broker_url)
        for n in range(5):
            with producers[connection].acquire(block=True, timeout=10) as producer:
                producer.publish(n, routing_key="q", serializer="json")
        with connections[connection].acquire(block=True, timeout=10) as one:
            channel = one.channel()
            assert contents(channel, "q") == list(range(5))
            channel.close()
    finally:
        for group in (connections, producers):
            for pool in group.values():
                pool.force_close_all()
        pools.reset()


# the caller's transaction


def test_publishing_within_the_callers_transaction(
    connect: MakeConnection, engine: Engine, business: Table, broker_url: str
) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"a": ["k"], "b": ["k"]}, "fanout")
    with Session(engine) as session, enlist(session):
        session.execute(business.insert().values(id=1, name="kept"))
        publish(there, "committed", "q")
        publish(there, "to all", exchange="ex", routing_key="")
        session.commit()
    with Session(engine) as session, enlist(session):
        session.execute(business.insert().values(id=2, name="not kept"))
        publish(there, "rolled back", "q")
        publish(there, "to nobody", exchange="ex", routing_key="")
        session.rollback()
    with engine.begin() as connection, enlist(connection):
        publish(there, "by a connection", "q")
    assert contents(here, "q") == ["committed", "by a connection"]
    assert (contents(here, "a"), contents(here, "b")) == (["to all"], ["to all"])
    with engine.connect() as connection:
        assert connection.execute(select(business.c.id)).scalars().all() == [1]


def test_nothing_is_seen_before_the_commit(connect: MakeConnection, engine: Engine) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    inbox = Inbox(here, "q")
    with engine.connect() as connection:
        with enlist(connection):
            publish(there, 1, "q")
        inbox.assert_quiet(0.5)
        connection.commit()
        committed = time.monotonic()
    assert inbox.payloads() == [1]
    assert inbox.moments[-1] - committed < 2.5


def test_times_are_the_databases(connect: MakeConnection) -> None:
    """Naive and aware expirations, timedeltas: what Kombu turns into milliseconds."""
    channel = connect().channel()
    publish(channel, 1, "q", expiration=timedelta(seconds=30).total_seconds())
    assert contents(channel, "q") == [1]
