"""Enqueue, as one transaction: ids that are taken, dependencies locked, rows and edges inserted.

A dependency is locked before its edge is made. Without that, an enqueue and a
finish that overlap can miss each other, and the dependent waits for ever
(100 of all 126 interleavings). A finish that comes later sees the flag that the
lock let us set, and the edges; one that came earlier has left its end record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from kombu_depqueue.dialects import Dialect, Tx
from kombu_depqueue.dialects.steps import STATUS, Ending, unmet_reason
from kombu_depqueue.entry import Entry
from kombu_depqueue.errors import Duplicate, InvalidJob, NotExist
from kombu_depqueue.job import JobState
from kombu_depqueue.schema import Flag
from kombu_depqueue.signing import Facts, Keys
from kombu_depqueue.sql import Prepared
from kombu_depqueue.statements import StoredJob

__all__ = ["facts_of", "insert_alike", "insert_entries"]

LIVE = 0
"""Of a dependency: it has not ended (else its status number)."""
GONE = -1
"""Of a dependency of a job that is retried: it ended long ago, and its record was pruned."""
TOLD_AT_ONCE = 1000
"""Dependents told in one step."""


def insert_entries(
    tx: Tx,
    dialect: Dialect,
    entries: Sequence[Entry],
    queues: Mapping[tuple[str, str], int],
    *,
    plain: bool = False,
) -> set[int]:
    """Insert jobs; returns the queues whose consumers should look. Raises Duplicate, NotExist.

    `plain`: all are; one that supersedes a live job is a Duplicate, to be tried again without.
    """
    _refuse_twice([e.job_id for e in entries if e.job_id is not None])
    if (tx.again or any(not e.id_is_new for e in entries)) and _are_there(tx, dialect, entries):
        return set()
    plan = _Plan(dialect, queues)
    _fix_times(tx, dialect, entries)
    if any(e.supersedes for e in entries) and not (plain and dialect.steps_are_statements):
        again = [e.job_id for e in entries if e.supersedes and e.job_id]
        plan.superseded, plan.ended = _supersede(tx, dialect, again)
        plan.kept = _kept_edges(tx, dialect, plan.superseded)
    if plain and not plan.superseded and not plan.ended:
        plan.ready = [_row(entry, queues) for entry in entries]
        plan.sign(zip(plan.ready, entries, strict=True))
        dialect.insert_jobs(tx, plan.ready)
        return {row["p_queue_id"] for row in plan.ready}
    if any(e.run_at is not None for e in entries):
        plan.clock = tx.all(dialect.sql.clock)[0][0]
    ends = _lock_dependencies(tx, dialect, entries, plan) if any(e.edges for e in entries) else {}
    for entry in entries:
        plan.add(entry, ends)
    plan.write(tx)
    return plan.woken


def insert_alike(tx: Tx, dialect: Dialect, entries: Sequence[Entry], queues: Mapping[tuple[str, str], int]) -> set[int]:
    """The same of plain jobs of one kind, new and not to be signed; several by columns (dicts: 1 us a job)."""
    ids = [e.job_id for e in entries]
    _refuse_twice([i for i in ids if i is not None])
    if tx.again and _are_there(tx, dialect, entries):
        return set()
    row = _row(entries[0], queues)
    if len(entries) == 1:
        dialect.insert_jobs(tx, [row])
        return {row["p_queue_id"]}
    columns = ([e.rank for e in entries], ids, [e.envelope for e in entries], [e.body for e in entries])
    dialect.insert_columns(tx, row, *columns)
    return {row["p_queue_id"]}


def _row(entry: Entry, queues: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """The parameters of a ready job."""
    return {
        "p_job_id": entry.job_id,
        "p_supersedes": entry.supersedes,
        "p_queue_id": queues[entry.channel, entry.queue],
        "p_rank": entry.rank,
        "p_attempt": 0,
        "p_max_attempts": entry.max_attempts,
        "p_flags": entry.flags | (Flag.HAS_DEPENDENCIES if entry.edges else 0) | (Flag.HOLD if entry.hold else 0),
        "p_run_at": entry.run_at,
        "p_expires_in": entry.expires_in,
        "p_envelope": entry.envelope,
        "p_body": entry.body,
    }


def facts_of(job: Any, names: tuple[str, str], edges: Sequence[tuple[UUID, int]]) -> Facts:
    """What a signature covers of a StoredJob (or Claimed) in the queue of these names (channel, name)."""
    envelope = None if job.envelope is None else bytes(job.envelope)
    numbers = (job.rank, job.max_attempts, job.flags)
    return Facts(job.job_id, *names, *numbers, job.run_at, edges, envelope, bytes(job.body))


def _fix_times(tx: Tx, dialect: Dialect, entries: Sequence[Entry]) -> None:
    """Make delays times by the database's clock: what is signed has to be known before it is stored."""
    signs = dialect.settings.signing_keys is not None
    delayed = [e for e in entries if e.delay and not e.reopened] if signs else []
    if not delayed:
        return
    clock: datetime = tx.all(dialect.sql.clock)[0][0]
    for entry in delayed:
        try:
            due = clock + timedelta(seconds=entry.delay or 0.0)
        except OverflowError:
            raise InvalidJob("delay", "a signed job cannot be due after the year 9999") from None
        entry.run_at, entry.delay = due if entry.run_at is None else max(due, entry.run_at), None


def _kept_edges(
    tx: Tx, dialect: Dialect, superseded: Mapping[UUID, tuple[StoredJob, bool]]
) -> dict[UUID, list[tuple[UUID, int]]]:
    """The dependencies that pass on to the deliveries superseding these, if they are as they were signed."""
    found: dict[UUID, list[tuple[UUID, int]]] = {}
    keys = dialect.settings.signing_keys
    if keys is None:
        return found
    for job_id, (older, _) in superseded.items():
        if older.flags & Flag.HAS_DEPENDENCIES:
            edges = [(dep, mask) for dep, mask, _ in tx.all(dialect.sql.dependencies, p_job_id=job_id)]
            [(channel, name)] = tx.all(dialect.sql.names_of, p_queue=older.queue_id) or [("", "")]
            if keys.problem(facts_of(older, (channel, name), edges)) is None:
                found[job_id] = edges
    return found


def _are_there(tx: Tx, dialect: Dialect, entries: Sequence[Entry]) -> bool:
    """Whether an earlier try was committed after all. Raises Duplicate for ids that others took."""
    given = [e.job_id for e in entries if e.job_id is not None]
    fresh = [e.job_id for e in entries if e.id_is_new or e.supersedes]
    asked = given if tx.again else [i for i in given if i not in fresh]
    if not asked:
        return False
    dialect.lock_ids(tx, asked)
    found = dict(tx.all(dialect.sql.known_ids, ids=asked))
    if tx.again:
        anew = {e.job_id for e in entries if e.supersedes and e.job_id is not None}
        return bool(found.keys() - anew) or (bool(found) and _are_born(tx, dialect, found.values()))
    if found:
        raise Duplicate(*(i for i in asked if i in found))
    return False


def _are_born(tx: Tx, dialect: Dialect, births: Iterable[datetime | None]) -> bool:
    """Whether deliveries that supersede others are stored: the id alone may be that of the older one.

    Told by when they were enqueued, since there may be nothing else left of one that has been run meanwhile.
    """
    asked = time.monotonic()
    clock: datetime = tx.all(dialect.sql.clock)[0][0]
    # The clock was looked at halfway: the older one may be a millisecond old, and it must not be taken for this one.
    passed = (asked + time.monotonic()) / 2 - tx.again
    began = clock - timedelta(seconds=passed + dialect.clock_step)
    return any(created is not None and created >= began for created in births)


def _refuse_twice(ids: Sequence[UUID]) -> None:
    if len({i.int for i in ids}) < len(ids):  # a UUID's own hash takes three times as long
        raise Duplicate(*(i for i, n in Counter(ids).items() if n > 1))


def _supersede(
    tx: Tx, dialect: Dialect, ids: Sequence[UUID]
) -> tuple[dict[UUID, tuple[StoredJob, bool]], dict[UUID, int]]:
    """Take out older deliveries of the jobs, and end records.

    Returns the deliveries, and whether each was blocked; and the flags of those that had ended.
    """
    sql, found, ended = dialect.sql, {}, {}
    # Looked for before it is taken: almost always there is none, and whoever only publishes may not delete.
    there = {i for i, _ in tx.all(sql.known_ids, ids=ids)}
    for job_id in (i for i in ids if i in there):
        blocked = bool(tx.all(sql.lock_blocked, ids=[job_id]))
        for row in tx.all(sql.take_waiting, p_job_id=job_id):
            found[job_id] = (StoredJob(*row), blocked)
        for row in tx.all(sql.take_job, p_job_id=job_id):  # it may have become ready since the look before
            found[job_id] = (StoredJob(*row), False)
        for _, number, flags, *_ in tx.all(sql.take_ended, p_job_id=job_id):
            tx.all(sql.take_ended_body, p_job_id=job_id)
            tell_once(tx, dialect, job_id, number)
            ended[job_id] = flags
    return found, ended


def tell_once(tx: Tx, dialect: Dialect, job_id: UUID, status: int) -> None:
    """A job that has ended is to end again: those that this end was told to must not be told twice."""
    notes = [job_id] if tx.all(dialect.sql.release_of, p_dep_id=job_id) else []
    while notes:  # not all were told yet
        notes = dialect.release(tx, notes, TOLD_AT_ONCE, dialect.settings.result_retention).pending
    tx.run(dialect.sql.meet_edges, p_dep_id=job_id, p_mask=1 << status)


def _lock_dependencies(tx: Tx, dialect: Dialect, entries: Sequence[Entry], plan: _Plan) -> dict[UUID, int]:
    """Lock all dependencies that are not among the entries, and tell how each stands. Raises NotExist."""
    own = {e.job_id for e in entries}
    wanted = sorted({dep for e in entries for dep, _ in e.edges} - own)
    ends: dict[UUID, int] = {}
    sql = dialect.sql
    if any(e.promised for e in entries):
        dialect.lock_ids(tx, wanted)  # one may just be ending without ever having been there
    for _ in range(4):
        # One that moves from table to table between the looks escapes all of them: look again.
        missing = [i for i in wanted if i not in ends]
        if not missing:
            return ends
        for lock, flag in ((sql.lock_jobs, sql.flag_jobs), (sql.lock_waiting, sql.flag_waiting)):
            rows = tx.all(lock, ids=missing) if missing else []
            unflagged = [i for i, flags in rows if not flags & Flag.HAS_DEPENDENTS]
            if unflagged:
                plan.flagged.append((flag, unflagged))
            ends.update((i, LIVE) for i, _ in rows)
            missing = [i for i in missing if i not in ends]
        if missing:
            # First the update, which is none where the flag is set, then the shared lock: the other way
            # round two enqueues with the same ended dependency would wait for each other.
            tx.run(sql.flag_ended, ids=missing)
            ends.update(tx.all(sql.lock_ended, ids=missing))
    missing = [i for i in wanted if i not in ends]
    promised = {dep for e in entries if e.promised for dep, _ in e.edges}.intersection(missing)
    needed = {dep for e in entries if not e.reopened for dep, _ in e.edges} - promised
    if any(i in needed for i in missing):
        raise NotExist(*(i for i in missing if i in needed))
    return ends | dict.fromkeys(missing, GONE) | dict.fromkeys(promised, LIVE)


class _Plan:
    """What will be inserted, table by table."""

    def __init__(self, dialect: Dialect, queues: Mapping[tuple[str, str], int]) -> None:
        self.dialect = dialect
        self.queues = queues
        self.keys: Keys | None = dialect.settings.signing_keys
        self.kept: dict[UUID, list[tuple[UUID, int]]] = {}
        """The dependencies of superseded deliveries, where there are keys."""
        self.clock: datetime | None = None
        self.woken: set[int] = set()
        self.superseded: dict[UUID, tuple[StoredJob, bool]] = {}
        self.ended: dict[UUID, int] = {}
        """Flags of the end records that are superseded."""
        self.ready: list[dict[str, Any]] = []
        self.waiting: list[dict[str, Any]] = []
        self.blocked: list[dict[str, Any]] = []
        self.edges: list[dict[str, Any]] = []
        self.flagged: list[tuple[Prepared, list[UUID]]] = []
        """The statement that says of locked dependencies that they have dependents, and which."""
        self.renewed: list[UUID | None] = []
        """Whose older edges go."""
        self.hopeless: list[tuple[StoredJob, str]] = []
        self._rows: dict[UUID, dict[str, Any]] = {}

    def add(self, entry: Entry, ends: dict[UUID, int]) -> None:
        """Plan one job."""
        row = _row(entry, self.queues)
        older = self.superseded.get(entry.job_id) if entry.job_id is not None else None
        still_blocked = False
        if older is not None and not entry.anew:
            kept = Flag.HAS_DEPENDENCIES | Flag.HAS_DEPENDENTS | Flag.HOLD | Flag.WATCHED
            row["p_flags"] = entry.flags | older[0].flags & kept
            still_blocked, pending, why = older[1], 0, None
        else:
            if older is not None:
                row["p_flags"] |= older[0].flags & (Flag.HAS_DEPENDENTS | Flag.WATCHED)
                self.renewed.append(older[0].job_id)
            elif entry.job_id in self.ended:
                # Those that its end was no use to wait for the next one; what it waited for itself is no matter now.
                row["p_flags"] |= self.ended[entry.job_id] & (Flag.HAS_DEPENDENTS | Flag.WATCHED)
                self.renewed.append(entry.job_id)
            pending, why = self._plan_edges(entry, ends)
        self.sign([(row, entry)])
        if why is not None and not entry.hold:
            job = StoredJob(**{n: row.get(f"p_{n}") for n in StoredJob._fields})  # type: ignore[arg-type]
            self.hopeless.append((job, why))
            if entry.job_id is not None:
                ends[entry.job_id] = STATUS[JobState.CANCELED]
            return
        if entry.job_id is not None:
            ends[entry.job_id] = LIVE
            self._rows[entry.job_id] = row
        delay = entry.delay or None
        due = entry.run_at if self._is_later(entry.run_at) else None
        if delay is not None and due is not None and self.clock is not None:
            delay = max(delay, (due - self.clock).total_seconds())  # the later of the two counts
        if pending:
            self.blocked.append({"p_job_id": entry.job_id, "p_pending": pending})
        blocked = pending > 0 or still_blocked
        if blocked or delay is not None or due is not None:
            self.waiting.append({**row, "p_delay": delay, "p_due": due, "p_blocked": blocked, "_row": row})
        else:
            self.ready.append(row)
        self.woken.add(row["p_queue_id"])

    def sign(self, rows: Iterable[tuple[dict[str, Any], Entry]]) -> None:
        """Sign jobs, if there are keys."""
        keys = self.keys
        if keys is None:
            return
        for row, entry in rows:
            # What is retried has its signature; an event, or a reply, goes without to those who check none.
            if not entry.reopened and (entry.job_id is not None or keys.can_sign):
                edges = entry.edges
                if entry.job_id in self.superseded and not entry.anew:
                    edges = self.kept.get(entry.job_id, [])
                numbers = (entry.rank, entry.max_attempts, row["p_flags"])
                names = (entry.channel, entry.queue)
                row["p_envelope"] = keys.sign(
                    Facts(entry.job_id, *names, *numbers, entry.run_at, edges, entry.envelope, bytes(entry.body))
                )

    def _plan_edges(self, entry: Entry, ends: dict[UUID, int]) -> tuple[int, str | None]:
        """How many dependencies are unmet, and why the job can never run, if so."""
        pending, why = 0, None
        unknown = [dep for dep, _ in entry.edges if dep not in ends]
        if unknown:
            raise NotExist(*unknown)
        for ordinal, (dep, mask) in enumerate(entry.edges):
            status = ends[dep]
            met = status == GONE or (status != LIVE and bool(mask >> status & 1))
            pending += not met
            if status != LIVE and not met and why is None:
                why = unmet_reason(dep, status)
            edge = {"p_dep_id": dep, "p_job_id": entry.job_id, "p_ordinal": ordinal}
            self.edges.append({**edge, "p_policy": mask, "p_met": met})
            if status == LIVE and dep in self._rows:
                self._rows[dep]["p_flags"] |= Flag.HAS_DEPENDENTS
        return pending, why

    def _is_later(self, moment: datetime | None) -> bool:
        return moment is not None and self.clock is not None and moment > self.clock

    def write(self, tx: Tx) -> None:
        """Insert what was planned."""
        sql = self.dialect.sql
        self.dialect.insert_jobs(tx, self.ready)
        with tx.together():
            for flag, ids in self.flagged:
                tx.run(flag, ids=ids)
            # The flags may have changed since the row was copied: a later job depends on it.
            tx.many(sql.add_waiting, [{**w, "p_flags": w["_row"]["p_flags"]} for w in self.waiting])
            if self.renewed:
                tx.run(sql.drop_edges, ids=self.renewed)
            tx.many(sql.add_edge, self.edges)
            tx.many(sql.add_blocked, self.blocked)
        if self.hopeless:
            created = tx.all(sql.clock)[0][0]
            for job, why in self.hopeless:
                ending = Ending(STATUS[JobState.CANCELED], why, None, self.dialect.settings.result_retention)
                self.dialect.record_end(tx, [job._replace(created_at=created, attempt=0)], ending, first=True)
            # A later one of the same call may depend on it, and be held until it is retried.
            named = {edge["p_dep_id"] for edge in self.edges}
            depended = [job.job_id for job, _ in self.hopeless if job.job_id in named]
            if depended:
                tx.run(sql.flag_ended, ids=depended)
