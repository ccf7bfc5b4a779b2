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
WARM = 65
"""Seconds before the measurement: upkeep looks for records to prune each minute, while there are none."""
RETENTION = 5.0
"""Seconds for which records are kept, so that as many are pruned as are made."""


def growth(scene: Scene) -> Iterator[Row]:
    """Ten minutes of churn (`--long`; else one), a tenth with an old snapshot: the tables' size, and the claims' p99.

    Autovacuum comes each minute: a shorter one is over before sizes have settled.
    """
    if "postgresql" not in scene.databases:
        return
    seconds, windows = scene.pick(60, 60, 4, 600), scene.pick(40, 40, 4)
    warm, window, ours = scene.pick(WARM, WARM, 1), seconds / windows, OURS["postgresql"]
    with scene.site("postgresql") as site, ExitStack() as running:
        url = f"{site.url}&retention={RETENTION}"
        workers = [start(running, programs.drain, ours, url, BATCH * 10, window) for _ in range(2)]
        offer = start(running, programs.offer, ours, url, float(RATE), BATCH * 10, float(warm + seconds))
        offer.tell()
        for worker in workers:
            worker.tell()
        time.sleep(warm)
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
        offered = offer.heard(seconds + 90)
        warming = int(warm / window)
        said = [[worker.heard(60) for _ in range(warming + windows)] for worker in workers]
    done = sum(part[1] for one in said for part in one)
    p99 = [max(part[3] for part in parts) for parts in list(zip(*said, strict=True))[warming:]]
    course = " ".join(f"{size / 2**20:,.0f}" for size in sizes)
    beside = f"{done:,} of {offered:,} jobs in {warm + seconds} s; MB after each tenth, the fifth with an old snapshot: {course}"
    most = (1.2 if seconds >= 600 else 1.6) if warm == WARM else None
    ratio = spread([sizes[-1] / sizes[0]])
    yield Row("size at the end / after the first tenth", "postgresql", ratio, most=most, beside=beside)
    tail = max(1, len(p99) // 4)
    first, last = statistics.median(p99[:tail]), statistics.median(p99[-tail:])
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
