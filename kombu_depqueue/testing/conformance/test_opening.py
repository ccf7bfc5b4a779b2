"""Opening a JobQueue: URLs, options, tables, and no password in sight."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import Engine, make_url

import kombu_depqueue
from kombu_depqueue import JobQueue
from kombu_depqueue.errors import DepQueueError, InvalidJob, SchemaError
from kombu_depqueue.job import JobState
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import assert_nothing_ready, drain

pytestmark = pytest.mark.native


def test_a_url_works_with_and_without_the_prefix(make_queue: MakeQueue, database_url: str) -> None:
    first, second = make_queue(), make_queue(url=f"depqueue+{database_url}")
    job_id = first.enqueue("default")
    assert drain(second) == [job_id]


def test_a_url_object_works_as_its_text_does(make_queue: MakeQueue, database_url: str) -> None:
    job_id = make_queue().enqueue("default")
    assert drain(make_queue(url=make_url(database_url))) == [job_id]


def test_an_engine_of_the_application_works_and_stays_open(make_queue: MakeQueue, engine: Engine, place: Place) -> None:
    job_id = make_queue().enqueue("default")
    options = {k: v for k, v in {"schema": place.schema, "table_prefix": place.prefix}.items() if v}
    with make_queue(url=engine, **options) as queue:
        assert drain(queue) == [job_id]
    with engine.connect() as connection:
        assert not connection.closed


def test_options_in_the_url_count_and_keywords_count_more(make_queue: MakeQueue, database_url: str) -> None:
    url = make_url(database_url).update_query_dict({"queue": "from_url", "max_attempts": "3"})
    queue = make_queue(url=url)
    status = queue.status(queue.enqueue())
    assert (status.job_type, status.max_attempts) == ("from_url", 3)
    queue = make_queue(url=url, queue="from_keyword")
    status = queue.status(queue.enqueue())
    assert (status.job_type, status.max_attempts) == ("from_keyword", 3)


def test_an_option_in_the_environment_counts_least(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPQUEUE_QUEUE", "from_environment")
    queue = make_queue()
    assert queue.status(queue.enqueue()).job_type == "from_environment"
    queue = make_queue(queue="from_keyword")
    assert queue.status(queue.enqueue()).job_type == "from_keyword"


@pytest.mark.parametrize(("option", "nearest"), [("leese", "lease"), ("max_attempt", "max_attempts")])
def test_an_unknown_option_is_refused_with_the_nearest_name(make_queue: MakeQueue, option: str, nearest: str) -> None:
    with pytest.raises(InvalidJob) as refused:
        make_queue(**{option: 1})
    assert refused.value.field == option
    assert nearest in refused.value.problem


@pytest.mark.parametrize(
    "options",
    [
        {"lease": 0},
        {"lease": -1},
        {"lease": float("inf")},
        {"retention": 1e15},
        {"deadline": 0},
        {"max_attempts": -1},
        {"max_body_bytes": 0},
        {"retention": -1},
        {"dependency_policy": "sometimes"},
        {"on_unmet": "explode"},
        {"table_prefix": "a-b; --"},
        {"table_prefix": "x" * 40},
        {"queue": "a\0"},
        {"queue": "x" * 256},
    ],
    ids=str,
)
def test_a_senseless_option_is_refused(make_queue: MakeQueue, options: dict[str, object]) -> None:
    with pytest.raises(InvalidJob) as refused:
        make_queue(**options)
    assert refused.value.field in (*options, "options")


@pytest.mark.parametrize("url", ["", "nonsense", "no-such-dialect://host/db", None, 5])
def test_what_is_no_url_is_refused(url: str) -> None:
    if url == "":
        pytest.skip("the empty URL is the embedded database in the working directory")
    with pytest.raises(DepQueueError):
        JobQueue(url).close()


@pytest.mark.bare
def test_without_tables_and_create_the_schema_error_tells(make_queue: MakeQueue) -> None:
    queue = make_queue(create=False)
    with pytest.raises(SchemaError) as refused:
        queue.enqueue("default")
    assert refused.value.found is None
    assert refused.value.wanted


def test_tables_once_made_serve_those_who_may_not_create(make_queue: MakeQueue) -> None:
    job_id = make_queue().enqueue("default")
    assert drain(make_queue(create=False)) == [job_id]


def test_prefixes_keep_job_queues_apart(make_queue: MakeQueue, place: Place) -> None:
    first = make_queue(table_prefix=f"{place.prefix}one_"[-30:])
    second = make_queue(table_prefix=f"{place.prefix}two_"[-30:])
    job_id = first.enqueue("default")
    assert_nothing_ready(second)
    with pytest.raises(DepQueueError):
        second.status(job_id)
    assert first.status(job_id).state is JobState.READY


def test_no_repr_and_no_log_shows_a_password(
    make_queue: MakeQueue, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        pytest.skip("a file has no password")
    url = url.set(password="s3cret-Pa55")  # noqa: S106
    with caplog.at_level(logging.DEBUG):
        seen = []
        try:  # some servers let us in with any password, others do not
            with JobQueue(url, create=True) as queue:
                seen += [repr(queue), str(queue)]
                queue.enqueue("default")
        except DepQueueError as error:
            seen.append(str(error))
        with JobQueue(url, create=False) as queue:
            seen += [repr(queue), str(queue)]
    assert "s3cret-Pa55" not in "".join(seen) + caplog.text


def test_a_server_that_does_not_answer_is_a_storage_error() -> None:
    queue = JobQueue("postgresql://user:s3cret-Pa55@127.0.0.1:1/nothing", deadline=3, create=False)
    with pytest.raises(kombu_depqueue.StorageError) as failed:
        queue.enqueue("default")
    queue.close()
    assert failed.value.__cause__ is not None
    assert "s3cret-Pa55" not in str(failed.value)


def test_a_job_queue_is_ready_for_use_without_with(make_queue: MakeQueue) -> None:
    queue = make_queue()
    assert queue.enqueue("default") == queue.reserve(0).job_id


def test_the_public_names_are_those_of_the_contract() -> None:
    for name in (
        "Canceled", "DepQueueError", "Dependency", "Duplicate", "Empty", "InvalidJob", "JobMessage",
        "JobQueue",
        "JobState", "JobStatus", "LeaseLost", "NotExist", "NotPending", "NotRunning", "Policy", "QueueClosed",
        "Reservation", "SchemaError", "StorageError", "enlist",
    ):  # fmt: skip
        assert hasattr(kombu_depqueue, name), name
