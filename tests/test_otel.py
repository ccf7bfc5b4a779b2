"""OpenTelemetry: the spans and metrics of the messaging conventions, and what makes none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import update

from kombu_depqueue import JobMessage, JobQueue, JobState, Worker, enlist
from kombu_depqueue.errors import InvalidJob
from kombu_depqueue.testing.fixtures import MakeQueue
from kombu_depqueue.testing.helpers import assert_nothing_ready


class Seen:
    """What was exported."""

    def __init__(self) -> None:
        self.spans_out, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans_out))
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def spans(self, name: str = "") -> list[Any]:
        return [s for s in self.spans_out.get_finished_spans() if s.name.startswith(name)]

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """Data points by queue, and error if there was one."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for metric in (m for scope in resource.scope_metrics for m in scope.metrics if m.name == name):
                for point in metric.data.data_points:
                    a = point.attributes
                    assert a["messaging.system"] == "depqueue"
                    found[a["messaging.destination.name"], *filter(None, [a.get("error.type")])] = point
        return found


@pytest.fixture
def seen() -> Iterator[Seen]:
    from kombu_depqueue.otel import DepqueueInstrumentor

    found = Seen()
    DepqueueInstrumentor().instrument(tracer_provider=found.tracers, meter_provider=found.meters)
    yield found
    DepqueueInstrumentor().uninstrument()
    found.tracers.shutdown()
    found.meters.shutdown()


def test_a_job_has_a_span_when_it_is_sent_and_one_when_it_is_run(seen: Seen, queue: JobQueue) -> None:
    with seen.tracer.start_as_current_span("request") as request:
        job_id = queue.enqueue("mail", 1, headers={"mine": "kept"})
    got: list[Any] = []

    def run(job: Any) -> None:
        got.append((job.message.headers["mine"], trace.get_current_span().get_span_context().span_id))

    Worker(queue, {"mail": run}).run(until_idle=True)
    [send], [ran] = seen.spans("send"), seen.spans("process")
    assert (send.name, send.kind, send.parent.span_id) == ("send mail", SpanKind.PRODUCER, request.context.span_id)
    common = {"messaging.system": "depqueue", "messaging.destination.name": "mail", "messaging.message.id": str(job_id)}
    assert dict(send.attributes) == common | {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    assert (ran.name, ran.kind, ran.parent) == ("process mail", SpanKind.CONSUMER, None)
    assert [link.context.span_id for link in ran.links] == [send.context.span_id]
    assert dict(ran.attributes) == common | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "depqueue.attempt": 1,
    }
    assert got == [("kept", ran.context.span_id)]
    assert ran.status.status_code is StatusCode.UNSET
    assert len(seen.spans()) == 3


def test_metrics_count_what_was_sent_handed_out_and_run(seen: Seen, queue: JobQueue) -> None:
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(3)])
    queue.enqueue("other")
    Worker(queue, {"mail": lambda job: None, "other": lambda job: None}).run(until_idle=True)
    assert {k: p.value for k, p in seen.points("messaging.client.sent.messages").items()} == {
        ("mail",): 3,
        ("other",): 1,
    }
    consumed = seen.points("messaging.client.consumed.messages")
    assert {k: p.value for k, p in consumed.items()} == {("mail",): 3, ("other",): 1}
    assert {k: p.count for k, p in seen.points("messaging.client.operation.duration").items()}[("mail",)] == 1
    ran = seen.points("messaging.process.duration")
    assert {k: p.count for k, p in ran.items()} == {("mail",): 3, ("other",): 1}
    assert ran["mail",].explicit_bounds[0] == 0.005
    [batch] = [s for s in seen.spans("send mail") if "messaging.batch.message_count" in s.attributes]
    assert batch.attributes["messaging.batch.message_count"] == 3


def test_errors_are_noted_where_they_happen(seen: Seen, queue: JobQueue) -> None:
    queue.enqueue("mail", max_attempts=2)

    def fail(job: Any) -> None:
        raise LookupError("no such thing")

    Worker(queue, {"mail": fail}, retry_delay=lambda n: 0).run(until_idle=True)
    ran = seen.spans("process")
    assert len(ran) == 2
    for span, attempt in zip(ran, (1, 2), strict=True):
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "LookupError")
        assert span.attributes["depqueue.attempt"] == attempt
        assert span.events[0].attributes["exception.message"] == "no such thing"
    assert seen.points("messaging.process.duration")["mail", "LookupError"].count == 2
    with pytest.raises(InvalidJob):
        queue.enqueue("mail", priority=999)
    failed = seen.spans("send")[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert seen.points("messaging.client.sent.messages")["mail", "InvalidJob"].value == 1


def test_waiting_for_jobs_makes_no_spans(seen: Seen, queue: JobQueue) -> None:
    assert_nothing_ready(queue, 0.3)
    queue.queues()
    queue.maintain()
    assert seen.spans() == []


def test_jobs_reserved_by_hand_can_have_the_span(seen: Seen, queue: JobQueue) -> None:
    from kombu_depqueue.otel import process

    queue.enqueue("mail")
    held = queue.reserve(5, queues=["mail"])
    with pytest.raises(ValueError, match="so"), process(held):
        raise ValueError("so")
    held.ack()
    [ran] = seen.spans("process")
    assert ran.attributes["error.type"] == "ValueError"
    assert ran.links[0].context.span_id == seen.spans("send")[0].context.span_id


def test_jobs_enlisted_in_a_transaction_are_traced(seen: Seen, queue: JobQueue, engine: Any) -> None:
    queue.queues()
    with engine.begin() as connection, enlist(connection):
        queue.enqueue("mail")
    [send] = seen.spans("send")
    assert f"{send.context.trace_id:032x}" in queue.reserve(5, queues=["mail"]).message.headers["traceparent"]


def test_what_is_no_job_is_refused_as_ever(seen: Seen, queue: JobQueue) -> None:
    for bad in (3, "mail", None):
        with pytest.raises(InvalidJob):
            queue.enqueue_many([bad])
    with pytest.raises(InvalidJob, match="headers"):
        queue.enqueue("mail", headers=[1])


def test_jobs_without_a_sender_are_run_all_the_same(seen: Seen, make_queue: MakeQueue) -> None:
    queue = make_queue()
    queue.enqueue("mail", headers={"traceparent": "nonsense"})
    Worker(queue, {"mail": lambda job: None}).run(until_idle=True)
    [ran] = seen.spans("process")
    assert list(ran.links) == []


def test_headers_that_are_none_end_their_job_and_not_the_worker(seen: Seen, queue: JobQueue, engine: Any) -> None:
    bad, good = queue.enqueue("mail", 1), queue.enqueue("mail", 2)
    job = queue._database.dialect.tables.job
    with engine.begin() as connection:
        connection.execute(update(job).where(job.c.job_id == bad).values(envelope=b'{"headers": [1]}'))
    Worker(queue, {"mail": lambda job: job.headers}).run(until_idle=True)
    assert [queue.status(i).state for i in (bad, good)] == [JobState.FAILED, JobState.SUCCEEDED]


# Celery


def test_celery_tasks_have_the_spans_of_celerys_instrumentation_only(
    seen: Seen, database_url: str, queue: JobQueue
) -> None:
    from celery import Celery
    from celery.contrib.testing.worker import start_worker

    queue.queues()
    app = Celery("traced", set_as_current=False, broker=f"depqueue+{database_url}", backend="cache+memory://")
    app.conf.update(broker_connection_retry_on_startup=False, worker_pool="solo")
    app.conf.worker_hijack_root_logger = False  # this process's logging is the tests'

    @app.task(name="traced.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    CeleryInstrumentor().instrument(tracer_provider=seen.tracers)
    try:
        with start_worker(app, perform_ping_check=False, pool="solo", loglevel="warning"):
            assert add.delay(1, 2).get(timeout=60) == 3
    finally:
        CeleryInstrumentor().uninstrument()
    names = [span.name for span in seen.spans()]
    assert sorted(names) == ["apply_async/traced.add", "run/traced.add"]
    sent, ran = (next(s for s in seen.spans(kind)) for kind in ("apply_async", "run"))
    assert ran.parent.span_id == sent.context.span_id  # the context went through our headers
    assert seen.points("messaging.client.sent.messages")["celery",].value == 1


# without


def test_nothing_is_imported_where_nothing_is_instrumented() -> None:
    program = (
        "import sys, kombu_depqueue.transport, kombu_depqueue.cli; from kombu_depqueue import JobQueue, Worker;"
        "sys.exit(any(m.partition('.')[0] in ('opentelemetry', 'prometheus_client', 'wrapt') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_uninstrumented_it_is_as_before(queue: JobQueue) -> None:
    from kombu_depqueue.otel import DepqueueInstrumentor

    before = JobQueue._insert, JobQueue._reservations, Worker._run_one
    DepqueueInstrumentor().instrument(tracer_provider=TracerProvider())
    assert JobQueue._insert is not before[0]
    DepqueueInstrumentor().uninstrument()
    assert (JobQueue._insert, JobQueue._reservations, Worker._run_one) == before
    queue.enqueue("mail")
    assert queue.reserve(5, queues=["mail"]).message.headers is None
