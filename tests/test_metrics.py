"""Metrics: what the collector counts, that it counts each end once, and that a look is bounded."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import pytest
from command import Cli
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from kombu_depqueue import JobMessage, JobQueue, JobState, monitoring
from kombu_depqueue.monitoring import Ended, Figures
from kombu_depqueue.prometheus import Collector, make_app
from kombu_depqueue.testing.fixtures import MakeQueue, Place
from kombu_depqueue.testing.helpers import in_threads, wait_for_state, wait_until

DOCS = Path(__file__).parents[1] / "docs"
NAMES = {
    "depqueue_up",
    "depqueue_scrape_duration_seconds",
    "depqueue_queue_jobs",
    "depqueue_queue_oldest_ready_age_seconds",
    "depqueue_queue_paused",
    "depqueue_jobs_ended",
    "depqueue_jobs_redelivered",
    "depqueue_job_wait_seconds",
    "depqueue_job_run_seconds",
    "depqueue_consumers",
    "depqueue_consumer_silence_seconds",
    "depqueue_expired_leases",
    "depqueue_table_bytes",
    "celery_queue_length",
    "celery_active_consumer_count",
    "celery_active_worker_count",
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here has a transaction that commits late."""
    monkeypatch.setattr(monitoring, "SETTLED", timedelta(0))


class Scraped(dict[tuple[str, ...], float]):
    """Samples by name and the values of their labels in the order of the labels' names."""

    def __init__(self, exposed: str) -> None:
        self.families = {f.name: f for f in text_string_to_metric_families(exposed)}
        for family in self.families.values():
            for one in family.samples:
                self[one.name, *(one.labels[name] for name in sorted(one.labels))] = one.value


class Site:
    """An exporter that is mounted in an application."""

    def __init__(self, queue: JobQueue) -> None:
        self.app = make_app(queue)

    def scrape(self) -> Scraped:
        environ: dict[str, Any] = {}
        setup_testing_defaults(environ)
        status: list[str] = []
        body = b"".join(self.app(environ, lambda s, headers, exc_info=None: status.append(s)))
        assert status == ["200 OK"]
        return Scraped(body.decode())


@pytest.fixture
def site(queue: JobQueue) -> Site:
    """The exporter of an empty database, scraped once: it counts from now on."""
    made = Site(queue)
    made.scrape()
    return made


def test_the_depths_of_queues_are_shown(site: Site, queue: JobQueue) -> None:
    first = queue.enqueue("mail")
    queue.enqueue("mail", delay=60)
    queue.enqueue("mail", depends_on=[first])
    queue.enqueue("mail", priority=9)
    queue.reserve(0, queues=["mail"])
    queue.enqueue("mail", priority=9)
    queue.reserve(0, queues=["mail"]).reject()
    queue.enqueue("other", channel="x")
    queue.pause("other", channel="x")
    found = site.scrape()
    assert found.families.keys() >= NAMES
    counts = {
        s: found["depqueue_queue_jobs", "", "mail", s] for s in ("ready", "scheduled", "blocked", "leased", "dead")
    }
    assert counts == {"ready": 1, "scheduled": 1, "blocked": 1, "leased": 1, "dead": 1}
    assert found["depqueue_queue_jobs", "x", "other", "ready"] == 1
    assert (found["depqueue_queue_paused", "", "mail"], found["depqueue_queue_paused", "x", "other"]) == (0, 1)
    assert 0 < found["depqueue_queue_oldest_ready_age_seconds", "", "mail"] < 60
    assert found["celery_queue_length", "mail"] == 1
    assert ("celery_queue_length", "other") not in found  # Celery has no channels
    assert found["depqueue_consumers", "consumer"] == 1
    assert found["depqueue_up",] == 1
    assert sum(value for (name, *_), value in found.items() if name == "depqueue_table_bytes") > 10_000


def test_ends_are_counted_by_outcome(site: Site, queue: JobQueue) -> None:
    for settle in ("ack", "ack", "fail", "reject"):
        queue.enqueue("mail")
        getattr(queue.reserve(0, queues=["mail"]), settle)()
    queue.cancel(queue.enqueue("mail"))
    expiring = queue.enqueue("mail", expires_in=0.001)
    wait_for_state(queue, expiring, JobState.EXPIRED)
    wait_until(lambda: site.scrape()["depqueue_jobs_ended_total", "", "expired", "mail"] == 1)
    found = site.scrape()
    ended = {
        key[2]: value for key, value in found.items() if key[0] == "depqueue_jobs_ended_total" and key[3] == "mail"
    }
    assert ended == {"succeeded": 2, "failed": 1, "dead": 1, "canceled": 1, "expired": 1}
    assert found["depqueue_job_run_seconds_count", "", "mail"] == 4
    assert found["depqueue_job_wait_seconds_count", "", "mail"] == 4


def test_times_and_redeliveries_are_counted(site: Site, queue: JobQueue) -> None:
    queue.enqueue("mail", delay=0.3)
    queue.reserve(10, queues=["mail"]).requeue()
    held = queue.reserve(10, queues=["mail"])
    time.sleep(0.15)
    held.ack()
    wait_until(lambda: site.scrape()["depqueue_jobs_ended_total", "", "succeeded", "mail"] == 1)
    found = site.scrape()
    assert found["depqueue_jobs_redelivered_total", "", "mail"] == 1
    assert 0.3 <= found["depqueue_job_wait_seconds_sum", "", "mail"] < 30
    assert 0.14 <= found["depqueue_job_run_seconds_sum", "", "mail"] < 30
    buckets = [v for k, v in found.items() if k[0] == "depqueue_job_run_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert found["depqueue_job_run_seconds_bucket", "", "0.1", "mail"] == 0
    assert found["depqueue_job_run_seconds_bucket", "", "+Inf", "mail"] == 1


def test_what_ended_before_the_first_scrape_is_not_counted(queue: JobQueue) -> None:
    queue.enqueue("mail")
    queue.reserve(0, queues=["mail"]).ack()
    time.sleep(0.01)  # SQLite's clock has a resolution of a millisecond
    site = Site(queue)
    assert site.scrape()["depqueue_jobs_ended_total", "", "succeeded", "mail"] == 0
    assert site.scrape()["depqueue_jobs_ended_total", "", "succeeded", "mail"] == 0


def _total(found: list[Ended]) -> int:
    return sum(e.count for e in found)


class Looks:
    """Looks one after the other, as a collector takes them."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.last: Figures = queue.figures()
        self.counted = 0

    def look(self) -> int:
        self.last = self.queue.figures(self.last.mark)
        self.counted += _total(list(self.last.ended))
        return self.counted


def test_records_kept_for_any_time_are_counted_once(make_queue: MakeQueue) -> None:
    """Whatever the retention of those that end jobs; also where the windows of two of them overlap."""
    ours = make_queue()
    ours.enqueue("mail")
    others = [make_queue(retention=r, result_retention=r + 0.05) for r in (1800.0, 1800.5, 7 * 86_400.0)]
    for one in others:
        one.enqueue("mail")
        one.reserve(0, queues=["mail"]).ack()
    looks = Looks(ours)  # has seen for how long the others keep records
    for n in range(60):
        one = [*others, ours][n % 4]
        one.enqueue("mail")
        one.reserve(5, queues=["mail"]).ack(n if n % 3 else None)
        if n % 7 == 0:
            looks.look()
    wait_until(lambda: looks.look() >= 60)
    assert looks.look() == 60


def test_records_kept_beyond_the_calendar_are_in_nobodys_way(make_queue: MakeQueue) -> None:
    forever, ours = make_queue(retention=3.15e11), make_queue()
    looks = [Looks(forever), Looks(ours)]
    for one in (forever, ours):
        one.enqueue("mail")
        one.reserve(5, queues=["mail"]).ack()
    wait_until(lambda: [one.look() for one in looks] == [1, 1])


def test_each_end_is_counted_once_while_jobs_flow(make_queue: MakeQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps that are smaller than what ends in them, and while batches end at the same moment."""
    monkeypatch.setattr(monitoring, "STEP", 30)
    monkeypatch.setattr(monitoring, "SETTLED", timedelta(seconds=3))
    queue, looking = make_queue(), make_queue()
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(900)])
    looks, ended = Looks(looking), threading.Event()

    def work() -> None:
        for size in (1, 25, 100, 7, 300, 60, 2, 100, 305):
            queue.ack_many(queue.reserve_many(size, 5, queues=["mail"]))
        ended.set()

    def look() -> None:
        while not ended.is_set():
            looks.look()

    assert in_threads([work, look]) == [None, None]
    wait_until(lambda: looks.look() >= 900)
    assert looks.look() == 900


def test_two_scrapes_at_once_count_nothing_twice(make_queue: MakeQueue) -> None:
    queue = make_queue()
    site = Site(queue)
    site.scrape()
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(50)])
    queue.ack_many(queue.reserve_many(50, 5, queues=["mail"]))
    in_threads([site.scrape] * 6)
    wait_until(lambda: site.scrape()["depqueue_jobs_ended_total", "", "succeeded", "mail"] >= 50)
    assert site.scrape()["depqueue_jobs_ended_total", "", "succeeded", "mail"] == 50


@pytest.mark.only("postgresql")
def test_an_end_in_a_transaction_that_commits_late_is_counted(
    queue: JobQueue, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "SETTLED", timedelta(seconds=1.5))
    queue.enqueue("mail")
    held = queue.reserve(0, queues=["mail"])
    looks = Looks(queue)
    with engine.begin() as connection:
        held.ack(connection=connection)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert looks.look() == 0
    wait_until(lambda: looks.look() == 1)


def test_queues_for_replies_have_no_metrics(queue: JobQueue, engine: Any, place: Place) -> None:
    queue.enqueue("mail")
    queue.enqueue("reply")
    table = f"{place.schema}.queue" if place.schema else f"{place.prefix or 'depqueue_'}queue"
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET ephemeral = true WHERE name = 'reply'"))
    found = Site(queue).scrape()
    assert ("celery_queue_length", "mail") in found
    assert ("celery_queue_length", "reply") not in found


def test_renewals_are_shown_where_a_process_consumes(make_queue: MakeQueue) -> None:
    queue = make_queue(lease=0.3)
    site = Site(queue)
    assert ("depqueue_lease_renewals_total",) not in site.scrape()
    queue.enqueue("mail")
    queue.reserve(0, queues=["mail"])
    wait_until(lambda: site.scrape().get(("depqueue_lease_renewals_total",), 0) >= 2)


def test_a_database_that_fails_is_not_up(queue: JobQueue) -> None:
    site = Site(queue)
    queue.close()
    found = site.scrape()
    assert dict(found) == {("depqueue_up",): 0}


def test_a_collector_can_be_registered_beside_others(queue: JobQueue) -> None:
    from prometheus_client import CollectorRegistry, Counter, generate_latest

    registry = CollectorRegistry()
    Counter("mine", "Of the application.", registry=registry).inc()
    registry.register(Collector(queue))
    found = Scraped(generate_latest(registry).decode())
    assert (found["mine_total",], found["depqueue_up",]) == (1, 1)


# the page and the dashboard


def test_the_page_names_every_metric(site: Site) -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    said = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    found = {f"{name}_total" if one.type == "counter" else name for name, one in site.scrape().families.items()}
    assert said >= found
    elsewhere = {"depqueue_lease_renewals_total", "depqueue_table_rows", "depqueue_table_dead_rows"}
    assert said - found <= elsewhere


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    board = json.loads((DOCS / "grafana" / "depqueue.json").read_text(encoding="utf-8"))
    asked = {
        name for panel in board["panels"] for t in panel["targets"] for name in re.findall(r"depqueue_\w+", t["expr"])
    }
    assert len(asked) >= 10
    for name in asked:
        assert f"`{name.removesuffix('_bucket')}`" in page, name


# the command


def test_the_metrics_are_printed_once(cli: Cli, queue: JobQueue) -> None:
    queue.enqueue("mail")
    said = cli("metrics", "--once")
    assert said.code == 0
    assert Scraped(said.out)["depqueue_queue_jobs", "", "mail", "ready"] == 1
    known = cli("metrics", "--json").json
    assert known["queues"][0]["ready"] == 1
    assert sum(one["size"] for one in known["tables"]) > 10_000


@pytest.fixture
def cli(database_url: str) -> Cli:
    return Cli(database_url)


@pytest.fixture
def serving(cli: Cli, queue: JobQueue) -> Iterator[tuple[Any, str]]:
    queue.enqueue("mail")
    with cli.start("metrics", "--port", 0) as started:
        try:
            line = started.stderr.readline()
            assert line.startswith("serving http://127.0.0.1:"), line
            yield started, line.split()[1]
        finally:
            started.kill()


def test_the_metrics_are_served_until_sigterm(serving: tuple[Any, str]) -> None:
    process, url = serving
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - our own server
        found = Scraped(answer.read().decode())
    assert found["depqueue_queue_jobs", "", "mail", "ready"] == 1
    process.terminate()
    assert process.wait(30) == 0
    assert process.stderr.read() == ""


@pytest.mark.only("sqlite")
def test_what_cannot_be_served_is_told_in_one_line(cli: Cli, serving: tuple[Any, str]) -> None:
    _, url = serving
    port = url.split(":")[2].split("/")[0]
    taken = cli("metrics", "--port", port)
    assert (taken.code, "in use" in taken.line) == (2, True)
    assert cli("metrics", "--port", "70000").code == 2


@pytest.mark.bare
def test_metrics_without_tables_are_refused(database_url: str) -> None:
    assert Cli(database_url)("-o", "create=false", "metrics", "--once").code == 3


@pytest.mark.only("sqlite")
def test_without_the_extra_it_is_named(cli: Cli, queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.queues()
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    said = cli("metrics", "--once")
    assert (said.code, said.line.endswith("pip install kombu-depqueue[prometheus]")) == (2, True)


# bounded work


def test_one_look_counts_so_many_and_the_next_goes_on(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever has ended meanwhile: a step, of no more than what ended at its last moment beyond the limit."""
    monkeypatch.setattr(monitoring, "STEP", 50)
    monkeypatch.setattr(monitoring, "PATIENCE", 0.0)
    looks = Looks(queue)
    queue.enqueue_many([JobMessage.new("mail", n) for n in range(400)])
    for _ in range(40):
        queue.ack_many(queue.reserve_many(10, 5, queues=["mail"]))
    steps = []

    def counted() -> bool:
        before = looks.counted
        steps.append(looks.look() - before)
        return looks.counted >= 400

    wait_until(counted, interval=0.001)
    assert looks.look() == 400
    assert max(steps) <= 150  # on SQLite, whose clock ticks each millisecond, some batches end at the same moment
