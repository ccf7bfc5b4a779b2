"""Consuming: prefetch, round robin, acks, requeues, what a close gives back, what a dead process held."""

from __future__ import annotations

import select
import threading
import time
from typing import Any

import pytest
from kombu import Connection, Consumer, Exchange, Queue
from kombu.exceptions import MessageStateError, OperationalError
from kombu.mixins import ConsumerMixin
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue.errors import InvalidJob, QueueClosed, StorageError
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.testing.fixtures import RunProcess
from kombu_depqueue.testing.helpers import failing_once, overheard, wait_until
from kombu_depqueue.transport import delivery


def _fill(channel: Any, count: int, queue: str = "q") -> None:
    declare(channel, queue)
    for n in range(count):
        publish(channel, n, queue)


# the plain way


def test_messages_arrive_in_order_once_and_with_their_delivery_info(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 50)
    inbox = Inbox(there, "q")
    messages = inbox.take(50)
    assert [m.payload for m in messages] == list(range(50))
    info = messages[0].delivery_info
    assert (info["exchange"], info["routing_key"], info["redelivered"]) == ("", "q", False)
    assert info["consumer_tag"] in inbox.consumer._active_tags.values()
    assert len({m.delivery_tag for m in messages}) == 50
    for message in messages:
        message.ack()
    inbox.connection.close()
    assert depth(here, "q") == 0


def test_a_message_published_while_we_wait_comes_at_once(connect: MakeConnection) -> None:
    inbox = Inbox(connect().channel(), "q")
    channel = connect().channel()
    publish(channel, "warm", "q")
    inbox.payloads()
    times = []
    for n in range(5):
        thread = threading.Timer(0.15, publish, (channel, n, "q"))
        thread.start()
        began = time.monotonic()
        assert inbox.payloads() == [n]
        times.append(inbox.moments[-1] - began - 0.15)
        thread.join()
    assert sorted(times)[2] < 0.2, times


def test_drain_events_keeps_its_timeout(connect: MakeConnection) -> None:
    inbox = Inbox(connect().channel(), "q")
    for timeout in (0.0, 0.05, 0.4):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            inbox.connection.drain_events(timeout=timeout)
        assert timeout <= time.monotonic() - began < timeout + 0.5


def test_drain_events_without_consumers(connect: MakeConnection) -> None:
    with pytest.raises(TimeoutError):
        connect().drain_events(timeout=0.1)


# get


def test_basic_get(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 3)
    queue = Queue("q")(there)
    first = queue.get()
    assert (first.payload, first.delivery_info["redelivered"]) == (0, False)
    second = queue.get(no_ack=True)
    assert second.payload == 1
    third = queue.get()
    assert queue.get() is None
    assert depth(here, "q") == 0
    first.requeue()
    third.ack()
    again = queue.get()
    assert (again.payload, again.delivery_info["redelivered"]) == (0, True)
    there.connection.client.close()
    assert contents(here, "q") == [0]  # given back; the one without ack is gone


# prefetch


@pytest.mark.parametrize("count", [1, 3, 10])
def test_never_more_than_the_prefetch_count_is_unacked(connect: MakeConnection, count: int) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 25)
    inbox = Inbox(there, "q", prefetch=count)
    done = []
    while len(done) < 25:
        inbox.take(min(count, 25 - len(done)), 15)  # as many as there may be
        inbox.drain(0.02)
        held = inbox.moments[len(done) :]
        assert len(held) <= count
        done += held[:1]
        # Ack one at a time: exactly one more may come.
        there.basic_ack(len(done))
        inbox.messages = [None] * (len(held) - 1)  # type: ignore[list-item]
    assert len(inbox.moments) == 25


def test_a_full_consumer_leaves_the_rest_to_others(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 5)
    full = Inbox(connect().channel(), "q", prefetch=2)
    full.take(2)
    assert depth(here, "q") == 3
    other = Inbox(connect().channel(), "q", prefetch=10)
    assert other.payloads(3) == [2, 3, 4]
    full.assert_quiet()


def test_a_grown_prefetch_count_takes_effect_at_once(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 6)
    inbox = Inbox(there, "q", prefetch=1)
    inbox.take()
    inbox.assert_quiet(0.2)
    there.basic_qos(0, 4, False)
    inbox.take(3, 5)
    inbox.assert_quiet(0.2)
    there.basic_qos(0, 0, False)
    inbox.take(2, 5)


def test_a_prefetch_count_is_the_channels_own(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    _fill(here, 6, "a")
    _fill(here, 6, "b")
    one, two = Inbox(connection.channel(), "a", prefetch=1), Inbox(connection.channel(), "b", prefetch=4)
    two.take(4)
    one.take(1)
    assert (one.bodies(), two.bodies()) == ([], [])
    one.assert_quiet()
    two.assert_quiet()


def test_no_ack_consumers_need_no_credit_and_hold_nothing(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect()
    _fill(here, 10)
    inbox = Inbox(there.channel(), "q", no_ack=True, prefetch=1)
    assert [m.payload for m in inbox.take(10)] == list(range(10))
    there.close()
    assert contents(here, "q") == []


# several consumers


def test_two_consumers_of_one_channel_take_turns(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    declare(here, "q")
    channel = connection.channel()
    got: list[tuple[str, Any]] = []
    consumers = [
        Consumer(channel, [Queue("q")], on_message=lambda m, n=n: got.append((n, m.payload)), auto_declare=False)
        for n in "ab"
    ]
    for consumer in consumers:
        consumer.consume()
    for n in range(8):
        publish(here, n, "q")
    wait_until(lambda: _drained(connection) or len(got) == 8)
    assert sorted(n for _, n in got) == list(range(8))
    assert [name for name, _ in got].count("a") == 4


def _drained(connection: Connection) -> bool:
    try:
        connection.drain_events(timeout=0.05)
    except TimeoutError:
        return False
    return False


def test_two_channels_consume_one_queue(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    declare(here, "q")
    one, two = Inbox(connection.channel(), "q", prefetch=5), Inbox(connection.channel(), "q", prefetch=5)
    for n in range(10):
        publish(here, n, "q")
    wait_until(lambda: _drained(connection) or len(one.messages) + len(two.messages) == 10)
    assert one.messages, "the callbacks of one channel must not take those of the other"
    assert two.messages
    assert sorted(one.bodies() + two.bodies()) == list(range(10))
    for message in one.messages + two.messages:
        message.ack()
    connection.close()
    assert depth(here, "q") == 0


def test_a_consumer_tag_is_the_channels_own(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    _fill(here, 0, "a")
    _fill(here, 0, "b")
    one, two = connection.channel(), connection.channel()
    got: list[tuple[str, Any]] = []
    one.basic_consume("a", consumer_tag="same", callback=lambda m: got.append(("one", m.payload)))
    two.basic_consume("b", consumer_tag="same", callback=lambda m: got.append(("two", m.payload)))
    publish(here, 1, "a")
    publish(here, 2, "b")
    wait_until(lambda: _drained(connection) or len(got) == 2)
    assert sorted(got) == [("one", 1), ("two", 2)]
    two.basic_cancel("same")
    publish(here, 3, "a")
    publish(here, 4, "b")
    wait_until(lambda: _drained(connection) or len(got) == 3)
    assert got[-1] == ("one", 3)
    two.close()
    connection.close()
    assert contents(here, "b") == [2, 4]


def test_two_connections_share_a_queue_and_nothing_comes_twice(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 100)
    inboxes = [Inbox(connect().channel(), "q", prefetch=5) for _ in range(2)]
    got = [message.payload for inbox in inboxes for message in _acked(inbox.take(5))]

    def all_there() -> bool:
        for inbox in inboxes:
            inbox.drain(0.02)
            got.extend(message.payload for message in _acked(inbox.take(len(inbox.messages))))
        return len(got) >= 100

    wait_until(all_there, 30)
    assert sorted(got) == list(range(100))


def _acked(messages: list[Any]) -> list[Any]:
    for message in messages:
        message.ack()
    return messages


def test_one_consumer_of_several_queues(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 5, "a")
    _fill(here, 5, "b")
    inbox = Inbox(connect().channel(), "a", "b", prefetch=1, ack=True)
    messages = inbox.take(10)
    assert sorted((m.delivery_info["routing_key"], m.payload) for m in messages) == [
        (q, n) for q in "ab" for n in range(5)
    ]


def test_a_consumer_that_cancels_gives_back_what_it_has_not_seen(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 20)
    inbox = Inbox(connect().channel(), "q", prefetch=10)
    [first] = inbox.take()
    inbox.consumer.cancel()
    seen = [first, *inbox.messages]
    other = Inbox(connect().channel(), "q")
    assert other.payloads(20 - len(seen)) == list(range(len(seen), 20))
    for message in seen:  # those delivered are still ours
        message.ack()
    inbox.connection.close()
    other.assert_quiet()


def test_consuming_again_after_cancel(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 3)
    inbox = Inbox(there, "q", prefetch=1)
    assert inbox.payloads() == [0]
    inbox.consumer.cancel()
    inbox.assert_quiet()
    inbox.consumer.consume()
    assert [*inbox.payloads(), *inbox.payloads()] == [1, 2]


def test_a_consumer_takes_another_queue_while_it_runs(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 1, "a")
    _fill(here, 1, "b")
    inbox = Inbox(there, "a")
    inbox.payloads()
    inbox.consumer.add_queue(Queue("b"))
    inbox.consumer.consume()
    inbox.payloads()
    inbox.consumer.cancel_by_queue("a")
    publish(here, "a", "a")
    publish(here, "b", "b")
    assert inbox.payloads() == ["b"]
    inbox.assert_quiet()


# settling


def test_ack_multiple(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect()
    _fill(here, 6)
    inbox = Inbox(there.channel(), "q")
    messages = inbox.take(6)
    messages[3].ack(multiple=True)
    there.close()
    assert contents(here, "q") == [4, 5]


def test_an_acked_message_cannot_be_settled_again(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 1)
    [message] = Inbox(there, "q").take()
    message.ack()
    for again in (message.ack, message.reject, message.requeue):
        with pytest.raises(MessageStateError):
            again()
    there.basic_ack(message.delivery_tag)
    there.basic_ack(99)
    there.basic_reject(99, requeue=True)
    there.connection.client.close()
    assert contents(here, "q") == []


def test_reject_ends_a_message(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 2)
    inbox = Inbox(there, "q")
    for message in inbox.take(2):
        message.reject()
    inbox.connection.close()
    assert contents(here, "q") == []


def test_a_requeued_message_keeps_its_place_and_is_flagged(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 4)
    inbox = Inbox(there, "q", prefetch=2)
    first, second = inbox.take(2)
    assert first.delivery_info["redelivered"] is False
    first.requeue()
    [again] = inbox.take()
    assert (again.payload, again.delivery_info["redelivered"]) == (0, True)
    again.requeue()
    second.requeue()
    inbox.consumer.cancel()
    for message in inbox.messages:
        message.requeue()
    got = [here.basic_get("q") for _ in range(4)]
    assert [m.payload for m in got] == [0, 1, 2, 3]
    assert [m.delivery_info["redelivered"] for m in got][:2] == [True, True]


def test_a_requeued_message_goes_to_another_waiting_consumer_at_once(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 1)
    mine = here.basic_get("q")
    inbox = Inbox(connect().channel(), "q")
    inbox.assert_quiet(0.2)
    began = time.monotonic()
    mine.requeue()
    [message] = inbox.take()
    assert inbox.moments[-1] - began < 0.9  # by being woken, not by the next look
    assert message.delivery_info["redelivered"] is True


def test_a_message_counts_its_deliveries(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 1)
    for turn in range(3):
        message = here.basic_get("q")
        assert message.delivery_info["delivery_count"] == turn
        message.requeue()


def test_recover_gives_everything_back(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 3)
    for _ in range(3):
        there.basic_get("q")
    assert depth(here, "q") == 0
    there.basic_recover(requeue=True)
    got = [here.basic_get("q") for _ in range(3)]
    assert [m.payload for m in got] == [0, 1, 2]
    assert all(m.delivery_info["redelivered"] for m in got)


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_close_gives_back_at_once_in_place_and_flagged(connect: MakeConnection, what: str) -> None:
    here, connection = connect().channel(), connect()
    _fill(here, 8)
    channel = connection.channel()
    inbox = Inbox(channel, "q", prefetch=6)
    seen = inbox.take(3)
    seen[1].ack()
    (channel if what == "channel" else connection).close()
    began = time.monotonic()
    got = [wait_until(lambda: here.basic_get("q")) for _ in range(7)]
    assert time.monotonic() - began < 1.5
    assert [m.payload for m in got] == [0, 2, 3, 4, 5, 6, 7]
    assert [m.delivery_info["redelivered"] for m in got[:2]] == [True, True]


def test_a_closed_channel_says_so(connect: MakeConnection) -> None:
    channel = connect().channel()
    declare(channel, "q")
    message = channel.prepare_message("1")
    channel.close()
    for call in (
        lambda: channel.basic_consume("q"),
        lambda: channel.basic_get("q"),
        lambda: channel.basic_publish(message, "", "q"),
        lambda: channel.queue_declare("q"),
        lambda: channel.queue_bind("q", "e", "k"),
        lambda: channel.queue_purge("q"),
    ):
        with pytest.raises(QueueClosed):
            call()
    assert issubclass(QueueClosed, connect().recoverable_connection_errors), "whoever publishes connects anew"


def test_a_channel_that_is_closed_in_the_middle_of_a_call_says_so(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = connect().channel()
    declare(channel, "q")
    numbers = channel._queue.numbers

    def closed_meanwhile(names: Any) -> Any:
        found = numbers(names)
        channel.close()
        return found

    monkeypatch.setattr(channel._queue, "numbers", closed_meanwhile)
    with pytest.raises(QueueClosed):
        channel.basic_consume("q")


def test_a_connection_that_is_released_while_it_is_made_leaves_nothing_open(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection, made = connect(), []
    real = MessageQueue.connect

    def released_meanwhile(queue: MessageQueue) -> None:
        made.append(queue)
        real(queue)
        connection.release()

    monkeypatch.setattr(MessageQueue, "connect", released_meanwhile)
    with pytest.raises(OperationalError, match="released"):
        assert connection.connection
    assert [queue.is_closed for queue in made] == [True]


def test_what_a_channel_lost_with_its_connection_can_be_settled_by_nobody_and_breaks_nothing(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away while the connection is closed: nothing could be given back; its lease ends by itself."""
    channel = connect().channel()
    inbox = Inbox(channel, "q")
    for number in range(2):
        publish(channel, number, "q")
    held = inbox.take(2)
    monkeypatch.setattr(channel, "basic_recover", failing_once(channel.basic_recover))
    channel.connection.close_connection(channel.connection)
    assert channel.connection is None
    assert channel._unacked
    channel.basic_ack(held[0].delivery_tag)
    channel.basic_reject(held[1].delivery_tag, requeue=True)
    channel.basic_cancel(next(iter(channel._consumers), "none"))
    channel.flow(True)
    channel.basic_qos(0, 9)


def test_acks_are_not_lost_by_an_immediate_close(connect: MakeConnection) -> None:
    here = connect().channel()
    _fill(here, 200)
    for _ in range(4):
        connection = connect()
        inbox = Inbox(connection.channel(), "q", prefetch=50)
        for message in inbox.take(50):
            message.ack()
        connection.close()
    assert contents(here, "q") == []


def test_acks_from_other_threads(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(here, 100)
    inbox = Inbox(there, "q", prefetch=20)
    left: list[Any] = []
    lock, end = threading.Lock(), threading.Event()

    def acker() -> None:
        while not end.is_set():
            with lock:
                message = left.pop() if left else None
            if message is None:
                time.sleep(0.001)
            else:
                message.ack()

    threads = [threading.Thread(target=acker) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            taken = inbox.take()
            with lock:
                left.extend(taken)
        wait_until(lambda: not left)
    finally:
        end.set()
        for thread in threads:
            thread.join()
    inbox.connection.close()
    assert contents(here, "q") == []


# processes that die


_HOLDER = """
import sys, time
import kombu_depqueue
from kombu import Connection, Consumer, Exchange, Queue
connection = Connection(sys.argv[1])
channel = connection.channel()
channel.basic_qos(0, int(sys.argv[2]), False)
seen = []
Consumer(channel, [Queue("q")], on_message=seen.append, auto_declare=False).consume()
while len(seen) < int(sys.argv[2]):
    connection.drain_events(timeout=30)
print(len(seen), flush=True)
while True:
    time.sleep(1)
"""


def test_what_a_killed_process_held_comes_back_after_the_lease(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    here = connect().channel()
    _fill(here, 5)
    child = run_process(_HOLDER, f"{broker_url}&lease=2", 3)
    child.heard()
    inbox = Inbox(connect().channel(), "q")
    inbox.take(2)
    # While it lives the lease is renewed.
    inbox.assert_quiet(2.6)
    child.kill()
    killed = time.monotonic()
    messages = inbox.take(3)
    assert time.monotonic() - killed < 2 + 1
    assert sorted(m.payload for m in messages) == [0, 1, 2]
    assert all(m.delivery_info["redelivered"] for m in messages)


_FORKER = """
import os, sys, time
import kombu_depqueue
from kombu import Connection, Consumer, Exchange, Queue
connection = Connection(sys.argv[1])
channel = connection.channel()
channel.basic_qos(0, 2, False)
seen = []
Consumer(channel, [Queue("q")], on_message=seen.append, auto_declare=False).consume()
while len(seen) < 2:
    connection.drain_events(timeout=30)
child = os.fork()
if child == 0:
    # What Celery's children do: drop what they inherited, and publish on connections of their own.
    connection.collect()
    with Connection(sys.argv[1]) as mine:
        mine.Producer().publish("from the child", routing_key="child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(1, flush=True)
sys.stdin.readline()
for message in seen:
    message.ack()
connection.close()
print(2, flush=True)
"""


def test_a_forked_child_leaves_the_parents_messages_alone(
    connect: MakeConnection, broker_url: str, run_process: RunProcess
) -> None:
    here = connect().channel()
    _fill(here, 2)
    parent = run_process(_FORKER, f"{broker_url}&lease=5")
    parent.heard()
    assert contents(here, "child") == ["from the child"]
    assert here.basic_get("q") is None, "the child gave away what its parent holds"
    parent.tell()
    parent.heard()
    parent.wait()
    assert contents(here, "q") == []


# a loop as users write it


class _Mixin(ConsumerMixin):
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.got: list[Any] = []

    def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
        return [consumer(queues=[Queue("q")], callbacks=[self.on_task])]

    def on_task(self, body: Any, message: Any) -> None:
        self.got.append(body)
        message.ack()


def test_a_consumer_mixin(connect: MakeConnection) -> None:
    loop = _Mixin(connect())
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        channel = connect().channel()
        for n in range(20):
            publish(channel, n, "q")
        wait_until(lambda: len(loop.got) == 20)
    finally:
        loop.should_stop = True
        thread.join(20)
    assert not thread.is_alive()
    assert loop.got == list(range(20))
    loop.connection.release()
    assert depth(channel, "q") == 0


@pytest.mark.only("postgresql")
def test_only_what_does_not_last_is_published_without_waiting_for_the_disk(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = connect().channel()
    declare(channel, "kept")
    bind(channel, "events", {"kept": ["e"]})
    Queue("fleeting", Exchange("events"), "e", auto_delete=True, durable=False)(channel).declare()
    said = overheard(monkeypatch)
    for exchange, key, waits in (("", "fleeting", False), ("", "kept", True), ("events", "e", True)):
        said.clear()
        channel.basic_publish(channel.prepare_message("1", content_type="text/plain"), exchange, key)
        [insert] = [sql for sql in said if "INSERT" in sql]
        assert ("synchronous_commit" in insert) is not waits
    assert contents(channel, "fleeting") == ["1", "1"]
    assert contents(channel, "kept") == ["1", "1"]
    cursor = channel.connection.queue._database.connect()
    assert cursor.dbapi_connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
    cursor.close()


@pytest.mark.parametrize("prefetch", [1, 4])
def test_what_was_fetched_ahead_is_neither_delivered_too_early_nor_kept_from_others(
    connect: MakeConnection, prefetch: int
) -> None:
    """While acks come fast, more is fetched than the prefetch count; it goes back as soon as they stop."""
    here, there = connect().channel(), connect().channel()
    for n in range(300):
        publish(there, n, "q")
    first = Inbox(here, "q", prefetch=prefetch)
    for _ in range(200):
        [message] = first.take(1)
        assert 1 + len(first.messages) <= prefetch
        message.ack()
    first.drain(0.3)  # acks nothing more
    assert len(first.messages) == prefetch
    second = Inbox(there, "q", prefetch=1000)
    rest = second.take(300 - 200 - prefetch)
    assert [m.payload for m in rest] == list(range(200 + prefetch, 300))
    assert not any(m.delivery_info["redelivered"] for m in rest)


@pytest.mark.parametrize(("prefetch", "messages"), [(0, 1), (16, 16), (1, 1)])
def test_an_ack_is_stored_soon(connect: MakeConnection, broker_url: str, prefetch: int, messages: int) -> None:
    """Long before its connection would look by itself."""
    here, there = connect(f"{broker_url}&poll_interval=30").channel(), connect().channel()
    for n in range(messages):
        publish(there, n, "q")
    inbox = Inbox(here, "q", prefetch=prefetch)
    first, *_ = inbox.take(messages)
    wait_until(lambda: here.connection.deliveries._dozing)
    first.ack()
    job_id = first.delivery_info["job_id"]
    wait_until(lambda: there.connection.queue.status(job_id).state == "succeeded", 3)


def test_an_ack_after_the_lease_and_before_another_has_the_job_counts(connect: MakeConnection) -> None:
    """Also if it travels with a claim that could have the job itself."""
    channel = connect().channel()
    declare(channel, "q")
    for n in range(3):
        publish(channel, n, "q")
    queue = channel.connection.queue
    [number] = queue.numbers(["q"])
    held = queue.claim([number], 3)
    queue._store.rejoin(queue.consumer, "me", -1.0, [])  # as if its lease had run out
    assert queue._store.rescue(grace=60.0) == {number}
    lost, claimed = queue.ack_and_claim(held, [number], 10)
    assert (lost, claimed) == ([], [])
    assert depth(channel, "q") == 0


def test_what_could_not_be_given_back_is_given_back_later(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = connect().channel(), connect().channel()
    for n in range(5):
        publish(there, n, "q")
    inbox = Inbox(here, "q")
    wait_until(lambda: here.buffered == 5)
    queue = here.connection.queue
    monkeypatch.setattr(queue, "give_back", failing_once(queue.give_back))
    with pytest.raises(StorageError):
        inbox.consumer.cancel()
    assert Inbox(there, "q").payloads(5) == list(range(5))


@pytest.mark.parametrize("error", [StorageError("wanted"), RuntimeError("a bug")])
def test_an_ack_that_fails_is_not_forgotten(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    here, there = connect().channel(), connect().channel()
    _fill(there, 3)
    inbox = Inbox(here, "q")
    messages = inbox.take(3)
    store = here.connection.queue._store
    for name in ("ack_many", "_ack_and_claim"):
        monkeypatch.setattr(store, name, failing_once(getattr(store, name), error))
    for message in messages:
        message.ack()
    wait_until(lambda: [q.leased for q in there.connection.queue.queues() if q.name == "q"] == [0])
    assert depth(there, "q") == 0


def test_recovering_goes_on_with_what_was_fetched_ahead(
    connect: MakeConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event loop hears of it, though nothing can be fetched."""
    monkeypatch.setattr(delivery, "RESERVE", 1e9)
    channel = connect().channel()
    for n in range(4):
        publish(channel, n, "q")
    inbox = Inbox(channel, "q", prefetch=4)
    wait_until(lambda: channel.buffered == 4)
    channel.basic_qos(0, 2, False)  # two of them are too many now, as those fetched ahead are
    assert [m.payload for m in inbox.take(2)] == [0, 1]
    deliveries = channel.connection.deliveries
    deliveries.clear_signal()
    assert deliveries.take() is None
    channel.basic_recover(requeue=True)
    assert select.select([deliveries.fileno], [], [], 10)[0]
    assert [m.payload for m in inbox.take(2)] == [2, 3]


def test_a_name_with_nul_is_nobodys(connect: MakeConnection) -> None:
    channel = connect().channel()
    bind(channel, "orders", {"q": ["k"]})
    for call in (
        lambda: channel.exchange_delete("orders\0old"),
        lambda: channel.queue_bind("q", "orders\0old", "k"),
        lambda: channel.queue_unbind("q", "orders\0old", "k"),
    ):
        with pytest.raises(InvalidJob):
            call()
    publish(channel, 1, exchange="orders", routing_key="k")
    assert contents(channel, "q") == [1]
