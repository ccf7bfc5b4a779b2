"""Hours of one cell: `python tests/chaos/soak.py [--seconds N] [--database D] [--seed N]`.

Jobs are judged when nothing was heard of them for a while, and then forgotten, as their records are; so it may last
as long as it likes. Once a minute it says how it goes. In the end the size of the tables, the memory of the processes
that were never killed and the number of connections must be what they were in the middle.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import inf
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from book import ENDS, JobStory
from cell import Stage, staged
from cells import Cell
from checker import Rules, Violation, judge
from history import now
from sqlalchemy import select, text, union_all

__all__ = ["Sample", "Soak", "is_flat", "main"]

KEPT = 60.0
"""Seconds that records are kept."""
QUIET = 90.0
"""Seconds without news after which a job is judged: longer than any lease, delay or outage."""
EVERY = 60.0
GROWTH = 1.05
"""What may be more in the end than in the middle."""

FAULTS = {"publisher killed": 1, "worker killed": 2, "worker stopped": 0.7, "operator killed": 0.3}
CREW = {"publisher": 3, "worker": 2, "veteran": 1, "operator": 1, "celery-threads": 1, "celery-prefork": 1}


def cell_of(database: str) -> Cell:
    """What goes on for hours: no more jobs than are done while workers die, else their backlog is what grows."""
    faults = {**FAULTS, "celery-prefork killed": 0.05}
    faults |= {"file locked": 1.0} if database == "sqlite" else {"sessions killed": 1.0}
    options = {"retention": KEPT, "result_retention": KEPT}
    return Cell(f"soak-{database}", database, CREW, faults, hold=0.0, rate=60.0, options=options)


@dataclass
class Sample:
    """How it stands; what is measured of those that live all the time is to stay as it is."""

    seconds: float = 0.0
    jobs: int = 0
    faults: int = 0
    violations: int = 0
    backlog: int = 0
    table_mb: float = 0.0
    dead_rows: int = 0
    rss_mb: float = 0.0
    connections: int = 0

    def __str__(self) -> str:
        shown = (f"{f.name} {round(getattr(self, f.name), 1):g}" for f in fields(self))
        return "  ".join(shown)


def is_flat(samples: Sequence[Sample], name: str, slack: float = 0.0) -> bool:
    """Whether it is in the end what it was in the middle, but for 5 %; by the medians of a fifth of the time each."""
    if not samples:
        return False
    end = samples[-1].seconds
    middle = [getattr(s, name) for s in samples if 0.4 * end <= s.seconds <= 0.6 * end]
    last = [getattr(s, name) for s in samples if s.seconds >= 0.8 * end]
    return bool(middle) and statistics.median(last) <= statistics.median(middle) * GROWTH + slack


@dataclass
class Soak:
    """One that is under way."""

    stage: Stage
    violations: list[Violation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def run(self, seconds: float) -> None:
        """Go on for so long, saying how it goes."""
        self.stage.disturb(2.0)
        looked = 0.0
        while (passed := time.monotonic() - self.started) < seconds:
            time.sleep(0.5)
            self.stage.watch()
            if passed - looked >= min(EVERY, seconds / 30):
                looked = passed
                self.judge(QUIET)
                self.samples.append(self.sample())
                print(self.samples[-1], flush=True)
        self.stage.calm()

    def judge(self, quiet: float) -> None:
        """Judge those of which nothing was heard for so long, and forget them."""
        stage, book = self.stage, self.stage.book
        rules = Rules(hold=stage.cell.hold)
        before = now() - quiet * 1e9
        due = [job for job in book.jobs.values() if job.last_news() < before]
        found = [v for job in due for v in judge(job, book, rules)]
        missing = [job for job in due if not self.may_have_ended(job)]
        if missing:
            there = self.there()
            found += [Violation("I1 lost", j.id, "gone, and nobody ended it") for j in missing if j.id not in there]
            due = [job for job in due if job.id not in there]
        found += stage.violations
        stage.violations.clear()
        for violation in found:
            story = book.jobs.get(violation.job_id)
            print(violation, *(story.lines if story else ()), sep="\n    ", flush=True)
        for job in due:
            book.forget(job, before - 1800e9)
        self.violations += found
        stage.reader.forget({m for m in self.living()})

    def living(self) -> set[str]:
        """The names of the files that are still written."""
        pids = {str(m.pid) for m in self.stage.crew.members if m.alive}
        names = {path.stem for path in self.stage.folder.glob("*.jsonl")}
        return {n for n in names if n.startswith(("cell", "celery")) or n.split("-")[1] in pids}

    def may_have_ended(self, job: JobStory) -> bool:
        """Whether it need not be there any more."""
        ended = job.ended_since() < inf or any(s.perhaps and s.how in ENDS for s in job.settles)
        return ended or not job.acked or any(p.most for p in job.publishes) or self.stage.book.perhaps_canceled(job)

    def there(self) -> set[str]:
        """The ids of all jobs, live or kept; by one look, which none escapes that moves from table to table."""
        with self.stage.quiet() as queue:
            t = queue._database.dialect.tables
            everywhere = union_all(*(select(table.c.job_id) for table in (t.wait, t.job, t.done)))
            with queue._database.opened() as connection:
                return {str(i) for (i,) in connection.execute(everywhere)}

    def sample(self) -> Sample:
        """How it stands now."""
        stage = self.stage
        size, dead = self.table_size()
        with stage.quiet() as queue:
            backlog = stage.live(queue)
        veterans = [m for m in stage.crew.members if m.kind in ("veteran", "celery-threads") and m.alive]
        return Sample(
            seconds=time.monotonic() - self.started,
            jobs=stage.book.counts["acked"],
            faults=stage.struck(),
            violations=len(self.violations),
            backlog=backlog,
            table_mb=size / 2**20,
            dead_rows=dead,
            rss_mb=sum(rss(m.pid) for m in veterans) / 2**20,
            connections=len(stage.ground.sessions.pids()) if stage.ground.sessions else 0,
        )

    def table_size(self) -> tuple[float, int]:
        """Bytes of our tables with their indexes, and rows that are dead and not yet cleared away."""
        ground = self.stage.ground
        if ground.admin is None or ground.sessions is None:
            return float(sum(f.stat().st_size for f in self.stage.folder.glob("jobs.db"))), 0
        postgresql = ground.admin.dialect.name == "postgresql"
        name = ground.place.schema if postgresql else ground.sessions.name
        with ground.admin.connect() as connection:
            row = connection.execute(text(_SIZE_POSTGRESQL if postgresql else _SIZE_MYSQL), {"name": name}).one()
        return float(row[0] or 0), int(row[1] or 0)

    def complaints(self) -> list[str]:
        """What is wrong in the end."""
        wrong = [str(v) for v in self.violations]
        for name, slack in (("table_mb", 1.0), ("rss_mb", 0.0), ("connections", 2.0)):
            if not is_flat(self.samples, name, slack):
                wrong.append(f"{name} grows: {[round(getattr(s, name), 1) for s in self.samples]}")
        return wrong + self.stage.crew.problems


_SIZE_POSTGRESQL = """
SELECT sum(pg_total_relation_size(relid)), sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = :name
"""
_SIZE_MYSQL = """
SELECT sum(data_length + index_length), 0 FROM information_schema.tables WHERE table_schema = :name
"""


def rss(pid: int) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4 * 3600.0)
    parser.add_argument("--database", default="postgresql", choices=("sqlite", "postgresql", "mysql"))
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    asked = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    print(f"soak of {asked.seconds:g} s on {asked.database}, seed {asked.seed}, histories in {folder}", flush=True)
    with staged(cell_of(asked.database), asked.seed, folder) as stage:
        soak = Soak(stage)
        soak.run(asked.seconds)
        drained = stage.drain(300.0)
        stage.crew.dismiss("")
        stage.book.read(stage.reader.new())
        soak.judge(0.0)
        print(f"drained in {'never' if drained is None else f'{drained:.1f} s'}; {soak.sample()}")
        complaints = soak.complaints() + ([] if drained is not None else ["not worked off"])
    print("\n".join(complaints) or "nothing was lost, nothing grew")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
