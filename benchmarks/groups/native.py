"""The native API, in turns with the queues that a user would pick instead, and with what the database can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from contenders import NATIVE, OURS, natives
from measure import Row, compared, ratios, spread, timed
from peers.base import Native
from pgbench import PgBench
from scene import Scene, Site
from sqlalchemy import create_engine

from kombu_depqueue import JobMessage

__all__ = ["drain", "enqueue", "statements", "transactions"]

SIZES = (1, 10, 100)


def enqueue(scene: Scene) -> Iterator[Row]:
    """Enqueue one by one, in tens and in hundreds, in turns with other queues."""
    yield from _contest(scene, "enqueue")


def drain(scene: Scene) -> Iterator[Row]:
    """Reserve and ack one by one, in tens and in hundreds, in turns with other queues."""
    yield from _contest(scene, "reserve + ack")


def _contest(scene: Scene, what: str) -> Iterator[Row]:
    for database in scene.databases:
        with natives(scene, [n for n, c in NATIVE.items() if c.database == database]) as found:
            peers = {n: p for n, (_, p) in found.items()}
            for size in SIZES:
                yield from _by(scene, database, what, size, peers)
            if what != "enqueue" and database == "sqlite":
                yield from _there_and_back(scene, database, peers)


def _there_and_back(scene: Scene, database: str, peers: Mapping[str, Native]) -> Iterator[Row]:
    """Enqueue, then reserve and ack, all one by one."""
    jobs = scene.pick(500, 200, 10)

    def run(peer: Native) -> None:
        peer.enqueue(jobs)
        peer.drain(jobs, 1)

    ways = {name: partial(timed, partial(run, peer)) for name, peer in peers.items()}
    times, busy = scene.others.alternate(scene.pick(5, 3, 1, 9), ways, warm=scene.size != "smoke", patience=2.0)
    goals = {OURS[database]: {"litequeue": 1.0}}
    yield from compared("enqueue, reserve + ack one by one", dict.fromkeys(ways, jobs), times, goals, busy=busy)


def _by(scene: Scene, database: str, what: str, size: int, peers: Mapping[str, Native]) -> Iterator[Row]:
    jobs = scene.pick(500, 200, 10) if size == 1 else size * scene.pick(40, 15, 1)
    done = {n: jobs if size == 1 or peer.batches else size * max(1, jobs // size // 10) for n, peer in peers.items()}
    ways: dict[str, Callable[[], float]] = {}
    for name, peer in peers.items():
        if what == "enqueue":  # the backlog grows, for all alike
            one_by_one, many = partial(peer.enqueue, done[name]), partial(peer.enqueue_many, done[name], size)
            ways[name] = partial(timed, one_by_one if size == 1 else many)
        else:
            fill = partial(peer.enqueue_many, done[name], 10)
            ways[name] = partial(_timed_drain, fill, partial(peer.drain, done[name], size))
    times, busy = scene.others.alternate(scene.pick(5, 3, 1, 9), ways, warm=scene.size != "smoke", patience=2.0)
    ours = OURS[database]
    if database == "postgresql":
        goal = {1: 1.2, 100: 2.0}.get(size)
        goals = {n: goal for n in ways if goal and "floor" not in n}
    else:
        goals = {100: {"Huey on SQLite": 3.0}}.get(size, {})
    label = f"{what} by {size}" if size > 1 else f"{what} one by one"
    yield from compared(label, done, times, {ours: goals}, busy=busy)


def _timed_drain(fill: Callable[[], None], drain: Callable[[], None]) -> float:
    fill()
    return timed(drain)


def transactions(scene: Scene) -> Iterator[Row]:
    """What an enqueue costs in the caller's transaction, or with a dependency, against a plain one."""
    jobs = scene.pick(500, 200, 10)
    for database in scene.databases:
        with scene.site(database) as site:
            engine = create_engine(site.filler.place.engine_url)
            first = site.queue.enqueue("first")

            def in_transactions(site: Site = site) -> None:
                for _ in range(jobs):
                    with engine.begin() as connection:  # noqa: B023 - used within this turn of the loop only
                        site.queue.enqueue("default", connection=connection)

            def plain(site: Site = site) -> None:
                for _ in range(jobs):
                    site.queue.enqueue("default")

            def depending(site: Site = site) -> None:
                for _ in range(jobs):
                    site.queue.enqueue("default", depends_on=[first])  # noqa: B023

            ways = {
                "plain": partial(timed, plain),
                "in the caller's transaction": partial(timed, in_transactions),
                "with a dependency": partial(timed, depending),
            }
            times, busy = scene.others.alternate(scene.pick(7, 3, 1), ways, patience=2.0)
            engine.dispose()
        for name in list(ways)[1:]:
            beside = f"{spread(times[name]).median / jobs * 1e6:.0f} us a job"
            ratio = ratios(times[name], times["plain"])
            yield Row(f"time to enqueue {name} / plain", OURS[database], ratio, beside=beside, busy=busy)


def statements(scene: Scene) -> Iterator[Row]:
    """How much of what PostgreSQL can do reaches Python: against pgbench with the library's own statements."""
    if "postgresql" not in scene.databases:
        return
    with scene.site("postgresql") as site:
        try:
            bench = PgBench(site.filler)
        except FileNotFoundError as missing:
            scene.leave_out("pgbench", str(missing))
            return
        for size, jobs in ((1, scene.pick(3_000, 1_000, 20)), (100, scene.pick(30_000, 20_000, 200))):
            yield from _against_pgbench(scene, site, bench, size, jobs)


def _against_pgbench(scene: Scene, site: Site, bench: PgBench, size: int, jobs: int) -> Iterator[Row]:
    def enqueue_all() -> None:
        for _ in range(jobs // size):
            if size == 1:
                site.queue.enqueue()
            else:
                site.queue.enqueue_many([JobMessage.new() for _ in range(size)])

    def emptied(work: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            site.filler.empty()  # pgbench must know the order numbers of what it acks
            return work()

        return run

    own, theirs = OURS["postgresql"], "pgbench (floor)"
    turns = jobs // size
    ways = {
        "enqueue": {own: lambda: timed(enqueue_all), theirs: lambda: bench.run(bench.enqueue(size), turns)},
        "reserve + ack": {
            own: lambda: timed(lambda: site.drain(jobs, size) if size > 1 else site.drain_singly(jobs)),
            theirs: lambda: bench.run(bench.drain(size), turns),
        },
    }
    flat = {
        (what, who): emptied(way) if what == "enqueue" else way
        for who in (own, theirs)
        for what, way in ((w, ways[w][who]) for w in ways)
    }
    named = {f"{what}\n{who}": way for (what, who), way in flat.items()}
    found, busy = scene.others.alternate(scene.pick(4, 3, 1, 9), named, warm=scene.size != "smoke", patience=2.0)
    for what in ways:
        times = {who: found[f"{what}\n{who}"] for who in (own, theirs)}
        goals = {theirs: 0.6} if size > 1 else {}
        label = f"{what} by {size}, same statements" if size > 1 else f"{what} one by one, same statements"
        yield from compared(label, dict.fromkeys(times, jobs), times, {own: goals}, busy=busy)
