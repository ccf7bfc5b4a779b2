"""Bad input: refused before anything is written, naming the field."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import DepQueueError, InvalidJob
from kombu_depqueue.job import Dependency, JobMessage
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain

pytestmark = pytest.mark.native


def _deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def _circular() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


NAN, INF = float("nan"), float("inf")
NAMES = ["a\0b", "\ud800", "x" * 256, 5, b"a"]
INTEGERS = [-1, 1.5, True, "5"]
SECONDS = [-0.001, NAN, INF, "5", 1e15]

BAD: dict[str, list[Any]] = {
    "args": [
        {1, 2}, object(), b"x", uuid4(), datetime.now(UTC), NAN, INF, -INF, {"a": [NAN]}, [[{"a": {1}}]],
        {(1, 2): 3}, _circular(), _deep(100_000),
    ],
    "body": ["text", [1], 5],
    "content_type": [None, *NAMES],
    "job_type": NAMES,
    "channel": [None, *NAMES],
    "job_id": [UUID(int=0), str(UUID(int=0)), "", "nonsense", 5, uuid4().bytes, "a\0b"],
    "depends_on": [
        ["nonsense"], [UUID(int=0)], str(uuid4()), 5, [None], uuid4(), [Dependency("nonsense")],  # type: ignore[arg-type]
    ],
    "run_at": [
        datetime(2030, 1, 1),  # noqa: DTZ001 - naive: that is the test
        "2030-01-01", date(2030, 1, 1), 5,
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),  # in UTC outside the calendar
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
    ],
    "delay": SECONDS,
    "priority": [*INTEGERS, 256, None],
    "max_attempts": [*INTEGERS, 2**40],
    "expires_in": SECONDS,
    "dependency_policy": ["sometimes", 5],
    "on_unmet": ["explode", 5],
    "headers": [[1], "a", {"a": {1}}, {"a": NAN}, {"a": b""}, {"a": _deep(100_000)}],
}  # fmt: skip


def _fields(field: str, value: Any) -> dict[str, Any]:
    beside = {"body": {"content_type": "a/b"}, "content_type": {"body": b"x"}}
    return {"job_type": "default", **beside.get(field, {}), field: value}


def _assert_refused(call: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        call()
    assert refused.value.field == field
    assert refused.value.problem
    assert isinstance(refused.value, ValueError)
    assert str(refused.value).startswith(field)
    assert len(str(refused.value)) < 1000


def _assert_nothing_written(queue: JobQueue) -> None:
    assert queue.all_root_jobs() == []
    assert sum(q.ready + q.scheduled + q.blocked for q in queue.queues()) == 0


@pytest.mark.parametrize("field", BAD)
def test_enqueue_names_the_field_and_writes_nothing(queue: JobQueue, field: str) -> None:
    for value in BAD[field]:
        fields = _fields(field, value)
        positional = (fields.pop("job_type"), fields.pop("args", None))
        _assert_refused(partial(queue.enqueue, *positional, **fields), field)
    _assert_nothing_written(queue)


@pytest.mark.parametrize("field", BAD)
def test_enqueue_many_is_as_strict(queue: JobQueue, field: str) -> None:
    for value in BAD[field]:
        jobs = [JobMessage.new("default"), JobMessage.new(**_fields(field, value))]
        _assert_refused(partial(queue.enqueue_many, jobs), field)
    _assert_nothing_written(queue)


def test_a_bad_policy_of_an_edge_is_refused(queue: JobQueue) -> None:
    with pytest.raises(InvalidJob):
        queue.enqueue("default", depends_on=[Dependency(uuid4(), "sometimes")])  # type: ignore[arg-type]
    _assert_nothing_written(queue)


@pytest.mark.parametrize("job", [None, 5, b"bytes", ("a", 1)])
def test_what_is_neither_a_message_nor_a_type_is_refused(queue: JobQueue, job: Any) -> None:
    with pytest.raises((InvalidJob, TypeError)):
        queue.enqueue(job)
    _assert_nothing_written(queue)


def test_a_field_that_does_not_exist_is_refused(queue: JobQueue) -> None:
    with pytest.raises((InvalidJob, TypeError)):
        queue.enqueue("default", dependson=[])  # type: ignore[call-overload]
    _assert_nothing_written(queue)


def test_a_message_takes_no_fields_beside_it(queue: JobQueue) -> None:
    with pytest.raises((InvalidJob, TypeError)):
        queue.enqueue(JobMessage.new("default"), priority=5)  # type: ignore[call-overload]
    _assert_nothing_written(queue)


@pytest.mark.parametrize(
    "fields",
    [
        {"args": "x" * 2000},
        {"args": ["é" * 700]},
        {"body": b"x" * 2000, "content_type": "a/b"},
    ],
    ids=["args", "utf-8", "body"],
)
def test_a_payload_over_the_limit_is_refused(make_queue: MakeQueue, fields: dict[str, Any]) -> None:
    queue = make_queue(max_body_bytes=1000)
    with pytest.raises(InvalidJob) as refused:
        queue.enqueue(JobMessage.new("default", **fields))
    assert refused.value.field in ("args", "body")
    assert "1000" in refused.value.problem.replace(",", "")
    _assert_nothing_written(queue)


def test_a_payload_at_the_limit_is_accepted(make_queue: MakeQueue) -> None:
    queue = make_queue(max_body_bytes=1000)
    queue.enqueue("default", body=b"x" * 1000, content_type="a/b")
    assert len(queue.reserve(0).message.body or b"") == 1000


def test_a_result_over_the_limit_is_refused_and_the_job_stays_running(make_queue: MakeQueue) -> None:
    queue = make_queue(max_body_bytes=1000)
    job_id = queue.enqueue("default")
    reservation = queue.reserve(0)
    for finish in (reservation.ack, partial(reservation.fail, "error"), partial(queue.finish, job_id)):
        _assert_refused(partial(finish, "x" * 2000), "result")
    reservation.ack("x")
    assert queue.status(job_id).result == "x"


@pytest.mark.parametrize("fields", [{"args": "\ud800"}, {"headers": {"\udfff": 1}}], ids=["args", "headers"])
def test_a_lone_surrogate_in_a_payload_is_refused_or_arrives(queue: JobQueue, fields: dict[str, Any]) -> None:
    message = JobMessage.new("default", **fields)
    try:
        queue.enqueue(message)
    except InvalidJob:
        _assert_nothing_written(queue)
        return
    got = queue.reserve(0)
    assert (got.args, got.message.headers) == (message.args, message.headers)
    got.ack()


def test_sensible_nesting_is_accepted(queue: JobQueue) -> None:
    queue.enqueue("default", _deep(50))
    assert queue.reserve(0).args == _deep(50)


@pytest.mark.parametrize("digits", [1000, 5000])
def test_a_huge_number_is_refused_or_arrives(queue: JobQueue, digits: int) -> None:
    number = 10**digits
    try:
        queue.enqueue("default", number)
    except InvalidJob:
        _assert_nothing_written(queue)
        return
    assert queue.reserve(0).args == number


BY_ID: dict[str, Callable[[JobQueue, Any], object]] = {
    "status": lambda q, i: q.status(i),
    "cancel": lambda q, i: q.cancel(i),
    "finish": lambda q, i: q.finish(i),
    "fail_job": lambda q, i: q.fail_job(i),
    "requeue_or_finish": lambda q, i: q.requeue_or_finish(i, 1),
    "dequeue_by_id": lambda q, i: q.dequeue_by_id(i),
    "results_of_dependencies": lambda q, i: q.results_of_dependencies(i),
    "why": lambda q, i: q.why(i),
    "retry": lambda q, i: q.retry(i),
    "delete_job": lambda q, i: q.delete_job(i),
}


@pytest.mark.parametrize("operation", BY_ID)
def test_a_bad_id_is_refused_by_every_operation(queue: JobQueue, operation: str) -> None:
    for bad in ("nonsense", "", "a\0b", 5, None, b"x" * 16):
        _assert_refused(partial(BY_ID[operation], queue, bad), "job_id")
    with pytest.raises(DepQueueError):
        BY_ID[operation](queue, UUID(int=0))


@pytest.mark.parametrize("bad", [-1, NAN, INF, "1", None])
def test_a_senseless_age_is_refused(queue: JobQueue, bad: Any) -> None:
    with pytest.raises(InvalidJob) as refused:
        queue.heartbeats(bad)
    assert refused.value.field == "older_than"
    with pytest.raises(InvalidJob):
        queue.workers(bad)


HOSTILE = [
    "'",
    '"',
    "a'; DELETE FROM job; --",
    "%s",
    "%(x)s",
    ":x",
    "?",
    "{0}",
    "\\",
    "`",
    "$1",
    "a\nb",
    "\u202e",
]


def test_hostile_text_is_only_text(queue: JobQueue) -> None:
    for text in HOSTILE:
        job_id = queue.enqueue(text, text, channel=text, headers={text: text})
        queue.pause(text, channel=text)
        queue.resume(text, channel=text)
        reservation = queue.dequeue([text], 0, channels=[text])
        assert (reservation.job_id, reservation.args) == (job_id, text)
        assert reservation.message.headers == {text: text}
        reservation.fail(text, text)
        assert text in (queue.status(job_id).reason or "")
        assert queue.status(job_id).result == text


def test_a_bad_job_leaves_the_callers_transaction_alone(queue: JobQueue, engine: Engine) -> None:
    queue.queues()
    with engine.begin() as mine:
        with pytest.raises(InvalidJob):
            queue.enqueue("default", {1}, connection=mine)
        good = queue.enqueue("default", connection=mine)
    assert drain(queue) == [good]
    assert_nothing_ready(queue)


@pytest.mark.parametrize("secret", ["CARD 4111", b"CARD 4111"], ids=["args", "body"])
def test_messages_of_errors_hold_no_payload(make_queue: MakeQueue, secret: Any) -> None:
    queue = make_queue(max_body_bytes=20)
    body = {"body": secret * 9, "content_type": "a/b"}
    fields = {"args": [secret * 9]} if isinstance(secret, str) else body
    with pytest.raises(InvalidJob) as refused:
        queue.enqueue(JobMessage.new("default", **fields))
    assert "4111" not in str(refused.value)
