"""Runs a cell: programs work, faults befall them, all is worked off, the history is checked."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from book import Book
from cells import Cell
from checker import Rules, Violation, check
from crew import Crew, Killed, Stopped
from faults.base import Fault
from faults.clock import JUMPS, ClockJump
from grounds import Ground, ground_of, with_query
from history import OK, History, Reader
from program import CELERY, QUEUES, Task, business_table, engine_of
from sqlalchemy import func, select
from tables import at_rest, business_of, final, records_of

from kombu_depqueue import JobQueue
from kombu_depqueue.settings import parse

__all__ = ["BRIEF", "FULL", "Report", "Size", "run_cell"]


AFTER_ALL_JUMPS = max(JUMPS) + 60.0
"""Seconds that a database's clock is ahead in the end."""


AWAKE = 3.0
"""Seconds that a process that was stopped may take to go on."""


@dataclass(frozen=True)
class Size:
    """How much there is to be before a cell may end (or after so many seconds, and then it is too little)."""

    acked: int
    faults: int
    pause: float
    """Seconds between faults, on the average."""
    most: float
    """Seconds of faults, at the utmost."""
    drain: float = 90.0


FULL = Size(acked=2500, faults=100, pause=0.3, most=400.0)
BRIEF = Size(acked=800, faults=30, pause=0.3, most=150.0)


@dataclass
class Report:
    """What came of it."""

    cell: Cell
    seed: int
    folder: Path
    faults: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    book: Book = field(default_factory=Book)
    lateness: list[float] = field(default_factory=list)
    disturbed: float = 0.0
    drained: float | None = None

    def __str__(self) -> str:
        """One line."""
        c, late = self.counts, sorted(self.lateness) or [0.0]
        faults = sum(self.faults.values())
        drained = "never" if self.drained is None else f"{self.drained:.1f} s"
        return (
            f"{self.cell.name:<28} seed {self.seed:<7} {self.disturbed:5.1f} s, faults {faults}, acked {c['acked']}, "
            f"deliveries {c['deliveries']}, redelivered {c['redelivered']}, refused {c['refused']}, "
            f"late p50 {_share(late, 0.5):.3f} s p99 {_share(late, 0.99):.3f} s, drained in {drained}, "
            f"violations {len(self.violations)}"
        )

    def kinds(self) -> str:
        """The faults by kind."""
        return ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))

    def complaint(self, most: int = 5) -> str:
        """What is wrong, with the histories of the jobs concerned."""
        lines = [str(self), self.kinds(), f"again: make chaos ARGS='{self.cell.name} --seed {self.seed}'"]
        lines.append(f"histories: {self.folder}")
        by_rule = Counter(v.rule for v in self.violations)
        lines.append(", ".join(f"{rule}: {count}" for rule, count in by_rule.items()))
        seen: Counter[str] = Counter()
        for violation in self.violations:
            seen[violation.rule] += 1
            if seen[violation.rule] <= most:
                lines += [str(violation), *self._story(violation.job_id)]
        return "\n".join(lines)

    def _story(self, job_id: str) -> list[str]:
        job = self.book.jobs.get(job_id)
        if job is None:
            return []
        shown = sorted(job.lines, key=lambda pair: pair[1]["at"])
        return [f"    {line['at'] / 1e9:.4f} {source}: {_brief(line, job_id)}" for source, line in shown[:60]]


def _brief(line: dict[str, object], job_id: str) -> str:
    jobs = line.get("jobs")
    mine = [job for job in jobs if job["id"] == job_id] if isinstance(jobs, list) else None
    facts = {k: v for k, v in line.items() if k not in ("at", "n", "jobs", "items")}
    return str(facts | ({"job": mine[0]} if mine else {}))


def _share(numbers: list[float], share: float) -> float:
    return numbers[min(len(numbers) - 1, int(len(numbers) * share))]


class Stage:
    """A cell that runs."""

    def __init__(self, cell: Cell, seed: int, folder: Path, ground: Ground) -> None:
        self.cell, self.seed, self.folder, self.ground = cell, seed, folder, ground
        self.history = History(folder, "cell")
        self.reader, self.book = Reader(folder), Book()
        self.violations: list[Violation] = []
        self.url = with_query(ground.scene.url, **cell.query)
        self.task = self._task()
        self.crew = Crew(self.task, self.history, ground.scene.environment)
        self.off = threading.Event()
        self._threads: list[threading.Thread] = []
        self._stopped_at = time.monotonic()

    def _task(self) -> Task:
        cell, place = self.cell, self.ground.place
        options = {"retention": 86400.0, "deadline": 15.0, "poll_interval": 0.2, **cell.options}
        told = {name: str(value) for name, value in options.items()}
        publishers = max(1, cell.crew.get("publisher", 1))
        engine_url = self.ground.scene.quiet_url  # an application's own connection hangs in a black hole for ever
        if self.ground.sessions is not None:
            engine_url = _plain(self.ground.sessions.url)
        return Task(
            url=self.url,
            folder=str(self.folder),
            seed=str(self.seed),
            engine_url=_plain(engine_url),
            schema=parse(place.url).schema,
            prefix=place.prefix,
            broker="depqueue+" + with_query(self.url, lease=str(cell.lease), **told) if cell.has_celery else None,
            rate=cell.rate / publishers,
            lease=cell.lease,
            delays=cell.delays,
            plain=cell.plain,
            options=options,
        )

    def quiet(self) -> JobQueue:
        """A JobQueue that nothing disturbs."""
        return JobQueue(self.ground.scene.quiet_url, retention=86400.0)

    def prepare(self) -> None:
        """Make the tables."""
        with JobQueue(self.ground.scene.quiet_url, create=True) as queue:
            for name in (*QUEUES, CELERY):
                queue.resume(name)  # so that it is there
        engine = engine_of(self.task.engine_url)
        business_table(self.task).metadata.create_all(engine)
        engine.dispose()

    # faults

    def faults(self) -> list[list[tuple[Fault, float]]]:
        """Those of the processes and sessions, and those of the scene, which may take long: each in a thread."""
        made: list[tuple[Fault, float]] = []
        for name, share in self.cell.faults.items():
            made.append((self._fault(name), share))
        return [some for some in (made, [(f, 1.0) for f in self.ground.scene.faults]) if some]

    def _fault(self, name: str) -> Fault:
        kind, _, what = name.partition(" ")
        if what == "killed" and kind != "sessions":
            return Killed(self.crew, kind)
        if what == "stopped":
            return Stopped(self.crew, kind, lambda chance: self.cell.lease * chance.choice((0.5, 1.2, 1.6, 2.0)))
        return self.ground.fault(name)

    def disturb(self, pause: float, enough: float = inf) -> None:
        """Let the faults begin; when there were enough, fewer are to come, so that there is time for jobs."""
        for number, some in enumerate(self.faults()):
            if number:  # those last; and between them there must be something to be disturbed
                pause *= 5
            chance = random.Random(f"{self.seed}-{number}")
            thread = threading.Thread(target=self._inject, args=(some, pause, enough, chance), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _inject(self, some: list[tuple[Fault, float]], pause: float, enough: float, chance: random.Random) -> None:
        faults, shares = [f for f, _ in some], [s for _, s in some]
        while not self.off.wait(pause * chance.uniform(0.3, 1.7) * (1 if self.struck() < enough else 8)):
            fault = chance.choices(faults, shares)[0]
            op = self.history.invoke("fault", name=fault.name)
            if fault.inject(chance) is False:
                op.fail()  # there was nobody to be struck
            else:
                op.ok()

    def struck(self) -> int:
        """How many faults there were."""
        return sum(window.perhaps for _, window, _ in list(self.book.faults))

    def calm(self) -> None:
        """Let the faults end."""
        self.off.set()
        for thread in self._threads:
            thread.join(60)

    def watch(self) -> None:
        """One look: read on, replace the dead, see that no session is left in a transaction (I16)."""
        self.book.read(self.reader.new())
        if self.crew.any_stopped():
            self._stopped_at = time.monotonic()
        self.crew.tend()
        if time.monotonic() - self._stopped_at > AWAKE:  # else what it left open may be open still
            with suppress(Exception):  # the server may be away: that is for the programs to bear
                for session in self.ground.idle_transactions():
                    self.violations.append(Violation("I16 session", "-", session))

    # the end

    def live(self, queue: JobQueue) -> int:
        """How many jobs have not ended."""
        tables = queue._database.dialect.tables
        with queue._database.opened() as connection:
            counts = [
                connection.scalar(select(func.count()).select_from(t).where(t.c.job_id.is_not(None)))
                for t in (tables.job, tables.wait)
            ]
        return sum(count or 0 for count in counts)

    def drain(self, seconds: float) -> float | None:
        """All is worked off by workers that nobody disturbs; how long it took."""
        started = time.monotonic()
        for kind in ("publisher", "operator", "worker"):
            self.crew.dismiss(kind)
        with self.quiet() as queue:
            for name in QUEUES:
                op = self.history.invoke("resume", queue=name)
                queue.resume(name)
                op.ok()
            if not self.cell.has_celery:
                self.violations += at_rest(queue)
            self.crew.start("worker", calm=True)
            for fault in self.ground.scene.faults:
                if isinstance(fault, ClockJump):
                    fault.clock.set(AFTER_ALL_JUMPS)  # what was delayed after a jump forward is due then only
            while time.monotonic() - started < seconds:
                self.crew.tend()
                if not self.live(queue):
                    return time.monotonic() - started
                time.sleep(0.1)
        return None

    def verdict(self) -> list[Violation]:
        """What the history and the tables say."""
        self.book.read(self.reader.new())
        engine = engine_of(self.task.engine_url)
        with self.quiet() as queue, engine.connect() as connection:
            records = records_of(queue)
            business = business_of(connection, business_table(self.task))
            found = final(queue, self.book, records, business)
        engine.dispose()
        cell = self.cell
        rules = Rules(hold=cell.hold, clock_jumps=cell.clock_jumps, one_consumer=cell.plain)
        found += check(self.book, rules, records)
        found += [Violation("process", "-", problem) for problem in self.crew.problems]
        return [*self.violations, *found]

    def lateness(self) -> Iterator[float]:
        """Of delayed jobs that wait for nothing else: seconds from when they were due until somebody had them."""
        for job in self.book.jobs.values():
            publish = job.publishes[0] if len(job.publishes) == 1 else None
            if publish is not None and publish.outcome == OK and publish.delay and not publish.deps:
                moments = [d.complete for d in job.deliveries] + [r.invoke for r in job.runs]
                if moments:
                    yield max(0.0, (min(moments) - publish.complete) / 1e9 - publish.delay)


def _plain(url: object) -> str:
    """The database as any application knows it, without our options."""
    made = parse(str(url) if not hasattr(url, "render_as_string") else url.render_as_string(hide_password=False)).url
    return made.render_as_string(hide_password=False)


@contextmanager
def staged(cell: Cell, seed: int, folder: Path) -> Iterator[Stage]:
    """A cell whose programs are at work; all are gone at the end."""
    with ExitStack() as stack:
        stage = Stage(cell, seed, folder, stack.enter_context(ground_of(cell.database, folder, cell.scene)))
        stack.callback(stage.history.close)
        stage.prepare()
        stack.callback(stage.crew.close)
        stack.callback(stage.off.set)
        stage.crew.man(cell.crew)
        yield stage


def run_cell(cell: Cell, seed: int, folder: Path, size: Size = FULL) -> Report:
    """Run one cell to its end."""
    with staged(cell, seed, folder) as stage:
        started = time.monotonic()
        stage.disturb(size.pause, size.faults)
        while time.monotonic() - started < size.most:
            time.sleep(0.25)
            stage.watch()
            if stage.book.counts["acked"] >= size.acked and stage.struck() >= size.faults:
                break
        stage.calm()
        disturbed = time.monotonic() - started
        drained = stage.drain(size.drain)
        stage.crew.dismiss("")
        violations = stage.verdict()
    report = Report(cell, seed, folder, book=stage.book, violations=violations)
    report.faults = Counter(name for name, window, _ in stage.book.faults if window.perhaps)
    report.counts = {name: stage.book.counts[name] for name in ("acked", "deliveries", "redelivered", "refused")}
    report.lateness, report.disturbed, report.drained = list(stage.lateness()), disturbed, drained
    report.violations += _too_little(report, size)
    return report


def _too_little(report: Report, size: Size) -> Iterator[Violation]:
    faults, acked = sum(report.faults.values()), report.counts["acked"]
    if faults < size.faults or acked < size.acked:
        yield Violation("too little", "-", f"{acked} of {size.acked} acknowledged, {faults} of {size.faults} faults")
    if report.drained is None:
        yield Violation("I7 stuck", "-", f"not worked off within {size.drain} s")
