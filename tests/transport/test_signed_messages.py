"""Signed messages: what Kombu and Celery do to them, and what somebody else does."""

from __future__ import annotations

import base64
import json
import logging
import secrets
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu import Connection
from sqlalchemy import Engine, select, update
from transport_helpers import Inbox, MakeConnection, bind, broker_of, contents, declare, depth, publish
from transport_workers import Bench

from kombu_depqueue import JobQueue, JobState
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.transport import Transport
from kombu_depqueue.transport.codec import text_id

SECRET = base64.b64encode(secrets.token_bytes(32)).decode()
KEY = f"a=hmac:{SECRET}"
SIGNING = {"signing_keys": KEY}
ID = "0198b5c0-0000-7000-8000-000000000001"


@pytest.fixture
def signing(connect: MakeConnection) -> Callable[[], Connection]:
    return lambda: connect(transport_options=SIGNING)


def _change(engine: Engine, queue: JobQueue, job_id: UUID, old: bytes, new: bytes) -> None:
    """Change the stored envelope of a message."""
    job = queue._database.dialect.tables.job
    with engine.begin() as connection:
        where = job.c.job_id == job_id
        was = bytes(connection.execute(select(job.c.envelope).where(where)).scalar_one())
        assert old in was
        connection.execute(update(job).where(where).values(envelope=was.replace(old, new)))


@pytest.mark.parametrize("how", ["get", "consume", "no_ack"])
def test_another_task_in_the_headers_is_never_delivered(
    signing: Callable[[], Connection], make_queue: MakeQueue, engine: Engine, how: str
) -> None:
    """Celery's own `auth` serializer does not cover them."""
    here, queue = signing().channel(), make_queue()
    publish(here, [[], {}, {}], "q", headers={"task": "harmless", "id": ID})
    _change(engine, queue, UUID(ID), b"harmless", b"dropdata")
    publish(here, "good", "q")
    if how == "get":
        assert here.basic_get("q").payload == "good"
    else:
        assert [m.payload for m in Inbox(here, "q", no_ack=how == "no_ack").take()] == ["good"]
    status = queue.status(ID)
    assert (status.state, status.reason) == (JobState.FAILED, "dead: bad-signature")


def test_what_the_sender_did_not_sign_is_never_delivered(
    signing: Callable[[], Connection], connect: MakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is what is no job: a message to several queues, such as remote control."""
    here, there = signing().channel(), connect().channel()
    bind(here, "all", {"one": ["k"], "two": ["k"]})
    publish(there, "CARD 4111", exchange="all", routing_key="k")
    publish(here, "good", exchange="all", routing_key="k")
    assert [contents(here, name) for name in ("one", "two")] == [["good"], ["good"]]
    assert caplog.text.count("bad-signature") == 2
    assert "4111" not in caplog.text


def test_a_retry_keeps_the_signed_dependencies(
    signing: Callable[[], Connection], make_queue: MakeQueue, engine: Engine
) -> None:
    """Celery publishes the same id anew, and says nothing of what it had depended on."""
    here, queue = signing().channel(), make_queue(**SIGNING)
    first = queue.enqueue("first")
    task = {"task": "t", "id": ID}
    publish(here, 1, "q", headers={**task, "depends_on": [str(first)]})
    queue.reserve(30, queues=["first"]).ack()
    message = wait_until(lambda: here.basic_get("q"))
    publish(here, 2, "q", headers={**task, "retries": 1})
    message.ack()
    again = wait_until(lambda: here.basic_get("q"))
    assert (again.payload, queue.status(ID).depends_on) == (2, (first,))
    publish(here, 3, "q", headers={**task, "retries": 2})
    dep = queue._database.dialect.tables.dep
    with engine.begin() as connection:
        connection.execute(update(dep).where(dep.c.job_id == UUID(ID)).values(dep_id=uuid4()))
    assert here.basic_get("q") is None
    assert queue.status(ID).reason == "dead: bad-signature"


def test_a_retry_signs_no_dependencies_that_were_changed(
    signing: Callable[[], Connection], make_queue: MakeQueue, engine: Engine
) -> None:
    here, queue = signing().channel(), make_queue(**SIGNING)
    task = {"task": "t", "id": ID}
    publish(here, 1, "q", headers={**task, "depends_on": [str(queue.enqueue("first"))]})
    dep = queue._database.dialect.tables.dep
    with engine.begin() as connection:
        connection.execute(update(dep).where(dep.c.job_id == UUID(ID)).values(policy=30))
    publish(here, 2, "q", headers=task)  # still blocked
    queue.reserve(30, queues=["first"]).ack()
    assert here.basic_get("q") is None
    assert queue.status(ID).reason == "dead: bad-signature"


def _with_dead_letters(channel: Any) -> None:
    declare(channel, "dead")
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})


def test_a_dead_letter_is_signed_anew(signing: Callable[[], Connection]) -> None:
    here = signing().channel()
    _with_dead_letters(here)
    for options in ({"headers": {"task": "t", "id": ID}}, {}):
        publish(here, "x", "q", **options)
        here.basic_get("q").reject()
        dead = here.basic_get("dead")
        assert (dead.payload, dead.headers["x-death"][0]["queue"]) == ("x", "q")
        dead.ack()


def test_a_forged_message_is_no_dead_letter(
    signing: Callable[[], Connection], connect: MakeConnection, make_queue: MakeQueue, engine: Engine
) -> None:
    """Nobody who checks signatures passes it on, though there nobody may check."""
    here, there, queue = signing().channel(), connect().channel(), make_queue(**SIGNING)
    _with_dead_letters(here)
    publish(there, "forged", "q", headers={"task": "t", "id": ID})
    assert here.basic_get("q") is None
    publish(here, "expires", "q", headers={"x-job-id": "x" * 36}, expiration=0.001)
    publish(there, "forged", "q", headers={"x-job-id": "y" * 36}, expiration=0.001)
    # Not only out of sight: else it could be left to `there`, who checks nothing.
    forged = text_id("y" * 36)
    wait_until(lambda: (queue.maintain(), queue.status(forged).state.is_finished and depth(there, "q") == 0)[1])
    assert contents(there, "dead") == ["expires"]


def test_public_keys_are_enough_to_consume(connect: MakeConnection, make_queue: MakeQueue) -> None:
    """Events and replies go without a signature; a dead letter stays where it died."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    private = ed25519.Ed25519PrivateKey.generate()
    pair = (private.private_bytes_raw(), private.public_key().public_bytes_raw())
    mine, theirs = (base64.b64encode(key).decode() for key in pair)
    here = connect(transport_options={"signing_keys": f"e=ed25519:{mine}"}).channel()
    there = connect(transport_options={"signing_keys": f"e=ed25519-public:{theirs}"}).channel()
    _with_dead_letters(here)
    publish(here, "x", "q", headers={"task": "t", "id": ID})
    there.basic_get("q").reject()
    assert contents(there, "dead") == []
    queue = make_queue()
    assert queue.status(ID).reason == "dead: rejected"
    queue.retry(ID)
    assert contents(there, "q") == ["x"]
    with pytest.raises(InvalidJob, match="public"):
        publish(there, "y", "q")
    bind(there, "all", {"one": ["k"], "two": ["k"]})
    publish(there, "event", exchange="all", routing_key="k")
    assert contents(connect().channel(), "one") == ["event"]


def test_keys_do_not_belong_into_the_url(
    database_url: str, connections: MakeConnection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = broker_of(database_url, signing_keys=KEY.replace("+", "%2B"))
    connection = connections(url)
    with pytest.raises(InvalidJob, match="not the keys") as caught:
        connection.connect()
    beside = url.replace("depqueue+", "")
    with pytest.raises(InvalidJob, match="not the keys") as again:
        JobQueue(beside)
    texts = [
        str(caught.value),
        str(again.value),
        repr(connection),
        connection.as_uri(),
        Transport.as_uri(url),
        caplog.text,
    ]
    assert [text for text in texts if SECRET[:20] in text] == []


@pytest.mark.parametrize("how", ["file", "env"])
def test_keys_from_a_file_or_the_environment(
    database_url: str, connections: MakeConnection, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}  # since 2026\n")
    monkeypatch.setenv("OUR_KEYS", KEY)
    url = broker_of(database_url, signing_keys=f"file:{file}" if how == "file" else "env:OUR_KEYS")
    with connections(url) as connection:
        channel = connection.channel()
        publish(channel, 1, "q")
        assert contents(channel, "q") == [1]
        settings = connection.transport.queue.settings
        assert "<keys a>" in repr(settings)
        assert SECRET not in repr(settings) + repr(settings.signing_keys) + json.dumps(connection.info(), default=str)


def test_a_worker_runs_what_is_signed_and_nothing_else(
    bench: Bench, make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks, retries, remote control."""
    monkeypatch.setenv("DEPQUEUE_SIGNING_KEYS", KEY)
    worker = bench.worker("-c", "2", pool="threads").ready()
    assert bench.send("add", 1, 2).get(timeout=60) == 3
    unsigned = make_queue(signing_keys=None)
    assert unsigned.settings.signing_keys is not None, "it is in the environment"
    monkeypatch.delenv("DEPQUEUE_SIGNING_KEYS")
    task = {"task": "t.add", "lang": "py", "id": ID}
    with Connection(bench.broker) as connection:
        raw = {"content_type": "application/json", "content_encoding": "utf-8", "headers": task}
        publish(connection.channel(), b"[[1, 2], {}, {}]", "celery", **raw)
    with bench.native() as queue:
        assert wait_until(lambda: queue.status(ID).reason, 60) == "dead: bad-signature"
    assert worker.process.poll() is None
