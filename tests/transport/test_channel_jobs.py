"""One job, two doors: what a native producer enqueues a Kombu consumer reads, and the other way round; dependencies."""

from __future__ import annotations

import threading
import time
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from transport_helpers import Inbox, MakeConnection, bind, contents, declare, depth, publish

from kombu_depqueue import Dependency, JobMessage, JobState, new_job_id
from kombu_depqueue.errors import DepQueueError, Duplicate, Empty, InvalidJob, NotExist
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import wait_for_state, wait_until

# native -> Kombu


def test_a_native_job_is_a_json_message(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue = make_queue()
    job_id = queue.enqueue("q", {"n": [1, None]}, priority=4, headers={"mine": "ü"})
    message = connect().channel().basic_get("q")
    assert message.payload == {"n": [1, None]}
    assert (message.content_type, message.content_encoding) == ("application/json", "utf-8")
    assert message.headers["mine"] == "ü"
    assert message.delivery_info["job_id"] == str(job_id)
    assert message.delivery_info["routing_key"] == "q"
    assert message.delivery_info["priority"] == 4
    assert queue.status(job_id).state == JobState.LEASED
    message.ack()
    wait_for_state(queue, job_id, JobState.SUCCEEDED)


def test_a_native_job_with_a_body(connect: MakeConnection, make_queue: MakeQueue) -> None:
    make_queue().enqueue("q", body=b"\x00\xff", content_type="application/octet-stream")
    message = connect().channel().basic_get("q")
    assert message.body == b"\x00\xff"
    assert message.content_type == "application/octet-stream"


def test_native_priorities_delays_and_kombus_are_one_order(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    queue.enqueue("q", "native 1", priority=1)
    publish(channel, "kombu 9", "q", priority=9)
    queue.enqueue("q", "native 200", priority=200)
    publish(channel, "kombu 1", "q", priority=1)
    queue.enqueue("q", "native 0, late", delay=4.0)
    publish(channel, "kombu 255, late", "q", priority=255, headers={"x-delay": 3000})
    inbox = Inbox(connect().channel(), "q")
    got = [m.payload for m in inbox.take(6)]
    assert got[:4] == ["native 200", "kombu 9", "native 1", "kombu 1"]
    assert got[4:] == ["kombu 255, late", "native 0, late"]


def test_a_waiting_kombu_consumer_is_woken_by_a_native_job(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue = make_queue()
    inbox = Inbox(connect().channel(), "q")
    inbox.assert_quiet(0.3)
    sent = time.monotonic()
    queue.enqueue("q", 1)
    assert inbox.payloads() == [1]
    assert inbox.moments[-1] - sent < 0.9


def test_rejecting_and_requeueing_a_native_job(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    job_id = queue.enqueue("q", 1, max_attempts=2)
    channel.basic_get("q").requeue()
    again = channel.basic_get("q")
    assert again.delivery_info["redelivered"] is True
    again.reject()
    status = queue.status(job_id)
    assert (status.state, status.attempt) == (JobState.FAILED, 2)
    used_up = queue.enqueue("q", 2, max_attempts=1)
    channel.basic_get("q").requeue()
    assert queue.status(used_up).state == JobState.FAILED
    assert channel.basic_get("q") is None


# Kombu -> native


def test_a_message_is_a_native_reservation(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    publish(channel, {"n": 1}, "q", headers={"mine": "ü"}, priority=3)
    reservation = queue.reserve(5, queues=["q"])
    assert reservation.args == {"n": 1}
    assert reservation.job_type == "q"
    assert reservation.headers["mine"] == "ü"
    assert reservation.message.priority == 3
    assert queue.status(reservation.job_id).state == JobState.LEASED
    reservation.ack({"result": 1})
    assert queue.status(reservation.job_id).result == {"result": 1}
    assert depth(_declared(channel), "q") == 0


def _declared(channel: Any) -> Any:
    declare(channel, "q")
    return channel


def test_a_pickled_message_is_a_native_reservation_with_a_body(connect: MakeConnection, make_queue: MakeQueue) -> None:
    publish(connect().channel(), {1, 2}, "q", serializer="pickle")
    reservation = make_queue().reserve(5, queues=["q"])
    assert reservation.content_type == "application/x-python-serialize"
    assert reservation.body.startswith(b"\x80")
    with pytest.raises(InvalidJob):
        _ = reservation.args


def test_a_broadcast_message_is_not_a_job(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    bind(channel, "all", {"a": [""], "b": [""]}, "fanout")
    before = set(queue.all_root_jobs())
    publish(channel, 1, exchange="all", routing_key="")
    assert channel.basic_get("a").delivery_info["job_id"] is None
    assert set(queue.all_root_jobs()) == before


def test_a_delayed_message_is_a_scheduled_job(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, job_id = make_queue(), new_job_id()
    publish(connect().channel(), 1, "q", headers={"x-delay": 600, "x-job-id": str(job_id)})
    assert queue.status(job_id).state == JobState.SCHEDULED
    with pytest.raises(Empty):
        queue.reserve(0, queues=["q"])
    assert queue.reserve(5, queues=["q"]).job_id == job_id


def test_canceling_a_message_by_its_job_id(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, job_id, channel = make_queue(), new_job_id(), connect().channel()
    publish(channel, 1, "q", headers={"x-job-id": str(job_id)})
    publish(channel, 2, "q")
    assert queue.cancel(job_id)
    assert contents(channel, "q") == [2]


def test_a_canceled_message_can_still_be_settled(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, job_id, channel = make_queue(), new_job_id(), connect().channel()
    publish(channel, 1, "q", headers={"x-job-id": str(job_id)})
    message = channel.basic_get("q")
    assert queue.cancel(job_id)
    message.ack()
    assert queue.status(job_id).state == JobState.CANCELED


def test_an_id_that_is_taken_is_refused(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    job_id = queue.enqueue("q", 1)
    with pytest.raises(Duplicate):
        publish(channel, 2, "q", headers={"x-job-id": str(job_id)})
    assert contents(channel, "q") == [1]


def test_an_id_that_is_no_uuid_is_always_the_same_job(connect: MakeConnection) -> None:
    channel = connect().channel()
    publish(channel, 1, "q", headers={"x-job-id": "order 17"})
    with pytest.raises(Duplicate):
        publish(channel, 2, "q", headers={"x-job-id": "order 17"})
    assert contents(channel, "q") == [1]


# Celery's ids


def _task(task_id: str, **headers: Any) -> dict[str, Any]:
    return {"task": "t", "id": task_id, **headers}


def test_a_celery_message_uses_the_task_id(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel, task_id = make_queue(), connect().channel(), str(uuid4())
    publish(channel, 1, "q", headers=_task(task_id), correlation_id="other")
    assert str(queue.reserve(5, queues=["q"]).job_id) == task_id


def test_a_celery_retry_is_a_new_delivery_of_the_same_job(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel, task_id = make_queue(), connect().channel(), str(uuid4())
    publish(channel, "first", "q", headers=_task(task_id))
    held = channel.basic_get("q")
    dependent = queue.enqueue("after", depends_on=[task_id])
    publish(channel, "retry", "q", headers=_task(task_id, retries=1))
    held.ack()  # as Celery does: first publish, then ack; the older delivery is void
    assert queue.status(task_id).state == JobState.READY
    assert queue.status(dependent).state == JobState.BLOCKED
    again = channel.basic_get("q")
    assert again.payload == "retry"
    again.ack()
    wait_for_state(queue, dependent, JobState.READY)


def test_a_retry_published_while_the_older_delivery_is_acked(
    connect: MakeConnection, make_queue: MakeQueue, engine: Engine
) -> None:
    """Celery publishes a retry (or a replacement) while its own ack of the first is on the way."""
    queue, channel, task_id = make_queue(), connect().channel(), str(uuid4())
    for turn in range(2):
        publish(channel, turn, "q", headers=_task(task_id))
        reservation = queue.reserve(10, queues=["q"])
        with engine.connect() as connection:
            reservation.ack(connection=connection)
            thread = threading.Thread(target=publish, args=(channel, "again", "q"), kwargs={"headers": _task(task_id)})
            thread.start()
            thread.join(0.3)  # it waits for the id
            connection.commit()
        thread.join(20)
        again = channel.basic_get("q")
        assert again.payload == "again"
        again.ack()
        wait_for_state(queue, task_id, JobState.SUCCEEDED)


# dependencies


def test_a_message_waits_for_its_dependencies(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, here, there = make_queue(), connect().channel(), connect().channel()
    first, second = str(new_job_id()), str(new_job_id())
    publish(here, "first", "a", headers={"x-job-id": first})
    publish(here, "second", "b", headers={"x-job-id": second})
    publish(here, "third", "q", headers={"depends_on": [first, second, first]})
    inbox = Inbox(there, "q")
    inbox.assert_quiet(0.3)
    assert contents(here, "a") == ["first"]
    inbox.assert_quiet(0.3)
    acked = time.monotonic()
    assert contents(here, "b") == ["second"]
    assert inbox.payloads() == ["third"]
    assert inbox.moments[-1] - acked < 2
    assert queue.status(first).state == JobState.SUCCEEDED


def test_an_ack_behind_the_back_releases_dependents_too(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    first = str(new_job_id())
    publish(here, 1, "a", headers={"x-job-id": first})
    publish(here, 2, "b", headers={"depends_on": first})
    inbox = Inbox(connection.channel(), "a", "b")
    assert inbox.payloads() == [1]
    assert inbox.payloads() == [2]


@pytest.mark.parametrize(
    ("policy", "end", "runs"),
    [
        (None, "ack", True),
        (None, "reject", True),
        ("succeeded", "ack", True),
        ("succeeded", "reject", False),
        ("failed", "reject", True),
        ("failed", "ack", False),
        ("terminal", "cancel", True),
        (None, "cancel", False),
    ],
)
def test_policies_in_the_header(
    connect: MakeConnection, make_queue: MakeQueue, policy: str | None, end: str, runs: bool
) -> None:
    queue, channel = make_queue(), connect().channel()
    first, second = str(new_job_id()), str(new_job_id())
    publish(channel, 1, "a", headers={"x-job-id": first})
    depends_on: Any = [first] if policy is None else [{"id": first, "policy": policy}]
    publish(channel, 2, "b", headers={"x-job-id": second, "depends_on": depends_on})
    if end == "cancel":
        queue.cancel(first)
    else:
        getattr(channel.basic_get("a"), end)()
    wait_for_state(queue, second, JobState.READY if runs else JobState.CANCELED)
    assert contents(channel, "b") == ([2] if runs else [])


def test_a_policy_for_all_dependencies_and_hold(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    first, second = str(new_job_id()), str(new_job_id())
    publish(channel, 1, "a", headers={"x-job-id": first})
    headers = {"x-job-id": second, "depends_on": [first], "dependency_policy": "succeeded", "on_unmet": "hold"}
    publish(channel, 2, "b", headers=headers)
    channel.basic_get("a").reject()
    queue.maintain()
    assert queue.status(second).state == JobState.BLOCKED
    assert [str(one.job_id) for one in queue.why(second).never] == [first]


@pytest.mark.parametrize("given", [["0198b5c0-0000-7000-8000-00000000dead"], "no such job", [{"id": "nobody"}]])
def test_an_unknown_dependency_is_refused_at_the_call(connect: MakeConnection, given: Any) -> None:
    channel = connect().channel()
    with pytest.raises(NotExist):
        publish(channel, 1, "q", headers={"depends_on": given})
    assert contents(channel, "q") == []


@pytest.mark.parametrize("given", [7, [7], [None], [[]], [{}], [{"id": 7}], [["a", "b", "c"]], [""], b"x", True])
def test_dependencies_that_make_no_sense_are_refused_at_the_call(connect: MakeConnection, given: Any) -> None:
    channel = connect().channel()
    with pytest.raises(InvalidJob, match=r"depends_on|headers"):
        publish(channel, 1, "q", headers={"depends_on": given})
    assert contents(channel, "q") == []


def test_an_unknown_policy_and_self_dependency_are_refused(connect: MakeConnection) -> None:
    channel, first = connect().channel(), str(new_job_id())
    publish(channel, 1, "q", headers={"x-job-id": first})
    for headers in (
        {"depends_on": [{"id": first, "policy": "suceeded"}]},
        {"depends_on": [first], "dependency_policy": "whenever"},
        {"depends_on": ["me"], "x-job-id": "me"},
    ):
        with pytest.raises(InvalidJob):
            publish(channel, 2, "q", headers=headers)
    assert contents(channel, "q") == [1]


def test_dependencies_across_the_doors(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    native = queue.enqueue("native", 1)
    publish(channel, 2, "kombu", headers={"x-job-id": "middle", "depends_on": [str(native)]})
    middle = wait_until(lambda: [i for i in queue.all_root_jobs() if i != native])[0]
    last = queue.enqueue("native", 3, depends_on=[Dependency(middle, None)])
    assert channel.basic_get("kombu") is None
    queue.reserve(5, queues=["native"]).ack({"some": "result"})
    message = wait_until(lambda: channel.basic_get("kombu"))
    assert queue.status(last).state == JobState.BLOCKED
    message.ack()
    reservation = queue.reserve(5, queues=["native"])
    assert (reservation.job_id, reservation.args, reservation.depends_on) == (last, 3, (middle,))


def test_a_batch_with_dependencies_within_itself(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    producer = connection.Producer(routing_key="q")
    with producer.batch(max_size=10):
        producer.publish("first", headers={"x-job-id": "one"})
        producer.publish("second", headers={"x-job-id": "two", "depends_on": ["one"]})
    first = here.basic_get("q")
    assert first.payload == "first"
    assert here.basic_get("q") is None
    first.ack()
    assert wait_until(lambda: here.basic_get("q")).payload == "second"


def test_a_batch_with_an_error_is_not_published_at_all(connect: MakeConnection) -> None:
    here, connection = connect().channel(), connect()
    producer = connection.Producer(routing_key="q")

    def publish_both() -> None:
        with producer.batch(max_size=10):
            producer.publish("first")
            producer.publish("second", headers={"depends_on": ["nobody"]})

    with pytest.raises(NotExist):
        publish_both()
    assert contents(here, "q") == []


def test_fan_in_and_fan_out(connect: MakeConnection, make_queue: MakeQueue) -> None:
    queue, channel = make_queue(), connect().channel()
    jobs = [JobMessage.new("q", n) for n in range(300)]
    queue.enqueue_many(jobs)
    publish(channel, "all", "sum", headers={"depends_on": [str(j.job_id) for j in jobs]})
    inbox = Inbox(connect().channel(), "q", "sum", prefetch=50, ack=True)
    messages = inbox.take(301, 30)
    assert messages[-1].payload == "all"


def test_a_broadcast_cannot_depend_on_anything(connect: MakeConnection) -> None:
    """Its copies are plain messages: the header is ignored, not half obeyed."""
    channel = connect().channel()
    bind(channel, "all", {"a": [""], "b": [""]}, "fanout")
    publish(channel, 1, "", exchange="all", headers={"depends_on": ["nobody"]})
    assert (contents(channel, "a"), contents(channel, "b")) == ([1], [1])


def test_errors_of_the_database_are_of_our_tree(connect: MakeConnection) -> None:
    channel = connect().channel()
    with pytest.raises(DepQueueError) as refused:
        publish(channel, 1, "q", headers={"depends_on": ["nobody"]})
    assert "no such job" in str(refused.value)
