"""What a history must not hold: the invariants, one function for each, in linear time.

Windows, not moments: that one thing came after another is only said where the one had been answered before the
other was asked for. For one job the attempts are an order of their own, which needs no clock.

What only the tables can tell (lost, stuck, counters) is in `tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any

from book import ENDS, Book, Delivery, JobStory, Settle, Window
from history import FAIL, OK

__all__ = ["CLOCK", "Record", "Rules", "Violation", "check", "check_order", "judge"]

CLOCK = 5e6
"""Nanoseconds that the database's clock and ours may differ in the length of a delay."""


@dataclass(frozen=True, slots=True)
class Violation:
    """What was broken, and by what."""

    rule: str
    job_id: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what} (job {self.job_id})"


@dataclass(frozen=True, slots=True)
class Record:
    """What the tables say of a job in the end."""

    state: str
    attempt: int = 0
    reason: str | None = None
    result: Any = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds in this cell."""

    hold: float = 0.0
    """Seconds that a lease lasts at least, once given; 0: what is disturbed here may end it at once."""
    clock_jumps: bool = False
    """The database's clock is not ours: delays prove nothing."""
    one_consumer: bool = False


@dataclass(slots=True)
class _Case:
    """One job before the court."""

    job: JobStory
    book: Book
    rules: Rules
    record: Record | None = None
    """None: not known, or not asked."""
    by_attempt: list[Delivery] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    """Token -> attempt."""

    def __post_init__(self) -> None:
        self.by_attempt = sorted(self.job.deliveries, key=lambda d: (d.attempt, d.complete))
        self.attempts = {d.token: d.attempt for d in self.job.deliveries}

    def seen(self) -> Iterator[Window]:
        """Deliveries through both doors."""
        yield from self.job.deliveries
        for run in self.job.runs:  # when it was claimed we do not know: before it began
            yield Window(-inf, run.invoke, OK, run.source)


def phantom(case: _Case) -> Iterator[str]:
    """I2: delivered, and nobody had asked for it by then; or it did take place though it was said that it did not."""
    asked = min((p.invoke for p in case.job.publishes if p.perhaps), default=inf)
    for window in case.seen():
        if window.complete < asked:
            yield "delivered, though nobody had published it by then"
            return
    before = False
    for publish in sorted(case.job.publishes, key=lambda p: p.invoke):
        if publish.duplicate and not before:
            yield "said to be a duplicate, though no earlier try may have taken place"
        before = before or publish.perhaps


def doubled(case: _Case) -> Iterator[str]:
    """I3: one lease token handed out twice."""
    if len(case.attempts) < len(case.job.deliveries):
        yield "one lease token was handed out twice"


def two_holders(case: _Case) -> Iterator[str]:
    """I4: given to another while the lease had still to last."""
    hold = case.rules.hold * 1e9
    if not hold:
        return
    for first, second in pairwise(case.by_attempt):
        back = [s.invoke for s in case.job.settles if s.token == first.token and s.perhaps]
        back.append(case.book.closes.get(first.source, inf))
        if second.complete < min(first.invoke + hold, *back):
            yield f"attempt {second.attempt} came {(second.complete - first.invoke) / 1e9:.3f} s after the one before"
    for first_run, second_run in pairwise(sorted(case.job.runs, key=lambda r: r.invoke)):
        back_at = case.book.closes.get(first_run.source, inf)
        if second_run.invoke < min(first_run.invoke + hold, first_run.complete, back_at):
            yield "its body ran in two places at once"


def stale(case: _Case) -> Iterator[str]:
    """I5: the holder of an old token was believed."""
    for settle in case.job.settles:
        if settle.outcome != OK or _is_hollow(case, settle):
            continue
        attempt = case.attempts.get(settle.token, inf)
        for later in case.job.deliveries:
            if later.attempt > attempt and later.complete < settle.invoke:
                yield f"{settle.how} by the holder of attempt {attempt} was accepted after attempt {later.attempt}"
                return


def _is_hollow(case: _Case, settle: Settle) -> bool:
    """Whether a success says nothing: it changes nothing, and if it did, others of these rules would show it.

    Its connection may have been cut, and the job be in nobody's hands, another's or at its end since: whether by this
    very requeue cannot be told.
    """
    return settle.how == "requeue" and not case.rules.hold


def too_soon_for_its_dependencies(case: _Case) -> Iterator[str]:
    """I6: delivered before a dependency can have finished."""
    deps = next((p.deps for p in case.job.publishes if p.deps), ())
    first = min((w.complete for w in case.seen()), default=inf)
    for dep in deps:
        if first < case.book.ended_since(dep):
            yield f"delivered before {dep}, on which it depends, was finished"


def early(case: _Case) -> Iterator[str]:
    """I8: delivered before its delay was over."""
    if case.rules.clock_jumps:
        return
    asked = [p.invoke + p.delay * 1e9 for p in case.job.publishes if p.perhaps]
    first = min((w.complete for w in case.seen()), default=inf)
    if asked and first + CLOCK < min(asked):
        yield f"delivered {(min(asked) - first) / 1e9:.3f} s early"
    for settle in case.job.settles:
        if settle.how == "requeue" and settle.delay and settle.outcome == OK:
            attempt = case.attempts.get(settle.token, inf)
            due = settle.invoke + settle.delay * 1e9
            if any(d.attempt > attempt and d.complete + CLOCK < due for d in case.job.deliveries):
                yield f"delivered earlier than {settle.delay} s after it was given back"


def zombie(case: _Case) -> Iterator[str]:
    """I9: handed out, or settled, after its end."""
    for settle in case.job.settles:
        if settle.outcome == OK and settle.how in ENDS:
            attempt = case.attempts.get(settle.token, inf)
            if any(d.attempt > attempt for d in case.job.deliveries):
                yield f"{settle.how} of attempt {attempt} was accepted, and it was handed out once more"
            if any(d.invoke > settle.complete for d in case.job.deliveries):
                yield f"handed out after {settle.how} was answered"
    canceled = min((c.complete for c in case.job.cancels if c.outcome == OK), default=inf)
    if any(d.invoke > canceled for d in case.job.deliveries):
        yield "handed out after it was canceled"
    if any(s.invoke > canceled and s.outcome == OK and not _is_hollow(case, s) for s in case.job.settles):
        yield "settled after it was canceled"


def changed_answer(case: _Case) -> Iterator[str]:
    """I10: the same question, another answer."""
    if any(s.outcome == OK for s in case.job.again):
        yield "the end of a job was accepted a second time"
    if case.record is None or case.record.state not in ("succeeded", "failed"):
        return
    lost = {(s.token, s.how) for s in case.job.settles if s.lost and s.how in ("ack", "fail", "reject")}
    for token, how in lost:
        mine = case.record.attempt == case.attempts.get(token) and case.record.state == ENDS[how]
        # Attempts are counted once for each hand-out: that of the record is this one.
        if mine and (how != "ack" or _result(case, token) == case.record.result) and _asked_before(case, token, how):
            yield f"{how} had taken place, and asked once more its holder was told that the lease is lost"


def _asked_before(case: _Case, token: str, how: str) -> bool:
    """The same was asked before, and may have taken place; nothing else was."""
    mine = [s for s in case.job.settles if s.token == token]
    return all(s.how == how for s in mine) and any(s.outcome not in (OK, FAIL) for s in mine)


def _result(case: _Case, token: str) -> Any:
    return next((s.result for s in case.job.settles if s.token == token and s.how in ENDS), None)


def tokens_in_order(case: _Case) -> Iterator[str]:
    """I13: each hand-out counts one more, whoever looks."""
    for first, second in pairwise(case.by_attempt):
        if first.attempt == second.attempt and first.token != second.token:
            yield f"two hand-outs were attempt {first.attempt}"
        elif second.complete < first.invoke:
            yield f"attempt {second.attempt} was over before attempt {first.attempt} was asked for"


def one_result(case: _Case) -> Iterator[str]:
    """I14: one holder ends it, and what he said is kept."""
    ended = [s for s in case.job.settles if s.outcome == OK and s.how in ENDS]
    if len({s.token for s in ended}) > 1:
        yield "two holders ended it"
    canceled = any(c.outcome == OK for c in case.job.cancels)
    if ended and canceled:
        yield "canceled and ended by its holder, both accepted"
    if case.record is None:
        return
    if ended and case.record.state != ENDS[ended[0].how]:
        yield f"{ended[0].how} was accepted, and its record says {case.record.state}"
    elif ended and case.record.result != ended[0].result:
        yield f"its record has the result {case.record.result!r}, accepted was {ended[0].result!r}"
    elif canceled and case.record.state != "canceled":
        yield f"canceled, and its record says {case.record.state}"
    elif case.record.state == "succeeded" and case.record.result is not None:
        perhaps = [s.result for s in case.job.settles if s.perhaps and s.how in ENDS]
        if case.job.settles and case.record.result not in perhaps:
            yield f"its record has the result {case.record.result!r}, which nobody can have stored"


def too_many_attempts(case: _Case) -> Iterator[str]:
    """I15: no more hand-outs than allowed."""
    most = max((p.most for p in case.job.publishes), default=0)
    if most and any(d.attempt > most for d in case.job.deliveries):
        yield f"handed out more than {most} times"
    if most and case.record is not None and case.record.attempt > most:
        yield f"its record counts {case.record.attempt} attempts of {most}"


def paused(case: _Case) -> Iterator[str]:
    """Handed out though its queue was paused from before the question until after the answer."""
    queues = {p.queue for p in case.job.publishes}
    for queue in queues:
        pauses = [p for p in case.book.pauses.get(queue, ()) if p.outcome == OK]
        resumes = case.book.resumes.get(queue, ())
        for delivery in case.job.deliveries:
            resumed = max((r.complete for r in resumes if r.invoke <= delivery.complete), default=-inf)
            if any(p.complete < delivery.invoke and resumed <= p.invoke for p in pauses):
                yield f"handed out while queue {queue} was paused"


RULES: Mapping[str, Callable[[_Case], Iterator[str]]] = {
    "I2 phantom": phantom,
    "I3 doubled": doubled,
    "I4 two holders": two_holders,
    "I5 stale accepted": stale,
    "I6 blocked delivered": too_soon_for_its_dependencies,
    "I8 early": early,
    "I9 zombie": zombie,
    "I10 answer changed": changed_answer,
    "I13 attempts": tokens_in_order,
    "I14 result": one_result,
    "I15 dead": too_many_attempts,
    "paused delivered": paused,
}


def judge(job: JobStory, book: Book, rules: Rules, record: Record | None = None) -> list[Violation]:
    """What one job's story breaks."""
    case = _Case(job, book, rules, record)
    return [Violation(rule, job.id, what) for rule, broken in RULES.items() for what in broken(case)]


def check(book: Book, rules: Rules, records: Mapping[str, Record] | None = None) -> list[Violation]:
    """What the whole history breaks; with the records of the jobs in the end, if they are all kept."""
    found: list[Violation] = []
    for job in book.jobs.values():
        found += judge(job, book, rules, None if records is None else records.get(job.id))
    if rules.one_consumer:
        found += check_order(book.jobs.values())
    return found


def check_order(jobs: Iterable[JobStory]) -> list[Violation]:
    """I11: one consumer gets the jobs of a queue in the order of their publishes, where these did not overlap."""
    plain: dict[str, list[tuple[float, JobStory]]] = {}
    for job in jobs:
        # What was given back, delayed or blocked has another place; what was asked for twice took place sometime.
        if len(job.publishes) == 1 and len(job.deliveries) == 1 and job.deliveries[0].attempt == 1:
            publish = job.publishes[0]
            if not publish.delay and not publish.deps and publish.outcome == OK:
                plain.setdefault(publish.queue, []).append((job.deliveries[0].complete, job))
    found = []
    for some in plain.values():
        latest, ahead, batch = -inf, -inf, -inf
        for complete, job in sorted(some, key=lambda pair: pair[0]):
            if complete > batch:  # what came with one answer came at one moment
                latest, batch = ahead, complete
            if job.publishes[0].complete < latest:
                found.append(Violation("I11 order", job.id, "handed out after one that was published later"))
            ahead = max(ahead, job.publishes[0].invoke)
    return found
