"""The statements of time: due and expired jobs, leases and their holders, pruning."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Executable,
    Float,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)

from kombu_depqueue.schema import ConsumerKind, Flag
from kombu_depqueue.sql import after, among, insert_or_replace, later, now, seconds_until, statement
from kombu_depqueue.statements import Statements, has_flag, with_flag

__all__ = ["Timing"]

_I, _F = Integer(), Float()


class Timing(Statements):
    """The statements of a job's ways, and those of time."""

    @statement
    def take_due(self) -> Executable:
        """Take delayed jobs that are due."""
        w = self.t.wait
        due = select(w.c.seq).where(w.c.due_at <= now()).order_by(w.c.due_at).limit(bindparam("p_limit", type_=_I))
        some = due.with_for_update(skip_locked=True).scalar_subquery()
        return delete(w).where(w.c.seq.in_(some)).returning(*self.moved(w), w.c.due_at, w.c.seq)

    @statement
    def next_events(self) -> Executable:
        """Seconds until the next delayed job is due, and until the next lease expires (NULL: there is none)."""

        wait, consumer = self.t.wait, self.t.consumer
        due = select(seconds_until(func.min(wait.c.due_at))).select_from(wait).scalar_subquery()
        expiry = select(seconds_until(func.min(consumer.c.leased_until))).select_from(consumer).scalar_subquery()
        return select(due.label("due"), expiry.label("expiry"))

    @statement
    def take_expired(self) -> Executable:
        """Take delayed and blocked jobs that have expired."""
        w = self.t.wait
        old = select(w.c.seq).where(w.c.expires_at <= now()).limit(bindparam("p_limit", type_=_I))
        some = old.with_for_update(skip_locked=True).scalar_subquery()
        return delete(w).where(w.c.seq.in_(some)).returning(*self.moved(w))

    @statement
    def take_expired_ready(self) -> Executable:
        """Take ready jobs that have expired."""
        j = self.t.job
        expired = and_(j.c.expires_at <= now(), j.c.consumer_id.is_(None))
        old = select(j.c.seq).where(expired).limit(bindparam("p_limit", type_=_I))
        some = old.with_for_update(skip_locked=True).scalar_subquery()
        return delete(j).where(expired, j.c.seq.in_(some)).returning(*self.moved(j))

    @statement
    def add_consumer(self) -> Executable:
        """Register a consumer, a lease that stands by itself, or a worker (no lease)."""
        return self._add_consumer("schema_version")

    @statement
    def add_consumer_1(self) -> Executable:
        """The same where the tables have schema version 1."""
        return self._add_consumer()

    def _add_consumer(self, *more: str) -> Executable:
        # Its number was made for it: one that is there already comes from an earlier try.
        c, names = self.t.consumer, ("id", "kind", "name", "channel", "info", "orphan_after", *more)
        values: dict[str, Any] = {n: bindparam(f"p_{n}", type_=c.c[n].type) for n in names}
        values |= {"started_at": now(), "beat_at": now(), "leased_until": after(bindparam("p_lease", type_=_F))}
        return insert_or_replace(c, self.dialect, values)  # type: ignore[no-any-return]

    @statement
    def beat(self) -> Executable:
        """Renew leases; `waiting`: wants to be woken up."""
        c = self.t.consumer
        until = later(c.c.leased_until, after(bindparam("p_lease", type_=_F)))
        mine = and_(among(c.c.id, "ids"), c.c.kind != literal_column(str(ConsumerKind.DEAD)))
        waiting = bindparam("p_waiting", type_=Boolean())
        return update(c).where(mine).values(beat_at=now(), leased_until=until, waiting=waiting)

    @statement
    def set_lease(self) -> Executable:
        """Renew a lease that stands by itself, to at least so many seconds."""
        c = self.t.consumer
        mine = and_(c.c.id == bindparam("p_id"), c.c.kind == literal_column(str(ConsumerKind.TOKEN)))
        until = later(c.c.leased_until, after(bindparam("p_lease", type_=_F)))
        return update(c).where(mine).values(beat_at=now(), leased_until=until)

    @statement
    def set_waiting(self) -> Executable:
        """Ask (or not) to be woken up."""
        c = self.t.consumer
        return update(c).where(c.c.id == bindparam("p_id")).values(waiting=bindparam("p_waiting", type_=Boolean()))

    @statement
    def set_session(self) -> Executable:
        """Say which session of the database lives as long as the consumer does (NULL: none)."""
        c = self.t.consumer
        return update(c).where(c.c.id == bindparam("p_id")).values(session=bindparam("p_session"), beat_at=now())

    @statement
    def declare_dead(self) -> Executable:
        """Let a consumer's lease expire, unless it has shown a sign of life since it was looked at."""
        c = self.t.consumer
        silent = and_(c.c.session == bindparam("p_session"), c.c.beat_at == bindparam("p_beat_at"))
        past = after(literal_column("-1.0"))
        return update(c).where(c.c.id == bindparam("p_id"), silent).values(leased_until=past, session=None)

    @statement
    def revive(self) -> Executable:
        """Live again after having been declared dead."""
        c = self.t.consumer
        lease = after(bindparam("p_lease", type_=_F))
        return (
            update(c)
            .where(c.c.id == bindparam("p_id"))
            .values(kind=ConsumerKind.QUEUE, beat_at=now(), leased_until=lease, session=None)
        )

    @statement
    def retake(self) -> Executable:
        """Lease again jobs whose lease expired, but which nobody was given yet."""
        j = self.t.job
        free = and_(among(j.c.lease_token, "tokens"), among(j.c.job_id, "ids"), j.c.consumer_id.is_(None))
        return update(j).where(free).values(consumer_id=bindparam("p_consumer"))

    @statement
    def expired_consumers(self) -> Executable:
        """Consumers whose lease has expired, and dead ones whose last claims must be over by now."""
        c = self.t.consumer.c
        expired = c.leased_until < now()
        return select(c.id, c.kind).where(expired).limit(literal_column("100")).with_for_update(skip_locked=True)

    @statement
    def bury_consumers(self) -> Executable:
        """Declare consumers dead, but keep them a while: see ConsumerKind.DEAD."""
        c = self.t.consumer
        grace = after(bindparam("p_grace", type_=_F))
        return update(c).where(among(c.c.id, "ids")).values(kind=ConsumerKind.DEAD, leased_until=grace, waiting=False)

    @statement
    def drop_consumers(self) -> Executable:
        """Forget consumers."""
        return delete(self.t.consumer).where(among(self.t.consumer.c.id, "ids"))

    # jobs acked before their outcome

    @statement
    def mark_running(self) -> Executable:
        """Held jobs were acked before their outcome is known: they are never to be handed out again."""
        j = self.t.job
        # Not one whose lease has expired: whoever is given that has acked nothing.
        held = and_(self._all_held(), j.c.consumer_id.is_not(None))
        return update(j).where(held).values(flags=with_flag(j, Flag.RUNNING))

    @statement
    def holders_of_running(self) -> Executable:
        """Which of some consumers hold such jobs, and how long these may then still tell their outcome."""
        j, c = self.t.job.c, self.t.consumer.c
        theirs = and_(among(j.consumer_id, "ids"), has_flag(Flag.RUNNING))
        both = self.t.job.outerjoin(self.t.consumer, c.id == j.consumer_id)
        return select(j.consumer_id, c.orphan_after).select_from(both).where(theirs).distinct()

    @statement
    def pass_running(self) -> Executable:
        """Let such jobs stand under another lease."""
        j = self.t.job
        theirs = and_(j.c.consumer_id == bindparam("p_from"), has_flag(Flag.RUNNING))
        return update(j).where(theirs).values(consumer_id=bindparam("p_consumer"))

    @statement
    def orphans_of(self) -> Executable:
        """Who holds those that a consumer was thought to have left behind."""
        c = self.t.consumer.c
        mine = and_(c.kind == literal_column(str(ConsumerKind.ORPHANS)), c.name == bindparam("p_name"))
        return select(c.id).where(mine)

    @statement
    def take_running_of(self) -> Executable:
        """Take such jobs, whose outcome nobody will tell any more."""
        j = self.t.job
        return delete(j).where(among(j.c.consumer_id, "ids"), has_flag(Flag.RUNNING)).returning(*self.moved(j))

    @statement
    def take_exhausted(self) -> Executable:
        """Take the jobs of dead consumers whose attempts are used up."""
        j = self.t.job
        used = and_(j.c.max_attempts > literal_column("0"), j.c.attempt >= j.c.max_attempts)
        spent = and_(used, ~has_flag(Flag.RUNNING))
        return delete(j).where(among(j.c.consumer_id, "ids"), spent).returning(*self.moved(j))

    @statement
    def free_held(self) -> Executable:
        """Make the jobs of dead consumers ready again; their tokens stay good until they are handed out again."""
        j = self.t.job
        free = {"consumer_id": None, "flags": with_flag(j, Flag.REDELIVERED)}
        theirs = and_(among(j.c.consumer_id, "ids"), ~has_flag(Flag.RUNNING))
        return update(j).where(theirs).values(free).returning(j.c.queue_id)

    @statement
    def prunable(self) -> Executable:
        """Records of ended jobs that are kept no longer: out of time, and no live job depends on them."""
        return self._oldest().limit(bindparam("p_limit", type_=_I)).with_for_update(skip_locked=True, of=self.t.done)

    @statement
    def first_prunable(self) -> Executable:
        """The one that goes first, whether or not another has locked it."""
        return self._oldest().limit(literal_column("1"))

    def _oldest(self) -> Select[Any]:
        return self.out_of_time().order_by(self.t.done.c.keep_until, self.t.done.c.job_id)

    def out_of_time(self) -> Select[Any]:
        """The ids of those."""
        d, e, j, w = self.t.done.c, self.t.dep.c, self.t.job.c, self.t.wait.c
        ready = exists().where(j.job_id == e.job_id)
        waits = exists().where(w.job_id == e.job_id)
        needed = and_(has_flag(Flag.HAS_DEPENDENTS), exists().where(e.dep_id == d.job_id, or_(ready, waits)))
        return select(d.job_id).where(d.keep_until < now(), ~needed)

    @statement
    def drop_old_memos(self) -> Executable:
        """Forget memos that are out of time."""
        return delete(self.t.memo).where(self.t.memo.c.keep_until < now())

    @statement
    def drop_done(self) -> Executable:
        """Forget records of ended jobs."""
        return delete(self.t.done).where(among(self.t.done.c.job_id, "ids"))

    @statement
    def drop_ended_body(self) -> Executable:
        """Forget their payloads."""
        return delete(self.t.ended_body).where(among(self.t.ended_body.c.job_id, "ids"))

    @statement
    def drop_edges(self) -> Executable:
        """Forget the edges to their dependencies."""
        return delete(self.t.dep).where(among(self.t.dep.c.job_id, "ids"))
