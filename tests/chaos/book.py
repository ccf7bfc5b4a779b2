"""The histories of all processes, put together by job.

What each line of a history holds (see `programs`):

    publish  jobs=[{id, queue, delay?, deps?, most?, order?}]
    reserve                     ok: jobs=[[id, token, attempt, redelivered]]
    settle   how, items=[[id, token]], delay?, result?      ok: lost=[id] (the others were accepted)
    again    id, token: the same settling once more         ok: it was accepted a second time
    cancel   id                 ok: did
    purge    queue;  pause, resume   queue
    run      id, redelivered    ok: the body of the task has come to its end
    close                       what the process holds is given back from now on
    fault    name, pid?         what was disturbed, and when
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Any

from history import FAIL, INFO, OK

__all__ = ["ENDS", "Book", "Delivery", "JobStory", "Publish", "Run", "Settle", "Window"]

ENDS = {"ack": "succeeded", "finish": "succeeded", "fail": "failed", "reject": "failed"}
"""How a holder may end a job, and its state then."""


@dataclass(slots=True)
class Window:
    """Between these two moments (ns) it took place, if it did. Without an answer: at any time since, perhaps."""

    invoke: float
    complete: float = inf
    outcome: str = INFO
    source: str = ""
    """The process."""

    @property
    def perhaps(self) -> bool:
        """Whether it may have taken place."""
        return self.outcome != FAIL


@dataclass(slots=True)
class Publish(Window):
    queue: str = ""
    delay: float = 0.0
    deps: tuple[str, ...] = ()
    most: int = 0
    """max_attempts."""
    duplicate: bool = False
    """It was refused: the id is taken."""


@dataclass(slots=True)
class Delivery(Window):
    token: str = ""
    attempt: int = 0
    redelivered: bool = False


@dataclass(slots=True)
class Settle(Window):
    how: str = ""
    token: str = ""
    delay: float = 0.0
    result: Any = None
    lost: bool = False
    """It was refused: the lease is lost (or the job canceled)."""


@dataclass(slots=True)
class Run(Window):
    """A Celery task's body: its beginning is `invoke`, its end `complete`."""

    redelivered: bool = False


@dataclass(slots=True)
class JobStory:
    """All that anybody did to one job."""

    id: str
    publishes: list[Publish] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    settles: list[Settle] = field(default_factory=list)
    cancels: list[Window] = field(default_factory=list)
    again: list[Settle] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    lines: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """As they stand in the files, to be shown."""

    @property
    def acked(self) -> bool:
        """Whether its publisher was told that it is there."""
        return any(p.outcome == OK for p in self.publishes)

    def ended_since(self) -> float:
        """Before this it cannot have been finished by anybody (infinite: it cannot at all)."""
        moments = [s.invoke for s in self.settles if s.how in ENDS and s.perhaps]
        moments += [r.complete for r in self.runs]
        return min(moments, default=inf)

    def last_news(self) -> float:
        """When something was last heard of it."""
        windows: list[Window] = [*self.publishes, *self.deliveries, *self.settles, *self.cancels, *self.runs]
        return max((w.invoke if w.complete == inf else w.complete for w in windows), default=-inf)


@dataclass
class Book:
    """Takes lines in, gives stories out. One pass; an operation is kept until its second line comes."""

    jobs: dict[str, JobStory] = field(default_factory=dict)
    closes: dict[str, float] = field(default_factory=dict)
    """When a process began to give back what it held."""
    purges: dict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    pauses: dict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    resumes: dict[str, list[Window]] = field(default_factory=lambda: defaultdict(list))
    faults: list[tuple[str, Window, str | None]] = field(default_factory=list)
    """Name, when, and the process that it struck."""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """For the monitor: acked, deliveries, redelivered, refused."""
    old: dict[str, tuple[float, float, bool]] = field(default_factory=dict)
    """Of jobs that were forgotten: the last news, before when they cannot have finished, whether perhaps canceled."""
    _open: dict[tuple[str, int], tuple[dict[str, Any], list[tuple[str, Any]]]] = field(default_factory=dict)

    def read(self, lines: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Take in what is new."""
        for source, line in lines:
            if "op" in line:
                self._invoked(source, line)
            else:
                self._completed(source, line)

    def story(self, job_id: str) -> JobStory:
        """The story of one job."""
        found = self.jobs.get(job_id)
        if found is None:
            found = self.jobs[job_id] = JobStory(job_id)
        return found

    def ended_since(self, job_id: str) -> float:
        """Before this it cannot have been finished (by what is known)."""
        if job_id in self.jobs:
            return self.jobs[job_id].ended_since()
        return self.old[job_id][1] if job_id in self.old else -inf

    def perhaps_canceled(self, job: JobStory) -> bool:
        """Whether somebody may have canceled it, or what it depends on."""
        asked = any(c.perhaps for c in job.cancels)
        purged = any(window.perhaps for p in job.publishes for window in self.purges.get(p.queue, ()))
        return asked or purged or any(self._is_canceled(dep) for p in job.publishes for dep in p.deps)

    def _is_canceled(self, job_id: str) -> bool:
        if job_id in self.jobs:
            return self.perhaps_canceled(self.jobs[job_id])
        return self.old[job_id][2] if job_id in self.old else True

    def forget(self, job: JobStory, before: float) -> None:
        """Keep of a job only what others may ask; nothing of those of which there was no news since then."""
        self.old[job.id] = (job.last_news(), job.ended_since(), self.perhaps_canceled(job))
        del self.jobs[job.id]
        if len(self.old) > 1000 and next(iter(self.old.values()))[0] < before:
            for job_id in [i for i, (news, _, _) in self.old.items() if news < before]:
                del self.old[job_id]

    def _invoked(self, source: str, line: dict[str, Any]) -> None:
        made = getattr(self, f"_begin_{line['op']}")(source, line)
        self._open[source, line["n"]] = line, made
        for job_id, _ in made:
            if job_id is not None:
                self.story(job_id).lines.append((source, line))

    def _completed(self, source: str, line: dict[str, Any]) -> None:
        begun, made = self._open.pop((source, line["n"]))
        for job_id, window in made:
            window.complete, window.outcome = line["at"], line["is"]
            if job_id is not None:
                self.story(job_id).lines.append((source, {**line, "of": begun["op"]}))
        ended = getattr(self, f"_end_{begun['op']}", None)
        if ended is not None:
            ended(source, begun, line, made)

    # what begins

    def _begin_publish(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        made: list[tuple[str, Any]] = []
        for job in line["jobs"]:
            publish = Publish(line["at"], source=source, queue=job["queue"], delay=job.get("delay", 0.0))
            publish.deps, publish.most = tuple(job.get("deps", ())), job.get("most", 0)
            self.story(job["id"]).publishes.append(publish)
            made.append((job["id"], publish))
        return made

    def _begin_reserve(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        return []

    def _begin_settle(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        made: list[tuple[str, Any]] = []
        for job_id, token in line["items"]:
            settle = Settle(line["at"], source=source, how=line["how"], token=token)
            settle.delay, settle.result = line.get("delay", 0.0), line.get("result")
            self.story(job_id).settles.append(settle)
            made.append((job_id, settle))
        return made

    def _begin_again(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        settle = Settle(line["at"], source=source, how="again", token=line["token"])
        self.story(line["id"]).again.append(settle)
        return [(line["id"], settle)]

    def _begin_cancel(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        window = Window(line["at"], source=source)
        self.story(line["id"]).cancels.append(window)
        return [(line["id"], window)]

    def _begin_run(self, source: str, line: dict[str, Any]) -> list[tuple[str, Any]]:
        run = Run(line["at"], source=source, redelivered=bool(line.get("redelivered")))
        self.story(line["id"]).runs.append(run)
        self.counts["deliveries"] += 1
        self.counts["redelivered"] += run.redelivered
        return [(line["id"], run)]

    def _begin_close(self, source: str, line: dict[str, Any]) -> list[Any]:
        self.closes[source] = line["at"]
        return []

    def _begin_fault(self, source: str, line: dict[str, Any]) -> list[Any]:
        window = Window(line["at"], source=source)
        self.faults.append((line["name"], window, line.get("target")))
        return [(None, window)]

    def _of_queue(self, where: dict[str, list[Window]], source: str, line: dict[str, Any]) -> list[Any]:
        window = Window(line["at"], source=source)
        where[line["queue"]].append(window)
        return [(None, window)]

    def _begin_purge(self, source: str, line: dict[str, Any]) -> list[Any]:
        return self._of_queue(self.purges, source, line)

    def _begin_pause(self, source: str, line: dict[str, Any]) -> list[Any]:
        return self._of_queue(self.pauses, source, line)

    def _begin_resume(self, source: str, line: dict[str, Any]) -> list[Any]:
        return self._of_queue(self.resumes, source, line)

    # what ends

    def _end_publish(self, source: str, begun: dict[str, Any], line: dict[str, Any], made: list[Any]) -> None:
        for _, publish in made:
            publish.duplicate = line.get("error") == "Duplicate"
        if line["is"] == OK:
            self.counts["acked"] += len(made)

    def _end_reserve(self, source: str, begun: dict[str, Any], line: dict[str, Any], made: list[Any]) -> None:
        for job_id, token, attempt, redelivered in line.get("jobs", ()):
            delivery = Delivery(begun["at"], line["at"], OK, source, token, attempt, bool(redelivered))
            story = self.story(job_id)
            story.deliveries.append(delivery)
            shown = {"at": begun["at"], "op": "reserve", "complete": line["at"], "token": token, "attempt": attempt}
            story.lines.append((source, shown))
            self.counts["deliveries"] += 1
            self.counts["redelivered"] += bool(redelivered)

    def _end_settle(self, source: str, begun: dict[str, Any], line: dict[str, Any], made: list[Any]) -> None:
        lost = set(line.get("lost", ()))
        for job_id, settle in made:
            if job_id in lost or line.get("error") == "LeaseLost":
                settle.outcome, settle.lost = FAIL, True
                self.counts["refused"] += 1

    def _end_cancel(self, source: str, begun: dict[str, Any], line: dict[str, Any], made: list[Any]) -> None:
        for _, window in made:
            if line["is"] == OK and not line["did"]:
                window.outcome = FAIL
