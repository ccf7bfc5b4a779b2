"""Prometheus: a collector of what monitoring wants to know, and a WSGI application; extra `[prometheus]`.

One exporter sees all that is in the database, whoever put it there: run `depqueue metrics`, or
mount `make_app(queue)` in an application of yours, or register a `Collector(queue)` where your
own metrics are. `docs/metrics.md` says what each name means.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import make_wsgi_app
from prometheus_client.registry import Collector as BaseCollector

from kombu_depqueue.errors import DepQueueError
from kombu_depqueue.tallies import BUCKETS

if TYPE_CHECKING:
    from kombu_depqueue.monitoring import Durations, Figures, Mark
    from kombu_depqueue.queue import JobQueue

__all__ = ["Collector", "make_app", "registry_of"]

logger = logging.getLogger("kombu_depqueue")

_QUEUE = ("channel", "queue")
_STATES = ("ready", "scheduled", "blocked", "leased", "dead")


@dataclass(slots=True)
class _Sums:
    """A histogram that grows."""

    count: int = 0
    total: float = 0.0
    within: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))

    def add(self, more: Durations) -> None:
        self.count += more.count
        self.total += more.total
        self.within = [a + b for a, b in zip(self.within, more.within, strict=True)]

    @property
    def buckets(self) -> Sequence[tuple[str, float]]:
        return [(str(bound), n) for bound, n in zip(BUCKETS, self.within, strict=True)] + [("+Inf", self.count)]


class Collector(BaseCollector):
    """Takes one bounded look at the database whenever it is scraped; its counters begin at its first.

    The database failing is `depqueue_up 0`, not an error of the scrape.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._mark: Mark | None = None
        self._ended: dict[tuple[str, str, str], int] = {}
        self._again: dict[tuple[str, str], int] = {}
        self._waited: dict[tuple[str, str], _Sums] = {}
        self._ran: dict[tuple[str, str], _Sums] = {}

    def describe(self) -> Iterable[Metric]:
        """Nothing: whoever registers it need not ask the database for names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        with self._lock:  # two scrapes at once must not count the same ends twice
            began = time.perf_counter()
            try:
                figures = self._queue.figures(self._mark)
            except DepQueueError as error:
                logger.warning("metrics cannot be read: %s", error)
                yield _gauge("depqueue_up", "Whether the database answered.", [((), 0.0)])
                return
            self._mark = figures.mark
            self._add(figures)
            yield _gauge("depqueue_up", "Whether the database answered.", [((), 1.0)])
            took = time.perf_counter() - began
            yield _gauge("depqueue_scrape_duration_seconds", "How long the database took to answer.", [((), took)])
            yield from self._depths(figures)
            yield from self._counters(figures)
            yield from self._consumers(figures)
            yield from _tables(figures)
            yield from _celery(figures)

    def _add(self, figures: Figures) -> None:
        for q in figures.queues:
            key = (q.channel, q.name)
            for outcome in ("succeeded", "failed", "dead", "canceled", "expired"):
                self._ended.setdefault((*key, outcome), 0)
            self._again.setdefault(key, 0)
            self._waited.setdefault(key, _Sums())
            self._ran.setdefault(key, _Sums())
        for e in figures.ended:
            key = (e.channel, e.queue)
            self._ended[*key, e.outcome] = self._ended.get((*key, e.outcome), 0) + e.count
            self._again[key] = self._again.get(key, 0) + e.redelivered
            self._waited.setdefault(key, _Sums()).add(e.waited)
            self._ran.setdefault(key, _Sums()).add(e.ran)

    def _depths(self, figures: Figures) -> Iterator[Metric]:
        keys = [(q.channel, q.name) for q in figures.queues]
        jobs = [((q.channel, q.name, s), float(getattr(q, s))) for q in figures.queues for s in _STATES]
        yield _gauge("depqueue_queue_jobs", "Jobs by state; a count stops at 10,001.", jobs, (*_QUEUE, "state"))
        ages = [q.oldest_ready_age or 0.0 for q in figures.queues]
        what = "How long the oldest ready job has been ready; 0: there is none."
        yield _gauge("depqueue_queue_oldest_ready_age_seconds", what, zip(keys, ages, strict=True), _QUEUE)
        paused = [float(q.paused) for q in figures.queues]
        yield _gauge("depqueue_queue_paused", "Whether the queue is paused.", zip(keys, paused, strict=True), _QUEUE)

    def _counters(self, figures: Figures) -> Iterator[Metric]:
        ended = CounterMetricFamily("depqueue_jobs_ended", "Jobs that ended.", labels=(*_QUEUE, "outcome"))
        for labels, count in self._ended.items():
            ended.add_metric(labels, count)
        yield ended
        again = CounterMetricFamily(
            "depqueue_jobs_redelivered", "Deliveries of jobs beyond the first, counted when they end.", labels=_QUEUE
        )
        for key, count in self._again.items():
            again.add_metric(key, count)
        yield again
        waits = "From the enqueue of a job to its last hand-out: delays, dependencies and earlier attempts included."
        runs = "From the last hand-out of a job to its end, if it succeeded or failed."
        for name, what, found in (("wait", waits, self._waited), ("run", runs, self._ran)):
            family = HistogramMetricFamily(f"depqueue_job_{name}_seconds", what, labels=_QUEUE)
            for key, sums in found.items():
                family.add_metric(key, sums.buckets, sums.total)
            yield family

    def _consumers(self, figures: Figures) -> Iterator[Metric]:
        counts = [((word,), float(n)) for word, n in figures.consumers.items()]
        yield _gauge("depqueue_consumers", "Who consumes, by kind; a count stops at 10,001.", counts, ("kind",))
        what = "How long ago the consumer that has been silent for longest renewed its lease; 0: there is none."
        yield _gauge("depqueue_consumer_silence_seconds", what, [((), figures.silence or 0.0)])
        what = "Consumers whose lease has run out, and whose jobs nobody has given to others yet."
        yield _gauge("depqueue_expired_leases", what, [((), float(figures.expired))])
        if self._queue.renewals:  # a collector in a process that consumes
            renewals = CounterMetricFamily("depqueue_lease_renewals", "Renewals of the lease of this process.")
            renewals.add_metric((), self._queue.renewals)
            yield renewals


def _tables(figures: Figures) -> Iterator[Metric]:
    for attribute, name, what in (
        ("size", "depqueue_table_bytes", "Size of a table with its indexes (on SQLite: of the file)."),
        ("rows", "depqueue_table_rows", "Live rows, as the database estimates them."),
        ("dead", "depqueue_table_dead_rows", "Dead rows that vacuum has not cleared away, an estimate (PostgreSQL)."),
    ):
        known = [((t.name,), float(v)) for t in figures.tables if (v := getattr(t, attribute)) is not None]
        if known:
            yield _gauge(name, what, known, ("table",))


def _celery(figures: Figures) -> Iterator[Metric]:
    """The names of celery-exporter, which cannot look into this broker: its dashboards work with these."""
    lengths = [((q.name,), float(q.ready)) for q in figures.queues if not q.channel]
    yield _gauge("celery_queue_length", "Ready messages in a broker queue.", lengths, ("queue_name",))
    consumers = [((name,), float(n)) for name, (n, _) in figures.subscribed.items()]
    yield _gauge("celery_active_consumer_count", "Consumers of a broker queue.", consumers, ("queue_name",))
    processes = [((name,), float(n)) for name, (_, n) in figures.subscribed.items()]
    yield _gauge("celery_active_worker_count", "Workers that consume a broker queue.", processes, ("queue_name",))


def _gauge(
    name: str, what: str, values: Iterable[tuple[Sequence[str], float]], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for key, value in values:
        family.add_metric(key, value)
    return family


def registry_of(queue: JobQueue) -> CollectorRegistry:
    """A registry with nothing in it but the metrics of this queue."""
    registry = CollectorRegistry()
    registry.register(Collector(queue))
    return registry


def make_app(queue: JobQueue) -> Callable[..., Any]:
    """A WSGI application that shows the metrics of this queue, to be mounted at a path such as /metrics."""
    return make_wsgi_app(registry_of(queue))
