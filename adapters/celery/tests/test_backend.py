"""The result backend by itself: what Celery expects of one, and that it keeps results in the jobs' own records."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery, group, states, uuid
from celery.app.task import Context
from celery.exceptions import BackendStoreError, TaskRevokedError, TimeoutError
from celery.result import AsyncResult
from kombu.exceptions import ContentDisallowed, EncodeError
from transport_helpers import broker_of
from transport_workers import _close as end_app

from kombu_depqueue import InvalidJob, JobQueue, JobState, StorageError
from kombu_depqueue.extending import text_id
from kombu_depqueue_celery import JobFailed
from kombu_depqueue_celery.backend import DepQueueBackend
from kombu_depqueue_celery.broker import close_queues

MakeApp = Callable[..., Celery]


def add(x: int, y: int) -> int:
    return x + y


@pytest.fixture
def make_app(database_url: str) -> Iterator[MakeApp]:
    """Applications with broker and results on this test's database."""
    made: list[Celery] = []

    def make(**conf: Any) -> Celery:
        url = conf.pop("url", None) or broker_of(database_url)
        app = Celery(f"app{len(made)}", broker=url, backend=conf.pop("backend", url), set_as_current=False)
        app.conf.update(conf)
        app.task(name="b.add", shared=False)(add)
        made.append(app)
        return app

    yield make
    for app in made:
        end_app(app)
    close_queues()


@pytest.fixture
def app(make_app: MakeApp) -> Celery:
    return make_app()


@pytest.fixture
def backend(app: Celery) -> DepQueueBackend:
    found = app.backend
    assert isinstance(found, DepQueueBackend)
    return found


@pytest.fixture
def native(database_url: str) -> Iterator[JobQueue]:
    with JobQueue(database_url, create=True) as queue:
        yield queue


# states and results


@pytest.mark.parametrize("value", [None, 0, 3.5, "grüße 😀", [1, [2]], {"a": {"b": None}}, True, [], {}, ""])
def test_results_come_back(backend: DepQueueBackend, value: Any) -> None:
    tid = uuid()
    assert backend.get_state(tid) == states.PENDING
    backend.store_result(tid, value, states.SUCCESS)
    assert backend.get_state(tid) == states.SUCCESS
    assert backend.get_result(tid) == value
    assert backend.task_result_exists(tid) if hasattr(backend, "task_result_exists") else True


def test_failures_come_back(backend: DepQueueBackend) -> None:
    tid = uuid()
    backend.mark_as_failure(tid, KeyError("foo", 3), traceback="a traceback")
    assert backend.get_state(tid) == states.FAILURE
    assert isinstance(backend.get_result(tid), KeyError)
    assert backend.get_result(tid).args == ("foo", 3)
    assert backend.get_traceback(tid) == "a traceback"


def test_revoked_and_started_and_retried(backend: DepQueueBackend) -> None:
    tid = uuid()
    backend.mark_as_revoked(tid, "because")
    assert backend.get_state(tid) == states.REVOKED
    assert isinstance(backend.get_result(tid), TaskRevokedError)
    tid = uuid()
    backend.mark_as_started(tid, pid=7)
    assert (backend.get_state(tid), backend.get_result(tid)) == (states.STARTED, {"pid": 7})
    backend.mark_as_retry(tid, ValueError("again"), traceback="tb")
    assert backend.get_state(tid) == states.RETRY
    assert isinstance(backend.get_result(tid), ValueError)
    backend.mark_as_done(tid, 42)
    assert backend.get_result(tid) == 42


def test_success_is_never_overwritten(backend: DepQueueBackend) -> None:
    tid = uuid()
    backend.store_result(tid, 1, states.SUCCESS)
    backend.store_result(tid, 2, states.SUCCESS)
    backend.mark_as_failure(tid, ValueError("late"))
    backend.store_result(tid, None, states.STARTED)
    backend.reload_task_result(tid)
    assert (backend.get_state(tid), backend.get_result(tid)) == (states.SUCCESS, 1)


def test_success_after_failure_counts(backend: DepQueueBackend) -> None:
    tid = uuid()
    backend.mark_as_failure(tid, ValueError("first"))
    backend.store_result(tid, "after all", states.SUCCESS)
    assert backend.get_result(tid) == "after all"


def test_extended_results_and_children(make_app: MakeApp) -> None:
    app = make_app(result_extended=True)
    request = Context(
        id=uuid(),
        task="b.add",
        args=[1, 2],
        kwargs={"z": 3},
        hostname="here",
        retries=2,
        delivery_info={"routing_key": "q"},
        group="g-1",
        parent_id="p-1",
    )
    request.children.append(AsyncResult("child-1", app=app))
    app.backend.store_result(request.id, 3, states.SUCCESS, request=request)
    result = AsyncResult(request.id, app=app)
    assert (result.name, result.args, result.kwargs) == ("b.add", [1, 2], {"z": 3})
    assert (result.worker, result.retries, result.queue) == ("here", 2, "q")
    assert [c.id for c in result.children] == ["child-1"]
    meta = result._get_task_meta()
    assert (meta["group_id"], meta["parent_id"]) == ("g-1", "p-1")
    assert result.date_done is not None


def test_ids_of_any_kind(backend: DepQueueBackend) -> None:
    for tid in ("short", "ünïcode 😀", "x" * 300, str(uuid4()).upper()):
        backend.store_result(tid, tid, states.SUCCESS)
        assert backend.get_result(tid) == tid
    assert backend.get_task_meta("short")["task_id"] == "short"


def test_what_cannot_be_serialized(backend: DepQueueBackend) -> None:
    tid = uuid()
    with pytest.raises(EncodeError):
        backend.store_result(tid, object(), states.SUCCESS)
    assert backend.get_state(tid) == states.PENDING


def test_results_have_a_limit(make_app: MakeApp, database_url: str) -> None:
    app = make_app(backend=broker_of(database_url, max_body_bytes=1000))
    with pytest.raises(InvalidJob, match="result"):
        app.backend.store_result(uuid(), "x" * 2000, states.SUCCESS)


# serializers


@pytest.mark.parametrize("serializer", ["pickle", "yaml"])
def test_other_serializers(make_app: MakeApp, serializer: str) -> None:
    pytest.importorskip("yaml")
    app = make_app(result_serializer=serializer, accept_content=["json", serializer])
    tid = uuid()
    value = {(1, 2)} if serializer == "pickle" else {"a": [1, None]}
    app.backend.store_result(tid, value, states.SUCCESS)
    assert app.backend.get_result(tid) == value
    app.backend.store_result(other := uuid(), None, "PROGRESS")
    assert app.backend.get_state(other) == "PROGRESS"
    app.backend.mark_as_failure(third := uuid(), ValueError("no"), traceback="tb")
    assert isinstance(app.backend.get_result(third), ValueError)


def test_two_applications_with_different_serializers(make_app: MakeApp) -> None:
    pickles, json = make_app(result_serializer="pickle", accept_content=["json", "pickle"]), make_app()
    first, second = uuid(), uuid()
    json.backend.store_result(first, [1], states.SUCCESS)
    assert pickles.backend.get_result(first) == [1]
    pickles.backend.store_result(second, {1}, states.SUCCESS)
    with pytest.raises(ContentDisallowed, match="pickle"):
        json.backend.get_result(second)


def test_nothing_of_ours_is_pickled(backend: DepQueueBackend) -> None:
    backend.store_result(tid := uuid(), {"a": 1}, states.SUCCESS)
    outcome = backend.queue.outcomes([text_id(tid)])[text_id(tid)]
    assert outcome.result == b'{"a": 1}'


# many at once, and waiting


def test_many_in_one_query(backend: DepQueueBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [uuid() for _ in range(50)]
    for n, tid in enumerate(ids):
        backend.store_result(tid, n, states.SUCCESS)
    calls = []
    real = type(backend.queue).outcomes
    monkeypatch.setattr(
        type(backend.queue), "outcomes", lambda self, given: calls.append(len(given)) or real(self, given)
    )
    found = dict(backend.get_many(ids))
    assert [found[tid]["result"] for tid in ids] == list(range(50))
    assert calls == [50]


def test_waiting_wakes_up(backend: DepQueueBackend, app: Celery, native: JobQueue) -> None:
    """Of jobs that are there; far below the interval in which other backends look."""
    app.backend.queue.outcomes([uuid4()])  # connected
    times = []
    for _ in range(5):
        result = app.tasks["b.add"].delay(1, 2)
        reservation = native.reserve(5, queues=["celery"])
        ended: list[float] = []

        def end(reservation: Any = reservation, ended: list[float] = ended) -> None:
            time.sleep(0.3)
            ended.append(time.monotonic())
            reservation.ack(3)

        thread = threading.Thread(target=end)
        thread.start()
        assert result.get(timeout=10) == 3
        times.append(time.monotonic() - ended[0])
        thread.join()
    assert sorted(times)[2] < 0.15, times


def test_waiting_for_several_that_end_one_by_one(app: Celery, native: JobQueue) -> None:
    result = group([app.signature("b.add", (n, n)) for n in range(10)], app=app)()

    def work() -> None:
        for n in range(10):
            native.reserve(5, queues=["celery"]).ack(2 * n)

    thread = threading.Thread(target=work)
    thread.start()
    assert result.get(timeout=20) == [2 * n for n in range(10)]
    assert result.join_native(timeout=5) == [2 * n for n in range(10)]
    thread.join()


def test_waiting_gives_up_in_time(app: Celery) -> None:
    result, began = app.tasks["b.add"].delay(1, 2), time.monotonic()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 3
    with pytest.raises(TimeoutError):
        AsyncResult(uuid(), app=app).get(timeout=0.2)
    ticks = []
    with pytest.raises(TimeoutError):
        result.get(timeout=0.2, on_interval=lambda: ticks.append(1))
    assert ticks


def test_waiting_for_what_is_published_later(app: Celery, native: JobQueue) -> None:
    """As the end of a chain is."""
    tid = uuid()

    def later() -> None:
        time.sleep(0.4)
        app.tasks["b.add"].apply_async((1, 2), task_id=tid)
        native.reserve(5, queues=["celery"]).ack(3)

    thread = threading.Thread(target=later)
    thread.start()
    assert AsyncResult(tid, app=app).get(timeout=10) == 3
    thread.join()


# native jobs and Celery's view of them


def test_native_jobs_have_celerys_states(app: Celery, native: JobQueue) -> None:
    def state(job_id: Any) -> tuple[str, Any]:
        result = AsyncResult(str(job_id), app=app)
        return result.state, result.result

    waiting = native.enqueue("n")
    assert state(waiting) == (states.PENDING, None)
    reservation = native.reserve(0, queues=["n"])
    reservation.ack({"rows": 3})
    assert state(waiting) == (states.SUCCESS, {"rows": 3})
    failed = native.enqueue("n")
    native.reserve(0, queues=["n"]).fail("disk full")
    status, problem = state(failed)
    assert (status, type(problem), str(problem)) == (states.FAILURE, JobFailed, "disk full")
    canceled = native.enqueue("n")
    native.cancel(canceled)
    status, problem = state(canceled)
    assert (status, type(problem)) == (states.REVOKED, TaskRevokedError)


def test_a_dependent_reads_its_dependencies_results(app: Celery, native: JobQueue) -> None:
    first = app.tasks["b.add"].delay(1, 2)
    second = native.enqueue("n", depends_on=[text_id(first.id)])
    token = native.reserve(0, queues=["celery"]).token
    request = Context(id=first.id, properties={"delivery_info": {"lease_token": token}}, task="b.add")
    app.backend.mark_as_done(first.id, {"sum": 3}, request)
    reservation = native.reserve(5, queues=["n"])
    assert reservation.job_id == second
    assert [r.result for r in reservation.results_of_dependencies()] == [{"sum": 3}]


def test_a_zombie_stores_nothing(app: Celery, native: JobQueue, backend: DepQueueBackend) -> None:
    task = app.tasks["b.add"].delay(1, 2)
    first = native.reserve(0, queues=["celery"])
    zombie = Context(id=task.id, properties={"delivery_info": {"lease_token": first.token}}, task="b.add")
    first.requeue()
    second = native.reserve(0, queues=["celery"])
    backend.mark_as_done(task.id, "of the zombie", zombie)
    backend.store_result(task.id, {"done": 99}, "PROGRESS", request=zombie)
    backend.mark_as_failure(task.id, ValueError("of the zombie"), request=zombie)
    assert (task.state, native.status(text_id(task.id)).state) == (states.PENDING, JobState.LEASED)
    mine = Context(id=task.id, properties={"delivery_info": {"lease_token": second.token}}, task="b.add")
    backend.mark_as_done(task.id, "mine", mine)
    assert task.get(timeout=5) == "mine"


def test_ignored_results_leave_the_outcome(app: Celery, native: JobQueue, backend: DepQueueBackend) -> None:
    task = app.tasks["b.add"].delay(1, 2)
    token = native.reserve(0, queues=["celery"]).token
    request = Context(
        id=task.id, properties={"delivery_info": {"lease_token": token}}, task="b.add", ignore_result=True
    )
    backend.mark_as_done(task.id, "secret", request, store_result=False)
    assert (task.state, task.result) == (states.SUCCESS, None)


# groups, forgetting


def test_groups_are_saved(app: Celery, backend: DepQueueBackend) -> None:
    result = app.GroupResult(uuid(), [app.AsyncResult(uuid()) for _ in range(5)])
    result.save(backend=backend)
    restored = app.GroupResult.restore(result.id, backend=backend)
    assert restored == result
    result.delete(backend=backend)
    backend._cache.clear()
    assert app.GroupResult.restore(result.id, backend=backend) is None
    assert backend.restore_group(uuid()) is None


def test_forget(app: Celery, backend: DepQueueBackend, native: JobQueue) -> None:
    backend.store_result(tid := uuid(), 1, states.SUCCESS)
    app.AsyncResult(tid).forget()
    assert backend.get_state(tid) == states.PENDING
    needed, other = native.enqueue("n"), native.enqueue("m")
    waiting = native.enqueue("n", depends_on=[needed, other])
    native.reserve(0, queues=["n"]).ack("result")
    app.AsyncResult(str(needed)).forget()  # somebody still has to know that it ended
    assert native.status(needed).result is None
    native.reserve(0, queues=["m"]).ack()
    assert native.reserve(5, queues=["n"]).job_id == waiting


def test_results_expire(make_app: MakeApp) -> None:
    app = make_app(result_expires=timedelta(seconds=1))
    app.backend.store_result(tid := uuid(), 1, states.SUCCESS)
    group_result = app.GroupResult(uuid(), [app.AsyncResult(tid)])
    group_result.save(backend=app.backend)
    app.backend.cleanup()
    assert app.backend.get_state(tid) == states.SUCCESS
    time.sleep(1.1)
    app.backend.cleanup()
    app.backend._cache.clear()
    assert app.backend.get_state(tid) == states.PENDING
    assert app.GroupResult.restore(group_result.id, backend=app.backend) is None


@pytest.mark.parametrize("expires", [None, 0])
def test_results_that_never_expire(make_app: MakeApp, expires: Any, native: JobQueue) -> None:
    app = make_app(result_expires=expires)
    app.backend.store_result(tid := uuid(), 1, states.SUCCESS)
    app.backend.cleanup()
    app.backend._cache.clear()
    assert app.backend.get_state(tid) == states.SUCCESS


# the rest


def test_the_url_is_shown_without_its_password(make_app: MakeApp) -> None:
    app = make_app(url="depqueue+postgresql://me:secret@127.0.0.1/nothing")
    assert "secret" not in app.backend.as_uri()
    assert "secret" in app.backend.as_uri(include_password=True)


def test_it_can_be_pickled(make_app: MakeApp) -> None:
    app = make_app()
    app.set_current()
    app.backend.store_result(tid := uuid(), 1, states.SUCCESS)
    copy = pickle.loads(pickle.dumps(app.backend))
    assert isinstance(copy, DepQueueBackend)
    assert copy.as_uri() == app.backend.as_uri()
    result = pickle.loads(pickle.dumps(app.AsyncResult(tid)))
    assert result.id == tid


def test_storing_is_tried_again(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    app = make_app(result_backend_always_retry=True, result_backend_max_retries=3)
    failures = [StorageError("gone"), StorageError("still gone")]
    real = type(app.backend.queue).conclude

    def conclude(self: Any, *args: Any, **kwargs: Any) -> bool:
        if failures:
            raise failures.pop()
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(app.backend.queue), "conclude", conclude)
    app.backend.store_result(tid := uuid(), 1, states.SUCCESS)
    assert app.backend.get_result(tid) == 1
    failures += [StorageError("gone for good")] * 10
    with pytest.raises(BackendStoreError):
        app.backend.store_result(uuid(), 1, states.SUCCESS)


def test_eager_results_are_stored(make_app: MakeApp) -> None:
    app = make_app(task_always_eager=True, task_store_eager_result=True)
    result = app.tasks["b.add"].delay(1, 2)
    assert app.backend.get_result(result.id) == 3


def test_results_of_another_broker(make_app: MakeApp, database_url: str) -> None:
    """Our results with Celery on any broker: there are no jobs, only records."""
    app = make_app(url="memory://", backend=broker_of(database_url))
    tid = uuid()
    app.backend.store_result(tid, {"done": 1}, "PROGRESS")
    assert app.backend.get_state(tid) == "PROGRESS"
    app.backend.store_result(tid, 5, states.SUCCESS)
    assert app.AsyncResult(tid).get(timeout=5) == 5


def test_results_in_another_database_than_the_broker(make_app: MakeApp, tmp_path: Any, database_url: str) -> None:
    app = make_app(backend=f"depqueue+sqlite:///{tmp_path / 'results.db'}")
    assert not app.backend.is_brokers
    app.backend.store_result(tid := uuid(), 5, states.SUCCESS)
    assert app.backend.get_result(tid) == 5
