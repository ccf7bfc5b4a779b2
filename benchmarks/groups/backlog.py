"""What a claim costs with much in the tables, or with much in its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

import contenders
import programs
from measure import Row, percentile, ratios, spread, timed
from scene import Scene, Site

from kombu_depqueue import JobMessage
from kombu_depqueue.testing.helpers import ChildProcess

BATCH = 10


def ack_without_statistics(scene: Scene) -> Iterator[Row]:
    """Ack of 100 rows on a table that was never analyzed, or when it was empty."""
    rounds = scene.pick(15, 5, 2)
    for database in scene.databases:
        if database == "postgresql":
            yield _ack(scene, database, rounds, "table never analyzed", ())
            yield _ack(scene, database, rounds, "table analyzed while empty", ("ANALYZE",))
        else:
            yield _ack(scene, database, rounds, "table never analyzed", ())


def _ack(scene: Scene, database: str, rounds: int, what: str, first: tuple[str, ...]) -> Row:
    times = []
    with scene.site(database) as site:
        site.filler.run(*(f"{verb} {site.filler.table('job')}" for verb in first))
        site.queue.enqueue_many(JobMessage.new() for _ in range(scene.pick(20_000, 20_000, 500)))
        for number in range(rounds + 1):
            got = site.queue.reserve_many(100, 10)
            taken = timed(lambda got=got: site.queue.ack_many(got))  # type: ignore[misc]
            if number:
                times.append(taken)
            else:
                beside = f"the first, unprepared: {taken * 1000:.2f} ms"
    return Row(f"ack of 100 rows, {what}", database, spread(times), "ms", most=0.002, beside=beside)


def backlog(scene: Scene) -> Iterator[Row]:
    """Claim and ack in tens, beside up to a million ready rows, and beside a million delayed and blocked ones."""
    most, jobs = scene.pick(1_000_000, 100_000, 500), scene.pick(2_000, 500, 20)
    for database in scene.databases:
        # To fill a file with three million rows takes a minute.
        rows = most if database == "postgresql" or scene.size == "long" else most // 5
        with ExitStack() as stack:
            sizes = {0: "empty", rows // 100: "hundredth", rows // 10: "tenth", rows: "ready"}
            sites = {n: stack.enter_context(scene.site(database)) for n in (*sizes.values(), "cold")}
            for size, name in sizes.items():
                if size:
                    sites[name].filler.ready(size)
            sites["cold"].filler.delayed(rows)
            sites["cold"].filler.blocked(rows)
            for site in sites.values():
                site.filler.settle()
            ways = {name: _drain(site, jobs) for name, site in sites.items()}
            found, busy = scene.others.alternate(scene.pick(5, 5, 1, 9), ways, patience=2.0)
        for size, name in sizes.items():
            value = spread(t / jobs * BATCH for t in found[name])
            yield Row("claim + ack of 10 beside so many ready rows", database, value, "ms", at=float(size), busy=busy)
        for name, what, goal in (
            ("cold", f"{rows:,} delayed and {rows:,} blocked rows", 1.15),
            ("ready", f"{rows:,} ready rows", 2.0),
        ):
            ratio = ratios(found[name], found["empty"])
            yield Row(f"time to claim + ack in tens, {what} / none", database, ratio, most=goal, busy=busy)


def _drain(site: Site, jobs: int) -> Callable[[], float]:
    def run() -> float:
        site.queue.enqueue_many(JobMessage.new("default", {"pad": "x" * 480}) for _ in range(jobs))
        return timed(lambda: site.drain(jobs, BATCH))

    return run


def looking(scene: Scene) -> Iterator[Row]:
    """What `depqueue queues` costs beside a million waiting jobs; the client's part included."""
    rows, rounds = scene.pick(300_000, 200_000, 500, 1_000_000), scene.pick(15, 15, 2)
    for database in scene.databases:
        with scene.site(database) as site:
            site.filler.ready(rows)
            site.filler.delayed(rows // 4)
            site.filler.settle()
            times = [timed(site.queue.queues) for _ in range(rounds + 3)][3:]
        yield Row(
            f"queues() beside {rows:,} ready and {rows // 4:,} delayed jobs", database, spread(times), "ms", most=0.005
        )


def leased_ahead(scene: Scene) -> Iterator[Row]:
    """A claim with 100,000 leased rows ahead of the ready ones."""
    rows, claims = scene.pick(100_000, 30_000, 300), scene.pick(600, 200, 8)
    for database in scene.databases:
        with scene.site(database) as site:
            site.filler.leased(rows)
            site.filler.ready(claims * 12)
            site.filler.settle()
            times = []
            for _ in range(claims):
                started = time.perf_counter()
                got = site.queue.reserve_many(BATCH, 10)
                times.append(time.perf_counter() - started)
                site.queue.ack_many(got)
        settled = times[claims // 4 :]
        beside = (
            f"first {times[0] * 1000:.1f} ms, {sum(t > 0.003 for t in times)} of {claims} over 3 ms, "
            f"p99 {percentile(settled, 0.99) * 1000:.2f} ms"
        )
        yield Row(
            f"claim of {BATCH} behind {rows:,} leased rows",
            database,
            spread([percentile(settled[i::5], 0.5) for i in range(5)]),
            "ms",
            most=0.001,
            beside=beside,
        )


def old_snapshot(scene: Scene) -> Iterator[Row]:
    """3,000 jobs/s offered in tens while an old REPEATABLE READ snapshot keeps vacuum from its work; peers as well."""
    if "postgresql" not in scene.databases:
        return
    names = [n for n, c in contenders.NATIVE.items() if c.database == "postgresql" and "floor" not in n]
    with contenders.natives(scene, names) as found:
        for name, (url, peer) in found.items():
            ours = name == contenders.OURS["postgresql"]
            if ours or (peer.batches and scene.size != "quick"):
                seconds = scene.pick(60 if ours else 30, 20, 2, 180)
                yield from _under_a_snapshot(scene, name, url, seconds)


def _under_a_snapshot(scene: Scene, name: str, url: str, seconds: int) -> Iterator[Row]:
    window, rate = scene.pick(10, 5, 1), 3_000
    with ExitStack() as running:
        workers = [start(running, programs.drain, name, url, BATCH, float(window)) for _ in range(2)]
        offer = start(running, programs.offer, name, url, float(rate), BATCH, float(seconds))
        with scene.admin(url) as old:
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            old.execute("SELECT count(*) FROM pg_class")
            for child in (*workers, offer):
                child.tell()
            said = [[w.heard(seconds + 120) for _ in range(seconds // window)] for w in workers]
            offered = offer.heard(seconds + 120)
            old.execute("ROLLBACK")
    windows = list(zip(*said, strict=True))
    for number, parts in enumerate(windows, 1):
        minutes = number * window / 60
        taken = median(p[2] for p in parts)
        yield Row(
            "claim + ack of 10, an old snapshot open for so many minutes", name, spread([taken]), "ms", at=minutes
        )
        yield Row(
            "done, an old snapshot open for so many minutes",
            name,
            spread([sum(p[1] for p in parts) / window]),
            "/s",
            at=minutes,
        )
    last = sum(p[1] for p in windows[-1]) / window
    longest = max(p[4] for p in windows[-1])
    yield Row(
        f"old snapshot for {seconds} s: done in the last {window} s of {rate:,} jobs/s",
        name,
        spread([last / rate]),
        "%",
        least=0.9 if name == contenders.OURS["postgresql"] and seconds >= 60 else None,
        beside=f"offered {offered / seconds:,.0f}/s; longest batch {longest * 1000:.0f} ms",
    )


def start(running: ExitStack, program: Callable[..., None], *args: object) -> ChildProcess:
    child = ChildProcess(program, *args)
    running.callback(child.close)
    assert child.heard(30) == "ready"
    return child
