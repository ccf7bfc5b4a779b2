"""Rules: what operators do."""

from __future__ import annotations

import contextlib
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from model.jobs import LEASED, QUEUES, READY, Job
from model.machine import INDEX, RARE, Machine, rule
from sqlalchemy import update

from kombu_depqueue import (
    InvalidJob,
    JobState,
    NotExist,
    NotPending,
    Policy,
)


class Operating(Machine):
    """Retry, purge, pause, delete, limits, workers, lists."""

    @precondition(lambda self: self.model.jobs)
    @rule(index=INDEX, subtree=st.booleans(), ended=st.booleans())
    def retry(self, index: int, subtree: bool, ended: bool) -> None:
        states = (JobState.FAILED, JobState.CANCELED, JobState.EXPIRED) if ended else ()
        job = self.any_job(index, *states)
        if job is None:
            return
        queue = self.consumers[0].queue
        opened = (
            self.reopened(job, subtree) if job.state in (JobState.FAILED, JobState.CANCELED, JobState.EXPIRED) else None
        )
        if opened is None:
            with pytest.raises(NotPending):
                queue.retry(job.id, subtree=subtree)
            return
        assert queue.retry(job.id, subtree=subtree) == len(opened)
        for one in opened:
            one.state, one.attempt, one.redelivered, one.delayed = READY, 0, False, False
            one.can_expire = one.over = one.out_of_time = False
            one.result = one.reason = None
        place = self.model.tick()
        for one in opened:  # each after those it depends on
            self.model.settle_in(one)
            one.place = place

    def reopened(self, job: Job, subtree: bool) -> list[Job] | None:
        """Which jobs are open again, dependencies first; None: something is in the way."""
        opened: dict[UUID, Job] = {}
        todo = [job]
        while todo:
            one = todo.pop()
            opened[one.id] = one
            if subtree:
                some = [self.model.jobs[i] for i in self.model.dependents(one.id)]
                todo += [j for j in some if j.reason == f"dependency {one.id} {one.state}"]
        if any(
            self.is_in_the_way(dep, policy, one)
            for one in opened.values()
            for dep, policy in one.deps
            if dep not in opened
        ):
            return None
        return sorted(opened.values(), key=lambda one: self.depth(one, opened))

    def is_in_the_way(self, dep: UUID, policy: Policy, job: Job) -> bool:
        """Whether a job would only be canceled again because of a dependency."""
        other = self.model.jobs.get(dep)
        if other is None:
            return job.reason is not None and str(dep) in job.reason
        return not (other.live or job.hold or policy.met_by(other.state))

    def depth(self, job: Job, among: dict[UUID, Job]) -> int:
        return max((1 + self.depth(among[dep], among) for dep, _ in job.deps if dep in among), default=0)

    @RARE
    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: tuple[str, str]) -> None:
        pending = [j for j in self.model.jobs.values() if j.live and j.state is not LEASED and j.queue == queue]
        assert self.consumers[1].queue.purge(queue[1], channel=queue[0]) == len(pending)
        self.model.end_all(pending, JobState.CANCELED, "purged")

    @rule(queue=st.sampled_from(QUEUES))
    def pause(self, queue: tuple[str, str]) -> None:
        self.consumers[0].queue.pause(queue[1], channel=queue[0])
        self.model.paused.add(queue)

    @precondition(lambda self: self.model.paused)
    @rule()
    def resume(self) -> None:
        for queue in self.model.paused:
            self.consumers[1].queue.resume(queue[1], channel=queue[0])
        self.model.paused.clear()

    @precondition(lambda self: self.model.jobs)
    @rule(index=INDEX)
    def delete_job(self, index: int) -> None:
        job, jobs = self.any_job(index), self.model.jobs
        assert job is not None
        if self.model.dependents(job.id):
            with pytest.raises(NotPending):
                self.consumers[0].queue.delete_job(job.id)
            return
        deleted, todo = [], [job.id]
        while todo:
            gone = jobs.pop(todo.pop(), None)
            if gone is not None:
                gone.token = gone.lease = None
                deleted.append(gone)
                todo += [dep for dep, _ in gone.deps if not self.model.dependents(dep)]
        assert self.consumers[0].queue.delete_job(job.id) == len(deleted)

    @RARE
    @rule(queue=st.sampled_from(QUEUES), most=st.sampled_from((None, None, 2, 5)))
    def limit(self, queue: tuple[str, str], most: int | None) -> None:
        given = self.consumers[0].queue
        given.limit(queue[1], channel=queue[0], max_length=most, max_body_bytes=None if most is None else 1000)
        assert self.consumers[1].queue.limits(queue[1], channel=queue[0]) == (most, most and 1000)
        self.model.limits.pop(queue, None)
        if most is not None:
            self.model.limits[queue] = most

    @precondition(lambda self: self.model.limits)
    @RARE
    @rule()
    def enqueue_what_is_too_big(self) -> None:
        (channel, name), most = next(iter(self.model.limits.items()))
        with pytest.raises(InvalidJob):
            self.consumers[0].queue.enqueue(name, "x" * 1000, channel=channel)
        assert most

    @RARE
    @rule(state=st.none() | st.sampled_from(list(JobState)), queue=st.none() | st.sampled_from(QUEUES))
    def list_jobs(self, state: JobState | None, queue: tuple[str, str] | None) -> None:
        where = {} if queue is None else {"queue": queue[1], "channel": queue[0]}
        found = [j.job_id for j in self.consumers[0].queue.jobs(state, **where, limit=10_000).jobs]
        jobs = self.model.jobs.values()
        mine = {j.id for j in jobs if state in (None, j.state) and queue in (None, j.queue)}
        assert found == sorted(mine, reverse=True)

    @RARE
    @rule()
    def list_dead(self) -> None:
        found = {j.job_id for j in self.consumers[1].queue.jobs("dead", limit=10_000).jobs}
        ended = (j for j in self.model.jobs.values() if j.state is JobState.FAILED)
        assert found == {j.id for j in ended if j.reason is not None and j.reason.startswith("dead: ")}

    @precondition(lambda self: self.model.jobs)
    @RARE
    @rule(index=INDEX)
    def message_of(self, index: int) -> None:
        job = self.any_job(index)
        assert job is not None
        message = self.consumers[0].queue.message_of(job.id)
        if job.state is JobState.SUCCEEDED:
            assert message is None
        else:
            assert message is not None
            assert (message.job_type, message.channel) == (job.queue[1], job.queue[0])
            assert job.forged or message.args == {"id": str(job.id)}

    @RARE
    @rule()
    def prunable(self) -> None:
        assert self.consumers[0].queue.prunable() == len(self.model.prunable())

    # workers

    @RARE
    @rule(name=st.sampled_from(("w", "")), channel=st.sampled_from(("", "t")))
    def register_worker(self, name: str, channel: str) -> None:
        self.model.workers.add(self.consumers[0].queue.register_worker(name, channel=channel, info={"name": name}))

    @precondition(lambda self: self.model.workers)
    @RARE
    @rule(index=INDEX, known=st.booleans())
    def refresh_or_delete_worker(self, index: int, known: bool) -> None:
        workers = sorted(self.model.workers)
        worker, queue = workers[index % len(workers)] if known else uuid4(), self.consumers[1].queue
        with contextlib.nullcontext() if known else pytest.raises(NotExist):
            queue.refresh_worker(worker)
        with contextlib.nullcontext() if known else pytest.raises(NotExist):
            queue.delete_worker(worker)
        self.model.workers.discard(worker)
        assert self.model.workers <= {w.worker_id for w in queue.workers()}
        assert worker not in {w.worker_id for w in queue.workers()}

    # attackers

    @precondition(lambda self: self.signed and self.any_job(0, READY))
    @rule(index=INDEX)
    def forge(self, index: int) -> None:
        job, table = self.any_job(index, READY), self.tables.job
        assert job is not None
        self.on_tables(update(table).where(table.c.job_id == job.id).values(body=b'{"id": 7}'))
        job.forged = True
