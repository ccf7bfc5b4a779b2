"""Which of the jobs that were claimed are what their publishers signed (`signing` says what that covers)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from kombu_depqueue.dialects import Tx
from kombu_depqueue.dialects.steps import Claimed, Ending, Released
from kombu_depqueue.inserting import facts_of
from kombu_depqueue.schema import Flag
from kombu_depqueue.signing import Keys
from kombu_depqueue.store import Store

__all__ = ["BAD_SIGNATURE", "Names", "end_forged", "forged"]

logger = logging.getLogger("kombu_depqueue")

BAD_SIGNATURE = "bad-signature"
"""Why such a job is dead."""

Names = Mapping[int, tuple[str, str]]
"""Channel and name under which each queue was asked for: what its row says by now may be forged, too."""


def forged(store: Store, keys: Keys, claimed: Sequence[Claimed], names: Names) -> list[Claimed]:
    """Those that are not to be run; why is logged."""
    edges, clock = _looked_up(store, claimed)
    found = []
    for one in claimed:
        name = names.get(one.queue_id)
        if name is None:
            problem: str | None = "its queue was not asked for"
        else:
            problem = keys.problem(facts_of(one, name, edges.get(one.seq, [])))
        if problem is None and one.run_at is not None and (clock is None or clock < one.run_at):
            problem = "it came before its run_at"
        if problem is not None:
            where = None if name is None else name[1]
            logger.error("job %s of queue %r is not run: %s (%s)", one.job_id, where, BAD_SIGNATURE, problem)
            found.append(one)
    return found


def _looked_up(store: Store, claimed: Sequence[Claimed]) -> tuple[dict[int, list[tuple[UUID, int]]], datetime | None]:
    """The stored dependencies of those that have some, and the database's clock if one of them has a `run_at`."""
    gated = [one for one in claimed if one.flags & Flag.HAS_DEPENDENCIES]
    timed = any(one.run_at is not None for one in claimed)
    if not gated and not timed:
        return {}, None

    def work(tx: Tx) -> tuple[dict[int, list[tuple[UUID, int]]], datetime | None]:
        rows = {one.seq: tx.all(store.sql.dependencies, p_job_id=one.job_id) for one in gated}
        edges = {seq: [(dep, mask) for dep, mask, _ in found] for seq, found in rows.items()}
        return edges, tx.all(store.sql.clock)[0][0] if timed else None

    return store.database.read(work)


def end_forged(store: Store, one: Claimed) -> Released:
    """End one as dead. It goes to no dead-letter exchange, where somebody might run it after all."""
    ending: Ending = store.dead(BAD_SIGNATURE, "rejected")._replace(letter=None)
    return store.end(one.key, ending) or Released(set(), [])
