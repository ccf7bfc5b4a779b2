"""A rule: what a lost lease allows. By chance alone it hardly comes about that a job has changed hands."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from hypothesis import strategies as st
from model.jobs import LONG, QUEUES, Job
from model.machine import WHO, rule
from model.passing import Passing
from model.settling import Settling

from kombu_depqueue import JobMessage, JobQueue, LeaseLost, Reservation


def _ack_many(queue: JobQueue, reservation: Reservation) -> None:
    if queue.ack_many([reservation]) == [reservation]:
        raise LeaseLost(reservation.job_id)


SETTLE: dict[str, Callable[[JobQueue, Reservation], None]] = {
    "ack": lambda queue, reservation: reservation.ack(),
    "ack with a result": lambda queue, reservation: reservation.ack({"x": 1}),
    "ack_many": _ack_many,
    "extend": lambda queue, reservation: reservation.extend(LONG),
    "fail": lambda queue, reservation: reservation.fail("so"),
    "requeue": lambda queue, reservation: reservation.requeue(),
    "requeue later": lambda queue, reservation: reservation.requeue(LONG),
}


class Stale(Settling, Passing):
    """Jobs that change hands."""

    @rule(who=WHO, queue=st.sampled_from(QUEUES), how=st.sampled_from(sorted(SETTLE)))
    def settle_what_another_has(self, who: int, queue: tuple[str, str], how: str) -> None:
        """A lease runs out, and the other consumer is given the job: who held it can do nothing any more."""
        first, second = self.consumers[who], self.consumers[1 - who]
        job = Job(uuid4(), queue, 0, 0, [], hold=False, delayed=False, can_expire=False)
        if queue in self.model.paused or self.model.is_full([job]):
            return
        channel, name = queue
        first.queue.enqueue(JobMessage(job.id, job_type=name, channel=channel, args={"id": str(job.id)}))
        self.model.add(job)
        stale = self.hand_out(first, first.queue.dequeue_by_id(job.id), job)
        if not self.is_registered(first):
            return
        self.expire(first)
        self.hand_out(second, second.queue.dequeue_by_id(job.id), job)
        with pytest.raises(LeaseLost):
            SETTLE[how](first.queue, stale.reservation)
