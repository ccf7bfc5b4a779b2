"""Every statement that the databases share, written once in SQLAlchemy Core: the ways of a job.

`reports.py` has those that only read, for people.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Executable,
    Float,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    case,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)

from kombu_depqueue.schema import Flag, JobIdType, Tables, UtcTime
from kombu_depqueue.sql import (
    Prepared,
    after,
    among,
    bytes_within,
    insert_or_replace,
    insert_unless_there,
    now,
    seconds_until,
    statement,
)

__all__ = ["ENVELOPE_ROOM", "Statements", "StoredJob", "has_flag", "with_flag"]

ENVELOPE_ROOM = 64 * 1024
"""Bytes by which headers may outgrow `max_body_bytes`: their signature, and the stories of dead letters."""
COUNT_LIMIT = 10_001
"""Counts stop here: an exact count of a million rows takes half a second, this one 4 ms."""


class StoredJob(NamedTuple):
    """A row of `job` or `wait`: what moves with a job from table to table."""

    job_id: UUID | None
    queue_id: int
    rank: int
    attempt: int
    max_attempts: int
    flags: int
    created_at: datetime | None
    claimed_at: datetime | None
    expires_at: datetime | None
    run_at: datetime | None
    meta: bytes | None
    envelope: bytes | None
    body: bytes


_I, _F, _T, _ID = Integer(), Float(), UtcTime(), JobIdType()


def has_flag(flag: int) -> ColumnElement[bool]:
    """Whether a bit of `flags` is set."""
    return column("flags", _I).op("&")(literal_column(str(flag))) != literal_column("0")


def with_flag(table: Table, flag: int) -> ColumnElement[int]:
    """`flags` with a bit set."""
    return table.c.flags.op("|")(literal_column(str(flag)))


def _bound(table: Table) -> dict[str, Any]:
    return {c.name: bindparam(f"p_{c.name}", type_=c.type) for c in table.columns}


class Statements:
    """The shared statements for one set of tables on one database.

    Bound parameters are never called like a column of the table being written,
    since SQLAlchemy reserves those names: `p_...`.
    """

    prepared: ClassVar[type[Prepared]] = Prepared
    largest = 16 * 1024 * 1024
    """The bytes of a body that a claim fetches at most (`max_body_bytes`)."""

    def __init__(self, t: Tables, dialect: Dialect) -> None:
        self.t = t
        self.dialect = dialect

    def moved(self, table: Table) -> list[ColumnElement[Any]]:
        """The columns of a StoredJob."""
        null = literal_column("NULL", type_=UtcTime())
        return [null.label(c) if c not in table.c else table.c[c] for c in StoredJob._fields]

    # queues

    @statement
    def queue_by_name(self) -> Executable:
        """One queue's number."""
        q = self.t.queue
        return select(q.c.id, q.c.ephemeral).where(
            q.c.channel == bindparam("p_channel"), q.c.name == bindparam("p_name")
        )

    @statement
    def names_of(self) -> Executable:
        """One queue's channel and name."""
        q = self.t.queue.c
        return select(q.channel, q.name).where(q.id == bindparam("p_queue"))

    @statement
    def add_queue(self) -> Executable:
        """Add a queue unless it is there."""
        names: dict[str, Any] = {"channel": bindparam("p_channel"), "name": bindparam("p_name")}
        return insert_unless_there(self.t.queue, self.dialect).values(names)  # type: ignore[no-any-return]

    @statement
    def all_queues(self) -> Executable:
        """All queues by name."""
        q = self.t.queue
        return select(q.c.id, q.c.channel, q.c.name, q.c.paused).order_by(q.c.name, q.c.channel)

    @statement
    def set_paused(self) -> Executable:
        """Pause or resume a queue."""
        q = self.t.queue
        return update(q).where(q.c.id == bindparam("p_queue")).values(paused=bindparam("p_paused", type_=Boolean()))

    @statement
    def count_hot(self) -> Executable:
        """Ready and leased jobs of a queue, up to the count limit."""
        j = self.t.job
        some = (
            select(j.c.consumer_id).where(j.c.queue_id == bindparam("p_queue")).limit(literal_column(str(COUNT_LIMIT)))
        )
        s = some.subquery()
        return select(func.count() - func.count(s.c.consumer_id), func.count(s.c.consumer_id)).select_from(s)

    @statement
    def count_waiting(self) -> Executable:
        """Scheduled and blocked jobs of a queue, each up to the count limit."""
        w = self.t.wait
        both = []
        for there in (w.c.due_at.is_not(None), w.c.due_at.is_(None)):
            some = select(w.c.queue_id).where(w.c.queue_id == bindparam("p_queue"), there)
            s = some.limit(literal_column(str(COUNT_LIMIT))).subquery()
            both.append(select(func.count()).select_from(s).scalar_subquery())
        return select(*both)

    # enqueue

    def _values(self, table: Table) -> dict[str, Any]:
        given = ("created_at", "claimed_at", "expires_at", "meta")
        names = [n for n in StoredJob._fields if n in table.c and n not in given]
        values: dict[str, Any] = {n: bindparam(f"p_{n}", type_=table.c[n].type) for n in names}
        values["created_at"] = now()
        values["expires_at"] = after(bindparam("p_expires_in", type_=_F))
        return values

    @statement
    def add_job(self) -> Executable:
        """Enqueue a ready job."""
        return insert(self.t.job).values(**self._values(self.t.job)).inline()

    @statement
    def add_waiting(self) -> Executable:
        """Enqueue a delayed job (p_delay seconds or p_due) or a blocked one (neither)."""
        due = func.coalesce(after(bindparam("p_delay", type_=_F)), bindparam("p_due", type_=_T))
        values = self._values(self.t.wait)
        values["run_at"] = func.coalesce(after(bindparam("p_delay", type_=_F)), bindparam("p_run_at", type_=_T))
        blocked = bindparam("p_blocked", type_=Boolean())
        values["due_at"] = case((blocked, literal_column("NULL")), else_=due)
        return insert(self.t.wait).values(**values).inline()

    def _restored(self, table: Table, **extra: Any) -> Executable:
        names = [n for n in StoredJob._fields if n in table.c]
        return insert(table).values({n: bindparam(f"p_{n}", type_=table.c[n].type) for n in names} | extra).inline()

    @statement
    def restore_job(self) -> Executable:
        """Put a StoredJob into the hot table, behind those that are there."""
        return self._restored(self.t.job)

    @statement
    def restore_waiting(self) -> Executable:
        """Put a StoredJob into the cold table: due at p_due, or in p_delay seconds, or blocked."""
        due = func.coalesce(after(bindparam("p_delay", type_=_F)), bindparam("p_due", type_=_T))
        return self._restored(self.t.wait, due_at=due)

    @statement
    def taken_ids(self) -> Executable:
        """Which of the ids are taken by delayed, blocked or ended jobs."""
        w, d = self.t.wait.c.job_id, self.t.done.c.job_id
        return select(w).where(among(w, "ids")).union_all(select(d).where(among(d, "ids")))

    @statement
    def known_ids(self) -> Executable:
        """Which of the ids are jobs, live or ended, and when these were enqueued.

        One statement, and so one snapshot: between two looks a job may move from the table of the second to that of
        the first.
        """
        tables = (self.t.job, self.t.wait, self.t.done)
        return union_all(*(select(t.c.job_id, t.c.created_at).where(among(t.c.job_id, "ids")) for t in tables))

    @statement
    def clock(self) -> Executable:
        """The database's clock."""
        return select(now())

    @statement
    def lock_jobs(self) -> Executable:
        """Lock dependencies that are ready or leased, in key order."""
        j = self.t.job.c
        locked = select(j.job_id, j.flags).where(among(j.job_id, "ids")).order_by(j.queue_id, j.rank, j.seq)
        return locked.with_for_update(key_share=True)

    @statement
    def lock_waiting(self) -> Executable:
        """Lock dependencies that are delayed or blocked."""
        w = self.t.wait.c
        return (
            select(w.job_id, w.flags).where(among(w.job_id, "ids")).order_by(w.job_id).with_for_update(key_share=True)
        )

    @statement
    def lock_ended(self) -> Executable:
        """Dependencies that have ended, kept from being pruned meanwhile."""
        d = self.t.done.c
        return select(d.job_id, d.status).where(among(d.job_id, "ids")).with_for_update(read=True)

    @statement
    def flag_jobs(self) -> Executable:
        """Note that jobs in the hot table have dependents."""
        j = self.t.job
        return update(j).where(among(j.c.job_id, "ids")).values(flags=with_flag(j, Flag.HAS_DEPENDENTS))

    @statement
    def flag_waiting(self) -> Executable:
        """The same in the cold table."""
        w = self.t.wait
        return update(w).where(among(w.c.job_id, "ids")).values(flags=with_flag(w, Flag.HAS_DEPENDENTS))

    @statement
    def flag_ended(self) -> Executable:
        """The same for ended ones: their records are kept as long as a dependent lives."""
        d = self.t.done
        unset = and_(among(d.c.job_id, "ids"), ~has_flag(Flag.HAS_DEPENDENTS))
        return update(d).where(unset).values(flags=with_flag(d, Flag.HAS_DEPENDENTS))

    @statement
    def add_edge(self) -> Executable:
        """Add an edge."""
        d = self.t.dep
        return insert(d).values(_bound(d))

    @statement
    def add_blocked(self) -> Executable:
        """Note how many dependencies a job waits for."""
        b = self.t.blocked
        return insert(b).values(job_id=bindparam("p_job_id", type_=_ID), pending=bindparam("p_pending", type_=_I))

    # claim (PostgreSQL has its own, in one statement)

    def _ready(self, *where: ColumnElement[bool]) -> Select[Any]:
        j, q = self.t.job.c, self.t.queue.c
        active = exists().where(q.id == bindparam("p_queue"), ~q.paused)
        return select(j.rank, j.seq).where(j.queue_id == bindparam("p_queue"), *where, j.consumer_id.is_(None), active)

    def first_ready(self, *where: ColumnElement[bool]) -> Select[Any]:
        """The first ready jobs of one queue, of those that are so, in claim order."""
        j = self.t.job.c
        return self._ready(*where).order_by(j.rank, j.seq).limit(bindparam("p_limit", type_=_I))

    @statement
    def claimable(self) -> Executable:
        """Ready jobs of one queue in claim order."""
        return self.first_ready()

    @statement
    def claimable_after(self) -> Executable:
        """The same in a lane (see `steps.Lane`); in two parts, each with a range of the index that SQLite sees."""
        ways = union_all(*(self._ready(part) for part in self._lane()))
        return ways.order_by("rank", "seq").limit(bindparam("p_limit", type_=_I))

    def _lane(self) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        j = self.t.job.c
        rank: ColumnElement[int] = bindparam("p_rank")
        behind = and_(j.rank == rank, j.seq > bindparam("p_after"))
        return behind, and_(j.rank > rank, j.rank < bindparam("p_until"))

    @statement
    def claim(self) -> Executable:
        """Lease the chosen jobs."""
        j = self.t.job
        claimed = update(j).where(among(j.c.seq, "seqs"), j.c.consumer_id.is_(None))
        return claimed.values(**self._lease(), claimed_at=now()).returning(*self.claimed())

    def _lease(self) -> dict[str, Any]:
        me, token = bindparam("p_consumer", type_=BigInteger()), bindparam("p_token", type_=BigInteger())
        return {"consumer_id": me, "lease_token": token, "attempt": self.t.job.c.attempt + literal_column("1")}

    def claimed(self) -> list[ColumnElement[Any]]:
        """What a claim returns, in the order of store.Claimed."""
        j = self.t.job.c
        expired = func.coalesce(seconds_until(j.expires_at) <= literal_column("0"), literal_column("false", Boolean()))
        names = ("queue_id", "rank", "seq", "lease_token", "attempt", "max_attempts", "flags", "job_id")
        fits = bytes_within(j.envelope, self.largest + ENVELOPE_ROOM)
        whole = and_(bytes_within(j.body, self.largest), fits)
        payload = [case((fits, j.envelope)).label("envelope"), case((whole, j.body)).label("body")]
        return [*(j[n] for n in names), j.run_at, expired.label("expired"), *payload]

    @statement
    def ranks(self) -> Executable:
        """The priorities present in a queue (each found by one index look-up)."""
        j = self.t.job.c
        mine = j.queue_id == bindparam("p_queue")
        first = select(func.min(j.rank).label("rank")).where(mine)
        found = first.cte("found", recursive=True)
        step = select(func.min(j.rank)).where(mine, j.rank > found.c.rank).scalar_subquery()
        found = found.union_all(select(step).where(found.c.rank.is_not(None)))
        return select(found.c.rank).where(found.c.rank.is_not(None))

    @statement
    def claim_by_id(self) -> Executable:
        """Lease this very job, if it is ready."""
        j, q = self.t.job, self.t.queue.c
        active = exists().where(q.id == j.c.queue_id, ~q.paused)
        mine = and_(j.c.job_id == bindparam("p_job_id", type_=_ID), j.c.consumer_id.is_(None), active)
        return update(j).where(mine).values(**self._lease(), claimed_at=now()).returning(*self.claimed())

    # settle

    def _held(self) -> ColumnElement[bool]:
        j = self.t.job.c
        key = and_(j.queue_id == bindparam("p_queue"), j.rank == bindparam("p_rank"), j.seq == bindparam("p_seq"))
        return and_(key, j.lease_token == bindparam("p_token"))

    @statement
    def take_held(self) -> Executable:
        """Take a job out of the hot table by its key and lease token."""
        return delete(self.t.job).where(self._held()).returning(*self.moved(self.t.job))

    @statement
    def held_facts(self) -> Executable:
        """A held job without its payload."""
        moved = [null().label(c.name) if c.name in ("envelope", "body") else c for c in self.moved(self.t.job)]
        return select(*moved).where(self._held()).with_for_update()

    @statement
    def keep_payload(self) -> Executable:
        """Keep the payload of a held job, unseen, as that of an ended one ..."""
        e, j = self.t.ended_body, self.t.job.c
        kept = select(*(j[c.name] for c in e.c)).where(self._held(), j.job_id.is_not(None))
        return insert(e).from_select([c.name for c in e.c], kept)

    @statement
    def drop_held(self) -> Executable:
        """... and take it out of the hot table."""
        return delete(self.t.job).where(self._held())

    @statement
    def take_job(self) -> Executable:
        """Take a job out of the hot table by its id."""
        j = self.t.job
        return delete(j).where(j.c.job_id == bindparam("p_job_id")).returning(*self.moved(j))

    @statement
    def take_leased(self) -> Executable:
        """Take a leased job out of the hot table by its id."""
        j = self.t.job
        leased = and_(j.c.job_id == bindparam("p_job_id"), j.c.consumer_id.is_not(None))
        return delete(j).where(leased).returning(*self.moved(j))

    @statement
    def take_waiting(self) -> Executable:
        """Take a job out of the cold table by its id."""
        w = self.t.wait
        return delete(w).where(w.c.job_id == bindparam("p_job_id")).returning(*self.moved(w))

    @statement
    def give_back(self) -> Executable:
        """Make a held job ready again at its old place, unless its attempts are used up."""
        j = self.t.job
        left = or_(j.c.max_attempts == literal_column("0"), j.c.attempt < j.c.max_attempts)
        free = {"consumer_id": None, "lease_token": None, "flags": with_flag(j, Flag.REDELIVERED)}
        return update(j).where(self._held(), left).values(free).returning(j.c.queue_id)

    def _all_held(self) -> ColumnElement[bool]:
        j = self.t.job.c
        keys = (among(j.queue_id, "queues"), among(j.rank, "ranks"), among(j.seq, "seqs"))
        return and_(*keys, among(j.lease_token - j.seq, "differences"))  # see Key.all_held

    @statement
    def give_back_all(self) -> Executable:
        """Make held jobs ready again at their old places, unless their attempts are used up."""
        j = self.t.job
        left = or_(j.c.max_attempts == literal_column("0"), j.c.attempt < j.c.max_attempts)
        free = {"consumer_id": None, "lease_token": None, "flags": with_flag(j, Flag.REDELIVERED)}
        return update(j).where(self._all_held(), left).values(free).returning(j.c.seq)

    @statement
    def put_back_all(self) -> Executable:
        """The same for jobs that nobody has seen: as if they had not been claimed."""
        j = self.t.job
        undone = {"consumer_id": None, "lease_token": None, "attempt": j.c.attempt - literal_column("1")}
        return update(j).where(self._all_held()).values(undone).returning(j.c.seq)

    @statement
    def unclaim(self) -> Executable:
        """Undo claims by token, as if they had not been."""
        j = self.t.job
        undone = {"consumer_id": None, "lease_token": None, "attempt": j.c.attempt - literal_column("1")}
        return (
            update(j).where(j.c.consumer_id == bindparam("p_consumer"), among(j.c.lease_token, "tokens")).values(undone)
        )

    @statement
    def token_of(self) -> Executable:
        """Who holds a job: key and token."""
        j = self.t.job.c
        return select(j.queue_id, j.rank, j.seq, j.lease_token, j.attempt).where(
            j.job_id == bindparam("p_job_id"), j.consumer_id.is_not(None)
        )

    @statement
    def id_of_held(self) -> Executable:
        """The job and the holder behind a token."""
        j, c = self.t.job.c, self.t.consumer.c
        kind = select(c.kind).where(c.id == j.consumer_id).scalar_subquery()
        return select(j.job_id, j.consumer_id, kind).where(self._held())

    @statement
    def pass_lease(self) -> Executable:
        """Let a held job stand under another consumer's lease."""
        return update(self.t.job).where(self._held()).values(consumer_id=bindparam("p_consumer"))

    # end and release

    @statement
    def add_done(self) -> Executable:
        """Record how a job ended."""
        # A job that Celery published again in the very moment of its end has an end record already: the newer counts.
        return insert_or_replace(self.t.done, self.dialect, self._end())  # type: ignore[no-any-return]

    @statement
    def add_first_done(self) -> Executable:
        """The same of a job that has never been anywhere."""
        return insert(self.t.done).values(self._end()).inline()

    def _end(self) -> dict[str, Any]:
        d = self.t.done
        names = (
            "job_id",
            "queue_id",
            "status",
            "flags",
            "attempt",
            "created_at",
            "started_at",
            "reason",
            "result",
            "meta",
        )
        values: dict[str, Any] = {n: bindparam(f"p_{n}", type_=d.c[n].type) for n in names}
        return values | {"finished_at": now(), "keep_until": after(bindparam("p_keep", type_=_F))}

    def _plain_held(self) -> ColumnElement[bool]:
        j = self.t.job.c
        return and_(among(j.seq, "seqs"), j.lease_token == bindparam("p_token"), ~has_flag(Flag.HAS_DEPENDENTS))

    @statement
    def keep_plain(self) -> Executable:
        """Record the success of jobs held under one token that nobody depends on ..."""
        j, keep = self.t.job.c, after(bindparam("p_keep", type_=_F))
        done: dict[str, ColumnElement[Any]] = {
            n: j[n] for n in ("job_id", "queue_id", "flags", "attempt", "created_at")
        }
        done |= {"status": literal_column("1"), "started_at": j.claimed_at, "finished_at": now(), "keep_until": keep}
        done["result"] = bindparam("p_result", type_=self.t.done.c.result.type)
        held = select(*(e.label(n) for n, e in done.items())).where(self._plain_held(), j.job_id.is_not(None))
        return insert(self.t.done).from_select(list(done), held)

    @statement
    def drop_plain(self) -> Executable:
        """... and take them out of the hot table."""
        return delete(self.t.job).where(self._plain_held()).returning(self.t.job.c.seq)

    @statement
    def add_ended_body(self) -> Executable:
        """Keep the payload of a job that may be retried."""
        e = self.t.ended_body
        return insert_or_replace(e, self.dialect, _bound(e))  # type: ignore[no-any-return]

    @statement
    def add_first_body(self) -> Executable:
        """The same for a job that has never been anywhere."""
        e = self.t.ended_body
        return insert(e).values(_bound(e)).inline()

    @statement
    def add_release(self) -> Executable:
        """Note that the dependents of an ended job have to be told."""
        r = self.t.release
        return insert(r).values(_bound(r))

    @statement
    def release_of(self) -> Executable:
        """The note of one ended job."""
        r = self.t.release
        return select(*r.c).where(r.c.dep_id == bindparam("p_dep_id")).with_for_update(skip_locked=True)

    @statement
    def any_release(self) -> Executable:
        """Some notes that nobody works on."""
        return select(*self.t.release.c).limit(literal_column("1000")).with_for_update(skip_locked=True)

    @statement
    def edges_after(self) -> Executable:
        """The next edges to the dependents of an ended job."""
        d = self.t.dep.c
        mine = and_(d.dep_id == bindparam("p_dep_id"), d.job_id > bindparam("p_after"), ~d.met)
        return select(d.job_id, d.policy).where(mine).order_by(d.job_id).limit(bindparam("p_limit", type_=_I))

    @statement
    def lock_blocked(self) -> Executable:
        """Lock counters, in order."""
        b = self.t.blocked.c
        return select(b.job_id).where(among(b.job_id, "ids")).order_by(b.job_id).with_for_update()

    @statement
    def count_down(self) -> Executable:
        """One dependency less."""
        b = self.t.blocked
        return update(b).where(among(b.c.job_id, "ids")).values(pending=b.c.pending - literal_column("1"))

    @statement
    def count_up(self) -> Executable:
        """One dependency more."""
        b = self.t.blocked
        mine = b.c.job_id == bindparam("p_job_id", type_=_ID)
        return update(b).where(mine).values(pending=b.c.pending + literal_column("1"))

    @statement
    def take_unblocked(self) -> Executable:
        """Those that wait for none any more."""
        b = self.t.blocked
        return delete(b).where(among(b.c.job_id, "ids"), b.c.pending <= literal_column("0")).returning(b.c.job_id)

    @statement
    def take_runnable(self) -> Executable:
        """Take unblocked jobs that are not delayed as well."""
        w = self.t.wait
        due = or_(w.c.run_at.is_(None), w.c.run_at <= now())
        return delete(w).where(among(w.c.job_id, "ids"), due).returning(*self.moved(w), w.c.seq)

    @statement
    def schedule_unblocked(self) -> Executable:
        """Those that are delayed wait for their time now."""
        w = self.t.wait
        return update(w).where(among(w.c.job_id, "ids")).values(due_at=w.c.run_at).returning(w.c.queue_id)

    @statement
    def take_hopeless(self) -> Executable:
        """Take jobs whose dependency can never be met, unless they asked to be held."""
        w = self.t.wait
        return delete(w).where(among(w.c.job_id, "ids"), ~has_flag(Flag.HOLD)).returning(*self.moved(w))

    @statement
    def drop_blocked(self) -> Executable:
        """Forget counters."""
        return delete(self.t.blocked).where(among(self.t.blocked.c.job_id, "ids"))

    @statement
    def drop_release(self) -> Executable:
        """All dependents were told."""
        return delete(self.t.release).where(self.t.release.c.dep_id == bindparam("p_dep_id"))

    @statement
    def advance_release(self) -> Executable:
        """All dependents up to p_after were told."""
        r = self.t.release
        return update(r).where(r.c.dep_id == bindparam("p_dep_id")).values(after_id=bindparam("p_after", type_=_ID))
