"""What nobody can read or do: a clear error at the call, or a dead letter; everything else goes on."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from amqp.exceptions import ChannelError
from kombu import Connection, Consumer, Queue
from sqlalchemy import Engine, MetaData
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish
from transport_workers import Bench

from kombu_depqueue.errors import DepQueueError, InvalidJob
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import wait_until

# names

NAMES = [
    "it's",
    'quo"ted',
    "semi;colon; DROP TABLE job; --",
    "per%cent %s %(name)s",
    ":name $1 ?",
    "back\\slash",
    "`tick`",
    "new\nline\ttab",
    "😀 emoji 日本語",
    " leading and trailing ",
    "*",
    "#",
    "a.#.*",
    "\u202e right to left",
    "x" * 255,
    "ü" * 255,
    "NULL",
    "{braces} {0}",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_are_only_names(connect: MakeConnection, name: str) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, name)
    publish(there, "direct", name)
    assert depth(here, name) == 1
    inbox = Inbox(there, name)
    assert inbox.payloads() == ["direct"]
    bind(here, f"{name[:253]}ex", {"other": [name]})
    publish(there, "by exchange", exchange=f"{name[:253]}ex", routing_key=name)
    [message] = [here.basic_get("other")]
    assert message.payload == "by exchange"
    assert message.delivery_info["routing_key"] == name
    message.ack()
    here.queue_unbind("other", f"{name[:253]}ex", name)
    here.exchange_delete(f"{name[:253]}ex")
    inbox.consumer.cancel()
    assert here.queue_delete(name) == 0


IMPOSSIBLE = ["x" * 256, "x" * 300, "nul\0nul", "\ud800", "\0"]


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
def test_names_that_cannot_be_stored_are_refused_at_the_call(connect: MakeConnection, name: str) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"q": ["k"]})
    for call in (
        lambda: channel.queue_declare(name),
        lambda: channel.queue_declare(name, passive=True),
        lambda: channel.exchange_declare(name, "topic"),
        lambda: channel.queue_bind("q", "ex", name),
        lambda: channel.basic_consume(name),
        lambda: channel.basic_get(name),
        lambda: publish(channel, 1, name),
        lambda: publish(channel, 1, exchange="ex", routing_key=name),
        lambda: publish(channel, 1, exchange=name, routing_key="k"),
    ):
        with pytest.raises(InvalidJob, match=r"characters|NUL|surrogate"):
            call()
    publish(channel, "well", "q")
    assert contents(channel, "q") == ["well"]


# bodies and headers


@pytest.mark.parametrize("size", [0, 1])
def test_the_limit_of_a_body(connect: MakeConnection, size: int) -> None:
    channel = connect(transport_options={"max_body_bytes": 50_000}).channel()
    body, raw = b"x" * (50_000 + size), {"content_type": "application/data", "content_encoding": "binary"}
    if size:
        with pytest.raises(InvalidJob, match=r"50,001 bytes are more than max_body_bytes = 50,000"):
            publish(channel, body, "q", **raw)
        assert contents(channel, "q") == []
    else:
        publish(channel, body, "q", **raw)
        assert contents(channel, "q") == [body]


def test_headers_over_the_limit_are_refused_too(connect: MakeConnection) -> None:
    channel = connect(transport_options={"max_body_bytes": 50_000}).channel()
    with pytest.raises(InvalidJob, match="headers"):
        publish(channel, 1, "q", headers={"big": "x" * 60_000})
    assert contents(channel, "q") == []


CIRCLE: dict[str, Any] = {}
CIRCLE["again"] = [CIRCLE]

HEADERS: list[tuple[dict[str, Any], str]] = [
    (CIRCLE, "headers: JSON cannot hold them"),
    ({"what": ...}, "headers: JSON cannot hold them"),
    ({"x-delay": "soon"}, "x-delay"),
    ({"x-delay": -1}, "x-delay"),
    ({"x-delay": float("nan")}, "x-delay|headers"),
    ({"x-delay": float("inf")}, "x-delay|headers"),
    ({"x-delay": 1e300}, "x-delay"),
    ({"x-delay": [1]}, "x-delay"),
    ({"x-delay": {}}, "x-delay"),
    ({"task": "t", "id": "1", "eta": "tomorrow"}, "eta"),
    ({"task": "t", "id": "1", "eta": "2026-13-45T00:00:00"}, "eta"),
    ({"task": "t", "id": "1", "eta": 17}, "eta"),
    ({"task": "t", "id": "1", "eta": {"a": 1}}, "eta"),
    ({"depends_on": ["x"], "dependency_policy": 3}, "polic"),
    ({"depends_on": [{"id": "x", "policy": "never"}]}, "polic"),
]


@pytest.mark.parametrize(("headers", "named"), HEADERS, ids=[str(h)[:40] for h, _ in HEADERS])
def test_headers_that_make_no_sense_are_refused_at_the_call(
    connect: MakeConnection, headers: dict[str, Any], named: str
) -> None:
    channel = connect().channel()
    with pytest.raises(DepQueueError, match=named):
        publish(channel, 1, "q", headers=headers)
    assert contents(channel, "q") == []


@pytest.mark.parametrize("eta", ["9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_etas_at_the_ends_of_the_calendar(connect: MakeConnection, eta: str) -> None:
    channel = connect().channel()
    try:
        publish(channel, 1, "q", headers={"task": "t", "id": str(uuid4()), "eta": eta})
    except InvalidJob:
        assert contents(channel, "q") == []
    else:  # one that is long past
        assert contents(channel, "q") == ([1] if eta.startswith("0001") else [])


@pytest.mark.parametrize("expiration", ["soon", -5, "-5", float("nan"), "inf", 10**400, [5]])
def test_expirations_that_make_no_sense(connect: MakeConnection, expiration: Any) -> None:
    channel = connect().channel()
    message = channel.prepare_message("1", content_type="text/plain", content_encoding="utf-8")
    message["properties"]["expiration"] = expiration
    with pytest.raises(InvalidJob, match="expiration"):
        channel.basic_publish(message, "", "q")
    assert contents(channel, "q") == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": "soon"},
        {"x-expires": "later"},
        {"x-max-length": "long"},
        {"x-max-priority": "high"},
        {"x-delivery-limit": "often"},
        {"x-message-ttl": -1},
        {"x-max-length": -1},
        {"x-expires": -5},
        {"x-dead-letter-exchange": 7},
        {"x-dead-letter-routing-key": ["k"]},
        {"x-message-ttl": float("nan")},
        {"x-message-ttl": 10**30},
        {"x-expires": 0},
        {"x-max-length": True},
        {"x-max-priority": 256},
        {"x-delivery-limit": -2},
        {"x-dead-letter-exchange": "nul\0"},
        {"x-dead-letter-routing-key": "x" * 256},
        {"x-overflow": "drop-tail"},
        {"x-overflow": ["reject-publish"]},
    ],
    ids=str,
)
def test_queue_arguments_that_make_no_sense_are_refused_at_the_declaration(
    connect: MakeConnection, arguments: dict[str, Any]
) -> None:
    """Else each publish to the queue would fail, or none."""
    channel = connect().channel()
    with pytest.raises(InvalidJob, match=next(iter(arguments))):
        channel.queue_declare("q", arguments=arguments)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)
    channel.queue_declare("q", arguments={})
    publish(channel, 1, "q")
    assert contents(channel, "q") == [1]


# rows that somebody else has spoiled


def _spoil(engine: Engine, place: Place, **values: Any) -> None:
    """Change the only job's row by hand."""
    tables = MetaData()
    tables.reflect(engine, schema=place.schema)
    mine = [t for t in tables.sorted_tables if t.name.startswith(place.prefix)]
    [job] = [t for t in mine if t.name.endswith("job") and "envelope" in t.c]
    with engine.begin() as connection:
        assert connection.execute(job.update().values(**values)).rowcount == 1


@pytest.mark.parametrize(
    "values",
    [
        {"envelope": b"\xff\xfe"},
        {"envelope": b"[1, 2]"},
        {"envelope": b"{}"},
        {"envelope": b'{"headers": 7, "properties": "x"}'},
        {"envelope": b'{"content_type": "application/x-nobody", "headers": {}, "properties": {}}'},
        {"envelope": b"[" * 100_000},
        {"body": b"\xff\xfe not json"},
    ],
    ids=range(7),
)
def test_a_message_that_cannot_be_decoded_ends_and_the_others_go_on(
    connect: MakeConnection, engine: Engine, place: Place, values: dict[str, Any]
) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    publish(there, {"bad": 1}, "q")
    _spoil(engine, place, **values)
    publish(there, {"good": 1}, "q")
    good: list[Any] = []
    bad: list[Any] = []

    def on_error(message: Any, error: Exception) -> None:
        bad.append(error)
        message.reject()

    consumer = Consumer(here, [Queue("q")], callbacks=[lambda b, m: (good.append(b), m.ack())], accept=["json"])
    consumer.on_decode_error = on_error
    consumer.consume()

    def done() -> bool:
        with suppress(TimeoutError):
            here.connection.client.drain_events(timeout=0.2)
        return len(good) + len(bad) == 2

    wait_until(done)
    assert good[-1] == {"good": 1}
    here.connection.client.close()
    assert depth(there, "q") == 0


# a real worker


def test_a_worker_goes_on_whatever_it_is_sent(bench: Bench, make_queue: MakeQueue) -> None:
    worker = bench.worker("-c", "2", pool="threads").ready()
    with Connection(bench.broker) as connection:
        channel = connection.channel()
        # Not here: a known task with the body []: that ends Celery's worker on every broker (5.7: request.py unpacks it).
        raw = {"content_type": "application/json", "content_encoding": "utf-8"}
        task = {"task": "t.add", "lang": "py"}
        for body, options in [
            (b"\xff\xfe", raw),
            (b"{not json", raw),
            (b"[[1, 2], {}, {}]", {**raw, "headers": {**task, "task": "t.unknown", "id": str(uuid4())}}),
            (b"[[1], {}, {}]", {**raw, "headers": {**task, "id": str(uuid4())}}),
            (b"x", {"content_type": "application/x-nobody", "content_encoding": "binary"}),
            (b"x", {"content_type": "application/x-python-serialize", "content_encoding": "binary"}),
            (b"\xff", {"content_type": "text/plain", "content_encoding": "no-such-encoding"}),
            (b"{}", raw),
            (b"[[1, 2], {}, {}]", {**raw, "headers": {**task, "id": str(uuid4()), "expires": "whenever"}}),
            (b"[[1, 2], {}, {}]", {**raw, "headers": {**task, "id": "no uuid'; --"}}),
            (b"x", {**raw, "headers": {"compression": "application/x-gzip"}}),
        ]:
            publish(channel, body, "celery", **options)
            assert bench.send("add", 1, 2).get(timeout=30) == 3
    make_queue().enqueue("celery", {"a native": "job"})
    assert bench.send("add", 1, 2).get(timeout=30) == 3
    assert worker.process.poll() is None
    with bench.native() as queue:
        wait_until(lambda: all(q.leased == q.ready == 0 for q in queue.queues() if q.name == "celery"))


def test_celery_tells_at_the_call(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for options in (
        {"queue": "x" * 300},
        {"queue": "nul\0"},
        {"headers": {"depends_on": [str(uuid4())]}},
        {"headers": {"depends_on": 7}},
        {"headers": {"x-delay": "soon"}},
    ):
        with pytest.raises((DepQueueError, ValueError)):
            bench.send("add", 1, 2, **options)
    bench.send("add", 1, 2, eta=datetime.now(UTC) + timedelta(days=365 * 100))
    with bench.native() as queue:
        [info] = [q for q in queue.queues() if q.name == "celery"]
        assert (info.ready, info.scheduled) == (0, 1)
