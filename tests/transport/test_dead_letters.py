"""Dead letters: where messages go that are rejected, expire, are over the length, or were delivered too often."""

from __future__ import annotations

import time
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue import Empty, JobMessage
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import wait_until

ID = "0198b5c0-0000-7000-8000-000000000001"


def _with_dead_letters(channel: Any, *, key: str | None = "dead", **arguments: Any) -> None:
    bind(channel, "dlx", {"dead": ["dead"], "q again": ["q"]})
    extra = {"x-dead-letter-exchange": "dlx", **arguments}
    if key is not None:
        extra["x-dead-letter-routing-key"] = key
    declare(channel, "q", queue_arguments=extra)


def _dead(channel: Any, queue: str = "dead") -> Any:
    message = wait_until(lambda: channel.basic_get(queue))
    message.ack()
    return message


def test_a_rejected_message_goes_to_the_dead_letter_exchange(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _with_dead_letters(here)
    publish(there, {"n": 1}, "q", headers={"mine": "ü"}, correlation_id="c1", priority=3)
    [message] = Inbox(there, "q").take()
    message.reject()
    dead = _dead(here)
    assert dead.payload == {"n": 1}
    assert dead.headers["mine"] == "ü"
    assert dead.properties["correlation_id"] == "c1"
    assert dead.delivery_info["exchange"] == "dlx"
    assert dead.delivery_info["routing_key"] == "dead"
    [death] = dead.headers["x-death"]
    assert (death["queue"], death["reason"], death["exchange"]) == ("q", "rejected", "")
    assert death["routing-keys"] == ["q"]
    assert depth(here, "q") == 0


def test_a_dead_letter_keeps_its_routing_key_if_the_queue_names_none(connect: MakeConnection) -> None:
    channel = connect().channel()
    _with_dead_letters(channel, key=None)
    publish(channel, 1, "q")
    channel.basic_get("q").reject()
    assert _dead(channel, "q again").payload == 1


def test_dead_letters_to_the_default_exchange(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "dead")
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    publish(channel, 1, "q")
    channel.basic_get("q").reject()
    assert _dead(channel).payload == 1


@pytest.mark.parametrize("where", ["headers", "property"])
def test_a_dead_letter_has_waited_already(connect: MakeConnection, where: str) -> None:
    channel = connect().channel()
    _with_dead_letters(channel)
    options: dict[str, Any] = {"headers": {"x-delay": 500}} if where == "headers" else {"x-delay": 500}
    publish(channel, 1, "q", **options)
    wait_until(lambda: channel.basic_get("q")).reject()
    assert contents(channel, "dead") == [1]


@pytest.mark.parametrize("expired", [False, True])
@pytest.mark.parametrize("headers", [{"x-job-id": ID}, {"task": "t", "id": ID}], ids=["plain", "celery"])
def test_a_job_goes_on_as_a_dead_letter(
    connect: MakeConnection, make_queue: MakeQueue, headers: dict[str, Any], expired: bool
) -> None:
    channel, queue = connect().channel(), make_queue()
    _with_dead_letters(channel, **({"x-message-ttl": 0} if expired else {}))
    publish(channel, 1, "q", headers=headers)
    if expired:
        Inbox(connect().channel(), "q")  # a consumer that meets it
    else:
        channel.basic_get("q").reject()
    wait_until(lambda: queue.status(ID).job_type == "dead")
    assert queue.status(ID).state == "ready"
    assert _dead(channel).payload == 1
    assert depth(channel, "q") == 0
    assert queue.status(ID).state == "succeeded"


def test_a_missing_dead_letter_exchange_is_no_obstacle(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "missing"})
    publish(channel, 1, "q")
    channel.basic_get("q").reject()
    assert contents(channel, "q") == []


def test_an_expired_message_goes_to_the_dead_letter_exchange(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _with_dead_letters(here)
    publish(there, "late", "q", expiration=0.2)
    time.sleep(0.3)
    Inbox(connect().channel(), "q")  # a consumer that meets it
    dead = _dead(here)
    assert dead.payload == "late"
    assert dead.headers["x-death"][0]["reason"] == "expired"
    time.sleep(0.3)
    assert contents(here, "dead") == []  # and there it does not expire again


def test_what_a_full_queue_drops_goes_to_the_dead_letter_exchange(connect: MakeConnection) -> None:
    channel = connect().channel()
    _with_dead_letters(channel, **{"x-max-length": 1})
    for n in range(3):
        publish(channel, n, "q")
    found = [_dead(channel), _dead(channel)]
    assert [m.payload for m in found] == [0, 1]
    assert found[0].headers["x-death"][0]["reason"] == "maxlen"
    assert contents(channel, "q") == [2]


@pytest.mark.parametrize("how", ["requeue", "recover", "close"])
def test_a_message_dies_at_its_delivery_limit(connect: MakeConnection, how: str) -> None:
    here = connect().channel()
    _with_dead_letters(here, **{"x-delivery-limit": 2})
    publish(here, "poison", "q")
    connection = connect()
    for turn in range(3):  # the first delivery and two more
        channel = connection.channel()
        message = wait_until(partial(channel.basic_get, "q"))
        assert message.delivery_info["redelivered"] is (turn > 0)
        if how == "requeue":
            message.requeue()
        elif how == "recover":
            channel.basic_recover(requeue=True)
        channel.close()
    dead = _dead(here)
    assert dead.payload == "poison"
    assert dead.headers["x-death"][0]["reason"] == "delivery_limit"
    assert contents(here, "q") == []


def test_a_chain_of_dead_letter_queues_tells_the_whole_story(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "a", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
    declare(channel, "b", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "c"})
    declare(channel, "c")
    publish(channel, 1, "a")
    channel.basic_get("a").reject()
    _reject(channel, "b")
    last = _dead(channel, "c")
    assert [d["queue"] for d in last.headers["x-death"]] == ["b", "a"]


def _reject(channel: Any, queue: str) -> None:
    wait_until(lambda: channel.basic_get(queue)).reject()


def test_the_delivery_limit_without_dead_letters_keeps_the_job_as_failed(
    connect: MakeConnection, make_queue: MakeQueue
) -> None:
    channel = connect().channel()
    declare(channel, "q", queue_arguments={"x-delivery-limit": 0})
    publish(channel, 1, "q", headers={"x-job-id": ID})
    channel.basic_get("q").requeue()
    assert contents(channel, "q") == []
    status = make_queue().status(ID)
    assert status.state == "failed"
    assert "1 of 1" in status.reason


def test_a_dead_letter_that_is_refused_is_kept_as_failed(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel = connect().channel()
    declare(channel, "full", max_length=0, queue_arguments={"x-overflow": "reject-publish"})
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "full"})
    publish(channel, 1, "q", headers={"x-job-id": ID})
    channel.basic_get("q").reject()
    assert depth(channel, "full") == 0
    assert make_queue().status(ID).state == "failed"


# where nobody consumes


@pytest.mark.parametrize("delayed", [False, True])
def test_a_message_that_expires_where_nobody_consumes(
    connect: MakeConnection, make_queue: MakeQueue, delayed: bool
) -> None:
    channel = connect().channel()
    _with_dead_letters(channel)
    publish(channel, "late", "q", expiration=0.1, headers={"x-delay": 3_600_000} if delayed else {})
    time.sleep(0.2)
    make_queue().maintain()
    dead = _dead(channel)
    assert dead.payload == "late"
    assert dead.headers["x-death"][0]["reason"] == "expired"


def test_who_waits_for_dead_letters_is_woken(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _with_dead_letters(here)
    inbox = Inbox(here, "dead")
    publish(there, "late", "q", expiration=0.1)
    assert inbox.payloads() == ["late"]  # its connection does the upkeep, too


_CLAIM = """
import sys, time
from kombu import Connection
import kombu_depqueue
assert Connection(sys.argv[1]).channel().basic_get("q") is not None
print(1, flush=True)
while True:
    time.sleep(1)
"""


def test_a_message_whose_last_consumer_was_killed(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    channel = connect().channel()
    _with_dead_letters(channel, **{"x-delivery-limit": 0})
    publish(channel, "poison", "q")
    child = run_process(_CLAIM, f"{broker_url}&lease=1")
    child.heard()
    Inbox(connect().channel(), "other")  # somebody who does the upkeep
    child.kill()
    dead = _dead(channel)
    assert dead.payload == "poison"
    assert dead.headers["x-death"][0]["reason"] == "delivery_limit"


# the native API


def test_a_job_whose_attempts_are_used_up_goes_on_as_a_dead_letter(
    connect: MakeConnection, make_queue: MakeQueue
) -> None:
    channel, queue = connect().channel(), make_queue(max_attempts=1)
    _with_dead_letters(channel)
    job, then = ID, uuid4()
    queue.enqueue(JobMessage(job, job_type="q", args={"n": 1}))
    queue.enqueue(JobMessage(then, job_type="then", depends_on=[job]))
    queue.reserve(10, queues=["q"]).requeue()
    assert queue.status(job).job_type == "dead"
    assert queue.status(then).state == "blocked"  # the job has not ended
    dead = _dead(channel)
    assert dead.payload == {"n": 1}
    assert dead.headers["x-first-death-reason"] == "delivery_limit"
    wait_until(lambda: queue.status(then).state == "ready")


def test_a_native_consumer_meets_an_expired_message(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel, queue = connect().channel(), make_queue()
    _with_dead_letters(channel)
    publish(channel, "late", "q", expiration=0.1)
    time.sleep(0.2)
    with pytest.raises(Empty):
        queue.reserve(0, queues=["q"])
    assert _dead(channel).payload == "late"


# where they go


def test_dead_letters_go_to_all_queues_bound(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel = connect().channel()
    bind(channel, "dlx", {"one": ["dead"], "two": ["dead"]})
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "dlx", "x-dead-letter-routing-key": "dead"})
    publish(channel, 1, "q", headers={"x-job-id": ID})
    channel.basic_get("q").reject()
    assert (_dead(channel, "one").payload, _dead(channel, "two").payload) == (1, 1)
    assert make_queue().status(ID).state == "succeeded"


def test_waiting_for_another_try_by_way_of_dead_letters(connect: MakeConnection) -> None:
    """RabbitMQ's users let what they reject expire in a second queue, from where it comes back."""
    channel = connect().channel()
    declare(channel, "work", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "pause"})
    back = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 100}
    declare(channel, "pause", queue_arguments=back)
    publish(channel, 1, "work")
    here = connect().channel()
    inbox = Inbox(here, "work")
    for turn in range(3):
        [message] = inbox.take(timeout=30)
        counts = {(d["queue"], d["reason"]): d["count"] for d in message.headers.get("x-death", [])}
        assert counts == ({("work", "rejected"): turn, ("pause", "expired"): turn} if turn else {})
        message.reject()


def test_what_goes_round_by_itself_ends(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel, queue = connect().channel(), make_queue()
    for name, other in (("a", "b"), ("b", "a")):
        to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other, "x-message-ttl": 0}
        declare(channel, name, queue_arguments=to)
    publish(channel, 1, "a", headers={"x-job-id": ID})
    for _ in range(4):
        queue.maintain()
    assert queue.status(ID).state == "expired"


def test_the_prefix_of_queues_counts_for_dead_letters(connections: MakeConnection, broker_url: str) -> None:
    channel = connections(f"{broker_url}&queue_name_prefix=mine-").channel()
    declare(channel, "dead")
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    publish(channel, 1, "q")
    channel.basic_get("q").reject()
    assert _dead(channel).payload == 1


def test_the_arguments_of_their_queue_count_for_dead_letters(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel, queue = connect().channel(), make_queue()
    limits = {"x-max-priority": 5, "x-delivery-limit": 3, "x-message-ttl": 100, "x-max-length": 1}
    declare(channel, "dead", queue_arguments=limits)
    declare(channel, "q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
    for n in range(2):
        publish(channel, n, "q", priority=9, headers={"x-job-id": ID} if n else {})
        channel.basic_get("q").reject()
    assert depth(channel, "dead") == 1
    status = queue.status(ID)
    assert (status.job_type, status.priority, status.max_attempts, status.attempt) == ("dead", 5, 4, 0)
    time.sleep(0.2)
    queue.maintain()
    assert queue.status(ID).state == "expired"


@pytest.mark.parametrize(
    "story",
    ["text", 7, [1, "x"], {"a": 1}, *([{"queue": "q", "reason": "rejected", "count": n}] for n in ("abc", [1], -0.5))],
)
def test_a_story_that_is_none(connect: MakeConnection, story: Any) -> None:
    channel = connect().channel()
    _with_dead_letters(channel)
    publish(channel, 1, "q", headers={"x-death": story})
    channel.basic_get("q").reject()
    [death] = _dead(channel).headers["x-death"]
    assert death["count"] in (1, 2)


def test_two_full_queues_that_pass_on_to_each_other(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel = connect().channel()
    for name, other in (("a", "b"), ("b", "a")):
        to = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other, "x-max-length": 1}
        declare(channel, name, queue_arguments=to)
    for n in range(5):
        publish(channel, n, "a", headers={"x-death": [{"queue": "x", "reason": "rejected", "count": 1}]})
    assert depth(channel, "a") == depth(channel, "b") == 1


def test_an_expired_job_is_not_had_before_its_dependencies_have_finished(
    connect: MakeConnection, make_queue: MakeQueue
) -> None:
    channel, queue = connect().channel(), make_queue()
    _with_dead_letters(channel)
    first = uuid4()
    queue.enqueue(JobMessage(first, job_type="first"))
    publish(channel, "late", "q", expiration=0.1, headers={"x-job-id": ID, "depends_on": [str(first)]})
    time.sleep(0.2)
    queue.maintain()
    assert queue.status(ID).state == "expired"
    assert depth(channel, "dead") == 0


def test_more_expire_than_one_round_takes(connect: MakeConnection, make_queue: MakeQueue) -> None:
    channel, queue = connect().channel(), make_queue()
    _with_dead_letters(channel)
    batch = channel.create_publish_batch(3000)
    for n in range(2500):
        batch.publish(
            channel.prepare_message(f"{n}", content_type="text/plain", properties={"expiration": "0"}), "", "q"
        )
    batch.flush()
    Inbox(connect().channel(), "other")  # somebody who does the upkeep
    wait_until(lambda: depth(channel, "dead") == 2500, 15)
    with pytest.raises(Empty):
        queue.reserve(0, queues=["q"])
