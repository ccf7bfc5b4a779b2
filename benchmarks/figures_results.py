"""Celery with everything on one database: what tracking and results cost, chords, and the result backend by itself.

Needs the adapter (`pip install -e adapters/celery`). Chords and results are compared with Celery's own
backends on the same PostgreSQL (`db+postgresql`) and on Redis.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from celery import Celery, chord, states
from celery_tasks import make_app
from figures_celery import PEERS, Broker
from measure import Row, ratios, spread, timed
from scene import Scene

from kombu_depqueue.extending import text_id

__all__ = ["chords", "results", "tracking"]

POOLS = ("solo", "threads", "prefork")


def tracking(scene: Scene) -> Iterator[Row]:
    """A worker drains a backlog with results stored and outcomes tracked, in turns with a plain one."""
    count = scene.pick(4_000, 1_500)
    for database in scene.databases:
        with scene.site(database) as site, TemporaryDirectory(prefix="depqueue-results-") as folder:
            url = f"depqueue+{site.url}"
            plain = Broker("plain", url, {}, Path(folder) / "plain", {"BENCH_PLAIN": "1"})
            told = Broker("tracked", url, {}, Path(folder) / "tracked", {})
            stored = Broker("stored", url, {}, Path(folder) / "stored", {"BENCH_BACKEND": url})
            late = Broker("late", url, {}, Path(folder) / "late", {"BENCH_BACKEND": url, "BENCH_LATE": "1"})
            for pool in POOLS:

                def run(broker: Broker, pool: str = pool) -> float:
                    with broker.queue() as queue:
                        broker.send(queue, count)
                        with broker.worker(queue, pool):
                            return broker.drained(count)

                ways = {b.name: (lambda b=b: run(b)) for b in (plain, told, stored, late)}
                times, busy = scene.others.alternate(scene.pick(5, 2), ways)
                for name, what in (
                    ("tracked", "tracked"),
                    ("stored", "with results"),
                    ("late", "with results, acks late"),
                ):
                    yield Row(
                        f"Celery: drain {what} / plain, -P {pool}",
                        database,
                        ratios(times[name], times["plain"]),
                        most=1.3 if name != "late" else None,
                        beside=f"{count / statistics.median(times[name]):,.0f} tasks/s",
                        busy=busy,
                    )


def chords(scene: Scene) -> Iterator[Row]:
    """A chord of 100: from the end of the last header task to the beginning of the body."""
    rounds = scene.pick(10, 3)
    for database in scene.databases:
        with scene.site(database) as site, TemporaryDirectory(prefix="depqueue-chords-") as folder:
            url = f"depqueue+{site.url}"
            broker = Broker("chords", url, {}, Path(folder) / "chords", {"BENCH_BACKEND": url})
            app, queue = make_app(url, {}, backend=url), f"bench-{uuid4().hex[:12]}"
            with broker.worker(queue, "threads"):
                gaps = [_gap(app, queue, 100) for _ in range(rounds + 1)][1:]
            app.close()
            yield Row("Celery: chord of 100, last header task to body", database, spread(gaps), "ms", most=0.05)


def _gap(app: Celery, queue: str, size: int) -> float:
    result = chord(
        [app.signature("give", (n,), queue=queue) for n in range(size)], app.signature("gather", queue=queue), app=app
    )()
    result.get(timeout=60)
    jobs = app.backend.queue
    last = max(jobs.status(text_id(r.id)).finished for r in result.parent.results)
    return (jobs.status(text_id(result.id)).started - last).total_seconds()


def results(scene: Scene) -> Iterator[Row]:
    """The result backend by itself: store a result and get it, in turns with `db+postgresql` and Redis."""
    count = scene.pick(1_000, 300)
    for database in scene.databases:
        with scene.site(database) as site:
            ours = _backend(f"depqueue+{site.url}")
            peers: dict[str, Any] = {"redis": _backend(PEERS["redis"][0])}
            if database == "postgresql":
                peers["db+postgresql"] = _backend(f"db+{_plain(site.url)}")

            def store_and_get(app: Celery) -> float:
                ids = [str(uuid4()) for _ in range(count)]

                def work() -> None:
                    for tid in ids:
                        app.backend.store_result(tid, {"sum": 3}, states.SUCCESS)
                        assert app.backend.get_task_meta(tid, cache=False)["result"] == {"sum": 3}

                return timed(work)

            ways: dict[str, Callable[[], float]] = {"ours": lambda ours=ours: store_and_get(ours)}
            ways |= {name: (lambda app=app: store_and_get(app)) for name, app in peers.items()}
            times, busy = scene.others.alternate(scene.pick(5, 3), ways)
            for name in peers:
                beside = f"{statistics.median(times['ours']) / count * 1e6:,.0f} us against {statistics.median(times[name]) / count * 1e6:,.0f}"
                goal = 1.0 if name == "db+postgresql" else None
                yield Row(
                    f"Celery: store and get a result / {name}",
                    database,
                    ratios(times[name], times["ours"]),
                    least=goal,
                    beside=beside,
                    busy=busy,
                )
            if database == "postgresql":
                _drop_celerys_tables(_plain(site.url))


def _plain(url: str) -> str:
    made = sa.make_url(url)
    return made.set(drivername="postgresql+psycopg", query={}).render_as_string(hide_password=False)


def _backend(url: str) -> Celery:
    app = Celery("bench", backend=url, broker="memory://", set_as_current=False)
    app.backend.get_task_meta(str(uuid4()))
    return app


def _drop_celerys_tables(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("celery_taskmeta", "celery_tasksetmeta"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
        for sequence in ("task_id_sequence", "taskset_id_sequence"):
            connection.execute(sa.text(f"DROP SEQUENCE IF EXISTS {sequence}"))
    engine.dispose()
