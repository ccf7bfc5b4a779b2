"""The registry of workers: noted, refreshed, listed by age, forgotten."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from kombu_depqueue import JobQueue
from kombu_depqueue.errors import InvalidJob, NotExist
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready, wait_until

pytestmark = pytest.mark.native


def test_a_registered_worker_is_listed_with_all_that_was_told(queue: JobQueue) -> None:
    worker_id = queue.register_worker("builder-1 ☃", channel="acme", info={"arch": "x86_64", "cpus": [1, 2]})
    assert isinstance(worker_id, UUID)
    (worker,) = [w for w in queue.workers() if w.worker_id == worker_id]
    assert (worker.name, worker.channel) == ("builder-1 ☃", "acme")
    assert worker.info == {"arch": "x86_64", "cpus": [1, 2]}
    assert worker.started <= worker.last_seen
    assert worker.started.utcoffset() == timedelta(0)


def test_a_worker_needs_no_name_and_no_info(queue: JobQueue) -> None:
    worker_id = queue.register_worker()
    (worker,) = [w for w in queue.workers() if w.worker_id == worker_id]
    assert dict(worker.info) == {}


def test_two_workers_of_one_name_are_two(queue: JobQueue) -> None:
    ids = {queue.register_worker("twin") for _ in range(2)}
    assert {w.worker_id for w in queue.workers() if w.name == "twin"} == ids


def test_workers_are_listed_by_age(make_queue: MakeQueue) -> None:
    queue, other = make_queue(), make_queue()
    old, kept = queue.register_worker("old"), queue.register_worker("kept")
    assert {w.worker_id for w in other.workers()} >= {old, kept}
    assert not {w.worker_id for w in other.workers(60)} & {old, kept}
    wait_until(lambda: {w.worker_id for w in other.workers(0.8)} >= {old, kept})
    other.refresh_worker(kept)
    seen = {w.worker_id for w in queue.workers(0.8)}
    assert old in seen
    assert kept not in seen


def test_refreshing_moves_last_seen_and_nothing_else(queue: JobQueue) -> None:
    worker_id = queue.register_worker("w", info={"a": 1})
    (before,) = [w for w in queue.workers() if w.worker_id == worker_id]
    queue.refresh_worker(str(worker_id))
    (after,) = [w for w in queue.workers() if w.worker_id == worker_id]
    assert after.last_seen > before.last_seen
    assert (after.name, after.info, after.started) == (before.name, before.info, before.started)


def test_a_deleted_worker_is_forgotten(queue: JobQueue) -> None:
    worker_id = queue.register_worker("gone")
    queue.delete_worker(worker_id)
    assert worker_id not in [w.worker_id for w in queue.workers()]
    with pytest.raises(NotExist):
        queue.delete_worker(worker_id)
    with pytest.raises(NotExist):
        queue.refresh_worker(worker_id)


def test_an_unknown_worker_does_not_exist(queue: JobQueue) -> None:
    with pytest.raises(NotExist):
        queue.refresh_worker(uuid4())
    with pytest.raises(NotExist):
        queue.delete_worker(uuid4())


def test_a_consuming_job_queue_is_a_worker(make_queue: MakeQueue) -> None:
    consumer, operator = make_queue(name="the consumer"), make_queue(name="the operator")
    consumer.enqueue("default")
    consumer.reserve(0)
    names = [w.name for w in operator.workers()]
    assert names.count("the consumer") == 1
    assert "the operator" not in names


def test_a_consuming_job_queue_is_seen_as_long_as_it_lives(make_queue: MakeQueue) -> None:
    consumer, operator = make_queue(name="the consumer", lease=0.6), make_queue()
    consumer.enqueue("default")
    consumer.reserve(0)
    assert_nothing_ready(operator, 1.5)
    assert "the consumer" in [w.name for w in operator.workers()]
    assert "the consumer" not in [w.name for w in operator.workers(1.0)]
    consumer.close()
    assert "the consumer" not in [w.name for w in operator.workers()]


def test_registered_workers_hold_no_leases(queue: JobQueue) -> None:
    queue.register_worker("w")
    assert queue.heartbeats(0) == []


def test_a_worker_of_the_registry_does_not_vanish_by_itself(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.2)
    worker_id = queue.register_worker("quiet")
    wait_until(lambda: worker_id in [w.worker_id for w in queue.workers(0.8)])
    for _ in range(3):
        queue.maintain()
    assert worker_id in [w.worker_id for w in queue.workers()]


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a\0b"},
        {"name": "x" * 300},
        {"name": "\ud800"},
        {"channel": "a\0"},
        {"info": {"a": {1}}},
        {"info": {"a": float("nan")}},
        {"info": [1]},
    ],
    ids=repr,
)
def test_senseless_workers_are_refused(queue: JobQueue, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidJob) as refused:
        queue.register_worker(**arguments)  # type: ignore[arg-type]
    assert refused.value.field in arguments
    assert queue.workers() == []


@pytest.mark.parametrize("bad", ["nonsense", 5, None])
def test_what_is_no_worker_id_is_refused(queue: JobQueue, bad: str) -> None:
    with pytest.raises(InvalidJob):
        queue.refresh_worker(bad)
    with pytest.raises(InvalidJob):
        queue.delete_worker(bad)
