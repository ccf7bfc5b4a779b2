"""What operators, and holders of tokens, do to jobs: see `ports.JobQueue`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from kombu_depqueue.core import Core
from kombu_depqueue.dialects.steps import Key
from kombu_depqueue.doctor import Doctor, Report
from kombu_depqueue.entry import check_duration, check_integer, check_job_id, check_name, encode_json
from kombu_depqueue.errors import InvalidJob, LeaseLost, NotExist
from kombu_depqueue.job import (
    DependencyResult,
    JobMessage,
    JobPage,
    JobStatus,
    QueueInfo,
    Why,
    WorkerInfo,
)
from kombu_depqueue.keeper import new_number
from kombu_depqueue.limits import Limit
from kombu_depqueue.listings import LOOK_AT, Wanted
from kombu_depqueue.maintenance import Upkeep
from kombu_depqueue.monitoring import Figures, Mark
from kombu_depqueue.reservation import Reservation, key_of, token_text
from kombu_depqueue.schema import ConsumerKind

__all__ = ["Operations"]


class Operations(Core):
    """Leases by token, status, retry, queues, workers."""

    # leases

    def heartbeats(self, older_than: float) -> list[str]:
        """Tokens of the leases not renewed for `older_than` seconds."""
        self._check()
        return [token_text(Key(*row)) for row in self._records.old_leases(check_duration("older_than", older_than))]

    def refresh_heartbeat(self, token: str) -> None:
        """Renew the lease behind a token; from then on it stands by itself."""
        self._check()
        self._stand_alone(key_of(token), self.settings.lease, keep=False)

    def extend_lease(self, reservation: Reservation, seconds: float) -> None:
        """See `Reservation.extend`."""
        self._check()
        if reservation.settled:
            raise LeaseLost(reservation.job_id, detail="it is settled")
        lease = max(check_duration("seconds", seconds), self.settings.lease)
        self._stand_alone(reservation.key, lease, keep=True)

    def _stand_alone(self, key: Key, lease: float, *, keep: bool) -> None:
        holder = self._records.holder_of(key)
        if holder is None:
            raise LeaseLost(detail="the token is not current")
        job_id, consumer, kind = holder
        if kind == ConsumerKind.TOKEN and consumer is not None and self._store.set_lease(consumer, lease):
            return
        consumer = new_number()
        name = self._keeper.name if keep else "token"
        if not self._store.stand_alone(key, consumer, ConsumerKind.TOKEN, name, lease):
            raise LeaseLost(job_id)
        self._keeper.detach(key.seq, key.token, consumer, keep=keep)

    def job_id_of(self, token: str) -> UUID:
        """The job behind a current token."""
        self._check()
        holder = self._records.holder_of(key_of(token))
        if holder is None:
            raise LeaseLost(detail="the token is not current")
        return holder[0]

    # reading and mending

    def status(self, job_id: UUID | str) -> JobStatus:
        """What is known of the job."""
        self._check()
        return self._records.status(check_job_id(job_id))

    def dependencies_of(self, job_id: UUID) -> tuple[UUID, ...]:
        """The dependencies of a job, in the order given."""
        self._check()
        return self._records.dependency_ids(job_id)

    def results_of_dependencies(self, job_id: UUID | str) -> list[DependencyResult]:
        """How its dependencies stand, in the order given."""
        self._check()
        return self._records.dependency_results(check_job_id(job_id))

    def why(self, job_id: UUID | str) -> Why:
        """Everything that keeps the job from running."""
        self._check()
        return self._records.why(check_job_id(job_id))

    def retry(self, job_id: UUID | str, *, subtree: bool = False) -> int:
        """Make an ended job pending again."""
        self._check()
        reopened = self._records.retry(check_job_id(job_id), subtree=subtree)
        self._wake_all()
        return len(reopened)

    def delete_job(self, job_id: UUID | str) -> int:
        """Delete a root job and what only it needs."""
        self._check()
        return self._records.delete(check_job_id(job_id))

    def all_root_jobs(self) -> list[UUID]:
        """All jobs that no other depends on."""
        self._check()
        return self._records.roots()

    # looking around

    def jobs(
        self,
        state: str | None = None,
        *,
        queue: str | None = None,
        channel: str | None = None,
        after: UUID | str | None = None,
        limit: int = 100,
    ) -> JobPage:
        """List jobs, live and ended, by their ids from big to small."""
        self._check()
        wanted = Wanted(
            state=state,
            queue=None if queue is None else check_name("queue", queue),
            channel=None if channel is None else check_name("channel", channel, empty=True),
        )
        before = None if after is None else check_job_id(after, "after")
        return self._listings.page(wanted, before, check_integer("limit", limit, 1, LOOK_AT))

    def message_of(self, job_id: UUID | str) -> JobMessage | None:
        """The job as it was enqueued; None once it has succeeded."""
        status = self.status(job_id)
        return self._listings.message(status)

    def prunable(self) -> int:
        """How many records of ended jobs `maintain` would delete."""
        self._check()
        return self._listings.prunable()

    def queues(self) -> list[QueueInfo]:
        """All queues with bounded counts."""
        self._check()
        return self._listings.queues()

    def figures(self, since: Mark | None = None) -> Figures:
        """What monitoring wants to know, in bounded work; the ends of jobs are those since an earlier look's `mark`."""
        self._check()
        return self._monitor.look(since)

    def examine(self) -> Report:
        """What is wrong with the queue and its database, as far as that shows in bounded work."""
        self._check()
        return Doctor(self._store).examine()

    def settings_of_database(self) -> dict[str, str]:
        """What the server is, and how far it goes lest a commit be lost."""
        self._check()
        return self._database.read(self._database.dialect.inspection().settings)

    def drop_tables(self) -> None:
        """Drop all tables with what is in them; nobody may use them any more, this JobQueue included."""
        self._check()
        with self._database.opened() as connection:
            self._database.dialect.tables.metadata.drop_all(connection)

    @property
    def renewals(self) -> int:
        """How often this JobQueue has renewed its lease."""
        return self._keeper.renewals

    def _queue_number(self, queue: str, channel: str) -> int:
        names = [(check_name("channel", channel, empty=True), check_name("queue", queue))]
        return self._store.queue_ids(names)[0]

    def pause(self, queue: str, *, channel: str = "") -> None:
        """Hand out no more jobs of this queue until `resume`."""
        self._check()
        self._records.set_paused(self._queue_number(queue, channel), True)

    def resume(self, queue: str, *, channel: str = "") -> None:
        """End `pause`."""
        self._check()
        number = self._queue_number(queue, channel)
        self._records.set_paused(number, False)
        self._woken({number})

    def limit(
        self, queue: str, *, max_length: int | None = None, max_body_bytes: int | None = None, channel: str = ""
    ) -> None:
        """Say how many jobs a queue may hold, and how big each may be."""
        self._check()
        name, channel = check_name("queue", queue), check_name("channel", channel, empty=True)
        for field, value in (("max_length", max_length), ("max_body_bytes", max_body_bytes)):
            if value is not None:
                check_integer(field, value, 0, 2**31 - 1)
        self._limits.set(channel, name, Limit(max_length, max_body_bytes))

    def limits(self, queue: str, *, channel: str = "") -> tuple[int | None, int | None]:
        """The `max_length` and `max_body_bytes` of a queue."""
        self._check()
        return self._limits.of(check_name("channel", channel, empty=True), check_name("queue", queue))

    def purge(self, queue: str, *, channel: str = "") -> int:
        """Cancel all pending jobs of a queue."""
        self._check()
        number, count = self._queue_number(queue, channel), 0
        while canceled := self._records.purge(number, "purged"):
            count += canceled
        return count

    def _wake_all(self) -> None:
        self._waiter.wake()
        self._woken(set(self._store.known_queues()))

    # workers

    def register_worker(self, name: str = "", *, channel: str = "", info: Mapping[str, Any] | None = None) -> UUID:
        """Note a worker in the registry."""
        self._check()
        if info is not None and not isinstance(info, Mapping):
            raise InvalidJob("info", f"a mapping is wanted, not {type(info).__name__}")
        text = encode_json("info", dict(info or {})).decode()
        name, channel = check_name("name", name, empty=True), check_name("channel", channel, empty=True)
        number = new_number()
        self._store.add_consumer(number, ConsumerKind.WORKER, name, None, channel, text)
        return UUID(int=number)

    def refresh_worker(self, worker_id: UUID | str) -> None:
        """Note that a worker lives."""
        self._check()
        if not self._records.touch_worker(_worker_number(worker_id)):
            raise NotExist(check_job_id(worker_id), detail="no such worker")

    def workers(self, older_than: float = 0.0) -> list[WorkerInfo]:
        """The workers not seen for `older_than` seconds."""
        self._check()
        return self._records.workers(check_duration("older_than", older_than))

    def delete_worker(self, worker_id: UUID | str) -> None:
        """Forget a worker."""
        self._check()
        if not self._records.drop_worker(_worker_number(worker_id)):
            raise NotExist(check_job_id(worker_id), detail="no such worker")

    def maintain(self) -> None:
        """Do one bounded round of upkeep."""
        self._check()
        queues = Upkeep(self._store).round(everything=True)
        self._keeper.wake(queues)


def _worker_number(worker_id: UUID | str) -> int:
    number = check_job_id(worker_id, "worker_id").int
    return number if number < 1 << 63 else 0
