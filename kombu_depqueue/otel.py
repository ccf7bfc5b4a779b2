"""OpenTelemetry: spans and metrics of jobs by the conventions for messaging; extra `[otel]`.

    from kombu_depqueue.otel import DepqueueInstrumentor

    DepqueueInstrumentor().instrument()  # or run the program by `opentelemetry-instrument`

A span `send` for each enqueue, whose context travels in the job's headers (`traceparent`);
a span `process` for each job that a `Worker` runs (or whoever uses `process(reservation)`),
linked to the span that sent it. Waiting for jobs makes no spans. Celery's tasks have the
spans of opentelemetry-instrumentation-celery, which travel in the same way; here they are
only counted. Where nothing is instrumented, nothing of this is imported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.instrumentation.utils import unwrap
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import Link, SpanKind, StatusCode, Tracer, TracerProvider, get_tracer
from wrapt import wrap_function_wrapper

from kombu_depqueue._version import __version__
from kombu_depqueue.job import JobMessage
from kombu_depqueue.messages import MessageQueue
from kombu_depqueue.queue import JobQueue
from kombu_depqueue.worker import Worker

if TYPE_CHECKING:
    from kombu_depqueue.reservation import Reservation

__all__ = ["DepqueueInstrumentor", "process"]

SYSTEM = "depqueue"
_NAME = "kombu_depqueue"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bounds that the conventions advise."""


class _Instruments:
    """A tracer, and the meters of the conventions."""

    def __init__(self, tracers: TracerProvider | None, meters: MeterProvider | None) -> None:
        self.tracer: Tracer = get_tracer(_NAME, __version__, tracers)
        meter = get_meter(_NAME, __version__, meters)
        self.sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that a producer tried to enqueue."
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Jobs that were handed out."
        )
        bounds = {"explicit_bucket_boundaries_advisory": _SECONDS}
        self.duration = meter.create_histogram(
            "messaging.client.operation.duration", "s", "How long an enqueue took.", **bounds
        )
        self.processing = meter.create_histogram("messaging.process.duration", "s", "How long a job was run.", **bounds)


class _What(NamedTuple):
    """An operation in the words of the conventions."""

    name: str
    queue: str

    @property
    def attributes(self) -> dict[str, Any]:
        """What spans and metrics have in common."""
        given = {"messaging.system": SYSTEM, "messaging.operation.name": self.name}
        kind = {"messaging.operation.type": self.name}
        return given | kind | ({"messaging.destination.name": self.queue} if self.queue else {})


_current: _Instruments | None = None


class DepqueueInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Instruments `JobQueue`, `Worker` and the Kombu transport of this process."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """This package itself."""
        return (f"kombu-depqueue == {__version__}",)

    def _instrument(self, **options: Any) -> None:
        global _current
        _current = _Instruments(options.get("tracer_provider"), options.get("meter_provider"))
        wrap_function_wrapper(JobQueue, "_insert", _sending)
        wrap_function_wrapper(JobQueue, "_reservations", _receiving)
        wrap_function_wrapper(MessageQueue, "publish", _publishing)
        wrap_function_wrapper(Worker, "_run_one", _running)
        wrap_function_wrapper(Worker, "_failed", _failing)

    def _uninstrument(self, **options: Any) -> None:
        global _current
        for owner, name in (
            (JobQueue, "_insert"),
            (JobQueue, "_reservations"),
            (MessageQueue, "publish"),
            (Worker, "_run_one"),
            (Worker, "_failed"),
        ):
            unwrap(owner, name)
        _current = None


def _sending(wrapped: Callable[..., Any], queue: JobQueue, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`_insert(jobs, connection)`: a span, and its context in the headers of the jobs."""
    on = _current
    jobs: Sequence[JobMessage] = args[0]
    if on is None or not jobs or not all(isinstance(job, JobMessage) for job in jobs):
        return wrapped(*args, **options)  # what is wrong others will say
    names = {job.job_type or queue.settings.queue for job in jobs}
    what = _What("send", names.pop() if len(names) == 1 else "")
    only = {"messaging.message.id": str(jobs[0].job_id)} if len(jobs) == 1 else {}
    batch = {"messaging.batch.message_count": len(jobs)} if len(jobs) > 1 else {}
    with on.tracer.start_as_current_span(
        f"send {what.queue}".strip(), kind=SpanKind.PRODUCER, attributes={**what.attributes, **only, **batch}
    ):
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        traced = [_with_headers(job, carrier) for job in jobs]
        with _timed(on, what, len(jobs)):
            return wrapped(traced, *args[1:], **options)


def _with_headers(job: JobMessage, carrier: Mapping[str, str]) -> JobMessage:
    headers = job.headers or {}
    if not carrier or not isinstance(headers, Mapping):
        return job
    return replace(job, headers={**carrier, **headers})


@contextmanager
def _timed(on: _Instruments, what: _What, count: int) -> Iterator[None]:
    began, attributes = time.perf_counter(), what.attributes
    try:
        yield
    except Exception as error:
        attributes["error.type"] = type(error).__qualname__
        raise
    finally:
        on.duration.record(time.perf_counter() - began, attributes)
        on.sent.add(count, attributes)


def _publishing(wrapped: Callable[..., Any], queue: MessageQueue, args: tuple[Any, ...], options: Any) -> Any:
    """`publish(entries)` of the transport: Celery's own instrumentation has the span."""
    on = _current
    jobs = [entry for entry in args[0] if entry.job_id is not None]  # not events, not remote control
    if on is None or not jobs:
        return wrapped(*args, **options)
    names = {entry.queue for entry in jobs}
    with _timed(on, _What("send", names.pop() if len(names) == 1 else ""), len(jobs)):
        return wrapped(*args, **options)


def _receiving(wrapped: Callable[..., Any], queue: JobQueue, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`_reservations(...)`: jobs were found."""
    found = wrapped(*args, **options)
    if _current is not None:
        for job in found:
            _current.consumed.add(1, _What("receive", job.job_type).attributes)
    return found


@contextmanager
def process(reservation: Reservation) -> Iterator[None]:
    """Make what is done in the block the span `process` of a job, linked to the span that sent it.

    A `Worker` does this by itself. What is raised inside is noted, and goes on.
    """
    on = _current
    if on is None:
        yield
        return
    what, began = _What("process", reservation.job_type), time.perf_counter()
    origin = trace.get_current_span(propagate.extract(_headers(reservation))).get_span_context()
    attributes = what.attributes
    seen: dict[str, Any] = {"messaging.message.id": str(reservation.job_id), "depqueue.attempt": reservation.attempt}
    with on.tracer.start_as_current_span(
        f"process {what.queue}",
        kind=SpanKind.CONSUMER,
        links=[Link(origin)] if origin.is_valid else [],
        attributes={**attributes, **seen},
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            raise
        finally:
            failed = getattr(span, "attributes", None) or {}
            if "error.type" in failed:
                attributes["error.type"] = failed["error.type"]
            on.processing.record(time.perf_counter() - began, attributes)


def _headers(reservation: Reservation) -> Mapping[str, str]:
    try:
        headers = reservation.headers
    except ValueError:  # it cannot be decoded, which its handler will find out
        return {}
    return {str(name): value for name, value in headers.items() if isinstance(value, str)}


def _running(wrapped: Callable[..., Any], worker: Worker, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`_run_one(job)`."""
    with process(args[0]):
        return wrapped(*args, **options)


def _failing(wrapped: Callable[..., Any], worker: Worker, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`_failed(job, error)`: what the handler raised is caught before it reaches the span."""
    span, error = trace.get_current_span(), args[1]
    span.record_exception(error)
    span.set_status(StatusCode.ERROR, type(error).__qualname__)
    span.set_attribute("error.type", type(error).__qualname__)
    return wrapped(*args, **options)
