"""Exchanges and bindings: as AMQP 0-9-1 has them, and seen by all connections."""

from __future__ import annotations

import pytest
from amqp.exceptions import ChannelError
from kombu import Exchange, Queue
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue.errors import DepQueueError


def test_direct_exchange_routes_by_the_whole_key(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"a": ["red"], "b": ["red", "blue"], "c": ["re"]})
    for key in ("red", "blue", "green", "", "RED", "red.x"):
        publish(there, key, exchange="ex", routing_key=key)
    assert contents(here, "a") == ["red"]
    assert contents(here, "b") == ["red", "blue"]
    assert contents(here, "c") == []


TOPICS = {
    "*": ["a", "b"],
    "#": ["", "a", "b", "a.b", "a.b.c", "a.b.c.d", "b.a", "a..b"],
    "a.b": ["a.b"],
    "a.*": ["a.b"],
    "*.b": ["a.b"],
    "*.*": ["a.b", "b.a"],
    "a.#": ["a", "a.b", "a.b.c", "a.b.c.d", "a..b"],
    "#.b": ["b", "a.b", "a..b"],
    "a.#.b": ["a.b", "a..b"],
    "a.#.d": ["a.b.c.d"],
    "#.*": ["a", "b", "a.b", "a.b.c", "a.b.c.d", "b.a", "a..b"],
    "a.*.b": ["a..b"],
    "a.*.#": ["a.b", "a.b.c", "a.b.c.d", "a..b"],
    "#.#": ["", "a", "b", "a.b", "a.b.c", "a.b.c.d", "b.a", "a..b"],
    "A": [],
    "a*": [],
    "a.%": [],
    "a._": [],
}
KEYS = ["", "a", "b", "a.b", "a.b.c", "a.b.c.d", "b.a", "a..b"]


def test_topic_exchange_routes_by_words(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "topic", {f"q {pattern}": [pattern] for pattern in TOPICS}, "topic")
    for key in KEYS:
        publish(there, key, exchange="topic", routing_key=key)
    for pattern, wanted in TOPICS.items():
        assert contents(here, f"q {pattern}") == wanted, pattern


def test_fanout_exchange_reaches_every_queue_whatever_the_key(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "all", {"a": [""], "b": ["some key"], "c": ["other"]}, "fanout")
    publish(there, 1, exchange="all", routing_key="nobody.has.this")
    publish(there, 2, exchange="all", routing_key="")
    for queue in "abc":
        assert contents(here, queue) == [1, 2]


@pytest.mark.parametrize(("kind", "keys"), [("direct", ["k", "k"]), ("topic", ["#", "k", "*"]), ("fanout", ["", "k"])])
def test_a_queue_bound_twice_gets_a_message_once(connect: MakeConnection, kind: str, keys: list[str]) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"q": keys}, kind)
    publish(channel, "once", exchange="ex", routing_key="k")
    assert contents(channel, "q") == ["once"]


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
def test_topology_outlives_the_connection_that_declared_it(connect: MakeConnection, kind: str) -> None:
    first = connect()
    bind(first.channel(), "ex", {"a": ["x.y"], "b": ["x.y", "z"]}, kind)
    first.close()
    # Nothing is declared here: the types and bindings are the database's.
    publish(connect().channel(), "kept", exchange="ex", routing_key="x.y")
    third = connect().channel()
    assert (contents(third, "a"), contents(third, "b")) == (["kept"], ["kept"])


def test_an_exchange_keeps_its_type(connect: MakeConnection) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"a": ["x"]}, "fanout")
    with pytest.raises(ChannelError, match="PRECONDITION_FAILED") as refused:
        connect().channel().exchange_declare("ex", "direct")
    assert refused.value.reply_code == 406
    channel.exchange_declare("ex", "fanout", durable=True, auto_delete=False)
    publish(channel, 1, exchange="ex", routing_key="other")
    assert contents(channel, "a") == [1]


def test_an_unknown_exchange_type_is_refused(connect: MakeConnection) -> None:
    with pytest.raises(ChannelError, match="headers"):
        connect().channel().exchange_declare("ex", "headers")


def test_passive_declare_of_an_exchange(connect: MakeConnection) -> None:
    channel = connect().channel()
    with pytest.raises(ChannelError, match="NOT_FOUND") as refused:
        Exchange("missing", channel=channel).declare(passive=True)
    assert refused.value.reply_code == 404
    channel.exchange_declare("there", "topic")
    Exchange("there", "topic", channel=connect().channel()).declare(passive=True)


def test_unbind_ends_it_for_every_connection(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"a": ["x", "y"], "b": ["x"]})
    publish(there, 1, exchange="ex", routing_key="x")
    here.queue_unbind("a", "ex", "x")
    publish(there, 2, exchange="ex", routing_key="x")
    publish(there, 3, exchange="ex", routing_key="y")
    assert contents(here, "a") == [1, 3]
    assert contents(here, "b") == [1, 2]
    here.queue_unbind("a", "ex", "never was")
    here.queue_unbind("missing", "ex", "x")


def test_bound_again_after_unbind(connect: MakeConnection) -> None:
    channel = connect().channel()
    queue = Queue("q", Exchange("ex", "direct"), routing_key="k", channel=channel)
    queue.declare()
    queue.unbind_from(Exchange("ex"), "k")
    publish(channel, "lost", exchange="ex", routing_key="k")
    queue.bind_to("ex", "k")
    publish(channel, "found", exchange="ex", routing_key="k")
    assert contents(channel, "q") == ["found"]


def test_deleting_an_exchange_leaves_queues_and_messages(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"a": ["x"], "b": ["x"]}, "topic")
    publish(there, 1, exchange="ex", routing_key="x")
    here.exchange_delete("ex")
    with pytest.raises(ChannelError, match="NOT_FOUND") as refused:
        publish(there, 2, exchange="ex", routing_key="x")
    assert refused.value.reply_code == 404
    assert (contents(here, "a"), contents(here, "b")) == ([1], [1])
    # Declared anew it has no bindings, and may be of another type.
    here.exchange_declare("ex", "direct")
    publish(there, 3, exchange="ex", routing_key="x")
    assert contents(here, "a") == []
    here.exchange_delete("missing")


def test_deleting_an_exchange_only_if_unused(connect: MakeConnection) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"a": ["x"]})
    with pytest.raises(ChannelError, match="PRECONDITION_FAILED"):
        channel.exchange_delete("ex", if_unused=True)
    publish(channel, 1, exchange="ex", routing_key="x")
    assert contents(channel, "a") == [1]
    channel.queue_unbind("a", "ex", "x")
    channel.exchange_delete("ex", if_unused=True)
    with pytest.raises(ChannelError):
        channel.exchange_declare("ex", passive=True)


def test_binding_needs_exchange_and_queue(connect: MakeConnection) -> None:
    channel = connect().channel()
    channel.queue_declare("q")
    with pytest.raises(ChannelError, match="exchange 'missing'"):
        channel.queue_bind("q", "missing", "k")
    channel.exchange_declare("ex", "direct")
    with pytest.raises(ChannelError, match="queue 'missing'"):
        channel.queue_bind("missing", "ex", "k")


def test_publishing_to_an_exchange_without_matching_binding_is_no_error(connect: MakeConnection) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"a": ["x"]})
    publish(channel, 1, exchange="ex", routing_key="y")
    assert contents(channel, "a") == []


def test_mandatory_messages_must_be_routable(connect: MakeConnection) -> None:
    channel = connect().channel()
    bind(channel, "ex", {"a": ["x"]})
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        publish(channel, 1, exchange="ex", routing_key="y", mandatory=True)
    publish(channel, 2, exchange="ex", routing_key="x", mandatory=True)
    assert contents(channel, "a") == [2]


def test_transient_messages_are_heard_soon_after_the_first_binding(connect: MakeConnection) -> None:
    """Events that nobody hears are not written; a listener must not wait long for all that."""
    channel = connect().channel()
    channel.exchange_declare("events", "topic")
    publish(channel, 0, exchange="events", routing_key="worker.heartbeat", delivery_mode=1)
    inbox_channel = connect().channel()
    bind(inbox_channel, "events", {"listener": ["worker.#"]}, "topic")
    inbox = Inbox(inbox_channel, "listener", no_ack=True)
    for n in range(1, 60):
        publish(channel, n, exchange="events", routing_key="worker.heartbeat", delivery_mode=1)
        inbox.drain(0.05)
        if inbox.messages:
            break
    assert inbox.messages, "not heard within 3 s"
    assert 0 not in inbox.bodies()


def test_messages_without_route_go_to_the_deadletter_queue_if_there_is_one(connect: MakeConnection) -> None:
    channel = connect(transport_options={"deadletter_queue": "lost"}).channel()
    bind(channel, "ex", {"a": ["x"]})
    publish(channel, 1, exchange="ex", routing_key="nobody")
    publish(channel, 2, exchange="ex", routing_key="x")
    assert (contents(channel, "lost"), contents(channel, "a")) == ([1], [2])


def test_queue_name_prefix_keeps_applications_apart(connect: MakeConnection) -> None:
    one = connect(transport_options={"queue_name_prefix": "one-"}).channel()
    two = connect(transport_options={"queue_name_prefix": "two-"}).channel()
    for channel in (one, two):
        declare(channel, "q")
    publish(one, 1, "q")
    assert depth(two, "q") == 0
    assert contents(one, "q") == [1]
    publish(two, 2, "q")
    plain = connect().channel()
    assert contents(plain, "two-q") == [2]


def test_exchange_to_exchange_bindings_are_not_offered(connect: MakeConnection) -> None:
    channel = connect().channel()
    with pytest.raises(NotImplementedError):
        channel.exchange_bind("a", "b", "k")


def test_bindings_can_be_listed(connect: MakeConnection) -> None:
    connection = connect()
    bind(connection.channel(), "ex", {"a": ["x", "y"]})
    found = {(b["destination"], b["source"], b["routing_key"]) for b in connection.get_manager().get_bindings()}
    assert found == {("a", "ex", "x"), ("a", "ex", "y")}


def test_a_deleted_queue_is_bound_no_more(connect: MakeConnection) -> None:
    here, there = connect().channel(), connect().channel()
    bind(here, "ex", {"a": ["x"]}, "fanout")
    publish(there, 1, exchange="ex", routing_key="")
    here.queue_delete("a")
    publish(there, 2, exchange="ex", routing_key="")
    here.queue_declare("a")
    assert contents(here, "a") == []


@pytest.mark.parametrize("name", ["x" * 300, "nul\0nul", "\ud800"])
def test_impossible_names_are_refused_before_anything_is_written(connect: MakeConnection, name: str) -> None:
    channel = connect().channel()
    channel.exchange_declare("ex", "direct")
    channel.queue_declare("q")
    calls = [
        lambda: channel.exchange_declare(name, "direct"),
        lambda: channel.queue_declare(name),
        lambda: channel.queue_bind("q", "ex", name),
        lambda: publish(channel, 1, exchange=name, routing_key="k"),
        lambda: publish(channel, 1, exchange="ex", routing_key=name),
        lambda: publish(channel, 1, routing_key=name),
        lambda: Inbox(channel, name),
        lambda: channel.basic_get(name),
    ]
    for call in calls:
        with pytest.raises(DepQueueError):
            call()
    publish(channel, "still well", "q")
    assert contents(channel, "q") == ["still well"]
    assert connect().channel().list_bindings() == []
