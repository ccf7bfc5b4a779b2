"""Enqueue: what goes in comes out, once, and is there when enqueue returns."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import Duplicate, InvalidJob
from kombu_depqueue.job import JobMessage, JobState, new_job_id
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain, end_job, wait_for_state

JSON_VALUES = [
    None,
    True,
    0,
    -1,
    2**63,
    -(10**30),
    1.5,
    1e-300,
    "",
    "text",
    "nul \0 and quotes ' \" \\",
    "dž ⚙ 日本語 \U0001f600 \u2028",
    [],
    {},
    [None, [1, [2, [3]]], {"a": {"b": []}}],
    {"": 0, "ключ": "значение", "a.b": {"$ne": 1}},
]


def test_any_json_value_arrives_as_it_was_enqueued(queue: JobQueue) -> None:
    for value in JSON_VALUES:
        queue.enqueue("default", value)
        args = queue.reserve(0).args
        assert args == value
        assert type(args) is type(value)


def test_enqueue_returns_the_id_under_which_the_job_is_known(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", 1)
    assert isinstance(job_id, UUID)
    assert job_id.int != 0
    assert queue.status(job_id).state is JobState.READY
    assert queue.reserve(0).job_id == job_id


@pytest.mark.parametrize("as_text", [False, True], ids=["uuid", "text"])
def test_the_id_given_is_the_jobs_id(queue: JobQueue, as_text: bool) -> None:
    job_id = uuid4()
    assert queue.enqueue("default", job_id=str(job_id) if as_text else job_id) == job_id
    assert queue.reserve(0).job_id == job_id


def test_ids_made_are_all_different(queue: JobQueue) -> None:
    ids = {queue.enqueue("default", n) for n in range(50)}
    assert len(ids) == 50


def test_the_lease_ports_message_needs_only_an_id_and_a_time(queue: JobQueue) -> None:
    message = JobMessage(new_job_id(), datetime.now(UTC))
    assert queue.enqueue(message) == message.job_id
    reservation = queue.reserve(5)
    assert reservation.job_id == message.job_id
    assert reservation.message.job_id == message.job_id
    assert reservation.message.run_at == message.run_at
    assert reservation.args is None


def test_a_job_without_a_type_goes_to_the_default_queue(make_queue: MakeQueue) -> None:
    queue = make_queue(queue="mail")
    assert queue.enqueue() == queue.dequeue(["mail"], 0).job_id
    assert queue.enqueue(JobMessage.new()) == queue.reserve(0).job_id


@pytest.mark.parametrize("name", ["resize", "über.uns", "a b/c:d*#", "x" * 255, "ü" * 255, "'; DROP TABLE a; --"])
def test_any_sensible_name_is_a_job_type_and_a_channel(queue: JobQueue, name: str) -> None:
    job_id = queue.enqueue(name, 1, channel=name)
    reservation = queue.dequeue([name], 0, channels=[name])
    assert (reservation.job_id, reservation.job_type) == (job_id, name)
    status = queue.status(job_id)
    assert (status.job_type, status.channel) == (name, name)


def test_job_types_that_look_alike_are_apart(queue: JobQueue) -> None:
    ids = {name: queue.enqueue(name) for name in ("job", "Job", "job ", "jób", "jo\u0301b")}
    for name, job_id in ids.items():
        assert drain(queue, [name]) == [job_id]


def test_the_message_arrives_with_all_its_fields(queue: JobQueue) -> None:
    dependency = queue.enqueue("other")
    due = datetime(2020, 2, 29, 12, 30, 0, 123456, UTC)
    sent = JobMessage.new(
        "resize",
        {"width": 80},
        run_at=due,
        priority=7,
        depends_on=[dependency],
        max_attempts=3,
        channel="acme",
        headers={"trace": ["a", 1], "ü": None},
    )
    queue.enqueue(sent)
    end_job(queue, dependency, "succeeded")
    got = queue.dequeue(["resize"], 0, channels=["acme"]).message
    assert (got.job_id, got.job_type, got.args) == (sent.job_id, "resize", {"width": 80})
    assert (got.run_at, got.priority, got.max_attempts, got.channel) == (due, 7, 3, "acme")
    assert got.headers == {"trace": ["a", 1], "ü": None}
    assert [UUID(str(d)) for d in got.depends_on] == [dependency]


def test_bytes_travel_with_their_content_type(queue: JobQueue) -> None:
    body = bytes(range(256)) * 3
    queue.enqueue("default", body=body, content_type="application/x-own", headers={"v": 2})
    reservation = queue.reserve(0)
    message = reservation.message
    assert (message.body, message.content_type, message.headers) == (body, "application/x-own", {"v": 2})
    with pytest.raises(InvalidJob):
        _ = reservation.args
    reservation.ack()


def test_an_empty_body_is_a_body(queue: JobQueue) -> None:
    queue.enqueue("default", body=b"", content_type="text/plain")
    assert queue.reserve(0).message.body == b""


def test_a_json_body_is_seen_as_args(queue: JobQueue) -> None:
    queue.enqueue("default", body=b'{"a": [1, 2]}', content_type="application/json")
    assert queue.reserve(0).args == {"a": [1, 2]}


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 200_000], ids=["cut", "no utf-8", "deep"])
def test_a_broken_json_body_is_delivered_and_can_be_settled(queue: JobQueue, body: bytes) -> None:
    job_id = queue.enqueue("default", body=body, content_type="application/json")
    reservation = queue.reserve(0)
    assert reservation.job_id == job_id
    with pytest.raises(InvalidJob):
        _ = reservation.args
    reservation.reject("cannot be read")
    assert queue.status(job_id).state is JobState.FAILED


def test_a_megabyte_arrives(queue: JobQueue) -> None:
    value = "0123456789abcdef" * 65536
    queue.enqueue("default", value)
    assert queue.reserve(0).args == value


@pytest.mark.parametrize("stage", ["ready", "scheduled", "blocked", "leased"])
def test_an_id_that_is_live_is_refused(queue: JobQueue, stage: str) -> None:
    fields: dict[str, Any] = {"scheduled": {"delay": 60}, "blocked": {"depends_on": [queue.enqueue("other")]}}
    job_id = queue.enqueue("default", "first", **fields.get(stage, {}))
    if stage == "leased":
        reservation = queue.reserve(0)
    with pytest.raises(Duplicate) as refused:
        queue.enqueue("default", "second", job_id=job_id)
    assert refused.value.job_id == job_id
    assert queue.status(job_id).state == stage
    if stage == "leased":
        reservation.ack()
        assert_nothing_ready(queue)


@pytest.mark.parametrize("end", ["succeeded", "failed", "dead", "canceled"])
def test_an_id_whose_end_record_is_kept_is_refused(queue: JobQueue, end: str) -> None:
    job_id = queue.enqueue("default", "first")
    end_job(queue, job_id, end)
    before = queue.status(job_id)
    with pytest.raises(Duplicate):
        queue.enqueue("elsewhere", "second", job_id=job_id)
    assert queue.status(job_id) == before
    assert_nothing_ready(queue, queues=["default", "elsewhere"])


def test_the_same_id_is_refused_in_another_queue_and_channel(queue: JobQueue) -> None:
    job_id = queue.enqueue("one")
    with pytest.raises(Duplicate):
        queue.enqueue("two", job_id=job_id, channel="other")
    with pytest.raises(Duplicate):
        queue.enqueue("two", job_id=job_id, delay=5)


def test_what_was_enqueued_is_seen_by_another_job_queue_at_once(make_queue: MakeQueue) -> None:
    producer, consumer = make_queue(), make_queue()
    job_id = producer.enqueue("default", "hello")
    assert consumer.reserve(0).job_id == job_id


def test_what_was_enqueued_is_still_there_after_closing(make_queue: MakeQueue) -> None:
    with make_queue() as first:
        job_id = first.enqueue("default", "hello")
    assert make_queue().reserve(0).job_id == job_id


def test_run_at_in_another_time_zone_is_the_same_moment(queue: JobQueue) -> None:
    past = datetime.now(timezone(timedelta(hours=14))) - timedelta(hours=1)
    queue.enqueue("default", run_at=past)
    assert queue.reserve(0).message.run_at == past


def test_a_job_not_reserved_in_time_ends_as_expired(queue: JobQueue) -> None:
    late = queue.enqueue("default", "late", expires_in=0.05)
    job_id = queue.enqueue("default", "no limit")
    wait_for_state(queue, late, JobState.EXPIRED)
    assert drain(queue) == [job_id]
    status = queue.status(late)
    assert status.finished is not None
    assert status.finished >= status.queued
    assert status.reason


def test_a_job_reserved_in_time_does_not_expire(queue: JobQueue) -> None:
    job_id = queue.enqueue("default", "in time", expires_in=0.8)
    reservation = queue.reserve(0)
    other = queue.enqueue("other", expires_in=0.8)
    wait_for_state(queue, other, JobState.EXPIRED)
    assert queue.status(job_id).state is JobState.LEASED
    reservation.ack()
    assert queue.status(job_id).state is JobState.SUCCEEDED


def test_a_consumer_is_never_given_an_expired_job(queue: JobQueue) -> None:
    ids = [queue.enqueue("default", expires_in=0.05) for _ in range(5)]
    other = queue.enqueue("other", expires_in=0.1)
    wait_for_state(queue, other, JobState.EXPIRED)
    assert_nothing_ready(queue, 0.2)
    assert {queue.status(i).attempt for i in ids} == {0}


def test_a_claim_passes_over_a_job_that_expired_since_the_last_upkeep(queue: JobQueue) -> None:
    assert_nothing_ready(queue, 0.3)  # its own upkeep has looked meanwhile, and will do so again in 5 seconds
    expired, good = queue.enqueue("default", expires_in=0.1), queue.enqueue("default")
    time.sleep(0.2)
    assert queue.reserve(0).job_id == good
    assert queue.status(expired).state is JobState.EXPIRED


@pytest.mark.parametrize("kind", ["scheduled", "blocked"])
def test_a_waiting_job_expires_too(queue: JobQueue, kind: str) -> None:
    fields: dict[str, Any] = {"scheduled": {"delay": 60}, "blocked": {"depends_on": [queue.enqueue("other")]}}
    job_id = queue.enqueue("default", expires_in=0.1, **fields[kind])
    wait_for_state(queue, job_id, JobState.EXPIRED)
