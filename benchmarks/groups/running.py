"""What a running system shows: latency, dependencies, fairness, memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from uuid import UUID

import programs
from measure import Row, percentile, ratios, spread, timed
from scene import Scene, Site

from kombu_depqueue import JobMessage, JobQueue
from kombu_depqueue.testing.helpers import ChildProcess

BATCH = 100


def latency(scene: Scene) -> Iterator[Row]:
    """From the call of enqueue to the start of the handler in a worker process: idle, and at half load.

    Half load: half as many a second as one process enqueues while the worker works.
    """
    jobs = scene.pick(200, 100, 12, 1_000)
    for database in scene.few(scene.databases):
        with scene.site(database) as site, ExitStack() as running:
            worker = _start(running, programs.work_and_note, site.url)
            time.sleep(1.0)
            _enqueue(site, jobs, 0.05)
            full = timed(lambda: _enqueue(site, jobs, 0.0))
            time.sleep(0.5)
            _enqueue(site, jobs, 2 * full / jobs)
            moments = _noted(worker, 3 * jobs)
        taken = [started - sent for sent, started in moments]
        for load, part in (("idle", taken[jobs // 20 : jobs]), ("half load", taken[2 * jobs + jobs // 20 :])):
            for share in (0.5, 0.95, 0.99):
                most = {0.5: 0.003, 0.99: 0.010}.get(share) if load == "idle" else None
                value = spread([percentile(part, share)])
                longest = f"longest {max(part) * 1000:.1f} ms"
                yield Row(
                    f"enqueue to handler, {load}, p{share * 100:.0f}", database, value, "ms", most=most, beside=longest
                )


def _enqueue(site: Site, jobs: int, pause: float) -> None:
    due = time.monotonic()
    for _ in range(jobs):
        due += pause
        time.sleep(max(0.0, due - time.monotonic()))
        site.queue.enqueue("default", time.monotonic())


def _noted(worker: ChildProcess, count: int) -> list[tuple[float, float]]:
    """What the worker noted, when it has run so many jobs."""
    until, found = time.monotonic() + 60, []
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} jobs ran"
        time.sleep(0.2)
        worker.tell()
        found += worker.heard(30)
    return found


def fan_in(scene: Scene) -> Iterator[Row]:
    """One job depends on 10,000: enqueue it, finish the last of them, see it ready."""
    count, rounds = scene.pick(10_000, 2_000, 200), scene.pick(3, 1, 1)
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
    count, rounds = scene.pick(10_000, 2_000, 200), scene.pick(3, 1, 1)
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
    rows, jobs, rounds = scene.pick(200_000, 50_000, 300), scene.pick(5_000, 1_000, 100), scene.pick(7, 5, 1)
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


def chain(scene: Scene) -> Iterator[Row]:
    """A chain in which each job depends on the one before, run one by one, against as many free ones."""
    length = scene.pick(300, 100, 5)
    for database in scene.databases:
        with scene.site(database) as site:

            def run(depends: bool, site: Site = site) -> float:
                before: UUID | None = None
                jobs = []
                for n in range(length):
                    jobs.append(JobMessage.new("default", n, depends_on=[before] if before and depends else ()))
                    before = jobs[-1].job_id
                site.queue.enqueue_many(jobs)
                return timed(lambda: site.drain_singly(length))

            ways = {"free": lambda: run(False), "chained": lambda: run(True)}
            found, busy = scene.others.alternate(scene.pick(7, 5, 1), ways, patience=2.0)
            beside = f"{median(found['chained']) / length * 1e6:.0f} us a job"
            ratio = ratios(found["chained"], found["free"])
            yield Row(f"chain of {length} / as many free jobs", database, ratio, beside=beside, busy=busy)


def processes(scene: Scene) -> Iterator[Row]:
    """Processes that enqueue, reserve and ack on one database: all together, and the slowest against the fastest."""
    seconds = scene.pick(4, 3, 1, 10)
    for database in scene.few(scene.databases):
        for size, count in [(1, n) for n in (1, 2, 8)[: scene.pick(3, 3, 1)]] + [(10, scene.pick(8, 8, 2))]:
            with scene.site(database) as site, ExitStack() as running:
                children = [_start(running, programs.compete, site.url, float(seconds), size) for _ in range(count)]
                start = time.monotonic() + 0.5
                for child in children:
                    child.tell(start)
                said = [c.heard(seconds + 60) for c in children]
                for child in children:
                    child.wait()
            done = [number for number, _ in said]
            beside = f"longest turn {max(t for _, t in said) * 1000:.0f} ms"
            what = f"{count} processes, by {size}" if count > 1 else f"1 process, by {size}"
            together = f"enqueue, reserve and ack by {size}, by so many processes"
            yield Row(together, database, spread([sum(done) / seconds]), "/s", beside=beside, at=float(count))
            if count > 1:
                least = 1 / 3 if database == "sqlite" and count == 8 else None
                yield Row(f"{what}: slowest / fastest", database, spread([min(done) / max(done)]), least=least)


def wakeups(scene: Scene) -> Iterator[Row]:
    """16 publishers while 4 consumers of other queues are idle, against publishers with wake-ups turned off."""
    seconds, threads = scene.pick(3, 3, 1, 5), 4
    consumers = scene.pick(4, 4, 1)
    for database in scene.few(scene.databases):
        with scene.site(database) as site, ExitStack() as running:
            for number in range(consumers):
                _start(running, programs.wait_idly, site.url, f"idle-{number}")
            publishers = {
                notify: [_start(running, programs.publish, site.url, threads, notify) for _ in range(consumers)]
                for notify in (True, False)
            }

            def rate(notify: bool, publishers: dict[bool, list[ChildProcess]] = publishers) -> float:
                for child in publishers[notify]:
                    child.tell(float(seconds))
                return sum(float(child.heard(seconds + 60)) for child in publishers[notify]) / seconds

            ways = {"without": lambda: rate(False), "with": lambda: rate(True)}
            found, busy = scene.others.alternate(scene.pick(5, 2, 1), ways, patience=2.0)
        beside = f"{median(found['with']):,.0f} jobs/s"
        ratio = ratios(found["with"], found["without"])
        what = f"{threads * consumers} publishers, wake-ups / none"
        yield Row(what, database, ratio, least=0.85, beside=beside, busy=busy)


def memory(scene: Scene) -> Iterator[Row]:
    """Growth of a producer of a million jobs, and of a consumer with a million waiting, after the first tenth."""
    produced, waiting = scene.pick(200_000, 100_000, 1_000, 1_000_000), scene.pick(200_000, 200_000, 2_000, 1_000_000)
    for database in scene.few(scene.databases):
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
