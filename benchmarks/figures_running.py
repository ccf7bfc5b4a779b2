"""What a running system shows: latency, dependencies, fairness, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median

import programs
from measure import Row, percentile, ratios, spread, timed
from scene import Scene, Site

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.testing.helpers import ChildProcess

BATCH = 100


def latency(scene: Scene) -> Iterator[Row]:
    """From the call of enqueue to the start of the handler in an idle worker process; one job each 50 ms."""
    jobs = scene.pick(600, 100)
    for database in scene.databases:
        with scene.site(database) as site, ExitStack() as running:
            worker = _start(running, programs.work_and_note, site.url)
            time.sleep(1.0)
            for _ in range(jobs):
                site.queue.enqueue("default", time.monotonic())
                time.sleep(0.05)
            time.sleep(1.5)
            worker.tell()
            moments = worker.heard(30)
        taken = [started - sent for sent, started in moments][10:]
        assert len(moments) == jobs
        parts = [taken[i::5] for i in range(5)]
        for share, most in ((0.5, 0.005), (0.99, 0.025)):
            value = spread([percentile(part, share) for part in parts] if share == 0.5 else [percentile(taken, share)])
            yield Row(
                f"enqueue to handler, idle worker, p{share * 100:.0f}",
                database,
                value,
                "ms",
                most=most,
                beside=f"{len(taken)} jobs, longest {max(taken) * 1000:.1f} ms",
            )


def fan_in(scene: Scene) -> Iterator[Row]:
    """One job depends on 10,000: enqueue it, finish the last of them, see it ready."""
    count, rounds = scene.pick(10_000, 2_000), scene.pick(3, 1)
    for database in scene.databases:
        enqueue, drain, finish, released = [], [], [], []
        for _ in range(rounds):
            with scene.site(database) as site:
                jobs = [JobMessage.new("default", n) for n in range(count)]
                site.queue.enqueue_many(jobs)
                ids = [j.job_id for j in jobs]
                enqueue.append(timed(lambda: site.queue.enqueue("last", depends_on=ids)))  # noqa: B023
                drain.append(timed(lambda: site.drain(count - BATCH, BATCH)))
                rest = site.queue.reserve_many(BATCH, 10)
                site.queue.ack_many(rest[:-1])
                started = time.perf_counter()
                rest[-1].ack()
                finish.append(time.perf_counter() - started)
                site.queue.reserve(10, queues=["last"]).ack()
                released.append(time.perf_counter() - started)
        beside = f"enqueued in {median(enqueue):.2f} s, the {count:,} drained in {median(drain):.2f} s"
        yield Row(f"fan-in of {count:,}: the last finish", database, spread(finish), "ms", most=1.0, beside=beside)
        yield Row(f"fan-in of {count:,}: until the dependent runs", database, spread(released), "ms", most=5.0)


def fan_out(scene: Scene) -> Iterator[Row]:
    """10,000 jobs depend on one: enqueue them, finish the one, see them all ready."""
    count, rounds = scene.pick(10_000, 2_000), scene.pick(3, 1)
    for database in scene.databases:
        enqueue, finish, released = [], [], []
        for _ in range(rounds):
            with scene.site(database) as site:
                first = site.queue.enqueue("first")
                jobs = [JobMessage.new("default", n, depends_on=[first]) for n in range(count)]
                enqueue.append(timed(lambda: site.queue.enqueue_many(jobs)))  # noqa: B023
                one = site.queue.reserve(10, queues=["first"])
                started = time.perf_counter()
                one.ack()
                finish.append(time.perf_counter() - started)
                _await_ready(site.queue, count)
                released.append(time.perf_counter() - started)
        beside = f"enqueued in {median(enqueue):.2f} s"
        yield Row(f"fan-out of {count:,}: the finish", database, spread(finish), "ms", most=1.0, beside=beside)
        yield Row(f"fan-out of {count:,}: until all are ready", database, spread(released), "ms", most=5.0)


def _await_ready(queue: JobQueue, count: int) -> None:
    until = time.monotonic() + 60
    while next(q.ready for q in queue.queues() if q.name == "default") < count:
        assert time.monotonic() < until, queue.queues()
        time.sleep(0.01)


def gating(scene: Scene) -> Iterator[Row]:
    """What jobs without dependents pay for dependencies: draining beside many edges, beside none."""
    rows, jobs, rounds = scene.pick(200_000, 50_000), scene.pick(5_000, 1_000), scene.pick(9, 5)
    for database in scene.databases:
        with ExitStack() as stack:
            none, many = (stack.enter_context(scene.site(database)) for _ in range(2))
            many.filler.blocked(rows)
            for site in (none, many):
                site.filler.settle()
            for size in (BATCH, 1):
                count = jobs if size > 1 else jobs // 10
                ways = {"none": _drain(none, count, size), "many": _drain(many, count, size)}
                found, busy = scene.others.alternate(rounds, ways)
                yield Row(
                    f"claim + ack by {size} beside {rows:,} edges / none",
                    database,
                    ratios(found["many"], found["none"]),
                    most=1.1,
                    beside=f"{median(found['many']) / count * 1e6:.0f} us a job",
                    busy=busy,
                )


def _drain(site: Site, jobs: int, size: int) -> Callable[[], float]:
    def run() -> float:
        site.queue.enqueue_many(JobMessage.new() for _ in range(jobs))
        return timed(lambda: site.drain(jobs, size) if size > 1 else site.drain_singly(jobs))

    return run


def fairness(scene: Scene) -> Iterator[Row]:
    """8 processes enqueue, reserve and ack on one SQLite file: the slowest against the fastest."""
    seconds = scene.pick(15, 5)
    if "sqlite" not in scene.databases:
        return
    for size in (1, 10):
        with scene.site("sqlite") as site, ExitStack() as running:
            children = [_start(running, programs.compete, site.url, float(seconds), size) for _ in range(8)]
            start = time.monotonic() + 0.5
            for child in children:
                child.tell(start)
            said = [c.heard(seconds + 60) for c in children]
            for child in children:
                child.wait()
        done = [count for count, _ in said]
        beside = (
            f"{sum(done) / seconds:,.0f} jobs/s in all, {min(done):,} to {max(done):,} a process, "
            f"longest turn {max(t for _, t in said) * 1000:.0f} ms"
        )
        yield Row(
            f"8 processes on one file, by {size}: slowest / fastest",
            "sqlite",
            spread([min(done) / max(done)]),
            least=1 / 3,
            beside=beside,
        )


def memory(scene: Scene) -> Iterator[Row]:
    """Growth of a producer of a million jobs, and of a consumer with a million waiting, after the first tenth."""
    produced, waiting = scene.pick(1_000_000, 100_000), scene.pick(1_000_000, 200_000)
    for database in scene.databases:
        with scene.site(database) as site, ExitStack() as running:
            marks, seconds = _start(running, programs.produce, site.url, produced, ready=False).heard(1800)
            yield _growth(f"producer of {produced:,} jobs: growth of its memory", database, marks, produced / seconds)
        with scene.site(database) as site, ExitStack() as running:
            site.filler.ready(waiting)
            child = _start(running, programs.consume, site.url, waiting // 4, BATCH, ready=False)
            marks, seconds = child.heard(1800)
            what = f"consumer of {waiting // 4:,} of {waiting:,} ready jobs: growth of its memory"
            yield _growth(what, database, marks, waiting // 4 / seconds)


def _growth(what: str, database: str, marks: list[int], rate: float) -> Row:
    after = len(marks) // 10
    grown = max(marks[after:]) - marks[after]
    beside = f"{marks[after] / 2**20:.0f} MB; {rate:,.0f} jobs/s"
    return Row(what, database, spread([float(grown)]), "MB", most=4 * 2.0**20, beside=beside)


def _start(running: ExitStack, program: Callable[..., None], *args: object, ready: bool = True) -> ChildProcess:
    child = ChildProcess(program, *args)
    running.callback(child.close)
    if ready:
        assert child.heard(60) == "ready"
    return child
