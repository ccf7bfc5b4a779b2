"""Whether anything grows while jobs come and go, also after a time in which vacuum could do nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack

import programs
from contenders import OURS
from groups.backlog import BATCH, start
from measure import Row, spread
from scene import Scene, Site

RATE = 3_400
"""Jobs a second: 2,000,000 in ten minutes."""
RETENTION = 5.0
"""Seconds for which records are kept, so that as many are pruned as are made."""


def growth(scene: Scene) -> Iterator[Row]:
    """Ten minutes of churn (`--long`; else one), a tenth with an old snapshot: the tables' size, and the claims' p99."""
    if "postgresql" not in scene.databases:
        return
    seconds, windows = scene.pick(60, 30, 4, 600), scene.pick(40, 20, 4)
    window, ours = seconds / windows, OURS["postgresql"]
    with scene.site("postgresql") as site, ExitStack() as running:
        url = f"{site.url}&retention={RETENTION}"
        workers = [start(running, programs.drain, ours, url, BATCH * 10, window) for _ in range(2)]
        offer = start(running, programs.offer, ours, url, float(RATE), BATCH * 10, float(seconds))
        for child in (*workers, offer):
            child.tell()
        began, sizes = time.monotonic(), []
        with scene.admin(site.filler.place.engine_url) as old:
            for tenth in range(10):
                if tenth == 4:
                    old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    old.execute(f"SELECT count(*) FROM {site.filler.table('job')}")
                time.sleep(max(0.0, began + (tenth + 1) * seconds / 10 - time.monotonic()))
                if tenth == 4:
                    old.execute("ROLLBACK")
                sizes.append(_size(site))
        offered = offer.heard(seconds + 60)
        said = [[worker.heard(60) for _ in range(windows)] for worker in workers]
    done = sum(part[1] for one in said for part in one)
    p99 = [max(part[3] for part in parts) for parts in zip(*said, strict=True)]
    course = " ".join(f"{size / 2**20:,.0f}" for size in sizes)
    beside = (
        f"{done:,} of {offered:,} jobs in {seconds} s; MB after each tenth, the fifth with an old snapshot: {course}"
    )
    most = 1.2 if seconds / 10 > RETENTION else None  # before, there is nothing to prune
    ratio = spread([sizes[-1] / sizes[0]])
    yield Row("size at the end / after the first tenth", "postgresql", ratio, most=most, beside=beside)
    tail = max(1, len(p99) // 4)
    first, last = statistics.median(p99[1 : tail + 1]), statistics.median(p99[-tail:])
    yield Row(
        "claim + ack p99, last quarter / first",
        "postgresql",
        spread([last / first]),
        most=1.5,
        beside=f"{last * 1000:.1f} ms, {first * 1000:.1f} ms",
    )


def _size(site: Site) -> int:
    """Bytes of all tables with their indexes."""
    asked = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = "
    return int(site.filler.rows(f"{asked}'{site.filler.place.schema}'::regnamespace")[0][0])
