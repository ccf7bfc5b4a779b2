"""The statements that MariaDB and MySQL need otherwise, or beside those that all share."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Float,
    and_,
    bindparam,
    delete,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.mysql import insert

from kombu_depqueue.dialects.stepwise import BY_KEY, Stepwise
from kombu_depqueue.routing import Routing
from kombu_depqueue.schema import Flag
from kombu_depqueue.sql import Prepared, after, among, insert_unless_there, now, replacing, statement
from kombu_depqueue.statements import has_flag

__all__ = ["MySQLStatements"]


class MySQLStatements(Routing):
    """The shared statements in steps, and those of the claim and the ack."""

    prepared: ClassVar[type[Prepared]] = Stepwise

    @statement
    def add_meta(self) -> Executable:
        """Note a fact about the schema, unless another has: creating tables is no transaction here."""
        values: dict[str, Any] = {"key": bindparam("p_key"), "value": bindparam("p_value")}
        return insert_unless_there(self.t.meta, self.dialect).values(values)  # type: ignore[no-any-return]

    def _locked(self, ready: Any) -> Executable:
        """What `claim` returns of ready jobs, which are locked."""
        new = self._lease()
        what = [new[c.name].label(c.name) if c.name in new else c for c in self.claimed()]
        return ready.with_only_columns(*what).with_for_update(skip_locked=True)  # type: ignore[no-any-return]

    @statement
    def lock_claimable(self) -> Executable:
        """Lock ready jobs of one queue: found in claim order, which is the primary key's."""
        ready: Any = type(self).claimable.make(self)
        return self._locked(ready.with_hint(self.t.job, BY_KEY, "mysql"))

    @statement
    def claimable_after(self) -> Executable:
        """Differs: one range of the index for each priority that a lane has wholly.

        InnoDB notices the end of a range at a row that is there; until then it passes by all that were deleted and
        that an old snapshot still sees. With `rank > ... AND rank < ...` 20,000 of those took 5 ms, so 0.6 ms.
        """
        j = self.t.job.c
        last: ColumnElement[int] = bindparam("p_after", type_=BigInteger())
        behind = and_(last > literal_column("0"), j.rank == bindparam("p_rank"), j.seq > last)
        return self.first_ready(or_(behind, among(j.rank, "ranks"))).with_hint(self.t.job, BY_KEY, "mysql")

    @statement
    def lock_claimable_after(self) -> Executable:
        """The same in a lane (see `steps.Lane`)."""
        return self._locked(type(self).claimable_after.make(self))

    def _these(self) -> list[ColumnElement[bool]]:
        names = ("queues", "ranks", "seqs")
        return [among(c, n) for c, n in zip(self.t.job.primary_key, names, strict=True)]

    @statement
    def lock_chosen(self) -> Executable:
        """Lock these jobs, as far as they are ready and nobody else has."""
        return self._locked(select(self.t.job.c.seq).where(*self._these(), self.t.job.c.consumer_id.is_(None)))

    @statement
    def lease(self) -> Executable:
        """Lease jobs that are locked."""
        return update(self.t.job).where(*self._these()).values(**self._lease(), claimed_at=now())

    @statement
    def lock_plain(self) -> Executable:
        """Lock held jobs that nobody depends on."""
        j = self.t.job
        plain = select(*j.primary_key).where(self._all_held(), ~has_flag(Flag.HAS_DEPENDENTS))
        return plain.with_hint(j, BY_KEY, "mysql").with_for_update()

    @statement
    def record_plain(self) -> Executable:
        """Record the end of jobs that are locked; the server has the facts, so that they need not travel."""
        j, d = self.t.job, self.t.done
        facts: dict[str, Any] = {n: j.c[n] for n in ("job_id", "queue_id", "flags", "attempt", "created_at")}
        told = {n: bindparam(f"p_{n}", type_=d.c[n].type) for n in ("status", "reason", "result", "meta")}
        kept = after(bindparam("p_keep", type_=Float()))
        facts |= {**told, "started_at": j.c.claimed_at, "finished_at": now(), "keep_until": kept}
        these = select(*(e.label(n) for n, e in facts.items())).where(*self._these(), j.c.job_id.is_not(None))
        these = these.select_from(j).with_hint(j, BY_KEY, "mysql")
        return replacing(insert(d).from_select(list(facts), these), facts)  # type: ignore[no-any-return]

    @statement
    def facts_of(self) -> Executable:
        """What such records take from jobs that are locked, where each has an ending of its own."""
        j = self.t.job.c
        what = (j.seq, j.job_id, j.queue_id, j.flags, j.attempt, j.created_at, j.claimed_at)
        return select(*what).where(*self._these(), j.job_id.is_not(None)).with_hint(self.t.job, BY_KEY, "mysql")

    @statement
    def drop_plain(self) -> Executable:
        """Take jobs that are locked out of the hot table (see `Stepwise.wipe`)."""
        return delete(self.t.job).where(*self._these())
