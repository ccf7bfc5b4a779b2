"""What MariaDB (or MySQL) can do beside PostgreSQL, and that its deadlocks are nobody else's business."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from secrets import token_hex

from measure import Row, ratios, spread, timed
from scene import Scene, Site

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.testing import programs as shared
from kombu_depqueue.testing.fill import Filler
from kombu_depqueue.testing.helpers import ChildProcess
from kombu_depqueue.testing.places import admin_engine, place_of
from kombu_depqueue.testing.servers import ServerMissing, mysql

BATCH = 100
PROCESSES = 8


def mariadb(scene: Scene) -> Iterator[Row]:
    """Drain in batches against PostgreSQL; deadlocks that reach a caller, with 8 processes."""
    with ExitStack() as stack:
        try:
            site = stack.enter_context(_site(stack.enter_context(mysql())))
        except ServerMissing as missing:
            scene.leave_out("MariaDB", str(missing))
            return
        if "postgresql" in scene.databases:
            yield _drain(scene, site, stack.enter_context(scene.site("postgresql")))
        yield _deadlocks(scene, site)


@contextmanager
def _site(server: str) -> Iterator[Site]:
    admin = admin_engine(server)
    try:
        with place_of(admin, f"b_{token_hex(8)}") as place:
            filler = Filler(place)
            with JobQueue(place.url) as queue:
                yield Site(queue, filler)
    finally:
        admin.dispose()


def _drain(scene: Scene, ours: Site, other: Site) -> Row:
    jobs, rounds = scene.pick(20_000, 10_000, 200, 50_000), scene.pick(3, 3, 1, 7)

    def drained(site: Site) -> float:
        site.filler.empty()
        for _ in range(jobs // BATCH):
            site.queue.enqueue_many([JobMessage.new() for _ in range(BATCH)])
        return timed(lambda: site.drain(jobs, BATCH))

    ways = {"mysql": lambda: drained(ours), "postgresql": lambda: drained(other)}
    found, busy = scene.others.alternate(rounds, ways)
    here, there = (spread(jobs / t for t in found[name]).median for name in ways)
    what = f"{jobs:,} jobs, reserve_many + ack_many({BATCH}) / PostgreSQL"
    value = ratios(found["postgresql"], found["mysql"])
    return Row(what, "mysql", value, least=0.4, beside=f"{here:,.0f} of {there:,.0f} jobs/s", busy=busy)


def _deadlocks(scene: Scene, site: Site) -> Row:
    """Processes that enqueue with dependencies, reserve, ack, fail, requeue and cancel, all in one queue."""
    jobs = scene.pick(20_000, 10_000, 200, 100_000) // PROCESSES
    before = _found_by_server(site)
    with ExitStack() as running:
        children = [ChildProcess(shared.churn, site.url, jobs) for _ in range(PROCESSES)]
        for child in children:
            running.callback(child.close)
            child.heard(60)
        for child in children:
            child.tell()
        reached = sum(_failed(child) for child in children)
    beside = f"the server found {_found_by_server(site) - before:,} of ours and others"
    what = f"processes that met an error, {PROCESSES} with {jobs * PROCESSES:,} jobs"
    return Row(what, "mysql", spread([reached]), unit="", most=0, beside=beside)


def _failed(child: ChildProcess) -> bool:
    try:
        child.heard(3600)
    except AssertionError as error:
        print(error)
        return True
    return False


def _found_by_server(site: Site) -> int:
    """Deadlocks since the server started, as far as it counts them."""
    rows = site.filler.rows("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'")
    return int(rows[0][1]) if rows else 0
