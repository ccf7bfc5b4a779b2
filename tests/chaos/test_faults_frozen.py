"""A server whose processes are all stopped: the kernel keeps its connections, and nothing is ever answered.

Every public operation of both doors ends within `deadline` all the same: a new one without a case here
fails the test.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from faults import servers
from faults.needs import had
from faults.servers import OwnServer, own_server
from kombu import Connection
from kombu.transport.base import StdChannel
from sqlalchemy import make_url

from kombu_depqueue import JobMessage, JobQueue, JobState, Reservation, StorageError, Worker, create_tables
from kombu_depqueue.testing.helpers import in_threads, wait_until
from kombu_depqueue.transport.channel import Channel

pytestmark = pytest.mark.xdist_group("frozen")

DEADLINE, SLACK = 2.0, 3.0
"""Seconds; the slack is for a loaded machine."""


MAKERS = {"postgresql": servers.postgresql, "mysql": servers.mariadb}


@pytest.fixture(scope="module", params=MAKERS)
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    with had(MAKERS[request.param]()) as scene:
        JobQueue(scene.url, create=True).close()
        server = own_server(scene)
        if request.param == "mysql":  # for TLS pymysql reads the system's certificates: 50 ms of CPU, 60 times at once
            server.url = with_options(server.url, ssl_disabled="true")
        yield server
        server.thaw()


def with_options(url: str, **options: object) -> str:
    query = {name: str(value) for name, value in options.items()}
    return make_url(url).update_query_dict(query).render_as_string(hide_password=False)


def public(*kinds: type) -> set[str]:
    return {name for kind in kinds for name in dir(kind) if not name.startswith("_")}


# -- natively ----------------------------------------------------------------------------------------------

LOCAL = {
    JobQueue: {"creates_at_once", "renewals", "genuine"},
    Reservation: {
        *("args", "attempt", "body", "channel", "content_type", "has_dependents", "headers", "job_id", "job_type"),
        *("joined", "key", "max_attempts", "redelivered", "settled", "token"),
    },
    Worker: set(),
    Channel: {
        *("Consumer", "Message", "Producer", "after_reply_message_received", "basic_qos", "credit", "deliver"),
        *("do_restore", "entries", "flow", "has_room", "holds", "insert", "message_to_python", "no_ack_consumers"),
        *("exchange_bind", "exchange_unbind"),  # not offered
        *("owe", "owes", "prepare_message", "prepare_queue_arguments", "surplus", "takes_more", "unreadable"),
    },
}
"""What does not ask the database, or is asked by the cases of others."""
CONNECTING = 2.0
"""Seconds that libpq takes at least to give up: a thread that closing waits for may just have begun to connect."""
CLOSING = {"close", "Channel.close", "Connection.release"}
"""What need not raise: leases that cannot be given back expire by themselves."""


class Native:
    """The native door, and one case for each of its operations."""

    def __init__(self, url: str) -> None:
        self.queue = JobQueue(url, deadline=DEADLINE, pool_size=90, lease=5, poll_interval=0.2)
        self.kept = self.queue.enqueue("kept")
        self.dependent = self.queue.enqueue("later", depends_on=[self.kept])
        self.queue.enqueue_many([JobMessage.new("held", depends_on=()) for _ in range(30)])
        self.held = self.queue.reserve_many(30, 0, queues=["held"])
        self.failed = self.queue.enqueue("failed")
        self.queue.dequeue(["failed"], 0).fail()
        self.queue.enqueue("waits", depends_on=[self.failed])
        self.worker = self.queue.register_worker("w")
        place = "schema" if url.startswith("postgresql") else "table_prefix"
        self.dropping = JobQueue(with_options(url, **{place: "dropped"}), deadline=DEADLINE, create=True)
        self.closing = [JobQueue(url, deadline=DEADLINE, lease=5) for _ in range(2)]
        for one in self.closing:
            one.enqueue("closing")
            one.dequeue(["closing"], 0)  # what it holds is to be given back

    def _one(self) -> Reservation:
        return self.held.pop()

    def cases(self) -> dict[str, Callable[[], object]]:
        q, one = self.queue, self._one
        released = q.dequeue(["waits"], 0)  # it has dependencies
        token, beating = one().token, one().token
        found: dict[str, Callable[[], object]] = {
            "ack_many": partial(q.ack_many, [one(), one()]),
            "all_root_jobs": q.all_root_jobs,
            "cancel": lambda: q.cancel(self.kept),
            "close": self.closing[0].close,
            "delete_job": lambda: q.delete_job(self.dependent),
            "delete_worker": lambda: q.delete_worker(self.worker),
            "dependencies_of": lambda: q.dependencies_of(self.dependent),
            "dequeue": lambda: q.dequeue(["kept"], 0),
            "dequeue_by_id": lambda: q.dequeue_by_id(self.kept),
            "drop_tables": self.dropping.drop_tables,
            "enqueue": lambda: q.enqueue("new"),
            "enqueue_many": lambda: q.enqueue_many([JobMessage.new("new", max_attempts=n) for n in (1, 2)]),
            "examine": q.examine,
            "extend_lease": partial(lambda job: q.extend_lease(job, 60), one()),
            "fail_job": partial(lambda job: q.fail_job(job.job_id), one()),
            "figures": q.figures,
            "finish": partial(lambda job: q.finish(job.job_id), one()),
            "heartbeats": lambda: q.heartbeats(0),
            "job_id_of": lambda: q.job_id_of(token),
            "jobs": q.jobs,
            "limit": lambda: q.limit("kept", max_length=9),
            "limits": lambda: q.limits(f"q{uuid4()}"),
            "maintain": q.maintain,
            "message_of": lambda: q.message_of(self.kept),
            "pause": lambda: q.pause("paused"),
            "prunable": q.prunable,
            "purge": lambda: q.purge("kept"),
            "queues": q.queues,
            "refresh_heartbeat": lambda: q.refresh_heartbeat(beating),
            "refresh_worker": lambda: q.refresh_worker(self.worker),
            "register_worker": lambda: q.register_worker("x"),
            "requeue_or_finish": partial(lambda job: q.requeue_or_finish(job.job_id, 3), one()),
            "reserve": lambda: q.reserve(None, queues=["kept"]),
            "reserve_many": lambda: q.reserve_many(3, 60, queues=["kept"], renew=False),
            "results_of_dependencies": lambda: q.results_of_dependencies(self.dependent),
            "resume": lambda: q.resume("paused"),
            "retry": lambda: q.retry(self.failed),
            "settings_of_database": q.settings_of_database,
            "settle_ack": partial(lambda job: q.settle_ack(job, None, None), one()),
            "settle_fail": partial(lambda job: q.settle_fail(job, "", None), one()),
            "settle_requeue": partial(lambda job: q.settle_requeue(job, 0), one()),
            "status": lambda: q.status(self.kept),
            "why": lambda: q.why(self.kept),
            "workers": q.workers,
        }
        settling = ("ack", "extend", "fail", "reject", "requeue")
        given = {"extend": (60,)}
        found |= {f"Reservation.{n}": partial(getattr(one(), n), *given.get(n, ())) for n in settling}
        found["Reservation.depends_on"] = lambda: released.depends_on
        found["Reservation.message"] = lambda: released.message
        found["Reservation.results_of_dependencies"] = released.results_of_dependencies
        return found

    def close(self) -> None:
        for one in (self.queue, self.dropping, *self.closing):
            one.close()


def test_every_public_operation_has_a_case(server: OwnServer) -> None:
    with closing(Native(server.url)) as native, closing(Kombu(server.url)) as kombu:
        named = {*native.cases(), *(f"Worker.{name}" for name in ("run", "stop"))}
        assert public(JobQueue) - LOCAL[JobQueue] == {name for name in named if "." not in name}
        for kind in (Reservation, Worker):
            names = {name.split(".")[1] for name in named if name.startswith(f"{kind.__name__}.")}
            assert public(kind) - LOCAL[kind] == names
        assert public(Channel, StdChannel) - LOCAL[Channel] == set(kombu.cases())


def _run(cases: dict[str, Callable[[], object]]) -> dict[str, tuple[object, float]]:
    """All at once, each in a thread: what each answered or raised, and after how many seconds."""

    def timed(call: Callable[[], object]) -> Callable[[], tuple[object, float]]:
        def run() -> tuple[object, float]:
            began = time.monotonic()
            try:
                answer = call()
            except Exception as error:
                answer = error
            return answer, time.monotonic() - began

        return run

    answers = in_threads([timed(call) for call in cases.values()], DEADLINE + 30)
    return {name: one if isinstance(one, tuple) else (one, 99.0) for name, one in zip(cases, answers, strict=True)}


# -- through Kombu -----------------------------------------------------------------------------------------


class Kombu:
    """Kombu's door: a channel's operations, on channels of their own."""

    def __init__(self, url: str) -> None:
        options = {"deadline": DEADLINE, "lease": 5, "poll_interval": 0.2, "pool_size": 60}
        self.broker = f"depqueue+{with_options(url, **options)}"
        self.connection, self.consuming, self.leaving = (self.connect() for _ in range(3))
        self.channel = self.connection.default_channel
        for name in ("a", "b", "c", "d"):
            self.channel.queue_declare(name)
        for _ in range(8):
            self._publish("a")
        self.channel.exchange_declare("x", "topic")
        self.channel.queue_bind("b", "x", "k")
        for consumer in (self.consuming, self.leaving):
            consumer.default_channel.basic_consume("c", callback=lambda message: None)

    def connect(self) -> Connection:
        return Connection(self.broker)

    def _publish(self, key: str, channel: Any = None, exchange: str = "") -> None:
        channel = channel or self.channel
        channel.basic_publish(channel.prepare_message("1", content_type="text/plain"), exchange, key)

    def _batch(self, channel: Any) -> None:
        batch = channel.create_publish_batch(10)
        for _ in range(2):
            batch.publish(channel.prepare_message("1", content_type="text/plain"), "", "a")
        batch.flush()

    def cases(self) -> dict[str, Callable[[], object]]:
        made: list[Any] = []

        def other() -> Any:
            made.append(self.connection.channel())
            return made[-1]

        def holding() -> tuple[Any, int]:
            channel = other()
            return channel, channel.basic_get("a").delivery_tag

        ack, reject, recover, close = holding(), holding(), holding(), holding()
        canceling = other()
        tag = canceling.basic_consume("d", callback=lambda message: None)
        return {
            "basic_ack": lambda: self.connection.transport.queue.ack_messages([ack[0]._unacked[ack[1]]]),
            "basic_cancel": lambda: canceling.basic_cancel(tag),
            "basic_consume": partial(lambda c: c.basic_consume("b"), other()),
            "basic_get": partial(lambda c: c.basic_get("a"), other()),
            "basic_publish": partial(lambda c: self._publish("a", c), other()),
            "basic_recover": recover[0].basic_recover,
            "basic_reject": lambda: reject[0].basic_reject(reject[1], requeue=True),
            "close": close[0].close,
            "create_publish_batch": partial(lambda c: self._batch(c), other()),
            "exchange_declare": partial(lambda c: c.exchange_declare(f"x{uuid4().hex}", "direct"), other()),
            "exchange_delete": partial(lambda c: c.exchange_delete("x"), other()),
            "get_bindings": partial(lambda c: c.get_bindings(), other()),
            "list_bindings": partial(lambda c: c.list_bindings(), other()),
            "queue_bind": partial(lambda c: c.queue_bind("a", "x", "z"), other()),
            "queue_declare": partial(lambda c: c.queue_declare(f"q{uuid4().hex}"), other()),
            "queue_delete": partial(lambda c: c.queue_delete("b"), other()),
            "queue_purge": partial(lambda c: c.queue_purge("a"), other()),
            "queue_unbind": partial(lambda c: c.queue_unbind("b", "x", "k"), other()),
        }

    def close(self) -> None:
        for one in (self.connection, self.consuming, self.leaving):
            one.release()


# -- frozen ------------------------------------------------------------------------------------------------


def test_every_operation_ends_in_time_and_everything_works_afterwards(server: OwnServer) -> None:
    """Threads and the connection that listens included."""
    with closing(Native(server.url)) as native, closing(Kombu(server.url)) as kombu:
        _freeze_and_look(server, native, kombu)
        _works_again(native.queue, kombu)


def _freeze_and_look(server: OwnServer, native: Native, kombu: Kombu) -> None:
    has_sessions = native.queue._database.dialect.has_sessions
    worker = Worker(native.queue, {"works": lambda job: None})
    working = threading.Thread(target=worker.run, daemon=True)
    try:
        working.start()
        cases = native.cases()
        cases |= {f"Channel.{name}": call for name, call in kombu.cases().items()}
        cases["Connection.connect"] = lambda: kombu.connect().transport.establish_connection()
        cases["Connection.release"] = kombu.leaving.release
        cases["create_tables"] = lambda: create_tables(with_options(server.url, deadline=DEADLINE))
        if has_sessions:
            wait_until(lambda: native.queue._waiter.session)
        server.freeze()
        said = _run(cases)
        worker.stop()
        working.join(DEADLINE + SLACK)
        late_threads = working.is_alive()
    finally:
        server.thaw()
    print(
        "frozen server:", {name: round(took, 1) for name, (_, took) in sorted(said.items(), key=lambda s: -s[1][1])[:5]}
    )
    late = {n: took for n, (_, took) in said.items() if took > DEADLINE + SLACK + CONNECTING * (n in CLOSING)}
    wrong = {n: repr(a) for n, (a, _) in said.items() if n not in CLOSING and not isinstance(a, StorageError)}
    assert (late, wrong) == ({}, {})
    assert not late_threads


def _works_again(queue: JobQueue, kombu: Kombu) -> None:
    wait_until(lambda: _status(queue, queue.enqueue("after")), 30)
    if queue._database.dialect.has_sessions:
        wait_until(lambda: queue._waiter.session is not None, 30)
    job = queue.reserve(30, queues=["after"])
    job.ack()
    assert queue.status(job.job_id).state is JobState.SUCCEEDED
    arrived: list[Any] = []
    channel = kombu.consuming.default_channel
    channel.basic_consume("d", callback=arrived.append, no_ack=True)
    kombu._publish("d", channel)
    until = time.monotonic() + 30
    while not arrived and time.monotonic() < until:
        kombu.consuming.drain_events(timeout=30)
    assert arrived


def _status(queue: JobQueue, job_id: Any) -> bool:
    return queue.status(job_id).state is JobState.READY
