"""Outcomes told otherwise than by an ack: what an adapter builds on, without Celery."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from kombu import Connection
from transport_helpers import broker_of

from kombu_depqueue import JobState, NotExist, Policy, StorageError
from kombu_depqueue.dialects.steps import Ending, Key
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.schema import Flag
from kombu_depqueue.testing.helpers import wait_until
from kombu_depqueue.transport import conclude
from kombu_depqueue.transport.codec import AWAITED, JOINS, PROMISED, Message
from kombu_depqueue.transport.pipe import Pipe, Told
from kombu_depqueue.transport.settlements import Settlements

MakeMessages = Callable[..., MessageQueue]


@pytest.fixture
def make_messages(database_url: str) -> Iterator[MakeMessages]:
    with ExitStack() as stack:

        def make(**options: Any) -> MessageQueue:
            return stack.enter_context(MessageQueue(database_url, create=True, **options))

        yield make


@pytest.fixture
def queue(make_messages: MakeMessages) -> MessageQueue:
    return make_messages()


@pytest.fixture
def channel(database_url: str) -> Iterator[Any]:
    with Connection(broker_of(database_url)) as connection:
        yield connection.channel()


def publish(channel: Any, body: Any = None, queue: str = "q", **properties: Any) -> UUID:
    """A task as Celery sends it; returns its id."""
    task_id = properties.pop("task_id", None) or str(uuid4())
    headers = {"task": "t", "id": task_id}
    message = channel.prepare_message(str(body or "[]"), content_type="application/json", content_encoding="utf-8")
    message["headers"], message["properties"] = headers, {**message["properties"], **properties}
    channel.queue_declare(queue)
    channel.basic_publish(message, "", queue)
    return UUID(task_id)


def consume(channel: Any, queue: str = "q") -> list[Message]:
    """What a consumer is given, as it comes; the list grows while `drain` runs."""
    got: list[Message] = []
    channel.basic_consume(queue, callback=got.append)
    return got


def drain(channel: Any, condition: Callable[[], object]) -> None:
    def look() -> object:
        with suppress(TimeoutError):
            channel.connection.client.drain_events(timeout=0.05)
        return condition()

    wait_until(look)


def token_of(message: Message) -> str:
    return str(message.properties["delivery_info"]["lease_token"])


# told after the ack, or before


@pytest.mark.parametrize("told_first", [True, False])
@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED])
def test_the_outcome_ends_the_job_and_the_ack_does_not(
    channel: Any, queue: MessageQueue, told_first: bool, state: JobState
) -> None:
    job = publish(channel)
    waiting = publish(channel, queue="other", depends_on=[{"id": str(job), "policy": "terminal"}])
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    ending = queue.ending(state, result=b"7", meta=b'{"more": 1}', reason="because")
    if told_first:
        assert conclude(token_of(got[0]), job, ending)
        time.sleep(0.05)
        assert queue.status(job).state is JobState.LEASED
        got[0].ack()
    else:
        got[0].ack()
        wait_until(lambda: queue.status(job).state is JobState.RUNNING)
        assert queue.status(waiting).state is JobState.BLOCKED
        assert conclude(token_of(got[0]), job, ending)
    wait_until(lambda: queue.status(job).state is state)
    found = queue.outcomes([job])[job]
    assert (found.result, found.meta, found.reason) == (
        b"7",
        b'{"more": 1}',
        "because" if state != "succeeded" else found.reason,
    )
    wait_until(lambda: queue.status(waiting).state is JobState.READY)
    deliveries = channel.connection.deliveries
    wait_until(lambda: not deliveries.settlements._endings and not deliveries.settlements._running)
    assert not channel._owing
    assert not channel._queue._keeper.held


def test_the_first_word_counts(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel)
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    conclude(token_of(got[0]), job, queue.ending(JobState.SUCCEEDED, result=b"1"))
    conclude(token_of(got[0]), job, queue.ending(JobState.FAILED, reason="too late"))
    got[0].ack()
    wait_until(lambda: queue.status(job).state is JobState.SUCCEEDED)
    assert not queue.conclude(job, queue.ending(JobState.FAILED), token=token_of(got[0]))
    assert not queue.conclude(job, queue.ending(JobState.FAILED))
    assert queue.status(job).result == 1


def test_a_rejected_message_keeps_what_was_told(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel)
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    conclude(token_of(got[0]), job, queue.ending(JobState.FAILED, result=b'"why"', reason="ValueError"))
    got[0].reject()
    status = queue.status(job)
    assert (status.state, status.reason, status.result) == (JobState.FAILED, "dead: rejected", "why")


def test_a_requeued_message_forgets_what_was_told(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel)
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    conclude(token_of(got[0]), job, queue.ending(JobState.FAILED))
    got[0].requeue()
    drain(channel, lambda: len(got) == 2)
    got[1].ack()
    wait_until(lambda: queue.status(job).state is JobState.SUCCEEDED)


def test_many_results_in_one_batch(channel: Any, queue: MessageQueue) -> None:
    jobs = [publish(channel) for _ in range(30)]
    got = consume(channel)
    drain(channel, lambda: len(got) == 30)
    for n, message in enumerate(got):
        channel.owe(message.delivery_tag)
        job = UUID(message.properties["delivery_info"]["job_id"])
        state = JobState.FAILED if n % 7 == 3 else JobState.SUCCEEDED
        if n % 2:
            message.ack()
        conclude(token_of(message), job, queue.ending(state, result=str(n).encode() if n % 3 else None))
        if not n % 2:
            message.ack()
    wait_until(lambda: all(queue.status(job).state.is_finished for job in jobs))
    for n, job in enumerate(jobs):
        status = queue.status(job)
        assert status.state is (JobState.FAILED if n % 7 == 3 else JobState.SUCCEEDED)
        assert status.result == (n if n % 3 else None)


def test_a_message_that_could_not_be_decoded_is_no_success(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel, body="no json")
    got = consume(channel)
    drain(channel, lambda: got)
    with pytest.raises(Exception, match="Expecting value"):
        got[0].decode()
    got[0].ack()
    status = queue.status(job)
    assert (status.state, status.reason) == (JobState.FAILED, "dead: its consumer could not decode it")


# orphans


def test_who_is_lost_leaves_orphans_that_are_given_up(make_messages: MakeMessages) -> None:
    watcher = make_messages(orphan_after=60.0)  # its own setting: the lost one's counts
    lost = make_messages(lease=1.0, orphan_after=1.0)
    early, late = watcher.enqueue("n"), watcher.enqueue("n")
    waiting = watcher.enqueue("m", depends_on=[early])
    claimed = {c.job_id: c for c in lost.claim(lost.numbers(["n"]), 2)}
    lost.run_on([claimed[early]])
    lost._keeper._closed = True  # no sign of life any more
    lost._keeper.stir()
    began = time.monotonic()
    wait_until(lambda: watcher.maintain() or watcher.status(late).state is JobState.READY)
    assert watcher.status(early).state is JobState.RUNNING
    wait_until(lambda: watcher.maintain() or watcher.status(early).state is JobState.FAILED)
    assert time.monotonic() - began >= 1.9
    assert str(watcher.status(early).reason).startswith("lost:")
    assert watcher.status(waiting).state is JobState.READY
    assert watcher.dead(10)[0][0] == early


def test_an_orphans_outcome_still_counts(make_messages: MakeMessages) -> None:
    watcher = make_messages()
    lost = make_messages(lease=1.0, orphan_after=60.0)
    job = watcher.enqueue("n")
    [claimed] = lost.claim(lost.numbers(["n"]), 1)
    token = f"{claimed.queue_id:x}-{claimed.rank:x}-{claimed.seq:x}-{claimed.token:016x}"
    lost.run_on([claimed])
    lost.close()  # it gives back what it holds, but not what runs
    assert watcher.status(job).state is JobState.RUNNING
    assert watcher.conclude(job, watcher.ending(JobState.SUCCEEDED, result=b"5"), token=token)
    assert watcher.status(job).result == 5


@pytest.mark.parametrize("current_first", [True, False])
def test_of_two_hand_outs_that_are_told_together_the_current_one_counts(
    current_first: bool, make_messages: MakeMessages
) -> None:
    queue = make_messages()
    job = queue.enqueue("n")
    [stale] = queue.claim(queue.numbers(["n"]), 1)
    queue.give_back([stale], seen=True)  # as when its lease is lost
    [current] = queue.claim(queue.numbers(["n"]), 1)
    settlements = Settlements(queue)
    for claimed in (current, stale) if current_first else (stale, current):
        result = b'"current"' if claimed is current else b'"stale"'
        settlements.conclude(claimed, queue.ending(JobState.SUCCEEDED, result=result))
        settlements.ack(claimed)
    while settlements:
        settlements.flush()
    assert queue.status(job).result == "current"


def test_who_comes_back_has_its_jobs_again(make_messages: MakeMessages) -> None:
    watcher = make_messages()
    holder = make_messages(lease=1.0, orphan_after=60.0)
    job = watcher.enqueue("n")
    holder.run_on(holder.claim(holder.numbers(["n"]), 1))
    # As if it had not been heard of for longer than its lease.
    watcher._database.write(lambda tx: tx.run(watcher._store.sql.bury_consumers, ids=[holder.consumer], p_grace=-1.0))
    watcher.maintain()
    holder._keeper.beat()
    holder.close()
    assert watcher.status(job).state is JobState.RUNNING


# ends by id, before the job is there


def test_a_promised_dependency(channel: Any, queue: MessageQueue) -> None:
    first, second, third = str(uuid4()), str(uuid4()), str(uuid4())
    edges = [{"id": i, "policy": "terminal"} for i in (first, second, third)]
    with pytest.raises(NotExist):
        publish(channel, depends_on=edges)
    body = publish(channel, depends_on=edges, **{PROMISED: True})
    assert queue.status(body).state is JobState.BLOCKED
    publish(channel, queue="header", task_id=first, **{AWAITED: True})
    queue.reserve(0, queues=["header"]).ack("one")
    assert queue.conclude(UUID(second), queue.ending(JobState.FAILED, reason="never sent"))
    assert queue.status(body).state is JobState.BLOCKED
    publish(channel, queue="header", task_id=third, **{AWAITED: True})
    queue.cancel(third)
    assert queue.status(body).state is JobState.READY
    states = [(o.state, o.result) for o in queue.outcomes_of_dependencies(body)]
    assert states == [(JobState.SUCCEEDED, b'"one"'), (JobState.FAILED, None), (JobState.CANCELED, None)]
    assert queue.status(second).reason == "never sent"


def test_a_promise_racing_with_an_end_by_id(make_messages: MakeMessages, database_url: str) -> None:
    """Whoever is first: the dependent is told, once."""
    queue = make_messages()
    with Connection(broker_of(database_url)) as connection:
        channel = connection.channel()
        for _ in range(20):
            dep = str(uuid4())
            ender = threading.Thread(target=queue.conclude, args=(UUID(dep), queue.ending(JobState.FAILED)))
            ender.start()
            body = publish(channel, depends_on=[{"id": dep, "policy": "terminal"}], **{PROMISED: True})
            ender.join()
            assert queue.status(body).state is JobState.READY


def test_a_body_waits_for_one_more(channel: Any, queue: MessageQueue) -> None:
    first, second = publish(channel, queue="header"), publish(channel, queue="header")
    body = publish(channel, depends_on=[first])
    assert queue.add_dependency(body, second, Policy.TERMINAL)
    queue.cancel(first)  # "finished" is not met, but this is about counting
    assert queue.status(body).state is JobState.CANCELED
    assert not queue.add_dependency(body, first, Policy.TERMINAL)


def test_who_needs_results_in_it_is_dead_without_the_adapter(
    channel: Any, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu_depqueue import plugins

    monkeypatch.setattr(plugins, "_plugins", [])
    first = publish(channel, queue="header")
    body = publish(channel, depends_on=[first], **{JOINS: True})
    queue.reserve(0, queues=["header"]).ack()
    got = consume(channel)
    drain(channel, lambda: queue.status(body).state is JobState.FAILED)
    assert not got
    assert "needs kombu-depqueue-celery" in str(queue.status(body).reason)


def test_a_parked_job_goes_on_when_it_is_published_again(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel)
    waiting = publish(channel, queue="other", depends_on=[job])
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    assert queue.park(job, token_of(got[0]))
    got[0].ack()
    time.sleep(0.1)
    assert queue.status(job).state is JobState.RUNNING
    assert not queue.conclude(job, queue.ending(JobState.SUCCEEDED), token=token_of(got[0]))
    publish(channel, task_id=str(job))
    drain(channel, lambda: len(got) == 2)
    got[1].ack()
    wait_until(lambda: queue.status(waiting).state is JobState.READY)
    assert queue.status(job).state is JobState.SUCCEEDED


def test_an_ended_job_that_is_published_again_waits_for_nothing(channel: Any, queue: MessageQueue) -> None:
    """Not for what it waited for when it was canceled either, nor does that take it down."""
    first = publish(channel)
    job = publish(channel, depends_on=[first])
    queue.cancel(job)
    publish(channel, task_id=str(job), **{"x-delay": 600_000})
    assert queue.status(job).state is JobState.SCHEDULED
    assert queue.why(job).unmet == ()
    queue.cancel(first)
    assert queue.status(job).state is JobState.SCHEDULED
    publish(channel, task_id=str(job))
    got = consume(channel)
    drain(channel, lambda: got)
    got[0].reject()
    queue.retry(job)
    drain(channel, lambda: len(got) == 2)


def test_an_id_that_waits_is_superseded(channel: Any, queue: MessageQueue) -> None:
    """A task published again while an older delivery of it is delayed: there is one of it."""
    job = publish(channel, **{"x-delay": 600_000})
    assert queue.status(job).state is JobState.SCHEDULED
    publish(channel, task_id=str(job))
    assert queue.status(job).state is JobState.READY
    assert [(q.ready, q.scheduled) for q in queue.queues() if q.name == "q"] == [(1, 0)]
    batch = channel.create_publish_batch(10)
    other = publish(channel, **{"x-delay": 600_000})
    for task_id in (str(other), str(uuid4())):
        message = channel.prepare_message("[]", content_type="application/json", content_encoding="utf-8")
        message["headers"] = {"task": "t", "id": task_id}
        batch.publish(message, "", "q")
    batch.flush()
    assert [(q.ready, q.scheduled) for q in queue.queues() if q.name == "q"] == [(3, 0)]


# the pipe


def test_the_pipe_carries_what_fits_and_refuses_the_rest() -> None:
    pipe = Pipe()
    told = [
        Told(Key(1, 255, n, n + 7), uuid4(), Ending(2, "grüße", f'"{n}"'.encode(), 5.5, None, b'{"a": 1}'))
        for n in range(5)
    ]
    child = os.fork()
    if child == 0:
        large = told[0]._replace(ending=told[0].ending._replace(result=b"x" * 5000))
        good = pipe.is_childs and all([pipe.send(one) for one in told]) and not pipe.send(large)
        os._exit(0 if good else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not pipe.is_childs
    assert pipe.receive() == told
    assert pipe.receive() == []
    pipe.close()
    pipe.close()
    assert pipe.receive() == []


def test_a_full_pipe_and_one_that_nobody_reads() -> None:
    pipe = Pipe()
    told = Told(Key(1, 255, 1, 2), uuid4(), Ending(1, None, b'"x"' * 300, 5.0))
    assert not pipe.send(told)  # by the process that reads
    child = os.fork()
    if child == 0:
        sent = 0
        while pipe.send(told):
            sent += 1
        orphan = os.fork()
        if orphan == 0:
            os._exit(pipe.send(told))
        os._exit(sent if os.waitpid(orphan, 0)[1] == 0 else 0)
    sent = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert sent > 10
    assert pipe.receive() == [told] * sent
    pipe.close()


# what a review found


def test_a_body_that_cannot_be_joined_takes_nobody_with_it(
    channel: Any, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu_depqueue import plugins

    class Broken:
        def join(self, queue: Any, claimed: Any) -> Any:
            raise ValueError("no")

    monkeypatch.setattr(plugins, "_plugins", [Broken()])
    first = publish(channel, queue="header")
    body = publish(channel, depends_on=[first], **{JOINS: True})
    good = publish(channel)
    queue.reserve(0, queues=["header"]).ack()
    got = consume(channel)
    drain(channel, lambda: queue.status(body).state is JobState.FAILED and got)
    time.sleep(0.3)
    drain(channel, lambda: True)
    assert [m.properties["delivery_info"]["job_id"] for m in got] == [str(good)]
    assert "ValueError" in str(queue.status(body).reason)


def test_outcomes_outlive_the_connection(
    database_url: str, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told while the database is away; the connection is closed, and another one made."""
    with Connection(broker_of(database_url)) as connection:
        channel = connection.channel()
        job = publish(channel)
        got = consume(channel)
        drain(channel, lambda: got)
        channel.owe(got[0].delivery_tag)
        got[0].ack()
        wait_until(lambda: queue.status(job).state is JobState.RUNNING)

        def away(*args: Any, **kwargs: Any) -> Any:
            raise StorageError("away")

        broken = channel.connection.queue
        monkeypatch.setattr(broken, "ack_messages", away)
        monkeypatch.setattr(broken, "ack_and_claim", away)
        assert conclude(token_of(got[0]), job, queue.ending(JobState.SUCCEEDED, result=b"4"))
    assert queue.status(job).state is JobState.RUNNING
    with Connection(broker_of(database_url)) as connection:
        consume(connection.channel())
        wait_until(lambda: queue.status(job).state is JobState.SUCCEEDED)
    assert queue.status(job).result == 4


def test_a_late_mark_does_not_stick_to_the_next_delivery(make_messages: MakeMessages) -> None:
    watcher, cut_off = make_messages(), make_messages(lease=1.0)
    job = watcher.enqueue("n")
    held = cut_off.claim(cut_off.numbers(["n"]), 1)
    cut_off._keeper._closed = True
    wait_until(lambda: watcher.maintain() or watcher.status(job).state is JobState.READY)
    cut_off.run_on(held)
    second = watcher.reserve(0, queues=["n"])
    assert watcher.status(job).state is JobState.LEASED
    second.requeue()
    assert watcher.status(job).state is JobState.READY


@pytest.mark.parametrize("again", ["told by id", "published again"])
def test_who_ends_twice_releases_once(channel: Any, queue: MessageQueue, again: str) -> None:
    first, second = str(uuid4()), publish(channel, queue="header")
    edges = [{"id": i, "policy": "terminal"} for i in (first, str(second))]
    body = publish(channel, depends_on=edges, **{PROMISED: True})
    assert queue.conclude(UUID(first), queue.ending(JobState.FAILED))
    if again == "told by id":
        assert queue.conclude(UUID(first), queue.ending(JobState.SUCCEEDED))
    else:
        publish(channel, queue="again", task_id=first, **{AWAITED: True})
        queue.reserve(0, queues=["again"]).ack()
    assert queue.status(body).state is JobState.BLOCKED
    queue.reserve(0, queues=["header"]).ack()
    assert queue.status(body).state is JobState.READY


def test_a_body_that_is_retried_is_joined_again(channel: Any, queue: MessageQueue) -> None:
    first = publish(channel, queue="header")
    body = publish(channel, depends_on=[first], **{JOINS: True})
    queue.reserve(0, queues=["header"]).ack()
    queue.reserve(0, queues=["q"]).fail("once")
    queue.retry(body)
    [claimed] = queue.claim(queue.numbers(["q"]), 1)
    assert claimed.flags & Flag.JOINS


def test_an_id_that_is_used_again_has_its_new_dependencies(channel: Any, queue: MessageQueue) -> None:
    for _ in range(2):
        first = publish(channel, queue="header")
        body = publish(channel, task_id="6d1f1c0e-0000-4000-8000-000000000001", depends_on=[first])
        queue.reserve(0, queues=["header"]).ack()
        assert queue.status(body).depends_on == (first,)
        queue.reserve(0, queues=["q"]).ack()


def test_what_a_child_told_comes_before_what_is_said_of_its_death(
    channel: Any, queue: MessageQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kombu_depqueue import transport

    monkeypatch.setattr(transport._outcomes, "pipe", None)
    transport.open_pipe()
    job = publish(channel)
    got = consume(channel)
    drain(channel, lambda: got)
    channel.owe(got[0].delivery_tag)
    got[0].ack()
    child = os.fork()
    if child == 0:
        told = conclude(token_of(got[0]), job, queue.ending(JobState.SUCCEEDED, result=b"1"))
        os._exit(0 if told else 1)
    assert os.waitpid(child, 0)[1] == 0
    conclude(token_of(got[0]), job, queue.ending(JobState.FAILED, reason="WorkerLostError"))
    wait_until(lambda: queue.status(job).state.is_finished)
    assert queue.status(job).state is JobState.SUCCEEDED
    transport.close_pipe()


def test_the_second_word_of_one_end_completes_the_first(channel: Any, queue: MessageQueue) -> None:
    job = publish(channel)
    queue.reserve(0, queues=["q"]).reject("rejected")
    queue.conclude(job, queue.ending(JobState.FAILED, result=b'{"exc_type": "NotRegistered"}', reason="NotRegistered"))
    status = queue.status(job)
    assert (status.state, status.reason, status.result) == (
        JobState.FAILED,
        "NotRegistered",
        {"exc_type": "NotRegistered"},
    )


def test_acks_of_several_at_once(channel: Any, queue: MessageQueue) -> None:
    jobs = [publish(channel) for _ in range(3)]
    got = consume(channel)
    drain(channel, lambda: len(got) == 3)
    channel.owe(got[0].delivery_tag)
    channel.basic_ack(got[2].delivery_tag, multiple=True)
    wait_until(lambda: queue.status(jobs[2]).state is JobState.SUCCEEDED)
    wait_until(lambda: queue.status(jobs[0]).state is JobState.RUNNING)
    assert not channel._owing


def test_a_lock_held_at_a_fork_holds_up_no_child() -> None:
    from kombu_depqueue import transport

    with transport._transports_lock, transport._outcomes._lock:
        child = os.fork()
        if child == 0:
            there = threading.Thread(target=lambda: (transport.transports(), transport._outcomes.keep([])), daemon=True)
            there.start()
            there.join(5)
            os._exit(there.is_alive())
        assert os.waitpid(child, 0)[1] == 0
