"""The statements that count for monitoring: what has ended, and who consumes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    Integer,
    and_,
    bindparam,
    case,
    func,
    literal_column,
    select,
)

from kombu_depqueue.reports import Reports, gave_up
from kombu_depqueue.schema import ConsumerKind, UtcTime
from kombu_depqueue.sql import seconds_until, statement
from kombu_depqueue.statements import COUNT_LIMIT

__all__ = ["BUCKETS", "Tallies"]

BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 21_600.0, 86_400.0)
"""Upper bounds of the histograms, in seconds."""
SAMPLE = 200
"""Records looked at to learn for how long records are kept."""

_ZERO, _ONE = literal_column("0", Integer()), literal_column("1", Integer())


class Tallies(Reports):
    """All shared statements: those of `Reports`, and the counting ones."""

    @statement
    def lasting_queues(self) -> Executable:
        """The queues that outlast their consumers: not those for replies and control traffic."""
        q = self.t.queue.c
        return select(q.id, q.channel, q.name, q.paused).where(~q.ephemeral).order_by(q.name, q.channel)

    def _kept(self, order: ColumnElement[Any]) -> Executable:
        d = self.t.done.c
        return select(d.keep_until, d.finished_at).order_by(order).limit(literal_column(str(SAMPLE)))

    @statement
    def kept_by_id(self) -> Executable:
        """For how long some records are kept: the latest by id, where ids tell the time, else random ones."""
        return self._kept(self.t.done.c.job_id.desc())

    @statement
    def kept_longest(self) -> Executable:
        """The same of those that are kept for longest."""
        return self._kept(self.t.done.c.keep_until.desc())

    @statement
    def edge_of_window(self) -> Executable:
        """Where a window of `keep_until` must end, lest more than p_rows records be in it (none: it may stay)."""
        until = self.t.done.c.keep_until
        inside = select(until).where(until > bindparam("p_from", type_=UtcTime()), until <= bindparam("p_to"))
        return inside.order_by(until).limit(_ONE).offset(bindparam("p_rows", type_=Integer()))

    @statement
    def ended_in_window(self) -> Executable:
        """Jobs that ended in a span of time, among the records in a window of `keep_until`, by queue and outcome."""
        d, moment = self.t.done.c, UtcTime()
        window = and_(d.keep_until > bindparam("p_from", type_=moment), d.keep_until <= bindparam("p_to", type_=moment))
        span = and_(d.finished_at > bindparam("p_after", type_=moment), d.finished_at <= bindparam("p_upto"))
        dead = case((gave_up(d), _ONE), else_=_ZERO)
        waited = seconds_until(d.started_at) - seconds_until(d.created_at)
        ran = case((d.status <= literal_column("2"), seconds_until(d.finished_at) - seconds_until(d.started_at)))
        again = case((d.attempt > _ONE, d.attempt - _ONE), else_=_ZERO)
        what = (d.queue_id, d.status, dead.label("dead"), again.label("again"))
        times = (waited.label("waited"), ran.label("ran"))
        rows = select(*what, *times).where(window, span).subquery("ended")
        r = rows.c
        counts = (func.count(), func.sum(r.again), *_histogram(r.waited), *_histogram(r.ran))
        return select(r.queue_id, r.status, r.dead, *counts).group_by(r.queue_id, r.status, r.dead)

    @statement
    def consumers_by_kind(self) -> Executable:
        """How many consumers there are of each kind, and the longest time since one was heard of, and to go."""
        c = self.t.consumer.c
        some = select(c.kind, c.beat_at, c.leased_until).limit(literal_column(str(COUNT_LIMIT))).subquery("some")
        silence = -seconds_until(func.min(some.c.beat_at))
        expired = func.sum(case((seconds_until(some.c.leased_until) < literal_column("0.0"), _ONE), else_=_ZERO))
        return select(some.c.kind, func.count(), silence, expired).group_by(some.c.kind)

    @statement
    def count_overdue(self) -> Executable:
        """How many leases ran out more than p_age seconds ago, and nobody has seen to it."""
        c = self.t.consumer.c
        late = seconds_until(c.leased_until) + bindparam("p_age", type_=Float()) < literal_column("0")
        kept = c.kind != literal_column(str(ConsumerKind.DEAD))
        some = select(c.id).where(late, kept).limit(literal_column(str(COUNT_LIMIT)))
        return select(func.count()).select_from(some.subquery())

    @statement
    def subscriptions_by_queue(self) -> Executable:
        """How many consumers of Kombu's kind each queue has, and in how many processes."""
        s = self.t.subscription.c
        return select(s.queue_id, func.sum(s.count), func.count()).group_by(s.queue_id)


def _histogram(seconds: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """The number of values, their sum, and how many are within each bound."""
    within = [func.sum(case((seconds <= literal_column(str(b), Float()), _ONE), else_=_ZERO)) for b in BUCKETS]
    return [func.count(seconds), func.sum(seconds), *within]
