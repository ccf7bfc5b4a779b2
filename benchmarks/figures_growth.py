"""Whether anything grows while jobs come and go, also after a time in which vacuum could do nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

import programs
from figures_backlog import BATCH, start
from measure import Row, percentile, spread
from scene import Scene, Site
from server import admin

RATE = 3_400
"""Jobs a second: 2,000,000 in ten minutes."""
WARM = 65
"""Seconds before the measurement: upkeep looks for records to prune each minute, while there are none."""
RETENTION = 5.0
"""Seconds for which records are kept, so that as many are pruned as are made."""


def growth(scene: Scene) -> Iterator[Row]:
    """Ten minutes of churn, one of them with an old snapshot: the size of tables and indexes, and the claims' p99.

    Autovacuum comes each minute: the quick one is over before sizes have settled.
    """
    if "postgresql" not in scene.databases or scene.server is None:
        return
    seconds = scene.pick(600, 60)
    window = seconds / 40
    with scene.site("postgresql") as site, ExitStack() as running:
        url = f"{site.url}&retention={RETENTION}"
        workers = [start(running, programs.drain_timed, url, BATCH * 10, window) for _ in range(2)]
        offer = start(running, programs.enqueue_steadily, url, RATE, BATCH * 10, float(WARM + seconds))
        offer.tell()
        time.sleep(WARM)
        began, sizes = time.monotonic(), []
        with admin(scene.server) as old:
            for tenth in range(10):
                if tenth == 4:
                    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    old.execute(f"SELECT count(*) FROM {site.filler.table('job')}")
                while time.monotonic() < began + (tenth + 1) * seconds / 10:
                    time.sleep(0.1)
                if tenth == 4:
                    old.execute("ROLLBACK")
                sizes.append(_size(site))
        offered = offer.heard(seconds + 90)
        for worker in workers:
            worker.tell()
        said = [worker.heard(60) for worker in workers]
    done = sum(count for one in said for _, count, _ in one)
    times = [[t for one in said for t in one[n][2]] for n in range(min(map(len, said)))]
    p99 = [percentile(some, 0.99) for some in times if some]
    course = " ".join(f"{size / 2**20:,.0f}" for size in sizes)
    beside = f"{done:,} of {offered:,} jobs in {WARM + seconds} s; MB after each tenth, the fifth with an old snapshot: {course}"
    yield Row(
        "size at the end / after the first tenth",
        "postgresql",
        spread([sizes[-1] / sizes[0]]),
        most=1.2 if seconds >= 600 else 1.6,
        beside=beside,
    )
    p99 = p99[-40:]  # without the warming up
    tail = len(p99) // 4
    first, last = statistics.median(p99[:tail]), statistics.median(p99[-tail:])
    yield Row(
        "claim p99, last quarter / first",
        "postgresql",
        spread([last / first]),
        most=1.5,
        beside=f"{last * 1000:.1f} ms, {first * 1000:.1f} ms",
    )


def _size(site: Site) -> int:
    """Bytes of all tables with their indexes."""
    asked = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    return int(site.filler.rows(f"{asked}'{site.filler.place.schema}'::regnamespace")[0][0])
