"""How much of what PostgreSQL can do reaches a Python program."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from measure import Row, ratios, spread, timed
from pgbench import PgBench
from scene import Scene, Site

from kombu_depqueue import JobMessage

BATCH = 100


def throughput(scene: Scene) -> Iterator[Row]:
    """Enqueue and drain by one process, against pgbench with the same statements."""
    if "postgresql" not in scene.databases:
        return
    with scene.site("postgresql") as site:
        bench = PgBench(site.filler)
        yield from _in_batches(scene, site, bench)
        yield from _singly(scene, site, bench)


def _in_batches(scene: Scene, site: Site, bench: PgBench) -> Iterator[Row]:
    jobs, rounds = scene.pick(100_000, 20_000), scene.pick(7, 3)
    enqueue, drain = bench.enqueue(BATCH), bench.drain(BATCH)

    def enqueue_all() -> None:
        for _ in range(jobs // BATCH):
            site.queue.enqueue_many([JobMessage.new() for _ in range(BATCH)])

    found, busy = _alternate(
        scene,
        site,
        rounds,
        {
            "pgbench enqueue": lambda: bench.run(enqueue, jobs // BATCH),
            "pgbench drain": lambda: bench.run(drain, jobs // BATCH),
            "enqueue": lambda: timed(enqueue_all),
            "drain": lambda: timed(lambda: site.drain(jobs, BATCH)),
        },
    )
    yield _row(found, busy, "enqueue", f"{jobs:,} jobs, enqueue_many({BATCH}) / pgbench", jobs, None)
    yield _row(found, busy, "drain", f"{jobs:,} jobs, reserve_many + ack_many({BATCH}) / pgbench", jobs, None)
    both = {
        who: [a + b for a, b in zip(found[f"{who}enqueue"], found[f"{who}drain"], strict=True)]
        for who in ("", "pgbench ")
    }
    both = {f"{who}both": times for who, times in both.items()}
    yield _row(both, busy, "both", f"{jobs:,} jobs, enqueued and drained / pgbench", jobs, 0.5)


def _singly(scene: Scene, site: Site, bench: PgBench) -> Iterator[Row]:
    jobs, rounds = scene.pick(5_000, 1_500), scene.pick(7, 3)
    enqueue, drain = bench.enqueue(1), bench.drain(1)

    def enqueue_all() -> None:
        for _ in range(jobs):
            site.queue.enqueue()

    found, busy = _alternate(
        scene,
        site,
        rounds,
        {
            "pgbench enqueue": lambda: bench.run(enqueue, jobs),
            "pgbench drain": lambda: bench.run(drain, jobs),
            "enqueue": lambda: timed(enqueue_all),
            "drain": lambda: timed(lambda: site.drain_singly(jobs)),
        },
    )
    yield _row(found, busy, "enqueue", "single enqueue / pgbench", jobs, 0.5)
    yield _row(found, busy, "drain", "single reserve + ack / pgbench", jobs, None)


def _alternate(
    scene: Scene, site: Site, rounds: int, ways: dict[str, Callable[[], float]]
) -> tuple[dict[str, list[float]], float]:
    def cleared(name: str, way: Callable[[], float]) -> Callable[[], float]:
        def run() -> float:
            if name.endswith("enqueue"):
                site.filler.empty()
            return way()

        return run

    return scene.others.alternate(rounds, {name: cleared(name, way) for name, way in ways.items()})


def _row(found: dict[str, list[float]], busy: float, name: str, what: str, jobs: int, least: float | None) -> Row:
    ours, theirs = (spread(jobs / t for t in found[who + name]) for who in ("", "pgbench "))
    beside = f"{ours.median:,.0f} of {theirs.median:,.0f} jobs/s"
    ratio = ratios(found["pgbench " + name], found[name])
    return Row(what, "postgresql", ratio, least=least, beside=beside, busy=busy)
