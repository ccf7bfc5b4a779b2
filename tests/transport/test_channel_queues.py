"""Queues and their arguments: delete, counts, auto-delete, expiry, lengths, priorities, dead letters, delay."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import pytest
from amqp.exceptions import ChannelError
from kombu import Exchange, Queue
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue import InvalidJob, QueueFull
from kombu_depqueue.testing.fixtures import MakeQueue, RunProcess
from kombu_depqueue.testing.helpers import wait_until

# passive declare and counts


def test_passive_declare_tells_of_messages_and_consumers(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    with pytest.raises(ChannelError, match="NOT_FOUND") as refused:
        Queue("q", channel=here).queue_declare(passive=True)
    assert refused.value.reply_code == 404
    declare(there, "q")
    assert tuple(here.queue_declare("q", passive=True)) == ("q", 0, 0)
    for n in range(3):
        publish(there, n, "q")
    first = Inbox(there, "q", prefetch=1)
    second = Inbox(connect().channel(), "q", prefetch=1)
    first.take(), second.take()
    # What is unacked is not ready, as in RabbitMQ; the third may be on its way to nobody.
    assert tuple(here.queue_declare("q", passive=True)) == ("q", 1, 2)
    second.connection.close()
    wait_until(lambda: tuple(here.queue_declare("q", passive=True)) == ("q", 2, 1))


def test_a_server_named_queue(connect: MakeConnection) -> None:
    channel = connect().channel()
    names = {channel.queue_declare("").queue for _ in range(2)}
    assert len(names) == 2
    for name in names:
        publish(channel, name, name)
        assert contents(channel, name) == [name]


def test_declaring_again_changes_nothing(connect: MakeConnection) -> None:
    channel = connect().channel()
    for _ in range(3):
        declare(channel, "q", max_length=7)
        publish(connect().channel(), 1, "q")
    assert contents(channel, "q") == [1, 1, 1]


def test_declaring_again_otherwise_changes_the_queue(connect: MakeConnection, caplog: pytest.LogCaptureFixture) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_length=7)
    publish(here, 0, "q")
    declare(there, "q", max_length=3)
    assert "x-max-length was 7, is 3" in caplog.text
    for n in range(1, 5):
        publish(there, n, "q")
    assert contents(there, "q") == [2, 3, 4]


def test_who_gives_no_arguments_leaves_those_of_others(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_length=2)
    declare(there, "q")
    for n in range(4):
        publish(there, n, "q")
    assert contents(there, "q") == [2, 3]


@pytest.mark.parametrize("other", [{"auto_delete": True}, {"exclusive": True}], ids=str)
def test_a_queue_cannot_change_its_kind(connect: MakeConnection, other: dict[str, Any]) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    publish(here, 1, "q")
    with pytest.raises(ChannelError, match="inequivalent") as refused:
        there.queue_declare("q", **other)
    assert refused.value.reply_code == 406
    assert contents(there, "q") == [1]
    here.queue_delete("q")
    there.queue_declare("q", **other)


def test_arguments_without_a_meaning_may_differ(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", queue_arguments={"x-queue-type": "quorum"})
    declare(there, "q")
    declare(there, "q", queue_arguments={"x-queue-mode": "lazy", "x-message-ttl": None})
    declare(there, "q", durable=False)


def test_what_a_native_producer_has_made_can_be_declared(connect: MakeConnection, make_queue: MakeQueue) -> None:
    make_queue().enqueue("q", 1)
    channel = connect().channel()
    declare(channel, "q", max_priority=5)
    assert contents(channel, "q") == [1]


def test_a_queue_that_does_not_last_changes_its_kind_when_nobody_uses_it(connect: MakeConnection) -> None:
    """Else the next version of a worker that was killed could not start."""
    here, there = connect().channel(), connect().channel()
    declare(here, "q", durable=False, auto_delete=True)
    inbox = Inbox(here, "q", ack=True)
    with pytest.raises(ChannelError, match="inequivalent"):
        declare(there, "q", durable=False)
    publish(there, 1, "q")
    inbox.take()
    inbox.connection.close()
    declare(there, "q", durable=False)


# delete and purge


def test_deleting_a_queue_of_the_default_exchange(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(there, "q")
    for n in range(3):
        publish(there, n, "q")
    assert here.queue_delete("q") == 3
    with pytest.raises(ChannelError):
        there.queue_declare("q", passive=True)
    declare(there, "q")
    assert contents(there, "q") == []
    assert here.queue_delete("q") == 0
    assert here.queue_delete("never there") == 0


def test_deleting_a_queue_only_if_empty(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    publish(channel, 1, "q")
    with pytest.raises(ChannelError, match="PRECONDITION_FAILED"):
        channel.queue_delete("q", if_empty=True)
    assert contents(channel, "q") == [1]
    channel.queue_delete("q", if_empty=True)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)


def test_deleting_a_queue_only_if_unused(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    consumer = Inbox(connect().channel(), "q")
    with pytest.raises(ChannelError, match="PRECONDITION_FAILED"):
        channel.queue_delete("q", if_unused=True)
    consumer.consumer.cancel()
    channel.queue_delete("q", if_unused=True)
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_declare("q", passive=True)


def test_a_consumer_outlives_the_deletion_of_its_queue(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    inbox = Inbox(connect().channel(), "q", "other")
    channel.queue_delete("q")
    publish(channel, "still well", "other")
    assert inbox.payloads() == ["still well"]


def test_purge_counts_what_was_ready_and_leaves_what_is_held(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    for n in range(5):
        publish(here, n, "q")
    held = there.basic_get("q")
    assert here.queue_purge("q") == 4
    assert here.queue_purge("q") == 0
    assert depth(here, "q") == 0
    held.requeue()
    assert contents(here, "q") == [0]
    assert here.queue_purge("missing") == 0


# queues that end by themselves


def test_an_auto_delete_queue_goes_with_its_last_consumer(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", durable=False, auto_delete=True)
    publish(there, 1, "q")
    assert depth(there, "q") == 1  # not before there was a consumer
    first, second = Inbox(here, "q", ack=True), Inbox(connect().channel(), "q", ack=True)
    first.consumer.cancel()
    publish(there, 2, "q")
    second.take(2 - len(first.messages))
    second.connection.close()
    wait_until(lambda: _is_gone(there, "q"))


def _is_gone(channel: Any, queue: str) -> bool:
    try:
        channel.queue_declare(queue, passive=True)
    except ChannelError:
        return True
    return False


_HOLD = """
import sys, time
from kombu import Connection, Consumer, Queue
import kombu_depqueue
channel = Connection(sys.argv[1]).channel()
queue = Queue(sys.argv[2], auto_delete=True, durable=False)
queue(channel).declare()
Consumer(channel, [queue], on_message=print).consume()
print(1, flush=True)
while True:
    time.sleep(1)
"""


def test_an_auto_delete_queue_goes_when_its_consumer_was_killed(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    child = run_process(_HOLD, f"{broker_url}&lease=1", "q")
    child.heard()
    Inbox(connect().channel(), "other")  # somebody who does the upkeep
    channel = connect().channel()
    assert channel.queue_declare("q", passive=True).consumer_count == 1
    child.kill()
    wait_until(lambda: _is_gone(channel, "q"), 10)


def test_an_unused_queue_expires(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"bound": ["k"]})
    queue = Queue("q", Exchange("ex", "direct"), routing_key="k", expires=0.5, channel=here)
    queue.declare()
    publish(there, 1, exchange="ex", routing_key="k")
    Inbox(connect().channel(), "other")
    wait_until(lambda: _is_gone(there, "q"), 10)
    publish(there, 2, exchange="ex", routing_key="k")
    assert contents(there, "bound") == [1, 2]
    queue.declare()
    assert contents(there, "q") == []


def test_a_queue_that_is_consumed_does_not_expire(connect: MakeConnection) -> None:
    here = connect().channel()
    Queue("q", expires=0.4, channel=here).declare()
    inbox = Inbox(here, "q")
    inbox.assert_quiet(1.5)
    publish(connect().channel(), 1, "q")
    assert inbox.payloads() == [1]
    inbox.consumer.cancel()
    Inbox(connect().channel(), "other")
    there = connect().channel()
    wait_until(lambda: _is_gone(there, "q"), 10)


def test_an_exclusive_queue_goes_with_its_connection(connect: MakeConnection) -> None:
    owner, there = connect(), connect().channel()
    bind(there, "ex", {"bound": ["k"]})
    for channel in (owner.channel(), owner.channel()):
        channel.queue_declare("q", exclusive=True)
        channel.queue_bind("q", "ex", "k")
    publish(there, 1, exchange="ex", routing_key="k")
    assert depth(there, "q") == 1
    owner.close()
    assert _is_gone(there, "q")
    publish(there, 2, exchange="ex", routing_key="k")
    assert contents(there, "bound") == [1, 2]


_OWN = """
import sys, time
from kombu import Connection
import kombu_depqueue
Connection(sys.argv[1]).channel().queue_declare(sys.argv[2], exclusive=True)
print(1, flush=True)
while True:
    time.sleep(1)
"""


def test_an_exclusive_queue_goes_when_its_owner_was_killed(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    child = run_process(_OWN, f"{broker_url}&lease=1", "q")
    child.heard()
    Inbox(connect().channel(), "other")  # somebody who does the upkeep
    channel = connect().channel()
    time.sleep(1.5)
    assert not _is_gone(channel, "q")  # the owner need not consume
    child.kill()
    wait_until(lambda: _is_gone(channel, "q"), 10)


def test_an_exclusive_queue_is_taken_over_by_who_declares_it_anew(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    """A worker that was killed may start again at once, under its old name."""
    child = run_process(_OWN, f"{broker_url}&lease=1", "q")
    child.heard()
    child.kill()
    channel = connect().channel()
    channel.queue_declare("q", exclusive=True)
    inbox = Inbox(channel, "q")
    inbox.assert_quiet(2.5)
    publish(connect().channel(), 1, "q")
    assert inbox.payloads() == [1]
    there = connect().channel()
    inbox.connection.close()
    assert _is_gone(there, "q")


# time to live


def test_an_expired_message_is_not_delivered(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    publish(there, "short", "q", expiration=0.2)
    publish(there, "long", "q", expiration=60)
    publish(there, "for ever", "q")
    time.sleep(0.3)
    inbox = Inbox(here, "q", ack=True)
    inbox.take(2)
    inbox.assert_quiet()
    assert depth(there, "q") == 0


def test_a_message_expires_in_front_of_a_consumer_that_is_full(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    inbox = Inbox(here, "q", prefetch=1)
    publish(there, "first", "q")
    [first] = inbox.take()
    publish(there, "short", "q", expiration=0.3)
    publish(there, "last", "q")
    inbox.drain(0.6)
    first.ack()
    assert inbox.payloads() == ["last"]


def test_the_time_to_live_of_a_queue(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", message_ttl=2.0)
    publish(there, "by the queue", "q")
    publish(there, "by the queue, it is shorter", "q", expiration=60)
    publish(there, "by itself", "q", expiration=0.1)
    time.sleep(0.2)
    assert contents(here, "q")[:2] == ["by the queue", "by the queue, it is shorter"]
    publish(there, "late", "q")
    time.sleep(2.1)
    assert contents(here, "q") == []


def test_a_time_to_live_of_zero_is_for_whom_it_finds(connect: MakeConnection) -> None:
    """AMQP: expired upon reaching a queue unless it can be delivered at once; here at least it never stays."""
    channel = connect().channel()
    declare(channel, "q")
    publish(channel, 1, "q", expiration=0)
    wait_until(lambda: depth(channel, "q") == 0, 5)


# lengths


def test_a_full_queue_drops_its_oldest(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_length=3)
    for n in range(7):
        publish(there, n, "q")
    assert depth(here, "q") == 3
    assert contents(here, "q") == [4, 5, 6]


def test_messages_held_do_not_count_for_the_length(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_length=2)
    publish(there, "held", "q")
    held = here.basic_get("q")
    for n in range(3):
        publish(there, n, "q")
    held.ack()
    assert contents(there, "q") == [1, 2]


def test_a_full_queue_may_refuse_instead(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_length=2, queue_arguments={"x-overflow": "reject-publish"})
    bind(here, "ex", {"q2": ["k"]})
    here.queue_bind("q", "ex", "k")
    publish(there, 1, "q")
    publish(there, 2, exchange="ex", routing_key="k")
    for channel in (here, there):
        with pytest.raises(ChannelError, match="'q' is full") as refused:
            publish(channel, 3, "q")
        assert refused.value.reply_code == 506
        with pytest.raises(ChannelError, match="'q' is full"):
            publish(channel, 3, exchange="ex", routing_key="k")  # all of its queues, or none
    assert contents(there, "q2") == [2]
    held = there.basic_get("q")
    publish(there, 4, "q")  # what is held does not count
    held.ack()
    assert contents(there, "q") == [2, 4]


def test_a_batch_is_refused_whole(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q", max_length=2, queue_arguments={"x-overflow": "reject-publish"})
    batch = channel.create_publish_batch(10)
    for n in range(3):
        batch.publish(channel.prepare_message(f"{n}", content_type="text/plain"), "", "q")
    with pytest.raises(ChannelError, match="'q' is full"):
        batch.flush()
    assert contents(channel, "q") == []


# priorities


def test_bigger_priorities_come_first_and_equal_ones_in_order(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q", max_priority=255)
    given = [0, 5, 255, 128, 5, None, 9, 10, 0, 254, 1]
    for n, priority in enumerate(given):
        publish(there, [priority or 0, n], "q", priority=priority)
    wanted = sorted(([p or 0, n] for n, p in enumerate(given)), key=lambda one: (-one[0], one[1]))
    inbox = Inbox(here, "q")
    messages = inbox.take(len(given))
    assert [m.payload for m in messages] == wanted
    assert [m.properties["priority"] or 0 for m in messages] == [p for p, _ in wanted]


def test_priorities_need_no_declaration(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    for priority in (1, 3, 2):
        publish(channel, priority, "q", priority=priority)
    assert contents(channel, "q") == [3, 2, 1]


def test_the_maximal_priority_of_a_queue(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q", max_priority=5)
    for n, priority in enumerate((200, 5, 6, 4)):
        publish(channel, n, "q", priority=priority)
    assert contents(channel, "q") == [0, 1, 2, 3]


@pytest.mark.parametrize("priority", [-1, 256, 10_000])
def test_a_priority_out_of_range_is_brought_into_it(connect: MakeConnection, priority: int) -> None:
    channel = connect().channel()
    declare(channel, "q")
    publish(channel, "middle", "q", priority=100)
    publish(channel, "odd", "q", priority=priority)
    assert contents(channel, "q") == (["middle", "odd"] if priority < 0 else ["odd", "middle"])


# delay


@pytest.mark.parametrize("where", ["headers", "property"])
def test_a_delayed_message_waits_in_the_database(connect: MakeConnection, where: str) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    inbox = Inbox(here, "q")
    sent = time.monotonic()
    options: dict[str, Any] = {"headers": {"x-delay": 700}} if where == "headers" else {"x-delay": 700}
    publish(there, "later", "q", **options)
    publish(there, "now", "q")
    assert depth(there, "q") <= 1  # neither ready nor with a consumer
    assert [m.payload for m in inbox.take(2)] == ["now", "later"]
    assert 0.69 <= inbox.moments[1] - sent < 3.0
    assert inbox.moments[0] - sent < 0.6


def test_delayed_messages_come_when_due_not_as_published(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    for n in (900, 300, 600, 0, 1):
        publish(channel, n, "q", headers={"x-delay": n})
    inbox = Inbox(connect().channel(), "q", prefetch=1, ack=True)
    assert [m.payload for m in inbox.take(5)] == [0, 1, 300, 600, 900]


def test_a_delay_that_never_comes_takes_no_prefetch_slot(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    declare(here, "q")
    for n in range(20):
        publish(there, n, "q", headers={"x-delay": 3_600_000})
    inbox = Inbox(here, "q", prefetch=1)
    publish(there, "now", "q")
    assert inbox.payloads() == ["now"]
    inbox.assert_quiet()


def test_a_delay_outlives_everybody(connect: MakeConnection) -> None:
    connection = connect()
    declare(connection.channel(), "q")
    publish(connection.channel(), "later", "q", headers={"x-delay": 800})
    connection.close()
    time.sleep(0.2)
    assert Inbox(connect().channel(), "q").payloads() == ["later"]


@pytest.mark.parametrize("delay", [0, "0", 100, "100", 100.5])
def test_forms_of_a_delay(connect: MakeConnection, delay: Any) -> None:
    channel = connect().channel()
    publish(channel, 1, "q", headers={"x-delay": delay})
    assert Inbox(channel, "q").payloads() == [1]


def test_limits_outlast_declarations_and_hold_for_kombu(connect: MakeConnection, make_queue: MakeQueue) -> None:
    native = make_queue()
    native.limit("q", max_length=2)
    channel = connect().channel()
    for most in (3, 5):
        channel.queue_declare("q", arguments={"x-max-priority": most})
    for n in range(2):
        publish(channel, n, "q")
    with pytest.raises(QueueFull):
        publish(channel, 2, "q")
    assert native.limits("q") == (2, None)


def test_limits_hold_for_celerys_tasks_but_not_for_their_retries(
    connect: MakeConnection, make_queue: MakeQueue
) -> None:
    native = make_queue()
    native.limit("q", max_length=2, max_body_bytes=1000)
    channel = connect().channel()
    tasks = [{"task": "t", "id": str(uuid4())} for _ in range(4)]
    for task in tasks[:2]:
        publish(channel, 1, "q", headers=task)
    with pytest.raises(QueueFull):
        publish(channel, 1, "q", headers=tasks[2])
    held = channel.basic_get("q")
    publish(channel, 2, "q", headers=tasks[0])  # a retry is there already
    publish(channel, "x" * 2000, "q", headers=tasks[1])
    held.ack()
    assert sorted(map(str, contents(channel, "q"))) == ["2", "x" * 2000]
    with pytest.raises(InvalidJob, match="1,000"):
        publish(channel, "x" * 2000, "q", headers=tasks[3])


@pytest.mark.parametrize("given", [5, {"max_length": "many"}, {"x-depqueue-limits": {"max_length": 0}}])
def test_a_declaration_cannot_stop_those_who_enqueue_elsewhere(
    connect: MakeConnection, make_queue: MakeQueue, given: Any
) -> None:
    declare(connect().channel(), "q", queue_arguments={"x-depqueue-limits": given})
    declare(connect().channel(), "r", queue_arguments={"x-other": {"x-depqueue-limits": given}})
    native = make_queue()
    for name in ("q", "r", "mail"):
        native.enqueue(name)
        assert native.limits(name) == (None, None)
