"""Celery with everything on one database: what tracking and results cost, chords, and the result backend by itself.

Needs the adapter (`pip install -e adapters/celery`). Results are compared with Celery's own backends on the same
PostgreSQL and on Redis.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from celery import Celery, chord, states
from celery_tasks import make_app
from contenders import OURS, addresses
from groups.brokers import POOLS, Broker
from measure import Row, compared, ratios, spread, timed
from peers.base import Address
from scene import Scene

from kombu_depqueue.extending import text_id

__all__ = ["chords", "gating", "results", "tracking"]


def tracking(scene: Scene) -> Iterator[Row]:
    """A worker drains a backlog with results stored and outcomes tracked, in turns with a plain one."""
    count = scene.pick(1_000, 1_000, 20, 4_000)
    for database in scene.databases[: scene.pick(1, 1, 1, 2)]:
        with scene.site(database) as site, TemporaryDirectory(prefix="depqueue-results-") as folder:
            url = f"depqueue+{site.url}"
            address = Address(url)
            plain = Broker("plain", address, Path(folder) / "plain", {"BENCH_PLAIN": "1"})
            told = Broker("tracked", address, Path(folder) / "tracked")
            stored = Broker("stored", address, Path(folder) / "stored", {"BENCH_BACKEND": url})
            late = Broker("late", address, Path(folder) / "late", {"BENCH_BACKEND": url, "BENCH_LATE": "1"})
            for pool in list(POOLS)[: scene.pick(1, 1, 1, 3)]:

                def run(broker: Broker, pool: str = pool) -> float:
                    with broker.queue() as queue:
                        broker.send(queue, count)
                        with broker.worker(queue, pool):
                            return broker.drained(count)

                ways = {b.name: (lambda b=b: run(b)) for b in (plain, told, stored, late)}
                times, busy = scene.others.alternate(scene.pick(2, 1, 1, 3), ways, warm=False, patience=1.5)
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


def gating(scene: Scene) -> Iterator[Row]:
    """A worker drains a backlog of tasks that all depend on the first, in turns with a plain one."""
    count = scene.pick(1_000, 1_000, 20, 4_000)
    for database in scene.databases[: scene.pick(1, 1, 1, 2)]:
        with scene.site(database) as site, TemporaryDirectory(prefix="depqueue-gating-") as folder:
            broker = Broker("gating", Address(f"depqueue+{site.url}"), Path(folder) / "ran")

            def run(gated: bool, broker: Broker = broker) -> float:
                with broker.queue() as queue:
                    if gated:
                        first = broker.app.tasks["noop"].apply_async(queue=queue)
                        broker.send(queue, count, depends_on=[first])
                    else:
                        broker.send(queue, count + 1)
                    with broker.worker(queue, "solo"):
                        return broker.drained(count + 1)

            ways = {"plain": lambda: run(False), "gated": lambda: run(True)}
            times, busy = scene.others.alternate(scene.pick(2, 1, 1, 3), ways, warm=False, patience=1.5)
            broker.app.close()
            beside = f"{count / statistics.median(times['gated']):,.0f} tasks/s"
            ratio = ratios(times["gated"], times["plain"])
            yield Row(
                "Celery: drain tasks that depend on one / plain, -P solo", database, ratio, beside=beside, busy=busy
            )


def chords(scene: Scene) -> Iterator[Row]:
    """A chord of 100: from the end of the last header task to the beginning of the body."""
    rounds = scene.pick(5, 3, 1, 10)
    for database in scene.few(scene.databases):
        with scene.site(database) as site, TemporaryDirectory(prefix="depqueue-chords-") as folder:
            url = f"depqueue+{site.url}"
            broker = Broker("chords", Address(url), Path(folder) / "chords", {"BENCH_BACKEND": url})
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
    count = scene.pick(500, 200, 5)

    def store_and_get(app: Celery) -> float:
        ids = [str(uuid4()) for _ in range(count)]

        def work() -> None:
            for tid in ids:
                app.backend.store_result(tid, {"sum": 3}, states.SUCCESS)
                assert app.backend.get_task_meta(tid, cache=False)["result"] == {"sum": 3}

        return timed(work)

    with ExitStack() as stack:
        backends = {
            OURS[d]: f"depqueue+{stack.enter_context(scene.place(d)).url}{'&' if d == 'postgresql' else '?'}create=true"
            for d in scene.databases
        }
        if "postgresql" in scene.databases:
            backends["db on PostgreSQL"] = f"db+{stack.enter_context(scene.empty('postgresql'))}"
        for name, address in stack.enter_context(addresses(scene, ["Redis, everysec"])).items():
            backends[name] = address.url
        apps = {name: _backend(url) for name, url in backends.items()}
        ways: dict[str, Callable[[], float]] = {n: (lambda app=app: store_and_get(app)) for n, app in apps.items()}
        times, busy = scene.others.alternate(scene.pick(5, 3, 1), ways, patience=2.0)
        for app in apps.values():
            app.close()
    goals: dict[str, dict[str, float]] = {OURS["postgresql"]: {"db on PostgreSQL": 1.0}, OURS["sqlite"]: {}}
    yield from compared("results stored and got", dict.fromkeys(times, count), times, goals, busy=busy)


def _backend(url: str) -> Celery:
    app = Celery("bench", backend=url, broker="memory://", set_as_current=False)
    app.backend.get_task_meta(str(uuid4()))
    return app
