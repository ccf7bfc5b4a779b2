"""What the database holds is what the model says."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis.stateful import invariant
from model.jobs import BLOCKED, LEASED, READY, SCHEDULED, Job
from model.machine import EVERY, Machine
from sqlalchemy import select

from kombu_depqueue import (
    JobState,
)
from kombu_depqueue.dialects.steps import STATUS
from kombu_depqueue.schema import Flag


class Comparing(Machine):
    """Looks at what was touched after each step, and at whole tables now and then."""

    def compare_all(self) -> None:
        self.tables_are_as_the_model_says()
        self.counts_and_roots_agree()

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if hasattr(self, "raw"):
            self.status_and_why_agree()
            if self.step % EVERY == 0:
                self.compare_all()

    def settle_order(self) -> None:
        """Where the model leaves it open which job comes first, look."""
        places = [j.place for j in self.model.jobs.values() if j.state in (READY, LEASED)]
        if len(set(places)) < len(places):
            hot = self.tables.job
            self.adopt_order(list(self.raw.execute(select(hot.c.job_id).order_by(hot.c.seq)).scalars()))

    def tables_are_as_the_model_says(self) -> None:
        t, jobs = self.tables, self.model.jobs
        hot = self.raw.execute(select(t.job).order_by(t.job.c.seq)).mappings().all()
        wait = {r["job_id"]: r for r in self.raw.execute(select(t.wait)).mappings()}
        done = {r["job_id"]: r for r in self.raw.execute(select(t.done)).mappings()}
        assert [r["job_id"] for r in hot] == [j.id for j in self.adopt_order([r["job_id"] for r in hot])], (
            "the order of ready and leased jobs"
        )
        assert set(wait) == {j.id for j in jobs.values() if j.state in (BLOCKED, SCHEDULED)}
        for row in hot:
            assert (row["consumer_id"] is not None) == (jobs[row["job_id"]].state is LEASED)
        for job_id, row in wait.items():
            assert (row["due_at"] is None) == (jobs[job_id].state is BLOCKED)
        self.check_ends(done)
        self.check_edges({r["job_id"]: r["flags"] for r in (*hot, *wait.values(), *done.values())})

    def check_ends(self, done: dict[UUID, Any]) -> None:
        jobs = self.model.jobs
        assert set(done) == {j.id for j in jobs.values() if not j.live}
        for job_id, row in done.items():
            assert row["status"] == STATUS[jobs[job_id].state]
        bodies = set(self.raw.execute(select(self.tables.ended_body.c.job_id)).scalars())
        assert bodies == {i for i in done if jobs[i].state is not JobState.SUCCEEDED}

    def adopt_order(self, ids: list[UUID]) -> list[Job]:
        """The hot jobs in the model's order; where that leaves it open, in the order given."""
        index = {job_id: n for n, job_id in enumerate(ids)}
        hot = [j for j in self.model.jobs.values() if j.state in (READY, LEASED)]
        hot.sort(key=lambda j: (j.place, index.get(j.id, -1)))
        for job in hot:
            job.place = self.model.tick()
        return hot

    def check_edges(self, flags: dict[UUID, int]) -> None:
        t, jobs = self.tables, self.model.jobs
        edges = set(map(tuple, self.raw.execute(select(t.dep.c.job_id, t.dep.c.dep_id))))
        assert edges == {(j.id, dep) for j in jobs.values() for dep, _ in j.deps}
        counters = dict(map(tuple, self.raw.execute(select(t.blocked))))
        assert counters == {j.id: len(j.unmet) for j in jobs.values() if j.state is BLOCKED}
        assert self.raw.execute(select(t.release)).all() == []
        for job in jobs.values():
            for dep in job.unmet if job.state is BLOCKED else ():
                assert flags[dep] & Flag.HAS_DEPENDENTS, "its end would tell nobody"

    def status_and_why_agree(self) -> None:
        some = [self.model.jobs[i] for i in self.model.touched if i in self.model.jobs]
        some = [job for job in some if job.tracked]
        self.model.touched = set()
        if self.model.jobs and not some:  # one that was not concerned
            some += [j for j in self.model.jobs.values() if j.tracked][-1:]
        self.settle_order()
        for job in some:
            self.check_status(job)
            self.check_why(job)

    def check_status(self, job: Job) -> None:
        status = self.consumers[0].queue.status(job.id)
        assert (status.channel, status.job_type) == job.queue
        assert (status.state, status.attempt) == (job.state, job.attempt)
        assert status.canceled == (job.state is JobState.CANCELED)
        assert status.depends_on == tuple(i for i, _ in job.deps)
        assert set(status.dependents) == self.model.dependents(job.id)
        assert status.result == job.result
        assert (status.finished is None) == job.live
        if job.state is not JobState.SUCCEEDED:
            assert (status.priority, status.max_attempts) == (job.priority, job.max_attempts)
        self.check_reason(job, status.reason)

    def check_reason(self, job: Job, reason: str | None) -> None:
        if job.reason == "dependency":
            never = {f"dependency {i} {self.model.jobs[i].state}" for i in job.unmet if i in self.model.jobs}
            assert reason in never
            job.reason = reason  # it could have named another of them
        elif job.reason == "dead: ":
            assert reason is not None
            assert reason.startswith("dead: ")
        else:
            assert reason == job.reason

    def check_why(self, job: Job) -> None:
        why, jobs = self.consumers[1].queue.why(job.id), self.model.jobs
        assert why.state is job.state
        unmet = job.unmet if job.state is BLOCKED else set()
        assert {d.job_id for d in why.unmet} == {i for i in unmet if jobs[i].live}
        assert {d.job_id for d in why.never} == {i for i in unmet if not jobs[i].live}
        assert (why.holder is not None) == (job.state is LEASED)
        if job.live:
            assert why.paused == (job.queue in self.model.paused)
        if job.state is READY:
            assert why.ahead == self.model.in_order([job.queue]).index(job)
        known = [(i, jobs[i].state, jobs[i].result) for i, _ in job.deps if i in jobs]
        found = self.consumers[1].queue.results_of_dependencies(job.id)
        assert [(d.job_id, d.state, d.result) for d in found] == known

    def counts_and_roots_agree(self) -> None:
        queue, jobs = self.consumers[1].queue, self.model.jobs
        for info in queue.queues():
            states = [j.state for j in jobs.values() if j.queue == (info.channel, info.name)]
            found = (info.ready, info.leased, info.scheduled, info.blocked)
            assert found == tuple(states.count(s) for s in (READY, LEASED, SCHEDULED, BLOCKED))
            assert info.paused == ((info.channel, info.name) in self.model.paused)
        assert set(queue.all_root_jobs()) == {
            i for i, job in jobs.items() if job.tracked and not self.model.dependents(i)
        }
