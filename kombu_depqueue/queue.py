"""JobQueue: both ports on one database. `ports.py` says what each operation promises."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from sqlalchemy import URL, Engine

from kombu_depqueue.dialects.steps import STATUS, Claimed, Ending, Key
from kombu_depqueue.enlisting import enlisted
from kombu_depqueue.entry import check_duration, check_integer, check_job_id, check_name, encode_json, entry_of
from kombu_depqueue.errors import Canceled, DepQueueError, Empty, InvalidJob, LeaseLost, NotExist, NotPending
from kombu_depqueue.forgeries import BAD_SIGNATURE, Names, end_forged, forged
from kombu_depqueue.job import (
    JobMessage,
    JobState,
)
from kombu_depqueue.operations import Operations
from kombu_depqueue.ports import R
from kombu_depqueue.reservation import Reservation, key_of, token_text
from kombu_depqueue.store import Acks

__all__ = ["JobQueue", "create_tables"]

BATCH = 1000
"""Jobs in one transaction of `enqueue_many` from a generator."""

FAILED = STATUS[JobState.FAILED]


def create_tables(url: str | URL | Engine, **options: Any) -> None:
    """Create the tables that a JobQueue with this URL and options needs; those there are left as they are."""
    with JobQueue(url, **{**options, "create": True}):
        pass


class JobQueue(Operations):
    """A job queue in a database: `JobQueue("postgresql://...")`, `JobQueue("sqlite:///jobs.db")`.

    Options are the fields of `settings.Settings`. Cheap to make: it connects (and on SQLite makes
    its tables) at the first use; with `create=True` at once.
    """

    # producer

    def enqueue(self, job: JobMessage | str = "", args: Any = None, /, **fields: Any) -> UUID:
        """Enqueue one job and return its id."""
        connection = fields.pop("connection", None)
        if not isinstance(job, JobMessage):
            job = self._message(check_name("job_type", job, empty=True), args, fields)
        elif args is not None or fields:
            raise InvalidJob("job", "a JobMessage has its fields in itself")
        self._insert([job], connection)
        return check_job_id(job.job_id)

    def _message(self, job_type: str, args: Any, fields: dict[str, Any]) -> JobMessage:
        if fields.get("job_id") is None:
            fields.pop("job_id", None)
        try:
            return JobMessage.new(job_type, args, **fields)
        except TypeError:
            unknown = sorted(set(fields) - set(JobMessage.__dataclass_fields__) | {"id_is_new"} & set(fields))
            raise InvalidJob(unknown[0] if unknown else "job", "there is no such field") from None

    def enqueue_many(self, jobs: Iterable[JobMessage], /, *, connection: Any = None) -> int:
        """Enqueue several jobs and return how many."""
        if isinstance(jobs, (str, bytes, JobMessage, Mapping)) or not isinstance(jobs, Iterable):
            raise InvalidJob("jobs", "an iterable of JobMessages is wanted")
        if isinstance(jobs, (list, tuple)):
            if jobs:
                self._insert(jobs, connection)
            return len(jobs)
        count, source = 0, iter(jobs)
        try:
            while batch := list(islice(source, BATCH)):
                self._insert(batch, connection)
                count += len(batch)
        except DepQueueError as error:
            error.enqueued = count  # type: ignore[attr-defined]
            raise
        return count

    def _insert(self, jobs: Sequence[JobMessage], connection: Any) -> None:
        self._check()
        entries = [entry_of(job, self.settings) for job in jobs]
        connection = enlisted() if connection is None else connection
        self._inserted(entries, connection)

    # consumer

    def reserve(
        self, timeout: float | None = None, *, queues: Sequence[str] | None = None, renew: bool = True
    ) -> Reservation:
        """Reserve the next ready job."""
        return self.reserve_many(1, timeout, queues=queues, renew=renew)[0]

    def dequeue(
        self,
        job_types: Sequence[str],
        timeout: float | None = None,
        *,
        channels: Sequence[str] = ("",),
        renew: bool = True,
    ) -> Reservation:
        """Reserve the next ready job of one of the types and channels."""
        return self.reserve_many(1, timeout, queues=job_types, channels=channels, renew=renew)[0]

    def reserve_many(
        self,
        limit: int,
        timeout: float | None = None,
        *,
        queues: Sequence[str] | None = None,
        channels: Sequence[str] = ("",),
        renew: bool = True,
    ) -> list[Reservation]:
        """Reserve up to `limit` ready jobs."""
        self._check()
        check_integer("limit", limit, 1, 100_000)
        until = None if timeout is None else time.monotonic() + check_duration("timeout", timeout)
        names = self._names(queues, channels)
        numbers = dict(zip(self._store.queue_ids(names), names, strict=True))
        while True:
            ticket = self._waiter.ticket()
            claimed = self._claim(numbers, limit)
            if claimed:
                if found := self._reservations(claimed, numbers, renew):
                    return found
                continue
            self._keeper.before_waiting()
            left = self._keeper.pause() if until is None else until - time.monotonic()
            if left <= 0:
                claimed = self._claim(numbers, limit, last=True) if self._cursors.hurried else []
                if claimed and (found := self._reservations(claimed, numbers, renew)):
                    return found
                raise Empty("no job became ready in time")
            # Whoever has just asked for hints must look once more before waiting.
            if not (self._waiter.watch(numbers) | self._keeper.say_waiting()):
                self._waiter.wait(ticket, min(left, self._keeper.pause()))
            self._check()

    def _claim(self, names: Names, limit: int, *, last: bool = False) -> list[Claimed]:
        while claimed := self._cursors.claim(list(names), limit, last=last):
            if genuine := self.genuine(claimed, names):
                return genuine
        return []

    def genuine(self, claimed: list[Claimed], names: Names) -> list[Claimed]:
        """Without those that nobody with a key has signed as they are: these end as dead."""
        keys = self.settings.signing_keys
        if keys is None or not claimed:
            return claimed
        with self._keeper.handing_out(claimed):
            bad = forged(self._store, keys, claimed, names)
            for one in bad:
                released = end_forged(self._store, one)
                self._keeper.drop(one.seq, one.token)
                self._woken_by_end(released.queues)
        return [one for one in claimed if one not in bad] if bad else claimed

    def _names(self, queues: Sequence[str] | None, channels: Sequence[str]) -> list[tuple[str, str]]:
        if queues is None:
            queues = [self.settings.queue]
        given: tuple[tuple[str, object], ...] = (("queues", queues), ("channels", channels))
        for field, value in given:
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
                raise InvalidJob(field, "a non-empty sequence of names is wanted")
        found = [(check_name("channels", c, empty=True), check_name("queues", q)) for c in channels for q in queues]
        return list(dict.fromkeys(found))

    def _reservations(
        self, claimed: Sequence[Claimed], numbers: Mapping[int, tuple[str, str]], renew: bool
    ) -> list[Reservation]:
        found = [Reservation(self, c, *numbers[c.queue_id]) for c in claimed]
        if not renew:
            with self._keeper.handing_out(claimed):
                found = [one for one in found if self._stands_alone(one)]
        return found

    def _stands_alone(self, one: Reservation) -> bool:
        """Let its lease stand by itself; False: we were taken for dead since the claim, and another may have it."""
        try:
            self._stand_alone(one.key, self.settings.lease, keep=False)
        except LeaseLost:
            self._keeper.drop(one.key.seq, one.key.token)
            return False
        return True

    def dequeue_by_id(self, job_id: UUID | str, *, renew: bool = True) -> Reservation:
        """Reserve this very job."""
        self._check()
        claimed = self._keeper.claim_by_id(check_job_id(job_id))
        with self._keeper.handing_out([claimed]):
            status = self._records.status(check_job_id(job_id))
        names = {claimed.queue_id: (status.channel, status.job_type)}
        if not self.genuine([claimed], names):
            raise NotPending(claimed.job_id or check_job_id(job_id), detail=BAD_SIGNATURE)
        found = self._reservations([claimed], names, renew)
        if not found:
            raise NotPending(claimed.job_id or check_job_id(job_id), detail="its lease was lost at once")
        return found[0]

    def ack_many(self, reservations: Iterable[R], /) -> list[R]:
        """Ack several, without results; returns those whose lease was lost."""
        self._check()
        given = list(reservations)
        todo = [r for r in given if isinstance(r, Reservation) and not r.settled]
        left, lost = todo, todo[:0]
        while left:
            some = {r.key.seq: r for r in left}  # of a job's hand-outs one at a time: the answer names the job
            acks = Acks([(r.key, r.job_id) for r in some.values()])
            self._store.ack_many(acks)
            self._woken_by_end(acks.queues)
            lost += [r for seq, r in some.items() if seq not in acks.ended]
            left = [r for r in left if some[r.key.seq] is not r]
        lost = [r for r in lost if not self._ended_so(r, JobState.SUCCEEDED)]
        for r in todo:  # not before it is known how all stand: else asking again would get no answer
            self._settled(r)
        return [r for r in given if r in lost]

    # settling, called by Reservation

    def settle_ack(self, reservation: Reservation, result: Any, connection: Any) -> None:
        """See `Reservation.ack`."""
        self._check()
        data = self._encoded(result)
        connection = enlisted() if connection is None else connection
        told = reservation.has_dependents
        ending = self._store.success(data)
        released = self._store.ack(reservation.key, reservation.job_id, ending, told=told, connection=connection)
        if released is None:
            self._not_held(reservation, JobState.SUCCEEDED, result)
            return
        if connection is None:
            self._settled(reservation)
        else:
            reservation.joined = True  # settled by the caller's commit; a rollback leaves it as it was
        self._woken_by_end(released.queues)

    def _not_held(self, reservation: Reservation, state: JobState, result: Any = None) -> None:
        """It was not held any more, which is well if this very hand-out ended the job so. Raises LeaseLost, Canceled.

        If the database fails meanwhile nothing is settled: who asks again must get an answer.
        """
        error = None if self._ended_so(reservation, state, result) else self._lease_lost(reservation.job_id)
        self._settled(reservation)
        if error is not None:
            raise error

    def settle_requeue(self, reservation: Reservation, delay: float) -> None:
        """See `Reservation.requeue`."""
        self._check()
        given = self._store.give_back(reservation.key, check_duration("delay", delay))
        error = self._lease_lost(reservation.job_id) if given is None else None
        self._settled(reservation)
        if error is not None:
            raise error
        self._given_back({reservation.key.queue_id})

    def settle_fail(self, reservation: Reservation, reason: str, result: Any) -> None:
        """See `Reservation.fail`."""
        self._check()
        released = self._store.end(reservation.key, self._failure(reason, result))
        if released is None:
            self._not_held(reservation, JobState.FAILED, result)
            return
        self._settled(reservation)
        self._woken_by_end(released.queues)

    def _encoded(self, result: Any) -> bytes | None:
        if result is None:
            return None
        data = encode_json("result", result)
        if len(data) > self.settings.max_body_bytes:
            limit = f"max_body_bytes = {self.settings.max_body_bytes:,}"
            raise InvalidJob("result", f"{len(data):,} bytes are more than {limit}")
        return data

    def _failure(self, reason: str, result: Any) -> Ending:
        data = self._encoded(result)
        clean = str(reason).replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        return Ending(FAILED, clean[:10_000], data, self.settings.result_retention)

    def _settled(self, reservation: Reservation) -> None:
        reservation.settled = True
        self._keeper.drop(reservation.key.seq, reservation.key.token)

    def _ended_so(self, reservation: Reservation, state: JobState, result: Any = None) -> bool:
        """Whether this very hand-out ended the job: by an answer that was lost, or in the caller's transaction."""
        try:
            status = self._records.status(reservation.job_id)
        except NotExist:
            return reservation.joined and state is JobState.SUCCEEDED  # acked in the caller's transaction; pruned since
        same = status.state is state and status.attempt == reservation.attempt and status.result == result
        if same and not reservation.joined:
            self._database.make_sure()
        return same

    def _lease_lost(self, job_id: UUID) -> DepQueueError:
        try:
            canceled = self._store.state_of(job_id) is JobState.CANCELED
        except NotExist:
            canceled = False
        return Canceled(job_id) if canceled else LeaseLost(job_id)

    # settling by id

    def finish(
        self, job_id: UUID | str, result: Any = None, *, token: str | None = None, connection: Any = None
    ) -> None:
        """End a running job as succeeded and release its dependents."""
        self._check()
        data = self._encoded(result)
        keep = self.settings.retention if data is None else self.settings.result_retention
        connection = enlisted() if connection is None else connection
        self._end_by_id(check_job_id(job_id), Ending(STATUS[JobState.SUCCEEDED], None, data, keep), token, connection)

    def fail_job(self, job_id: UUID | str, error: str = "", result: Any = None, *, token: str | None = None) -> None:
        """End a running job as failed."""
        self._check()
        self._end_by_id(check_job_id(job_id), self._failure(error or "failed", result), token, None)

    def _end_by_id(self, job_id: UUID, ending: Ending, token: str | None, connection: Any) -> None:
        key = self._key_for(job_id, token)
        if key is None:
            released = self._store.end_by_id(job_id, ending, connection=connection)
        else:
            found = self._store.end(key, ending, connection=connection)
            self._keeper.drop(key.seq, key.token)
            if found is None:
                raise self._lost_by_id(job_id)
            released = found
        self._woken_by_end(released.queues)

    def _key_for(self, job_id: UUID, token: str | None) -> Key | None:
        """The key to fence with: the token's, or that of our own reservation; None: we hold none."""
        if token is not None:
            key = key_of(token)
            holder = self._records.holder_of(key)
            if holder is not None and holder[0] != job_id:
                raise LeaseLost(job_id, detail="the token is another job's")
            return key
        mine = [(seq, t) for (seq, t), held in list(self._keeper.held.items()) if held == job_id]
        current = self._records.token_of(job_id) if mine else None
        if current is not None and (current[0].seq, current[0].token) in mine:
            return current[0]
        if current is not None:
            raise LeaseLost(job_id, detail="another holds it now")
        return None

    def _lost_by_id(self, job_id: UUID) -> Exception:
        """A token was not current: the job ended, or another has it."""
        try:
            state = self._store.state_of(job_id)
        except NotExist as error:
            return error
        return LeaseLost(job_id) if not state.is_finished else self._store.not_running(job_id)

    def requeue_or_finish(
        self, job_id: UUID | str, max_retries: int, result: Any = None, *, token: str | None = None
    ) -> bool:
        """Give a running job back for another try, or end it as failed."""
        self._check()
        job_id = check_job_id(job_id)
        check_integer("max_retries", max_retries, 0, 2**31 - 1)
        failure = self._failure(f"dead: retried {max_retries} times", result)
        key = self._key_for(job_id, token)
        current = self._records.token_of(job_id)
        if current is None:
            raise self._store.not_running(job_id)
        if key is not None and key != current[0]:
            raise LeaseLost(job_id)
        if current[1] > max_retries:
            self._end_by_id(job_id, failure, token_text(current[0]), None)
            return False
        given = self._store.give_back(current[0], 0.0)
        self._keeper.drop(current[0].seq, current[0].token)
        if given is None:
            raise self._lost_by_id(job_id)
        self._given_back({current[0].queue_id})
        return given

    def cancel(self, job_id: UUID | str) -> bool:
        """Cancel a job, waiting or running; whether this call did it."""
        self._check()
        canceled = self._store.cancel(check_job_id(job_id), "canceled")
        if canceled:
            self._keeper.stir()
        else:
            self._database.make_sure()  # it may be an earlier call that did it, and was never told so
        return canceled
