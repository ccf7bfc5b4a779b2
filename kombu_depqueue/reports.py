"""The statements that read for people and operators, and those of retry and delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    Integer,
    Subquery,
    Table,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from kombu_depqueue.schema import ConsumerKind, Flag, JobIdType
from kombu_depqueue.sql import after, among, insert_or_replace, later, now, seconds_until, statement
from kombu_depqueue.statements import COUNT_LIMIT, has_flag, with_flag
from kombu_depqueue.timing import Timing
from kombu_depqueue.versions import FACTS

__all__ = ["Reports", "gave_up"]

_ID = JobIdType()


def gave_up(d: Any) -> ColumnElement[bool]:
    """Whether a record is that of a job which is dead, or was lost."""
    why = or_(d.reason.like(literal_column("'dead:%'")), d.reason.like(literal_column("'lost:%'")))
    return and_(d.status == literal_column("2"), why)


class Reports(Timing):
    """All shared statements: those of `Timing`, and the reading ones."""

    @statement
    def live_status(self) -> Executable:
        """A ready or leased job."""
        j, q, c = self.t.job.c, self.t.queue.c, self.t.consumer.c
        holder = self.t.job.join(self.t.queue, q.id == j.queue_id)
        holder = holder.outerjoin(self.t.consumer, c.id == j.consumer_id)
        what = (j.queue_id, j.rank, j.seq, j.attempt, j.max_attempts, j.created_at, j.claimed_at, j.run_at)
        who = (j.consumer_id, c.name, c.leased_until, q.name, q.channel, q.paused, j.flags)
        return select(*what, *who).select_from(holder).where(j.job_id == bindparam("p_job_id", type_=_ID))

    @statement
    def waiting_status(self) -> Executable:
        """A delayed or blocked job."""
        w, q = self.t.wait.c, self.t.queue.c
        what = (w.queue_id, w.rank, w.due_at, w.attempt, w.max_attempts, w.created_at, w.run_at, w.claimed_at)
        both = self.t.wait.join(self.t.queue, q.id == w.queue_id)
        who = (q.name, q.channel, q.paused)
        return select(*what, *who).select_from(both).where(w.job_id == bindparam("p_job_id", type_=_ID))

    @statement
    def ended_status(self) -> Executable:
        """The record of an ended job."""
        d, q, e = self.t.done.c, self.t.queue.c, self.t.ended_body.c
        what = (
            d.queue_id,
            d.status,
            d.attempt,
            d.created_at,
            d.started_at,
            d.finished_at,
            d.reason,
            d.result,
        )
        all_ = self.t.done.join(self.t.queue, q.id == d.queue_id).outerjoin(self.t.ended_body, e.job_id == d.job_id)
        who = (e.rank, e.max_attempts, q.name, q.channel)
        return select(*what, *who).select_from(all_).where(d.job_id == bindparam("p_job_id", type_=_ID))

    @statement
    def dependencies(self) -> Executable:
        """The edges of a job to its dependencies, in the order given."""
        d = self.t.dep.c
        return select(d.dep_id, d.policy, d.met).where(d.job_id == bindparam("p_job_id", type_=_ID)).order_by(d.ordinal)

    @statement
    def dependents(self) -> Executable:
        """The jobs that depend on a job."""
        d = self.t.dep.c
        return select(d.job_id, d.policy, d.met).where(d.dep_id == bindparam("p_dep_id", type_=_ID)).order_by(d.job_id)

    @statement
    def ended_among(self) -> Executable:
        """How some jobs ended."""
        d = self.t.done.c
        return select(d.job_id, d.status, d.result, d.reason).where(among(d.job_id, "ids"))

    @statement
    def outcomes(self) -> Executable:
        """How some jobs stand, and what was said of them: ended, hot and cold ones in one look."""
        d, j, w = self.t.done.c, self.t.job.c, self.t.wait.c
        status = literal_column("0", Integer())
        unknown = (literal_column("NULL", d.result.type), literal_column("NULL", Text()))
        live = literal_column("NULL", d.finished_at.type)
        ended = select(d.job_id, d.status, d.flags, d.meta, d.result, d.reason, d.finished_at)
        hot = select(j.job_id, status, j.flags, j.meta, *unknown, live)
        cold = select(w.job_id, status, w.flags, w.meta, *unknown, live)
        found = (one.where(among(t.job_id, "ids")) for one, t in ((ended, d), (hot, j), (cold, w)))
        return next(found).union_all(*found)

    @statement
    def park(self) -> Executable:
        """Let a held job be running in nobody's hands."""
        j = self.t.job
        parked: dict[str, Any] = {"consumer_id": literal_column("0"), "lease_token": literal_column("0")}
        return update(j).where(self._held()).values(**parked, flags=with_flag(j, Flag.RUNNING))

    @statement
    def watch_hot(self) -> Executable:
        """Somebody waits for the ends of these jobs."""
        j = self.t.job
        unset = and_(among(j.c.job_id, "ids"), ~has_flag(Flag.WATCHED))
        return update(j).where(unset).values(flags=with_flag(j, Flag.WATCHED))

    @statement
    def watch_cold(self) -> Executable:
        """The same for those that wait."""
        w = self.t.wait
        unset = and_(among(w.c.job_id, "ids"), ~has_flag(Flag.WATCHED))
        return update(w).where(unset).values(flags=with_flag(w, Flag.WATCHED))

    @statement
    def note_hot(self) -> Executable:
        """What the worker of a job says of it, unless another has it meanwhile."""
        j = self.t.job
        token = bindparam("p_token", type_=BigInteger())
        mine = or_(token.is_(None), j.c.lease_token.is_(None), j.c.lease_token == token)
        job = j.c.job_id == bindparam("p_job_id", type_=_ID)
        return update(j).where(job, mine).values(meta=bindparam("p_meta", type_=j.c.meta.type))

    @statement
    def note_cold(self) -> Executable:
        """The same of a job that is to be tried again later."""
        w = self.t.wait
        job = w.c.job_id == bindparam("p_job_id", type_=_ID)
        return update(w).where(job).values(meta=bindparam("p_meta", type_=w.c.meta.type))

    @statement
    def take_unheld(self) -> Executable:
        """Take a job that is ready and held by nobody."""
        j = self.t.job
        free = and_(j.c.job_id == bindparam("p_job_id", type_=_ID), j.c.consumer_id.is_(None))
        return delete(j).where(free).returning(*self.moved(j))

    @statement
    def amend_end(self) -> Executable:
        """Add to the record of an ended job what was not known before."""
        d = self.t.done
        names = ("result", "meta", "reason")
        values: dict[str, Any] = {n: bindparam(f"p_{n}", type_=d.c[n].type) for n in names}
        return update(d).where(d.c.job_id == bindparam("p_job_id", type_=_ID)).values(**values)

    @statement
    def forget_result(self) -> Executable:
        """Forget what a job gave; how it ended is kept for those that depend on it."""
        d = self.t.done
        return update(d).where(d.c.job_id == bindparam("p_job_id", type_=_ID)).values(result=None, meta=None)

    @statement
    def memo_by_name(self) -> Executable:
        """A memo."""
        m = self.t.memo.c
        return select(m.value).where(m.name == bindparam("p_name"), m.keep_until > now())

    @statement
    def add_memo(self) -> Executable:
        """Keep a memo."""
        m = self.t.memo.c
        values = {"name": bindparam("p_name"), "value": bindparam("p_value", type_=m.value.type)}
        return insert_or_replace(  # type: ignore[no-any-return]
            self.t.memo, self.dialect, {**values, "keep_until": after(bindparam("p_keep", type_=Float()))}
        )

    @statement
    def drop_memo(self) -> Executable:
        """Forget a memo."""
        return delete(self.t.memo).where(self.t.memo.c.name == bindparam("p_name"))

    @statement
    def dead(self) -> Executable:
        """The latest jobs that are dead, or were lost."""
        d, q = self.t.done.c, self.t.queue.c
        both = self.t.done.join(self.t.queue, q.id == d.queue_id)
        found = select(d.job_id, q.name, d.reason, d.finished_at).select_from(both)
        return found.where(gave_up(d)).order_by(d.finished_at.desc()).limit(bindparam("p_limit", type_=Integer()))

    # lists: by job id, which each table has an index on

    def _stretch(self, table: Table, *names: str) -> Subquery:
        """What one look at a table may read; as a subquery with a LIMIT, so that no planner looks elsewhere."""
        i = table.c.job_id
        inside = and_(i.is_not(None), i >= bindparam("p_from", type_=_ID), i < bindparam("p_before", type_=_ID))
        part = select(i, table.c.queue_id, *(table.c[n] for n in names)).where(inside).order_by(i.desc())
        return part.limit(literal_column(str(2 * COUNT_LIMIT))).subquery("stretch")

    def _listed(self, part: Subquery, *what: ColumnElement[Any], only: ColumnElement[bool]) -> Executable:
        """The jobs in a stretch that are wanted, each with its queue."""
        q, name, channel = self.t.queue.c, bindparam("p_name", type_=Text()), bindparam("p_channel", type_=Text())
        wanted = and_(or_(name.is_(None), q.name == name), or_(channel.is_(None), q.channel == channel), only)
        both = part.join(self.t.queue, q.id == part.c.queue_id)
        found = select(part.c.job_id, q.name, q.channel, *what).select_from(both).where(wanted)
        return found.order_by(part.c.job_id.desc()).limit(bindparam("p_limit", type_=Integer()))

    def _edge(self, table: Table) -> Executable:
        """Where a stretch ends: the job so many rows below p_before (none: there are not as many)."""
        i = table.c.job_id
        below = select(i).where(i.is_not(None), i < bindparam("p_before", type_=_ID)).order_by(i.desc())
        return below.limit(literal_column("1")).offset(bindparam("p_rows", type_=Integer()))

    @statement
    def edge_of_hot(self) -> Executable:
        """Where a look at ready and leased jobs ends."""
        return self._edge(self.t.job)

    @statement
    def edge_of_cold(self) -> Executable:
        """Where a look at delayed and blocked jobs ends."""
        return self._edge(self.t.wait)

    @statement
    def edge_of_ended(self) -> Executable:
        """Where a look at ended jobs ends."""
        return self._edge(self.t.done)

    @statement
    def list_hot(self) -> Executable:
        """Ready, leased and running jobs by id."""
        names = ("consumer_id", "flags", "created_at", "claimed_at", "run_at", "attempt")
        part = self._stretch(self.t.job, *names)
        c, running = part.c, part.c.flags.op("&")(literal_column(str(Flag.RUNNING))) != literal_column("0")
        ready, held, acked = (literal_column(f"'{word}'", Text()) for word in ("ready", "leased", "running"))
        state = case((c.consumer_id.is_(None), ready), (running, acked), else_=held)
        only = bindparam("p_state", type_=Text())
        what = (state.label("state"), c.created_at, c.claimed_at, c.run_at, c.attempt)
        return self._listed(part, *what, only=or_(only.is_(None), state == only))

    @statement
    def list_cold(self) -> Executable:
        """Delayed and blocked jobs by id."""
        part = self._stretch(self.t.wait, "due_at", "created_at", "claimed_at", "run_at", "attempt")
        c, only = part.c, bindparam("p_state", type_=Text())
        blocked, scheduled = (literal_column(f"'{word}'", Text()) for word in ("blocked", "scheduled"))
        state = case((c.due_at.is_(None), blocked), else_=scheduled)
        what = (state.label("state"), c.created_at, c.claimed_at, func.coalesce(c.due_at, c.run_at), c.attempt)
        return self._listed(part, *what, only=or_(only.is_(None), state == only))

    @statement
    def list_ended(self) -> Executable:
        """Ended jobs by id."""
        part = self._stretch(self.t.done, "status", "created_at", "started_at", "finished_at", "attempt", "reason")
        c, only, dead = part.c, bindparam("p_status", type_=Integer()), bindparam("p_dead", type_=Integer())
        gone = case((gave_up(c), literal_column("1")), else_=literal_column("0"))
        wanted = and_(or_(only.is_(None), c.status == only), gone >= dead)
        times = (c.created_at, c.started_at, c.finished_at)
        return self._listed(part, c.status, *times, c.attempt, c.reason, gone.label("dead"), only=wanted)

    @statement
    def payload(self) -> Executable:
        """What a job was enqueued with, wherever it is."""
        found = []
        for table in (self.t.wait, self.t.job, self.t.ended_body):
            c = table.c
            found.append(select(c.envelope, c.body).where(c.job_id == bindparam("p_job_id", type_=_ID)))
        return found[0].union_all(*found[1:])

    @statement
    def count_dead(self) -> Executable:
        """How many jobs of each queue are dead, of the latest that did not succeed (NULL: the others)."""
        d, e = self.t.done.c, self.t.ended_body.c
        latest = select(e.job_id).order_by(e.job_id.desc()).limit(literal_column(str(COUNT_LIMIT))).subquery("latest")
        # Not a join: PostgreSQL, with the statistics of an empty table, walked all of `done` for each (250 s).
        queue = select(d.queue_id).where(d.job_id == latest.c.job_id, gave_up(d)).scalar_subquery()
        found = select(queue.label("queue_id")).select_from(latest).subquery("found")
        return select(found.c.queue_id, func.count()).group_by(found.c.queue_id)

    @statement
    def waited(self) -> Executable:
        """For how many seconds the first ready job of a queue and priority has waited."""
        j = self.t.job.c
        lane = and_(j.queue_id == bindparam("p_queue"), j.rank == bindparam("p_rank"), j.consumer_id.is_(None))
        since = later(j.created_at, func.coalesce(j.run_at, j.created_at))
        first = select(seconds_until(since)).where(lane, j.job_id.is_not(None))  # not control traffic
        return first.order_by(j.seq).limit(literal_column("1"))

    @statement
    def count_prunable(self) -> Executable:
        """How many records of ended jobs are kept no longer."""
        some = self.out_of_time().limit(literal_column(str(COUNT_LIMIT)))
        return select(func.count()).select_from(some.subquery())

    @statement
    def hot_among(self) -> Executable:
        """Which of some jobs are ready or leased."""
        j = self.t.job.c
        return select(j.job_id, j.consumer_id.is_not(None), j.flags).where(among(j.job_id, "ids"))

    @statement
    def waiting_among(self) -> Executable:
        """Which of some jobs are delayed or blocked."""
        w = self.t.wait.c
        return select(w.job_id, w.due_at.is_not(None)).where(among(w.job_id, "ids"))

    @statement
    def count_ahead(self) -> Executable:
        """How many ready jobs come before one (up to 10,000)."""
        j = self.t.job.c
        rank, seq = bindparam("p_rank", type_=Integer()), bindparam("p_seq", type_=Integer())
        first = or_(j.rank < rank, and_(j.rank == rank, j.seq < seq))
        some = select(j.seq).where(j.queue_id == bindparam("p_queue"), j.consumer_id.is_(None), first)
        return select(func.count()).select_from(some.limit(literal_column("10000")).subquery())

    @statement
    def roots(self) -> Executable:
        """All jobs that nobody depends on."""
        found = []
        for table in (self.t.job, self.t.wait, self.t.done):
            named = and_(table.c.job_id.is_not(None), ~exists().where(self.t.dep.c.dep_id == table.c.job_id))
            found.append(select(table.c.job_id).where(named))
        return found[0].union_all(*found[1:])

    @statement
    def old_leases(self) -> Executable:
        """The tokens of leases not renewed for p_age seconds; those of a consumer that is forgotten never will be."""
        j, c = self.t.job.c, self.t.consumer.c
        held = self.t.job.outerjoin(self.t.consumer, c.id == j.consumer_id)
        old = seconds_until(c.beat_at) + bindparam("p_age", type_=Float()) <= literal_column("0")
        late = and_(j.consumer_id.is_not(None), or_(c.id.is_(None), old))
        return select(j.queue_id, j.rank, j.seq, j.lease_token).select_from(held).where(late).order_by(c.beat_at, j.seq)

    @statement
    def worker_list(self) -> Executable:
        """Registered workers and living consumers not seen for p_age seconds."""
        c = self.t.consumer.c
        kinds = c.kind.in_((literal_column(str(ConsumerKind.QUEUE)), literal_column(str(ConsumerKind.WORKER))))
        old = seconds_until(c.beat_at) + bindparam("p_age", type_=Float()) <= literal_column("0")
        return select(c.id, c.name, c.channel, c.info, c.started_at, c.beat_at).where(kinds, old).order_by(c.started_at)

    @statement
    def touch_worker(self) -> Executable:
        """A registered worker was seen."""
        c = self.t.consumer
        worker = c.c.kind == literal_column(str(ConsumerKind.WORKER))
        return update(c).where(c.c.id == bindparam("p_id"), worker).values(beat_at=now())

    @statement
    def drop_worker(self) -> Executable:
        """Forget a registered worker."""
        c = self.t.consumer
        return delete(c).where(c.c.id == bindparam("p_id"), c.c.kind == literal_column(str(ConsumerKind.WORKER)))

    @statement
    def take_ready_of(self) -> Executable:
        """Take some ready jobs of a queue."""
        j = self.t.job
        ready = select(j.c.seq).where(j.c.queue_id == bindparam("p_queue"), j.c.consumer_id.is_(None))
        some = ready.limit(bindparam("p_limit", type_=Integer())).with_for_update(skip_locked=True)
        mine = and_(j.c.queue_id == bindparam("p_queue"), j.c.consumer_id.is_(None))
        return delete(j).where(j.c.seq.in_(some.scalar_subquery()), mine).returning(*self.moved(j))

    @statement
    def take_waiting_of(self) -> Executable:
        """Take some delayed or blocked jobs of a queue."""
        w = self.t.wait
        waits = select(w.c.seq).where(w.c.queue_id == bindparam("p_queue"))
        some = waits.limit(bindparam("p_limit", type_=Integer())).with_for_update(skip_locked=True)
        return delete(w).where(w.c.seq.in_(some.scalar_subquery())).returning(*self.moved(w))

    # retry

    @statement
    def take_ended(self) -> Executable:
        """Take the record of an ended job away."""
        d = self.t.done
        ended = d.c.job_id == bindparam("p_job_id", type_=_ID)
        what = (d.c.queue_id, d.c.status, d.c.flags, d.c.created_at, cast(d.c.reason, Text))
        return delete(d).where(ended).returning(*what)

    @statement
    def take_ended_body(self) -> Executable:
        """Take its payload."""
        e = self.t.ended_body
        ended = e.c.job_id == bindparam("p_job_id", type_=_ID)
        return delete(e).where(ended).returning(e.c.rank, e.c.max_attempts, e.c.envelope, e.c.body)

    @statement
    def meet_edges(self) -> Executable:
        """Edges that an end has fulfilled stay fulfilled when the job is retried."""
        d = self.t.dep
        mask = d.c.policy.op("&")(bindparam("p_mask", type_=Integer())) != literal_column("0")
        return update(d).where(d.c.dep_id == bindparam("p_dep_id", type_=_ID), mask).values(met=True)

    @statement
    def schema_facts(self) -> Executable:
        """What is known of the schema."""
        m = self.t.meta.c
        return select(m.key, m.value).where(m.key.in_([literal_column(f"'{fact}'") for fact in FACTS]))

    @statement
    def add_meta(self) -> Executable:
        """Note a fact about the schema."""
        return insert(self.t.meta).values(key=bindparam("p_key"), value=bindparam("p_value"))
