"""What a claim costs with much in the tables, or with much in its way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import programs
from measure import Row, percentile, ratios, spread, timed
from scene import Scene, Site
from server import admin

from kombu_depqueue import JobMessage
from kombu_depqueue.testing.helpers import ChildProcess

BATCH = 10


def ack_without_statistics(scene: Scene) -> Iterator[Row]:
    """Ack of 100 rows on a table that was never analyzed, or when it was empty."""
    rounds = scene.pick(15, 5)
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
        site.queue.enqueue_many(JobMessage.new() for _ in range(20_000))
        for number in range(rounds + 1):
            got = site.queue.reserve_many(100, 10)
            taken = timed(lambda got=got: site.queue.ack_many(got))  # type: ignore[misc]
            if number:
                times.append(taken)
            else:
                beside = f"the first, unprepared: {taken * 1000:.2f} ms"
    return Row(f"ack of 100 rows, {what}", database, spread(times), "ms", most=0.002, beside=beside)


def backlog(scene: Scene) -> Iterator[Row]:
    """Claim and ack in tens, beside a million delayed, blocked or ready rows."""
    rows, jobs, rounds = scene.pick(1_000_000, 100_000), scene.pick(2_000, 500), scene.pick(9, 5)
    for database in scene.databases:
        with ExitStack() as stack:
            sites = {n: stack.enter_context(scene.site(database)) for n in ("empty", "cold", "ready")}
            sites["cold"].filler.delayed(rows)
            sites["cold"].filler.blocked(rows)
            sites["ready"].filler.ready(rows)
            for site in sites.values():
                site.filler.settle()
            ways = {name: _drain(site, jobs) for name, site in sites.items()}
            found, busy = scene.others.alternate(rounds, ways)
        beside = {n: f"{spread(t).median / jobs * 1e6:.0f} us a job" for n, t in found.items()}
        for name, what, most in (
            ("cold", f"{rows:,} delayed and {rows:,} blocked rows", 1.2),
            ("ready", f"{rows:,} ready rows", 2.5),
        ):
            yield Row(
                f"claim + ack in tens, {what} / none",
                database,
                ratios(found[name], found["empty"]),
                most=most,
                beside=f"{beside[name]}, {beside['empty']}",
                busy=busy,
            )


def _drain(site: Site, jobs: int) -> Callable[[], float]:
    def run() -> float:
        site.queue.enqueue_many(JobMessage.new("default", {"pad": "x" * 480}) for _ in range(jobs))
        return timed(lambda: site.drain(jobs, BATCH))

    return run


def looking(scene: Scene) -> Iterator[Row]:
    """What `depqueue queues` costs beside a million waiting jobs; the client's part included."""
    rows, rounds = scene.pick(1_000_000, 200_000), 15
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
    rows, claims = scene.pick(100_000, 30_000), scene.pick(600, 200)
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
    """3,000 jobs/s offered in tens while an old REPEATABLE READ snapshot keeps vacuum from its work."""
    if "postgresql" not in scene.databases or scene.server is None:
        return
    seconds, window, rate = scene.pick(90, 25), scene.pick(10, 5), 3_000
    with scene.site("postgresql") as site, ExitStack() as running:
        site.queue.enqueue()
        site.drain_singly(1)
        workers = [start(running, programs.drain_steadily, site.url, BATCH, float(window)) for _ in range(2)]
        with admin(scene.server) as old:
            old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            old.execute(f"SELECT count(*) FROM {site.filler.table('job')}")
            offer = start(running, programs.enqueue_steadily, site.url, rate, BATCH, float(seconds))
            offer.tell()
            offered = offer.heard(seconds + 60)
            ended = time.monotonic()
            for worker in workers:
                worker.tell()
            said = [w.heard(60) for w in workers]
            old.execute("ROLLBACK")
        dead = site.filler.rows(
            f"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'job' AND schemaname = '{site.filler.place.schema}'"
        )[0][0]
    windows = [(sum(s[i][1] for s in said), max(s[i][2] for s in said)) for i in range(min(len(s) for s in said))]
    done = [count for count, _ in windows if count]
    last = [s for s in said[0] if s[0] <= ended + 0.5]
    count, longest = windows[len(last) - 1]
    course = " ".join(f"{c / window:,.0f}" for c in done)
    beside = f"offered {offered / seconds:,.0f}/s; done a second, by {window} s: {course}; longest claim {longest * 1000:.0f} ms; {dead:,} dead rows"
    yield Row(
        f"old snapshot for {seconds} s: done in the last {window} s of {rate:,} offered a second",
        "postgresql",
        spread([count / (rate * window)]),
        "%",
        least=0.9,
        beside=beside,
    )


def start(running: ExitStack, program: Callable[..., None], *args: object) -> ChildProcess:
    child = ChildProcess(program, *args)
    running.callback(child.close)
    assert child.heard(30) == "ready"
    return child
