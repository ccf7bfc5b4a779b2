"""Rules: jobs come in."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import precondition
from model.jobs import LONG, Job
from model.machine import INDEX, RARE, SPEC, WHO, Machine, rule

from kombu_depqueue import (
    Dependency,
    Duplicate,
    JobMessage,
    NotExist,
    Policy,
    QueueFull,
    enlist,
)


class Enqueueing(Machine):
    """Enqueue, alone and together, by itself and in the caller's transaction."""

    def message(self, spec: dict[str, Any], known: list[UUID]) -> tuple[JobMessage, Job]:
        deps: dict[UUID, Policy] = {}
        for index, policy in spec["deps"]:
            if known:
                deps.setdefault(known[index % len(known)], policy)
        fields = {k: spec[k] for k in ("queue", "priority", "hold", "delayed", "can_expire", "max_attempts")}
        fields["delayed"] &= not self.signed
        job = Job(id=uuid4(), deps=list(deps.items()), **fields)
        message = JobMessage(
            job.id,
            job_type=job.queue[1],
            channel=job.queue[0],
            args={"id": str(job.id)},
            priority=job.priority,
            depends_on=[Dependency(i, p) for i, p in job.deps],
            on_unmet="hold" if job.hold else "cancel",
            delay=LONG if job.delayed else None,
            expires_in=LONG if job.can_expire else None,
            max_attempts=job.max_attempts,
        )
        return message, job

    @rule(spec=SPEC, who=WHO)
    def enqueue(self, spec: dict[str, Any], who: int) -> None:
        message, job = self.message(spec, list(self.model.jobs))
        if self.model.is_full([job]):
            with pytest.raises(QueueFull):
                self.consumers[who].queue.enqueue(message)
            return
        assert self.consumers[who].queue.enqueue(message) == job.id
        self.model.add(job)

    @rule(spec=SPEC, commit=st.booleans(), enlisting=st.booleans())
    def enqueue_in_transaction(self, spec: dict[str, Any], commit: bool, enlisting: bool) -> None:
        message, job = self.message(spec, list(self.model.jobs))
        full, queue = self.model.is_full([job]), self.consumers[0].queue
        with self.transaction(commit=commit) as connection, contextlib.ExitStack() as around:
            if full:
                around.enter_context(pytest.raises(QueueFull))
            if enlisting:
                around.enter_context(enlist(connection))
            queue.enqueue(message, connection=None if enlisting else connection)
        if commit and not full:
            self.model.add(job)

    @rule(specs=st.lists(SPEC, min_size=1, max_size=4), stream=st.booleans())
    def enqueue_many(self, specs: list[dict[str, Any]], stream: bool) -> None:
        known, pairs = list(self.model.jobs), []
        for spec in specs:
            pairs.append(self.message(spec, known))
            known.append(pairs[-1][1].id)
        messages, queue = [m for m, _ in pairs], self.consumers[0].queue
        if self.model.is_full(j for _, j in pairs):
            with pytest.raises(QueueFull):
                queue.enqueue_many(messages)
            return
        assert queue.enqueue_many(iter(messages) if stream else messages) == len(pairs)
        for _, job in pairs:
            self.model.add(job)

    @precondition(lambda self: self.model.jobs)
    @RARE
    @rule(spec=SPEC, index=INDEX)
    def enqueue_taken_id(self, spec: dict[str, Any], index: int) -> None:
        fresh, job = self.message(spec, list(self.model.jobs))
        taken = self.any_job(index)
        assert taken is not None
        again = replace(taken, queue=("", "a"))
        with pytest.raises(QueueFull if self.model.is_full([job, again]) else Duplicate):
            self.consumers[1].queue.enqueue_many([fresh, JobMessage(taken.id, job_type="a")])

    @RARE
    @rule(spec=SPEC)
    def enqueue_with_unknown_dependency(self, spec: dict[str, Any]) -> None:
        unknown = uuid4()
        _, job = self.message(spec, [*self.model.jobs, unknown])
        fresh = JobMessage(uuid4(), job_type="a", depends_on=[*(i for i, _ in job.deps), unknown])
        coming = [replace(job, queue=("", name)) for name in ("a", "b")]
        full = self.model.is_full(coming)
        with pytest.raises(QueueFull if full else NotExist) as caught:
            self.consumers[0].queue.enqueue_many([JobMessage(uuid4(), job_type="b"), fresh])
        assert full or caught.value.job_ids == (unknown,)
